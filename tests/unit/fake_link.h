/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_FAKE_LINK_H
#define ECHOD_TESTS_FAKE_LINK_H

/* Probes without a network: links that remember what they were asked to send, and a clock that
 * stands still. */

#include "probe/inflight.h"
#include "unit/probe_unit.h"

#define MS MILLISECOND
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
        inflight_error(link, fake.sent, fake.send_error, NULL, clock_now());
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
    if (revents & POLLHUP) {
        probe_link_close(link, revents & POLLERR ? ECONNRESET : 0);
        return;
    }
    assert_int_equal(read(fake.fd[0], &octet, 1), 1);
    fake.ready++;
    if (link->opening)
        inflight_connected(link, 0, 7);
    else
        inflight_reply(link, &identity, &arrival);
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
    probe_link_fini(link);
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

static inline void start(struct probe *probe, struct probe_settings settings)
{
    settings.interval = settings.interval != 0 ? settings.interval : S;
    settings.preload = settings.preload != 0 ? settings.preload : 1;
    settings.links = settings.links != 0 ? settings.links : 1;
    settings.size = 56;
    prepare_with(probe, settings);
    frozen = settings.deadline != 0 ? T0 : 0; /* from which the deadline counts */
    assert_int_equal(probe_open(probe, &fake_ops, &peer), 0);
    frozen = 0;
}

#define START(probe, ...) start((probe), (struct probe_settings){__VA_ARGS__})

/* A turn of the schedule at that time. */
static inline uint64_t turn(struct probe *probe, uint64_t now)
{
    frozen = now;
    return schedule_turn(probe, now);
}

/* The peer ends a connection in good order, or by a reset. */
static inline void peer_ends(struct probe *probe, unsigned link, bool in_good_order)
{
    schedule_watch_ready(&probe->links[link]->watch.io, POLLHUP | (in_good_order ? 0 : POLLERR));
}

static inline void reply(struct probe *probe, enum payload_verdict verdict, uint64_t seq,
                         uint64_t now)
{
    const struct probe_slot *slot = inflight_find(probe, seq);
    struct payload_identity identity = {verdict, seq, 0};
    struct probe_arrival arrival = {.from = &peer, .size = 56, .now = now};

    inflight_reply(probe->links[slot ? slot->link : 0], &identity, &arrival);
}

#define GOOD(probe, seq, now) reply((probe), PAYLOAD_GOOD, (seq), (now))

static unsigned fake_descriptors;

static inline int fake_set_up(void **state)
{
    frozen = 0;
    memset(&fake, 0, sizeof fake);
    fake_descriptors = open_descriptors();
    assert_int_equal(pipe(fake.fd), 0);
    assert_int_equal(runner_init(&runner), 0);
    peer = address("127.0.0.1", 7);
    *state = test_calloc(1, sizeof(struct probe));
    return 0;
}

static inline int fake_tear_down(void **state)
{
    struct probe *probe = *state;

    frozen = 0;
    probe_fini(probe);
    runner_fini(&runner);
    assert_int_equal(fake.open, 0);
    close(fake.fd[0]);
    close(fake.fd[1]);
    assert_int_equal(open_descriptors(), fake_descriptors);
    test_free(probe);
    return 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, fake_set_up, fake_tear_down)

#endif
