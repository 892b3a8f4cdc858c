/* SPDX-License-Identifier: ISC */
#include "daemon/udp/udp.h"

#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include "common/reply_ttl.h"
#include "net/socket.h"
#include "unit/clock.h"
#include "unit/unit.h"

/* Counts of drops that the wrapped recvmmsg() adds to the next messages, one each. */
static uint32_t told[4];
static unsigned told_at = COUNT(told);

static void tell_dropped(struct msghdr *header)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((char *)header->msg_control + header->msg_controllen);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SO_RXQ_OVFL;
    c->cmsg_len = CMSG_LEN(sizeof told[0]);
    memcpy(CMSG_DATA(c), &told[told_at++], sizeof told[0]);
    header->msg_controllen += CMSG_SPACE(sizeof told[0]);
}

WRAP(int, recvmmsg, int fd, struct mmsghdr *messages, unsigned count, int flags,
     struct timespec *wait)
{
    int n = -1;

    if (!script_fails(&recvmmsg_script))
        n = __real_recvmmsg(fd, messages, count, flags, wait);
    for (int i = 0; i < n && told_at < COUNT(told); i++)
        tell_dropped(&messages[i].msg_hdr);
    return n;
}
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(void *, mmap, MAP_FAILED, (void *at, size_t n, int prot, int flags, int fd, off_t off),
             (at, n, prot, flags, fd, off))
WRAP_FAILING(int, epoll_ctl, -1, (int epoll, int operation, int fd, struct epoll_event *event),
             (epoll, operation, fd, event))

static unsigned messages_sent;

/* A step is the most messages that the call sends. */
WRAP(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int step = script_next(&sendmmsg_script);
    int n;

    if (step < 0) {
        errno = -step;
        return -1;
    }
    n = __real_sendmmsg(fd, messages, count < (unsigned)step ? count : (unsigned)step, flags);
    messages_sent += n > 0 ? (unsigned)n : 0;
    return n;
}

/* ---- an endpoint ---- */

static const struct acl access_list;
static struct udp_params params;
static bool is_primary; /* of the sockets that share the address, or the workers that share it */
static unsigned sharing_workers;

static int set_up_params(void **state)
{
    static const uint8_t none[65536 / 8];

    (void)state;
    loopguard_init(&params.loopguard, none);
    params.reflect_tos = true;
    params.answer_broadcast = false;
    params.ratelimit = NULL;
    is_primary = true;
    sharing_workers = 0;
    return 0;
}

static struct loop loop;
static struct stats stats;
static struct udp *udp;
static int endpoint;
static int client;
static struct addr server;

static void open_endpoint(const char *host)
{
    struct addr addr = address(host, 0);

    assert_int_equal(socket_open(&(struct socket_wish){.type = SOCK_DGRAM}, &addr, 1, &endpoint),
                     0);
    server = local_address(endpoint);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, is_primary, sharing_workers);
    assert_non_null(udp);
    assert_int_equal(udp_fd(udp), endpoint);
}

static void close_endpoint(void)
{
    if (udp)
        udp_free(udp);
    udp = NULL;
    close(endpoint);
}

static int set_up(void **state)
{
    set_up_params(state);
    script_clear(&recvmmsg_script);
    script_clear(&sendmmsg_script);
    script_clear(&calloc_script);
    script_clear(&mmap_script);
    script_clear(&epoll_ctl_script);
    logbook_open(LEVEL_INFO);
    memset(&stats, 0, sizeof stats);
    assert_int_equal(loop_init(&loop), 0);
    open_endpoint("127.0.0.1");
    client = bound_socket(SOCK_DGRAM, "127.0.0.1");
    assert_true(client >= 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close_endpoint();
    close(client);
    loop_fini(&loop);
    return 0;
}

static void ask(const void *data, size_t length)
{
    assert_int_equal(sendto(client, data, length, 0, &server.sa, server.len), length);
}

/* Each is longer than the one before, so that no two replies can leave in one message. */
struct number {
    unsigned n;
    char more[200];
};

static size_t number_length(unsigned n)
{
    return sizeof n + n;
}

static size_t numbers_length(unsigned count)
{
    return count == 0 ? 0 : numbers_length(count - 1) + number_length(count - 1);
}

static void ask_number(unsigned n)
{
    struct number number = {.n = n};

    ask(&number, number_length(n));
}

static uint32_t endpoint_info(unsigned which)
{
    uint32_t info[SK_MEMINFO_VARS];
    socklen_t len = sizeof info;

    assert_int_equal(getsockopt(endpoint, SOL_SOCKET, SO_MEMINFO, info, &len), 0);
    return info[which];
}

/* Octets of kernel memory that wait in the endpoint's queue. */
static uint32_t queued(void)
{
    return endpoint_info(SK_MEMINFO_RMEM_ALLOC);
}

/* Send that many, and see to it that all have arrived before the endpoint takes its turn. */
static void ask_numbers(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint32_t before = queued();

        ask_number(i);
        WAIT_UNTIL(queued() > before);
    }
}

