/* SPDX-License-Identifier: ISC */
#include "probe/link_connect.h"
#include "probe/link_tcp.h"
#include "probe/link_udp.h"
#include "unit/probe_unit.h"

WRAP_FAILING(int, socket, -1, (int domain, int type, int protocol), (domain, type, protocol))
WRAP_FAILING(int, bind, -1, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))
WRAP_FAILING(int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t len),
             (fd, level, name, value, len))

static int set_up(void **state)
{
    struct probe *probe = test_calloc(1, sizeof *probe);

    probe->settings = patient;
    script_clear(&socket_script);
    script_clear(&bind_script);
    script_clear(&setsockopt_script);
    *state = probe;
    return 0;
}

static int tear_down(void **state)
{
    test_free(*state);
    return 0;
}

static int option_of(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static uint16_t port_of(int fd)
{
    struct addr own = local_address(fd);

    return addr_port(&own);
}

static void it_does_not_block_and_is_not_inherited(void **state)
{
    int fd = probe_socket(*state, AF_INET, SOCK_STREAM, 0);

    assert_true(fd >= 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(bind_script.calls, 0);
    assert_int_equal(setsockopt_script.calls, 0);
    close(fd);
}

static void a_datagram_socket_has_a_port_from_the_beginning(void **state)
{
    int fd = probe_socket(*state, AF_INET, SOCK_DGRAM, 0);

    assert_true(fd >= 0);
    assert_int_not_equal(port_of(fd), 0);
    close(fd);
    if (!have_address("::1"))
        skip_because("no ::1 here");
    fd = probe_socket(*state, AF_INET6, SOCK_DGRAM, 0);
    assert_int_not_equal(port_of(fd), 0);
    close(fd);
}

/* The first of two ports that are free now; somebody else may be faster. */
static uint16_t two_ports(int type)
{
    for (unsigned i = 0; i < 100; i++) {
        int first = bound_socket(type, "127.0.0.1");
        uint16_t port = port_of(first);
        struct addr next = address("127.0.0.1", (uint16_t)(port + 1));
        int second = __real_socket(AF_INET, type, 0);
        bool both = port < 65535 && __real_bind(second, &next.sa, next.len) == 0;

        close(first);
        close(second);
        if (both)
            return port;
    }
    fail_msg("no two ports are free");
    return 0;
}

static void the_source_port_goes_up_with_the_link(void **state)
{
    static const int types[] = {SOCK_DGRAM, SOCK_STREAM};
    struct probe *probe = *state;

    for (unsigned i = 0; i < COUNT(types); i++) {
        int fds[2];

        probe->settings.socket.port = two_ports(types[i]);
        for (unsigned index = 0; index < 2; index++) {
            fds[index] = probe_socket(probe, AF_INET, types[i], index);
            assert_true(fds[index] >= 0);
            assert_int_equal(port_of(fds[index]), probe->settings.socket.port + index);
        }
        if (types[i] == SOCK_STREAM) {
            assert_int_equal(option_of(fds[0], SOL_SOCKET, SO_REUSEADDR), 1);
            assert_int_equal(option_of(fds[0], SOL_IP, IP_BIND_ADDRESS_NO_PORT), 0);
        }
        close(fds[0]);
        close(fds[1]);
    }
}

static void the_source_address_may_be_chosen(void **state)
{
    struct probe *probe = *state;
    struct addr own;
    int fd;

    /* A port in it does not count. */
    probe->settings.socket.source = address("127.0.0.2", 7);
    fd = probe_socket(probe, AF_INET, SOCK_DGRAM, 0);
    assert_true(fd >= 0);
    own = local_address(fd);
    assert_int_equal(own.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK + 1));
    assert_int_not_equal(addr_port(&own), 7);
    close(fd);
    fd = probe_socket(probe, AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    own = local_address(fd);
    assert_int_equal(own.in.sin_addr.s_addr, htonl(INADDR_LOOPBACK + 1));
    assert_int_equal(option_of(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT), 1);
    close(fd);
}

static void the_device_may_be_chosen(void **state)
{
    struct probe *probe = *state;
    char name[IF_NAMESIZE] = "";
    socklen_t len = sizeof name;
    int fd;

    strcpy(probe->settings.socket.device, "lo");
    fd = probe_socket(probe, AF_INET, SOCK_DGRAM, 0);
    if (fd < 0 && errno == EPERM)
        skip_because("this user may not choose a device");
    assert_true(fd >= 0);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, name, &len), 0);
    assert_string_equal(name, "lo");
    close(fd);
}

