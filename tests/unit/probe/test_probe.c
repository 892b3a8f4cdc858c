/* SPDX-License-Identifier: ISC */
#include "unit/fake_link.h"

#include <signal.h>
#include <sys/epoll.h>

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP_FAILING(int, epoll_create1, -1, (int flags), (flags))
WRAP_FAILING(int, epoll_ctl, -1, (int epoll, int op, int fd, struct epoll_event *event),
             (epoll, op, fd, event))
WRAP_FAILING(int, epoll_wait, -1, (int epoll, struct epoll_event *events, int max, int timeout),
             (epoll, events, max, timeout))
WRAP_FAILING(int, epoll_pwait2, -1,
             (int epoll, struct epoll_event *events, int max, const struct timespec *timeout,
              const sigset_t *mask),
             (epoll, events, max, timeout, mask))
WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t len, unsigned flags), (buf, len, flags))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))

static int set_up(void **state)
{
    fake_set_up(state);
    script_clear(&signalfd_script);
    script_clear(&epoll_create1_script);
    script_clear(&epoll_ctl_script);
    script_clear(&epoll_wait_script);
    script_clear(&epoll_pwait2_script);
    script_clear(&getrandom_script);
    script_clear(&calloc_script);
    return 0;
}

static int tear_down(void **state)
{
    fake_tear_down(state);
    return 0;
}

/* ---- connecting ---- */

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

static void assert_not_opened(struct probe *probe, struct probe_settings settings, int error)
{
    settings.interval = S;
    settings.links = 1;
    fake.opening = true;
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(heard.count, error != 0);
    if (error != 0)
        assert_int_equal(last()->error, error);
    assert_int_equal(probe_status(probe), 1);
    assert_int_equal(fake.open, 0);
}

static void connecting_may_take_as_long_as_a_reply(void **state)
{
    assert_not_opened(*state, (struct probe_settings){.timeout = MS}, ETIMEDOUT);
}

static void connecting_ends_with_the_deadline(void **state)
{
    assert_not_opened(*state, (struct probe_settings){.deadline = MS}, ETIMEDOUT);
}

static void connecting_can_be_interrupted(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.links = 1};

    /* A first address leaves signals blocked, so that one may be pending. */
    fake.cannot_open = ENETUNREACH;
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    fake.cannot_open = 0;
    fake.opening = true;
    raise(SIGINT);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_true(probe->stopped);
    assert_int_equal(heard.count, 1);
    assert_int_equal(fake.open, 0);
}

static void a_connection_that_ends_early_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    probe_connected(probe->links[0], 0, 7);
    assert_int_equal(last()->kind, PROBE_CONNECTED);
    assert_int_equal(last()->time, 7);
    assert_int_equal((uint64_t)probe->connect.min, 7);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    probe_closed(probe->links[0], ECONNRESET);
    assert_int_equal(last()->kind, PROBE_CLOSED);
    assert_int_equal(last()->error, ECONNRESET);
    assert_true(probe_finished(probe, T0 + MS));
    assert_int_equal(probe_status(probe), 1);
}

static void a_connection_that_ends_after_the_last_reply_is_fine(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    probe_closed(probe->links[0], 0);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(probe_status(probe), 0);
}

static void how_long_connections_of_probes_took_is_told_with_the_reply(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    turn(probe, T0);
    frozen = T0 + 5 * MS;
    probe_connected(probe->links[0], 1, 4 * MS);
    assert_int_equal(heard.count, 0);
    GOOD(probe, 1, T0 + 7 * MS);
    assert_int_equal(last()->connect, 4 * MS);
    assert_int_equal(last()->time, 2 * MS);
    assert_int_equal(probe->connect.max, 4 * MS);
}

/* ---- running ---- */

static void another_peer_may_be_tried(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.count = 1, .interval = S, .links = 1};

    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    fake.cannot_open = ENETUNREACH;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ENETUNREACH);
    assert_int_equal(probe_status(probe), 2);
    fake.cannot_open = 0;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), 0);
    assert_int_equal(probe_status(probe), 1);
}

