/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_RUN_H
#define ECHOD_PROBE_RUN_H

#include "net/loop.h"
#include "net/signals.h"
#include "probe/engine.h"

/* Runs probes: opens their links, loops, ends. Settings and events are in engine.h. */

/* What all probes of a process share. */
struct runner {
    struct loop loop;
    struct signals signals;
    struct loop_timer timer;
    struct probe *probe; /* the one that is opening or running; NULL: none */
};

/* Raises the soft limit of descriptors to the hard one. -1 with errno. SIGINT, SIGTERM and SIGQUIT
 * are taken from the first probe_open() to runner_fini(). */
int runner_init(struct runner *runner);
void runner_fini(struct runner *runner);

/* Make ready to open links and run; what is sent may be set in probe->payload afterwards. -1 with
 * errno; EOVERFLOW: more probes would be in flight than INFLIGHT_MAX (inflight.h). probe_fini() is
 * called in any case, before runner_fini(). */
int probe_init(struct probe *probe, struct runner *runner, const struct probe_settings *settings,
               probe_listener *listener, void *context);
void probe_fini(struct probe *probe);

/* Open all links to a peer. -1: the listener was told why; another peer may be tried unless
 * probe->stopped. */
int probe_open(struct probe *probe, const struct probe_ops *ops, const struct addr *peer);

/* Wait until a point in time, for the next attempt to open links. False: a signal or the deadline
 * has ended the run. */
bool probe_pause(struct probe *probe, uint64_t until);

/* Send and receive until the settings, a signal, the peer or the listener ends it. Returns how long
 * that took. */
uint64_t probe_run(struct probe *probe);

/* ping(8)'s exit status: 0 at least one reply (with count and deadline: all), 1 none or too few, 2
 * any other error, such as that this host could send none of the probes. */
int probe_status(const struct probe *probe);

#endif
