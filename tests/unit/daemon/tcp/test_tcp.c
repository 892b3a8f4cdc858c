/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/tcp.h"

#include <sys/eventfd.h>

#include "unit/daemon/tcp/fixture.h"

WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))

/* Two workers that share the limits. The first has the listener. */
static struct tcp tcps[2];
static int wakeups[2];

static int set_up(void **state)
{
    (void)state;
    script_clear(&malloc_script);
    script_clear(&realloc_script);
    fixture_set_up();
    for (size_t i = 0; i < COUNT(tcps); i++) {
        wakeups[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_int_equal(tcp_init(&tcps[i], &loop, &stats, connlimit, wakeups[i]), 0);
    }
    assert_int_equal(listeners_add(&tcps[0].listeners, listener, 0), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(tcps); i++) {
        tcp_fini(&tcps[i]);
        close(wakeups[i]);
    }
    fixture_tear_down();
    return 0;
}

/* Deliver the wake-ups, as the workers' loops do. */
static void deliver_wakeups(void)
{
    for (size_t i = 0; i < COUNT(tcps); i++) {
        uint64_t count;

        if (read(wakeups[i], &count, sizeof count) == sizeof count)
            tcp_woken(&tcps[i]);
    }
}

static int let_in_client(void)
{
    uint64_t before = stats.tcp_accepted;
    int client = connect_client();

    TURN_UNTIL(&loop, stats.tcp_accepted == before + 1);
    return client;
}

/* A quiet connection of the second worker, which takes the only slot. */
static int fill_second_worker(void)
{
    int client;

    set_limits(1, 0);
    assert_int_equal(listeners_add(&tcps[1].listeners, listener, 0), 0);
    listeners_drop(&tcps[0].listeners, listener);
    client = let_in_client();
    listeners_drop(&tcps[1].listeners, listener);
    assert_int_equal(listeners_add(&tcps[0].listeners, listener, 0), 0);
    return client;
}

static void a_client_waits_until_another_worker_evicts_a_connection_for_it(void **state)
{
    int quiet = fill_second_worker(), late;

    (void)state;
    pass_time(&loop, SECOND);
    late = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    assert_int_equal(stats.tcp_evicted, 0);
    deliver_wakeups(); /* of the second worker, after the first one */
    assert_closed(quiet);
    deliver_wakeups();
    assert_int_equal(stats.tcp_evicted, 1);
    assert_echoes(late);
    assert_int_equal(connlimit_open(connlimit), 1);
    close(late);
}

static void the_end_of_another_workers_connection_lets_a_client_in(void **state)
{
    int first = fill_second_worker(), late = connect_client();

    (void)state;
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    deliver_wakeups();
    close(first);
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    deliver_wakeups();
    assert_int_equal(stats.tcp_accepted, 2);
    assert_echoes(late);
    close(late);
}

static void the_end_of_a_connection_lets_a_client_in(void **state)
{
    int first, late;

    (void)state;
    set_limits(1, 0);
    first = let_in_client();
    late = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    close(first);
    assert_echoes(late);
    close(late);
}

static void a_client_that_waits_is_let_in_when_access_ends_a_connection(void **state)
{
    struct prefix_set *set = deny("127.0.0.2");
    int denied, late;

    (void)state;
    set_limits(1, 0);
    denied = connect_from("127.0.0.2");
    TURN_UNTIL(&loop, stats.tcp_accepted == 1);
    late = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    tcp_set_params(&tcps[0], &(struct acl){.set = set}, 0);
    assert_closed(denied);
    assert_int_equal(stats.tcp_accepted, 2);
    assert_echoes(late);
    close(late);
    tcp_set_params(&tcps[0], &(struct acl){0}, 0);
    prefix_set_free(set);
}

static void params_hold_for_open_connections(void **state)
{
    int idle = let_in_client();

    (void)state;
    tcp_set_params(&tcps[0], &(struct acl){0}, SECOND);
    pass_time(&loop, SECOND);
    assert_int_equal(stats.tcp_idle, 1);
    assert_closed(idle);
    idle = let_in_client();
    tcp_set_params(&tcps[0], &(struct acl){.only_listed = true}, SECOND);
    assert_int_equal(stats.tcp_denied, 1);
    assert_closed(idle);
}

static void a_listener_that_listens_again_is_found_when_params_are_set(void **state)
{
    (void)state;
    assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
    TURN_UNTIL(&loop, logged(LEVEL_ERROR, "shut down") == 1);
    assert_int_equal(listen(listener, 128), 0);
    server = local_address(listener);
    tcp_set_params(&tcps[0], &(struct acl){0}, 0);
    close(let_in_client());
}

static void all_connections_and_the_client_that_waits_can_be_closed(void **state)
{
    int first, late;

    (void)state;
    set_limits(1, 0);
    first = let_in_client();
    late = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    tcp_close_all(&tcps[0]);
    assert_int_equal(stats.tcp_accepted, 1);
    assert_int_equal(connlimit_open(connlimit), 0);
    assert_closed(first);
    assert_closed(late);
}

static void want_of_memory_at_the_start_is_an_error(void **state)
{
    struct script *scripts[] = {&malloc_script, &realloc_script};

    (void)state;
    for (size_t i = 0; i < COUNT(scripts); i++) {
        struct loop other_loop;
        struct tcp other = {0};

        assert_int_equal(loop_init(&other_loop), 0);
        SCRIPT(*scripts[i], -ENOMEM);
        errno = 0;
        assert_int_equal(tcp_init(&other, &other_loop, &stats, connlimit, -1), -1);
        assert_int_equal(errno, ENOMEM);
        tcp_fini(&other);
        loop_fini(&other_loop);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_waits_until_another_worker_evicts_a_connection_for_it),
        TEST(the_end_of_another_workers_connection_lets_a_client_in),
        TEST(the_end_of_a_connection_lets_a_client_in),
        TEST(a_client_that_waits_is_let_in_when_access_ends_a_connection),
        TEST(params_hold_for_open_connections),
        TEST(a_listener_that_listens_again_is_found_when_params_are_set),
        TEST(all_connections_and_the_client_that_waits_can_be_closed),
        TEST(want_of_memory_at_the_start_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
