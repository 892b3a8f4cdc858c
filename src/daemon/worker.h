/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_WORKER_H
#define ECHOD_DAEMON_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include "daemon/admission/acl.h"
#include "daemon/admission/connlimit.h"
#include "daemon/stats/stats.h"
#include "daemon/udp/udp.h"
#include "net/loop.h"

/* One event loop with its TCP and UDP sockets and its counters. Worker 0 runs on the caller's
 * thread, each other worker on its own. Call these functions from the thread of worker 0 only. What
 * they ask for is done in the worker's own thread, between two turns, before they return. */

struct worker;

/* `connlimit` is borrowed. NULL with errno on failure. */
struct worker *worker_new(struct connlimit *connlimit);

/* Start the thread of a worker other than 0. The worker serves when this returns. -1 with errno. */
int worker_start(struct worker *worker);

/* Worker 0: serve until worker_stop(). */
void worker_run(struct worker *worker);

/* End the loop, and wait for the thread if there is one. */
void worker_stop(struct worker *worker);

/* Closes the worker's connections at once. Stop the worker before. NULL is allowed. */
void worker_free(struct worker *worker);

/* Serve a socket of socket.h, which stays the caller's. `type` is SOCK_STREAM or SOCK_DGRAM.
 * `is_primary` and `sharing_workers` are as in udp.h. -1 with errno. */
int worker_add_socket(struct worker *worker, int type, int fd, bool is_primary,
                      unsigned sharing_workers);

/* Let no new client reach the socket, and go on serving the clients that have. */
void worker_retire_socket(struct worker *worker, int type, int fd);

/* Let in the clients in the backlog of a stream socket. False if some are left for want of room. */
bool worker_drain_socket(struct worker *worker, int type, int fd);

/* Stop serving the socket. Datagrams that have arrived are answered first; a stream socket has to
 * be drained before. Does nothing if the socket is not served. */
void worker_drop_socket(struct worker *worker, int type, int fd);

/* How to serve from now on; copied, but what `access` and `udp` refer to is borrowed. */
struct worker_params {
    uint64_t busy_poll;        /* nanoseconds, see loop_set_spin() */
    uint64_t tcp_idle_timeout; /* nanoseconds; 0: never */
    struct acl access;         /* for TCP and UDP */
    struct udp_params udp;
};
void worker_set_params(struct worker *worker, const struct worker_params *params);

/* See connections_finish(). */
unsigned worker_finish_connections(struct worker *worker, uint64_t until);

/* Close all connections at once. */
void worker_close_connections(struct worker *worker);

/* Have the worker note at least every `interval` nanoseconds that its loop runs. */
void worker_watch(struct worker *worker, uint64_t interval);

/* When it last noted that, on CLOCK_MONOTONIC in nanoseconds; 0: never. */
uint64_t worker_last_alive(const struct worker *worker);

/* The worker's counters, which may be read at any time. */
const struct stats *worker_stats(const struct worker *worker);

/* The loop of worker 0, to which the server adds what it watches itself. */
struct loop *worker_loop(struct worker *worker);

#endif