static void assert_reply(const void *data, size_t length)
{
    static unsigned char back[65536];
    struct addr from = {.len = sizeof from.in6};
    ssize_t n;

    TURN_UNTIL(&loop, readable(client, 0));
    n = recvfrom(client, back, sizeof back, 0, &from.sa, &from.len);
    assert_int_equal(n, length);
    assert_memory_equal(back, data, length);
    assert_true(addr_equal(&from, &server));
}

static void assert_number(unsigned n)
{
    struct number number = {.n = n};

    assert_reply(&number, number_length(n));
}

static void turn(unsigned times)
{
    while (times-- > 0)
        loop_turn(&loop, 0);
}

static void check_further_socket(unsigned workers, bool answers)
{
    uint16_t port;
    int on = 1;

    close_endpoint();
    is_primary = false;
    sharing_workers = workers;
    params.answer_broadcast = true;
    open_endpoint("0.0.0.0");
    port = addr_port(&server);
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
    server = address("127.255.255.255", port);
    if (sendto(client, "x", 1, 0, &server.sa, server.len) != 1)
        skip_because("loopback has no broadcast address");
    server = address("127.0.0.1", port);
    if (answers)
        assert_reply("x", 1);
    ask("y", 1);
    assert_reply("y", 1);
    assert_int_equal(stats.udp_received, answers ? 2 : 1);
    assert_int_equal(stats.udp_refused_group, 0);
}

static void a_socket_that_is_not_primary_ignores_broadcasts(void **state)
{
    (void)state;
    check_further_socket(0, false);
}

/* All workers share the one socket that received it. */
static void a_broadcast_to_an_inherited_socket_is_answered_by_any_worker(void **state)
{
    (void)state;
    check_further_socket(2, true);
}

static void refused_datagrams_are_counted_and_the_others_answered(void **state)
{
    int other = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct addr addr = local_address(other);

    (void)state;
    loopguard_refuse_port(&params.loopguard, addr_port(&addr));
    for (unsigned i = 0; i < 10; i++) {
        ask_number(i);
        assert_int_equal(sendto(other, "no", 2, 0, &server.sa, server.len), 2);
    }
    for (unsigned i = 0; i < 10; i++)
        assert_number(i);
    TURN_UNTIL(&loop, stats.udp_received == 20);
    assert_int_equal(stats.udp_refused_port, 10);
    assert_int_equal(stats.udp_echoes, 10);
    assert_int_equal(stats.udp_octets, numbers_length(10));
    assert_false(readable(other, 0));
    assert_int_equal(logbook.count, 0);
    close(other);
}

static void one_turn_serves_a_bounded_number_of_datagrams(void **state)
{
    (void)state;
    ask_numbers(100);
    turn(1);
    assert_in_range(stats.udp_received, 1, 64);
    for (unsigned i = 0; i < 100; i++)
        assert_number(i);
    assert_int_equal(stats.udp_received, 100);
}

static void equal_datagrams_go_back_in_one_message(void **state)
{
    (void)state;
    for (char n = 0; n < 10; n++) {
        uint32_t before = queued();

        ask(&n, 1);
        WAIT_UNTIL(queued() > before);
    }
    messages_sent = 0;
    for (char n = 0; n < 10; n++)
        assert_reply(&n, 1);
    assert_int_equal(messages_sent, 1);
}

/* ---- sending ---- */

static void while_replies_wait_for_room_nothing_is_received(void **state)
{
    static const int errors[] = {EAGAIN, EWOULDBLOCK};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        uint64_t before = stats.udp_received;

        SCRIPT(sendmmsg_script, 2, -errors[i], 1, -errors[i]);
        ask_numbers(5);
        TURN_UNTIL(&loop, stats.udp_received == before + 5);
        assert_int_equal(sendmmsg_script.calls, 2);
        ask_number(5);
        script_clear(&recvmmsg_script);
        turn(1);
        assert_true(script_done(&sendmmsg_script));
        assert_int_equal(recvmmsg_script.calls, 0);
        for (unsigned n = 0; n <= 5; n++)
            assert_number(n);
        assert_int_equal(stats.udp_failed, 0);
    }
}

