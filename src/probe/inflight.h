/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_INFLIGHT_H
#define ECHOD_PROBE_INFLIGHT_H

#include "probe/engine.h"

/* Which probes are in flight, and what became of them. */

/* The most probes that are remembered: 160 MiB. */
#define INFLIGHT_MAX (UINT64_C(1) << 22)

struct probe_slot {
    uint64_t sent_at;
    uint64_t stamp;     /* when the kernel sent it, CLOCK_REALTIME; 0: not known */
    uint64_t connect;   /* how long its own connection took; 0: it has none */
    uint64_t time;      /* round trip; 0: it was not received in time */
    uint32_t delay;     /* how much later than due it was sent, where that counts */
    uint16_t link;      /* index of its link */
    bool held : 1;      /* it was sent late because the network did not take it */
    bool in_window : 1; /* it counts as unanswered in its link's window */
    bool received : 1;  /* a good reply came, in time or late */
    bool waiting : 1;   /* neither answered in any way nor given up */
};

/* Octets that arrived, and where they lie. */
struct probe_arrival {
    const struct addr *from;
    const uint8_t *octets; /* NULL: not all of them are there */
    size_t size;
    uint64_t now;
    uint64_t stamp; /* when the kernel received them, CLOCK_REALTIME; 0: not known */
};

/* How many probes may wait for their replies at once. */
uint64_t inflight_most(const struct probe_settings *settings);

/* Make room for the probes that the settings need. -1 with errno; EOVERFLOW: they need more than
 * INFLIGHT_MAX. */
int inflight_init(struct probe *probe);
void inflight_fini(struct probe *probe);

/* How long a reply may take. */
uint64_t inflight_timeout(const struct probe *probe);

/* NULL: there was no such probe, or it was too long ago. */
struct probe_slot *inflight_find(const struct probe *probe, uint64_t seq);

bool inflight_is_waiting(const struct probe *probe, uint64_t seq);

/* The oldest probe that waits for its reply; 0 if none does. */
uint64_t inflight_oldest(struct probe *probe);

/* `count` more probes are handed to a link; the newest `count` were not taken by it. */
void inflight_begin(struct probe_link *link, unsigned count, uint64_t now);
void inflight_take_back(struct probe *probe, unsigned count);

/* The connection for the whole run, or (seq != 0) that of one probe, whose round trip begins now,
 * is there. */
void inflight_connected(struct probe_link *link, uint64_t seq, uint64_t time);

/* The kernel sent probe `seq` at `stamp`, CLOCK_REALTIME. */
void inflight_stamp(struct probe *probe, uint64_t seq, uint64_t stamp);

/* Octets were found to be what `identity` says. */
void inflight_reply(struct probe_link *link, const struct payload_identity *identity,
                    const struct probe_arrival *arrival);

/* The network (from != NULL) or the kernel could not deliver probe `seq` (0: not known which). */
void inflight_error(struct probe_link *link, uint64_t seq, int error, const struct addr *from,
                    uint64_t now);

/* The same, and what ICMP said; NULL: it was not ICMP that told. */
void inflight_icmp_error(struct probe_link *link, uint64_t seq, int error, const struct addr *from,
                         const struct probe_icmp *icmp, uint64_t now);

/* Give up the probes that waited too long. Returns when the next one will have. */
uint64_t inflight_give_up(struct probe *probe, uint64_t now);

/* A probe that is not answered for an interval leaves its window: a window full of lost ones would
 * end everything. Returns when the next one does. */
uint64_t inflight_make_room(struct probe *probe, uint64_t now);

#endif
