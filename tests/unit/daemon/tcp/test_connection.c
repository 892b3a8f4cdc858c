/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/connection.h"

#include <linux/sockios.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "unit/daemon/tcp/fixture.h"

WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(int, epoll_ctl, -1, (int set, int operation, int fd, struct epoll_event *event),
             (set, operation, fd, event))

/* A step is the most octets that the call takes. */
WRAP(ssize_t, send, int fd, const void *data, size_t length, int flags)
{
    int step = script_next(&send_script);

    if (step < 0) {
        errno = -step;
        return -1;
    }
    return __real_send(fd, data, length < (size_t)step ? length : (size_t)step, flags);
}

/* SIOCOUTQ of every socket: octets that the client has not acknowledged. The real number depends on
 * when acknowledgements arrive. */
static int unacknowledged;
static struct script ioctl_script;
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    int *octets;

    va_start(args, request);
    octets = va_arg(args, int *);
    va_end(args);
    if (request != SIOCOUTQ)
        return __real_ioctl(fd, request, octets);
    if (script_fails(&ioctl_script))
        return -1;
    *octets = unacknowledged;
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&malloc_script);
    script_clear(&epoll_ctl_script);
    script_clear(&send_script);
    script_clear(&ioctl_script);
    unacknowledged = 0;
    connections_set_up();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    connections_tear_down();
    return 0;
}

/* ---- beginning ---- */

static void a_connection_answers_what_its_client_has_sent_when_it_begins(void **state)
{
    int client = connect_client();
    struct connection *c;
    char back[5];

    (void)state;
    assert_int_equal(send(client, "hello", 5, 0), 5);
    set_limits(0, 0);
    c = new_waiting_connection();
    assert_true(readable(last_accepted, PATIENCE_MS));
    assert_int_equal(stats.tcp_accepted, 0);
    set_limits(1, 0);
    assert_true(connlimit_reserve(connlimit));
    assert_int_equal(connection_begin_waiting(c), CONNECTION_BEGUN);
    assert_int_equal(stats.tcp_accepted, 1);
    assert_int_equal(stats.tcp_echoes, 1);
    assert_int_equal(stats.tcp_octets, 5);
    read_all(client, back, sizeof back);
    close(client);
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    assert_int_equal(connlimit_open(connlimit), 0);
    assert_int_equal(slots_freed, 1);
}

static enum connection_outcome outcome_of(const char *source, int *client)
{
    unsigned before = open_descriptors();
    enum connection_outcome outcome;
    struct connection *c = NULL;
    struct addr peer;
    int fd, error;

    *client = connect_from(source);
    fd = accept_client(&peer);
    outcome = connection_begin(&connections, fd, &peer, &c);
    error = errno;
    assert_null(c);
    assert_int_equal(open_descriptors(), before + 1);
    errno = error;
    return outcome;
}

static void a_client_that_access_denies_is_refused(void **state)
{
    struct prefix_set *set = deny("127.0.0.2");
    int client;

    (void)state;
    connections_set_access(&connections, &(struct acl){.set = set});
    for (unsigned n = 1; n <= 2; n++) {
        assert_int_equal(outcome_of("127.0.0.2", &client), CONNECTION_DENIED);
        assert_closed(client);
        assert_int_equal(stats.tcp_denied, n);
    }
    assert_int_equal(logged(LEVEL_NOTICE, "tcp: refused 127.0.0.2: access denies it (0 more"), 1);
    assert_int_equal(logbook.count, 1);
    close(open_client());
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    prefix_set_free(set);
}

static void a_source_beyond_its_limit_is_refused_and_others_are_not(void **state)
{
    int first = open_client(), other, client;

    (void)state;
    set_limits(1000, 1);
    for (unsigned n = 1; n <= 2; n++) {
        assert_int_equal(outcome_of("127.0.0.1", &client), CONNECTION_SOURCE_FULL);
        assert_closed(client);
        assert_int_equal(stats.tcp_refused_source, n);
    }
    assert_int_equal(logged(LEVEL_NOTICE, "refused 127.0.0.1: its source has"), 1);
    assert_int_equal(logbook.count, 1);
    other = open_client_from("127.0.0.2");
    assert_echoes(other);
    close(first);
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    first = open_client();
    assert_echoes(first);
    close(first);
    close(other);
}

