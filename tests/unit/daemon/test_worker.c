/* SPDX-License-Identifier: ISC */
#include "daemon/worker.h"

#include <sys/epoll.h>

#include "net/socket.h"
#include "unit/unit.h"

WRAP_FAILING(void *, aligned_alloc, NULL, (size_t alignment, size_t size), (alignment, size))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(int, epoll_create1, -1, (int flags), (flags))
WRAP_FAILING(int, eventfd, -1, (unsigned value, int flags), (value, flags))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP_FAILING(int, epoll_ctl, -1, (int set, int operation, int fd, struct epoll_event *event),
             (set, operation, fd, event))

/* Returns its error instead of setting errno. */
WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
     void *argument)
{
    int step = script_next(&pthread_create_script);

    return step < 0 ? -step : __real_pthread_create(thread, attr, fn, argument);
}

struct fixture {
    struct connlimit *connlimit;
    struct worker *worker;
    int listener;
    int datagrams;
    struct addr tcp;
    struct addr udp;
    unsigned descriptors;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    struct fixture *f = &fixture;
    struct addr addr = address("127.0.0.1", 0);

    script_clear(&aligned_alloc_script);
    script_clear(&malloc_script);
    script_clear(&epoll_create1_script);
    script_clear(&eventfd_script);
    script_clear(&realloc_script);
    script_clear(&epoll_ctl_script);
    script_clear(&pthread_create_script);
    logbook_open(LEVEL_INFO);
    f->descriptors = open_descriptors();
    f->connlimit = connlimit_new();
    assert_non_null(f->connlimit);
    connlimit_set_params(f->connlimit, &(struct connlimit_params){100, 0, 32, 64});
    f->worker = worker_new(f->connlimit);
    assert_non_null(f->worker);
    assert_int_equal(socket_open(&(struct socket_wish){.type = SOCK_STREAM, .backlog = 16}, &addr,
                                 1, &f->listener),
                     0);
    assert_int_equal(
        socket_open(&(struct socket_wish){.type = SOCK_DGRAM}, &addr, 1, &f->datagrams), 0);
    f->tcp = local_address(f->listener);
    f->udp = local_address(f->datagrams);
    *state = f;
    return 0;
}

static void add_sockets(struct fixture *f)
{
    assert_int_equal(worker_add_socket(f->worker, SOCK_STREAM, f->listener, true, 0), 0);
    assert_int_equal(worker_add_socket(f->worker, SOCK_DGRAM, f->datagrams, true, 0), 0);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    worker_stop(f->worker);
    worker_drop_socket(f->worker, SOCK_STREAM, f->listener);
    worker_drop_socket(f->worker, SOCK_DGRAM, f->datagrams);
    worker_free(f->worker);
    close(f->listener);
    close(f->datagrams);
    assert_int_equal(connlimit_open(f->connlimit), 0);
    connlimit_free(f->connlimit);
    assert_int_equal(open_descriptors(), f->descriptors);
    return 0;
}

static int client_of(struct fixture *f, int type)
{
    const struct addr *server = type == SOCK_STREAM ? &f->tcp : &f->udp;
    int client = bound_socket(type, "127.0.0.1");

    assert_true(client >= 0);
    assert_int_equal(connect(client, &server->sa, server->len), 0);
    return client;
}

/* With a thread behind it, or by turning worker 0's loop. */
static void wait_readable(struct fixture *f, int fd, bool threaded)
{
    if (threaded)
        assert_true(readable(fd, PATIENCE_MS));
    else
        TURN_UNTIL(worker_loop(f->worker), readable(fd, 0));
}

static void assert_echoes(struct fixture *f, int client, bool threaded)
{
    char back[3];

    assert_int_equal(write(client, "abc", 3), 3);
    wait_readable(f, client, threaded);
    assert_int_equal(read(client, back, sizeof back), 3);
    assert_memory_equal(back, "abc", 3);
}

static void assert_both_echo(struct fixture *f, bool threaded)
{
    int stream = client_of(f, SOCK_STREAM);
    int datagram = client_of(f, SOCK_DGRAM);

    assert_echoes(f, stream, threaded);
    assert_echoes(f, datagram, threaded);
    close(stream);
    close(datagram);
}

static struct stats_sum counters(struct fixture *f)
{
    struct stats_sum sum = {0};

    stats_sum(&sum, worker_stats(f->worker));
    return sum;
}

/* ---- worker 0 ---- */

static void both_protocols_are_served_on_the_callers_thread(void **state)
{
    struct fixture *f = *state;

    add_sockets(f);
    assert_both_echo(f, false);
    assert_int_equal(counters(f).tcp_echoes, 1);
    assert_int_equal(counters(f).udp_echoes, 1);
}

