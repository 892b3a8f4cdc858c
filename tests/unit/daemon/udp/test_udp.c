/* SPDX-License-Identifier: ISC */
#include "daemon/udp/udp.h"

#include <linux/sock_diag.h>
#include <netinet/udp.h>
#include <sys/mman.h>

#include "common/reply_ttl.h"
#include "net/socket.h"
#include "unit/clock.h"
#include "unit/unit.h"

/* What the kernel would say of how many a socket has dropped, a number with each message. */
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
WRAP_FAILING(int, loop_add, -1,
             (struct loop * loop, struct loop_io *io, int fd, short events, loop_io_fn *fn),
             (loop, io, fd, events, fn))

WRAP_FAILING(int, loop_set, -1, (struct loop * loop, struct loop_io *io, short events),
             (loop, io, events))

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

    assert_int_equal(socket_open(SOCK_DGRAM, &addr, 0, false, 1, &endpoint), 0);
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
    script_clear(&loop_add_script);
    script_clear(&loop_set_script);
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

static void datagrams_of_every_size_come_back_whole(void **state)
{
    static const size_t sizes[] = {0, 1, 2, 17, 1472, 1473, 8192, 8193, 65506, 65507};
    static unsigned char data[65536];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        ask(data, sizes[i]);
        assert_reply(data, sizes[i]);
    }
    assert_int_equal(stats.udp_received, COUNT(sizes));
    assert_int_equal(stats.udp_echoes, COUNT(sizes));
    assert_int_equal(stats.udp_octets, 1 + 2 + 17 + 1472 + 1473 + 8192 + 8193 + 65506 + 65507);
    assert_int_equal(stats.udp_failed, 0);
}

static void ipv6_datagrams_come_back_up_to_the_largest(void **state)
{
    static unsigned char data[65527];

    (void)state;
    if (!have_address("::1"))
        skip_because("no IPv6");
    close_endpoint();
    open_endpoint("::1");
    close(client);
    client = bound_socket(SOCK_DGRAM, "::1");
    memset(data, 'z', sizeof data);
    ask(data, 0);
    assert_reply(data, 0);
    ask(data, sizeof data);
    assert_reply(data, sizeof data);
}

static void replies_come_from_the_address_that_was_asked(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "127.1.2.3"};
    uint16_t port;

    (void)state;
    close_endpoint();
    open_endpoint("0.0.0.0");
    port = addr_port(&server);
    for (size_t i = 0; i < COUNT(hosts); i++) {
        server = address(hosts[i], port);
        ask_number(5);
        assert_number(5);
    }
}

static void a_dual_stack_socket_answers_ipv4_from_the_address_asked(void **state)
{
    int type;
    uint16_t port;

    (void)state;
    if (!have_address("::"))
        skip_because("no IPv6");
    close_endpoint();
    endpoint = bound_socket(SOCK_DGRAM, "::");
    assert_int_equal(socket_adopt(endpoint, &type, &server), 0);
    port = addr_port(&server);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, is_primary, sharing_workers);
    assert_non_null(udp);
    server = address("127.0.0.3", port);
    ask_number(5);
    assert_number(5);
}

static void the_tos_of_the_request_is_the_replys(void **state)
{
    int tos = 0xb8;
    int on = 1;

    (void)state;
    assert_int_equal(setsockopt(client, SOL_IP, IP_TOS, &tos, sizeof tos), 0);
    assert_int_equal(setsockopt(client, SOL_IP, IP_RECVTOS, &on, sizeof on), 0);
    for (int reflect = 1; reflect >= 0; reflect--) {
        struct udp_control control;
        struct msghdr back = {.msg_control = control.octets, .msg_controllen = sizeof control};
        const struct cmsghdr *c;

        params.reflect_tos = reflect;
        udp_params_changed(udp);
        ask("", 0);
        TURN_UNTIL(&loop, readable(client, 0));
        assert_int_equal(recvmsg(client, &back, 0), 0);
        c = CMSG_FIRSTHDR(&back);
        assert_non_null(c);
        assert_int_equal(c->cmsg_type, IP_TOS);
        assert_int_equal(*CMSG_DATA(c), reflect ? 0xb8 : 0);
    }
}

