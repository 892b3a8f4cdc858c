/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_H
#define ECHOD_NET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Addresses of both families in one type, and sockets of both protocols made by one function.
 * Functions that can fail return -1 with errno set. */

/* An IPv4 or IPv6 address with its port. */
struct net_addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    socklen_t len;
};

/* Room for "[address%zone]:port" and its end. */
#define NET_STRLEN (INET6_ADDRSTRLEN + 1 + 16 + 2 + 6)

/* Numeric address, optionally with a port: "192.0.2.1", "192.0.2.1:7007", "2001:db8::1",
 * "[2001:db8::1]:7007", "fe80::1%eth0", "[fe80::1%eth0]:7". `port` (host order) stands where the
 * text names none. The whole text must match. EINVAL: no such form; ERANGE: port not 1 to 65535;
 * ENODEV: no such zone on this host. */
int net_parse(const char *text, uint16_t port, struct net_addr *addr);

/* "192.0.2.1:7", "[2001:db8::1]:7", "[fe80::1%eth0]:7". Returns buf. */
const char *net_print(const struct net_addr *addr, char buf[static NET_STRLEN]);

/* The same without brackets and port. Returns buf. */
const char *net_print_host(const struct net_addr *addr, char buf[static NET_STRLEN]);

/* A socket's own address and port, or "?". Returns buf. */
const char *net_print_own(int fd, char buf[static NET_STRLEN]);

/* Same family, address, zone and port. */
bool net_equal(const struct net_addr *a, const struct net_addr *b);

/* True if both cannot be bound at once without sharing: same family and port, and the same address
 * or a wildcard. */
bool net_overlap(const struct net_addr *a, const struct net_addr *b);

/* Host order. */
uint16_t net_port(const struct net_addr *addr);
void net_set_port(struct net_addr *addr, uint16_t port);

/* Open `count` nonblocking sockets of `type` (SOCK_STREAM or SOCK_DGRAM) bound to the same address,
 * ready to serve: stream sockets are set up so that what they accept needs no further option, and
 * listen with `backlog` (ignored for datagrams). With count 1 the address is ours alone; with more
 * the kernel spreads clients over the sockets (SO_REUSEPORT, socket(7)). `share` lets the address
 * overlap one of our own sockets that net_share() has opened for it. All or none: on failure
 * nothing is left open and errno tells why (EADDRINUSE, EACCES, EADDRNOTAVAIL, EAFNOSUPPORT, ...).
 */
int net_open(int type, const struct net_addr *addr, int backlog, bool share, size_t count,
             int fds[]);

/* Deliver with each datagram how many hops it had left (IP_TTL, IPV6_HOPLIMIT) and, unless it is
 * none, how many its socket had dropped when it arrived (SO_RXQ_OVFL), or no longer. */
void net_show_more(int fd, bool on);

/* How many hops a reply has to go: so few that it is told from a client's datagram, see guard.h. */
#define NET_REPLY_HOPS 168

/* Let further sockets of ours overlap this one's address, or no longer. */
int net_share(int fd, bool on);

/* Let no new client reach a socket of net_open(): they come to whatever else is bound to its
 * address, or to nothing. What has arrived stays there, and handshakes that have begun end as they
 * should, so it can be served out and closed without a client noticing. */
void net_retire(int type, int fd);

/* Give an accepted socket the options that it has not inherited, because its listener was not ours
 * when the client came, or because its listener is retired. */
void net_welcome(int fd);

/* Hand the sockets' ownership to a user, so that after privileges are dropped the kernel still
 * takes them for ours when an address is shared. */
int net_own(int fd, uid_t uid, gid_t gid);

/* Make a socket that somebody else opened fit to serve: nonblocking, close-on-exec, the same
 * options as net_open() sets. Fills in its type and address. EPROTOTYPE: not an IPv4 or IPv6 socket
 * of a listening stream or a bound datagram kind. */
int net_adopt(int fd, int *type, struct net_addr *addr);

#endif
