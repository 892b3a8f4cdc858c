/* SPDX-License-Identifier: ISC */
#include "common/addr.h"
#include "net/socket.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <sys/stat.h>

#include "unit/unit.h"

WRAP_FAILING(int, socket, -1, (int family, int type, int protocol), (family, type, protocol))
WRAP_FAILING(int, bind, -1, (int fd, const struct sockaddr *addr, socklen_t len), (fd, addr, len))
WRAP_FAILING(int, listen, -1, (int fd, int backlog), (fd, backlog))
/* The kernel that is simulated does not know this option. */
static int denied_level, denied_option;
static unsigned denials;

WRAP(int, setsockopt, int fd, int level, int option, const void *value, socklen_t len)
{
    if (level == denied_level && option == denied_option && denied_option != 0) {
        denials++;
        errno = ENOPROTOOPT;
        return -1;
    }
    return script_fails(&setsockopt_script) ? -1 : __real_setsockopt(fd, level, option, value, len);
}

WRAP_FAILING(int, getsockopt, -1, (int fd, int level, int option, void *value, socklen_t *len),
             (fd, level, option, value, len))
WRAP_FAILING(int, fchown, -1, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))

WRAP(int, fcntl, int fd, int command, ...)
{
    va_list args;
    int argument;

    va_start(args, command);
    argument = va_arg(args, int);
    va_end(args);
    return script_fails(&fcntl_script) ? -1 : __real_fcntl(fd, command, argument);
}

/* ---- opening ---- */

static int option(int fd, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

static int open_one(int type, const char *host)
{
    struct addr addr = address(host, 0);
    int fd = -1;

    assert_int_equal(socket_open(&(struct socket_wish){.type = type, .backlog = 16}, &addr, 1, &fd),
                     0);
    return fd;
}

static void assert_ready_stream(int fd)
{
    assert_int_equal(option(fd, SOL_SOCKET, SO_OOBINLINE), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_not_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
    /* The kernel doubles what was asked for, and would otherwise let a stalled client tie up far
     * more. */
    assert_in_range(option(fd, SOL_SOCKET, SO_SNDBUF), 2048, 2048 * 1024);
    assert_in_range(option(fd, SOL_SOCKET, SO_RCVBUF), 2048, 1024 * 1024);
}

static void assert_nonblocking_and_cloexec(int fd)
{
    assert_true(__real_fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(__real_fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

static void a_listener_is_ready_to_serve(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1", "::"};

    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++) {
        int fd;

        if (!have_address(hosts[i]))
            continue;
        fd = open_one(SOCK_STREAM, hosts[i]);
        assert_nonblocking_and_cloexec(fd);
        assert_int_equal(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 1);
        assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 1);
        assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 0);
        if (i > 0)
            assert_int_equal(option(fd, SOL_IPV6, IPV6_V6ONLY), 1);
        assert_ready_stream(fd);
        close(fd);
    }
}

static void an_accepted_socket_inherits_every_option(void **state)
{
    int listener = open_one(SOCK_STREAM, "127.0.0.1");
    struct addr addr = local_address(listener);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int server;

    (void)state;
    assert_int_equal(connect(client, &addr.sa, addr.len), 0);
    assert_true(readable(listener, PATIENCE_MS));
    server = accept(listener, NULL, NULL);
    assert_true(server >= 0);
    assert_ready_stream(server);
    close(server);
    close(client);
    close(listener);
}

static void a_datagram_socket_is_ready_to_serve(void **state)
{
    int fd = open_one(SOCK_DGRAM, "127.0.0.1");

    (void)state;
    assert_nonblocking_and_cloexec(fd);
    assert_int_equal(option(fd, SOL_IP, IP_PKTINFO), 1);
    assert_int_equal(option(fd, SOL_IP, IP_RECVTOS), 1);
    assert_int_equal(option(fd, SOL_IP, IP_MTU_DISCOVER), IP_PMTUDISC_DONT);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 0);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_true(option(fd, SOL_SOCKET, SO_RCVBUF) > 65536);
    close(fd);
    if (!have_address("::1"))
        return;
    fd = open_one(SOCK_DGRAM, "::1");
    assert_int_equal(option(fd, SOL_IPV6, IPV6_RECVPKTINFO), 1);
    assert_int_equal(option(fd, SOL_IPV6, IPV6_RECVTCLASS), 1);
    assert_int_equal(option(fd, SOL_IPV6, IPV6_MTU_DISCOVER), IPV6_PMTUDISC_DONT);
    close(fd);
    fd = open_one(SOCK_DGRAM, "::");
    assert_int_equal(option(fd, SOL_IPV6, IPV6_V6ONLY), 1);
    close(fd);
}

static void a_socket_that_shares_lets_another_overlap_it(void **state)
{
    int fd = open_one(SOCK_DGRAM, "127.0.0.1");
    struct addr addr = local_address(fd);
    int other;

    (void)state;
    assert_int_equal(socket_share(fd, true), 0);
    assert_int_equal(
        socket_open(&(struct socket_wish){.type = SOCK_DGRAM, .share = true}, &addr, 1, &other), 0);
    close(other);
    assert_int_equal(socket_share(fd, false), 0);
    assert_int_equal(
        socket_open(&(struct socket_wish){.type = SOCK_DGRAM, .share = true}, &addr, 1, &other),
        -1);
    assert_int_equal(errno, EADDRINUSE);
    close(fd);
    assert_int_equal(socket_share(-1, true), -1);
    assert_int_equal(errno, EBADF);
}

/* Fail each call of that kind in turn until there is none left. */
static void fail_each(struct script *script, int type, const char *host, const int *errors,
                      size_t count)
{
    struct addr addr = address(host, 0);
    unsigned before = open_descriptors();
    unsigned n = 0;

    for (;; n++) {
        int fds[2] = {-1, -1};
        int error = errors[n % count];
        int result;

        script_fail_after(script, n, error);
        errno = 0;
        result = socket_open(&(struct socket_wish){.type = type, .backlog = 16}, &addr, 2, fds);
        if (result == 0) {
            assert_false(script_done(script));
            close(fds[0]);
            close(fds[1]);
        } else {
            assert_int_equal(errno, error);
        }
        assert_int_equal(open_descriptors(), before);
        if (!script_done(script))
            break;
    }
    script_clear(script);
    assert_int_equal(n, 2);
}

static void opening_leaves_no_socket_behind_when_a_call_fails(void **state)
{
    static const int socket_errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM, EACCES, EAFNOSUPPORT};
    static const int bind_errors[] = {EADDRINUSE, EACCES, EADDRNOTAVAIL, ENOMEM};
    static const int listen_errors[] = {EADDRINUSE, EOPNOTSUPP};
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};

    (void)state;
    for (size_t i = 0; i < COUNT(types); i++) {
        fail_each(&socket_script, types[i], "127.0.0.1", socket_errors, COUNT(socket_errors));
        fail_each(&bind_script, types[i], "127.0.0.1", bind_errors, COUNT(bind_errors));
    }
    fail_each(&listen_script, SOCK_STREAM, "127.0.0.1", listen_errors, COUNT(listen_errors));
}

