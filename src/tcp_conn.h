/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TCP_CONN_H
#define ECHOD_TCP_CONN_H

#include "conn.h"
#include "tcp.h"

/* One of tcp.h's connections, and which of them has to go when there are too many. Private to
 * tcp.c.
 */

struct tcp_conn {
    struct loop_io io;
    struct tcp *tcp;
    struct tcp_conn *older;
    struct tcp_conn *newer;
    uint64_t opened;
    uint64_t last_activity;
    uint64_t useful_until; /* by what it has sent, see TCP_USEFUL_RATE */
    struct admit_source *source;
    struct conn conn;
    int unacknowledged; /* octets that the peer had not taken yet when we last looked */
};

/* It has sent so many octets. */
void tcp_note_use(struct tcp_conn *c, uint64_t octets);

/* The one to make room for another, as tcp.h says; NULL: none, also where more are open than may
 * be.
 */
struct tcp_conn *tcp_find_victim(const struct tcp *tcp);

#endif
