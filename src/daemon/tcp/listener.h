/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_LISTENER_H
#define ECHOD_DAEMON_TCP_LISTENER_H

#include <stdbool.h>

#include "daemon/tcp/connection.h"
#include "net/loop.h"

/* One worker's listening sockets: they accept clients, and pause when none can be let in.
 *
 * A client is accepted first and gets its slot afterwards, because before accept4(2) nobody knows
 * that a client waits and that access permits it: no connection is evicted for nothing. A client
 * that gets no slot is kept as the one that waits. Meanwhile the listeners are not watched, and the
 * kernel's backlog holds the others. The same happens, without a client that waits, when there is
 * no descriptor or memory. */

struct listener;

struct listeners {
    struct connections *connections;
    unsigned worker; /* number of the worker, see connlimit_add_worker() */
    struct listener *first;
    struct connection *waiting; /* accepted and permitted, without a slot; NULL: no client waits */
    bool paused;
    struct loop_timer resume_timer;
};

/* `connections` is borrowed and must outlive it. */
void listeners_init(struct listeners *listeners, struct connections *connections, unsigned worker);

/* Forgets all listeners without serving their backlogs, and closes the client that waits. */
void listeners_fini(struct listeners *listeners);

/* Accept from a listening socket, which stays the caller's. `sharing_workers` is the number of
 * workers that accept from it if it is inherited, or 0. A worker that has more than its share of
 * the connections leaves the next clients of such a socket to the others for a moment. -1 with
 * errno. */
int listeners_add(struct listeners *listeners, int fd, unsigned sharing_workers);

/* A listener that another process has shut down is no longer watched. If listen(2) has revived it
 * since, here or there, accept from it again. */
void listeners_rearm(struct listeners *listeners);

/* Let in only clients whose handshake has begun, see socket_retire(). */
void listeners_retire(struct listeners *listeners, int fd);

/* Let in the clients in the socket's backlog. False if some are left for want of room. */
bool listeners_drain(struct listeners *listeners, int fd);

/* Stop accepting from a socket. Clients left in its backlog are reset when the caller closes it.
 * Does nothing if it is none of the listeners. */
void listeners_drop(struct listeners *listeners, int fd);

/* Accept again, if the listeners pause: there may be a slot, a descriptor or memory. */
void listeners_resume(struct listeners *listeners);

/* The worker's eventfd was written to: the client that waits may have been given a slot. */
void listeners_woken(struct listeners *listeners);

/* Close the client that waits for a slot, if any. */
void listeners_discard_waiting(struct listeners *listeners);

#endif