static struct fixture *to_stop;
static struct loop_timer stop_timer;

static void stop_from_callback(struct loop_timer *timer)
{
    (void)timer;
    worker_stop(to_stop->worker);
}

static void a_worker_runs_until_it_is_stopped(void **state)
{
    struct fixture *f = *state;
    struct loop *loop = worker_loop(f->worker);

    to_stop = f;
    loop_timer_init(loop, &stop_timer, stop_from_callback);
    loop_timer_set(loop, &stop_timer, loop_now(loop) + 1);
    worker_run(f->worker);
    loop_timer_fini(loop, &stop_timer);
}

/* ---- a worker with a thread ---- */

static void both_protocols_are_served_on_a_thread_of_its_own(void **state)
{
    struct fixture *f = *state;

    add_sockets(f);
    assert_int_equal(worker_start(f->worker), 0);
    assert_both_echo(f, true);
}

static void sockets_come_and_go_while_it_runs(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(worker_start(f->worker), 0);
    for (int i = 0; i < 20; i++) {
        add_sockets(f);
        assert_both_echo(f, true);
        worker_drop_socket(f->worker, SOCK_STREAM, f->listener);
        worker_drop_socket(f->worker, SOCK_DGRAM, f->datagrams);
    }
}

static void what_fails_in_the_thread_is_reported_to_the_caller(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(worker_start(f->worker), 0);
    SCRIPT(epoll_ctl_script, -ENOSPC, -ENOMEM);
    errno = 0;
    assert_int_equal(worker_add_socket(f->worker, SOCK_STREAM, f->listener, true, 2), -1);
    assert_int_equal(errno, ENOSPC);
    errno = 0;
    assert_int_equal(worker_add_socket(f->worker, SOCK_DGRAM, f->datagrams, true, 2), -1);
    assert_int_equal(errno, ENOMEM);
    add_sockets(f);
    assert_both_echo(f, true);
}

static void a_thread_that_cannot_start_is_an_error(void **state)
{
    static const int errors[] = {EAGAIN, EPERM};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(pthread_create_script, -errors[i]);
        assert_int_equal(worker_start(f->worker), -1);
        assert_int_equal(errno, errors[i]);
    }
    add_sockets(f);
    assert_both_echo(f, false);
}

static void a_worker_can_be_stopped_twice(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(worker_start(f->worker), 0);
    worker_stop(f->worker);
    worker_stop(f->worker);
    worker_free(NULL);
}

static void counters_can_be_read_while_it_counts(void **state)
{
    struct fixture *f = *state;
    int client;

    add_sockets(f);
    assert_int_equal(worker_start(f->worker), 0);
    client = client_of(f, SOCK_STREAM);
    for (uint64_t i = 1; i <= 50; i++) {
        assert_echoes(f, client, true);
        assert_in_range(counters(f).tcp_octets, 3 * (i - 1), 3 * i);
    }
    WAIT_UNTIL(counters(f).tcp_echoes == 50);
    close(client);
    WAIT_UNTIL(counters(f).tcp_closed == 1);
}

/* ---- what it is asked ---- */

static void params_take_effect_at_once(void **state)
{
    struct fixture *f = *state;
    struct worker_params *params = calloc(1, sizeof *params);
    int client = client_of(f, SOCK_DGRAM);
    struct addr addr = local_address(client);

    assert_non_null(params);
    add_sockets(f);
    assert_int_equal(worker_start(f->worker), 0);
    loopguard_refuse_port(&params->udp.loopguard, addr_port(&addr));
    worker_set_params(f->worker, params);
    memset(params, 0, sizeof *params); /* it was copied */
    assert_int_equal(send(client, "x", 1, 0), 1);
    WAIT_UNTIL(counters(f).udp_refused_port == 1);
    worker_set_params(f->worker, params);
    assert_echoes(f, client, true);
    close(client);
    free(params);
}

static void draining_and_dropping_a_socket_serves_what_has_arrived(void **state)
{
    struct fixture *f = *state;
    int stream = client_of(f, SOCK_STREAM);
    int datagram = client_of(f, SOCK_DGRAM);
    char octet;

    add_sockets(f);
    assert_int_equal(send(datagram, "x", 1, 0), 1);
    assert_true(readable(f->datagrams, PATIENCE_MS));
    assert_true(readable(f->listener, PATIENCE_MS));
    assert_true(worker_drain_socket(f->worker, SOCK_STREAM, f->listener));
    worker_drop_socket(f->worker, SOCK_DGRAM, f->datagrams);
    worker_drop_socket(f->worker, SOCK_STREAM, f->listener);
    assert_true(readable(datagram, PATIENCE_MS));
    assert_int_equal(read(datagram, &octet, 1), 1);
    assert_int_equal(connlimit_open(f->connlimit), 1);
    assert_echoes(f, stream, false);
    close(stream);
    close(datagram);
}

