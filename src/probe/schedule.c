/* SPDX-License-Identifier: ISC */
#include "probe/schedule.h"

#include "common/clock.h"
#include "common/util.h"
#include "probe/inflight.h"

/* A process that was stopped, or a machine that slept, does not make up for more than this. */
#define CATCH_UP SECOND

/* Every wake-up is a little late. A probe that is later than this, or than an interval where that
 * is less, counts as delayed. */
#define DELAYED MILLISECOND

/* Probes handed to a link at a time. */
#define BATCH 64

/* As ping(8): with count and deadline, go on until so many have been received. */
static bool count_is_of_probes(const struct probe *probe)
{
    return probe->settings.count != 0 && probe->deadline == 0 && !probe->settings.persist;
}

static bool all_sent(const struct probe *probe, uint64_t now)
{
    const struct probe_settings *settings = &probe->settings;

    if (settings->duration != 0 && probe_elapsed(probe, now) >= settings->duration)
        return true;
    return count_is_of_probes(probe) && probe->counters.sent >= settings->count;
}

/* When to stop waiting after the last probe was sent. */
static uint64_t linger_until(const struct probe *probe)
{
    uint64_t linger = 2 * probe->rtt.max;

    if (probe->settings.timeout != 0 || probe->counters.received == 0)
        return probe->latest + inflight_timeout(probe);
    if (linger < probe->settings.interval)
        linger = probe->settings.interval;
    return probe->latest + (linger < PROBE_TIMEOUT ? linger : PROBE_TIMEOUT);
}

/* The link was used and may have closed. */
static void tell_end(struct probe_link *link)
{
    struct probe *probe = link->probe;

    if (!link->closed || link->end_told)
        return;
    link->end_told = true;
    if (schedule_finished(probe, clock_now()))
        return;
    probe->closed = probe->closed_links == probe->opened;
    probe_emit(probe,
               &(struct probe_event){
                   .kind = PROBE_CLOSED, .error = link->error, .from = &link->peer, .link = link});
    if (link->error == 0 && link->ops->finish)
        link->ops->finish(link);
}

void schedule_watch_ready(struct loop_io *io, short revents)
{
    struct probe_watch *watch = container_of(io, struct probe_watch, io);
    struct probe_link *link = watch->link; /* a link may free its watches */

    if (link->probe->stopped)
        return;
    link->ops->ready(link, watch, revents);
    tell_end(link);
}

/* Hand `count` probes to a link. Returns how many it took. */
static unsigned hand_over(struct probe *probe, struct probe_link *link, unsigned count,
                          uint64_t now)
{
    uint64_t first = probe->counters.sent + 1;
    unsigned taken;

    if (probe->settings.overdue && inflight_is_waiting(probe, first - 1))
        probe_emit(probe, &(struct probe_event){.kind = PROBE_OVERDUE, .seq = first - 1});
    inflight_begin(link, count, now);
    if (probe->started == 0)
        probe->started = probe->due = now;
    taken = link->ops->send(link, first, count);
    inflight_take_back(probe, count - taken);
    link->sent += taken;
    if (taken > 0)
        probe->latest = now;
    tell_end(link);
    return taken;
}

/* How many more the count allows. */
static unsigned unsent(const struct probe *probe, unsigned most)
{
    uint64_t rest = probe->settings.count - probe->counters.sent;

    return count_is_of_probes(probe) && rest < most ? (unsigned)rest : most;
}

/* The next link that takes probes; NULL: none does. */
static struct probe_link *next_link(struct probe *probe)
{
    for (unsigned i = 0; i < probe->opened; i++) {
        struct probe_link *link = probe->links[probe->next];

        probe->next = (probe->next + 1) % probe->opened;
        if (!link->closed && !link->blocked)
            return link;
    }
    return NULL;
}

/* Send by the clock, whatever has been answered. Returns when the next probe is due. */
static uint64_t send_due(struct probe *probe, uint64_t now)
{
    const struct probe_settings *settings = &probe->settings;
    uint64_t tolerance = settings->interval < DELAYED ? settings->interval : DELAYED;

    for (unsigned i = 0; i < BATCH && !probe->stopped && !all_sent(probe, now); i++) {
        bool early = probe->counters.sent < settings->preload;
        struct probe_link *link;
        uint64_t due = probe->due;

        if (!early && now < probe->due) {
            probe->held = false;
            return probe->due;
        }
        link = next_link(probe);
        if (!link) {
            probe->held = true;
            return UINT64_MAX;
        }
        if (hand_over(probe, link, 1, now) == 0)
            continue;
        if (probe->counters.sent <= settings->preload && probe->counters.sent > 1)
            continue;
        if (due != 0 && now > due + tolerance && now <= due + CATCH_UP) {
            struct probe_slot *slot = inflight_find(probe, probe->counters.sent);

            slot->delay = (uint32_t)(now - due);
            slot->held = probe->held;
            probe->counters.delayed++;
        }
        probe->due += settings->interval;
        if (probe->due + CATCH_UP < now)
            probe->due = now;
        now = clock_now();
    }
    return now;
}

static uint64_t sooner(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Send by what is answered: each link keeps its window full. Returns when to be called again. */
static uint64_t send_room(struct probe *probe, uint64_t now)
{
    const struct probe_settings *settings = &probe->settings;
    uint64_t next = UINT64_MAX;

    inflight_make_room(probe, now);
    for (unsigned i = 0; i < probe->opened && !probe->stopped && !all_sent(probe, now); i++) {
        struct probe_link *link = next_link(probe);
        unsigned room;

        if (!link)
            break;
        if (link->unanswered >= settings->window)
            continue;
        room = settings->window - link->unanswered;
        room = unsent(probe, room < BATCH ? room : BATCH);
        if (hand_over(probe, link, room, now) > 0)
            next = now;
    }
    return sooner(next, inflight_make_room(probe, now));
}

/* Returns when the next tick is due. */
static uint64_t tick(struct probe *probe, uint64_t now)
{
    if (probe->settings.tick == 0)
        return UINT64_MAX;
    if (now >= probe->ticked + probe->settings.tick) {
        probe->ticked = now;
        probe_emit(probe, &(struct probe_event){.kind = PROBE_TICK});
    }
    return probe->ticked + probe->settings.tick;
}

uint64_t schedule_turn(struct probe *probe, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    inflight_give_up(probe, now);
    if (!all_sent(probe, now))
        next = probe->settings.window != 0 ? send_room(probe, now) : send_due(probe, now);
    if (all_sent(probe, now))
        next = linger_until(probe);
    else if (probe->settings.duration != 0)
        next = sooner(next, probe->started + probe->settings.duration);
    next = sooner(next, sooner(tick(probe, now), inflight_give_up(probe, now)));
    return probe->deadline != 0 ? sooner(next, probe->deadline) : next;
}

bool schedule_finished(const struct probe *probe, uint64_t now)
{
    const struct probe_counters *counters = &probe->counters;

    if (probe->stopped || probe->closed)
        return true;
    if (probe->settings.persist && counters->received >= probe->settings.count)
        return true;
    if (probe->deadline != 0 &&
        (now >= probe->deadline ||
         (counters->refused + counters->errors > 0 && !probe->settings.persist) ||
         (probe->settings.count != 0 && counters->received >= probe->settings.count)))
        return true;
    return all_sent(probe, now) && (probe->waiting == 0 || now >= linger_until(probe));
}