static void without_memory_for_a_connection_nothing_is_left_behind(void **state)
{
    (void)state;
    set_limits(1000, 1);
    /* The source, and the connection itself. */
    for (unsigned passes = 0; passes < 2; passes++) {
        int client;

        script_fail_after(&malloc_script, passes, ENOMEM);
        assert_int_equal(outcome_of("127.0.0.1", &client), CONNECTION_NO_MEMORY);
        assert_int_equal(errno, ENOMEM);
        assert_closed(client);
    }
    close(open_client());
}

/* A shared descriptor makes the loop use its epoll set, where adding can fail. */
static void a_connection_that_cannot_be_watched_gives_its_slot_back(void **state)
{
    int shared = open_listener(), client;
    struct loop_io io;

    (void)state;
    assert_int_equal(loop_add_shared(&loop, &io, shared, 0, NULL), 0);
    SCRIPT(epoll_ctl_script, -ENOSPC);
    assert_int_equal(outcome_of("127.0.0.1", &client), CONNECTION_NO_MEMORY);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(connlimit_open(connlimit), 0);
    assert_int_equal(stats.tcp_accepted, 0);
    assert_closed(client);
    loop_del(&loop, &io);
    close(shared);
}

static void a_client_that_has_left_before_it_got_a_slot_is_discarded(void **state)
{
    int client = connect_client();
    struct connection *c;

    (void)state;
    set_limits(0, 0);
    c = new_waiting_connection();
    assert_true(connection_recheck(c));
    assert_int_equal(write(client, "x", 1), 1);
    assert_true(connection_recheck(c));
    reset(client);
    assert_true(readable(last_accepted, PATIENCE_MS));
    assert_false(connection_recheck(c));
    client = connect_client();
    c = new_waiting_connection();
    close(client);
    assert_true(readable(last_accepted, PATIENCE_MS));
    assert_false(connection_recheck(c));
    assert_int_equal(stats.tcp_accepted + stats.tcp_denied, 0);
}

static void a_client_that_comes_to_be_denied_before_it_got_a_slot_is_discarded(void **state)
{
    struct prefix_set *set = deny("127.0.0.1");
    int client = connect_client();
    struct connection *c;

    (void)state;
    set_limits(0, 0);
    c = new_waiting_connection();
    connections_set_access(&connections, &(struct acl){.set = set});
    assert_false(connection_recheck(c));
    assert_int_equal(stats.tcp_denied, 1);
    assert_closed(client);
    prefix_set_free(set);
}

/* ---- ends ---- */

static void a_reset_ends_one_connection_and_no_other(void **state)
{
    int client = open_client(), other = open_client();

    (void)state;
    reset(client);
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    assert_int_equal(stats.tcp_reset, 1);
    assert_echoes(other);
    close(other);
    assert_int_equal(logbook.count, 0);
}

static void connections_are_logged_for_debugging_only(void **state)
{
    (void)state;
    close(open_client());
    TURN_UNTIL(&loop, open_connections() == 0);
    assert_int_equal(logbook.count, 0);
    logbook_open(LEVEL_DEBUG);
    close(open_client());
    assert_int_equal(logged(LEVEL_DEBUG, "from 127.0.0.1:"), 1);
    TURN_UNTIL(&loop, open_connections() == 0);
    assert_int_equal(logged(LEVEL_DEBUG, "closed by the client"), 1);
    reset(open_client());
    TURN_UNTIL(&loop, open_connections() == 0);
    assert_int_equal(logged(LEVEL_DEBUG, strerror(ECONNRESET)), 1);
    assert_int_equal(logbook.count, 4);
}

