/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_CONNLIMIT_H
#define ECHOD_DAEMON_ADMISSION_CONNLIMIT_H

#include <stdbool.h>

#include "common/addr.h"
#include "common/log.h"

/* How many TCP connections may be open, in all and from one source. Shared by all workers,
 * consulted when a connection comes and when it goes, never on the path of an echo. A source is a
 * prefix, see prefix.h. */
struct connlimit;
struct connlimit_source; /* a source with at least one connection */

/* NULL with errno on failure. */
struct connlimit *connlimit_new(void);
void connlimit_free(struct connlimit *admit);

/* May be changed at any time; what is open already stays. */
struct connlimit_params {
    unsigned total;
    unsigned per_source; /* 0: no limit */
    unsigned v4_length;  /* of the prefix that is one source */
    unsigned v6_length;
};
void connlimit_set_params(struct connlimit *admit, const struct connlimit_params *limits);

/* Take one of the places in all, before accept(2); false if there is none. */
bool connlimit_reserve(struct connlimit *admit);

/* Give it back. */
void connlimit_release(struct connlimit *admit);

/* Every worker's eventfd(2), before any of them begins to serve. -1 with errno for want of memory.
 */
int connlimit_add_wakeup(struct connlimit *admit, int bell);

/* At a worker's listener somebody seems to wait for whom there is no place, and no connection of
 * that worker that could make room. It rings all the others, now and then. */
void connlimit_request_eviction(struct connlimit *admit, int listener, uint64_t now);
bool connlimit_eviction_requested(const struct connlimit *admit);

/* That listener, for the first that answers; -1 for who comes later. */
int connlimit_claim_request(struct connlimit *admit);

/* How scarce places are: each half of those that were left, when it is taken, counts one, up to
 * CONNLIMIT_PRESSURE_MAX. */
#define CONNLIMIT_PRESSURE_MAX 3
unsigned connlimit_pressure(const struct connlimit *admit);

/* How many places are taken, and of how many. After the limit was lowered it may be more. */
unsigned connlimit_open(const struct connlimit *admit);
unsigned connlimit_total(const struct connlimit *admit);

/* Brakes for what is logged about it, one for all workers. */
struct connlimit_logs {
    struct log_limit full;    /* no place is left */
    struct log_limit starved; /* no descriptor or memory */
    struct log_limit source;  /* a source had its share */
    struct log_limit denied;  /* access denies a source */
    struct log_limit evicted; /* one had to make room for another */
};
struct connlimit_logs *connlimit_logs(struct connlimit *admit);

/* Count a connection to its source. NULL with errno EUSERS where the source has its share already,
 * ENOMEM for want of memory. */
struct connlimit_source *connlimit_enter(struct connlimit *admit, const struct addr *peer);
void connlimit_leave(struct connlimit *admit, struct connlimit_source *source);

/* How many connections it has now. */
unsigned connlimit_count(const struct connlimit_source *source);

#endif
