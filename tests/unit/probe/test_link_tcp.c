/* SPDX-License-Identifier: ISC */
#include "probe/link_tcp.h"
#include "unit/tcp_unit.h"

WRAP_FAILING(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP_FAILING(int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t len),
             (fd, level, name, value, len))
WRAP_FAILING(int, getpeername, -1, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))

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

static bool bind_to_peer;    /* once */
static bool connect_at_once; /* as to some other kinds of host */
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
    if (__real_connect(fd, sa, len) == 0)
        return 0;
    if (connect_at_once) {
        assert_int_equal(poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, PATIENCE_MS), 1);
        return 0;
    }
    return -1;
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

static int set_up(void **state)
{
    script_clear(&socket_script);
    script_clear(&setsockopt_script);
    script_clear(&getpeername_script);
    script_clear(&calloc_script);
    script_clear(&malloc_script);
    script_clear(&getsockopt_script);
    script_clear(&connect_script);
    script_clear(&send_script);
    script_clear(&recv_script);
    send_lacked_nosignal = false;
    bind_to_peer = false;
    connect_at_once = false;
    *state = new_fixture();
    return 0;
}

static int tear_down(void **state)
{
    end_fixture(*state);
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
    assert_in_range(last()->time, 1, PATIENCE_MS * (SECOND / 1000));
    assert_int_equal(f->probe.connect.count, 1);
    f->server = accept_one(f);
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
    await_events(2);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(last()->seq, 1);
    assert_int_equal(last()->size, 56);
    give(f, octets + 100, 68);
    await_events(4);
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
    pump();
    assert_int_equal(send_script.calls, 20);
    read_all(f->server, octets, sizeof octets);
    give(f, octets, sizeof octets);
    await_events(2);
    assert_int_equal(recv_script.calls, 20);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

static void a_full_socket_is_waited_for(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[112];

    start(f, 56);
    SCRIPT(send_script, 10, -EAGAIN);
    send_one(&f->probe);
    SCRIPT(send_script, -EAGAIN);
    send_one(&f->probe);
    pump();
    read_all(f->server, octets, sizeof octets);
    give(f, octets, sizeof octets);
    await_events(3);
    assert_int_equal(f->probe.counters.received, 2);
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
    await_events(2);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    assert_int_equal(last()->size, 2);
}

static void a_server_that_closes_is_reported(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    send_one(&f->probe);
    assert_int_equal(shutdown(f->server, SHUT_WR), 0);
    await_events(2);
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
    await_events(3);
    assert_int_equal(event_back(1)->kind, PROBE_CLOSED);
    assert_int_equal(event_back(0)->kind, PROBE_TRUNCATED);
    assert_int_equal(event_back(0)->size, 1);
    assert_int_equal(event_back(0)->seq, 1);
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
    assert_true(readable(f->probe.links[0]->watch.fd, PATIENCE_MS));
    SCRIPT(send_script, -ECONNRESET);
    send_one(&f->probe);
    assert_int_equal(heard.count, 3);
    assert_int_equal(event_back(1)->kind, PROBE_RECEIVED);
    assert_int_equal(event_back(0)->kind, PROBE_CLOSED);
    assert_int_equal(event_back(0)->error, ECONNRESET);
    /* Nothing more is sent. */
    send_one(&f->probe);
    assert_int_equal(send_script.calls, 1);
    assert_int_equal(heard.count, 3);
}

static void receiving_may_fail(void **state)
{
    static const int errors[] = {ETIMEDOUT, EHOSTUNREACH, ENOMEM};
    struct fixture *f = *state;

    for (unsigned i = 0; i < COUNT(errors); i++) {
        start(f, 56);
        SCRIPT(recv_script, -errors[i]);
        give(f, "x", 1);
        await_events(2);
        assert_int_equal(last()->kind, PROBE_CLOSED);
        assert_int_equal(last()->error, errors[i]);
        assert_true(f->probe.closed);
        probe_fini(&f->probe);
        hang_up(f);
    }
}

/* ... but not that there is nothing, after all. */
static void waking_for_nothing_does_no_harm(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    wake(&f->probe, POLLIN);
    assert_int_equal(heard.count, 1);
    assert_false(f->probe.links[0]->closed);
}

static void nothing_is_received_once_stopped(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    f->probe.stopped = true;
    wake(&f->probe, POLLIN | POLLHUP);
    assert_int_equal(recv_script.calls, 0);
}

/* ---- what is under way ---- */

static uint64_t received_in_order;

static bool count_received(void *context, const struct probe_event *event)
{
    (void)context;
    assert_int_equal(event->kind, PROBE_RECEIVED);
    assert_int_equal(event->seq, ++received_in_order);
    return true;
}

/* Let the server take what there is and send it back, until so many probes were answered. */
static void serve(struct fixture *f, uint64_t received)
{
    while (f->probe.counters.received < received) {
        uint8_t octets[4096];
        ssize_t len = recv(f->server, octets, sizeof octets, MSG_DONTWAIT);

        if (len > 0)
            give(f, octets, (size_t)len);
        loop_turn(&runner.loop, 1);
    }
}

static void the_queue_grows_with_what_is_under_way(void **state)
{
    struct fixture *f = *state;
    unsigned sent = 0;

    start(f, 56);
    f->probe.listener = count_received;
    received_in_order = 0;
    for (unsigned count = 1; count <= 60; count += 7) {
        send_many(&f->probe, count);
        sent += count;
        /* Some stay, so that the queue begins anywhere in its memory. */
        serve(f, sent - count / 2);
    }
    serve(f, sent);
    assert_int_equal(f->probe.counters.received, sent);
    assert_int_equal(f->probe.counters.sent, sent);
}

static void without_memory_for_the_queue_the_link_is_blocked(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[100];

    start(f, 56);
    send_one(&f->probe);
    SCRIPT(malloc_script, -ENOMEM);
    send_one(&f->probe);
    assert_int_equal(f->probe.counters.sent, 1);
    assert_true(f->probe.links[0]->blocked);
    read_all(f->server, octets, 56);
    give(f, octets, 56);
    await_events(2);
    assert_false(f->probe.links[0]->blocked);
    send_one(&f->probe);
    assert_int_equal(f->probe.counters.sent, 2);
}

static void a_server_that_stalls_blocks_the_link_and_may_recover(void **state)
{
    struct fixture *f = *state;
    struct probe_settings settings = patient;

    settings.size = 1;
    settings.window = 1; /* so that as many are remembered */
    prepare_with(&f->probe, settings);
    assert_int_equal(probe_open(&f->probe, &probe_tcp_ops, &f->peer), 0);
    f->server = accept_one(f);
    f->probe.listener = count_received;
    received_in_order = 0;
    for (unsigned i = 0; i < 1024 && !f->probe.links[0]->blocked; i++)
        send_many(&f->probe, 64);
    assert_true(f->probe.links[0]->blocked);
    assert_int_equal(f->probe.counters.sent, 32768);
    assert_int_equal(f->probe.waiting, 32768);
    serve(f, 32768);
    assert_false(f->probe.links[0]->blocked);
    send_many(&f->probe, 64);
    serve(f, 32768 + 64);
}

/* ---- connecting ---- */

static void connecting_may_take_no_time(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[56];

    connect_at_once = true;
    start(f, 56);
    send_one(&f->probe);
    read_all(f->server, octets, sizeof octets);
    give(f, octets, sizeof octets);
    await_events(2);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

static void assert_cannot_open(struct fixture *f, int error, int status)
{
    prepare(&f->probe, 56);
    assert_int_equal(probe_open(&f->probe, &probe_tcp_ops, &f->peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, error);
    assert_int_equal(probe_status(&f->probe), status);
    probe_fini(&f->probe);
}

static void each_step_of_opening_may_fail(void **state)
{
    struct fixture *f = *state;

    script_fail_after(&calloc_script, 4, ENOMEM);
    assert_cannot_open(f, ENOMEM, 2);
    SCRIPT(socket_script, -EMFILE);
    assert_cannot_open(f, EMFILE, 2);
    SCRIPT(connect_script, -ENETUNREACH);
    assert_cannot_open(f, ENETUNREACH, 2);
    SCRIPT(getsockopt_script, -ENOBUFS);
    assert_cannot_open(f, ENOBUFS, 2);
    SCRIPT(getpeername_script, -ENOTCONN);
    assert_cannot_open(f, ENOTCONN, 2);
}

static void what_only_the_peer_can_cause_counts_as_no_reply(void **state)
{
    struct fixture *f = *state;

    SCRIPT(getsockopt_script, ECONNREFUSED);
    assert_cannot_open(f, ECONNREFUSED, 1);
    SCRIPT(getsockopt_script, ECONNRESET);
    assert_cannot_open(f, ECONNRESET, 1);
    SCRIPT(getsockopt_script, ETIMEDOUT);
    assert_cannot_open(f, ETIMEDOUT, 1);
    SCRIPT(getsockopt_script, EHOSTUNREACH);
    assert_cannot_open(f, EHOSTUNREACH, 1);
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
        TEST(more_than_was_sent_so_far_is_not_ours_either),
        TEST(a_server_that_closes_is_reported),
        TEST(a_reply_cut_off_by_the_end_is_truncated),
        TEST(a_reset_noticed_by_sending_loses_no_reply),
        TEST(receiving_may_fail),
        TEST(waking_for_nothing_does_no_harm),
        TEST(nothing_is_received_once_stopped),
        TEST(the_queue_grows_with_what_is_under_way),
        TEST(without_memory_for_the_queue_the_link_is_blocked),
        TEST(a_server_that_stalls_blocks_the_link_and_may_recover),
        TEST(connecting_may_take_no_time),
        TEST(each_step_of_opening_may_fail),
        TEST(what_only_the_peer_can_cause_counts_as_no_reply),
        TEST(a_connection_with_itself_is_refused),
    };

    return cmocka_run_group_tests_name("link_tcp", tests, NULL, NULL);
}
