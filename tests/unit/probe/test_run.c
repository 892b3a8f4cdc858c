/* SPDX-License-Identifier: ISC */
#include "unit/fake_link.h"

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP_FAILING(int, epoll_create1, -1, (int flags), (flags))
WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t len, unsigned flags), (buf, len, flags))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))

static const struct probe_settings once_a_second = {.interval = S, .links = 1, .preload = 1};

/* ---- opening ---- */

static void a_link_may_take_time_to_open(void **state)
{
    struct probe *probe = *state;

    fake.opening = true;
    assert_int_equal(write(fake.fd[1], "a", 1), 1);
    START(probe, .interval = S);
    assert_int_equal(fake.ready, 1);
    assert_int_equal(last()->kind, PROBE_CONNECTED);
    assert_int_equal(last()->time, 7);
    assert_int_equal(probe->connect.count, 1);
}

static void connecting_takes_no_longer_than_a_reply_or_the_deadline(void **state)
{
    struct probe_settings cases[] = {once_a_second, once_a_second};
    struct probe *probe = *state;

    fake.opening = true;
    cases[0].timeout = MS;
    cases[1].deadline = MS;
    for (unsigned i = 0; i < COUNT(cases); i++) {
        prepare_with(probe, cases[i]);
        assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
        assert_int_equal(heard.count, 1);
        assert_int_equal(last()->error, ETIMEDOUT);
        assert_int_equal(probe_status(probe), 1);
        assert_int_equal(fake.open, 0);
        probe_fini(probe);
    }
}

static void connecting_can_be_interrupted_at_a_second_peer(void **state)
{
    struct probe *probe = *state;

    /* The first one leaves signals blocked, so that one may be pending. */
    prepare_with(probe, once_a_second);
    fake.cannot_open = ENETUNREACH;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ENETUNREACH);
    assert_int_equal(probe_status(probe), 2);
    fake.cannot_open = 0;
    fake.opening = true;
    raise(SIGINT);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_true(probe->stopped);
    assert_int_equal(heard.count, 1);
    assert_int_equal(fake.open, 0);
}

static void a_second_peer_may_be_opened_before_the_deadline_of_both(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = once_a_second;
    uint64_t deadline;

    settings.deadline = S;
    prepare_with(probe, settings);
    fake.cannot_open = ENETUNREACH;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    deadline = probe->deadline;
    assert_true(deadline > clock_now());
    fake.cannot_open = 0;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), 0);
    assert_int_equal(probe->deadline, deadline);
    assert_int_equal(probe_status(probe), 1);
}

static void a_link_that_cannot_be_opened_closes_those_that_are(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = once_a_second;

    settings.links = 3;
    prepare_with(probe, settings);
    fake.cannot_open = EADDRINUSE;
    fake.cannot_from = 2;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(fake.open, 0);
    assert_int_equal(last()->error, EADDRINUSE);
    assert_int_equal(heard.count, 1);
}

/* ---- running ---- */

static void a_run_sends_waits_and_receives(void **state)
{
    struct probe *probe = *state;
    uint64_t elapsed;

    START(probe, .count = 3, .interval = MS);
    assert_int_equal(write(fake.fd[1], "abc", 3), 3);
    elapsed = probe_run(probe);
    /* A slow machine sends all of them before the first answer, which is to the last one. */
    assert_in_range(fake.ready, 1, 3);
    assert_int_equal(probe->counters.sent, 3);
    assert_in_range(elapsed, 2 * MS, PATIENCE_MS * MS);
    assert_int_equal(probe_status(probe), probe->counters.received == 0);
}

static void a_probe_that_could_not_be_sent_is_not_waited_for(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    fake.send_error = EPERM;
    assert_true(probe_run(probe) < S);
    assert_int_equal(probe->counters.errors, 1);
}

static void a_deadline_in_the_past_sends_nothing(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 1);
    frozen = T0 + 1;
    assert_int_equal(probe_run(probe), 0);
    assert_int_equal(fake.sent, 0);
}

static void interrupt_ends_and_quit_asks(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    fake.stop_after = 1;
    raise(SIGQUIT);
    probe_run(probe);
    assert_int_equal(fake.sent, 1);
    assert_int_equal(last()->kind, PROBE_STATUS);
    assert_true(probe->stopped);
    assert_int_equal(probe_status(probe), 1);
    GOOD(probe, 1, clock_now());
    assert_int_equal(probe_status(probe), 0);
}

static void a_listener_that_cannot_go_on_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    heard.refuse = true;
    assert_int_equal(write(fake.fd[1], "a", 1), 1);
    probe_run(probe);
    assert_int_equal(heard.count, 1);
    assert_int_equal(probe_status(probe), 2);
}

static void ticks_come_while_it_waits(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1, .timeout = 20 * MS, .tick = MS);
    probe_run(probe);
    assert_true(heard_of(PROBE_TICK) > 0);
}

/* ---- beginning ---- */

static void runs_differ_in_their_nonce(void **state)
{
    struct probe *probe = *state;
    uint64_t nonce;

    prepare_with(probe, once_a_second);
    nonce = probe->payload.nonce;
    probe_fini(probe);
    prepare_with(probe, once_a_second);
    assert_true(probe->payload.nonce != nonce);
    probe_fini(probe);
    probe_fini(probe);
}

static void what_is_missing_at_the_start_is_told(void **state)
{
    struct probe *probe = *state;
    struct runner other;

    SCRIPT(epoll_create1_script, -EMFILE);
    assert_int_equal(runner_init(&other), -1);
    assert_int_equal(errno, EMFILE);
    runner_fini(&other);
    SCRIPT(getrandom_script, -ENOSYS);
    assert_int_equal(probe_init(probe, &runner, &once_a_second, listen_to, NULL), -1);
    assert_int_equal(errno, ENOSYS);
    probe_fini(probe);
    /* The first two are histograms, which it can do without. */
    for (unsigned i = 2; i < 4; i++) {
        script_fail_after(&calloc_script, i, ENOMEM);
        assert_int_equal(probe_init(probe, &runner, &once_a_second, listen_to, NULL), -1);
        assert_int_equal(errno, ENOMEM);
        probe_fini(probe);
    }
    prepare_with(probe, once_a_second);
    SCRIPT(signalfd_script, -EMFILE);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, EMFILE);
    assert_int_equal(probe_status(probe), 2);
}

static void without_memory_for_histograms_the_rest_works(void **state)
{
    struct probe *probe = *state;

    SCRIPT(calloc_script, -ENOMEM, -ENOMEM);
    START(probe, .count = 1);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    assert_int_equal(probe->rtt.max, MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_link_may_take_time_to_open),
        TEST(connecting_takes_no_longer_than_a_reply_or_the_deadline),
        TEST(connecting_can_be_interrupted_at_a_second_peer),
        TEST(a_second_peer_may_be_opened_before_the_deadline_of_both),
        TEST(a_link_that_cannot_be_opened_closes_those_that_are),
        TEST(a_run_sends_waits_and_receives),
        TEST(a_probe_that_could_not_be_sent_is_not_waited_for),
        TEST(a_deadline_in_the_past_sends_nothing),
        TEST(interrupt_ends_and_quit_asks),
        TEST(a_listener_that_cannot_go_on_ends_the_run),
        TEST(ticks_come_while_it_waits),
        TEST(runs_differ_in_their_nonce),
        TEST(what_is_missing_at_the_start_is_told),
        TEST(without_memory_for_histograms_the_rest_works),
    };

    return cmocka_run_group_tests_name("run", tests, NULL, NULL);
}
