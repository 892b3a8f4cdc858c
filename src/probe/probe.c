/* SPDX-License-Identifier: ISC */
#include "probe/inflight.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* A process that was stopped, or a machine that slept, does not make up for more than this. */
#define CATCH_UP SECOND

/* Every wake-up is a little late. From this, or an interval where that is less, a probe counts as
 * delayed. */
#define DELAYED UINT64_C(1000000)

/* Probes handed to a link, and wake-ups taken, at a time. */
#define BATCH 64

const struct probe_settings probe_defaults = {
    .interval = SECOND,
    .size = 56,
    .preload = 1,
    .links = 1,
    .kernel_stamps = true,
    .socket = {.tos = -1, .ttl = -1, .pmtu = -1},
};

int probe_init(struct probe *probe, const struct probe_settings *settings, probe_listener *listener,
               void *context)
{
    memset(probe, 0, sizeof *probe);
    probe->settings = *settings;
    probe->listener = listener;
    probe->context = context;
    probe->signals = -1;
    probe->epoll = -1;
    probe->payload.size = settings->size;
    rtt_init(&probe->rtt);
    rtt_init(&probe->connect);
    if (getrandom(&probe->payload.nonce, sizeof probe->payload.nonce, 0) < 0)
        return -1;
    probe->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (probe->epoll < 0)
        return -1;
    /* The kernel's habit of waking up to 50 us late would be seen in every schedule. */
    prctl(PR_SET_TIMERSLACK, 1);
    probe->slots = calloc(PROBE_MEMORY, sizeof *probe->slots);
    probe->links = calloc(settings->links, sizeof(struct probe_link *));
    return probe->slots && probe->links ? 0 : -1;
}

void probe_emit(struct probe *probe, const struct probe_event *event)
{
    if (!probe->listener(probe->context, event)) {
        probe->stopped = true;
        probe->status = 2;
    }
}

void probe_failed(struct probe *probe, const struct addr *peer, int error, int status)
{
    probe->status = status;
    probe_emit(probe, &(struct probe_event){.kind = PROBE_FAILURE, .error = error, .from = peer});
}

/* ---- signals and waiting ---- */

static int take_signals(struct probe *probe)
{
    struct epoll_event event = {.events = EPOLLIN};
    sigset_t mask;

    if (probe->signals >= 0)
        return 0;
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGQUIT);
    probe->signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    if (probe->signals < 0)
        return -1;
    sigprocmask(SIG_BLOCK, &mask, &probe->old_mask);
    return epoll_ctl(probe->epoll, EPOLL_CTL_ADD, probe->signals, &event);
}

static void release_signals(struct probe *probe)
{
    if (probe->signals < 0)
        return;
    close(probe->signals);
    probe->signals = -1;
    sigprocmask(SIG_SETMASK, &probe->old_mask, NULL);
}

