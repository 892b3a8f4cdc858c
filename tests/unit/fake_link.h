/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_FAKE_LINK_H
#define ECHOD_TESTS_FAKE_LINK_H

/* The engine without a network: links that remember what they were asked to send, a clock that
 * stands still, and a listener that remembers events. */

#include "probe/inflight.h"

#include <poll.h>

#include "unit/unit.h"

#define MS UINT64_C(1000000)
#define S  SECOND

/* When most tests begin. */
#define T0 (100 * S)

static uint64_t frozen; /* what CLOCK_MONOTONIC shows; 0: the real one */
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (frozen == 0 || clock != CLOCK_MONOTONIC)
        return __real_clock_gettime(clock, ts);
    *ts = (struct timespec){(time_t)(frozen / S), (long)(frozen % S)};
    return 0;
}

#define FAKE_LINKS 4
static struct {
    int cannot_open; /* errno, from link cannot_from on */
    unsigned cannot_from;
    bool opening; /* links say that connecting has only begun */
    unsigned open;
    uint64_t sent;           /* the last one */
    unsigned calls;          /* of send */
    unsigned most;           /* in one call */
    unsigned by[FAKE_LINKS]; /* how many each link was asked for and took */
    bool full[FAKE_LINKS];   /* takes none more */
    uint64_t takes;          /* how long sending one takes */
    int send_error;
    int fd[2]; /* what is written to one end makes link 0 ready */
    unsigned ready;
    uint64_t given_up;   /* the last one */
    uint64_t stop_after; /* raise SIGINT when this one is sent */
} fake;

static struct {
    struct probe_event events[64];
    unsigned count;
    bool refuse;
} heard;

static struct addr peer;

static struct probe_link *fake_open(struct probe *probe, const struct addr *to, unsigned index);

static unsigned fake_send(struct probe_link *link, uint64_t first, unsigned count)
{
    fake.calls++;
    if (fake.full[link->index]) {
        link->blocked = true;
        return 0;
    }
    if (count > fake.most)
        fake.most = count;
    fake.by[link->index] += count;
    fake.sent = first + count - 1;
    if (frozen != 0)
        frozen += fake.takes;
    if (fake.send_error)
        probe_error(link, fake.sent, fake.send_error, NULL, clock_now());
    if (fake.stop_after >= first && fake.stop_after <= fake.sent)
        raise(SIGINT);
    return count;
}

/* Answers the last probe that has been sent. */
static void fake_ready(struct probe_link *link, struct probe_watch *watch, short revents)
{
    struct payload_identity identity = {.seq = fake.sent};
    struct probe_arrival arrival = {.from = &peer, .size = 56, .now = clock_now()};
    char octet;

    assert_ptr_equal(watch, &link->watch);
    assert_true(revents & POLLIN);
    assert_int_equal(read(fake.fd[0], &octet, 1), 1);
    fake.ready++;
    if (link->opening)
        probe_connected(link, 0, 7);
    else
        probe_reply(link, &identity, &arrival);
}

static void fake_give_up(struct probe_link *link, uint64_t seq)
{
    assert_non_null(link);
    fake.given_up = seq;
}

static void fake_close(struct probe_link *link)
{
    fake.open--;
    probe_watch(&link->watch, 0);
    free(link);
}

static const struct probe_ops fake_ops = {.name = "fake",
                                          .type = SOCK_DGRAM,
                                          .open = fake_open,
                                          .send = fake_send,
                                          .ready = fake_ready,
                                          .give_up = fake_give_up,
                                          .close = fake_close};

static struct probe_link *fake_open(struct probe *probe, const struct addr *to, unsigned index)
{
    struct probe_link *link;

    assert_true(index < FAKE_LINKS);
    if (fake.cannot_open && index >= fake.cannot_from) {
        probe_failed(probe, to, fake.cannot_open, 2);
        return NULL;
    }
    link = malloc(sizeof *link);
    assert_non_null(link);
    probe_link_init(link, &fake_ops, probe, index);
    link->peer = *to;
    link->port = (uint16_t)(5000 + index);
    link->opening = fake.opening;
    if (index == 0) {
        link->watch.fd = fake.fd[0];
        assert_int_equal(probe_watch(&link->watch, POLLIN), 0);
    }
    fake.open++;
    return link;
}

static bool listen_to(void *context, const struct probe_event *event)
{
    assert_ptr_equal(context, &heard);
    assert_true(heard.count < COUNT(heard.events));
    heard.events[heard.count++] = *event;
    return !heard.refuse;
}

static inline const struct probe_event *last(void)
{
    assert_true(heard.count > 0);
    return &heard.events[heard.count - 1];
}

static inline unsigned heard_of(enum probe_event_kind kind)
{
    unsigned count = 0;

    for (unsigned i = 0; i < heard.count; i++)
        count += heard.events[i].kind == kind;
    return count;
}

static inline void start(struct probe *probe, struct probe_settings settings)
{
    settings.interval = settings.interval != 0 ? settings.interval : S;
    settings.preload = settings.preload != 0 ? settings.preload : 1;
    settings.links = settings.links != 0 ? settings.links : 1;
    settings.size = 56;
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), 0);
    if (probe->deadline != 0)
        probe->deadline = T0 + settings.deadline;
}

#define START(probe, ...) start((probe), (struct probe_settings){__VA_ARGS__})

/* A turn of the engine at that time. */
static inline uint64_t turn(struct probe *probe, uint64_t now)
{
    frozen = now;
    return probe_turn(probe, now);
}

static inline void reply(struct probe *probe, enum payload_verdict verdict, uint64_t seq,
                         uint64_t now)
{
    const struct probe_slot *slot = inflight_find(probe, seq);
    struct payload_identity identity = {verdict, seq, 0};
    struct probe_arrival arrival = {.from = &peer, .size = 56, .now = now};

    probe_reply(probe->links[slot ? slot->link : 0], &identity, &arrival);
}

#define GOOD(probe, seq, now) reply((probe), PAYLOAD_GOOD, (seq), (now))

static unsigned fake_descriptors;

static inline void fake_set_up(void **state)
{
    struct probe *probe = test_calloc(1, sizeof *probe);

    probe->signals = -1;
    probe->epoll = -1;
    frozen = 0;
    memset(&fake, 0, sizeof fake);
    memset(&heard, 0, sizeof heard);
    assert_int_equal(pipe(fake.fd), 0);
    peer = address("127.0.0.1", 7);
    fake_descriptors = open_descriptors();
    *state = probe;
}

static inline void fake_tear_down(void **state)
{
    struct probe *probe = *state;
    sigset_t mask;

    frozen = 0;
    probe_fini(probe);
    assert_int_equal(fake.open, 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    assert_false(sigismember(&mask, SIGINT));
    assert_int_equal(open_descriptors(), fake_descriptors);
    close(fake.fd[0]);
    close(fake.fd[1]);
    test_free(probe);
}

#endif
