/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_CONNECTION_H
#define ECHOD_DAEMON_TCP_CONNECTION_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "daemon/admission/acl.h"
#include "daemon/admission/connlimit.h"
#include "daemon/stats/stats.h"
#include "daemon/tcp/echo.h"
#include "net/loop.h"

/* One worker's TCP connections: they begin, are served, time out and end. Times are nanoseconds.
 *
 * The more slots are taken, the sooner an idle connection ends: the idle timeout is a quarter once
 * half of the slots are taken, a sixteenth from 3/4, a 64th from 7/8. */

/* A client protects its connection from eviction while it sends at least this many octets a
 * second on average. */
#define CONNECTION_USEFUL_RATE 16

struct connection {
    struct loop_io io;
    struct connections *set;
    struct connection *older; /* in the order of the last activity */
    struct connection *newer;
    uint64_t opened;
    uint64_t last_activity;
    uint64_t useful_until; /* until then its client has sent enough, see CONNECTION_USEFUL_RATE */
    struct connlimit_source *source;
    struct echo echo;
    int unacknowledged; /* octets sent that the client had not acknowledged when we last looked */
};

struct connections {
    struct loop *loop;
    struct stats *stats;
    struct connlimit *connlimit;
    struct acl access;
    struct connection *oldest; /* least recently active */
    struct connection *newest;
    struct connection *cursor; /* where evict's next walk starts; NULL: at the oldest */
    unsigned open;
    uint64_t idle_timeout; /* 0: never */
    unsigned char *scratch;
    struct loop_timer idle_timer;
    void (*slot_freed)(struct connections *set);
};

/* `loop`, `stats` and `connlimit` are borrowed and must outlive it. `slot_freed` is called whenever
 * a connection has ended and its slot, descriptor and memory are free. -1 with errno. */
int connections_init(struct connections *set, struct loop *loop, struct stats *stats,
                     struct connlimit *connlimit, void (*slot_freed)(struct connections *set));

/* Closes all connections. Does nothing to a zeroed struct. */
void connections_fini(struct connections *set);

void connections_close_all(struct connections *set);

/* End each connection that began at `until` or earlier and is not in the midst of an echo: its
 * client has sent nothing that we have not read, and has acknowledged all that we sent. Returns how
 * many of those that began by then are left. */
unsigned connections_finish(struct connections *set, uint64_t until);

/* The time without an octet either way after which a connection ends; 0: never. Holds for open
 * connections too. */
void connections_set_idle_timeout(struct connections *set, uint64_t timeout);

/* Which sources may connect from now on. The open connections of all others end at once. The set
 * that `access` refers to is borrowed. */
void connections_set_access(struct connections *set, const struct acl *access);

/* ---- the beginning ---- */

enum connection_outcome {
    CONNECTION_BEGUN,
    CONNECTION_DENIED,      /* access denies the peer */
    CONNECTION_SOURCE_FULL, /* its source has max-connections-per-source open */
    CONNECTION_NO_SLOT,     /* all slots are taken */
    CONNECTION_NO_MEMORY    /* errno says more */
};

/* Begin a connection with an accepted socket. What the client has sent is answered before this
 * returns, and the connection may have ended by then. Takes ownership of fd and closes it if the
 * client is refused. CONNECTION_NO_SLOT: *waiting is a connection that has not begun. */
enum connection_outcome connection_begin(struct connections *set, int fd, const struct addr *peer,
                                         struct connection **waiting);

/* ---- a connection that has not begun, for want of a slot ---- */

/* Begin it after all. It takes over a slot that the caller has. Returns CONNECTION_BEGUN or
 * CONNECTION_NO_MEMORY; then the connection and the slot are given up. */
enum connection_outcome connection_begin_waiting(struct connection *waiting);

/* False if its client has left, or access has come to deny it: the connection is then discarded. */
bool connection_recheck(struct connection *waiting);

/* Close it. */
void connection_discard(struct connection *waiting);

/* ---- an open connection ---- */

/* End a connection. Its slot is left to the caller, and slot_freed is not called. `reason` is for
 * the log. */
void connection_end_keeping_slot(struct connection *c, const char *reason);

/* True if its client has sent something that we have not read. After a stall of ours, unread input
 * means that the client was not idle. */
bool connection_has_input(const struct connection *c);

#endif
