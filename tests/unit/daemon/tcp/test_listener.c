/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/listener.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "unit/daemon/tcp/fixture.h"

WRAP_FAILING(int, accept4, -1, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
             (fd, addr, len, flags))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(int, epoll_ctl, -1, (int set, int operation, int fd, struct epoll_event *event),
             (set, operation, fd, event))

static struct listeners listeners;
static int wakeup;

static void resume_listeners(struct connections *set)
{
    (void)set;
    listeners_resume(&listeners);
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&accept4_script);
    script_clear(&malloc_script);
    script_clear(&epoll_ctl_script);
    fixture_set_up();
    wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_int_equal(connlimit_add_worker(connlimit, wakeup), 0);
    assert_int_equal(connections_init(&connections, &loop, &stats, connlimit, resume_listeners), 0);
    listeners_init(&listeners, &connections, 0);
    assert_int_equal(listeners_add(&listeners, listener, 0), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    listeners_fini(&listeners);
    connections_fini(&connections);
    close(wakeup);
    fixture_tear_down();
    return 0;
}

/* Connected and let in. */
static int let_in_client(void)
{
    uint64_t before = stats.tcp_accepted;
    int client = connect_client();

    TURN_UNTIL(&loop, stats.tcp_accepted == before + 1);
    return client;
}

static void close_and_wait(int client)
{
    uint64_t before = stats.tcp_closed;

    close(client);
    TURN_UNTIL(&loop, stats.tcp_closed > before);
}

/* ---- limits ---- */

static void at_the_limit_clients_wait_for_a_connection_to_end(void **state)
{
    int first, second, third;

    (void)state;
    set_limits(2, 0);
    first = let_in_client();
    second = let_in_client();
    third = connect_client();
    assert_int_equal(write(third, "x", 1), 1);
    turn(20);
    assert_false(readable(third, 0));
    assert_echoes(first);
    assert_int_equal(logged(LEVEL_WARNING, "all 2 connections are taken"), 1);
    assert_int_equal(stats.tcp_full, 1);
    assert_int_equal(stats.tcp_accepted, 2);
    close(first);
    TURN_UNTIL(&loop, readable(third, 0));
    assert_int_equal(connlimit_open(connlimit), 2);
    assert_int_equal(logbook.count, 1);
    close(second);
    close(third);
}

static void a_slot_freed_by_a_higher_limit_is_found_within_a_tenth_of_a_second(void **state)
{
    int client;

    (void)state;
    set_limits(0, 0);
    client = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    set_limits(1, 0);
    turn(20);
    assert_int_equal(stats.tcp_accepted, 0);
    pass_time(&loop, 100 * MILLISECOND);
    assert_int_equal(stats.tcp_accepted, 1);
    assert_echoes(client);
    close(client);
}

static void a_slot_that_another_worker_frees_goes_to_the_client_that_waits(void **state)
{
    int client;

    (void)state;
    set_limits(1, 0);
    assert_true(connlimit_reserve(connlimit));
    client = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    connlimit_release(connlimit);
    assert_false(connlimit_reserve(connlimit));
    assert_true(readable(wakeup, 0));
    listeners_woken(&listeners);
    assert_int_equal(stats.tcp_accepted, 1);
    assert_echoes(client);
    listeners_woken(&listeners);
    close(client);
}

static void a_full_daemon_logs_once_and_then_seldom(void **state)
{
    int client;

    (void)state;
    set_limits(0, 0);
    client = connect_client();
    for (int i = 0; i < 100; i++)
        pass_time(&loop, 100 * MILLISECOND);
    assert_int_equal(logbook.count, 1);
    assert_in_range(stats.tcp_full, 40, 101);
    pass_time(&loop, LOG_LIMIT_NS);
    turn(2);
    assert_int_equal(logbook.count, 2);
    close(client);
}

static void at_the_limit_a_quiet_connection_is_evicted(void **state)
{
    int quiet, late;

    (void)state;
    set_limits(1, 0);
    quiet = let_in_client();
    pass_time(&loop, SECOND);
    late = connect_client();
    assert_echoes(late);
    assert_closed(quiet);
    assert_int_equal(stats.tcp_evicted, 1);
    close(late);
}

