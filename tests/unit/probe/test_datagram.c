/* SPDX-License-Identifier: ISC */
#include "probe/datagram.h"

#include <linux/net_tstamp.h>

#include "unit/unit.h"

WRAP_FAILING(int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t len),
             (fd, level, name, value, len))
WRAP_FAILING(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP_FAILING(int, getpeername, -1, (int fd, struct sockaddr *sa, socklen_t *len), (fd, sa, len))

static uint8_t octets[DATAGRAM_ROOM];
static struct probe plain;

static int set_up(void **state)
{
    (void)state;
    plain.settings = probe_defaults;
    script_clear(&setsockopt_script);
    script_clear(&socket_script);
    script_clear(&getpeername_script);
    return 0;
}

static void sizes_depend_on_the_family(void **state)
{
    struct addr v4 = address("192.0.2.1", 7);
    struct addr v6 = address("2001:db8::1", 7);

    (void)state;
    assert_int_equal(datagram_max(&v4) + datagram_headers(&v4), 65535);
    /* The length of an IPv6 packet does not count its own header. */
    assert_int_equal(datagram_max(&v6) + datagram_headers(&v6), 65535 + 40);
}

static void an_unspecified_address_becomes_the_one_that_answers(void **state)
{
    static const char *const texts[][2] = {{"0.0.0.0", "127.0.0.1"}, {"::", "::1"}};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct addr peer = address(texts[i][0], 7);
        struct addr known = address(texts[i][1], 7);

        if (!have_address(texts[i][1]))
            continue;
        assert_int_equal(datagram_route(&plain, &peer, 0), 0);
        assert_true(addr_equal(&peer, &known));
    }
}

static void a_failure_leaves_nothing_open(void **state)
{
    struct addr peer = address("127.0.0.1", 7);
    unsigned descriptors = open_descriptors();

    (void)state;
    SCRIPT(socket_script, -ENOBUFS);
    assert_int_equal(datagram_route(&plain, &peer, 0), -1);
    assert_int_equal(errno, ENOBUFS);
    SCRIPT(getpeername_script, -ENOBUFS);
    assert_int_equal(datagram_route(&plain, &peer, 0), -1);
    assert_int_equal(errno, ENOBUFS);
    SCRIPT(socket_script, -ENOBUFS);
    assert_int_equal(datagram_open(&plain, &peer, 0), -1);
    assert_int_equal(errno, ENOBUFS);
    assert_int_equal(open_descriptors(), descriptors);
}

/* IP_RECVERR only tells sooner that nobody answers. */
static void a_socket_without_an_error_queue_is_good_enough(void **state)
{
    struct addr peer = address("127.0.0.1", 7);
    int fd;

    (void)state;
    set_up(NULL);
    /* After the one that lets datagrams be fragmented. */
    SCRIPT(setsockopt_script, PASS, -ENOPROTOOPT);
    fd = datagram_open(&plain, &peer, 0);
    assert_true(fd >= 0);
    assert_true(script_done(&setsockopt_script));
    close(fd);
}

static void a_refusal_is_queued_with_what_it_is_about(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1"};

    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct datagram_error error;
        struct addr peer;
        int fd;

        if (!have_address(hosts[i]))
            continue;
        fd = bound_socket(SOCK_DGRAM, hosts[i]);
        peer = local_address(fd);
        close(fd);
        fd = datagram_open(&plain, &peer, 0);
        assert_true(fd >= 0);
        assert_false(datagram_take_error(fd, &error, octets, sizeof octets));
        assert_int_equal(sendto(fd, "hello", 5, 0, &peer.sa, peer.len), 5);
        WAIT_UNTIL(datagram_take_error(fd, &error, octets, sizeof octets));
        assert_int_equal(error.error, ECONNREFUSED);
        assert_false(error.local);
        assert_int_equal(error.mtu, 0);
        assert_int_equal(error.from.sa.sa_family, peer.sa.sa_family);
        addr_set_port(&error.from, addr_port(&peer));
        assert_true(addr_equal(&error.from, &peer));
        assert_int_equal(error.len, 5);
        assert_memory_equal(octets, "hello", 5);
        close(fd);
    }
}

static void this_host_tells_its_own_limit(void **state)
{
    struct addr peer = address("127.0.0.1", 7);
    struct datagram_error error;
    int fd = datagram_open(&plain, &peer, 0);
    int probe = IP_PMTUDISC_PROBE;
    int large = 1 << 20;

    (void)state;
    assert_true(fd >= 0);
    __real_setsockopt(fd, SOL_IP, IP_MTU_DISCOVER, &probe, sizeof probe);
    __real_setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &large, sizeof large);
    assert_int_equal(sendto(fd, octets, DATAGRAM_MAX_V4 + 2, 0, &peer.sa, peer.len), -1);
    assert_int_equal(errno, EMSGSIZE);
    if (!datagram_take_error(fd, &error, octets, sizeof octets)) {
        close(fd);
        skip_because("this kernel does not queue it");
    }
    assert_int_equal(error.error, EMSGSIZE);
    assert_true(error.local);
    assert_int_equal(error.from.len, 0);
    assert_true(error.mtu > 0);
    close(fd);
}

static void what_else_is_queued_is_no_error(void **state)
{
    int server = bound_socket(SOCK_DGRAM, "127.0.0.1");
    int fd = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct addr peer = local_address(server);
    struct datagram_error error;
    int stamps = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;

    (void)state;
    assert_int_equal(__real_setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps), 0);
    assert_int_equal(sendto(fd, "hello", 5, 0, &peer.sa, peer.len), 5);
    WAIT_UNTIL(datagram_take_error(fd, &error, octets, sizeof octets));
    assert_true(error.local);
    assert_int_equal(error.from.len, 0);
    close(fd);
    close(server);
}

static void datagrams_are_received_with_their_source(void **state)
{
    int fd = bound_socket(SOCK_DGRAM, "127.0.0.1");
    int other = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct addr own = local_address(fd);
    struct addr source = local_address(other);
    struct addr from;
    size_t fragment = 1;

    (void)state;
    assert_int_equal(datagram_receive(fd, octets, &from, &fragment), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(sendto(other, "", 0, 0, &own.sa, own.len), 0);
    assert_true(readable(fd, PATIENCE_MS));
    assert_int_equal(datagram_receive(fd, octets, &from, &fragment), 0);
    assert_int_equal(fragment, 0);
    assert_true(addr_equal(&from, &source));
    close(fd);
    close(other);
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sizes_depend_on_the_family),
        TEST(an_unspecified_address_becomes_the_one_that_answers),
        TEST(a_failure_leaves_nothing_open),
        TEST(a_socket_without_an_error_queue_is_good_enough),
        TEST(a_refusal_is_queued_with_what_it_is_about),
        TEST(this_host_tells_its_own_limit),
        TEST(what_else_is_queued_is_no_error),
        TEST(datagrams_are_received_with_their_source),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
