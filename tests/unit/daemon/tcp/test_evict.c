/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/evict.h"

#include <stdio.h>
#include <sys/eventfd.h>

#include "unit/daemon/tcp/fixture.h"

static int set_up(void **state)
{
    (void)state;
    connections_set_up();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    connections_tear_down();
    return 0;
}

/* Evict a connection and give its slot back. False if there is none to evict. */
static bool evict_one(void)
{
    if (!evict_for_client(&connections))
        return false;
    connlimit_release(connlimit);
    return true;
}

static void a_quiet_client_is_evicted_and_a_useful_one_is_not(void **state)
{
    int quiet, useful;

    (void)state;
    set_limits(2, 0);
    useful = open_client();
    quiet = open_client();
    pass_time(&loop, EVICT_MIN_AGE);
    assert_echoes(useful);
    assert_true(evict_for_client(&connections));
    assert_int_equal(connlimit_open(connlimit), 2);
    connlimit_release(connlimit);
    assert_closed(quiet);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_int_equal(slots_freed, 0);
    assert_int_equal(logged(LEVEL_WARNING, "all 2 connections are taken; ended one of 127.0.0.1"),
                     1);
    assert_false(evict_one());
    assert_echoes(useful);
    /* What it has sent makes it useful for two seconds at most. */
    pass_time(&loop, 2 * SECOND);
    assert_true(evict_one());
    assert_closed(useful);
}

static void a_new_client_is_not_evicted(void **state)
{
    int client = open_client();

    (void)state;
    pass_time(&loop, EVICT_MIN_AGE - 1);
    assert_false(evict_one());
    pass_time(&loop, 1);
    assert_true(evict_one());
    assert_closed(client);
}

static void a_client_that_we_have_not_read_yet_is_not_evicted(void **state)
{
    int client = open_client();

    (void)state;
    pass_time(&loop, EVICT_MIN_AGE);
    assert_int_equal(write(client, "x", 1), 1);
    assert_true(readable(last_accepted, PATIENCE_MS));
    assert_false(evict_one());
    close(client);
}

static void the_source_with_the_most_connections_loses_one(void **state)
{
    int alone, crowd[3];

    (void)state;
    set_limits(4, 0);
    alone = open_client_from("127.0.0.2");
    for (unsigned i = 0; i < 3; i++)
        crowd[i] = open_client();
    pass_time(&loop, SECOND);
    assert_true(evict_one());
    assert_closed(crowd[0]);
    assert_echoes(alone);
    close(alone);
    close(crowd[1]);
    close(crowd[2]);
}

/* However busy its clients are. */
static void a_source_beyond_its_share_loses_one(void **state)
{
    int crowd[10];

    (void)state;
    set_limits(10, 0);
    for (unsigned i = 0; i < 10; i++)
        crowd[i] = open_client();
    pass_time(&loop, SECOND);
    for (unsigned i = 0; i < 10; i++)
        assert_echoes(crowd[i]);
    assert_true(evict_one());
    assert_closed(crowd[0]);
    for (unsigned i = 1; i < 10; i++)
        close(crowd[i]);
}

static void after_the_limit_was_lowered_as_many_are_evicted_as_it_takes(void **state)
{
    int quiet[3], useful;

    (void)state;
    for (unsigned i = 0; i < COUNT(quiet); i++)
        quiet[i] = open_client();
    useful = open_client();
    pass_time(&loop, SECOND);
    set_limits(2, 0);
    assert_echoes(useful);
    assert_true(evict_one());
    assert_int_equal(stats.tcp_evicted, 3);
    assert_int_equal(connlimit_open(connlimit), 1);
    for (unsigned i = 0; i < COUNT(quiet); i++)
        assert_closed(quiet[i]);
    assert_echoes(useful);
    set_limits(0, 0);
    assert_false(evict_one());
    close(useful);
}

