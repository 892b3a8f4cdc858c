/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_WAITER_H
#define ECHOD_NET_WAITER_H

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"

/* Wait for descriptors, for a point in time and for the user, all in one place, so that no signal
 * is missed between a test and a wait. Times are nanoseconds of CLOCK_MONOTONIC. */

#define WAITER_NEVER UINT64_MAX

/* Descriptors waited for at once, at most. */
#define WAITER_MAX 3

struct waiter {
    int signals; /* signalfd, or -1 */
    sigset_t old_mask;
    bool stopped; /* SIGINT or SIGTERM came */
    bool asked;   /* SIGQUIT came; whoever answers it resets this */
};

/* Take SIGINT, SIGTERM and SIGQUIT from here to waiter_close(). -1 with errno. */
int waiter_open(struct waiter *waiter);
void waiter_close(struct waiter *waiter);

/* poll(2) on `count` descriptors until a point in time or a signal. All revents are 0 unless one of
 * them is ready. -1 with errno: the kernel cannot. */
int waiter_wait(struct waiter *waiter, struct pollfd fds[], unsigned count, uint64_t until);

#endif
