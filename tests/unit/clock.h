/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_CLOCK_H
#define ECHOD_TESTS_CLOCK_H

/* A clock that stands still until the test moves it. Needs -Wl,--wrap=clock_gettime. */

#include "common/clock.h"
#include "net/loop.h"
#include "unit/unit.h"

#define MS MILLISECOND

static uint64_t clock_at = 1000 * SECOND;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    (void)clock;
    ts->tv_sec = (time_t)(clock_at / SECOND);
    ts->tv_nsec = (long)(clock_at % SECOND);
    return 0;
}

/* Let time pass, and the loop notice. */
static inline void pass_time(struct loop *loop, uint64_t duration)
{
    clock_at += duration;
    loop_turn(loop, 0);
}

#endif