static void no_connection_is_evicted_for_a_client_that_is_refused_or_has_left(void **state)
{
    struct prefix_set *set = deny("127.0.0.2");
    int client, refused;

    (void)state;
    set_limits(1, 1);
    client = let_in_client();
    pass_time(&loop, SECOND);
    refused = connect_client();
    TURN_UNTIL(&loop, stats.tcp_refused_source == 1);
    assert_closed(refused);
    connections_set_access(&connections, &(struct acl){.set = set});
    refused = connect_from("127.0.0.2");
    TURN_UNTIL(&loop, stats.tcp_denied == 1);
    assert_closed(refused);
    SCRIPT(accept4_script, -ECONNABORTED, -EAGAIN);
    close(connect_from("127.0.0.3"));
    TURN_UNTIL(&loop, accept4_script.calls == 2);
    assert_int_equal(stats.tcp_evicted, 0);
    assert_int_equal(connlimit_open(connlimit), 1);
    assert_echoes(client);
    close(client);
    prefix_set_free(set);
}

static void a_client_that_leaves_while_it_waits_lets_the_next_one_wait(void **state)
{
    int useful, gone, late;

    (void)state;
    set_limits(1, 0);
    useful = let_in_client();
    pass_time(&loop, SECOND);
    assert_echoes(useful);
    gone = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    late = connect_client();
    WAIT_UNTIL(in_backlog() == 1);
    reset(gone);
    pass_time(&loop, 100 * MILLISECOND);
    TURN_UNTIL(&loop, in_backlog() == 0);
    assert_int_equal(stats.tcp_evicted, 0);
    close(useful);
    assert_echoes(late);
    close(late);
}

/* It was given the slot just before. */
static void the_slot_of_a_client_that_has_left_is_free_again(void **state)
{
    int gone;

    (void)state;
    set_limits(1, 0);
    for (unsigned is_woken = 0; is_woken < 2; is_woken++) {
        uint64_t before = stats.tcp_full;

        assert_true(connlimit_reserve(connlimit));
        gone = connect_client();
        TURN_UNTIL(&loop, stats.tcp_full > before);
        connlimit_release(connlimit);
        assert_int_equal(connlimit_open(connlimit), 1);
        reset(gone);
        if (is_woken)
            listeners_woken(&listeners);
        else
            listeners_discard_waiting(&listeners);
        assert_int_equal(connlimit_open(connlimit), 0);
        listeners_resume(&listeners);
    }
    assert_int_equal(stats.tcp_accepted, 0);
}

static void where_too_few_connections_can_be_evicted_the_client_waits(void **state)
{
    int quiet, useful[2], late;

    (void)state;
    quiet = let_in_client();
    useful[0] = let_in_client();
    useful[1] = let_in_client();
    pass_time(&loop, SECOND);
    set_limits(1, 0);
    assert_echoes(useful[0]);
    assert_echoes(useful[1]);
    late = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    assert_closed(quiet);
    close_and_wait(useful[0]);
    turn(3);
    assert_int_equal(stats.tcp_accepted, 3);
    close(useful[1]);
    assert_echoes(late);
    close(late);
}