static void assert_echoes_of(const int clients[], unsigned count, size_t length)
{
    char text[32] = {0}, back[32];

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(write(clients[i], text, length), length);
        TURN_UNTIL(&loop, readable(clients[i], 0));
        read_all(clients[i], back, length);
    }
}

/* A crowd could keep the least and the most recently active connections useful. */
static void a_quiet_client_among_many_is_found(void **state)
{
    int clients[100];
    char host[32];

    (void)state;
    set_limits(COUNT(clients), 0);
    for (unsigned i = 0; i < COUNT(clients); i++) {
        snprintf(host, sizeof host, "127.0.1.%u", i);
        clients[i] = open_client_from(host);
    }
    pass_time(&loop, SECOND);
    assert_echoes_of(clients, 20, 32);
    assert_echoes_of(clients + 20, 60, 1);
    pass_time(&loop, 100 * MILLISECOND);
    assert_echoes_of(clients + 80, 20, 32);
    for (unsigned n = 1; n <= 60; n++) {
        unsigned gone = 20;

        assert_true(evict_one());
        while (!readable(clients[gone], 0))
            gone++;
        assert_in_range(gone, 20, 79);
        assert_closed(clients[gone]);
        snprintf(host, sizeof host, "127.0.2.%u", n);
        clients[gone] = open_client_from(host);
        assert_echoes_of(clients + gone, 1, 32);
    }
    assert_false(evict_one());
    assert_int_equal(stats.tcp_evicted, 60);
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

/* ---- for another worker ---- */

static bool was_woken(int wakeup)
{
    uint64_t count;

    return read(wakeup, &count, sizeof count) == sizeof count;
}

static void a_worker_that_waits_gets_the_slot_of_one_evicted_connection(void **state)
{
    int quiet[2] = {open_client(), open_client()}, useful, wakeups[2];

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        wakeups[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_int_equal(connlimit_add_worker(connlimit, wakeups[i]), i);
    }
    useful = open_client();
    set_limits(3, 0);
    pass_time(&loop, SECOND);
    assert_echoes(useful);
    evict_for_other_workers(&connections);
    assert_int_equal(stats.tcp_evicted, 0);
    connlimit_wait(connlimit, 1, loop_now(&loop));
    assert_true(was_woken(wakeups[0]));
    assert_false(was_woken(wakeups[1]));
    evict_for_other_workers(&connections);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_closed(quiet[0]);
    assert_true(was_woken(wakeups[1]));
    assert_true(connlimit_stop_waiting(connlimit, 1));
    assert_int_equal(connlimit_open(connlimit), 3);
    /* The request has been claimed, and the next one comes 250 ms later. */
    connlimit_wait(connlimit, 1, loop_now(&loop));
    evict_for_other_workers(&connections);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_false(connlimit_stop_waiting(connlimit, 1));
    /* Without a connection to evict, a request is left to another worker. */
    close(quiet[1]);
    TURN_UNTIL(&loop, open_connections() == 1);
    pass_time(&loop, 250 * MILLISECOND);
    connlimit_wait(connlimit, 1, loop_now(&loop));
    evict_for_other_workers(&connections);
    assert_true(connlimit_eviction_wanted(connlimit));
    assert_echoes(useful);
    assert_false(connlimit_stop_waiting(connlimit, 1));
    connlimit_release(connlimit);
    close(useful);
    close(wakeups[0]);
    close(wakeups[1]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_quiet_client_is_evicted_and_a_useful_one_is_not),
        TEST(a_new_client_is_not_evicted),
        TEST(a_client_that_we_have_not_read_yet_is_not_evicted),
        TEST(the_source_with_the_most_connections_loses_one),
        TEST(a_source_beyond_its_share_loses_one),
        TEST(after_the_limit_was_lowered_as_many_are_evicted_as_it_takes),
        TEST(a_quiet_client_among_many_is_found),
        TEST(a_worker_that_waits_gets_the_slot_of_one_evicted_connection),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
