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

/* One loop with its TCP and UDP endpoints and its counters. Worker 0 runs on the caller's thread,
 * the others on their own. Every function may be called from the thread of worker 0 only; what it
 * asks is done in the worker's own thread, between two turns, before the function returns. */

struct worker;

/* NULL with errno on failure. admit is borrowed. */
struct worker *worker_new(struct connlimit *admit);

/* Start the thread of a worker other than 0; it serves when this returns. */
int worker_start(struct worker *worker);

/* Worker 0: serve until worker_stop(). */
void worker_run(struct worker *worker);

/* End the loop, and wait for the thread where there is one. */
void worker_stop(struct worker *worker);

/* Closes its connections at once. To be stopped before. */
void worker_free(struct worker *worker);

/* Serve a socket of socket.h, which stays the caller's; -1 with errno. `first` and
 * `sharing_workers` are as in udp.h. */
int worker_add_socket(struct worker *worker, int type, int fd, bool first,
                      unsigned sharing_workers);

/* Let no new client reach it, but go on with those who have. */
void worker_retire_socket(struct worker *worker, int type, int fd);

/* Serve what has arrived. False if there is no room for all of it now. */
bool worker_empty_queue(struct worker *worker, int type, int fd);

/* Stop serving it, after what has arrived was served. Nothing is done for one that is not served.
 */
void worker_drop_socket(struct worker *worker, int type, int fd);

/* How to serve from now on; copied. */
struct worker_params {
    uint64_t busy_poll;        /* nanoseconds, see loop_set_spin() */
    uint64_t tcp_idle_timeout; /* nanoseconds; 0: never */
    struct acl access;         /* for TCP and UDP */
    struct udp_params udp;
};
void worker_set_params(struct worker *worker, const struct worker_params *params);

/* Close every connection at once. */
void worker_close_connections(struct worker *worker);

/* Show signs of life at least every `interval` nanoseconds, for worker_last_alive(). */
void worker_watch(struct worker *worker, uint64_t interval);
uint64_t worker_last_alive(const struct worker *worker);

/* Its counters, which may be read at any time. */
const struct stats *worker_stats(const struct worker *worker);

/* Worker 0's loop, for what the server itself watches. */
struct loop *worker_loop(struct worker *worker);

#endif