static void a_broadcast_is_answered_only_if_asked_for(void **state)
{
    struct addr one = address("127.0.0.1", 0);
    int on = 1;

    (void)state;
    close_endpoint();
    open_endpoint("0.0.0.0");
    addr_set_port(&one, addr_port(&server));
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
    server = address("127.255.255.255", addr_port(&server));
    if (sendto(client, "x", 1, 0, &server.sa, server.len) != 1)
        skip_because("loopback has no broadcast address");
    TURN_UNTIL(&loop, stats.udp_received == 1);
    assert_int_equal(stats.udp_refused_group, 1);
    assert_int_equal(stats.udp_echoes, 0);
    params.answer_broadcast = true;
    udp_params_changed(udp);
    ask("y", 1);
    server = one;
    assert_reply("y", 1);
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

static void a_broadcast_is_passed_over_by_all_but_one(void **state)
{
    (void)state;
    check_further_socket(0, false);
}

/* It is one socket. */
static void a_broadcast_to_an_inherited_socket_concerns_whichever_worker_receives_it(void **state)
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

static void one_turn_takes_a_bounded_number(void **state)
{
    (void)state;
    ask_numbers(100);
    turn(1);
    assert_in_range(stats.udp_received, 1, 64);
    for (unsigned i = 0; i < 100; i++)
        assert_number(i);
    assert_int_equal(stats.udp_received, 100);
}

/* ---- segments ---- */

/* Send `length` octets as datagrams of `segment` each, but for the last. */
static void ask_in_segments(const void *data, size_t length, uint16_t segment)
{
    struct udp_control control = {.octets = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = length};
    struct msghdr message = {.msg_name = &server.sa,
                             .msg_namelen = server.len,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control.octets,
                             .msg_controllen = CMSG_SPACE(sizeof segment)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);

    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
    if (sendmsg(client, &message, 0) < 0)
        skip_because("no UDP_SEGMENT");
}

static void assert_segments(const unsigned char *data, size_t length, size_t segment)
{
    for (size_t done = 0; done < length; done += segment)
        assert_reply(data + done, length - done < segment ? length - done : segment);
    turn(2);
    assert_false(readable(client, 0));
}

static void segments_come_back_as_many_and_as_long(void **state)
{
    static const struct {
        uint16_t segment;
        size_t length;
    } cases[] = {{1, 64},      {1, 2},        {64, 128},      {64, 129},
                 {64, 127},    {64, 64 * 64}, {64, 4033},     {1472, 80},
                 {1472, 1473}, {9000, 63000}, {32000, 64000}, {65000, 65507}};
    static unsigned char data[65536];
    uint64_t datagrams = 0, octets = 0;

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 7 + i / 251);
    for (size_t i = 0; i < COUNT(cases); i++) {
        ask_in_segments(data, cases[i].length, cases[i].segment);
        assert_segments(data, cases[i].length, cases[i].segment);
        datagrams += (cases[i].length + cases[i].segment - 1) / cases[i].segment;
        octets += cases[i].length;
    }
    assert_int_equal(stats.udp_received, datagrams);
    assert_int_equal(stats.udp_echoes, datagrams);
    assert_int_equal(stats.udp_octets, octets);
    assert_int_equal(stats.udp_failed, 0);
}

