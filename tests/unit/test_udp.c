/* SPDX-License-Identifier: ISC */
#include "udp.h"

#include <linux/sock_diag.h>
#include <sys/mman.h>

#include "clock.h"
#include "unit.h"

WRAP_FAILING(int, recvmmsg, -1,
             (int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *wait),
             (fd, messages, count, flags, wait))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(void *, mmap, MAP_FAILED, (void *at, size_t n, int prot, int flags, int fd, off_t off),
             (at, n, prot, flags, fd, off))
WRAP_FAILING(int, loop_add, -1,
             (struct loop * loop, struct loop_io *io, int fd, short events, loop_io_fn *fn),
             (loop, io, fd, events, fn))

/* A step is the most messages that the call sends. */
WRAP(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int step = script_next(&sendmmsg_script);

    if (step < 0) {
        errno = -step;
        return -1;
    }
    return __real_sendmmsg(fd, messages, count < (unsigned)step ? count : (unsigned)step, flags);
}

/* ---- one request's judgement ---- */

struct message {
    struct msghdr header;
    struct net_addr peer;
    union {
        struct cmsghdr align;
        unsigned char octets[UDP_CONTROL_SIZE];
    } control;
};

static struct udp_params params;

static void request_from(struct message *m, const char *host, uint16_t port)
{
    memset(m, 0, sizeof *m);
    m->peer = address(host, port);
    m->header.msg_name = &m->peer;
    m->header.msg_namelen = m->peer.len;
    m->header.msg_control = m->control.octets;
}

static void add(struct message *m, int level, int type, const void *data, size_t length)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)(m->control.octets + m->header.msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    m->header.msg_controllen += CMSG_SPACE(length);
}

static void asked_v4(struct message *m, const char *destination, const char *local, int interface)
{
    struct in_pktinfo info = {.ipi_ifindex = interface};

    info.ipi_addr = address(destination, 0).in.sin_addr;
    info.ipi_spec_dst = address(local, 0).in.sin_addr;
    add(m, SOL_IP, IP_PKTINFO, &info, sizeof info);
}

static void asked_v6(struct message *m, const char *destination, unsigned interface)
{
    struct in6_pktinfo info = {.ipi6_ifindex = interface};

    info.ipi6_addr = address(destination, 0).in6.sin6_addr;
    add(m, SOL_IPV6, IPV6_PKTINFO, &info, sizeof info);
}

static void tos_v4(struct message *m, uint8_t tos)
{
    add(m, SOL_IP, IP_TOS, &tos, sizeof tos);
}

static void tos_v6(struct message *m, int tos)
{
    add(m, SOL_IPV6, IPV6_TCLASS, &tos, sizeof tos);
}

static struct message reply;
static bool first; /* of the sockets that share the address */

static enum udp_verdict judge(const struct message *request)
{
    memset(&reply, 0xff, sizeof reply);
    memset(&reply.header, 0, sizeof reply.header);
    reply.header.msg_control = reply.control.octets;
    return udp_judge(&params, first, &request->header, &reply.header);
}

/* The reply's control message of that kind, or NULL. Fails if any reaches beyond the buffer. */
static const void *replied(int level, int type, size_t length)
{
    assert_in_range(reply.header.msg_controllen, 0, UDP_CONTROL_SIZE);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&reply.header); c; c = CMSG_NXTHDR(&reply.header, c))
        if (c->cmsg_level == level && c->cmsg_type == type) {
            assert_int_equal(c->cmsg_len, CMSG_LEN(length));
            return CMSG_DATA(c);
        }
    return NULL;
}

static unsigned control_messages(void)
{
    unsigned n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(&reply.header); c; c = CMSG_NXTHDR(&reply.header, c))
        n++;
    return n;
}

static void assert_from_v4(const char *host, int interface)
{
    struct in_pktinfo from;
    const void *data = replied(SOL_IP, IP_PKTINFO, sizeof from);

    assert_non_null(data);
    memcpy(&from, data, sizeof from);
    assert_int_equal(from.ipi_spec_dst.s_addr, address(host, 0).in.sin_addr.s_addr);
    assert_int_equal(from.ipi_ifindex, interface);
    assert_int_equal(from.ipi_addr.s_addr, 0);
}

