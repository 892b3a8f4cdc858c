/* SPDX-License-Identifier: ISC */
#include "probe/link_udp.h"

#include <linux/errqueue.h>

#include "unit/probe_unit.h"

WRAP_FAILING(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP_FAILING(int, connect, -1, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP_FAILING(int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t len),
             (fd, level, name, value, len))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(int, recvmmsg, -1,
             (int fd, struct mmsghdr *batch, unsigned count, int flags, struct timespec *timeout),
             (fd, batch, count, flags, timeout))

/* What the error queue holds besides what the kernel put there. */
static struct {
    unsigned count;
    struct sock_extended_err error;
    struct addr offender;
    int level;
    int type;
    uint8_t data[64];
    size_t size;
    bool refilled; /* whenever sending fails */
} queue;

static ssize_t take_queued(struct msghdr *msg)
{
    struct {
        struct sock_extended_err error;
        struct addr offender;
    } content = {queue.error, queue.offender};
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

    queue.count--;
    assert_true(msg->msg_controllen >= CMSG_SPACE(sizeof content));
    cmsg->cmsg_level = queue.level;
    cmsg->cmsg_type = queue.type;
    cmsg->cmsg_len = CMSG_LEN(sizeof content);
    memcpy(CMSG_DATA(cmsg), &content, sizeof content);
    msg->msg_controllen = CMSG_SPACE(sizeof content);
    memcpy(msg->msg_iov->iov_base, queue.data, queue.size);
    return (ssize_t)queue.size;
}

/* A positive step is the most datagrams that the call may take. */
WRAP(int, sendmmsg, int fd, struct mmsghdr *batch, unsigned count, int flags)
{
    int step = script_next(&sendmmsg_script);

    if (step > 0)
        return __real_sendmmsg(fd, batch, count < (unsigned)step ? count : (unsigned)step, flags);
    errno = -step;
    if (queue.refilled)
        queue.count = 1;
    return -1;
}

WRAP(ssize_t, recvmsg, int fd, struct msghdr *msg, int flags)
{
    script_next(&recvmsg_script);
    assert_true(flags & MSG_ERRQUEUE);
    return queue.count > 0 ? take_queued(msg) : __real_recvmsg(fd, msg, flags);
}

struct fixture {
    struct probe probe;
    int server;
    struct addr peer;
    struct addr client;
    unsigned descriptors;
};

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof *f);

    script_clear(&socket_script);
    script_clear(&connect_script);
    script_clear(&setsockopt_script);
    script_clear(&calloc_script);
    script_clear(&sendmmsg_script);
    script_clear(&recvmmsg_script);
    script_clear(&recvmsg_script);
    memset(&queue, 0, sizeof queue);
    f->descriptors = open_descriptors();
    assert_int_equal(runner_init(&runner), 0);
    f->server = bound_socket(SOCK_DGRAM, "127.0.0.1");
    assert_true(f->server >= 0);
    f->peer = local_address(f->server);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    probe_fini(&f->probe);
    runner_fini(&runner);
    if (f->server >= 0)
        close(f->server);
    assert_int_equal(open_descriptors(), f->descriptors);
    test_free(f);
    return 0;
}

static void start(struct fixture *f, size_t size)
{
    prepare(&f->probe, size);
    assert_int_equal(probe_open(&f->probe, &probe_udp_ops, &f->peer), 0);
}

static void start_with(struct fixture *f, struct probe_settings settings)
{
    prepare_with(&f->probe, settings);
    assert_int_equal(probe_open(&f->probe, &probe_udp_ops, &f->peer), 0);
}

/* What the server got. */
static size_t take(struct fixture *f, uint8_t *octets, size_t room)
{
    ssize_t len;

    assert_true(readable(f->server, PATIENCE_MS));
    f->client.len = sizeof f->client.in6;
    len = recvfrom(f->server, octets, room, 0, &f->client.sa, &f->client.len);
    assert_true(len >= 0);
    return (size_t)len;
}

static void give(struct fixture *f, int fd, const void *octets, size_t len)
{
    assert_int_equal(sendto(fd, octets, len, 0, &f->client.sa, f->client.len), len);
}

/* What is longer than anything sent is not kept as a whole, and must not be shown beyond its room.
 */
