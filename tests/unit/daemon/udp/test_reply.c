/* SPDX-License-Identifier: ISC */
#include "daemon/udp/reply.h"

#include <netinet/udp.h>

#include "unit/unit.h"

struct message {
    struct msghdr header;
    struct addr peer;
    struct udp_control control;
};

static struct acl access_list;
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

static struct udp_reply reply;
static bool is_primary;

static enum verdict classify(const struct message *request)
{
    memset(&reply, 0xff, sizeof reply);
    udp_classify(&access_list, &params, is_primary, &request->header, &reply);
    return reply.verdict;
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
    struct addr expected = address(host, 0);
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
    access_list = (struct acl){0};
    loopguard_init(&params.loopguard, none);
    params.reflect_tos = true;
    params.answer_broadcast = false;
    params.ratelimit = NULL;
    is_primary = true;
    return 0;
}

static void the_reply_goes_to_the_source_from_the_address_asked(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    assert_ptr_equal(reply.header.msg_name, &m.peer);
    assert_int_equal(reply.header.msg_namelen, sizeof m.peer.in);
    assert_from_v4("198.51.100.7", 0);
    assert_int_equal(control_messages(), 1);
    request_from(&m, "2001:db8::1", 5000);
    asked_v6(&m, "2001:db8::7", 3);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
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
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    assert_from_v4("169.254.7.7", 3);
    request_from(&m, "fe80::1", 5000);
    m.peer.in6.sin6_scope_id = 3;
    asked_v6(&m, "fe80::7", 3);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    assert_from_v6("fe80::7", 3);
    assert_int_equal(((struct addr *)reply.header.msg_name)->in6.sin6_scope_id, 3);
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
    assert_int_equal(classify(&m), VERDICT_ANSWER);
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
    assert_int_equal(classify(&m), VERDICT_REFUSE_GROUP);
}

static void broadcasts_and_multicasts_are_answered_only_with_answer_broadcast(void **state)
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
            assert_int_equal(classify(&m), answer ? VERDICT_ANSWER : VERDICT_REFUSE_GROUP);
            if (answer)
                assert_from_v4("192.0.2.7", 0);
        }
        for (size_t i = 0; i < COUNT(groups6); i++) {
            request_from(&m, "2001:db8::1", 5000);
            asked_v6(&m, groups6[i], 3);
            assert_int_equal(classify(&m), answer ? VERDICT_ANSWER : VERDICT_REFUSE_GROUP);
            if (answer)
                assert_from_v6("::", 0);
        }
    }
}

/* The kernel delivers a broadcast to every socket of the address. */
static void only_the_primary_socket_answers_or_counts_broadcasts_and_multicasts(void **state)
{
    struct message m;

    (void)state;
    is_primary = false;
    for (int answer = 0; answer <= 1; answer++) {
        params.answer_broadcast = answer;
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.255", "192.0.2.7", 3);
        assert_int_equal(classify(&m), VERDICT_IGNORE);
        request_from(&m, "2001:db8::1", 5000);
        asked_v6(&m, "ff02::1", 3);
        assert_int_equal(classify(&m), VERDICT_IGNORE);
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        assert_int_equal(classify(&m), VERDICT_ANSWER);
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
            assert_int_equal(classify(&m), VERDICT_ANSWER);
            data = family == 4 ? replied(SOL_IP, IP_TOS, sizeof value)
                               : replied(SOL_IPV6, IPV6_TCLASS, sizeof value);
            if (data)
                memcpy(&value, data, sizeof value);
            assert_int_equal(value, tos & 0xfc);
            params.reflect_tos = false;
            assert_int_equal(classify(&m), VERDICT_ANSWER);
            assert_int_equal(control_messages(), 1);
        }
}

static void refused_source_ports_are_refused_for_both_families(void **state)
{
    static const char *const hosts[] = {"192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"};
    struct message m;

    (void)state;
    loopguard_refuse_port(&params.loopguard, 19);
    for (size_t i = 0; i < COUNT(hosts); i++)
        for (uint16_t port = 0; port <= 20; port++) {
            bool refused = port == 0 || port == 19;

            request_from(&m, hosts[i], port);
            asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
            assert_int_equal(classify(&m), refused ? VERDICT_REFUSE_PORT : VERDICT_ANSWER);
        }
}

static void a_source_that_no_reply_can_go_to_is_refused(void **state)
{
    static const char *const refused[] = {
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "::",
        "ff00::",
        "ff02::1",
        "ff0e::1",
        "::ffff:0.0.0.0",
        "::ffff:224.0.0.1",
        "::ffff:255.255.255.255",
    };
    static const char *const answered[] = {
        "0.0.0.1", "127.0.0.1", "223.255.255.255", "240.0.0.1",       "255.255.255.254",
        "::1",     "fe80::1",   "fec0::1",         "::ffff:10.0.0.1", "::ffff:127.0.0.1"};
    struct message m;

    (void)state;
    for (size_t i = 0; i < COUNT(refused) + COUNT(answered); i++) {
        bool refuse = i < COUNT(refused);

        request_from(&m, refuse ? refused[i] : answered[i - COUNT(refused)], 5000);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        assert_int_equal(classify(&m), refuse ? VERDICT_REFUSE_OTHER : VERDICT_ANSWER);
    }
}

static void a_request_that_is_cut_short_is_refused(void **state)
{
    static const int flags[] = {MSG_TRUNC, MSG_CTRUNC, MSG_TRUNC | MSG_CTRUNC};
    struct message m;

    (void)state;
    for (size_t i = 0; i < COUNT(flags); i++) {
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
        m.header.msg_flags = flags[i];
        assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
    }
    m.header.msg_flags = MSG_EOR;
    assert_int_equal(classify(&m), VERDICT_ANSWER);
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
        assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
    }
    /* As long as it says, but not within the buffer. */
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
    m.header.msg_controllen = CMSG_LEN(sizeof(struct in_pktinfo)) - 1;
    assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
}

