/* SPDX-License-Identifier: ISC */
#include "probe/run.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>

#include "common/clock.h"
#include "common/util.h"
#include "probe/inflight.h"
#include "probe/schedule.h"

/* ---- what all probes share ---- */

/* A timer only ends a wait. */
static void time_is_up(struct loop_timer *timer)
{
    (void)timer;
}

/* Each link needs a descriptor, and each probe of --connect. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

int runner_init(struct runner *runner)
{
    memset(runner, 0, sizeof *runner);
    raise_descriptor_limit();
    if (loop_init(&runner->loop) < 0)
        return -1;
    loop_timer_init(&runner->loop, &runner->timer, time_is_up);
    return 0;
}

void runner_fini(struct runner *runner)
{
    signals_fini(&runner->signals);
    loop_fini(&runner->loop);
}

static void signal_came(struct signals *signals, int number)
{
    struct probe *probe = container_of(signals, struct runner, signals)->probe;

    if (!probe)
        return;
    if (number == SIGQUIT)
        probe_emit(probe, &(struct probe_event){.kind = PROBE_STATUS});
    else
        probe->stopped = true;
}

static int take_signals(struct runner *runner)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGQUIT};

    if (runner->signals.loop)
        return 0;
    return signals_init(&runner->signals, &runner->loop, numbers, COUNT(numbers), signal_came);
}

static struct runner *runner_of(const struct probe *probe)
{
    return container_of(probe->loop, struct runner, loop);
}

/* Take what happens until a point in time. A point that has passed needs no timer. */
static void wait_until(struct probe *probe, uint64_t until)
{
    struct runner *runner = runner_of(probe);

    runner->probe = probe;
    if (until <= clock_now()) {
        loop_turn(&runner->loop, 0);
    } else {
        loop_timer_set(&runner->loop, &runner->timer, until);
        loop_turn(&runner->loop, -1);
    }
    runner->probe = NULL;
}

/* ---- a probe ---- */

int probe_init(struct probe *probe, struct runner *runner, const struct probe_settings *settings,
               probe_listener *listener, void *context)
{
    memset(probe, 0, sizeof *probe);
    probe->settings = *settings;
    probe->listener = listener;
    probe->context = context;
    probe->loop = &runner->loop;
    probe->watch_ready = schedule_watch_ready;
    probe->payload.size = settings->size;
    rtt_init(&probe->rtt);
    rtt_init(&probe->connect);
    if (getrandom(&probe->payload.nonce, sizeof probe->payload.nonce, 0) < 0 ||
        inflight_init(probe) < 0)
        return -1;
    probe->links = calloc(settings->links, sizeof(struct probe_link *));
    return probe->links ? 0 : -1;
}

static void close_links(struct probe *probe)
{
    while (probe->opened > 0) {
        struct probe_link *link = probe->links[--probe->opened];

        link->ops->close(link);
    }
    probe->closed_links = 0;
}

void probe_fini(struct probe *probe)
{
    close_links(probe);
    rtt_fini(&probe->rtt);
    rtt_fini(&probe->connect);
    inflight_fini(probe);
    free(probe->links);
    probe->links = NULL;
}

/* ---- opening ---- */

/* When an attempt to connect that begins now has to end. */
static uint64_t connect_until(const struct probe *probe)
{
    uint64_t until = clock_now() + inflight_timeout(probe);

    return probe->deadline != 0 && probe->deadline < until ? probe->deadline : until;
}

static bool is_opening(const struct probe *probe)
{
    for (unsigned i = 0; i < probe->opened; i++)
        if (probe->links[i]->opening)
            return true;
    return false;
}

/* Open links up to `count` and wait until all of them are there. */
static int open_up_to(struct probe *probe, const struct probe_ops *ops, const struct addr *peer,
                      unsigned count)
{
    uint64_t until = connect_until(probe);

    while (probe->opened < count) {
        struct probe_link *link = ops->open(probe, peer, probe->opened);

        if (!link)
            return -1;
        probe->links[probe->opened++] = link;
    }
    while (is_opening(probe) && probe->status == 0) {
        wait_until(probe, until);
        if (probe->stopped)
            return -1;
        if (is_opening(probe) && probe->status == 0 && clock_now() >= until)
            probe_failed(probe, peer, ETIMEDOUT, 1);
    }
    return probe->status == 0 ? 0 : -1;
}

int probe_open(struct probe *probe, const struct probe_ops *ops, const struct addr *peer)
{
    if (probe->settings.deadline != 0 && probe->deadline == 0)
        probe->deadline = clock_now() + probe->settings.deadline;
    probe->status = 0;
    if (take_signals(runner_of(probe)) < 0) {
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

bool probe_pause(struct probe *probe, uint64_t until)
{
    uint64_t now = clock_now();

    while (now < until && !probe->stopped && (probe->deadline == 0 || now < probe->deadline)) {
        wait_until(probe,
                   probe->deadline != 0 && probe->deadline < until ? probe->deadline : until);
        now = clock_now();
    }
    return now >= until && !probe->stopped;
}

/* ---- running ---- */

uint64_t probe_run(struct probe *probe)
{
    uint64_t now = clock_now();

    probe->ticked = now;
    while (!schedule_finished(probe, now)) {
        uint64_t until = schedule_turn(probe, now);

        if (schedule_finished(probe, now))
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
    if (probe->counters.received == 0 && probe->unsendable > 0 &&
        probe->unsendable == probe->counters.sent)
        return 2;
    if (probe->closed || probe->counters.received == 0)
        return 1;
    return settings->deadline != 0 && probe->counters.received < settings->count ? 1 : 0;
}