static void segments_take_one_call_each_way(void **state)
{
    static const unsigned char data[6400];

    (void)state;
    SCRIPT(sendmmsg_script, PASS);
    SCRIPT(recvmmsg_script, PASS);
    ask_in_segments(data, sizeof data, 100);
    TURN_UNTIL(&loop, stats.udp_echoes == 64);
    assert_int_equal(sendmmsg_script.calls, 1);
    assert_int_equal(recvmmsg_script.calls, 1);
    assert_segments(data, sizeof data, 100);
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

static void equal_datagrams_of_several_clients_go_back_each_to_its_own(void **state)
{
    int other = bound_socket(SOCK_DGRAM, "127.0.0.1");
    char back;

    (void)state;
    SCRIPT(sendmmsg_script, PASS);
    for (char n = 0; n < 10; n++) {
        ask(&n, 1);
        ask(&n, 1);
        assert_int_equal(sendto(other, &n, 1, 0, &server.sa, server.len), 1);
    }
    TURN_UNTIL(&loop, stats.udp_echoes == 30);
    for (char n = 0; n < 10; n++) {
        assert_reply(&n, 1);
        assert_reply(&n, 1);
        read_all(other, &back, 1);
        assert_int_equal(back, n);
    }
    close(other);
}

static void who_comes_again_among_others_is_answered(void **state)
{
    static const unsigned orders[][3] = {{0, 1, 2}, {2, 1, 0}, {0, 0, 2}, {1, 2, 0}};
    int clients[3] = {client};

    (void)state;
    for (unsigned i = 1; i < COUNT(clients); i++)
        clients[i] = bound_socket(SOCK_DGRAM, "127.0.0.1");
    for (unsigned o = 0; o < COUNT(orders); o++) {
        uint64_t before = stats.udp_echoes;
        unsigned back;

        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(sendto(clients[orders[o][i]], &i, sizeof i, 0, &server.sa, server.len),
                             sizeof i);
        TURN_UNTIL(&loop, stats.udp_echoes == before + 3);
        for (unsigned i = 0; i < 3; i++) {
            read_all(clients[orders[o][i]], &back, sizeof back);
            assert_int_equal(back, i);
        }
    }
    for (unsigned i = 1; i < COUNT(clients); i++)
        close(clients[i]);
}

static void segments_that_cannot_leave_together_leave_one_by_one(void **state)
{
    static const int errors[] = {EIO, EINVAL, EMSGSIZE, EPERM};
    static unsigned char data[1000];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)i;
    for (size_t e = 0; e < COUNT(errors); e++) {
        uint64_t before = stats.udp_echoes;

        SCRIPT(sendmmsg_script, -errors[e], PASS, -EINTR, PASS, -EAGAIN, PASS);
        ask_in_segments(data, sizeof data, 100);
        TURN_UNTIL(&loop, stats.udp_echoes == before + 10);
        assert_segments(data, sizeof data, 100);
        pass_time(&loop, 2000 * MS);
    }
    assert_int_equal(stats.udp_failed, 0);
    assert_int_equal(stats.udp_octets, COUNT(errors) * sizeof data);
}

static void a_segment_that_fails_costs_no_other(void **state)
{
    static unsigned char data[1000];

    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)i;
    SCRIPT(sendmmsg_script, -EPERM, PASS, PASS, -EPERM, PASS);
    ask_in_segments(data, sizeof data, 100);
    TURN_UNTIL(&loop, stats.udp_echoes == 9);
    assert_int_equal(stats.udp_failed, 1);
    for (size_t i = 0; i < sizeof data; i += 100)
        if (i != 200)
            assert_reply(data + i, 100);
}

/* ---- sending ---- */

static void a_batch_sent_in_pieces_is_sent_whole(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, 1, 2, 3, 1, PASS);
    ask_numbers(12);
    for (unsigned i = 0; i < 12; i++)
        assert_number(i);
    assert_int_equal(stats.udp_echoes, 12);
    assert_int_equal(stats.udp_octets, numbers_length(12));
    assert_int_equal(stats.udp_failed, 0);
}

static void a_reply_that_cannot_be_sent_costs_no_other(void **state)
{
    static const int errors[] = {EMSGSIZE, EPERM,        ENETUNREACH,   EHOSTUNREACH,
                                 EINVAL,   ECONNREFUSED, EACCES,        ENOBUFS,
                                 ENOMEM,   ENETDOWN,     EADDRNOTAVAIL, EPIPE};

    (void)state;
    for (unsigned e = 0; e < COUNT(errors); e++)
        for (unsigned failing = 0; failing < 4; failing++) {
            uint64_t failed = stats.udp_failed;

            if (failing > 0)
                SCRIPT(sendmmsg_script, (int)failing, -errors[e]);
            else
                SCRIPT(sendmmsg_script, -errors[e]);
            ask_numbers(4);
            TURN_UNTIL(&loop, stats.udp_failed == failed + 1);
            /* The failing one was not sent; it is passed over, not tried again. */
            for (unsigned i = 0; i < 4; i++)
                if (i != failing)
                    assert_number(i);
            turn(2);
            assert_false(readable(client, 0));
        }
    assert_int_equal(stats.udp_echoes, 3 * 4 * COUNT(errors));
    assert_int_equal(logbook.count, 0);
}

