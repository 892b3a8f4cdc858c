/* SPDX-License-Identifier: ISC */
#include "daemon/stats/refusals.h"

#include <inttypes.h>

#include "common/log.h"

static void tell(uint64_t *quiet_until, uint64_t *told, uint64_t count, const char *what,
                 const char *why, uint64_t now)
{
    if (count == *told || now < *quiet_until)
        return;
    log_notice("%" PRIu64 " %s refused: %s", count - *told, what, why);
    *told = count;
    *quiet_until = now + LOG_LIMIT_NS;
}

void refusals_tell(struct refusals *refusals, const struct stats_sum *sum, uint64_t now)
{
#define X(name, what, why)                                                                         \
    tell(&refusals->name##_quiet_until, &refusals->told.name, sum->name, what, why, now);
    STATS_REFUSALS(X)
#undef X
}