static void the_fields_of_the_header_may_be_chosen(void **state)
{
    struct probe *probe = *state;
    int fd;

    probe->settings.socket.tos = 0xb8;
    probe->settings.socket.ttl = 3;
    probe->settings.socket.pmtu = IP_PMTUDISC_DO;
    fd = probe_socket(probe, AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(option_of(fd, SOL_IP, IP_TOS), 0xb8);
    assert_int_equal(option_of(fd, SOL_IP, IP_TTL), 3);
    assert_int_equal(option_of(fd, SOL_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DO);
    close(fd);
    if (!have_address("::1"))
        skip_because("no ::1 here");
    fd = probe_socket(probe, AF_INET6, SOCK_DGRAM, 0);
    assert_int_equal(option_of(fd, SOL_IPV6, IPV6_TCLASS), 0xb8);
    assert_int_equal(option_of(fd, SOL_IPV6, IPV6_UNICAST_HOPS), 3);
    assert_int_equal(option_of(fd, SOL_IPV6, IPV6_MTU_DISCOVER), IP_PMTUDISC_DO);
    close(fd);
}

static void assert_none(const struct probe *probe, int family, int type, int error)
{
    unsigned before = open_descriptors();

    errno = 0;
    assert_int_equal(probe_socket(probe, family, type, 0), -1);
    assert_int_equal(errno, error);
    assert_int_equal(open_descriptors(), before);
}

static void a_source_of_the_other_family_is_of_no_use(void **state)
{
    struct probe *probe = *state;

    probe->settings.socket.source = address("::1", 0);
    assert_none(probe, AF_INET, SOCK_DGRAM, EAFNOSUPPORT);
    assert_none(probe, AF_INET, SOCK_STREAM, EAFNOSUPPORT);
}

static void each_step_may_fail(void **state)
{
    struct probe *probe = *state;

    probe->settings.socket.tos = 1;
    probe->settings.socket.ttl = 1;
    probe->settings.socket.pmtu = 1;
    strcpy(probe->settings.socket.device, "lo");
    probe->settings.socket.source = address("127.0.0.1", 0);
    SCRIPT(socket_script, -EMFILE);
    assert_none(probe, AF_INET, SOCK_STREAM, EMFILE);
    SCRIPT(bind_script, -EACCES);
    assert_none(probe, AF_INET, SOCK_STREAM, EACCES);
    for (unsigned i = 0; i < 4; i++) {
        script_fail_after(&setsockopt_script, i, EINVAL);
        assert_none(probe, AF_INET, SOCK_STREAM, EINVAL);
        assert_true(script_done(&setsockopt_script));
    }
}

static void what_nobody_asked_for_may_be_refused(void **state)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    struct probe *probe = *state;

    probe->settings.socket.source = address("127.0.0.1", 0);
    script_always(&setsockopt_script, -ENOPROTOOPT);
    for (size_t i = 0; i < COUNT(types); i++) {
        int fd = probe_socket(probe, AF_INET, types[i], 0);

        assert_true(fd >= 0);
        close(fd);
    }
    script_clear(&setsockopt_script);
}

static void sizes_are_what_the_protocols_carry(void **state)
{
    (void)state;
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_INET), 65507);
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_INET6), 65527);
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_UNSPEC), 65527);
    assert_int_equal(probe_max_size(&probe_tcp_ops, AF_INET), 16777216);
    assert_int_equal(probe_max_size(&probe_connect_ops, AF_INET6), 16777216);
    assert_int_equal(probe_min_size(&probe_udp_ops), 0);
    assert_int_equal(probe_min_size(&probe_tcp_ops), 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_does_not_block_and_is_not_inherited),
        TEST(a_datagram_socket_has_a_port_from_the_beginning),
        TEST(the_source_port_goes_up_with_the_link),
        TEST(the_source_address_may_be_chosen),
        TEST(the_device_may_be_chosen),
        TEST(the_fields_of_the_header_may_be_chosen),
        TEST(a_source_of_the_other_family_is_of_no_use),
        TEST(each_step_may_fail),
        TEST(what_nobody_asked_for_may_be_refused),
        TEST(sizes_are_what_the_protocols_carry),
    };

    return cmocka_run_group_tests_name("engine", tests, NULL, NULL);
}