static void connections_that_come_to_be_denied_end(void **state)
{
    struct prefix_set *set = deny("127.0.0.2");
    int client, denied[3];

    (void)state;
    for (unsigned i = 0; i < COUNT(denied); i++)
        denied[i] = open_client_from("127.0.0.2");
    client = open_client();
    connections_set_access(&connections, &(struct acl){.set = set});
    assert_int_equal(open_connections(), 1);
    assert_int_equal(stats.tcp_denied, 3);
    assert_int_equal(slots_freed, 1);
    for (unsigned i = 0; i < COUNT(denied); i++)
        assert_closed(denied[i]);
    assert_echoes(client);
    connections_set_access(&connections, &(struct acl){.only_listed = true});
    assert_int_equal(open_connections(), 0);
    assert_closed(client);
    connections_set_access(&connections, &(struct acl){0});
    prefix_set_free(set);
}

static void all_connections_can_be_closed_at_once(void **state)
{
    int a = open_client(), b = open_client();

    (void)state;
    connections_close_all(&connections);
    assert_int_equal(stats.tcp_closed, 2);
    assert_int_equal(connlimit_open(connlimit), 0);
    assert_closed(a);
    assert_closed(b);
}

/* ---- idle connections ---- */

static void a_connection_ends_after_exactly_the_idle_timeout(void **state)
{
    int quiet, busy;

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    quiet = open_client();
    busy = open_client();
    pass_time(&loop, 5 * SECOND);
    assert_echoes(busy);
    pass_time(&loop, 5 * SECOND - 1);
    assert_int_equal(open_connections(), 2);
    pass_time(&loop, 1);
    assert_int_equal(open_connections(), 1);
    assert_int_equal(stats.tcp_idle, 1);
    assert_closed(quiet);
    assert_echoes(busy);
    pass_time(&loop, 10 * SECOND - 1);
    assert_int_equal(open_connections(), 1);
    pass_time(&loop, 1);
    assert_int_equal(stats.tcp_idle, 2);
    assert_closed(busy);
}

