/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_RTT_H
#define ECHOD_PROBE_RTT_H

#include <stdint.h>

#include "probe/histogram.h"

/* Statistics of round-trip times in nanoseconds, in constant memory. */
struct rtt {
    uint64_t count;
    uint64_t min;
    uint64_t max;
    double mean;
    double squares; /* sum of the squared distances from the mean */
    uint64_t latest;
    double jitter;       /* RFC 3550 section 6.4.1 */
    double variation;    /* sum of |differences| between the round trips of successive probes */
    uint64_t variations; /* pairs of successive probes; 0: there is no IPDV */
    struct histogram *histogram; /* NULL: there was no memory for it, so there are no quantiles */
};

/* Begin empty, with a histogram. Without memory for the histogram the rest works. */
void rtt_init(struct rtt *rtt);
void rtt_fini(struct rtt *rtt);

/* Add a round trip. Call it in the order of arrival. */
void rtt_add(struct rtt *rtt, uint64_t ns);

/* Add the round trips of two probes of which one was sent right after the other. */
void rtt_add_pair(struct rtt *rtt, uint64_t one, uint64_t other);

/* Nanoseconds; 0 while empty. */
double rtt_mean(const struct rtt *rtt);

/* What ping(8) calls mdev: the standard deviation of the whole population, in nanoseconds. */
double rtt_mdev(const struct rtt *rtt);

/* Interarrival jitter as RFC 3550 estimates it, and the mean of the absolute differences between
 * successive probes that both were answered (IPDV, RFC 3393); nanoseconds. */
double rtt_jitter(const struct rtt *rtt);
double rtt_ipdv(const struct rtt *rtt);

/* The round trip that a part q (0 to 1) of all did not exceed, nanoseconds, to the resolution of
 * the histogram and between min and max; 0 while empty. */
uint64_t rtt_quantile(const struct rtt *rtt, double q);

#endif