/* The result of opening two sockets, with that option denied. */
static int open_without(int type, const char *host, int level, int name)
{
    struct addr addr = address(host, 0);
    int fds[2] = {-1, -1};
    unsigned before = open_descriptors();
    int result, error;

    denied_level = level;
    denied_option = name;
    denials = 0;
    result = socket_open(&(struct socket_wish){.type = type, .backlog = 16}, &addr, 2, fds);
    error = errno;
    denied_option = 0;
    for (size_t i = 0; i < 2 && result == 0; i++)
        close(fds[i]);
    assert_int_equal(open_descriptors(), before);
    assert_true(denials > 0);
    errno = error;
    return result;
}

struct denial {
    int type;
    const char *host;
    int level;
    int option;
};

/* clang-format off */
static const struct denial improvements[] = {
    {SOCK_STREAM, "127.0.0.1", SOL_SOCKET, SO_OOBINLINE},
    {SOCK_STREAM, "127.0.0.1", SOL_SOCKET, SO_KEEPALIVE},
    {SOCK_STREAM, "127.0.0.1", SOL_SOCKET, SO_REUSEADDR},
    {SOCK_STREAM, "127.0.0.1", SOL_SOCKET, SO_RCVBUFFORCE},
    {SOCK_STREAM, "127.0.0.1", SOL_SOCKET, SO_SNDBUFFORCE},
    {SOCK_STREAM, "127.0.0.1", IPPROTO_TCP, TCP_NODELAY},
    {SOCK_STREAM, "127.0.0.1", IPPROTO_TCP, TCP_KEEPIDLE},
    {SOCK_STREAM, "127.0.0.1", IPPROTO_TCP, TCP_KEEPINTVL},
    {SOCK_STREAM, "127.0.0.1", IPPROTO_TCP, TCP_USER_TIMEOUT},
    {SOCK_DGRAM, "127.0.0.1", SOL_SOCKET, SO_RXQ_OVFL},
    {SOCK_DGRAM, "127.0.0.1", SOL_IP, IP_RECVTOS},
    {SOCK_DGRAM, "127.0.0.1", SOL_IP, IP_RECVTTL},
    {SOCK_DGRAM, "127.0.0.1", SOL_IP, IP_TTL},
    {SOCK_DGRAM, "127.0.0.1", SOL_IP, IP_MTU_DISCOVER},
    {SOCK_DGRAM, "127.0.0.1", SOL_UDP, UDP_GRO},
    {SOCK_DGRAM, "::1", SOL_IP, IP_PKTINFO},
    {SOCK_DGRAM, "::1", SOL_IPV6, IPV6_RECVTCLASS},
    {SOCK_DGRAM, "::1", SOL_IPV6, IPV6_RECVHOPLIMIT},
    {SOCK_DGRAM, "::1", SOL_IPV6, IPV6_UNICAST_HOPS},
    {SOCK_DGRAM, "::1", SOL_IPV6, IPV6_MTU_DISCOVER},
};
static const struct denial guarantees[] = {
    {SOCK_STREAM, "127.0.0.1", SOL_SOCKET, SO_REUSEPORT},
    {SOCK_DGRAM, "0.0.0.0", SOL_IP, IP_PKTINFO},
    {SOCK_DGRAM, "::", SOL_IPV6, IPV6_RECVPKTINFO},
    {SOCK_DGRAM, "::", SOL_IPV6, IPV6_V6ONLY},
    {SOCK_STREAM, "::", SOL_IPV6, IPV6_V6ONLY},
};
/* clang-format on */

