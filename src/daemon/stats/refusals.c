/* SPDX-License-Identifier: ISC */
#include "daemon/stats/refusals.h"

#include <inttypes.h>

#include "common/log.h"

void refusals_tell(struct refusals *refusals, const struct stats_sum *sum, uint64_t now)
{
    for (size_t i = 0; i < STATS_COUNT; i++) {
        const struct stats_counter *counter = &stats_counters[i];
        uint64_t more = sum->all[i] - refusals->logged.all[i];

        if (!counter->reason || more == 0 || now < refusals->quiet_until[i])
            continue;
        log_notice("%" PRIu64 " %s refused: %s", more, counter->what, counter->why);
        refusals->logged.all[i] = sum->all[i];
        refusals->quiet_until[i] = now + LOG_LIMIT_NS;
    }
}