static void one_turn_lets_in_a_bounded_number(void **state)
{
    int clients[100];

    (void)state;
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    WAIT_UNTIL(in_backlog() == COUNT(clients));
    turn(1);
    assert_in_range(stats.tcp_accepted, 1, 64);
    TURN_UNTIL(&loop, stats.tcp_accepted == COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

/* ---- sockets that several workers share ---- */

static void share_listener(void)
{
    listeners_drop(&listeners, listener);
    assert_int_equal(listeners_add(&listeners, listener, 2), 0);
}

static void a_worker_with_more_than_its_share_leaves_clients_to_others_for_a_moment(void **state)
{
    int clients[12];

    (void)state;
    share_listener();
    for (unsigned i = 0; i < COUNT(clients); i++) {
        clients[i] = connect_client();
        WAIT_UNTIL(in_backlog() == 1);
        if (i >= 7) {
            turn(3);
            assert_int_equal(stats.tcp_accepted, i);
            pass_time(&loop, 5 * MILLISECOND);
        }
        TURN_UNTIL(&loop, stats.tcp_accepted == i + 1);
        assert_echoes(clients[i]);
    }
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
    assert_int_equal(logbook.count, 0);
    assert_int_equal(stats.tcp_starved, 0);
}

static void one_turn_lets_in_one_client_of_a_shared_socket(void **state)
{
    int clients[7];

    (void)state;
    share_listener();
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    WAIT_UNTIL(in_backlog() == COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++) {
        turn(1);
        assert_int_equal(stats.tcp_accepted, i + 1);
    }
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

/* ---- failures ---- */

static void without_descriptors_or_memory_the_listeners_pause(void **state)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        int open = let_in_client(), client = connect_client();

        logbook_open(LEVEL_INFO);
        script_always(&accept4_script, -errors[i]);
        TURN_UNTIL(&loop, accept4_script.calls > 0);
        turn(50);
        assert_int_equal(accept4_script.calls, 1);
        assert_echoes(open);
        script_clear(&accept4_script);
        turn(50);
        assert_int_equal(accept4_script.calls, 0);
        pass_time(&loop, 100 * MILLISECOND);
        assert_echoes(client);
        assert_int_equal(logged(LEVEL_WARNING, strerror(errors[i])), 1);
        assert_int_equal(logged(LEVEL_WARNING, "LimitNOFILE="), errors[i] == EMFILE);
        assert_int_equal(logbook.count, 1);
        assert_int_equal(stats.tcp_starved, i + 1);
        close_and_wait(open);
        close_and_wait(client);
        pass_time(&loop, LOG_LIMIT_NS);
    }
}

static void starvation_is_logged_once_while_it_lasts(void **state)
{
    int client = connect_client();

    (void)state;
    script_always(&accept4_script, -EMFILE);
    for (int i = 0; i < 100; i++) {
        pass_time(&loop, 100 * MILLISECOND);
        turn(5);
    }
    assert_in_range(accept4_script.calls, 50, 101);
    assert_int_equal(stats.tcp_starved, accept4_script.calls);
    assert_int_equal(logbook.count, 1);
    close(client);
}

static void the_end_of_a_connection_ends_the_pause(void **state)
{
    int open = let_in_client(), client = connect_client();

    (void)state;
    SCRIPT(accept4_script, -EMFILE);
    TURN_UNTIL(&loop, stats.tcp_starved == 1);
    close(open);
    assert_echoes(client);
    close(client);
}

static void an_error_of_one_client_does_not_keep_the_next_one_out(void **state)
{
    static const int errors[] = {EINTR,        ECONNABORTED, EPROTO,     EPERM,
                                 ENETDOWN,     ENOPROTOOPT,  EHOSTDOWN,  ENONET,
                                 EHOSTUNREACH, EOPNOTSUPP,   ENETUNREACH};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(accept4_script, -errors[i], -errors[i]);
        close_and_wait(let_in_client());
    }
    SCRIPT(accept4_script, -EAGAIN, -EWOULDBLOCK);
    close_and_wait(let_in_client());
    assert_int_equal(logbook.count, 0);
    assert_int_equal(stats.tcp_starved, 0);
}

static void a_client_that_cannot_be_kept_leaves_nothing_behind(void **state)
{
    unsigned before;

    (void)state;
    set_limits(1000, 1);
    share_listener(); /* now adding to the loop can fail */
    for (unsigned n = 1; n <= 2; n++) {
        int client = connect_client();

        before = open_descriptors();
        if (n == 1)
            SCRIPT(malloc_script, -ENOMEM);
        else
            SCRIPT(epoll_ctl_script, -ENOSPC);
        TURN_UNTIL(&loop, stats.tcp_starved == n);
        assert_int_equal(open_descriptors(), before);
        assert_int_equal(connlimit_open(connlimit), 0);
        assert_closed(client);
        pass_time(&loop, 100 * MILLISECOND);
        close_and_wait(let_in_client());
    }
    assert_int_equal(logged(LEVEL_WARNING, "cannot keep a connection"), 1);
}

static void a_client_that_waited_and_cannot_be_kept_lets_the_next_one_in(void **state)
{
    int late, client;

    (void)state;
    share_listener();
    set_limits(0, 0);
    late = connect_client();
    TURN_UNTIL(&loop, stats.tcp_full == 1);
    set_limits(1, 0);
    SCRIPT(epoll_ctl_script, -ENOSPC);
    pass_time(&loop, 100 * MILLISECOND);
    assert_int_equal(stats.tcp_starved, 1);
    assert_closed(late);
    assert_int_equal(connlimit_open(connlimit), 0);
    pass_time(&loop, 100 * MILLISECOND);
    client = let_in_client();
    assert_echoes(client);
    close(client);
}

/* ---- which listeners there are ---- */