static void read_signals(struct probe *probe)
{
    struct signalfd_siginfo info;

    while (read(probe->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGQUIT)
            probe_emit(probe, &(struct probe_event){.kind = PROBE_STATUS});
        else
            probe->stopped = true;
}

int probe_watch(struct probe_watch *watch, short events)
{
    /* The events of poll(2) and of epoll(7) have the same values. */
    struct epoll_event event = {.events = (uint32_t)events, .data.ptr = watch};
    int op = events == 0 ? EPOLL_CTL_DEL : watch->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;

    if (events == watch->events)
        return 0;
    if (epoll_ctl(watch->link->probe->epoll, op, watch->fd, &event) < 0)
        return -1;
    watch->events = events;
    return 0;
}

/* Take what happens until a point in time, which may have passed. */
static void wait_until(struct probe *probe, uint64_t until)
{
    struct epoll_event events[BATCH];
    uint64_t now = clock_now();
    uint64_t rest = until > now ? until - now : 0;
    struct timespec timeout = {(time_t)(rest / SECOND), (long)(rest % SECOND)};
    int count = epoll_pwait2(probe->epoll, events, BATCH, &timeout, NULL);

    /* Before Linux 5.11. A millisecond too early is made up for by waiting again, too late is not.
     */
    if (count < 0 && errno == ENOSYS)
        count =
            epoll_wait(probe->epoll, events, BATCH, rest < SECOND ? (int)(rest / 1000000) : 999);
    /* With signals blocked only those of a stop or of a terminal's new size get here. */
    if (count < 0 && errno != EINTR) {
        probe_failed(probe, NULL, errno, 2);
        probe->stopped = true;
    }
    for (int i = 0; i < count && !probe->stopped; i++) {
        struct probe_watch *watch = events[i].data.ptr;

        if (!watch)
            read_signals(probe);
        else if (watch->events != 0)
            watch->link->ops->ready(watch->link, watch, (short)events[i].events);
    }
}

/* ---- links ---- */

size_t probe_max_size(const struct probe_ops *ops, int family)
{
    if (ops->type == SOCK_STREAM)
        return 16777216;
    /* 65535, less the headers of UDP and, for IPv4 only, of IP. */
    return family == AF_INET ? 65507 : 65527;
}

size_t probe_min_size(const struct probe_ops *ops)
{
    return ops->type == SOCK_STREAM ? 1 : 0;
}

static void close_links(struct probe *probe)
{
    while (probe->opened > 0) {
        struct probe_link *link = probe->links[--probe->opened];

        rtt_fini(&link->rtt);
        link->ops->close(link);
    }
}

/* When an attempt to connect that begins now has to end. */
static uint64_t connect_until(const struct probe *probe, uint64_t now)
{
    uint64_t until = now + (probe->settings.timeout ? probe->settings.timeout : PROBE_TIMEOUT);

    return probe->deadline != 0 && probe->deadline < until ? probe->deadline : until;
}

static const struct probe_link *opening(const struct probe *probe)
{
    for (unsigned i = 0; i < probe->opened; i++)
        if (probe->links[i]->opening)
            return probe->links[i];
    return NULL;
}

/* Open links up to `count` and wait until all of them are there. */
static int open_up_to(struct probe *probe, const struct probe_ops *ops, const struct addr *peer,
                      unsigned count)
{
    uint64_t until = connect_until(probe, clock_now());

    while (probe->opened < count) {
        struct probe_link *link = ops->open(probe, peer, probe->opened);

        if (!link)
            return -1;
        probe->links[probe->opened++] = link;
    }
    while (opening(probe) && probe->status == 0) {
        wait_until(probe, until);
        if (probe->stopped)
            return -1;
        if (opening(probe) && probe->status == 0 && clock_now() >= until)
            probe_failed(probe, peer, ETIMEDOUT, 1);
    }
    return probe->status == 0 ? 0 : -1;
}

int probe_open(struct probe *probe, const struct probe_ops *ops, const struct addr *peer)
{
    if (probe->settings.deadline != 0 && probe->deadline == 0)
        probe->deadline = clock_now() + probe->settings.deadline;
    probe->status = 0;
    if (take_signals(probe) < 0) {
        probe_failed(probe, NULL, errno, 2);
        return -1;
    }
    /* One alone first: a peer that is not there is not to be asked thousands of times. */
    if (open_up_to(probe, ops, peer, 1) == 0 &&
        open_up_to(probe, ops, peer, probe->settings.links) == 0)
        return 0;
    close_links(probe);
    return -1;
}

void probe_connected(struct probe_link *link, uint64_t seq, uint64_t time)
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

static bool open_links(const struct probe *probe)
{
    for (unsigned i = 0; i < probe->opened; i++)
        if (!probe->links[i]->closed)
            return true;
    return false;
}

void probe_closed(struct probe_link *link, int error)
{
    struct probe *probe = link->probe;

    link->closed = true;
    probe_watch(&link->watch, 0);
    /* A server that hangs up after the last reply has done its job. */
    if (probe_finished(probe, clock_now()))
        return;
    probe->closed = !open_links(probe);
    probe_emit(probe, &(struct probe_event){
                          .kind = PROBE_CLOSED, .error = error, .from = &link->peer, .link = link});
}

void probe_fini(struct probe *probe)
{
    close_links(probe);
    release_signals(probe);
    if (probe->epoll >= 0)
        close(probe->epoll);
    probe->epoll = -1;
    rtt_fini(&probe->rtt);
    rtt_fini(&probe->connect);
    free(probe->slots);
    free(probe->links);
    probe->slots = NULL;
    probe->links = NULL;
}

/* ---- the schedule ---- */

uint64_t probe_elapsed(const struct probe *probe, uint64_t now)
{
    return probe->started != 0 && now > probe->started ? now - probe->started : 0;
}

/* As ping(8): with count and deadline, go on until so many have been received. */
static bool all_sent(const struct probe *probe, uint64_t now)
{
    const struct probe_settings *settings = &probe->settings;

    if (settings->duration != 0 && probe_elapsed(probe, now) >= settings->duration)
        return true;
    return settings->count != 0 && probe->deadline == 0 && probe->counters.sent >= settings->count;
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

/* Hand `count` probes to a link. Returns how many it took. */
static unsigned send_some(struct probe *probe, struct probe_link *link, unsigned count,
                          uint64_t now)
{
    uint64_t first = probe->counters.sent + 1;
    unsigned taken;

    if (probe->settings.overdue && probe->waiting > 0 && probe_oldest_waiting(probe) != 0 &&
        inflight_find(probe, first - 1)->waiting)
        probe_emit(probe, &(struct probe_event){.kind = PROBE_OVERDUE, .seq = first - 1});
    for (unsigned i = 0; i < count; i++) {
        struct probe_slot *slot = &probe->slots[(first + i) % PROBE_MEMORY];

        inflight_complete(probe, slot);
        *slot = (struct probe_slot){.sent_at = now,
                                    .link = (uint16_t)link->index,
                                    .waiting = true,
                                    .placed = probe->settings.window != 0};
        link->unanswered += slot->placed;
    }
    probe->waiting += count;
    probe->counters.sent += count;
    if (probe->started == 0)
        probe->started = probe->due = now;
    taken = link->ops->send(link, first, count);
    for (unsigned i = taken; i < count; i++) {
        inflight_complete(probe, &probe->slots[(first + i) % PROBE_MEMORY]);
        probe->counters.sent--;
    }
    link->sent += taken;
    if (taken > 0)
        probe->latest = now;
    return taken;
}

/* How many more the count allows. */
static unsigned unsent(const struct probe *probe, unsigned most)
{
    uint64_t rest = probe->settings.count - probe->counters.sent;

    return probe->settings.count != 0 && probe->deadline == 0 && rest < most ? (unsigned)rest
                                                                             : most;
}

/* Whose turn it is; NULL: none takes probes. */
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

/* By the clock: what is due goes out whatever has been answered. */
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
        if (send_some(probe, link, 1, now) == 0)
            continue;
        if (probe->counters.sent <= settings->preload && probe->counters.sent > 1)
            continue;
        if (due != 0 && now > due + tolerance && now <= due + CATCH_UP) {
            struct probe_slot *slot = &probe->slots[probe->counters.sent % PROBE_MEMORY];

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

/* By what is answered: every link keeps as many under way as its window allows. */
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
        if (send_some(probe, link, room, now) > 0)
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

uint64_t probe_turn(struct probe *probe, uint64_t now)
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

bool probe_finished(const struct probe *probe, uint64_t now)
{
    const struct probe_counters *counters = &probe->counters;

    if (probe->stopped || probe->closed)
        return true;
    if (probe->deadline != 0 &&
        (now >= probe->deadline || counters->refused + counters->errors > 0 ||
         (probe->settings.count != 0 && counters->received >= probe->settings.count)))
        return true;
    return all_sent(probe, now) && (probe->waiting == 0 || now >= linger_until(probe));
}

uint64_t probe_run(struct probe *probe)
{
    uint64_t now = clock_now();

    probe->ticked = now;
    while (!probe_finished(probe, now)) {
        uint64_t until = probe_turn(probe, now);

        if (probe_finished(probe, now))
            break;
        wait_until(probe, until);
        now = clock_now();
    }
    return probe_elapsed(probe, now);
}

int probe_status(const struct probe *probe)
{
    const struct probe_settings *settings = &probe->settings;

    if (probe->status != 0)
        return probe->status;
    if (probe->closed || probe->counters.received == 0)
        return 1;
    return settings->deadline != 0 && probe->counters.received < settings->count ? 1 : 0;
}