/* What clients have sent waits while the process is stopped, or has something else to do. */
static void a_client_that_we_had_no_time_for_is_not_idle(void **state)
{
    int clients[100];

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = open_client();
    for (unsigned i = 0; i < COUNT(clients); i++)
        assert_int_equal(write(clients[i], "x", 1), 1);
    pass_time(&loop, 11 * SECOND);
    TURN_UNTIL(&loop, stats.tcp_echoes == COUNT(clients));
    assert_int_equal(open_connections(), COUNT(clients));
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(open_connections(), 0);
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

/* Three octets are owed to it, and its socket takes none. */
static int open_stalled_client(void)
{
    int client = open_client();

    script_always(&send_script, -EAGAIN);
    assert_int_equal(write(client, "abc", 3), 3);
    TURN_UNTIL(&loop, stats.tcp_octets == 3);
    return client;
}

static void octets_that_we_cannot_take_yet_are_no_activity(void **state)
{
    int client;

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    client = open_stalled_client();
    assert_int_equal(write(client, "def", 3), 3);
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(stats.tcp_idle, 1);
    close(client);
}

static void octets_that_are_sent_late_are_activity(void **state)
{
    int client;

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    client = open_stalled_client();
    pass_time(&loop, 9 * SECOND);
    SCRIPT(send_script, 1, -EAGAIN);
    send_script.repeat = true;
    TURN_UNTIL(&loop, readable(client, 0));
    pass_time(&loop, 9 * SECOND);
    assert_int_equal(open_connections(), 1);
    pass_time(&loop, SECOND);
    assert_int_equal(stats.tcp_idle, 1);
    close(client);
}

static void connections_end_in_the_order_of_their_last_activity(void **state)
{
    int clients[5];

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    for (unsigned i = 0; i < 5; i++)
        clients[i] = open_client();
    for (unsigned i = 0; i < 5; i++) {
        pass_time(&loop, SECOND);
        assert_echoes(clients[i * 2 % 5]);
    }
    pass_time(&loop, 5 * SECOND);
    for (unsigned i = 0; i < 5; i++) {
        pass_time(&loop, SECOND - 1);
        assert_int_equal(open_connections(), 5 - i);
        pass_time(&loop, 1);
        assert_int_equal(open_connections(), 4 - i);
        assert_closed(clients[i * 2 % 5]);
    }
}

static void a_new_idle_timeout_holds_for_open_connections(void **state)
{
    int client = open_client();

    (void)state;
    pass_time(&loop, 1000 * SECOND);
    connections_set_idle_timeout(&connections, 2000 * SECOND);
    turn(2);
    connections_set_idle_timeout(&connections, 0);
    pass_time(&loop, 5000 * SECOND);
    assert_int_equal(open_connections(), 1);
    connections_set_idle_timeout(&connections, 10 * SECOND);
    turn(1);
    assert_int_equal(open_connections(), 0);
    assert_closed(client);
}

static void a_client_that_reads_slowly_is_not_idle(void **state)
{
    int client;

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    client = open_client();
    assert_echoes(client);
    for (unacknowledged = 5000; unacknowledged > 0; unacknowledged -= 1000) {
        pass_time(&loop, 10 * SECOND);
        assert_int_equal(open_connections(), 1);
    }
    unacknowledged = 1000;
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(stats.tcp_idle, 1);
    assert_closed(client);
}

static void a_client_whose_progress_is_unknown_is_idle(void **state)
{
    int client;

    (void)state;
    connections_set_idle_timeout(&connections, 10 * SECOND);
    client = open_client();
    unacknowledged = 5000;
    script_always(&ioctl_script, -EINVAL);
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(open_connections(), 0);
    assert_closed(client);
}

static void the_idle_timeout_is_shorter_when_slots_are_scarce(void **state)
{
    int clients[8];

    (void)state;
    set_limits(8, 0);
    connections_set_idle_timeout(&connections, 64 * SECOND);
    for (unsigned i = 0; i < 5; i++)
        clients[i] = open_client();
    pass_time(&loop, 16 * SECOND - 1);
    assert_int_equal(open_connections(), 5);
    pass_time(&loop, 1);
    assert_int_equal(open_connections(), 4);
    /* Half of the slots are free again, so the timeout is the whole one. */
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(open_connections(), 4);
    for (unsigned i = 5; i < 8; i++)
        clients[i] = open_client();
    assert_int_equal(open_connections(), 7);
    pass_time(&loop, SECOND);
    assert_int_equal(open_connections(), 4);
    assert_int_equal(stats.tcp_idle, 4);
    for (unsigned i = 0; i < 8; i++)
        close(clients[i]);
}

static void want_of_memory_at_the_start_is_an_error(void **state)
{
    struct connections other;

    (void)state;
    SCRIPT(malloc_script, -ENOMEM);
    errno = 0;
    assert_int_equal(connections_init(&other, &loop, &stats, connlimit, note_slot_freed), -1);
    assert_int_equal(errno, ENOMEM);
    connections_fini(&other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_connection_answers_what_its_client_has_sent_when_it_begins),
        TEST(a_client_that_access_denies_is_refused),
        TEST(a_source_beyond_its_limit_is_refused_and_others_are_not),
        TEST(without_memory_for_a_connection_nothing_is_left_behind),
        TEST(a_connection_that_cannot_be_watched_gives_its_slot_back),
        TEST(a_client_that_has_left_before_it_got_a_slot_is_discarded),
        TEST(a_client_that_comes_to_be_denied_before_it_got_a_slot_is_discarded),
        TEST(a_reset_ends_one_connection_and_no_other),
        TEST(connections_are_logged_for_debugging_only),
        TEST(connections_that_come_to_be_denied_end),
        TEST(all_connections_can_be_closed_at_once),
        TEST(a_connection_ends_after_exactly_the_idle_timeout),
        TEST(a_client_that_we_had_no_time_for_is_not_idle),
        TEST(octets_that_we_cannot_take_yet_are_no_activity),
        TEST(octets_that_are_sent_late_are_activity),
        TEST(connections_end_in_the_order_of_their_last_activity),
        TEST(a_new_idle_timeout_holds_for_open_connections),
        TEST(a_client_that_reads_slowly_is_not_idle),
        TEST(a_client_whose_progress_is_unknown_is_idle),
        TEST(the_idle_timeout_is_shorter_when_slots_are_scarce),
        TEST(want_of_memory_at_the_start_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
