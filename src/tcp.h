/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TCP_H
#define ECHOD_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "admit.h"
#include "loop.h"
#include "stats.h"

/* One worker's TCP: listeners, who is let in, connections in the order of their last activity,
 * drain. When no more connections can be had, be it the limit, descriptors or memory, the listeners
 * leave the poll set and the kernel's backlog holds the clients; the next connection that ends, or
 * a moment's wait, lets them in. */

struct tcp_conn;
struct tcp_listener;

struct tcp {
    struct loop *loop;
    struct stats *stats;
    struct admit *admit;
    struct tcp_listener *listeners;
    struct tcp_conn *oldest; /* least recently active */
    struct tcp_conn *newest;
    unsigned open;
    uint64_t idle_timeout; /* nanoseconds; 0: never */
    unsigned char *scratch;
    bool muted;
    struct loop_timer resume_timer;
    struct loop_timer idle_timer;
};

/* loop, stats and admit are borrowed and must outlive it. */
int tcp_init(struct tcp *tcp, struct loop *loop, struct stats *stats, struct admit *admit);

/* Closes every connection at once; listeners must have been dropped. */
void tcp_fini(struct tcp *tcp);

/* Accept from a listening socket, which stays the caller's. */
int tcp_add_listener(struct tcp *tcp, int fd);

/* Let in only those whose handshake has begun, see net_retire(). */
void tcp_retire_listener(struct tcp *tcp, int fd);

/* Let in who is waiting in its backlog. False if there is no room for all of them. */
bool tcp_empty_queue(struct tcp *tcp, int fd);

/* Accept from it no longer, after one more tcp_empty_queue(): closing the socket resets whoever
 * waits there still. Nothing is done for a socket that is none of its listeners. */
void tcp_drop_listener(struct tcp *tcp, int fd);

/* Nanoseconds without an octet either way; 0: never. Takes effect for open connections too. */
void tcp_set_idle_timeout(struct tcp *tcp, uint64_t timeout);

/* Close every connection at once. */
void tcp_close_all(struct tcp *tcp);

#endif
