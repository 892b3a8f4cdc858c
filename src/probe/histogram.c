/* SPDX-License-Identifier: ISC */
#include "probe/histogram.h"

#include <float.h>
#include <math.h>

unsigned histogram_bucket(uint64_t value)
{
    unsigned shift;
    uint64_t bucket;

    if (value < UINT64_C(2) * HISTOGRAM_SUB)
        return (unsigned)value;
    /* What is left of the value is its 7 highest bits: 64 to 127. */
    shift = 57 - (unsigned)__builtin_clzll(value);
    bucket = (uint64_t)shift * HISTOGRAM_SUB + (value >> shift);
    return bucket < HISTOGRAM_BUCKETS ? (unsigned)bucket : HISTOGRAM_BUCKETS - 1;
}

uint64_t histogram_low(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_SUB)
        return bucket;
    return (uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB) << (bucket / HISTOGRAM_SUB - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->buckets[histogram_bucket(value)]++;
}

/* By nearest rank, from 1: the least one that has at least a part q of all at or below it. */
static uint64_t rank_of(uint64_t count, double q)
{
    double rank;

    if (!(q > 0))
        return 1;
    if (q >= 1)
        return count;
    /* 0.07 of 100 is 7, although the double nearest to 0.07 is larger than that. */
    rank = ceil(q * (double)count * (1 - 2 * DBL_EPSILON));
    return (uint64_t)rank;
}

uint64_t histogram_quantile(const struct histogram *histogram, double q)
{
    uint64_t rank = rank_of(histogram->count, q);
    uint64_t below = 0;
    unsigned bucket;
    uint64_t low;

    if (histogram->count == 0)
        return 0;
    for (bucket = 0; bucket < HISTOGRAM_BUCKETS - 1; bucket++) {
        below += histogram->buckets[bucket];
        if (below >= rank)
            break;
    }
    low = histogram_low(bucket);
    return low + (histogram_low(bucket + 1) - 1 - low) / 2;
}