static void an_option_that_only_improves_may_be_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(improvements); i++) {
        const struct denial *d = &improvements[i];

        if (have_address(d->host))
            assert_int_equal(open_without(d->type, d->host, d->level, d->option), 0);
    }
}

static void an_option_that_a_promise_needs_must_not_be_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(guarantees); i++) {
        const struct denial *d = &guarantees[i];

        if (!have_address(d->host))
            continue;
        assert_int_equal(open_without(d->type, d->host, d->level, d->option), -1);
        assert_int_equal(errno, ENOPROTOOPT);
    }
}

static void a_socket_whose_buffers_cannot_be_set_is_served(void **state)
{
    struct addr addr = address("127.0.0.1", 0);
    int fd;

    (void)state;
    SCRIPT(setsockopt_script, -EPERM, -ENOMEM, -EPERM, -ENOMEM);
    assert_int_equal(socket_open(&(struct socket_wish){.type = SOCK_DGRAM}, &addr, 1, &fd), 0);
    script_clear(&setsockopt_script);
    close(fd);
}

static void a_socket_can_be_given_to_a_user(void **state)
{
    int fd = open_one(SOCK_STREAM, "127.0.0.1");
    struct stat st;

    (void)state;
    SCRIPT(fchown_script, -EPERM);
    assert_int_equal(socket_chown(fd, 1, 2), -1);
    assert_int_equal(errno, EPERM);
    if (geteuid() == 0) {
        assert_int_equal(socket_chown(fd, 1, 2), 0);
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_uid, 1);
        assert_int_equal(st.st_gid, 2);
    }
    close(fd);
}

/* ---- retiring ---- */

static void a_retired_datagram_socket_keeps_its_queue_and_gets_no_more(void **state)
{
    static const char *const hosts[][2] = {
        {"127.0.0.1", "127.0.0.1"}, {"0.0.0.0", "127.0.0.1"}, {"::1", "::1"}, {"::", "::1"}};

    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct addr server = address(hosts[i][1], 0);
        struct addr bound;
        int client;
        int fd;
        int successor;
        char octet = 0;

        if (!have_address(hosts[i][1]))
            continue;
        fd = open_one(SOCK_DGRAM, hosts[i][0]);
        client = bound_socket(SOCK_DGRAM, hosts[i][1]);
        bound = local_address(fd);
        addr_set_port(&server, addr_port(&bound));
        assert_int_equal(sendto(client, "1", 1, 0, &server.sa, server.len), 1);
        assert_true(readable(fd, PATIENCE_MS));
        assert_int_equal(socket_share(fd, true), 0);
        assert_int_equal(socket_open(&(struct socket_wish){.type = SOCK_DGRAM, .share = true},
                                     &bound, 1, &successor),
                         0);
        socket_retire(SOCK_DGRAM, fd);
        assert_int_equal(sendto(client, "2", 1, 0, &server.sa, server.len), 1);
        assert_true(readable(successor, PATIENCE_MS));
        assert_int_equal(recv(fd, &octet, 1, 0), 1);
        assert_int_equal(octet, '1');
        assert_int_equal(recv(fd, &octet, 1, 0), -1);
        assert_int_equal(errno, EAGAIN);
        assert_int_equal(recv(successor, &octet, 1, 0), 1);
        assert_int_equal(octet, '2');
        close(successor);
        close(client);
        close(fd);
    }
}

