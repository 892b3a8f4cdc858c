/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_RATELIMIT_H
#define ECHOD_DAEMON_ADMISSION_RATELIMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/prefix.h"

/* How many datagrams a source gets answered: token buckets in a table of fixed size, and an eye for
 * datagrams that go round in a loop. One table belongs to one worker.
 *
 * An IPv6 source has a bucket for each of the networks around it too, /64, /56, /48 and /32, as far
 * as they are larger than the source itself; each step of eight bits allows four times as much, so
 * that the holder of a large network has not a budget for each of its parts.
 *
 * A source that is not in the table takes the place of the one among four whose bucket is fullest:
 * a full one says nothing that a new one does not. Where none is full the newcomer gets what was
 * left in it, so the whole table never answers more than its size times a budget. The place is
 * chosen by a keyed hash (SipHash-1-3), so nobody can choose whom to displace. */

struct ratelimit_params {
    unsigned rate;  /* datagrams a second, above 0 */
    unsigned burst; /* and at once, above 0 */
    unsigned v4_length, v6_length;
    size_t size;                     /* sources remembered */
    const struct prefix_set *exempt; /* borrowed; NULL: nobody */
    uint64_t key[2];
};

struct ratelimit;

/* NULL with errno. */
struct ratelimit *ratelimit_new(const struct ratelimit_params *params);

/* NULL is allowed. */
void ratelimit_free(struct ratelimit *budget);

/* What one datagram looks like: equal for equal ones from the same port, and hardly ever else. Of a
 * long one only both ends are looked at. */
uint32_t ratelimit_fingerprint(uint16_t port, const void *data, size_t length);

enum ratelimit_verdict {
    RATELIMIT_ANSWER,
    RATELIMIT_SLIP,   /* answer it, though the budget is spent */
    RATELIMIT_REFUSE, /* the budget is spent */
    RATELIMIT_LOOP    /* datagrams that were echoed keep coming back */
};

/* Of what comes beyond the budget one in RATELIMIT_SLIP_ODDS is answered at random, but no more
 * than one budget for all sources together: whoever spends a victim's budget in its name does not
 * silence it, and a loop, which needs luck for every round, still ends. */
#define RATELIMIT_SLIP_ODDS 16

/* A datagram that comes back from where it was echoed to within RATELIMIT_RETURN_NS is a round of a
 * loop, or a client that repeats itself. A source has RATELIMIT_ROUNDS of them free, and
 * RATELIMIT_ROUND_RATE more a second; beyond that one datagram in RATELIMIT_LOOP_ODDS is refused at
 * random, which ends a loop and costs a client no more. An exempt source loses one datagram for
 * each budget of rounds. Rounds in which many datagrams go round are counted by one of them, for up
 * to RATELIMIT_ROUND_WEIGHT. */
#define RATELIMIT_RETURN_NS    UINT64_C(2000000000)
#define RATELIMIT_ROUNDS       1000
#define RATELIMIT_ROUND_RATE   16
#define RATELIMIT_ROUND_WEIGHT 16
#define RATELIMIT_LOOP_ODDS    128

/* Judge one datagram, and charge its source for the answer. `now` is the time in nanoseconds, which
 * must not run backwards, the same for all datagrams that arrived together. An exempt source is
 * watched for loops only. */
enum ratelimit_verdict ratelimit_spend(struct ratelimit *budget, const struct addr *source,
                                       uint32_t mark, uint64_t now);

#endif