static void when_all_replies_fail_all_are_counted(void **state)
{
    (void)state;
    script_always(&sendmmsg_script, -ENETUNREACH);
    ask_numbers(5);
    TURN_UNTIL(&loop, stats.udp_failed == 5);
    assert_int_equal(sendmmsg_script.calls, 5);
    assert_int_equal(stats.udp_echoes, 0);
    script_clear(&sendmmsg_script);
    ask_number(6);
    assert_number(6);
}

static void an_interrupted_send_is_repeated(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, -EINTR, 1, -EINTR, PASS);
    ask_numbers(3);
    for (unsigned i = 0; i < 3; i++)
        assert_number(i);
    assert_int_equal(stats.udp_failed, 0);
}

static void a_full_socket_keeps_the_rest_and_waits_to_be_writable(void **state)
{
    static const int errors[] = {EAGAIN, EWOULDBLOCK};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        struct loop_io *io;
        uint64_t before = stats.udp_received;

        SCRIPT(sendmmsg_script, 2, -errors[i], 1, -errors[i]);
        ask_numbers(5);
        TURN_UNTIL(&loop, stats.udp_received == before + 5);
        assert_int_equal(sendmmsg_script.calls, 2);
        io = loop.ios[1];
        assert_int_equal(io->events, POLLOUT);
        /* While replies wait nothing more is received. */
        ask_number(5);
        script_clear(&recvmmsg_script);
        turn(1);
        assert_int_equal(recvmmsg_script.calls, 0);
        assert_int_equal(io->events, POLLOUT);
        turn(1);
        assert_int_equal(io->events, POLLIN);
        for (unsigned n = 0; n <= 5; n++)
            assert_number(n);
        assert_int_equal(stats.udp_failed, 0);
    }
}

/* The kernel may have no memory for it; POLLOUT alone would bring us back for ever. */
static void who_cannot_be_told_to_receive_again_is_told_later(void **state)
{
    struct loop_io *io = loop.ios[1];

    (void)state;
    SCRIPT(sendmmsg_script, -EAGAIN);
    SCRIPT(loop_set_script, PASS, -ENOMEM, -ENOMEM);
    ask_number(1);
    TURN_UNTIL(&loop, io->events == POLLOUT);
    turn(2);
    assert_int_equal(io->events, POLLOUT);
    assert_number(1);
    turn(1);
    assert_true(script_done(&loop_set_script));
    assert_int_equal(io->events, POLLIN);
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
        assert_int_equal(loop.ios[1]->events, 0);
        pass_time(&loop, 100 * MS);
        assert_int_equal(loop.ios[1]->events, POLLIN);
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

/* At a time when one looks what further datagrams tell, whenever that is. */
static void look(void)
{
    for (unsigned i = 0; i < 3; i++) {
        pass_time(&loop, 500 * MS);
        ask_number(i);
        assert_number(i);
    }
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
    assert_int_equal(loop.timers->due, 0);
    pass_time(&loop, 100 * MS);
    script_clear(&recvmmsg_script);
    turn(10);
    ask_number(3);
    close_endpoint();
    assert_int_equal(recvmmsg_script.calls, 0);
}

static void what_the_kernel_drops_is_counted(void **state)
{
    unsigned dropped = 0;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        dropped += overflow();
        look();
        assert_int_equal(stats.udp_dropped, dropped);
    }
}

static void what_was_dropped_from_an_inherited_socket_before_is_not_counted(void **state)
{
    unsigned dropped;

    (void)state;
    overflow();
    udp_free(udp);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, true, 1);
    assert_non_null(udp);
    look();
    assert_int_equal(stats.udp_dropped, 0);
    dropped = overflow();
    look();
    assert_int_equal(stats.udp_dropped, dropped);
}

