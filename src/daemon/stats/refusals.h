/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_STATS_REFUSALS_H
#define ECHOD_DAEMON_STATS_REFUSALS_H

#include <stdint.h>

#include "daemon/stats/stats.h"

/* What the log says of refused datagrams. The workers only count, since a stranger decides how
 * often; here the counters are looked at now and then, and a reason that has news is told in one
 * line, at most every LOG_LIMIT_NS. */
struct refusals {
    struct stats_sum told;
#define X(name, what, why) uint64_t name##_quiet_until;
    STATS_REFUSALS(X)
#undef X
};

/* All zeros to begin with. `now` in nanoseconds. */
void refusals_tell(struct refusals *refusals, const struct stats_sum *sum, uint64_t now);

#endif
