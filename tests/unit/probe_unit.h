/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_PROBE_UNIT_H
#define ECHOD_TESTS_PROBE_UNIT_H

/* What the tests of the links share: a memory of events, and a probe without timing. */

#include "probe/probe.h"

#include <sys/epoll.h>

#include "unit/unit.h"

static struct {
    struct probe_event events[512];
    struct addr from[512]; /* .len is 0 where there was none */
    unsigned count;
} heard;

static inline bool listen_to(void *context, const struct probe_event *event)
{
    (void)context;
    assert_true(heard.count < COUNT(heard.events));
    heard.from[heard.count].len = 0;
    if (event->from)
        heard.from[heard.count] = *event->from;
    heard.events[heard.count++] = *event;
    return true;
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

/* One that sends only when told to, and times out only when told to. */
static const struct probe_settings patient = {.interval = UINT64_C(1) << 62,
                                              .timeout = 3600 * SECOND,
                                              .preload = 1,
                                              .links = 1,
                                              .size = 56,
                                              .socket = {.tos = -1, .ttl = -1, .pmtu = -1}};

static inline void prepare_with(struct probe *probe, struct probe_settings settings)
{
    heard.count = 0;
    assert_int_equal(probe_init(probe, &settings, listen_to, NULL), 0);
}

static inline void prepare(struct probe *probe, size_t size)
{
    struct probe_settings settings = patient;

    settings.size = size;
    prepare_with(probe, settings);
}

/* Let the link whose turn it is send one more. */
static inline void send_one(struct probe *probe)
{
    probe->due = 0;
    probe_turn(probe, clock_now());
}

/* Let the only link send so many more in one go. */
static inline void send_many(struct probe *probe, unsigned count)
{
    probe->settings.window = probe->links[0]->unanswered + count;
    probe_turn(probe, clock_now());
    probe->settings.window = 0;
}

/* As if poll(2) had returned this for the first link. */
static inline void wake(struct probe *probe, short revents)
{
    struct probe_link *link = probe->links[0];

    link->ops->ready(link, &link->watch, revents);
}

/* Wait until a link is ready, and let it work. */
static inline void pump(struct probe *probe)
{
    struct epoll_event events[64];
    int count = epoll_wait(probe->epoll, events, COUNT(events), PATIENCE_MS);

    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        struct probe_watch *watch = events[i].data.ptr;

        assert_non_null(watch);
        if (watch->events != 0)
            watch->link->ops->ready(watch->link, watch, (short)events[i].events);
    }
}

/* ... until so many events have been heard. */
static inline void await_events(struct probe *probe, unsigned count)
{
    while (heard.count < count)
        pump(probe);
    assert_int_equal(heard.count, count);
}

#endif
