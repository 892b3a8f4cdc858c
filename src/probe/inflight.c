/* SPDX-License-Identifier: ISC */
#include "probe/inflight.h"

#include <errno.h>
#include <stdlib.h>

/* The fewest slots of a target; and the slots of a run with a window, whose rate is not known
 * before. */
#define MIN_SLOTS    256
#define WINDOW_SLOTS 65536

/* A probe is remembered for four timeouts, so that late replies and duplicates are told apart. */
#define TIMEOUTS 4

/* Probes that may be handed to a link at once, beyond what the interval says. */
#define SLACK 64

static uint64_t timeout_of(const struct probe_settings *settings)
{
    return settings->timeout != 0 ? settings->timeout : PROBE_TIMEOUT;
}

uint64_t inflight_timeout(const struct probe *probe)
{
    return timeout_of(&probe->settings);
}

uint64_t inflight_most(const struct probe_settings *settings)
{
    uint64_t most;

    if (settings->window != 0 || settings->interval == 0)
        return (uint64_t)settings->window * settings->links;
    most = timeout_of(settings) / settings->interval + settings->preload + SLACK;
    /* With a deadline the count limits the replies, not the probes. */
    if (settings->count != 0 && settings->deadline == 0 && !settings->persist &&
        settings->count < most)
        return settings->count;
    return most;
}

int inflight_init(struct probe *probe)
{
    uint64_t most = inflight_most(&probe->settings);
    uint64_t slots = probe->settings.window != 0 ? WINDOW_SLOTS : MIN_SLOTS;

    if (most > INFLIGHT_MAX) {
        errno = EOVERFLOW;
        return -1;
    }
    while (slots < TIMEOUTS * most && slots < INFLIGHT_MAX)
        slots *= 2;
    probe->slots = calloc((size_t)slots, sizeof *probe->slots);
    if (!probe->slots)
        return -1;
    probe->capacity = slots;
    return 0;
}

void inflight_fini(struct probe *probe)
{
    free(probe->slots);
    probe->slots = NULL;
}

static struct probe_slot *slot_of(const struct probe *probe, uint64_t seq)
{
    return &probe->slots[seq & (probe->capacity - 1)];
}

struct probe_slot *inflight_find(const struct probe *probe, uint64_t seq)
{
    if (seq == 0 || seq > probe->counters.sent || probe->counters.sent - seq >= probe->capacity)
        return NULL;
    return slot_of(probe, seq);
}

static void leave_window(struct probe *probe, struct probe_slot *slot)
{
    if (slot->in_window) {
        slot->in_window = false;
        probe->links[slot->link]->unanswered--;
    }
}

/* Wait for this probe (NULL: none) no longer. */
static void complete(struct probe *probe, struct probe_slot *slot)
{
    if (slot && slot->waiting) {
        slot->waiting = false;
        probe->waiting--;
        leave_window(probe, slot);
    }
}

bool inflight_is_waiting(const struct probe *probe, uint64_t seq)
{
    const struct probe_slot *slot = inflight_find(probe, seq);

    return slot && slot->waiting;
}

uint64_t inflight_oldest(struct probe *probe)
{
    for (; probe->oldest <= probe->counters.sent; probe->oldest++)
        if (inflight_is_waiting(probe, probe->oldest))
            return probe->oldest;
    return 0;
}

void inflight_begin(struct probe_link *link, unsigned count, uint64_t now)
{
    struct probe *probe = link->probe;

    for (unsigned i = 0; i < count; i++) {
        struct probe_slot *slot = slot_of(probe, ++probe->counters.sent);

        complete(probe, slot);
        *slot = (struct probe_slot){.sent_at = now,
                                    .link = (uint16_t)link->index,
                                    .waiting = true,
                                    .in_window = probe->settings.window != 0};
        link->unanswered += slot->in_window;
        probe->waiting++;
    }
}

void inflight_take_back(struct probe *probe, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        complete(probe, slot_of(probe, probe->counters.sent--));
}

void inflight_connected(struct probe_link *link, uint64_t seq, uint64_t time)
{
    struct probe *probe = link->probe;
    struct probe_slot *slot = inflight_find(probe, seq);

    rtt_add(&probe->connect, time);
    if (slot) {
        slot->connect = time;
        slot->sent_at = clock_now();
        return;
    }
    link->opening = false;
    probe_emit(probe,
               &(struct probe_event){
                   .kind = PROBE_CONNECTED, .from = &link->peer, .time = time, .link = link});
}

void inflight_stamp(struct probe *probe, uint64_t seq, uint64_t stamp)
{
    struct probe_slot *slot = inflight_find(probe, seq);

    if (slot)
        slot->stamp = stamp;
}

/* From when the probe was due, or sent, to its reply. The kernel's stamps are used if they lie
 * within our own two: if not, somebody has set the clock. With them a delay before sending does not
 * count, because only this process caused it; unless the network did not take the probe. */
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

/* Called for both neighbours, since the reply to the later probe may come first. */
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

void inflight_reply(struct probe_link *link, const struct payload_identity *identity,
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
    /* A reply that is too short for the nonce may be a guess. */
    if (event.kind != PROBE_WRONG_SOURCE || arrival->size >= PAYLOAD_HEADER)
        complete(probe, slot);
    probe_emit(probe, &event);
}

void inflight_error(struct probe_link *link, uint64_t seq, int error, const struct addr *from,
                    uint64_t now)
{
    inflight_icmp_error(link, seq, error, from, NULL, now);
}

void inflight_icmp_error(struct probe_link *link, uint64_t seq, int error, const struct addr *from,
                         const struct probe_icmp *icmp, uint64_t now)
{
    struct probe *probe = link->probe;
    struct probe_event event = {
        .kind = PROBE_ERROR, .error = error, .from = from, .icmp = icmp, .link = link};
    struct probe_slot *slot;

    event.seq = seq != 0 ? seq : inflight_oldest(probe);
    slot = inflight_find(probe, event.seq);
    if (slot)
        event.time = now - slot->sent_at;
    if (error == ECONNREFUSED)
        probe->counters.refused++;
    else
        probe->counters.errors++;
    /* A size that does not fit is about the path, of which this host's interface is a part. */
    probe->unsendable += !from && !icmp && error != ETIMEDOUT && error != EMSGSIZE;
    complete(probe, slot);
    probe_emit(probe, &event);
}

uint64_t inflight_give_up(struct probe *probe, uint64_t now)
{
    uint64_t seq;

    while ((seq = inflight_oldest(probe)) != 0) {
        struct probe_slot *slot = inflight_find(probe, seq);
        struct probe_link *link = probe->links[slot->link];
        uint64_t until = slot->sent_at + inflight_timeout(probe);

        if (now < until)
            return until;
        complete(probe, slot);
        if (link->ops->give_up)
            link->ops->give_up(link, seq);
    }
    return UINT64_MAX;
}

uint64_t inflight_make_room(struct probe *probe, uint64_t now)
{
    for (; probe->in_window <= probe->counters.sent; probe->in_window++) {
        struct probe_slot *slot = inflight_find(probe, probe->in_window);
        uint64_t until;

        if (!slot || !slot->in_window)
            continue;
        until = slot->sent_at + probe->settings.interval;
        if (now < until)
            return until;
        leave_window(probe, slot);
    }
    return UINT64_MAX;
}
