/* SPDX-License-Identifier: ISC */
#include "net/signals.h"

#include "unit/unit.h"

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))

#define TAKEN ((const int[]){SIGTERM, SIGQUIT})

static struct loop loop;
static unsigned came[32]; /* how often each signal did */

static void count(struct signals *signals, int number)
{
    (void)signals;
    came[number]++;
}

static bool is_blocked(int number)
{
    sigset_t mask;

    sigprocmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, number);
}

static int set_up(void **state)
{
    (void)state;
    memset(came, 0, sizeof came);
    return loop_init(&loop);
}

static int tear_down(void **state)
{
    (void)state;
    loop_fini(&loop);
    return 0;
}

static void signals_arrive_in_the_loop(void **state)
{
    struct signals signals;

    (void)state;
    assert_int_equal(signals_init(&signals, &loop, TAKEN, COUNT(TAKEN), count), 0);
    raise(SIGTERM);
    raise(SIGQUIT);
    assert_int_equal(came[SIGTERM] + came[SIGQUIT], 0);
    TURN_UNTIL(&loop, came[SIGTERM] == 1 && came[SIGQUIT] == 1);
    raise(SIGQUIT);
    TURN_UNTIL(&loop, came[SIGQUIT] == 2);
    assert_int_equal(came[SIGTERM], 1);
    assert_false(is_blocked(SIGHUP));
    signals_fini(&signals);
}

static void the_end_discards_what_is_pending_and_restores_the_mask(void **state)
{
    struct signals signals;
    unsigned before = open_descriptors();

    (void)state;
    assert_int_equal(signals_init(&signals, &loop, TAKEN, COUNT(TAKEN), count), 0);
    raise(SIGTERM);
    signals_fini(&signals);
    signals_fini(&signals);
    assert_false(is_blocked(SIGTERM) || is_blocked(SIGQUIT));
    assert_int_equal(came[SIGTERM], 0);
    assert_int_equal(open_descriptors(), before);
}

static void end(struct signals *signals, int number)
{
    came[number]++;
    signals_fini(signals);
}

static void the_callback_may_end_the_signals(void **state)
{
    struct signals signals;

    (void)state;
    assert_int_equal(signals_init(&signals, &loop, TAKEN, COUNT(TAKEN), end), 0);
    raise(SIGTERM);
    raise(SIGQUIT);
    TURN_UNTIL(&loop, came[SIGTERM] + came[SIGQUIT] == 1);
    assert_false(is_blocked(SIGTERM));
}

static void a_failure_changes_nothing(void **state)
{
    struct signals signals;
    unsigned before = open_descriptors();

    (void)state;
    SCRIPT(signalfd_script, -EMFILE);
    assert_int_equal(signals_init(&signals, &loop, TAKEN, COUNT(TAKEN), count), -1);
    assert_int_equal(errno, EMFILE);
    signals_fini(&signals);
    assert_int_equal(open_descriptors(), before);
    assert_false(is_blocked(SIGTERM));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(signals_arrive_in_the_loop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_discards_what_is_pending_and_restores_the_mask,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_callback_may_end_the_signals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_changes_nothing, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
