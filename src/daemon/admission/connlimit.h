/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_CONNLIMIT_H
#define ECHOD_DAEMON_ADMISSION_CONNLIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/log.h"

/* Limits the number of TCP connections, in total and for each source. All workers share one. It is
 * consulted when a connection begins and when it ends, never for an echo. A source is a prefix, see
 * common/prefix.h.
 *
 * Every connection holds a slot. A worker that finds no slot for a client can wait for one: it then
 * gets the next slot that any worker releases, before clients that come later. */
struct connlimit;
struct connlimit_source; /* a source that has at least one connection */

/* NULL with errno on failure. */
struct connlimit *connlimit_new(void);
void connlimit_free(struct connlimit *connlimit);

struct connlimit_params {
    unsigned total;
    unsigned per_source; /* 0: no limit */
    unsigned v4_length;  /* length in bits of the IPv4 prefix that is one source */
    unsigned v6_length;  /* length in bits of the IPv6 prefix that is one source */
};

/* Change the limits, at any time and from any thread. No connection is closed for a lower limit. */
void connlimit_set_params(struct connlimit *connlimit, const struct connlimit_params *params);

/* Add a worker, before any worker begins to serve. `wakeup` is its eventfd(2), borrowed. Returns
 * the worker's number, or -1 with errno ENOMEM. */
int connlimit_add_worker(struct connlimit *connlimit, int wakeup);

/* ---- slots ---- */

/* Take a slot for a connection that is counted and has none. False if all are taken. */
bool connlimit_reserve(struct connlimit *connlimit);

/* Give a slot back. A worker that waits gets it and is woken. */
void connlimit_release(struct connlimit *connlimit);

/* Wait for a slot: when one is given to this worker, its eventfd is written to. Also asks the other
 * workers to evict a connection, at most 4 times a second (all workers together). `now` is in
 * nanoseconds. */
void connlimit_wait(struct connlimit *connlimit, unsigned worker, uint64_t now);

/* Stop waiting. True if a slot was given to this worker in the meantime: the caller now has it. */
bool connlimit_stop_waiting(struct connlimit *connlimit, unsigned worker);

/* True if a worker waits and has asked for an eviction that nobody has claimed. */
bool connlimit_eviction_wanted(const struct connlimit *connlimit);

/* Claim that request. True for one worker only, which must then end a connection. */
bool connlimit_claim_eviction(struct connlimit *connlimit);

/* Slots that are taken. After the limit was lowered it may be more than the total. */
unsigned connlimit_open(const struct connlimit *connlimit);
unsigned connlimit_total(const struct connlimit *connlimit);

/* How scarce slots are: 0 while less than 1/2 of them are taken, 1 from 1/2, 2 from 3/4, 3 from
 * 7/8. */
#define CONNLIMIT_PRESSURE_MAX 3
unsigned connlimit_pressure(const struct connlimit *connlimit);

/* ---- sources ---- */

enum connlimit_result {
    CONNLIMIT_ENTERED,     /* counted, with a slot */
    CONNLIMIT_NO_SLOT,     /* counted, but all slots are taken */
    CONNLIMIT_SOURCE_FULL, /* not counted: the source is at its limit */
    CONNLIMIT_NO_MEMORY    /* not counted */
};

/* Count one more connection of the peer's source, and take a slot for it. *source is set if it is
 * counted. */
enum connlimit_result connlimit_enter(struct connlimit *connlimit, const struct addr *peer,
                                      struct connlimit_source **source);

/* Count one connection less. Its slot is released by connlimit_release(). */
void connlimit_leave(struct connlimit *connlimit, struct connlimit_source *source);

/* The number of connections that the source has now. */
unsigned connlimit_count(const struct connlimit_source *source);

/* ---- log ---- */

/* Rate limits of the log messages about TCP clients, shared by all workers. */
struct connlimit_logs {
    struct log_limit full;    /* all slots are taken */
    struct log_limit starved; /* no descriptor or memory for a connection */
    struct log_limit source;  /* a source is at its limit */
    struct log_limit denied;  /* access denies a source */
    struct log_limit evicted; /* a connection was ended to let another in */
};
struct connlimit_logs *connlimit_logs(struct connlimit *connlimit);

#endif