static void assert_from_v6(const char *host, unsigned interface)
{
    struct in6_pktinfo from;
    struct net_addr expected = address(host, 0);
    const void *data = replied(SOL_IPV6, IPV6_PKTINFO, sizeof from);

    assert_non_null(data);
    memcpy(&from, data, sizeof from);
    assert_memory_equal(&from.ipi6_addr, &expected.in6.sin6_addr, sizeof from.ipi6_addr);
    assert_int_equal(from.ipi6_ifindex, interface);
}

static int set_up_params(void **state)
{
    static const uint8_t none[65536 / 8];

    (void)state;
    guard_init(&params.guard, none);
    params.reflect_tos = true;
    params.answer_broadcast = false;
    params.budget = NULL;
    first = true;
    return 0;
}

static void the_reply_goes_to_the_source_from_the_address_asked(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(judge(&m), UDP_ANSWER);
    assert_ptr_equal(reply.header.msg_name, &m.peer);
    assert_int_equal(reply.header.msg_namelen, sizeof m.peer.in);
    assert_from_v4("198.51.100.7", 0);
    assert_int_equal(control_messages(), 1);
    request_from(&m, "2001:db8::1", 5000);
    asked_v6(&m, "2001:db8::7", 3);
    assert_int_equal(judge(&m), UDP_ANSWER);
    assert_int_equal(reply.header.msg_namelen, sizeof m.peer.in6);
    assert_from_v6("2001:db8::7", 0);
    assert_int_equal(control_messages(), 1);
}

static void only_a_link_local_reply_is_bound_to_the_interface(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "169.254.1.1", 5000);
    asked_v4(&m, "169.254.7.7", "169.254.7.7", 3);
    assert_int_equal(judge(&m), UDP_ANSWER);
    assert_from_v4("169.254.7.7", 3);
    request_from(&m, "fe80::1", 5000);
    m.peer.in6.sin6_scope_id = 3;
    asked_v6(&m, "fe80::7", 3);
    assert_int_equal(judge(&m), UDP_ANSWER);
    assert_from_v6("fe80::7", 3);
    assert_int_equal(((struct net_addr *)reply.header.msg_name)->in6.sin6_scope_id, 3);
}

/* On a dual-stack socket the kernel may add an IPV6_PKTINFO for an IPv4 datagram. */
static void a_mapped_request_is_answered_as_ipv4(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "::ffff:192.0.2.1", 5000);
    asked_v6(&m, "::ffff:198.51.100.7", 3);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    tos_v4(&m, 0xb8);
    assert_int_equal(judge(&m), UDP_ANSWER);
    assert_from_v4("198.51.100.7", 0);
    assert_null(replied(SOL_IPV6, IPV6_PKTINFO, sizeof(struct in6_pktinfo)));
    assert_non_null(replied(SOL_IP, IP_TOS, sizeof(int)));
    assert_null(replied(SOL_IPV6, IPV6_TCLASS, sizeof(int)));
}

static void a_mapped_request_of_a_group_is_refused(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "::ffff:192.0.2.1", 5000);
    asked_v4(&m, "192.0.2.255", "192.0.2.7", 3);
    asked_v6(&m, "::ffff:192.0.2.255", 3);
    assert_int_equal(judge(&m), UDP_REFUSE_GROUP);
}

