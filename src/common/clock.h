/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_CLOCK_H
#define ECHOD_COMMON_CLOCK_H

#include <stdint.h>

/* A duration is nanoseconds in a uint64_t. A point in time is nanoseconds of CLOCK_MONOTONIC. */

#define SECOND      UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)
#define MICROSECOND UINT64_C(1000)

/* The time now. */
uint64_t clock_now(void);

#endif
