/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_CLOCK_H
#define ECHOD_COMMON_CLOCK_H

#include <stdint.h>

/* Times are nanoseconds in a uint64_t, everywhere. Points in time are CLOCK_MONOTONIC. */

#define SECOND      UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)
#define MICROSECOND UINT64_C(1000)

/* The present time of CLOCK_MONOTONIC. */
uint64_t clock_now(void);

#endif