static void what_was_sent_to_a_group_is_answered_only_if_asked_for(void **state)
{
    static const char *const groups[] = {"192.0.2.255", "255.255.255.255", "224.0.0.1"};
    static const char *const groups6[] = {"ff02::1", "ff05::1", "ff0e::7"};
    struct message m;

    (void)state;
    for (int answer = 0; answer <= 1; answer++) {
        params.answer_broadcast = answer;
        for (size_t i = 0; i < COUNT(groups); i++) {
            request_from(&m, "192.0.2.1", 5000);
            asked_v4(&m, groups[i], "192.0.2.7", 3);
            assert_int_equal(judge(&m), answer ? UDP_ANSWER : UDP_REFUSE_GROUP);
            if (answer)
                assert_from_v4("192.0.2.7", 0);
        }
        for (size_t i = 0; i < COUNT(groups6); i++) {
            request_from(&m, "2001:db8::1", 5000);
            asked_v6(&m, groups6[i], 3);
            assert_int_equal(judge(&m), answer ? UDP_ANSWER : UDP_REFUSE_GROUP);
            if (answer)
                assert_from_v6("::", 0);
        }
    }
}

/* The kernel delivers what was sent to a group to every socket of the address. */
static void what_was_sent_to_a_group_concerns_one_socket_only(void **state)
{
    struct message m;

    (void)state;
    first = false;
    for (int answer = 0; answer <= 1; answer++) {
        params.answer_broadcast = answer;
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.255", "192.0.2.7", 3);
        assert_int_equal(judge(&m), UDP_PASS_OVER);
        request_from(&m, "2001:db8::1", 5000);
        asked_v6(&m, "ff02::1", 3);
        assert_int_equal(judge(&m), UDP_PASS_OVER);
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        assert_int_equal(judge(&m), UDP_ANSWER);
    }
}

static void the_dscp_comes_back_without_the_ecn_bits(void **state)
{
    struct message m;

    (void)state;
    for (int tos = 0; tos < 256; tos++)
        for (int family = 4; family <= 6; family += 2) {
            int value = 0;
            const void *data;

            request_from(&m, family == 4 ? "192.0.2.1" : "2001:db8::1", 5000);
            if (family == 4) {
                asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
                tos_v4(&m, (uint8_t)tos);
            } else {
                asked_v6(&m, "2001:db8::7", 3);
                tos_v6(&m, tos);
            }
            params.reflect_tos = true;
            assert_int_equal(judge(&m), UDP_ANSWER);
            data = family == 4 ? replied(SOL_IP, IP_TOS, sizeof value)
                               : replied(SOL_IPV6, IPV6_TCLASS, sizeof value);
            if (data)
                memcpy(&value, data, sizeof value);
            assert_int_equal(value, tos & 0xfc);
            params.reflect_tos = false;
            assert_int_equal(judge(&m), UDP_ANSWER);
            assert_int_equal(control_messages(), 1);
        }
}

static void sources_that_must_not_be_answered_are_told_apart(void **state)
{
    static const struct {
        const char *host;
        uint16_t port;
        enum udp_verdict verdict;
    } cases[] = {
        {"192.0.2.1", 0, UDP_REFUSE_PORT},
        {"192.0.2.1", 19, UDP_REFUSE_PORT},
        {"2001:db8::1", 19, UDP_REFUSE_PORT},
        {"::ffff:192.0.2.1", 19, UDP_REFUSE_PORT},
        {"192.0.2.1", 20, UDP_ANSWER},
        {"0.0.0.0", 5000, UDP_REFUSE_OTHER},
        {"255.255.255.255", 5000, UDP_REFUSE_OTHER},
        {"224.0.0.1", 5000, UDP_REFUSE_OTHER},
        {"ff02::1", 5000, UDP_REFUSE_OTHER},
        {"::", 5000, UDP_REFUSE_OTHER},
        {"::ffff:224.0.0.1", 5000, UDP_REFUSE_OTHER},
    };
    struct message m;

    (void)state;
    guard_refuse_port(&params.guard, 19);
    for (size_t i = 0; i < COUNT(cases); i++) {
        request_from(&m, cases[i].host, cases[i].port);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        assert_int_equal(judge(&m), cases[i].verdict);
    }
}

static void what_was_cut_short_is_refused(void **state)
{
    static const int flags[] = {MSG_TRUNC, MSG_CTRUNC, MSG_TRUNC | MSG_CTRUNC};
    struct message m;

    (void)state;
    for (size_t i = 0; i < COUNT(flags); i++) {
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        m.header.msg_flags = flags[i];
        assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
    }
    m.header.msg_flags = MSG_EOR;
    assert_int_equal(judge(&m), UDP_ANSWER);
}