static void dropping_what_is_not_served_does_nothing(void **state)
{
    struct fixture *f = *state;

    worker_drop_socket(f->worker, SOCK_DGRAM, f->datagrams);
    worker_drop_socket(f->worker, SOCK_STREAM, f->listener);
    add_sockets(f);
    worker_drop_socket(f->worker, SOCK_DGRAM, f->listener);
    worker_drop_socket(f->worker, SOCK_STREAM, f->datagrams);
    assert_both_echo(f, false);
}

static void several_datagram_sockets_are_told_apart(void **state)
{
    struct fixture *f = *state;
    struct addr addr = address("127.0.0.1", 0);
    int other;

    assert_int_equal(socket_open(&(struct socket_wish){.type = SOCK_DGRAM}, &addr, 1, &other), 0);
    add_sockets(f);
    assert_int_equal(worker_add_socket(f->worker, SOCK_DGRAM, other, true, 0), 0);
    worker_drop_socket(f->worker, SOCK_DGRAM, f->datagrams);
    f->udp = local_address(other);
    assert_both_echo(f, false);
    worker_drop_socket(f->worker, SOCK_DGRAM, other);
    close(other);
}

static void a_worker_notes_that_its_loop_runs(void **state)
{
    struct fixture *f = *state;
    uint64_t seen;

    assert_int_equal(worker_start(f->worker), 0);
    assert_int_equal(worker_last_alive(f->worker), 0);
    worker_watch(f->worker, 1000000);
    seen = worker_last_alive(f->worker);
    assert_true(seen > 0);
    for (int i = 0; i < 3; i++) {
        WAIT_UNTIL(worker_last_alive(f->worker) > seen);
        seen = worker_last_alive(f->worker);
    }
}

/* ---- failures ---- */

static void what_fails_at_the_start_leaves_nothing_behind(void **state)
{
    static const struct {
        struct script *script;
        int error;
    } cases[] = {{&aligned_alloc_script, ENOMEM}, {&epoll_create1_script, EMFILE},
                 {&epoll_create1_script, ENFILE}, {&eventfd_script, EMFILE},
                 {&eventfd_script, ENFILE},       {&eventfd_script, ENOMEM},
                 {&realloc_script, ENOMEM},       {&malloc_script, ENOMEM}};
    struct fixture *f = *state;
    unsigned before = open_descriptors();

    for (size_t i = 0; i < COUNT(cases); i++) {
        SCRIPT(*cases[i].script, -cases[i].error);
        errno = 0;
        assert_null(worker_new(f->connlimit));
        assert_int_equal(errno, cases[i].error);
        assert_int_equal(open_descriptors(), before);
    }
}

static void a_socket_that_cannot_be_served_is_an_error(void **state)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(types); i++) {
        int fd = types[i] == SOCK_STREAM ? f->listener : f->datagrams;

        SCRIPT(malloc_script, -ENOMEM);
        errno = 0;
        assert_int_equal(worker_add_socket(f->worker, types[i], fd, true, 0), -1);
        assert_int_equal(errno, ENOMEM);
        SCRIPT(epoll_ctl_script, -ENOSPC);
        assert_int_equal(worker_add_socket(f->worker, types[i], fd, true, 2), -1);
        assert_int_equal(errno, ENOSPC);
    }
    add_sockets(f);
    assert_both_echo(f, false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(both_protocols_are_served_on_the_callers_thread),
        TEST(a_worker_runs_until_it_is_stopped),
        TEST(both_protocols_are_served_on_a_thread_of_its_own),
        TEST(sockets_come_and_go_while_it_runs),
        TEST(what_fails_in_the_thread_is_reported_to_the_caller),
        TEST(a_thread_that_cannot_start_is_an_error),
        TEST(a_worker_can_be_stopped_twice),
        TEST(counters_can_be_read_while_it_counts),
        TEST(params_take_effect_at_once),
        TEST(draining_and_dropping_a_socket_serves_what_has_arrived),
        TEST(dropping_what_is_not_served_does_nothing),
        TEST(several_datagram_sockets_are_told_apart),
        TEST(a_worker_notes_that_its_loop_runs),
        TEST(what_fails_at_the_start_leaves_nothing_behind),
        TEST(a_socket_that_cannot_be_served_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
