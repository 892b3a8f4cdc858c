/* SPDX-License-Identifier: ISC */
#include "probe.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

/* A process that was stopped, or a machine that slept, does not make up for more than this. */
#define CATCH_UP PROBE_SECOND

uint64_t probe_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * PROBE_SECOND + (uint64_t)ts.tv_nsec;
}

int probe_init(struct probe *probe, const struct probe_settings *settings, probe_listener *listener,
               void *context)
{
    memset(probe, 0, sizeof *probe);
    probe->settings = *settings;
    probe->listener = listener;
    probe->context = context;
    probe->signals = -1;
    probe->payload.size = settings->size;
    if (getrandom(&probe->payload.nonce, sizeof probe->payload.nonce, 0) < 0)
        return -1;
    probe->slots = calloc(PROBE_MEMORY, sizeof *probe->slots);
    return probe->slots ? 0 : -1;
}

static void emit(struct probe *probe, const struct probe_event *event)
{
    if (!probe->listener(probe->context, event)) {
        probe->stopped = true;
        probe->status = 2;
    }
}

/* ---- signals and waiting ---- */

static int take_signals(struct probe *probe)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGQUIT);
    probe->signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    if (probe->signals < 0)
        return -1;
    sigprocmask(SIG_BLOCK, &mask, &probe->old_mask);
    return 0;
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
            emit(probe, &(struct probe_event){.kind = PROBE_STATUS});
        else
            probe->stopped = true;
}