static void a_control_message_that_is_too_short_is_none(void **state)
{
    static const size_t lengths[] = {0, CMSG_LEN(0), CMSG_LEN(sizeof(struct in_pktinfo)) - 1};
    struct message m;
    struct cmsghdr *c = (struct cmsghdr *)(void *)m.control.octets;

    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        c->cmsg_len = lengths[i];
        assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
    }
    /* As long as it says, but not within the buffer. */
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
    m.header.msg_controllen = CMSG_LEN(sizeof(struct in_pktinfo)) - 1;
    assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
}

static void without_source_or_destination_there_is_no_reply(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "192.0.2.1", 5000);
    assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
    tos_v4(&m, 0xb8);
    assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
    asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
    assert_int_equal(judge(&m), UDP_ANSWER);
    m.header.msg_namelen = 0;
    assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
    m.header.msg_namelen = sizeof(sa_family_t);
    assert_int_equal(judge(&m), UDP_REFUSE_OTHER);
}

static void replies_of_another_echod_are_told_by_their_hops(void **state)
{
    static const int hops[] = {1, 64, 128, 129, 168, 169, 255};
    struct message m;

    (void)state;
    for (size_t i = 0; i < COUNT(hops); i++) {
        enum udp_verdict expected = hops[i] > 128 && hops[i] <= 168 ? UDP_LOOP : UDP_ANSWER;

        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
        add(&m, SOL_IP, IP_TTL, &hops[i], sizeof hops[i]);
        assert_int_equal(judge(&m), expected);
        request_from(&m, "2001:db8::1", 5000);
        asked_v6(&m, "2001:db8::7", 3);
        add(&m, SOL_IPV6, IPV6_HOPLIMIT, &hops[i], sizeof hops[i]);
        assert_int_equal(judge(&m), expected);
    }
}

static void who_is_denied_is_told_apart(void **state)
{
    struct message m;

    (void)state;
    params.guard.access.only_listed = true;
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(judge(&m), UDP_DENY);
    request_from(&m, "192.0.2.1", 0);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(judge(&m), UDP_REFUSE_PORT);
}

/* ---- an endpoint ---- */

static struct loop loop;
static struct stats stats;
static struct udp *udp;
static int endpoint;
static int client;
static struct net_addr server;

static void open_endpoint(const char *host)
{
    struct net_addr addr = address(host, 0);

    assert_int_equal(net_open(SOCK_DGRAM, &addr, 0, false, 1, &endpoint), 0);
    server = local_address(endpoint);
    udp = udp_new(&loop, &stats, &params, endpoint, first);
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

static void ask_number(unsigned n)
{
    ask(&n, sizeof n);
}

/* Octets of kernel memory that wait in the endpoint's queue. */
static uint32_t queued(void)
{
    uint32_t info[SK_MEMINFO_VARS];
    socklen_t len = sizeof info;

    assert_int_equal(getsockopt(endpoint, SOL_SOCKET, SO_MEMINFO, info, &len), 0);
    return info[SK_MEMINFO_RMEM_ALLOC];
}

/* Send that many, and see to it that all have arrived before the endpoint takes its turn. */
static void ask_numbers(unsigned n)
{
    uint32_t before = queued();
    uint32_t each;

    ask_number(0);
    WAIT_UNTIL(queued() > before);
    each = queued() - before;
    for (unsigned i = 1; i < n; i++)
        ask_number(i);
    WAIT_UNTIL(queued() - before >= n * each);
}

static void assert_reply(const void *data, size_t length)
{
    static unsigned char back[65536];
    struct net_addr from = {.len = sizeof from.in6};
    ssize_t n;

    TURN_UNTIL(&loop, readable(client, 0));
    n = recvfrom(client, back, sizeof back, 0, &from.sa, &from.len);
    assert_int_equal(n, length);
    assert_memory_equal(back, data, length);
    assert_true(net_equal(&from, &server));
}

static void assert_number(unsigned n)
{
    assert_reply(&n, sizeof n);
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
    port = net_port(&server);
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
    assert_int_equal(net_adopt(endpoint, &type, &server), 0);
    port = net_port(&server);
    udp = udp_new(&loop, &stats, &params, endpoint, first);
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
        struct message m = {
            .header = {.msg_control = m.control.octets, .msg_controllen = sizeof m.control}};
        const struct cmsghdr *c;

        params.reflect_tos = reflect;
        ask("", 0);
        TURN_UNTIL(&loop, readable(client, 0));
        assert_int_equal(recvmsg(client, &m.header, 0), 0);
        c = CMSG_FIRSTHDR(&m.header);
        assert_non_null(c);
        assert_int_equal(c->cmsg_type, IP_TOS);
        assert_int_equal(*CMSG_DATA(c), reflect ? 0xb8 : 0);
    }
}