static void replies_that_wait_too_long_for_room_are_dropped_and_counted(void **state)
{
    (void)state;
    script_always(&sendmmsg_script, -EAGAIN);
    ask_numbers(3);
    TURN_UNTIL(&loop, stats.udp_received == 3);
    pass_time(&loop, 90 * MS);
    assert_int_equal(stats.udp_failed, 0);
    pass_time(&loop, 20 * MS);
    assert_int_equal(stats.udp_failed, 3);
    script_clear(&sendmmsg_script);
    ask_number(7);
    assert_number(7);
}

/* A shared socket is in the loop's epoll set, and the kernel may have no memory to change that. */
static void a_socket_goes_on_if_its_events_cannot_be_changed(void **state)
{
    (void)state;
    udp_free(udp);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, true, 2);
    assert_non_null(udp);
    /* Not to POLLOUT: the next datagram makes it try again. */
    SCRIPT(sendmmsg_script, -EAGAIN);
    SCRIPT(epoll_ctl_script, -ENOMEM);
    ask_number(1);
    TURN_UNTIL(&loop, script_done(&sendmmsg_script));
    assert_true(script_done(&epoll_ctl_script));
    ask_number(2);
    assert_number(1);
    assert_number(2);
    /* Not back to POLLIN, twice. */
    SCRIPT(sendmmsg_script, -EAGAIN);
    SCRIPT(epoll_ctl_script, PASS, PASS, -ENOMEM, -ENOMEM);
    for (unsigned n = 3; n < 6; n++) {
        ask_number(n);
        assert_number(n);
    }
    assert_true(script_done(&epoll_ctl_script));
}

/* ---- receiving ---- */

static void nothing_to_receive_is_no_failure(void **state)
{
    static const int errors[] = {EAGAIN, EWOULDBLOCK, EINTR, ECONNREFUSED};

    (void)state;
    for (unsigned i = 0; i < COUNT(errors); i++) {
        SCRIPT(recvmmsg_script, -errors[i]);
        ask_number(i);
        turn(1);
        assert_false(readable(client, 0));
        assert_number(i);
    }
    assert_int_equal(logbook.count, 0);
}

static void a_socket_that_cannot_receive_rests_and_tries_again(void **state)
{
    static const int errors[] = {ENOMEM, ENOBUFS, EIO, EINVAL, EHOSTUNREACH, ENETDOWN};

    (void)state;
    for (unsigned i = 0; i < COUNT(errors); i++) {
        script_always(&recvmmsg_script, -errors[i]);
        ask_number(i);
        TURN_UNTIL(&loop, recvmmsg_script.calls > 0);
        turn(50);
        assert_int_equal(recvmmsg_script.calls, 1);
        for (int j = 0; j < 20; j++)
            pass_time(&loop, 100 * MS);
        assert_in_range(recvmmsg_script.calls, 10, 22);
        assert_int_equal(logged(LEVEL_WARNING, strerror(errors[i])), 1);
        assert_int_equal(logbook.count, i + 1);
        script_clear(&recvmmsg_script);
        pass_time(&loop, 100 * MS);
        assert_number(i);
        pass_time(&loop, LOG_LIMIT_NS);
    }
}

/* Fill the receive buffer; returns how many found no room. */
static unsigned overflow(void)
{
    uint64_t received = stats.udp_received;
    uint32_t dropped = endpoint_info(SK_MEMINFO_DROPS);
    int size = 4096;
    char data[1000] = "";

    assert_int_equal(setsockopt(endpoint, SOL_SOCKET, SO_RCVBUF, &size, sizeof size), 0);
    for (unsigned i = 0; i < 50; i++)
        ask(data, sizeof data);
    TURN_UNTIL(&loop,
               stats.udp_received - received + endpoint_info(SK_MEMINFO_DROPS) - dropped == 50);
    for (; received < stats.udp_echoes; received++)
        read_all(client, data, sizeof data);
    assert_true(endpoint_info(SK_MEMINFO_DROPS) > dropped);
    return endpoint_info(SK_MEMINFO_DROPS) - dropped;
}