static void a_retired_listener_keeps_its_clients_and_answers_no_new_ones(void **state)
{
    int listener = open_one(SOCK_STREAM, "127.0.0.1");
    struct addr addr = local_address(listener);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd connected = {.fd = late, .events = POLLOUT};
    int server;
    char octet;

    (void)state;
    assert_int_equal(connect(client, &addr.sa, addr.len), 0);
    assert_true(readable(listener, PATIENCE_MS));
    socket_retire(SOCK_STREAM, listener);
    assert_int_equal(connect(late, &addr.sa, addr.len), -1);
    assert_int_equal(errno, EINPROGRESS);
    /* Neither accepted nor refused: it sends its SYN again later. */
    assert_int_equal(poll(&connected, 1, 20), 0);
    server = accept(listener, NULL, NULL);
    assert_true(server >= 0);
    assert_int_equal(accept(listener, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(write(client, "x", 1), 1);
    assert_true(readable(server, PATIENCE_MS));
    assert_int_equal(read(server, &octet, 1), 1);
    close(server);
    close(client);
    close(late);
    close(listener);
}

/* A connection whose handshake ends after the listener was retired inherits its IP_MINTTL. */
static void a_connection_of_a_retired_listener_accepts_packets_of_any_ttl(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "::1"};

    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++) {
        int level = i == 0 ? SOL_IP : SOL_IPV6;
        int name = i == 0 ? IP_MINTTL : IPV6_MINHOPCOUNT;
        int fd;

        if (!have_address(hosts[i]))
            continue;
        fd = open_one(SOCK_STREAM, hosts[i]);
        socket_retire(SOCK_STREAM, fd);
        assert_true(option(fd, level, name) > 0);
        socket_set_accepted_options(fd);
        assert_int_equal(option(fd, level, name), 0);
        close(fd);
    }
}

/* As it is for a client that connected before the listener was handed over. */
static void an_accepted_socket_that_inherited_no_options_gets_them(void **state)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(option(fd, SOL_SOCKET, SO_OOBINLINE), 0);
    socket_set_accepted_options(fd);
    assert_ready_stream(fd);
    close(fd);
}

static void retiring_a_bad_descriptor_does_nothing(void **state)
{
    (void)state;
    socket_retire(SOCK_DGRAM, -1);
    socket_retire(SOCK_STREAM, -1);
    socket_set_accepted_options(-1);
}

/* ---- adopting ---- */

static void an_adopted_listener_gets_our_options(void **state)
{
    int fd = bound_socket(SOCK_STREAM, "127.0.0.1");
    struct addr expected = local_address(fd);
    struct addr addr;
    int type;

    (void)state;
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(__real_fcntl(fd, F_SETFD, 0), 0);
    assert_int_equal(socket_adopt(fd, &type, &addr), 0);
    assert_int_equal(type, SOCK_STREAM);
    assert_true(addr_equal(&addr, &expected));
    assert_int_equal(addr.len, sizeof addr.in);
    assert_nonblocking_and_cloexec(fd);
    assert_ready_stream(fd);
    close(fd);
}

static void an_adopted_datagram_socket_gets_our_options(void **state)
{
    struct addr addr;
    const int on = 1;
    int buffer;
    int type;
    int fd;

    (void)state;
    if (!have_address("::"))
        skip_because("no IPv6");
    /* Dual-stack, as systemd opens it. */
    fd = bound_socket(SOCK_DGRAM, "::");
    assert_return_code(__real_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), errno);
    buffer = option(fd, SOL_SOCKET, SO_RCVBUF);
    assert_int_equal(socket_adopt(fd, &type, &addr), 0);
    assert_int_equal(type, SOCK_DGRAM);
    assert_int_equal(addr.sa.sa_family, AF_INET6);
    assert_nonblocking_and_cloexec(fd);
    assert_int_equal(option(fd, SOL_IP, IP_PKTINFO), 1);
    assert_int_equal(option(fd, SOL_IP, IP_RECVTOS), 1);
    assert_int_equal(option(fd, SOL_IPV6, IPV6_RECVPKTINFO), 1);
    assert_int_equal(option(fd, SOL_IPV6, IPV6_RECVTCLASS), 1);
    assert_int_equal(option(fd, SOL_SOCKET, SO_REUSEADDR), 0);
    /* Its unit chose the size of the buffers. */
    assert_int_equal(option(fd, SOL_SOCKET, SO_RCVBUF), buffer);
    close(fd);
}