static void a_broadcast_is_answered_only_if_asked_for(void **state)
{
    struct net_addr one = address("127.0.0.1", 0);
    int on = 1;

    (void)state;
    close_endpoint();
    open_endpoint("0.0.0.0");
    net_set_port(&one, net_port(&server));
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
    server = address("127.255.255.255", net_port(&server));
    if (sendto(client, "x", 1, 0, &server.sa, server.len) != 1)
        skip_because("loopback has no broadcast address");
    TURN_UNTIL(&loop, stats.udp_received == 1);
    assert_int_equal(stats.udp_refused_group, 1);
    assert_int_equal(stats.udp_echoes, 0);
    params.answer_broadcast = true;
    ask("y", 1);
    server = one;
    assert_reply("y", 1);
}

static void a_broadcast_is_passed_over_by_all_but_one(void **state)
{
    uint16_t port;
    int on = 1;

    (void)state;
    close_endpoint();
    first = false;
    params.answer_broadcast = true;
    open_endpoint("0.0.0.0");
    port = net_port(&server);
    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_BROADCAST, &on, sizeof on), 0);
    server = address("127.255.255.255", port);
    if (sendto(client, "x", 1, 0, &server.sa, server.len) != 1)
        skip_because("loopback has no broadcast address");
    server = address("127.0.0.1", port);
    ask("y", 1);
    assert_reply("y", 1);
    assert_int_equal(stats.udp_received, 1);
    assert_int_equal(stats.udp_refused_group, 0);
}

static void refused_datagrams_are_counted_and_the_others_answered(void **state)
{
    int other = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct net_addr addr = local_address(other);

    (void)state;
    guard_refuse_port(&params.guard, net_port(&addr));
    for (unsigned i = 0; i < 10; i++) {
        ask_number(i);
        assert_int_equal(sendto(other, "no", 2, 0, &server.sa, server.len), 2);
    }
    for (unsigned i = 0; i < 10; i++)
        assert_number(i);
    TURN_UNTIL(&loop, stats.udp_received == 20);
    assert_int_equal(stats.udp_refused_port, 10);
    assert_int_equal(stats.udp_echoes, 10);
    assert_int_equal(stats.udp_octets, 10 * sizeof(unsigned));
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

/* ---- sending ---- */

static void a_batch_sent_in_pieces_is_sent_whole(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, 1, 2, 3, 1, PASS);
    ask_numbers(12);
    for (unsigned i = 0; i < 12; i++)
        assert_number(i);
    assert_int_equal(stats.udp_echoes, 12);
    assert_int_equal(stats.udp_octets, 12 * sizeof(unsigned));
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
    struct net_addr other;

    (void)state;
    close_endpoint();
    open_endpoint("0.0.0.0");
    other = address("127.0.0.2", net_port(&server));
    server = address("127.0.0.1", net_port(&server));
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
    struct net_addr addr = local_address(client);

    (void)state;
    ask_number(1);
    assert_number(1);
    guard_refuse_port(&params.guard, net_port(&addr));
    ask_number(2);
    TURN_UNTIL(&loop, stats.udp_refused_port == 1);
    set_up_params(state);
    ask_number(3);
    assert_number(3);
}