static void a_socket_that_somebody_shuts_down_is_left_alone(void **state)
{
    (void)state;
    script_always(&recvmmsg_script, -ENOMEM);
    ask_number(1);
    TURN_UNTIL(&loop, recvmmsg_script.calls > 0);
    script_clear(&recvmmsg_script);
    pass_time(&loop, 100 * MS);
    assert_number(1);
    SCRIPT(recvmmsg_script, -ENOMEM);
    ask_number(2);
    TURN_UNTIL(&loop, script_done(&recvmmsg_script));
    assert_int_equal(recv(endpoint, NULL, 0, 0), 0);
    shutdown(endpoint, SHUT_RDWR); /* ENOTCONN, but done */
    TURN_UNTIL(&loop, logged(LEVEL_ERROR, "shut down") == 1);
    pass_time(&loop, 100 * MS);
    script_clear(&recvmmsg_script);
    turn(10);
    ask_number(3);
    close_endpoint();
    assert_int_equal(recvmmsg_script.calls, 0);
}

/* The kernel tells of drops with the next datagram. */
static void exchange_number(void)
{
    ask_number(1);
    assert_number(1);
}

static void drops_of_an_inherited_socket_from_before_the_start_are_not_counted(void **state)
{
    unsigned dropped;

    (void)state;
    overflow();
    udp_free(udp);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, true, 1);
    assert_non_null(udp);
    exchange_number();
    assert_int_equal(stats.udp_dropped, 0);
    dropped = overflow();
    exchange_number();
    assert_int_equal(stats.udp_dropped, dropped);
}

static void the_first_drops_of_an_inherited_socket_are_counted(void **state)
{
    unsigned dropped;

    (void)state;
    udp_free(udp);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, true, 1);
    assert_non_null(udp);
    dropped = overflow();
    exchange_number();
    assert_int_equal(stats.udp_dropped, dropped);
}

static void only_the_primary_worker_counts_drops_of_an_inherited_socket(void **state)
{
    (void)state;
    udp_free(udp);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, false, 2);
    assert_non_null(udp);
    for (unsigned i = 0; i < 2; i++) {
        overflow();
        exchange_number();
    }
    assert_int_equal(stats.udp_dropped, 0);
}

static void the_number_of_drops_may_wrap_and_lag(void **state)
{
    static const struct {
        uint32_t told[4];
        uint64_t dropped;
    } cases[] = {
        {{0, 1, 1, 3}, 3},
        {{5, 4, 5, 6}, 6},
        {{0x70000000, 0xe0000000, 0x10, 0}, 0x100000010},
        {{0x7fffffff, 0x7ffffffe, 0x80000001, 0x80000000}, 0x80000001},
        {{7, 0, 7, 8}, 8},
        {{0x70000000, 0xe0000000, 0, 0xe0000001}, 0xe0000001},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        tear_down(state);
        set_up(state);
        memcpy(told, cases[i].told, sizeof told);
        told_at = 0;
        for (unsigned n = 0; n < 4; n++) {
            ask_number(n);
            assert_number(n);
        }
        assert_int_equal(told_at, 4);
        assert_int_equal(stats.udp_dropped, cases[i].dropped);
    }
}

static void after_many_single_datagrams_batches_are_tried_now_and_then(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++) {
        ask_number(i);
        assert_number(i);
    }
    SCRIPT(recvmmsg_script, PASS);
    ask_numbers(100);
    for (unsigned i = 0; i < 100; i++)
        assert_number(i);
    assert_in_range(recvmmsg_script.calls, 5, 16);
    SCRIPT(recvmmsg_script, PASS);
    ask_numbers(30);
    for (unsigned i = 0; i < 30; i++)
        assert_number(i);
    assert_int_equal(recvmmsg_script.calls, 1);
}

/* ---- life ---- */

static void udp_free_answers_datagrams_that_have_arrived(void **state)
{
    (void)state;
    ask_numbers(100);
    udp_free(udp);
    udp = NULL;
    assert_int_equal(stats.udp_echoes, 100);
    for (unsigned i = 0; i < 100; i++)
        assert_number(i);
}

static void a_retired_socket_answers_what_has_arrived_and_receives_no_more(void **state)
{
    struct addr other;

    (void)state;
    close_endpoint();
    open_endpoint("0.0.0.0");
    other = address("127.0.0.2", addr_port(&server));
    server = address("127.0.0.1", addr_port(&server));
    ask_numbers(3);
    udp_retire(udp);
    if (sendto(client, "late", 4, 0, &server.sa, server.len) == 4)
        (void)sendto(client, "late", 4, 0, &other.sa, other.len);
    for (unsigned i = 0; i < 3; i++)
        assert_number(i);
    turn(3);
    assert_int_equal(stats.udp_received, 3);
    assert_int_equal(stats.udp_echoes, 3);
}

