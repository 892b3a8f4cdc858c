/* SPDX-License-Identifier: ISC */
#include "probe/rtt.h"

#include <math.h>
#include <stdlib.h>

/* RFC 3550 section 6.4.1. */
#define JITTER_GAIN (1.0 / 16)

void rtt_init(struct rtt *rtt)
{
    *rtt = (struct rtt){.histogram = calloc(1, sizeof *rtt->histogram)};
}

void rtt_fini(struct rtt *rtt)
{
    free(rtt->histogram);
    rtt->histogram = NULL;
}

static double difference(uint64_t a, uint64_t b)
{
    return (double)(a > b ? a - b : b - a);
}

void rtt_add_pair(struct rtt *rtt, uint64_t one, uint64_t other)
{
    rtt->variation += difference(one, other);
    rtt->variations++;
}

void rtt_add(struct rtt *rtt, uint64_t ns)
{
    double value = (double)ns;
    double distance = value - rtt->mean;

    if (rtt->count > 0)
        rtt->jitter += (difference(ns, rtt->latest) - rtt->jitter) * JITTER_GAIN;
    if (rtt->count == 0 || ns < rtt->min)
        rtt->min = ns;
    if (ns > rtt->max)
        rtt->max = ns;
    rtt->latest = ns;
    rtt->count++;
    /* Welford's recurrence: a sum of squares would lose the digits that matter once times are long
     * and alike. */
    rtt->mean += distance / (double)rtt->count;
    rtt->squares += distance * (value - rtt->mean);
    if (rtt->histogram)
        histogram_add(rtt->histogram, ns);
}

double rtt_mean(const struct rtt *rtt)
{
    return rtt->mean;
}

double rtt_mdev(const struct rtt *rtt)
{
    return rtt->count == 0 ? 0 : sqrt(rtt->squares / (double)rtt->count);
}

double rtt_jitter(const struct rtt *rtt)
{
    return rtt->jitter;
}

double rtt_ipdv(const struct rtt *rtt)
{
    return rtt->variations == 0 ? 0 : rtt->variation / (double)rtt->variations;
}

uint64_t rtt_quantile(const struct rtt *rtt, double q)
{
    uint64_t value;

    if (!rtt->histogram || rtt->count == 0)
        return 0;
    if (q <= 0)
        return rtt->min;
    if (q >= 1)
        return rtt->max;
    value = histogram_quantile(rtt->histogram, q);
    if (value < rtt->min)
        return rtt->min;
    return value < rtt->max ? value : rtt->max;
}
