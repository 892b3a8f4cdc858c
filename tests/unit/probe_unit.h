/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_PROBE_UNIT_H
#define ECHOD_TESTS_PROBE_UNIT_H

/* What the tests of probes share: a runner, a memory of events, and a probe without timing. */

#include "common/clock.h"
#include "probe/run.h"
#include "probe/schedule.h"

#include "unit/unit.h"

static struct runner runner;

static struct {
    struct probe_event events[512];
    struct addr from[512]; /* len 0: the event named none */
    unsigned count;
    bool refuse; /* say that nothing can be told any more */
} heard;

static inline bool listen_to(void *context, const struct probe_event *event)
{
    (void)context;
    assert_true(heard.count < COUNT(heard.events));
    heard.from[heard.count].len = 0;
    if (event->from)
        heard.from[heard.count] = *event->from;
    heard.events[heard.count++] = *event;
    return !heard.refuse;
}

/* The event before the last `back` ones. */
static inline const struct probe_event *event_back(unsigned back)
{
    assert_true(heard.count > back);
    return &heard.events[heard.count - 1 - back];
}

static inline const struct probe_event *last(void)
{
    return event_back(0);
}

static inline unsigned heard_of(enum probe_event_kind kind)
{
    unsigned count = 0;

    for (unsigned i = 0; i < heard.count; i++)
        count += heard.events[i].kind == kind;
    return count;
}

/* Sends only what a test asks for, and gives up nothing within an hour. */
static const struct probe_settings patient = {.interval = UINT64_C(1) << 62,
                                              .timeout = 3600 * SECOND,
                                              .preload = 1,
                                              .links = 1,
                                              .size = 56,
                                              .socket = {.tos = -1, .ttl = -1, .pmtu = -1}};

static inline void prepare_with(struct probe *probe, struct probe_settings settings)
{
    memset(&heard, 0, sizeof heard);
    assert_int_equal(probe_init(probe, &runner, &settings, listen_to, NULL), 0);
}

static inline void prepare(struct probe *probe, size_t size)
{
    struct probe_settings settings = patient;

    settings.size = size;
    prepare_with(probe, settings);
}

/* Let each link send `count` more in one go. */
static inline void send_many(struct probe *probe, unsigned count)
{
    probe->settings.window = probe->links[0]->unanswered + count;
    schedule_turn(probe, clock_now());
    probe->settings.window = 0;
}

static inline void send_one(struct probe *probe)
{
    send_many(probe, 1);
}

/* As if poll(2) had returned this for the first link. */
static inline void wake(struct probe *probe, short revents)
{
    struct probe_link *link = probe->links[0];

    link->ops->ready(link, &link->watch, revents);
}

/* Wait until something happens, and let the links work. */
static inline void pump(void)
{
    loop_turn(&runner.loop, PATIENCE_MS);
}

/* Wait until so many events have been heard. */
static inline void await_events(unsigned count)
{
    uint64_t until = clock_now() + PATIENCE_MS * MILLISECOND;

    while (heard.count < count && clock_now() < until)
        pump();
    assert_int_equal(heard.count, count);
}

#endif
