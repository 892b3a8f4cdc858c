/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_RATELIMIT_H
#define ECHOD_DAEMON_ADMISSION_RATELIMIT_H

#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/prefix.h"
#include "daemon/admission/verdict.h"

/* How many datagrams of a source are answered: token buckets in a table of fixed size. A source is
 * an address prefix. The table belongs to one worker. It also holds what the loop guard remembers
 * of each source.
 *
 * An IPv6 source has a bucket of its own and shares those of the networks around it, /64, /56, /48
 * and /32, as far as they are larger than the source; each step of eight bits allows four times as
 * much. So the holder of a large network does not have a budget for each of its parts.
 *
 * A source that is not in the table replaces one of four: the one whose buckets are fullest,
 * because a full bucket is what a new source gets. If none is full, the newcomer gets what is left
 * in it, so the whole table never answers more than its size times a budget. A keyed hash chooses
 * the four, so nobody can choose whom to replace. */

struct ratelimit_params {
    unsigned rate;                   /* datagrams a second, above 0 */
    unsigned burst;                  /* datagrams at once, above 0 */
    unsigned v4_length, v6_length;   /* bits of an address that make a source */
    size_t size;                     /* sources remembered */
    const struct prefix_set *exempt; /* sources without buckets; borrowed; NULL: none */
    uint64_t key[2];                 /* of the hash */
};

struct ratelimit;

/* NULL with errno. */
struct ratelimit *ratelimit_new(const struct ratelimit_params *params);

/* NULL is allowed. */
void ratelimit_free(struct ratelimit *limit);

/* Of the datagrams beyond the rate one in RATELIMIT_SLIP_ODDS is answered at random, up to `rate` a
 * second for all sources together. So a sender that forges a victim's address does not silence the
 * victim, and a loop, which needs luck in every round, still ends. */
#define RATELIMIT_SLIP_ODDS 16

/* Judge one datagram and charge its source for the reply: VERDICT_ANSWER, SLIP, OVER_RATE or LOOP.
 * `fingerprint` is loopguard_fingerprint()'s. `now` is in nanoseconds, never less than before, and
 * the same for all datagrams that were received together. An exempt source is only watched for
 * loops. */
enum verdict ratelimit_charge(struct ratelimit *limit, const struct addr *source,
                              uint32_t fingerprint, uint64_t now);

#endif
