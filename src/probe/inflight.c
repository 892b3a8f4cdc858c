/* SPDX-License-Identifier: ISC */
#include "probe/inflight.h"

#include <errno.h>

struct probe_slot *inflight_find(const struct probe *probe, uint64_t seq)
{
    if (seq == 0 || seq > probe->counters.sent || probe->counters.sent - seq >= PROBE_MEMORY)
        return NULL;
    return &probe->slots[seq % PROBE_MEMORY];
}

static void leave_window(struct probe *probe, struct probe_slot *slot)
{
    if (slot->placed) {
        slot->placed = false;
        probe->links[slot->link]->unanswered--;
    }
}

void inflight_complete(struct probe *probe, struct probe_slot *slot)
{
    if (slot && slot->waiting) {
        slot->waiting = false;
        probe->waiting--;
        leave_window(probe, slot);
    }
}

uint64_t inflight_timeout(const struct probe *probe)
{
    return probe->settings.timeout ? probe->settings.timeout : PROBE_TIMEOUT;
}

uint64_t probe_oldest_waiting(struct probe *probe)
{
    while (probe->oldest <= probe->counters.sent) {
        const struct probe_slot *slot = inflight_find(probe, probe->oldest);

        if (slot && slot->waiting)
            return probe->oldest;
        probe->oldest++;
    }
    return 0;
}

void probe_stamp(struct probe *probe, uint64_t seq, uint64_t stamp)
{
    struct probe_slot *slot = inflight_find(probe, seq);

    if (slot)
        slot->stamp = stamp;
}

/* From when the probe was due, or sent, to its reply. The kernel's stamps are used where they make
 * sense: between our own two, or else somebody has set the clock. They also tell that a delay was
 * this process's own, and nobody else's, unless the network caused it. */
static uint64_t round_trip(const struct probe *probe, const struct probe_slot *slot,
                           const struct probe_arrival *arrival, bool *stamped)
{
    uint64_t time = arrival->now - slot->sent_at;

    *stamped = slot->stamp != 0 && arrival->stamp >= slot->stamp &&
               arrival->stamp - slot->stamp <= time && probe->settings.kernel_stamps;
    if (!*stamped)
        return time + slot->delay;
    return arrival->stamp - slot->stamp + (slot->held ? slot->delay : 0);
}

/* The reply to the later one of two probes may come first. */
static void add_pair(struct probe *probe, uint64_t time, const struct probe_slot *neighbour)
{
    if (neighbour && neighbour->time != 0)
        rtt_add_pair(&probe->rtt, time, neighbour->time);
}

static enum probe_event_kind count_good(struct probe_link *link, struct probe_slot *slot,
                                        struct probe_event *event)
{
    struct probe *probe = link->probe;

    if (!slot || (!slot->received && event->time >= inflight_timeout(probe))) {
        if (slot)
            slot->received = true;
        probe->counters.late++;
        return PROBE_LATE;
    }
    if (slot->received) {
        probe->counters.duplicate++;
        return PROBE_DUPLICATE;
    }
    slot->received = true;
    probe->counters.received++;
    link->received++;
    slot->time = event->time;
    rtt_add(&probe->rtt, event->time);
    add_pair(probe, event->time, inflight_find(probe, event->seq - 1));
    add_pair(probe, event->time, inflight_find(probe, event->seq + 1));
    if (probe->settings.links > 1)
        rtt_add(&link->rtt, event->time);
    /* Probes on their own connections have no order. */
    event->reordered = event->seq < link->highest && slot->connect == 0;
    if (event->reordered)
        probe->counters.reordered++;
    else
        link->highest = event->seq;
    return PROBE_RECEIVED;
}

void probe_reply(struct probe_link *link, const struct payload_identity *identity,
                 const struct probe_arrival *arrival)
{
    struct probe *probe = link->probe;
    struct probe_slot *slot = inflight_find(probe, identity->seq);
    struct probe_event event = {.seq = identity->seq,
                                .size = arrival->size,
                                .octets = arrival->octets,
                                .wrong = identity->wrong,
                                .from = arrival->from,
                                .link = link};
    bool stamped = false;

    if (slot) {
        event.time = round_trip(probe, slot, arrival, &stamped);
        event.connect = slot->connect;
    }
    if (identity->verdict == PAYLOAD_FOREIGN) {
        probe->counters.foreign++;
        event.kind = PROBE_FOREIGN;
    } else if (!addr_equal(arrival->from, &link->peer) || (slot && slot->link != link->index)) {
        probe->counters.wrong_source++;
        event.kind = PROBE_WRONG_SOURCE;
    } else if (identity->verdict == PAYLOAD_TRUNCATED) {
        probe->counters.truncated++;
        event.kind = PROBE_TRUNCATED;
    } else if (identity->verdict == PAYLOAD_CORRUPT) {
        probe->counters.corrupt++;
        event.kind = PROBE_CORRUPT;
    } else {
        event.kind = count_good(link, slot, &event);
    }
    if (event.kind == PROBE_RECEIVED)
        probe->counters.stamped += stamped;
    /* Anybody could guess what is too short for a nonce. */
    if (event.kind != PROBE_WRONG_SOURCE || arrival->size >= PAYLOAD_HEADER)
        inflight_complete(probe, slot);
    probe_emit(probe, &event);
}

void probe_error(struct probe_link *link, uint64_t seq, int error, const struct addr *from,
                 uint64_t now)
{
    struct probe *probe = link->probe;
    struct probe_event event = {.kind = PROBE_ERROR, .error = error, .from = from, .link = link};
    struct probe_slot *slot;

    event.seq = seq != 0 ? seq : probe_oldest_waiting(probe);
    slot = inflight_find(probe, event.seq);
    if (slot)
        event.time = now - slot->sent_at;
    if (error == ECONNREFUSED)
        probe->counters.refused++;
    else
        probe->counters.errors++;
    inflight_complete(probe, slot);
    probe_emit(probe, &event);
}

uint64_t inflight_give_up(struct probe *probe, uint64_t now)
{
    uint64_t seq;

    while ((seq = probe_oldest_waiting(probe)) != 0) {
        struct probe_slot *slot = inflight_find(probe, seq);
        struct probe_link *link = probe->links[slot->link];
        uint64_t until = slot->sent_at + inflight_timeout(probe);

        if (now < until)
            return until;
        inflight_complete(probe, slot);
        if (link->ops->give_up)
            link->ops->give_up(link, seq);
    }
    return UINT64_MAX;
}

uint64_t inflight_make_room(struct probe *probe, uint64_t now)
{
    for (; probe->placed <= probe->counters.sent; probe->placed++) {
        struct probe_slot *slot = inflight_find(probe, probe->placed);
        uint64_t until;

        if (!slot || !slot->placed)
            continue;
        until = slot->sent_at + probe->settings.interval;
        if (now < until)
            return until;
        leave_window(probe, slot);
    }
    return UINT64_MAX;
}
