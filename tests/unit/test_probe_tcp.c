/* SPDX-License-Identifier: ISC */
#include "probe_unit.h"

WRAP_FAILING(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP_FAILING(int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t len),
             (fd, level, name, value, len))
WRAP_FAILING(int, getpeername, -1, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(int, ppoll, -1,
             (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
             (fds, n, timeout, mask))

/* A positive step is the errno that SO_ERROR tells. */
WRAP(int, getsockopt, int fd, int level, int name, void *value, socklen_t *len)
{
    int step = script_next(&getsockopt_script);

    if (step < 0) {
        errno = -step;
        return -1;
    }
    if (step == PASS)
        return __real_getsockopt(fd, level, name, value, len);
    memcpy(value, &step, sizeof step);
    return 0;
}

static bool bind_to_peer; /* once */
WRAP(int, connect, int fd, const struct sockaddr *sa, socklen_t len)
{
    int on = 1;

    if (script_fails(&connect_script))
        return -1;
    if (bind_to_peer) {
        bind_to_peer = false;
        assert_int_equal(__real_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
        assert_int_equal(bind(fd, sa, len), 0);
    }
    return __real_connect(fd, sa, len);
}

/* A positive step is the most octets that the call may move. */
static bool send_lacked_nosignal;
WRAP(ssize_t, send, int fd, const void *data, size_t len, int flags)
{
    int step = script_next(&send_script);

    send_lacked_nosignal |= !(flags & MSG_NOSIGNAL);
    if (step < 0) {
        errno = -step;
        return -1;
    }
    return __real_send(fd, data, len < (size_t)step ? len : (size_t)step, flags);
}

WRAP(ssize_t, recv, int fd, void *data, size_t len, int flags)
{
    int step = script_next(&recv_script);

    if (step < 0) {
        errno = -step;
        return -1;
    }
    return __real_recv(fd, data, len < (size_t)step ? len : (size_t)step, flags);
}

struct fixture {
    struct probe probe;
    int listener;
    int server;
    struct net_addr peer;
    unsigned descriptors;
};

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);

    f->probe.signals = -1;
    f->server = -1;
    script_clear(&socket_script);
    script_clear(&setsockopt_script);
    script_clear(&getpeername_script);
    script_clear(&calloc_script);
    script_clear(&ppoll_script);
    script_clear(&getsockopt_script);
    script_clear(&connect_script);
    script_clear(&send_script);
    script_clear(&recv_script);
    send_lacked_nosignal = false;
    bind_to_peer = false;
    f->descriptors = open_descriptors();
    f->listener = bound_socket(SOCK_STREAM, "127.0.0.1");
    assert_true(f->listener >= 0);
    assert_int_equal(listen(f->listener, 5), 0);
    f->peer = local_address(f->listener);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    probe_fini(&f->probe);
    if (f->server >= 0)
        close(f->server);
    if (f->listener >= 0)
        close(f->listener);
    assert_int_equal(open_descriptors(), f->descriptors);
    test_free(f);
    assert_false(send_lacked_nosignal);
    return 0;
}

/* Connected; that is the first event. */
static void start(struct fixture *f, size_t size)
{
    prepare(&f->probe, size);
    assert_int_equal(probe_open(&f->probe, &probe_tcp_ops, &f->peer), 0);
    assert_int_equal(heard.count, 1);
    assert_int_equal(last()->kind, PROBE_CONNECTED);
    assert_in_range(last()->time, 1, PATIENCE_MS * (PROBE_SECOND / 1000));
    assert_true(readable(f->listener, PATIENCE_MS));
    f->server = accept(f->listener, NULL, NULL);
    assert_true(f->server >= 0);
}

static void give(struct fixture *f, const void *octets, size_t len)
{
    assert_int_equal(write(f->server, octets, len), len);
}

/* Closing with this set sends a reset. */
static void reset(struct fixture *f)
{
    struct linger now = {.l_onoff = 1};

    assert_int_equal(__real_setsockopt(f->server, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(f->server);
    f->server = -1;
}

static void replies_are_cut_from_the_stream(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[168];

    start(f, 56);
    for (unsigned i = 0; i < 3; i++)
        send_one(&f->probe);
    read_all(f->server, octets, sizeof octets);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(payload_compare(&f->probe.payload, i + 1, 0, octets + 56 * i, 56), 56);
    give(f, octets, 100);
    await_events(&f->probe, 2);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(last()->seq, 1);
    assert_int_equal(last()->size, 56);
    give(f, octets + 100, 68);
    await_events(&f->probe, 4);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(last()->seq, 3);
    assert_int_equal(f->probe.counters.received, 3);
}

static void octets_may_come_and_go_one_by_one(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[20];

    start(f, 20);
    script_always(&send_script, 1);
    script_always(&recv_script, 1);
    /* Sixteen in one go. */
    send_one(&f->probe);
    assert_int_equal(send_script.calls, 16);
    assert_int_equal(f->probe.link->events, POLLIN | POLLOUT);
    f->probe.link->ops->ready(f->probe.link, POLLOUT);
    assert_int_equal(send_script.calls, 20);
    assert_int_equal(f->probe.link->events, POLLIN);
    read_all(f->server, octets, sizeof octets);
    give(f, octets, sizeof octets);
    assert_true(readable(f->probe.link->fd, PATIENCE_MS));
    f->probe.link->ops->ready(f->probe.link, POLLIN);
    assert_int_equal(recv_script.calls, 16);
    await_events(&f->probe, 2);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

static void a_full_socket_is_waited_for(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[112];

    start(f, 56);
    SCRIPT(send_script, 10, -EAGAIN);
    send_one(&f->probe);
    assert_int_equal(f->probe.link->events, POLLIN | POLLOUT);
    SCRIPT(send_script, -EAGAIN);
    send_one(&f->probe);
    f->probe.link->ops->ready(f->probe.link, POLLOUT);
    assert_int_equal(f->probe.link->events, POLLIN);
    read_all(f->server, octets, sizeof octets);
    give(f, octets, sizeof octets);
    await_events(&f->probe, 3);
    assert_int_equal(f->probe.counters.received, 2);
}

/* More than both sockets hold, from a server that sends back before it reads on. */
static void large_payloads_flow_both_ways(void **state)
{
    struct fixture *f = *state;
    static uint8_t octets[16777216];
    size_t taken = 0;
    size_t given = 0;

    start(f, sizeof octets);
    assert_int_equal(fcntl(f->server, F_SETFL, O_NONBLOCK), 0);
    send_one(&f->probe);
    while (heard.count < 2) {
        ssize_t n = read(f->server, octets + taken, sizeof octets - taken);

        taken += n > 0 ? (size_t)n : 0;
        n = write(f->server, octets + given, taken - given);
        given += n > 0 ? (size_t)n : 0;
        f->probe.link->ops->ready(f->probe.link,
                                  probe_wait(&f->probe, f->probe.link->fd, f->probe.link->events,
                                             probe_now() + PROBE_SECOND));
    }
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(last()->size, sizeof octets);
}

static void the_first_wrong_octet_is_found(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[112];

    start(f, 56);
    send_one(&f->probe);
    send_one(&f->probe);
    read_all(f->server, octets, sizeof octets);
    octets[30] ^= 1;
    octets[50] ^= 1;
    give(f, octets, 40);
    give(f, octets + 40, 72);
    await_events(&f->probe, 3);
    assert_int_equal(event_back(1)->kind, PROBE_CORRUPT);
    assert_int_equal(event_back(1)->seq, 1);
    assert_int_equal(event_back(1)->wrong, 30);
    assert_int_equal(event_back(0)->kind, PROBE_RECEIVED);
    assert_int_equal(event_back(0)->seq, 2);
}

static void more_than_was_sent_is_not_ours(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[60] = {0};

    start(f, 56);
    give(f, octets, 7);
    await_events(&f->probe, 2);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    assert_int_equal(last()->size, 7);
    send_one(&f->probe);
    read_all(f->server, octets, 56);
    give(f, octets, 60);
    await_events(&f->probe, 4);
    assert_int_equal(event_back(1)->kind, PROBE_RECEIVED);
    assert_int_equal(event_back(0)->kind, PROBE_FOREIGN);
    assert_int_equal(event_back(0)->size, 4);
}

/* Of a probe that is sent in part, only that part may come back. */
static void more_than_was_sent_so_far_is_not_ours_either(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[56] = {0};

    start(f, 56);
    SCRIPT(send_script, 10, -EAGAIN);
    send_script.repeat = true;
    send_one(&f->probe);
    read_all(f->server, octets, 10);
    give(f, octets, 12);
    await_events(&f->probe, 2);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    assert_int_equal(last()->size, 2);
}

static void a_server_that_closes_is_reported(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    send_one(&f->probe);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    await_events(&f->probe, 2);
    assert_int_equal(last()->kind, PROBE_CLOSED);
    assert_int_equal(last()->error, 0);
    assert_true(f->probe.closed);
    assert_int_equal(probe_status(&f->probe), 1);
}

static void a_reply_cut_off_by_the_end_is_truncated(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[56];

    start(f, 56);
    send_one(&f->probe);
    read_all(f->server, octets, sizeof octets);
    give(f, octets, 1);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    await_events(&f->probe, 3);
    assert_int_equal(event_back(1)->kind, PROBE_CLOSED);
    assert_int_equal(event_back(0)->kind, PROBE_TRUNCATED);
    assert_int_equal(event_back(0)->size, 1);
    assert_int_equal(event_back(0)->seq, 1);
}

static void a_server_that_resets_is_told_apart(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    send_one(&f->probe);
    reset(f);
    await_events(&f->probe, 2);
    assert_int_equal(last()->kind, PROBE_CLOSED);
    assert_int_equal(last()->error, ECONNRESET);
}

/* Sending finds out first, but what came in before is still counted. */
static void a_reset_noticed_by_sending_loses_no_reply(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[56];

    start(f, 56);
    send_one(&f->probe);
    read_all(f->server, octets, sizeof octets);
    give(f, octets, sizeof octets);
    assert_true(readable(f->probe.link->fd, PATIENCE_MS));
    SCRIPT(send_script, -ECONNRESET);
    send_one(&f->probe);
    assert_int_equal(heard.count, 3);
    assert_int_equal(event_back(1)->kind, PROBE_RECEIVED);
    assert_int_equal(event_back(0)->kind, PROBE_CLOSED);
    assert_int_equal(event_back(0)->error, ECONNRESET);
    /* Nothing more is sent. */
    f->probe.link->ops->ready(f->probe.link, POLLOUT);
    assert_int_equal(send_script.calls, 1);
    assert_int_equal(f->probe.link->events, POLLIN);
}

static void receiving_may_fail(void **state)
{
    static const int errors[] = {ETIMEDOUT, EHOSTUNREACH, ENOMEM};
    struct fixture *f = *state;

    start(f, 56);
    for (unsigned i = 0; i < COUNT(errors); i++) {
        f->probe.closed = false;
        SCRIPT(recv_script, -errors[i]);
        f->probe.link->ops->ready(f->probe.link, POLLIN | POLLERR);
        assert_int_equal(last()->kind, PROBE_CLOSED);
        assert_int_equal(last()->error, errors[i]);
    }
    heard.count = 0;
    f->probe.closed = false;
    f->probe.link->ops->ready(f->probe.link, POLLIN);
    assert_int_equal(heard.count, 0);
}

static void nothing_is_received_once_closed_or_stopped(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    f->probe.closed = true;
    f->probe.link->ops->ready(f->probe.link, POLLIN | POLLHUP);
    f->probe.closed = false;
    f->probe.stopped = true;
    f->probe.link->ops->ready(f->probe.link, POLLIN | POLLHUP);
    assert_int_equal(recv_script.calls, 0);
}

static void assert_cannot_open(struct fixture *f, int error, int status)
{
    unsigned before = open_descriptors();

    prepare(&f->probe, 56);
    assert_int_equal(probe_open(&f->probe, &probe_tcp_ops, &f->peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, error);
    assert_int_equal(probe_status(&f->probe), status);
    probe_fini(&f->probe);
    assert_int_equal(open_descriptors(), before);
}

static void each_step_of_opening_may_fail(void **state)
{
    struct fixture *f = *state;

    script_fail_after(&calloc_script, 1, ENOMEM);
    assert_cannot_open(f, ENOMEM, 2);
    SCRIPT(socket_script, -EMFILE);
    assert_cannot_open(f, EMFILE, 2);
    SCRIPT(setsockopt_script, -ENOBUFS);
    assert_cannot_open(f, ENOBUFS, 2);
    SCRIPT(connect_script, -ENETUNREACH);
    assert_cannot_open(f, ENETUNREACH, 2);
    SCRIPT(getsockopt_script, -ENOBUFS);
    assert_cannot_open(f, ENOBUFS, 2);
    SCRIPT(getpeername_script, -ENOTCONN);
    assert_cannot_open(f, ENOTCONN, 2);
}

static void what_only_the_peer_is_to_blame_for_is_no_reply(void **state)
{
    struct fixture *f = *state;

    SCRIPT(getsockopt_script, ECONNREFUSED);
    assert_cannot_open(f, ECONNREFUSED, 1);
    SCRIPT(getsockopt_script, ECONNRESET);
    assert_cannot_open(f, ECONNRESET, 1);
    SCRIPT(getsockopt_script, ETIMEDOUT);
    assert_cannot_open(f, ETIMEDOUT, 1);
    SCRIPT(getsockopt_script, EHOSTUNREACH);
    assert_cannot_open(f, EHOSTUNREACH, 2);
}

static void a_closed_port_refuses(void **state)
{
    struct fixture *f = *state;

    close(f->listener);
    f->listener = -1;
    assert_cannot_open(f, ECONNREFUSED, 1);
}

static void connecting_times_out(void **state)
{
    struct fixture *f = *state;
    struct probe_settings settings = {.interval = 1, .size = 56, .timeout = 1};

    SCRIPT(connect_script, -EINPROGRESS);
    script_always(&ppoll_script, -EINTR);
    heard.count = 0;
    assert_int_equal(probe_init(&f->probe, &settings, listen_to, NULL), 0);
    assert_int_equal(probe_open(&f->probe, &probe_tcp_ops, &f->peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ETIMEDOUT);
    assert_int_equal(probe_status(&f->probe), 1);
}

static void connecting_can_be_interrupted(void **state)
{
    struct fixture *f = *state;

    prepare(&f->probe, 56);
    SCRIPT(connect_script, -EINPROGRESS);
    f->probe.stopped = true;
    assert_int_equal(probe_open(&f->probe, &probe_tcp_ops, &f->peer), -1);
    assert_int_equal(heard.count, 0);
    assert_int_equal(probe_status(&f->probe), 1);
}

/* Where nobody listens on an ephemeral port, the kernel may choose that very port for our end. */
static void a_connection_with_itself_is_refused(void **state)
{
    struct fixture *f = *state;

    close(f->listener);
    f->listener = -1;
    bind_to_peer = true;
    assert_cannot_open(f, ECONNREFUSED, 1);
    assert_false(bind_to_peer);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replies_are_cut_from_the_stream),
        TEST(octets_may_come_and_go_one_by_one),
        TEST(a_full_socket_is_waited_for),
        TEST(large_payloads_flow_both_ways),
        TEST(the_first_wrong_octet_is_found),
        TEST(more_than_was_sent_is_not_ours),
        TEST(more_than_was_sent_so_far_is_not_ours_either),
        TEST(a_server_that_closes_is_reported),
        TEST(a_reply_cut_off_by_the_end_is_truncated),
        TEST(a_server_that_resets_is_told_apart),
        TEST(a_reset_noticed_by_sending_loses_no_reply),
        TEST(receiving_may_fail),
        TEST(nothing_is_received_once_closed_or_stopped),
        TEST(each_step_of_opening_may_fail),
        TEST(what_only_the_peer_is_to_blame_for_is_no_reply),
        TEST(a_closed_port_refuses),
        TEST(connecting_times_out),
        TEST(connecting_can_be_interrupted),
        TEST(a_connection_with_itself_is_refused),
    };

    return cmocka_run_group_tests_name("probe_tcp", tests, NULL, NULL);
}