static void run_sends_waits_and_receives(void **state)
{
    struct probe *probe = *state;
    uint64_t elapsed;

    START(probe, .count = 3, .interval = MS);
    assert_int_equal(write(fake.fd[1], "abc", 3), 3);
    elapsed = probe_run(probe);
    assert_int_equal(fake.ready, 3);
    assert_int_equal(probe->counters.sent, 3);
    assert_in_range(elapsed, 2 * MS, PATIENCE_MS * MS);
    assert_int_equal(probe_status(probe), probe->counters.received == 0);
}

static void run_does_not_wait_for_a_probe_that_could_not_be_sent(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    fake.send_error = EPERM;
    probe_run(probe);
    assert_int_equal(epoll_pwait2_script.calls, 0);
    assert_int_equal(probe->counters.errors, 1);
}

static void a_deadline_in_the_past_sends_nothing(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 1);
    probe->deadline = 1;
    assert_int_equal(probe_run(probe), 0);
    assert_int_equal(fake.sent, 0);
}

static void deadline_counts_from_the_first_attempt_to_open(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.deadline = S, .interval = S, .links = 1};
    uint64_t deadline;

    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    fake.cannot_open = ENETUNREACH;
    probe_open(probe, &fake_ops, &peer);
    deadline = probe->deadline;
    assert_true(deadline > clock_now());
    probe_open(probe, &fake_ops, &peer);
    assert_int_equal(probe->deadline, deadline);
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

static void terminate_ends_too(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    raise(SIGTERM);
    probe_run(probe);
    assert_true(probe->stopped);
}

static void a_listener_that_cannot_go_on_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    turn(probe, T0);
    heard.refuse = true;
    GOOD(probe, 1, T0 + MS);
    assert_true(probe_finished(probe, T0 + MS));
    assert_int_equal(probe_status(probe), 2);
}

static void nothing_of_an_earlier_use_is_left(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.size = 56, .links = 1};

    memset(probe, 0xa5, sizeof *probe);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_int_equal(probe->counters.sent, 0);
    assert_int_equal(probe->rtt.count, 0);
    assert_int_equal(probe->payload.size, 56);
    probe_fini(probe);
    probe_fini(probe);
    START(probe, .count = 1);
    probe_fini(probe);
    probe_fini(probe);
}

static void time_is_monotonic_and_in_nanoseconds(void **state)
{
    struct timespec ts;
    uint64_t before;
    uint64_t now;

    (void)state;
    before = clock_now();
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * S + (uint64_t)ts.tv_nsec;
    assert_in_range(now, before, clock_now());
}

static void runs_differ_in_their_nonce(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.size = 56, .links = 1};
    uint64_t nonce;

    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    nonce = probe->payload.nonce;
    probe_fini(probe);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_true(probe->payload.nonce != nonce);
}

static void sizes_are_what_the_protocols_carry(void **state)
{
    (void)state;
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_INET), 65507);
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_INET6), 65527);
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_UNSPEC), 65527);
    assert_int_equal(probe_max_size(&probe_tcp_ops, AF_INET), 16777216);
    assert_int_equal(probe_min_size(&probe_udp_ops), 0);
    assert_int_equal(probe_min_size(&probe_tcp_ops), 1);
}

static void ticks_come_while_it_waits(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1, .timeout = 20 * MS, .tick = MS);
    probe_run(probe);
    assert_true(heard_of(PROBE_TICK) > 0);
}

static void an_interrupted_wait_goes_on_and_a_failed_one_ends(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MS);
    SCRIPT(epoll_pwait2_script, -EINTR, -EINTR, -ENOMEM);
    probe_run(probe);
    assert_true(script_done(&epoll_pwait2_script));
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ENOMEM);
    assert_int_equal(probe_status(probe), 2);
}