static void octets_are_there_as_a_whole_or_not_at_all(void **state)
{
    struct fixture *f = *state;
    static uint8_t octets[65507];

    start(f, 56);
    send_one(&f->probe);
    take(f, octets, 56);
    give(f, f->server, octets, 57);
    await_events(1);
    assert_non_null(last()->octets);
    give(f, f->server, octets, 58);
    await_events(2);
    assert_null(last()->octets);
    assert_int_equal(last()->kind, PROBE_CORRUPT);
    assert_int_equal(last()->size, 58);
    give(f, f->server, octets, sizeof octets);
    await_events(3);
    assert_null(last()->octets);
    assert_int_equal(last()->size, sizeof octets);
}

static void the_address_of_everywhere_is_known_by_another(void **state)
{
    struct fixture *f = *state;
    uint16_t port = addr_port(&f->peer);
    uint8_t octets[100];

    f->peer = address("0.0.0.0", port);
    start(f, 56);
    send_one(&f->probe);
    give(f, f->server, octets, take(f, octets, sizeof octets));
    await_events(1);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

/* The error of the first is pending when the second is sent, and must not swallow it. */
static void a_pending_error_does_not_cost_the_next_probe(void **state)
{
    struct fixture *f = *state;

    close(f->server);
    f->server = -1;
    start(f, 56);
    send_one(&f->probe);
    send_one(&f->probe);
    send_one(&f->probe);
    await_events(3);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(heard.events[i].seq, i + 1);
        assert_int_equal(heard.events[i].error, ECONNREFUSED);
    }
    assert_int_equal(sendmmsg_script.calls, 5);
}

static void queue_error(struct fixture *f, uint8_t origin, uint32_t error)
{
    queue.count = 1;
    queue.level = SOL_IP;
    queue.type = IP_RECVERR;
    queue.error = (struct sock_extended_err){.ee_errno = error, .ee_origin = origin};
    queue.size = 24;
    payload_fill(&f->probe.payload, 1, 0, queue.data, queue.size);
}

static void an_error_may_come_from_nobody(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    send_one(&f->probe);
    queue_error(f, SO_EE_ORIGIN_ICMP, EHOSTUNREACH);
    wake(&f->probe, POLLERR);
    assert_int_equal(heard.count, 1);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->error, EHOSTUNREACH);
    assert_int_equal(last()->seq, 1);
    assert_null(last()->from);
}

static void a_router_may_report_an_error(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    send_one(&f->probe);
    queue_error(f, SO_EE_ORIGIN_ICMP6, EHOSTUNREACH);
    queue.level = SOL_IPV6;
    queue.type = IPV6_RECVERR;
    queue.offender = address("2001:db8::1", 0);
    wake(&f->probe, POLLERR);
    assert_true(addr_equal(&heard.from[0], &queue.offender));
}

static void what_is_no_network_error_is_passed_over(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    send_one(&f->probe);
    queue_error(f, SO_EE_ORIGIN_LOCAL, EMSGSIZE);
    wake(&f->probe, POLLERR);
    queue_error(f, SO_EE_ORIGIN_ICMP, EHOSTUNREACH);
    queue.type = IP_TTL;
    wake(&f->probe, POLLERR);
    queue_error(f, SO_EE_ORIGIN_ICMP, EHOSTUNREACH);
    queue.level = SOL_SOCKET;
    wake(&f->probe, POLLERR);
    queue_error(f, SO_EE_ORIGIN_ICMP6, EHOSTUNREACH);
    queue.level = SOL_IPV6;
    wake(&f->probe, POLLERR);
    assert_int_equal(queue.count, 0);
    assert_int_equal(heard.count, 0);
}

static void receiving_may_fail_with_an_earlier_error(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[100];

    start(f, 56);
    send_one(&f->probe);
    give(f, f->server, octets, take(f, octets, sizeof octets));
    queue_error(f, SO_EE_ORIGIN_ICMP, EHOSTUNREACH);
    SCRIPT(recvmmsg_script, -EHOSTUNREACH);
    assert_true(readable(f->probe.links[0]->watch.fd, PATIENCE_MS));
    wake(&f->probe, POLLIN);
    assert_int_equal(heard.count, 2);
    assert_int_equal(heard.events[0].kind, PROBE_ERROR);
    assert_int_equal(heard.events[1].kind, PROBE_RECEIVED);
    /* And with one that nothing is known about. */
    SCRIPT(recvmmsg_script, -ENOMEM);
    wake(&f->probe, POLLIN);
    assert_int_equal(recvmmsg_script.calls, 1);
    assert_int_equal(heard.count, 2);
}

