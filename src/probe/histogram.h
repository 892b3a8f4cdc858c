/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_HISTOGRAM_H
#define ECHOD_PROBE_HISTOGRAM_H

#include <stdint.h>

/* Counts of values in buckets whose width grows with the value: up to 128 each value has its own,
 * beyond that a bucket is at most 1/64 of its values wide. Values from 2^42 on (73 minutes in
 * nanoseconds) share the last bucket. */
#define HISTOGRAM_SUB     64 /* buckets between a value and its double */
#define HISTOGRAM_BUCKETS (37 * HISTOGRAM_SUB)

struct histogram {
    uint64_t count;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The bucket of a value, and the lowest value of a bucket (of HISTOGRAM_BUCKETS: one beyond the
 * highest). */
unsigned histogram_bucket(uint64_t value);
uint64_t histogram_low(unsigned bucket);

/* The middle of the bucket in which the value lies that a part q (0 to 1) of all do not exceed; 0
 * while empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double q);

#endif
