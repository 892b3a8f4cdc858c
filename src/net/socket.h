/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_SOCKET_H
#define ECHOD_NET_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/addr.h"

/* Sockets of both protocols and families, made, set up and retired by one set of functions. Those
 * that can fail return -1 with errno set. */

/* A socket's own address and port, or "?". Returns buf. */
const char *socket_print_own(int fd, char buf[static ADDR_STRLEN]);

/* setsockopt(2) of an option that is an int. */
int socket_set_option(int fd, int level, int option, int value);

/* Open `count` nonblocking sockets of `type` (SOCK_STREAM or SOCK_DGRAM) bound to the same address,
 * ready to serve: stream sockets are set up so that what they accept needs no further option, and
 * listen with `backlog` (ignored for datagrams). With count 1 the address is ours alone; with more
 * the kernel spreads clients over the sockets (SO_REUSEPORT, socket(7)). `share` lets the address
 * overlap one of our own sockets that socket_share() has opened for it. All or none: on failure
 * nothing is left open and errno tells why (EADDRINUSE, EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, ...).
 */
int socket_open(int type, const struct addr *addr, int backlog, bool share, size_t count,
                int fds[]);

/* Deliver with each datagram how many hops it had left (IP_TTL, IPV6_HOPLIMIT) and, unless it is
 * none, how many its socket had dropped when it arrived (SO_RXQ_OVFL), or no longer. */
void socket_enable_ttl_and_drops(int fd, bool on);

/* How many hops a reply has to go: so few that it is told from a client's datagram, see guard.h. */
#define SOCKET_REPLY_TTL 168

/* Let further sockets of ours overlap this one's address, or no longer. */
int socket_share(int fd, bool on);

/* Let no new client reach a socket of socket_open(): they come to whatever else is bound to its
 * address, or to nothing. What has arrived stays there, and handshakes that have begun end as they
 * should, so it can be served out and closed without a client noticing. */
void socket_retire(int type, int fd);

/* Give an accepted socket the options that it has not inherited, because its listener was not ours
 * when the client came, or because its listener is retired. */
void socket_set_accepted_options(int fd);

/* Hand the sockets' ownership to a user, so that after privileges are dropped the kernel still
 * takes them for ours when an address is shared. */
int socket_chown(int fd, uid_t uid, gid_t gid);

/* Make a socket that somebody else opened fit to serve: nonblocking, close-on-exec, the same
 * options as socket_open() sets. Fills in its type and address. EPROTOTYPE: not an IPv4 or IPv6
 * socket of a listening stream or a bound datagram kind. */
int socket_adopt(int fd, int *type, struct addr *addr);

#endif