static void sending_may_fail(void **state)
{
    static const int errors[] = {EPERM, ENOBUFS, EMSGSIZE, ENETUNREACH, EHOSTUNREACH};
    struct fixture *f = *state;

    start(f, 56);
    for (unsigned i = 0; i < COUNT(errors); i++) {
        SCRIPT(sendmmsg_script, -errors[i]);
        send_one(&f->probe);
        assert_int_equal(heard.count, i + 1);
        assert_int_equal(last()->kind, PROBE_ERROR);
        assert_int_equal(last()->error, errors[i]);
        assert_int_equal(last()->seq, i + 1);
        assert_null(last()->from);
        assert_true(script_done(&sendmmsg_script));
    }
    /* It is of no use to try again what the kernel itself objects to. */
    SCRIPT(sendmmsg_script, -EMSGSIZE);
    queue_error(f, SO_EE_ORIGIN_LOCAL, EMSGSIZE);
    send_one(&f->probe);
    assert_int_equal(last()->error, EMSGSIZE);
    assert_int_equal(sendmmsg_script.calls, 1);
}

static void sending_is_not_tried_for_ever(void **state)
{
    struct fixture *f = *state;

    start(f, 56);
    script_always(&sendmmsg_script, -ECONNREFUSED);
    queue_error(f, SO_EE_ORIGIN_ICMP, ECONNREFUSED);
    queue.refilled = true;
    send_one(&f->probe);
    assert_in_range(sendmmsg_script.calls, 2, 4);
    assert_int_equal(last()->error, ECONNREFUSED);
    assert_null(last()->from);
}

/* Of the largest datagrams four fit into a batch. */
static void one_wake_up_takes_a_bounded_number(void **state)
{
    struct fixture *f = *state;
    static uint8_t octets[65536];

    start(f, 65507);
    send_one(&f->probe);
    take(f, octets, sizeof octets);
    for (unsigned i = 0; i < 40; i++)
        give(f, f->server, "x", 1);
    pump();
    assert_int_equal(heard.count, 32);
    await_events(40);
    queue_error(f, SO_EE_ORIGIN_ICMP, EHOSTUNREACH);
    queue.count = 300;
    wake(&f->probe, POLLERR);
    assert_int_equal(heard.count, 40 + 256);
    wake(&f->probe, POLLERR);
    assert_int_equal(heard.count, 40 + 300);
}

static void what_the_kernel_does_not_take_at_once_follows(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[100];

    start(f, 56);
    SCRIPT(sendmmsg_script, 2, -EMSGSIZE, PASS);
    send_many(&f->probe, 5);
    assert_int_equal(sendmmsg_script.calls, 3);
    assert_int_equal(heard.count, 1);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->seq, 3);
    assert_int_equal(f->probe.counters.sent, 5);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(take(f, octets, sizeof octets), 56);
        assert_int_equal(octets[0], i < 2 ? i + 1 : i + 2);
    }
}

static void a_full_socket_blocks_the_link_until_there_is_room(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[100];

    start(f, 56);
    SCRIPT(sendmmsg_script, 2, -EAGAIN);
    send_many(&f->probe, 5);
    assert_int_equal(heard.count, 0);
    assert_int_equal(f->probe.counters.sent, 2);
    assert_int_equal(f->probe.waiting, 2);
    assert_int_equal(f->probe.links[0]->unanswered, 2);
    assert_true(f->probe.links[0]->blocked);
    send_one(&f->probe);
    assert_int_equal(sendmmsg_script.calls, 2);
    pump();
    assert_false(f->probe.links[0]->blocked);
    send_one(&f->probe);
    for (unsigned i = 1; i <= 3; i++) {
        take(f, octets, sizeof octets);
        assert_int_equal(octets[0], i);
    }
}

/* ---- time stamps of the kernel ---- */