static void udp_free_sends_replies_that_wait_for_room(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, 1, -EAGAIN);
    ask_numbers(3);
    TURN_UNTIL(&loop, script_done(&sendmmsg_script));
    udp_free(udp);
    udp = NULL;
    for (unsigned i = 0; i < 3; i++)
        assert_number(i);
}

static void udp_free_does_not_wait_for_a_full_socket(void **state)
{
    (void)state;
    script_always(&sendmmsg_script, -EAGAIN);
    ask_numbers(3);
    udp_free(udp);
    udp = NULL;
    assert_in_range(sendmmsg_script.calls, 1, 10);
}

static void send_octet(uint8_t octet)
{
    assert_int_equal(sendto(client, &octet, 1, 0, &server.sa, server.len), 1);
}

static void set_rate(unsigned rate, unsigned burst)
{
    params.ratelimit = ratelimit_new(&(struct ratelimit_params){
        .rate = rate, .burst = burst, .v4_length = 32, .v6_length = 64, .size = 1024});
    assert_non_null(params.ratelimit);
}

static void a_source_beyond_its_rate_is_refused_or_slips_through(void **state)
{
    (void)state;
    set_rate(10, 5);
    for (uint8_t i = 0; i < 100; i++)
        send_octet(i);
    TURN_UNTIL(&loop, stats.udp_received == 100);
    assert_int_equal(stats.udp_echoes, 5 + stats.udp_leaked);
    assert_int_equal(stats.udp_over_budget, 95 - stats.udp_leaked);
    ratelimit_free(params.ratelimit);
}

static void replies_start_with_the_ttl_of_replies(void **state)
{
    unsigned char control[64];
    struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c;
    int on = 1, hops;

    (void)state;
    assert_int_equal(setsockopt(client, SOL_IP, IP_RECVTTL, &on, sizeof on), 0);
    send_octet(1);
    TURN_UNTIL(&loop, stats.udp_echoes == 1);
    assert_int_equal(recvmsg(client, &message, 0), 0);
    c = CMSG_FIRSTHDR(&message);
    assert_non_null(c);
    memcpy(&hops, CMSG_DATA(c), sizeof hops);
    assert_int_equal(hops, REPLY_TTL);
}

static void a_start_that_fails_says_why(void **state)
{
    static const struct {
        struct script *script;
        int error;
    } cases[] = {{&calloc_script, ENOMEM},
                 {&mmap_script, ENOMEM},
                 {&epoll_ctl_script, ENOSPC},
                 {&epoll_ctl_script, ENOMEM}};
    int fd = bound_socket(SOCK_DGRAM, "127.0.0.1");

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        SCRIPT(*cases[i].script, -cases[i].error);
        errno = 0;
        assert_null(udp_new(&loop, &stats, &access_list, &params, fd, true, 2));
        assert_int_equal(errno, cases[i].error);
        assert_true(fcntl(fd, F_GETFD) >= 0);
    }
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_socket_that_is_not_primary_ignores_broadcasts),
        TEST(a_broadcast_to_an_inherited_socket_is_answered_by_any_worker),
        TEST(refused_datagrams_are_counted_and_the_others_answered),
        TEST(one_turn_serves_a_bounded_number_of_datagrams),
        TEST(equal_datagrams_go_back_in_one_message),
        TEST(while_replies_wait_for_room_nothing_is_received),
        TEST(replies_that_wait_too_long_for_room_are_dropped_and_counted),
        TEST(a_socket_goes_on_if_its_events_cannot_be_changed),
        TEST(nothing_to_receive_is_no_failure),
        TEST(a_socket_that_cannot_receive_rests_and_tries_again),
        TEST(a_socket_that_somebody_shuts_down_is_left_alone),
        TEST(drops_of_an_inherited_socket_from_before_the_start_are_not_counted),
        TEST(the_first_drops_of_an_inherited_socket_are_counted),
        TEST(only_the_primary_worker_counts_drops_of_an_inherited_socket),
        TEST(the_number_of_drops_may_wrap_and_lag),
        TEST(after_many_single_datagrams_batches_are_tried_now_and_then),
        TEST(udp_free_answers_datagrams_that_have_arrived),
        TEST(a_retired_socket_answers_what_has_arrived_and_receives_no_more),
        TEST(udp_free_sends_replies_that_wait_for_room),
        TEST(udp_free_does_not_wait_for_a_full_socket),
        TEST(a_source_beyond_its_rate_is_refused_or_slips_through),
        TEST(replies_start_with_the_ttl_of_replies),
        TEST(a_start_that_fails_says_why),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
