/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_SCHEDULE_H
#define ECHOD_PROBE_SCHEDULE_H

#include "probe/engine.h"

/* When to send which probe through which link, and when a run has ended. */

/* Give up what waited too long, send what is due. Returns when to be called again at the latest. */
uint64_t schedule_turn(struct probe *probe, uint64_t now);

bool schedule_finished(const struct probe *probe, uint64_t now);

/* For the loop to call when a watch of a probe's link is ready: let the link work, and tell of its
 * end. A server that hangs up after the last reply has done its job: nothing is told of that. */
void schedule_watch_ready(struct loop_io *io, short revents);

#endif
