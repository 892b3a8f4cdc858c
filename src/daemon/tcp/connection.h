/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_CONNECTION_H
#define ECHOD_DAEMON_TCP_CONNECTION_H

#include "daemon/tcp/echo.h"
#include "daemon/tcp/tcp.h"

/* What tcp.c, whose the connections are, tcp_listen.c, which lets them in, and tcp_victim.c, which
 * tells who has to go when there are too many, have in common. Private to them. */

struct connection {
    struct loop_io io;
    struct tcp *tcp;
    struct connection *older;
    struct connection *newer;
    uint64_t opened;
    uint64_t last_activity;
    uint64_t useful_until; /* by what it has sent, see TCP_USEFUL_RATE */
    struct connlimit_source *source;
    struct echo conn;
    int unacknowledged; /* octets that the peer had not taken yet when we last looked */
};

/* Begin with one that was accepted, in the victim's place or in one that was reserved. Where it is
 * refused, which is no failure, or memory lacks (-1 with errno), fd is closed and what was reserved
 * given back. */
int tcp_begin(struct tcp *tcp, int fd, const struct addr *peer, struct connection *victim);

void tcp_listen_init(struct tcp *tcp);
void tcp_forget_listeners(struct tcp *tcp);

/* There may be a place again, or a descriptor, or memory: accept, if the listeners rest. */
void tcp_resume(struct tcp *tcp);

/* It has sent so many octets. */
void tcp_note_use(struct connection *c, uint64_t octets);

/* The one to make room for another, as tcp.h says; NULL: none. */
struct connection *evict_choose(struct tcp *tcp);

/* End it for that. Its place is left to the caller. */
void tcp_evict(struct connection *victim);

/* It has sent what we are still to read. */
bool tcp_has_input(const struct connection *c);

#endif