static void send_octet(uint8_t octet)
{
    assert_int_equal(sendto(client, &octet, 1, 0, &server.sa, server.len), 1);
}

static void give_budget(unsigned rate, unsigned burst)
{
    params.budget = budget_new(&(struct budget_params){
        .rate = rate, .burst = burst, .v4_length = 32, .v6_length = 64, .size = 1024});
    assert_non_null(params.budget);
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
    budget_free(params.budget);
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
    budget_free(params.budget);
}

static void hops_are_looked_at_now_and_then(void **state)
{
    int hops = 168;

    (void)state;
    assert_int_equal(setsockopt(client, SOL_IP, IP_TTL, &hops, sizeof hops), 0);
    for (unsigned i = 0; i < 3; i++) {
        send_octet(1);
        TURN_UNTIL(&loop, stats.udp_looped == i + 1);
        pass_time(&loop, 20 * MS);
        send_octet(2);
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
    assert_int_equal(hops, GUARD_HOPS);
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
        assert_null(udp_new(&loop, &stats, &params, fd, true));
        assert_int_equal(errno, cases[i].error);
        assert_true(fcntl(fd, F_GETFD) >= 0);
    }
    close(fd);
}

#define PURE(name) cmocka_unit_test_setup(name, set_up_params)
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PURE(the_reply_goes_to_the_source_from_the_address_asked),
        PURE(only_a_link_local_reply_is_bound_to_the_interface),
        PURE(a_mapped_request_is_answered_as_ipv4),
        PURE(a_mapped_request_of_a_group_is_refused),
        PURE(what_was_sent_to_a_group_is_answered_only_if_asked_for),
        PURE(what_was_sent_to_a_group_concerns_one_socket_only),
        PURE(the_dscp_comes_back_without_the_ecn_bits),
        PURE(sources_that_must_not_be_answered_are_told_apart),
        PURE(replies_of_another_echod_are_told_by_their_hops),
        PURE(who_is_denied_is_told_apart),
        PURE(what_was_cut_short_is_refused),
        PURE(a_control_message_that_is_too_short_is_none),
        PURE(without_source_or_destination_there_is_no_reply),
        TEST(datagrams_of_every_size_come_back_whole),
        TEST(ipv6_datagrams_come_back_up_to_the_largest),
        TEST(replies_come_from_the_address_that_was_asked),
        TEST(a_dual_stack_socket_answers_ipv4_from_the_address_asked),
        TEST(the_tos_of_the_request_is_the_replys),
        TEST(a_broadcast_is_answered_only_if_asked_for),
        TEST(a_broadcast_is_passed_over_by_all_but_one),
        TEST(refused_datagrams_are_counted_and_the_others_answered),
        TEST(one_turn_takes_a_bounded_number),
        TEST(a_batch_sent_in_pieces_is_sent_whole),
        TEST(a_reply_that_cannot_be_sent_costs_no_other),
        TEST(when_all_replies_fail_all_are_counted),
        TEST(an_interrupted_send_is_repeated),
        TEST(a_full_socket_keeps_the_rest_and_waits_to_be_writable),
        TEST(nothing_to_receive_is_no_failure),
        TEST(a_socket_that_cannot_receive_rests_and_tries_again),
        TEST(ending_can_first_answer_what_has_arrived),
        TEST(what_is_retired_is_answered_and_nothing_comes_after_it),
        TEST(ending_sends_what_was_waiting_for_room),
        TEST(ending_does_not_wait_for_a_full_socket),
        TEST(params_may_change_between_turns),
        TEST(beyond_its_budget_a_source_is_refused),
        TEST(what_keeps_coming_back_is_refused_now_and_then),
        TEST(hops_are_looked_at_now_and_then),
        TEST(replies_are_told_by_their_hops),
        TEST(what_fails_at_the_start_is_reported),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