short probe_wait(struct probe *probe, int fd, short events, uint64_t until)
{
    struct pollfd fds[2] = {{.fd = probe->signals, .events = POLLIN}, {.fd = fd, .events = events}};
    uint64_t now = probe_now();
    uint64_t rest = until > now ? until - now : 0;
    struct timespec timeout = {(time_t)(rest / PROBE_SECOND), (long)(rest % PROBE_SECOND)};

    if (ppoll(fds, 2, &timeout, NULL) < 0) {
        /* With signals blocked only SIGCONT gets here. */
        if (errno != EINTR) {
            probe_failed(probe, NULL, errno, 2);
            probe->stopped = true;
        }
        return 0;
    }
    if (fds[0].revents)
        read_signals(probe);
    if (probe->stopped)
        return 0;
    return fds[1].revents;
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

int probe_open(struct probe *probe, const struct probe_ops *ops, const struct net_addr *peer)
{
    if (probe->settings.deadline != 0 && probe->deadline == 0)
        probe->deadline = probe_now() + probe->settings.deadline;
    if (take_signals(probe) < 0) {
        probe_failed(probe, NULL, errno, 2);
        return -1;
    }
    probe->link = ops->open(probe, peer);
    if (!probe->link) {
        release_signals(probe);
        return -1;
    }
    probe->status = 0;
    return 0;
}

void probe_fini(struct probe *probe)
{
    if (probe->link)
        probe->link->ops->close(probe->link);
    probe->link = NULL;
    release_signals(probe);
    free(probe->slots);
    probe->slots = NULL;
}

uint64_t probe_connect_until(const struct probe *probe, uint64_t now)
{
    uint64_t until = now + (probe->settings.timeout ? probe->settings.timeout : PROBE_TIMEOUT);

    return probe->deadline != 0 && probe->deadline < until ? probe->deadline : until;
}

void probe_connected(struct probe *probe, const struct net_addr *peer, uint64_t time)
{
    probe->connect_time = time;
    emit(probe, &(struct probe_event){.kind = PROBE_CONNECTED, .from = peer, .time = time});
}

void probe_closed(struct probe *probe, int error)
{
    /* A server that hangs up after the last reply has done its job. */
    if (probe_finished(probe, probe_now()))
        return;
    probe->closed = true;
    emit(probe,
         &(struct probe_event){.kind = PROBE_CLOSED, .error = error, .from = &probe->link->peer});
}

void probe_failed(struct probe *probe, const struct net_addr *peer, int error, int status)
{
    probe->status = status;
    emit(probe, &(struct probe_event){.kind = PROBE_FAILURE, .error = error, .from = peer});
}

/* ---- probes and replies ---- */

/* NULL: there was no such probe, or it is too long ago. */
static struct probe_slot *find(const struct probe *probe, uint64_t seq)
{
    if (seq == 0 || seq > probe->counters.sent || probe->counters.sent - seq >= PROBE_MEMORY)
        return NULL;
    return &probe->slots[seq % PROBE_MEMORY];
}

static void settle(struct probe *probe, struct probe_slot *slot)
{
    if (slot && slot->waiting) {
        slot->waiting = false;
        probe->waiting--;
    }
}

static uint64_t reply_timeout(const struct probe *probe)
{
    return probe->settings.timeout ? probe->settings.timeout : PROBE_TIMEOUT;
}

uint64_t probe_oldest_waiting(struct probe *probe)
{
    while (probe->oldest <= probe->counters.sent) {
        const struct probe_slot *slot = find(probe, probe->oldest);

        if (slot && slot->waiting)
            return probe->oldest;
        probe->oldest++;
    }
    return 0;
}

static enum probe_event_kind count_good(struct probe *probe, struct probe_slot *slot,
                                        struct probe_event *event)
{
    if (!slot || (!slot->received && event->time >= reply_timeout(probe))) {
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
    rtt_add(&probe->rtt, event->time);
    event->reordered = event->seq < probe->highest;
    if (event->reordered)
        probe->counters.reordered++;
    else
        probe->highest = event->seq;
    return PROBE_RECEIVED;
}

void probe_reply(struct probe *probe, const struct payload_identity *identity, size_t size,
                 const struct net_addr *from, uint64_t now)
{
    struct probe_slot *slot = find(probe, identity->seq);
    struct probe_event event = {
        .seq = identity->seq, .size = size, .wrong = identity->wrong, .from = from};

    if (slot)
        event.time = now - slot->sent_at;
    if (identity->verdict == PAYLOAD_FOREIGN) {
        probe->counters.foreign++;
        event.kind = PROBE_FOREIGN;
    } else if (!net_equal(from, &probe->link->peer)) {
        probe->counters.wrong_source++;
        event.kind = PROBE_WRONG_SOURCE;
    } else if (identity->verdict == PAYLOAD_TRUNCATED) {
        probe->counters.truncated++;
        event.kind = PROBE_TRUNCATED;
    } else if (identity->verdict == PAYLOAD_CORRUPT) {
        probe->counters.corrupt++;
        event.kind = PROBE_CORRUPT;
    } else {
        event.kind = count_good(probe, slot, &event);
    }
    /* Anybody could guess what is too short for a nonce. */
    if (event.kind != PROBE_WRONG_SOURCE || size >= PAYLOAD_HEADER)
        settle(probe, slot);
    emit(probe, &event);
}

void probe_error(struct probe *probe, uint64_t seq, int error, const struct net_addr *from,
                 uint64_t now)
{
    struct probe_event event = {.kind = PROBE_ERROR, .error = error, .from = from};
    struct probe_slot *slot;

    event.seq = seq != 0 ? seq : probe_oldest_waiting(probe);
    slot = find(probe, event.seq);
    if (slot)
        event.time = now - slot->sent_at;
    if (error == ECONNREFUSED)
        probe->counters.refused++;
    else
        probe->counters.errors++;
    settle(probe, slot);
    emit(probe, &event);
}

/* ---- the schedule ---- */

/* As ping(8): with count and deadline, go on until so many have been received. */
static bool all_sent(const struct probe *probe)
{
    return probe->settings.count != 0 && probe->deadline == 0 &&
           probe->counters.sent >= probe->settings.count;
}

/* When to stop waiting after the last probe was sent. */
static uint64_t linger_until(const struct probe *probe)
{
    uint64_t linger = 2 * probe->rtt.max;

    if (probe->settings.timeout != 0 || probe->counters.received == 0)
        return probe->latest + reply_timeout(probe);
    if (linger < probe->settings.interval)
        linger = probe->settings.interval;
    return probe->latest + (linger < PROBE_TIMEOUT ? linger : PROBE_TIMEOUT);
}

/* Returns when the next one has to be given up. */
static uint64_t give_up(struct probe *probe, uint64_t now)
{
    uint64_t seq;

    while ((seq = probe_oldest_waiting(probe)) != 0) {
        struct probe_slot *slot = find(probe, seq);
        uint64_t until = slot->sent_at + reply_timeout(probe);

        if (now < until)
            return until;
        settle(probe, slot);
    }
    return UINT64_MAX;
}

static void send_next(struct probe *probe, uint64_t now)
{
    uint64_t seq = probe->counters.sent + 1;
    struct probe_slot *slot = &probe->slots[seq % PROBE_MEMORY];

    settle(probe, slot);
    *slot = (struct probe_slot){.sent_at = now, .waiting = true};
    probe->waiting++;
    probe->counters.sent = seq;
    probe->latest = now;
    if (probe->started == 0)
        probe->started = probe->due = now;
    probe->due += probe->settings.interval;
    if (probe->due + CATCH_UP < now)
        probe->due = now;
    probe->link->ops->send(probe->link, seq);
}

uint64_t probe_turn(struct probe *probe, uint64_t now)
{
    uint64_t next;

    if (!all_sent(probe) && now >= probe->due)
        send_next(probe, now);
    next = give_up(probe, now);
    if (!all_sent(probe) && probe->due < next)
        next = probe->due;
    if (all_sent(probe) && linger_until(probe) < next)
        next = linger_until(probe);
    return probe->deadline != 0 && probe->deadline < next ? probe->deadline : next;
}

bool probe_finished(const struct probe *probe, uint64_t now)
{
    const struct probe_counters *counters = &probe->counters;

    if (probe->stopped || probe->closed)
        return true;
    if (probe->deadline != 0)
        return now >= probe->deadline || counters->refused + counters->errors > 0 ||
               (probe->settings.count != 0 && counters->received >= probe->settings.count);
    return all_sent(probe) && (probe->waiting == 0 || now >= linger_until(probe));
}

uint64_t probe_run(struct probe *probe)
{
    uint64_t now = probe_now();

    while (!probe_finished(probe, now)) {
        uint64_t until = probe_turn(probe, now);
        short revents;

        if (probe_finished(probe, now))
            break;
        revents = probe_wait(probe, probe->link->fd, probe->link->events, until);
        if (revents != 0)
            probe->link->ops->ready(probe->link, revents);
        now = probe_now();
    }
    return probe->started != 0 ? now - probe->started : 0;
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