static void what_an_inherited_socket_drops_is_counted_by_one_worker(void **state)
{
    (void)state;
    udp_free(udp);
    udp = udp_new(&loop, &stats, &access_list, &params, endpoint, false, 2);
    assert_non_null(udp);
    for (unsigned i = 0; i < 2; i++) {
        overflow();
        look();
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

/* Looking for company costs more than finding none is worth. */
static void who_is_alone_for_long_is_taken_one_by_one_until_there_are_more(void **state)
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

static void ending_can_first_answer_what_has_arrived(void **state)
{
    (void)state;
    ask_numbers(100);
    udp_free(udp);
    udp = NULL;
    assert_int_equal(stats.udp_echoes, 100);
    for (unsigned i = 0; i < 100; i++)
        assert_number(i);
}

static void what_is_retired_is_answered_and_nothing_comes_after_it(void **state)
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

static void ending_sends_what_was_waiting_for_room(void **state)
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

static void ending_does_not_wait_for_a_full_socket(void **state)
{
    (void)state;
    script_always(&sendmmsg_script, -EAGAIN);
    ask_numbers(3);
    udp_free(udp);
    udp = NULL;
    assert_in_range(sendmmsg_script.calls, 1, 10);
}

static void params_may_change_between_turns(void **state)
{
    struct addr addr = local_address(client);

    (void)state;
    ask_number(1);
    assert_number(1);
    loopguard_refuse_port(&params.loopguard, addr_port(&addr));
    udp_params_changed(udp);
    ask_number(2);
    TURN_UNTIL(&loop, stats.udp_refused_port == 1);
    set_up_params(state);
    udp_params_changed(udp);
    ask_number(3);
    assert_number(3);
}

static void send_octet(uint8_t octet)
{
    assert_int_equal(sendto(client, &octet, 1, 0, &server.sa, server.len), 1);
}

static void give_budget(unsigned rate, unsigned burst)
{
    params.ratelimit = ratelimit_new(&(struct ratelimit_params){
        .rate = rate, .burst = burst, .v4_length = 32, .v6_length = 64, .size = 1024});
    assert_non_null(params.ratelimit);
}

static void beyond_its_budget_a_source_is_refused(void **state)
{
    (void)state;
    give_budget(10, 5);
    for (uint8_t i = 0; i < 100; i++)
        send_octet(i);
    TURN_UNTIL(&loop, stats.udp_received == 100);
    assert_int_equal(stats.udp_echoes, 5 + stats.udp_leaked);
    assert_int_equal(stats.udp_over_budget, 95 - stats.udp_leaked);
    ratelimit_free(params.ratelimit);
}

static void each_segment_is_charged(void **state)
{
    unsigned char data[60], back[2];
    unsigned answered = 0, highest = 0;

    (void)state;
    give_budget(10, 5);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i / 2);
    for (unsigned i = 1; i <= 10; i++) {
        ask_in_segments(data, sizeof data, 2);
        TURN_UNTIL(&loop, stats.udp_received == i * 30);
        for (int last = -1; answered < stats.udp_echoes; answered++) {
            read_all(client, back, sizeof back);
            assert_int_equal(back[0], back[1]);
            assert_true(answered < 5 ? back[0] == answered : back[0] > last);
            last = back[0];
            highest = back[0] > highest ? back[0] : highest;
        }
    }
    assert_in_range(stats.udp_leaked, 1, 50);
    /* More than one message has leaks. */
    assert_in_range(highest, 7, 29);
    assert_int_equal(stats.udp_echoes, 5 + stats.udp_leaked);
    assert_int_equal(stats.udp_over_budget, 295 - stats.udp_leaked);
    assert_false(readable(client, 0));
    ratelimit_free(params.ratelimit);
}

static void what_keeps_coming_back_is_refused_now_and_then(void **state)
{
    (void)state;
    give_budget(100000, 10000);
    for (uint64_t i = 1; i < 3000; i++) {
        clock_at += MS;
        send_octet(7);
        TURN_UNTIL(&loop, stats.udp_received == i);
    }
    assert_in_range(stats.udp_looped, 3, 100);
    assert_int_equal(stats.udp_over_budget, 0);
    ratelimit_free(params.ratelimit);
}

static void hops_are_looked_at_now_and_then(void **state)
{
    int hops = 168;

    (void)state;
    assert_int_equal(setsockopt(client, SOL_IP, IP_TTL, &hops, sizeof hops), 0);
    for (unsigned i = 0; i < 3; i++) {
        send_octet(1);
        TURN_UNTIL(&loop, stats.udp_looped == 2 * i + 1);
        pass_time(&loop, 20 * MS);
        send_octet(2);
        TURN_UNTIL(&loop, stats.udp_looped == 2 * i + 2);
        send_octet(3);
        TURN_UNTIL(&loop, stats.udp_echoes == i + 1);
        pass_time(&loop, 400 * MS);
    }
}

static void replies_are_told_by_their_hops(void **state)
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

static void what_fails_at_the_start_is_reported(void **state)
{
    static const struct {
        struct script *script;
        int error;
    } cases[] = {{&calloc_script, ENOMEM},
                 {&mmap_script, ENOMEM},
                 {&loop_add_script, ENOSPC},
                 {&loop_add_script, ENOMEM}};
    int fd = bound_socket(SOCK_DGRAM, "127.0.0.1");

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        SCRIPT(*cases[i].script, -cases[i].error);
        errno = 0;
        assert_null(udp_new(&loop, &stats, &access_list, &params, fd, true, 0));
        assert_int_equal(errno, cases[i].error);
        assert_true(fcntl(fd, F_GETFD) >= 0);
    }
    close(fd);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(datagrams_of_every_size_come_back_whole),
        TEST(ipv6_datagrams_come_back_up_to_the_largest),
        TEST(replies_come_from_the_address_that_was_asked),
        TEST(a_dual_stack_socket_answers_ipv4_from_the_address_asked),
        TEST(the_tos_of_the_request_is_the_replys),
        TEST(a_broadcast_is_answered_only_if_asked_for),
        TEST(a_broadcast_is_passed_over_by_all_but_one),
        TEST(a_broadcast_to_an_inherited_socket_concerns_whichever_worker_receives_it),
        TEST(refused_datagrams_are_counted_and_the_others_answered),
        TEST(one_turn_takes_a_bounded_number),
        TEST(segments_come_back_as_many_and_as_long),
        TEST(segments_take_one_call_each_way),
        TEST(equal_datagrams_go_back_in_one_message),
        TEST(equal_datagrams_of_several_clients_go_back_each_to_its_own),
        TEST(who_comes_again_among_others_is_answered),
        TEST(segments_that_cannot_leave_together_leave_one_by_one),
        TEST(a_segment_that_fails_costs_no_other),
        TEST(a_batch_sent_in_pieces_is_sent_whole),
        TEST(a_reply_that_cannot_be_sent_costs_no_other),
        TEST(when_all_replies_fail_all_are_counted),
        TEST(an_interrupted_send_is_repeated),
        TEST(a_full_socket_keeps_the_rest_and_waits_to_be_writable),
        TEST(who_cannot_be_told_to_receive_again_is_told_later),
        TEST(nothing_to_receive_is_no_failure),
        TEST(a_socket_that_cannot_receive_rests_and_tries_again),
        TEST(a_socket_that_somebody_shuts_down_is_left_alone),
        TEST(what_the_kernel_drops_is_counted),
        TEST(what_was_dropped_from_an_inherited_socket_before_is_not_counted),
        TEST(what_an_inherited_socket_drops_is_counted_by_one_worker),
        TEST(the_number_of_drops_may_wrap_and_lag),
        TEST(who_is_alone_for_long_is_taken_one_by_one_until_there_are_more),
        TEST(ending_can_first_answer_what_has_arrived),
        TEST(what_is_retired_is_answered_and_nothing_comes_after_it),
        TEST(ending_sends_what_was_waiting_for_room),
        TEST(ending_does_not_wait_for_a_full_socket),
        TEST(params_may_change_between_turns),
        TEST(beyond_its_budget_a_source_is_refused),
        TEST(each_segment_is_charged),
        TEST(what_keeps_coming_back_is_refused_now_and_then),
        TEST(hops_are_looked_at_now_and_then),
        TEST(replies_are_told_by_their_hops),
        TEST(what_fails_at_the_start_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
