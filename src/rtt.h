/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_RTT_H
#define ECHOD_RTT_H

#include <stdint.h>

/* Round-trip times in nanoseconds, summed up as they come: constant memory however many there are.
 */
struct rtt {
    uint64_t count;
    uint64_t min;
    uint64_t max;
    double mean;
    double squares; /* sum of the squared distances from the mean */
};

/* A zeroed struct rtt is empty. */
void rtt_add(struct rtt *rtt, uint64_t ns);

/* Nanoseconds; 0 while empty. */
double rtt_mean(const struct rtt *rtt);

/* What ping(8) calls mdev: the standard deviation of the whole population, in nanoseconds. */
double rtt_mdev(const struct rtt *rtt);

#endif