static void an_adopted_socket_keeps_its_interface(void **state)
{
    int fd = bound_socket(SOCK_DGRAM, "127.0.0.1");
    const int lo = (int)if_nametoindex("lo");
    struct addr addr;
    int type;

    (void)state;
    if (__real_setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &lo, sizeof lo) < 0)
        skip_because("needs Linux 5.7");
    assert_int_equal(socket_adopt(fd, &type, &addr), 0);
    assert_int_equal(addr_zone(&addr), lo);
    close(fd);
}

static int adopt_error(int fd)
{
    struct addr addr;
    int type;

    errno = 0;
    assert_int_equal(socket_adopt(fd, &type, &addr), -1);
    if (fd >= 0)
        close(fd);
    return errno;
}

static void a_descriptor_that_is_no_server_socket_is_not_adopted(void **state)
{
    int pipes[2];

    (void)state;
    assert_int_equal(adopt_error(-1), EBADF);
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(adopt_error(pipes[0]), ENOTSOCK);
    close(pipes[1]);
    assert_int_equal(adopt_error(bound_socket(SOCK_STREAM, "127.0.0.1")), EPROTOTYPE);
    assert_int_equal(adopt_error(socket(AF_INET, SOCK_DGRAM, 0)), EPROTOTYPE);
    assert_int_equal(adopt_error(socket(AF_UNIX, SOCK_DGRAM, 0)), EPROTOTYPE);
    assert_int_equal(adopt_error(socket(AF_UNIX, SOCK_STREAM, 0)), EPROTOTYPE);
}

static void adopting_reports_each_call_that_fails(void **state)
{
    struct script *scripts[] = {&getsockopt_script, &fcntl_script};
    int fd = bound_socket(SOCK_STREAM, "127.0.0.1");
    struct addr addr;
    int type;

    (void)state;
    assert_int_equal(listen(fd, 1), 0);
    for (size_t i = 0; i < COUNT(scripts); i++)
        for (unsigned n = 0;; n++) {
            script_fail_after(scripts[i], n, EIO);
            errno = 0;
            if (socket_adopt(fd, &type, &addr) < 0) {
                assert_int_equal(errno, EIO);
                continue;
            }
            if (!script_done(scripts[i]))
                break;
            /* A kernel may not know SO_BINDTOIFINDEX. */
            assert_ptr_equal(scripts[i], &getsockopt_script);
        }
    for (size_t i = 0; i < COUNT(scripts); i++)
        script_clear(scripts[i]);
    close(fd);
}

/* An MPTCP listener refuses some options of TCP. */
static void a_listener_that_refuses_every_option_is_adopted(void **state)
{
    int fd = bound_socket(SOCK_STREAM, "127.0.0.1");
    struct addr addr;
    int type;

    (void)state;
    assert_int_equal(listen(fd, 1), 0);
    script_always(&setsockopt_script, -EOPNOTSUPP);
    assert_int_equal(socket_adopt(fd, &type, &addr), 0);
    script_clear(&setsockopt_script);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listener_is_ready_to_serve),
        cmocka_unit_test(an_accepted_socket_inherits_every_option),
        cmocka_unit_test(a_datagram_socket_is_ready_to_serve),
        cmocka_unit_test(a_socket_that_shares_lets_another_overlap_it),
        cmocka_unit_test(opening_leaves_no_socket_behind_when_a_call_fails),
        cmocka_unit_test(an_option_that_only_improves_may_be_refused),
        cmocka_unit_test(an_option_that_a_promise_needs_must_not_be_refused),
        cmocka_unit_test(a_socket_whose_buffers_cannot_be_set_is_served),
        cmocka_unit_test(a_socket_can_be_given_to_a_user),
        cmocka_unit_test(a_retired_datagram_socket_keeps_its_queue_and_gets_no_more),
        cmocka_unit_test(a_retired_listener_keeps_its_clients_and_answers_no_new_ones),
        cmocka_unit_test(a_connection_of_a_retired_listener_accepts_packets_of_any_ttl),
        cmocka_unit_test(an_accepted_socket_that_inherited_no_options_gets_them),
        cmocka_unit_test(retiring_a_bad_descriptor_does_nothing),
        cmocka_unit_test(an_adopted_listener_gets_our_options),
        cmocka_unit_test(an_adopted_datagram_socket_gets_our_options),
        cmocka_unit_test(a_descriptor_that_is_no_server_socket_is_not_adopted),
        cmocka_unit_test(an_adopted_socket_keeps_its_interface),
        cmocka_unit_test(adopting_reports_each_call_that_fails),
        cmocka_unit_test(a_listener_that_refuses_every_option_is_adopted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
