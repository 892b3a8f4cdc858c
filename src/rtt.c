/* SPDX-License-Identifier: ISC */
#include "rtt.h"

#include <math.h>

/* Welford's recurrence: a sum of squares would lose the digits that matter once times are long and
 * alike. */
void rtt_add(struct rtt *rtt, uint64_t ns)
{
    double value = (double)ns;
    double distance = value - rtt->mean;

    if (rtt->count == 0 || ns < rtt->min)
        rtt->min = ns;
    if (ns > rtt->max)
        rtt->max = ns;
    rtt->count++;
    rtt->mean += distance / (double)rtt->count;
    rtt->squares += distance * (value - rtt->mean);
}

double rtt_mean(const struct rtt *rtt)
{
    return rtt->mean;
}

double rtt_mdev(const struct rtt *rtt)
{
    return rtt->count == 0 ? 0 : sqrt(rtt->squares / (double)rtt->count);
}