static void what_waits_in_a_backlog_can_be_drained(void **state)
{
    int clients[80];

    (void)state;
    assert_true(listeners_drain(&listeners, listener));
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    WAIT_UNTIL(in_backlog() == COUNT(clients));
    assert_true(listeners_drain(&listeners, listener));
    assert_int_equal(stats.tcp_accepted, COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

static void draining_ends_even_if_every_client_fails(void **state)
{
    int client = connect_client();

    (void)state;
    WAIT_UNTIL(in_backlog() == 1);
    script_always(&accept4_script, -ECONNABORTED);
    assert_false(listeners_drain(&listeners, listener));
    assert_true(accept4_script.calls > 1);
    close(client);
}

static void at_the_limit_a_backlog_is_known_to_be_empty_or_not(void **state)
{
    int first, second, third;

    (void)state;
    set_limits(1, 0);
    first = let_in_client();
    assert_true(listeners_drain(&listeners, listener));
    second = connect_client();
    WAIT_UNTIL(in_backlog() == 1);
    /* The second client waits outside the backlog. */
    assert_true(listeners_drain(&listeners, listener));
    third = connect_client();
    WAIT_UNTIL(in_backlog() == 1);
    assert_false(listeners_drain(&listeners, listener));
    listeners_drop(&listeners, listener);
    assert_true(listeners_drain(&listeners, listener));
    close(first);
    assert_echoes(second);
    close(second);
    close(third);
}

static void a_dropped_listener_accepts_no_longer(void **state)
{
    int client;

    (void)state;
    listeners_drop(&listeners, listener);
    client = connect_client();
    turn(10);
    assert_int_equal(stats.tcp_accepted, 0);
    listeners_drop(&listeners, listener);
    close(client);
}

/* Such as keeping urgent data in line. What its listener was when a client came decides what the
 * connection has inherited. */
static void clients_from_before_the_listener_was_ours_get_its_options(void **state)
{
    int foreign = bound_socket(SOCK_STREAM, "127.0.0.1"), early;
    char back[3];

    (void)state;
    assert_int_equal(listen(foreign, 16), 0);
    assert_int_equal(fcntl(foreign, F_SETFL, O_NONBLOCK), 0);
    server = local_address(foreign);
    early = connect_client();
    assert_int_equal(listeners_add(&listeners, foreign, 0), 0);
    TURN_UNTIL(&loop, stats.tcp_accepted == 1);
    assert_int_equal(send(early, "ab!", 3, MSG_OOB), 3);
    TURN_UNTIL(&loop, stats.tcp_octets == 3);
    read_all(early, back, sizeof back);
    assert_memory_equal(back, "ab!", 3);
    close(early);
    listeners_drop(&listeners, foreign);
    close(foreign);
}

static void a_retired_listener_serves_the_clients_that_it_has(void **state)
{
    int before = let_in_client(), waiting = connect_client();
    int late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd connected = {.fd = late, .events = POLLOUT};

    (void)state;
    WAIT_UNTIL(in_backlog() == 1);
    listeners_retire(&listeners, listener);
    listeners_retire(&listeners, -1);
    assert_int_equal(connect(late, &server.sa, server.len), -1);
    assert_int_equal(errno, EINPROGRESS);
    assert_echoes(waiting);
    assert_echoes(before);
    assert_int_equal(poll(&connected, 1, 0), 0);
    close(before);
    close(waiting);
    close(late);
}

static void several_listeners_serve_and_pause_together(void **state)
{
    struct addr first = server;
    int second = open_listener(), third = open_listener(), a, b;

    (void)state;
    assert_int_equal(listeners_add(&listeners, second, 0), 0);
    close_and_wait(let_in_client());
    server = local_address(second);
    close_and_wait(let_in_client());
    b = connect_client();
    server = first;
    a = connect_client();
    WAIT_UNTIL(in_backlog() == 1 && readable(second, 0));
    SCRIPT(accept4_script, -EMFILE, -EMFILE);
    turn(10);
    assert_int_equal(accept4_script.calls, 1);
    /* A listener that is added meanwhile pauses too. */
    assert_int_equal(listeners_add(&listeners, third, 0), 0);
    server = local_address(third);
    close(connect_client());
    script_clear(&accept4_script);
    turn(10);
    assert_int_equal(accept4_script.calls, 0);
    pass_time(&loop, 100 * MILLISECOND);
    assert_echoes(a);
    assert_echoes(b);
    TURN_UNTIL(&loop, stats.tcp_accepted == 5);
    close(a);
    close(b);
    listeners_drop(&listeners, second);
    listeners_drop(&listeners, third);
    close(second);
    close(third);
}

static void a_listener_that_cannot_be_added_is_an_error(void **state)
{
    int second = open_listener();

    (void)state;
    SCRIPT(malloc_script, -ENOMEM);
    assert_int_equal(listeners_add(&listeners, second, 0), -1);
    assert_int_equal(errno, ENOMEM);
    SCRIPT(epoll_ctl_script, -ENOSPC);
    assert_int_equal(listeners_add(&listeners, second, 2), -1);
    assert_int_equal(errno, ENOSPC);
    close(second);
}

/* Let in, or at the limit and while the listeners pause. */
static void a_listener_that_another_process_shuts_down_is_left_alone(void **state)
{
    int second = open_listener(), quiet;

    (void)state;
    assert_int_equal(listeners_add(&listeners, second, 0), 0);
    quiet = let_in_client();
    for (unsigned is_full = 0; is_full < 2; is_full++) {
        int client;

        set_limits(is_full ? 1 : 1000, 0);
        assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
        TURN_UNTIL(&loop, logged(LEVEL_ERROR, "shut down") == 1);
        for (int i = 0; i < 10; i++)
            pass_time(&loop, 100 * MILLISECOND);
        listeners_rearm(&listeners);
        assert_true(listeners_drain(&listeners, listener));
        assert_int_equal(logbook.count, 1);
        assert_int_equal(stats.tcp_full + stats.tcp_starved, 0);

        /* The other one serves, and pauses and resumes without it. */
        set_limits(1000, 0);
        server = local_address(second);
        SCRIPT(accept4_script, -EMFILE);
        client = connect_client();
        TURN_UNTIL(&loop, stats.tcp_starved == 1);
        pass_time(&loop, SECOND);
        assert_echoes(client);
        close_and_wait(client);
        stats.tcp_starved = 0;
        logbook_open(LEVEL_INFO);

        assert_int_equal(listen(listener, 128), 0);
        server = local_address(listener); /* a port of the kernel's choice is not kept */
        listeners_rearm(&listeners);
        close_and_wait(let_in_client());
        assert_echoes(quiet);
    }
    close(quiet);
    listeners_drop(&listeners, second);
    close(second);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(at_the_limit_clients_wait_for_a_connection_to_end),
        TEST(a_slot_freed_by_a_higher_limit_is_found_within_a_tenth_of_a_second),
        TEST(a_slot_that_another_worker_frees_goes_to_the_client_that_waits),
        TEST(a_full_daemon_logs_once_and_then_seldom),
        TEST(at_the_limit_a_quiet_connection_is_evicted),
        TEST(no_connection_is_evicted_for_a_client_that_is_refused_or_has_left),
        TEST(a_client_that_leaves_while_it_waits_lets_the_next_one_wait),
        TEST(the_slot_of_a_client_that_has_left_is_free_again),
        TEST(where_too_few_connections_can_be_evicted_the_client_waits),
        TEST(one_turn_lets_in_a_bounded_number),
        TEST(a_worker_with_more_than_its_share_leaves_clients_to_others_for_a_moment),
        TEST(one_turn_lets_in_one_client_of_a_shared_socket),
        TEST(without_descriptors_or_memory_the_listeners_pause),
        TEST(starvation_is_logged_once_while_it_lasts),
        TEST(the_end_of_a_connection_ends_the_pause),
        TEST(an_error_of_one_client_does_not_keep_the_next_one_out),
        TEST(a_client_that_cannot_be_kept_leaves_nothing_behind),
        TEST(a_client_that_waited_and_cannot_be_kept_lets_the_next_one_in),
        TEST(what_waits_in_a_backlog_can_be_drained),
        TEST(draining_ends_even_if_every_client_fails),
        TEST(at_the_limit_a_backlog_is_known_to_be_empty_or_not),
        TEST(a_dropped_listener_accepts_no_longer),
        TEST(clients_from_before_the_listener_was_ours_get_its_options),
        TEST(a_retired_listener_serves_the_clients_that_it_has),
        TEST(several_listeners_serve_and_pause_together),
        TEST(a_listener_that_cannot_be_added_is_an_error),
        TEST(a_listener_that_another_process_shuts_down_is_left_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