static void without_source_or_destination_there_is_no_reply(void **state)
{
    struct message m;

    (void)state;
    request_from(&m, "192.0.2.1", 5000);
    assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
    tos_v4(&m, 0xb8);
    assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
    asked_v4(&m, "192.0.2.7", "192.0.2.7", 3);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    m.header.msg_namelen = 0;
    assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
    m.header.msg_namelen = sizeof(sa_family_t);
    assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
}

static void replies_of_another_echod_are_known_by_their_ttl(void **state)
{
    static const int ttl[] = {1, 64, 128, 129, 168, 169, 255};
    struct message m;

    (void)state;
    for (size_t i = 0; i < COUNT(ttl); i++) {
        enum verdict expected = ttl[i] > 128 && ttl[i] <= 168 ? VERDICT_LOOP : VERDICT_ANSWER;

        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
        add(&m, SOL_IP, IP_TTL, &ttl[i], sizeof ttl[i]);
        assert_int_equal(classify(&m), expected);
        request_from(&m, "2001:db8::1", 5000);
        asked_v6(&m, "2001:db8::7", 3);
        add(&m, SOL_IPV6, IPV6_HOPLIMIT, &ttl[i], sizeof ttl[i]);
        assert_int_equal(classify(&m), expected);
        addr_set_port(&m.peer, 0);
        assert_int_equal(classify(&m), VERDICT_REFUSE_PORT);
    }
}

static void a_source_that_access_denies_is_denied_after_its_port_is_checked(void **state)
{
    struct message m;

    (void)state;
    access_list.only_listed = true;
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(classify(&m), VERDICT_DENY);
    request_from(&m, "192.0.2.1", 0);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(classify(&m), VERDICT_REFUSE_PORT);
}

static void a_message_of_several_datagrams_tells_their_length(void **state)
{
    static const int lengths[] = {1, 64, 1472, 65535};
    struct message m;

    (void)state;
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    assert_int_equal(reply.segment, UDP_ONE_DATAGRAM);
    for (size_t i = 0; i < COUNT(lengths); i++) {
        request_from(&m, "192.0.2.1", 5000);
        add(&m, SOL_UDP, UDP_GRO, &lengths[i], sizeof lengths[i]);
        asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
        assert_int_equal(classify(&m), VERDICT_ANSWER);
        assert_int_equal(reply.segment, lengths[i]);
        assert_int_equal(control_messages(), 1);
        m.header.msg_flags = MSG_TRUNC;
        assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
        assert_int_equal(reply.segment, lengths[i]);
    }
}

static void a_length_that_makes_no_sense_is_none(void **state)
{
    static const int lengths[] = {0, -1, INT_MIN};
    struct message m;

    (void)state;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        request_from(&m, "192.0.2.1", 5000);
        asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
        add(&m, SOL_UDP, UDP_GRO, &lengths[i], sizeof lengths[i]);
        assert_int_equal(classify(&m), VERDICT_ANSWER);
        assert_int_equal(reply.segment, UDP_ONE_DATAGRAM);
    }
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    add(&m, SOL_UDP, UDP_GRO, "\1\1", 2);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    assert_int_equal(reply.segment, UDP_ONE_DATAGRAM);
}

static void the_count_of_drops_is_read_whatever_the_verdict(void **state)
{
    static const uint32_t counts[] = {1, 0x80000000, UINT32_MAX};
    struct message m;

    (void)state;
    request_from(&m, "192.0.2.1", 0);
    assert_int_equal(classify(&m), VERDICT_REFUSE_OTHER);
    assert_int_equal(reply.dropped, 0);
    for (size_t i = 0; i < COUNT(counts); i++) {
        request_from(&m, "192.0.2.1", 0);
        asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
        add(&m, SOL_SOCKET, SO_RXQ_OVFL, &counts[i], sizeof counts[i]);
        assert_int_equal(classify(&m), VERDICT_REFUSE_PORT);
        assert_true(reply.dropped == counts[i]);
    }
    request_from(&m, "192.0.2.1", 5000);
    asked_v4(&m, "198.51.100.7", "198.51.100.7", 3);
    add(&m, SOL_SOCKET, SO_RXQ_OVFL, "\1\1\1", 3);
    assert_int_equal(classify(&m), VERDICT_ANSWER);
    assert_int_equal(reply.dropped, 0);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up_params)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_reply_goes_to_the_source_from_the_address_asked),
        TEST(only_a_link_local_reply_is_bound_to_the_interface),
        TEST(a_mapped_request_is_answered_as_ipv4),
        TEST(a_mapped_request_of_a_group_is_refused),
        TEST(broadcasts_and_multicasts_are_answered_only_with_answer_broadcast),
        TEST(only_the_primary_socket_answers_or_counts_broadcasts_and_multicasts),
        TEST(the_dscp_comes_back_without_the_ecn_bits),
        TEST(refused_source_ports_are_refused_for_both_families),
        TEST(a_source_that_no_reply_can_go_to_is_refused),
        TEST(replies_of_another_echod_are_known_by_their_ttl),
        TEST(a_source_that_access_denies_is_denied_after_its_port_is_checked),
        TEST(a_request_that_is_cut_short_is_refused),
        TEST(a_control_message_that_is_too_short_is_none),
        TEST(without_source_or_destination_there_is_no_reply),
        TEST(a_message_of_several_datagrams_tells_their_length),
        TEST(a_length_that_makes_no_sense_is_none),
        TEST(the_count_of_drops_is_read_whatever_the_verdict),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