static void echo_one(struct fixture *f)
{
    uint8_t octets[100];
    unsigned before = heard.count;

    send_one(&f->probe);
    give(f, f->server, octets, take(f, octets, sizeof octets));
    await_events(before + 1);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

/* The kernel begins to stamp what it receives some time after it is asked to. */
static void echo_until_stamped(struct fixture *f)
{
    uint64_t before = f->probe.counters.stamped;
    uint64_t until = clock_now() + PATIENCE_MS * (SECOND / 1000);

    while (f->probe.counters.stamped == before) {
        assert_true(clock_now() < until);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        heard.count = 0;
        echo_one(f);
    }
}

static void stamps_are_numbered_anew_after_an_error(void **state)
{
    struct fixture *f = *state;
    struct probe_settings settings = patient;

    settings.kernel_stamps = true;
    start_with(f, settings);
    echo_until_stamped(f);
    script_clear(&setsockopt_script);
    SCRIPT(sendmmsg_script, -EMSGSIZE);
    send_one(&f->probe);
    assert_int_equal(last()->error, EMSGSIZE);
    assert_int_equal(setsockopt_script.calls, 2);
    echo_until_stamped(f);
}

static void it_works_without_stamps(void **state)
{
    struct fixture *f = *state;
    struct probe_settings settings = patient;

    settings.kernel_stamps = true;
    script_fail_after(&setsockopt_script, 5, ENOPROTOOPT);
    start_with(f, settings);
    assert_true(script_done(&setsockopt_script));
    echo_one(f);
    assert_int_equal(f->probe.counters.stamped, 0);
}

static void a_stopped_run_takes_no_more(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[100];

    start(f, 56);
    send_one(&f->probe);
    give(f, f->server, octets, take(f, octets, sizeof octets));
    f->probe.stopped = true;
    wake(&f->probe, POLLIN);
    assert_int_equal(heard.count, 0);
}

static void assert_cannot_open(struct fixture *f, int error)
{
    prepare(&f->probe, 56);
    assert_int_equal(probe_open(&f->probe, &probe_udp_ops, &f->peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, error);
    assert_int_equal(probe_status(&f->probe), 2);
    probe_fini(&f->probe);
}

static void each_step_of_opening_may_fail(void **state)
{
    struct fixture *f = *state;

    /* The first four are not of the link. */
    script_fail_after(&calloc_script, 4, ENOMEM);
    assert_cannot_open(f, ENOMEM);
    script_fail_after(&calloc_script, 5, ENOMEM);
    assert_cannot_open(f, ENOMEM);
    script_fail_after(&socket_script, 0, EMFILE);
    assert_cannot_open(f, EMFILE);
    script_fail_after(&connect_script, 0, ENETUNREACH);
    assert_cannot_open(f, ENETUNREACH);
    script_fail_after(&socket_script, 1, EMFILE);
    assert_cannot_open(f, EMFILE);
}

static void a_kernel_without_any_option_is_good_enough(void **state)
{
    struct fixture *f = *state;

    prepare(&f->probe, 56);
    script_always(&setsockopt_script, -ENOPROTOOPT);
    assert_int_equal(probe_open(&f->probe, &probe_udp_ops, &f->peer), 0);
    script_clear(&setsockopt_script);
    probe_fini(&f->probe);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(octets_are_there_as_a_whole_or_not_at_all),
        TEST(the_address_of_everywhere_is_known_by_another),
        TEST(a_pending_error_does_not_cost_the_next_probe),
        TEST(an_error_may_come_from_nobody),
        TEST(a_router_may_report_an_error),
        TEST(what_is_no_network_error_is_passed_over),
        TEST(receiving_may_fail_with_an_earlier_error),
        TEST(sending_may_fail),
        TEST(sending_is_not_tried_for_ever),
        TEST(one_wake_up_takes_a_bounded_number),
        TEST(what_the_kernel_does_not_take_at_once_follows),
        TEST(a_full_socket_blocks_the_link_until_there_is_room),
        TEST(stamps_are_numbered_anew_after_an_error),
        TEST(it_works_without_stamps),
        TEST(a_stopped_run_takes_no_more),
        TEST(each_step_of_opening_may_fail),
        TEST(a_kernel_without_any_option_is_good_enough),
    };

    return cmocka_run_group_tests_name("link_udp", tests, NULL, NULL);
}
