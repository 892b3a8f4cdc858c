/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_PROBE_UNIT_H
#define ECHOD_TESTS_PROBE_UNIT_H

/* What the tests of the links share: a memory of events, and a probe without timing. */

#include "probe.h"

#include "unit.h"

static struct {
    struct probe_event events[64];
    struct net_addr from[64]; /* .len is 0 where there was none */
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
static inline void prepare(struct probe *probe, size_t size)
{
    struct probe_settings settings = {.interval = 1, .size = size, .timeout = 3600 * PROBE_SECOND};

    heard.count = 0;
    assert_int_equal(probe_init(probe, &settings, listen_to, NULL), 0);
}

/* Let the link send one more. */
static inline void send_one(struct probe *probe)
{
    probe->due = 0;
    probe_turn(probe, probe_now());
}

/* Wait for the link to become ready, and let it work, until so many events have been heard. */
static inline void await_events(struct probe *probe, unsigned count)
{
    uint64_t until = probe_now() + PATIENCE_MS * (PROBE_SECOND / 1000);

    while (heard.count < count) {
        short revents = probe_wait(probe, probe->link->fd, probe->link->events, until);

        assert_true(probe_now() < until);
        if (revents)
            probe->link->ops->ready(probe->link, revents);
    }
    assert_int_equal(heard.count, count);
}

#endif