static void old_kernels_wait_by_the_millisecond(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2, .interval = 2 * MS);
    script_always(&epoll_pwait2_script, -ENOSYS);
    assert_int_equal(write(fake.fd[1], "ab", 2), 2);
    probe_run(probe);
    assert_true(epoll_wait_script.calls > 0);
    assert_int_equal(fake.ready, 2);
    assert_int_equal(probe->counters.sent, 2);
    /* Longer waits are cut. */
    probe_fini(probe);
    START(probe, .count = 1, .timeout = 3600 * S);
    SCRIPT(epoll_wait_script, -ENOMEM);
    probe_run(probe);
    assert_int_equal(last()->error, ENOMEM);
}

static void what_is_missing_at_the_start_is_told(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.count = 1, .interval = S, .links = 1};

    SCRIPT(getrandom_script, -ENOSYS);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), -1);
    assert_int_equal(errno, ENOSYS);
    probe_fini(probe);
    SCRIPT(epoll_create1_script, -EMFILE);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), -1);
    assert_int_equal(errno, EMFILE);
    probe_fini(probe);
    /* The first two are histograms, which it can do without. */
    for (unsigned i = 2; i < 4; i++) {
        script_fail_after(&calloc_script, i, ENOMEM);
        assert_int_equal(probe_init(probe, &settings, listen_to, &heard), -1);
        assert_int_equal(errno, ENOMEM);
        probe_fini(probe);
    }
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    SCRIPT(signalfd_script, -EMFILE);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, EMFILE);
    assert_int_equal(probe_status(probe), 2);
    SCRIPT(epoll_ctl_script, -ENOSPC);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->error, ENOSPC);
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

static void a_watch_changes_only_if_the_kernel_does(void **state)
{
    struct probe *probe = *state;
    struct probe_watch *watch;

    START(probe, .count = 1);
    watch = &probe->links[0]->watch;
    script_clear(&epoll_ctl_script);
    assert_int_equal(probe_watch(watch, POLLIN), 0);
    assert_int_equal(epoll_ctl_script.calls, 0);
    SCRIPT(epoll_ctl_script, -ENOMEM);
    assert_int_equal(probe_watch(watch, POLLIN | POLLOUT), -1);
    assert_int_equal(watch->events, POLLIN);
    assert_int_equal(probe_watch(watch, 0), 0);
    assert_int_equal(probe_watch(watch, POLLIN), 0);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_link_may_take_time_to_open),
        TEST(connecting_may_take_as_long_as_a_reply),
        TEST(connecting_ends_with_the_deadline),
        TEST(connecting_can_be_interrupted),
        TEST(a_connection_that_ends_early_ends_the_run),
        TEST(a_connection_that_ends_after_the_last_reply_is_fine),
        TEST(how_long_connections_of_probes_took_is_told_with_the_reply),
        TEST(another_peer_may_be_tried),
        TEST(run_sends_waits_and_receives),
        TEST(run_does_not_wait_for_a_probe_that_could_not_be_sent),
        TEST(a_deadline_in_the_past_sends_nothing),
        TEST(deadline_counts_from_the_first_attempt_to_open),
        TEST(interrupt_ends_and_quit_asks),
        TEST(terminate_ends_too),
        TEST(a_listener_that_cannot_go_on_ends_the_run),
        TEST(nothing_of_an_earlier_use_is_left),
        TEST(time_is_monotonic_and_in_nanoseconds),
        TEST(runs_differ_in_their_nonce),
        TEST(sizes_are_what_the_protocols_carry),
        TEST(ticks_come_while_it_waits),
        TEST(an_interrupted_wait_goes_on_and_a_failed_one_ends),
        TEST(old_kernels_wait_by_the_millisecond),
        TEST(what_is_missing_at_the_start_is_told),
        TEST(without_memory_for_histograms_the_rest_works),
        TEST(a_watch_changes_only_if_the_kernel_does),
    };

    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
