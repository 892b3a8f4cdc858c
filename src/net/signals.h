/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_SIGNALS_H
#define ECHOD_NET_SIGNALS_H

#include <signal.h>
#include <stddef.h>

#include "net/loop.h"

/* Signals as events of a loop (signalfd(2)): none is missed between a test and a wait, and the
 * callback may do whatever other callbacks of the loop do. */

struct signals;
typedef void signals_fn(struct signals *signals, int number);

/* Part of its owner's struct. */
struct signals {
    struct loop_io io;
    struct loop *loop; /* NULL: no signals are taken */
    signals_fn *fn;
    sigset_t old_mask; /* the thread's mask before signals_init() */
};

/* Block `numbers` in the calling thread, and call `fn` in the loop for each signal that comes. The
 * process must have no other threads yet; those started later inherit the mask. Returns -1 with
 * errno, and nothing has changed. */
int signals_init(struct signals *signals, struct loop *loop, const int numbers[], size_t count,
                 signals_fn *fn);

/* Discard signals that are pending and restore the mask; before loop_fini(). Does nothing if
 * *signals is zeroed or signals_init() failed. */
void signals_fini(struct signals *signals);

#endif
