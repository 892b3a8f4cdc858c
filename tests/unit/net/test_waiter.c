/* SPDX-License-Identifier: ISC */
#include "net/waiter.h"

#include "unit/unit.h"

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP_FAILING(int, ppoll, -1,
             (struct pollfd * fds, nfds_t count, const struct timespec *timeout,
              const sigset_t *mask),
             (fds, count, timeout, mask))

static uint64_t later(void)
{
    return clock_now() + PATIENCE_MS * (SECOND / 1000);
}

static void descriptors_are_waited_for(void **state)
{
    struct waiter waiter;
    int ends[2];
    struct pollfd fds[2];

    (void)state;
    assert_int_equal(waiter_open(&waiter), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fds[0] = (struct pollfd){.fd = -1, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = ends[0], .events = POLLIN, .revents = POLLIN};
    assert_int_equal(waiter_wait(&waiter, fds, 2, 0), 0);
    assert_int_equal(fds[1].revents, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    assert_int_equal(waiter_wait(&waiter, fds, 2, WAITER_NEVER), 0);
    assert_int_equal(fds[0].revents, 0);
    assert_int_equal(fds[1].revents, POLLIN);
    assert_false(waiter.stopped || waiter.asked);
    close(ends[0]);
    close(ends[1]);
    waiter_close(&waiter);
}

static void it_waits_until_the_time_has_come(void **state)
{
    struct waiter waiter;
    uint64_t until;

    (void)state;
    assert_int_equal(waiter_open(&waiter), 0);
    until = clock_now() + 20000000;
    assert_int_equal(waiter_wait(&waiter, NULL, 0, until), 0);
    assert_true(clock_now() >= until);
    waiter_close(&waiter);
}

static void signals_are_told_apart(void **state)
{
    struct waiter waiter;
    sigset_t before;
    sigset_t after;

    (void)state;
    sigprocmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(waiter_open(&waiter), 0);
    raise(SIGQUIT);
    assert_int_equal(waiter_wait(&waiter, NULL, 0, later()), 0);
    assert_true(waiter.asked && !waiter.stopped);
    raise(SIGINT);
    assert_int_equal(waiter_wait(&waiter, NULL, 0, later()), 0);
    assert_true(waiter.stopped);
    waiter.stopped = false;
    raise(SIGTERM);
    assert_int_equal(waiter_wait(&waiter, NULL, 0, later()), 0);
    assert_true(waiter.stopped);
    waiter_close(&waiter);
    waiter_close(&waiter);
    sigprocmask(SIG_BLOCK, NULL, &after);
    for (int number = 1; number < 32; number++)
        assert_int_equal(sigismember(&after, number), sigismember(&before, number));
}

static void an_interruption_is_no_event(void **state)
{
    struct waiter waiter;
    struct pollfd fd = {.fd = -1, .revents = POLLIN};

    (void)state;
    assert_int_equal(waiter_open(&waiter), 0);
    SCRIPT(ppoll_script, -EINTR);
    assert_int_equal(waiter_wait(&waiter, &fd, 1, later()), 0);
    assert_int_equal(fd.revents, 0);
    SCRIPT(ppoll_script, -ENOMEM);
    assert_int_equal(waiter_wait(&waiter, &fd, 1, later()), -1);
    assert_int_equal(errno, ENOMEM);
    waiter_close(&waiter);
}

static void without_a_descriptor_nothing_changes(void **state)
{
    struct waiter waiter;
    sigset_t mask;

    (void)state;
    SCRIPT(signalfd_script, -EMFILE);
    assert_int_equal(waiter_open(&waiter), -1);
    assert_int_equal(errno, EMFILE);
    waiter_close(&waiter);
    sigprocmask(SIG_BLOCK, NULL, &mask);
    assert_false(sigismember(&mask, SIGINT));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptors_are_waited_for),
        cmocka_unit_test(it_waits_until_the_time_has_come),
        cmocka_unit_test(signals_are_told_apart),
        cmocka_unit_test(an_interruption_is_no_event),
        cmocka_unit_test(without_a_descriptor_nothing_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
