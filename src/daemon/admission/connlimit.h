/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_CONNLIMIT_H
#define ECHOD_DAEMON_ADMISSION_CONNLIMIT_H

#include <stdbool.h>

#include "common/addr.h"
#include "common/log.h"

/* How many TCP connections may be open, in all and from one source. Shared by all workers,
 * consulted when a connection comes and when it goes, never on the path of an echo. A source is a
 * prefix, see prefix.h. */
struct admit;
struct admit_source; /* a source with at least one connection */

/* NULL with errno on failure. */
struct admit *admit_new(void);
void admit_free(struct admit *admit);

/* May be changed at any time; what is open already stays. */
struct admit_limits {
    unsigned total;
    unsigned per_source; /* 0: no limit */
    unsigned v4_length;  /* of the prefix that is one source */
    unsigned v6_length;
};
void admit_set_limits(struct admit *admit, const struct admit_limits *limits);

/* Take one of the places in all, before accept(2); false if there is none. */
bool admit_reserve(struct admit *admit);

/* Give it back. */
void admit_release(struct admit *admit);

/* Every worker's eventfd(2), before any of them begins to serve. -1 with errno for want of memory.
 */
int admit_add_bell(struct admit *admit, int bell);

/* At a worker's listener somebody seems to wait for whom there is no place, and no connection of
 * that worker that could make room. It rings all the others, now and then. */
void admit_want_room(struct admit *admit, int listener, uint64_t now);
bool admit_room_is_wanted(const struct admit *admit);

/* That listener, for the first that answers; -1 for who comes later. */
int admit_answer_want(struct admit *admit);

/* How scarce places are: each half of those that were left, when it is taken, counts one, up to
 * ADMIT_SCARCE_MAX. */
#define ADMIT_SCARCE_MAX 3
unsigned admit_scarcity(const struct admit *admit);

/* How many places are taken, and of how many. After the limit was lowered it may be more. */
unsigned admit_open(const struct admit *admit);
unsigned admit_total(const struct admit *admit);

/* Brakes for what is logged about it, one for all workers. */
struct admit_logs {
    struct log_limit full;    /* no place is left */
    struct log_limit starved; /* no descriptor or memory */
    struct log_limit source;  /* a source had its share */
    struct log_limit denied;  /* access denies a source */
    struct log_limit evicted; /* one had to make room for another */
};
struct admit_logs *admit_logs(struct admit *admit);

/* Count a connection to its source. NULL with errno EUSERS where the source has its share already,
 * ENOMEM for want of memory. */
struct admit_source *admit_enter(struct admit *admit, const struct addr *peer);
void admit_leave(struct admit *admit, struct admit_source *source);

/* How many connections it has now. */
unsigned admit_count(const struct admit_source *source);

#endif
