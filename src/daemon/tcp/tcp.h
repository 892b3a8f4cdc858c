/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_TCP_H
#define ECHOD_DAEMON_TCP_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/admission/acl.h"
#include "daemon/admission/connlimit.h"
#include "daemon/stats/stats.h"
#include "net/loop.h"

/* One worker's TCP: listeners, who is let in, connections in the order of their last activity,
 * drain.
 *
 * At the limit of connections a new one displaces an old one that hardly uses the service: one that
 * is open for TCP_SETTLED_NS and has sent less than TCP_USEFUL_RATE octets a second lately; of a
 * sample of those that were active least and most recently, one whose source has the most, and of
 * equals the least recently active; if the sample has none, some of the others are looked at, and
 * others again the next time. Failing such, one of a source that has more than its share,
 * which is a TCP_SHARE'th of all and at least TCP_SHARE_MIN. So nobody keeps the others out by
 * holding on to many connections and dribbling. The more places are taken the sooner a connection
 * is idle: the time halves twice each time that what is left halves.
 *
 * When none can be had for want of descriptors or memory, or because all are in use, the listeners
 * leave the poll set and the kernel's backlog holds the clients; the next connection that ends, or
 * a moment's wait, lets them in. */

#define TCP_SETTLED_NS  (500 * UINT64_C(1000000))
#define TCP_USEFUL_RATE 16
#define TCP_SHARE       16
#define TCP_SHARE_MIN   8

struct connection;
struct tcp_listener;

struct tcp {
    struct loop *loop;
    struct stats *stats;
    struct connlimit *admit;
    struct acl access;
    struct tcp_listener *listeners;
    struct connection *oldest; /* least recently active */
    struct connection *newest;
    struct connection *walked_to; /* by evict_choose(), or NULL: the oldest */
    unsigned open;
    uint64_t idle_timeout; /* nanoseconds; 0: never */
    unsigned scarcity;     /* of places, when the idle timer was set */
    unsigned char *scratch;
    bool muted;
    struct loop_timer resume_timer;
    struct loop_timer idle_timer;
};

/* loop, stats and admit are borrowed and must outlive it. */
int tcp_init(struct tcp *tcp, struct loop *loop, struct stats *stats, struct connlimit *admit);

/* Closes every connection at once, and leaves whoever waits at a listener to others. */
void tcp_fini(struct tcp *tcp);

/* Accept from a listening socket, which stays the caller's: as one of so many `sharing_workers`
 * that have inherited it, or 0 where it is our own. One that has more than its share of all
 * connections leaves the next clients to the others for a moment. */
int tcp_add_listener(struct tcp *tcp, int fd, unsigned sharing_workers);

/* One that another process shuts down is left alone; after listen(2) has revived it, here or there,
 * this makes us accept from it again. */
void tcp_rearm_listeners(struct tcp *tcp);

/* Let in only those whose handshake has begun, see socket_retire(). */
void tcp_retire_listener(struct tcp *tcp, int fd);

/* Let in who is waiting in its backlog. False if there is no room for all of them. */
bool tcp_empty_queue(struct tcp *tcp, int fd);

/* Accept from it no longer, after one more tcp_empty_queue(): closing the socket resets whoever
 * waits there still. Nothing is done for a socket that is none of its listeners. */
void tcp_drop_listener(struct tcp *tcp, int fd);

/* Nanoseconds without an octet either way; 0: never. Takes effect for open connections too. */
void tcp_set_idle_timeout(struct tcp *tcp, uint64_t timeout);

/* Whom to let in from now on; the connections of all others end at once. */
void tcp_set_access(struct tcp *tcp, const struct acl *access);

/* Rung up by another worker, see connlimit_request_eviction(): if one of ours can make room, let in
 * who waits there. */
void tcp_evict_for_others(struct tcp *tcp);

/* Close every connection at once. */
void tcp_close_all(struct tcp *tcp);

#endif
