/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_STATS_REFUSALS_H
#define ECHOD_DAEMON_STATS_REFUSALS_H

#include <stdint.h>

#include "daemon/stats/stats.h"

/* What the log says of refusals. Clients decide how many there are, so the workers only count them,
 * and the server logs each counter that has grown, at most once every LOG_LIMIT_NS. */
struct refusals {
    struct stats_sum logged;           /* each counter as it was when last logged */
    uint64_t quiet_until[STATS_COUNT]; /* when each may be logged again, in nanoseconds */
};

/* *refusals begins as all zeros. `now` is in nanoseconds. */
void refusals_tell(struct refusals *refusals, const struct stats_sum *sum, uint64_t now);

#endif
