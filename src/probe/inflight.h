/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_INFLIGHT_H
#define ECHOD_PROBE_INFLIGHT_H

#include "probe/probe.h"

/* Which probes are under way, and what became of them: probe_reply(), probe_error(), probe_stamp()
 * and probe_oldest_waiting() of probe.h, and what only the engine needs. */

/* NULL: there was no such probe, or it is too long ago. */
struct probe_slot *inflight_find(const struct probe *probe, uint64_t seq);

/* Do not wait for this one (NULL: none) any longer. */
void inflight_complete(struct probe *probe, struct probe_slot *slot);

/* How long a reply may take. */
uint64_t inflight_timeout(const struct probe *probe);

/* Settle what waited too long. Returns when the next one will have. */
uint64_t inflight_give_up(struct probe *probe, uint64_t now);

/* A probe that is not answered for an interval makes room for another one: a window full of lost
 * ones would end everything. Returns when the next one does. */
uint64_t inflight_make_room(struct probe *probe, uint64_t now);

#endif
