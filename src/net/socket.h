/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_SOCKET_H
#define ECHOD_NET_SOCKET_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "common/addr.h"

/* TCP and UDP sockets of the daemon, IPv4 and IPv6: open, adopt, configure, retire. Functions that
 * return int return -1 with errno if they fail. */

/* The socket's own address and port, or "?" if it has none. Returns buf. */
const char *socket_print_own(int fd, char buf[static ADDR_STRLEN]);

/* setsockopt(2) for an option whose value is an int. */
int socket_set_option(int fd, int level, int option, int value);

struct socket_wish {
    int type;    /* SOCK_STREAM or SOCK_DGRAM */
    int backlog; /* of a stream socket, which listens; see listen(2) */
    bool share;  /* the address may overlap that of a socket for which socket_share() was called */
    bool mptcp;  /* a stream socket speaks MPTCP too, where the kernel does (RFC 8684) */
    bool freebind; /* the address need not exist yet (ip(7), IP_FREEBIND) */
};

/* Open `count` nonblocking sockets at the same address. The connections that a stream socket
 * accepts inherit its options.
 * With more than one socket the kernel distributes clients over them (SO_REUSEPORT, socket(7)).
 * On -1 no socket is left open; errno is EADDRINUSE, EACCES,
 * EADDRNOTAVAIL, EAFNOSUPPORT, ... */
int socket_open(const struct socket_wish *wish, const struct addr *addr, size_t count, int fds[]);

/* Allow or forbid that the address of another socket of this user overlaps this socket's address.
 */
int socket_share(int fd, bool on);

/* Keep new clients away from a socket of socket_open(): the kernel gives them to another socket at
 * the address, if there is one. Datagrams that have arrived stay queued, and handshakes that have
 * begun are completed. So the socket can be served until it is empty, and closed without a client
 * noticing. */
void socket_retire(int type, int fd);

/* Set the options that an accepted socket did not inherit, because the client connected before we
 * adopted the listener, or because the listener is retired. */
void socket_set_accepted_options(int fd);

/* Make a user the owner of the socket: SO_REUSEPORT shares an address only with sockets of the same
 * user, also after privileges were dropped. */
int socket_chown(int fd, uid_t uid, gid_t gid);

/* Configure a socket that another process opened as socket_open() would, and fill in its type and
 * address. EPROTOTYPE: it is neither a listening TCP socket nor a bound UDP socket. */
int socket_adopt(int fd, int *type, struct addr *addr);

/* True for a socket of MPTCP. */
bool socket_is_mptcp(int fd);

#endif
