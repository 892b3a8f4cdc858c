/* SPDX-License-Identifier: ISC */
#include "daemon/endpoints.h"

#include <stdio.h>

#include "unit/unit.h"

WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP_FAILING(int, fchown, -1, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))

/* Only IPv6 fails. */
WRAP(int, bind, int fd, const struct sockaddr *addr, socklen_t len)
{
    return addr->sa_family == AF_INET6 && script_fails(&bind_script) ? -1
                                                                     : __real_bind(fd, addr, len);
}

WRAP(int, socket, int family, int type, int protocol)
{
    return family == AF_INET6 && script_fails(&socket_script)
               ? -1
               : __real_socket(family, type, protocol);
}

/* ---- configurations ---- */

#define MOST 8

struct fixture {
    struct conf conf;
    struct addr tcp[MOST];
    struct addr udp[MOST];
    struct endpoints current;
    struct endpoints inherited;
    struct endpoints next;
    struct endpoints retired;
    unsigned descriptors; /* open before the test */
};

static int set_up(void **state)
{
    struct fixture *f = __real_calloc(1, sizeof *f);

    assert_non_null(f);
    script_clear(&calloc_script);
    script_clear(&realloc_script);
    script_clear(&bind_script);
    script_clear(&socket_script);
    script_clear(&fchown_script);
    logbook_open(LEVEL_INFO);
    f->conf.tcp.enabled = f->conf.udp.enabled = true;
    f->conf.tcp.backlog = 77;
    f->conf.tcp.listen.addr = f->tcp;
    f->conf.udp.listen.addr = f->udp;
    f->conf.tcp.listen.line = 12;
    f->conf.udp.listen.line = 34;
    f->descriptors = open_descriptors();
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    endpoints_close(&f->current, false);
    endpoints_close(&f->inherited, true);
    assert_int_equal(f->current.count, 0);
    assert_int_equal(open_descriptors(), f->descriptors);
    free(f);
    return 0;
}

/* Port 0 asks the kernel for one; a plan compares what was asked for. */
static void want(struct conf_listen *listen, const char *host, uint16_t port)
{
    assert_in_range(listen->count, 0, MOST - 1);
    listen->addr[listen->count++] = address(host, port);
}

static int plan(struct fixture *f, size_t workers)
{
    return endpoints_plan(&f->next, &f->current, &f->inherited, &f->conf, "FILE", workers);
}

static void commit(struct fixture *f)
{
    endpoints_commit(&f->current, &f->next, &f->retired, (int)f->conf.tcp.backlog);
}

static void apply(struct fixture *f, size_t workers)
{
    assert_int_equal(plan(f, workers), 0);
    commit(f);
    endpoints_close(&f->retired, false);
    assert_int_equal(f->next.count, 0);
    assert_null(f->next.list);
}

static int option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof value;

    assert_int_equal(getsockopt(fd, SOL_SOCKET, name, &value, &len), 0);
    return value;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* A port that was free a moment ago, for both protocols. */
static uint16_t free_port(void)
{
    for (;;) {
        int tcp = bound_socket(SOCK_STREAM, "127.0.0.1");
        struct addr addr = local_address(tcp);
        struct addr any = address("0.0.0.0", addr_port(&addr));
        int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        bool free = bind(udp, &any.sa, any.len) == 0;

        close(tcp);
        close(udp);
        if (free)
            return addr_port(&addr);
    }
}

/* Two sockets at neighbouring descriptors, as a service manager hands them over. */
static int hand_over(void)
{
    int tcp = bound_socket(SOCK_STREAM, "127.0.0.1");
    int udp = bound_socket(SOCK_DGRAM, "127.0.0.1");
    int first = 300;

    assert_int_equal(listen(tcp, 16), 0);
    assert_int_equal(dup2(tcp, first), first);
    assert_int_equal(dup2(udp, first + 1), first + 1);
    close(tcp);
    close(udp);
    return first;
}

/* ---- from one set to the next ---- */

static void a_first_plan_opens_a_socket_for_each_address_and_worker(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    want(&f->conf.tcp.listen, "127.0.0.2", 0);
    want(&f->conf.udp.listen, "127.0.0.1", 0);
    assert_int_equal(plan(f, 3), 0);
    assert_int_equal(f->next.count, 3);
    assert_int_equal(open_descriptors(), f->descriptors + 9);
    for (size_t i = 0; i < 3; i++) {
        const struct endpoint *e = f->next.list[i];

        assert_int_equal(e->type, i < 2 ? SOCK_STREAM : SOCK_DGRAM);
        assert_true(addr_equal(&e->addr, i < 2 ? &f->tcp[i] : &f->udp[0]));
        assert_true(e->fresh);
        assert_false(e->inherited);
        assert_int_equal(e->count, 3);
        for (size_t worker = 0; worker < 3; worker++) {
            assert_int_equal(option(endpoint_fd(e, worker), SO_TYPE), e->type);
            assert_int_equal(option(endpoint_fd(e, worker), SO_ACCEPTCONN), i < 2);
        }
        assert_int_not_equal(endpoint_fd(e, 0), endpoint_fd(e, 1));
    }
    commit(f);
    assert_int_equal(f->retired.count, 0);
    endpoints_close(&f->retired, false);
    assert_int_equal(f->current.count, 3);
    assert_false(f->current.list[0]->fresh);
    assert_int_equal(logbook.count, 0);
}

static void an_address_that_both_plans_have_keeps_its_socket(void **state)
{
    struct fixture *f = *state;
    struct endpoint *kept[2];
    int fd;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    want(&f->conf.udp.listen, "127.0.0.1", 0);
    apply(f, 1);
    kept[0] = f->current.list[0];
    kept[1] = f->current.list[1];
    fd = endpoint_fd(kept[0], 0);
    apply(f, 1);
    assert_int_equal(f->current.count, 2);
    assert_ptr_equal(f->current.list[0], kept[0]);
    assert_ptr_equal(f->current.list[1], kept[1]);
    assert_int_equal(endpoint_fd(f->current.list[0], 0), fd);
    assert_int_equal(open_descriptors(), f->descriptors + 2);
}

static void an_address_that_only_the_old_plan_has_is_retired(void **state)
{
    struct fixture *f = *state;
    struct endpoint *kept;
    int gone;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    want(&f->conf.tcp.listen, "127.0.0.2", 0);
    apply(f, 1);
    gone = endpoint_fd(f->current.list[0], 0);
    kept = f->current.list[1];
    f->conf.tcp.listen.count = 0;
    want(&f->conf.tcp.listen, "127.0.0.2", 0);
    want(&f->conf.tcp.listen, "127.0.0.3", 0);
    assert_int_equal(plan(f, 1), 0);
    assert_true(is_open(gone));
    assert_true(endpoints_has(&f->next, kept));
    assert_false(endpoints_has(&f->next, f->current.list[0]));
    assert_true(endpoints_has(&f->current, f->current.list[0]));
    assert_false(kept->fresh);
    assert_true(f->next.list[1]->fresh);
    commit(f);
    assert_int_equal(f->retired.count, 1);
    assert_int_equal(endpoint_fd(f->retired.list[0], 0), gone);
    assert_true(is_open(gone));
    assert_int_equal(f->current.count, 2);
    assert_true(is_open(endpoint_fd(kept, 0)));
    endpoints_close(&f->retired, false);
    assert_false(is_open(gone));
    assert_int_equal(open_descriptors(), f->descriptors + 2);
}

static void abandoning_a_plan_closes_its_fresh_sockets_only(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    apply(f, 2);
    want(&f->conf.tcp.listen, "127.0.0.2", 0);
    want(&f->conf.udp.listen, "127.0.0.2", 0);
    assert_int_equal(plan(f, 2), 0);
    assert_int_equal(open_descriptors(), f->descriptors + 6);
    endpoints_abandon(&f->current, &f->next);
    assert_int_equal(f->next.count, 0);
    assert_int_equal(open_descriptors(), f->descriptors + 2);
    assert_true(is_open(endpoint_fd(f->current.list[0], 1)));
}

static void after_a_failed_plan_no_address_is_shared(void **state)
{
    struct fixture *f = *state;
    uint16_t port = free_port();
    int taken = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct addr addr = local_address(taken);

    want(&f->conf.tcp.listen, "127.0.0.1", port);
    while (plan(f, 1) < 0)
        addr_set_port(&f->tcp[0], port = free_port());
    commit(f);
    endpoints_close(&f->retired, false);
    f->conf.tcp.listen.count = 0;
    want(&f->conf.tcp.listen, "0.0.0.0", port);
    want(&f->conf.udp.listen, "127.0.0.1", addr_port(&addr));
    assert_int_equal(plan(f, 1), -1);
    assert_int_equal(option(endpoint_fd(f->current.list[0], 0), SO_REUSEPORT), 0);
    close(taken);
    assert_int_equal(open_descriptors(), f->descriptors + 1);
}

/* ---- failures ---- */

static void each_reason_why_an_address_cannot_be_bound_comes_with_advice(void **state)
{
    static const struct {
        int error;
        const char *advice;
    } cases[] = {{EACCES, "below 1024 needs root"},
                 {EADDRINUSE, "another program has it"},
                 {EADDRNOTAVAIL, "no interface of this host"},
                 {EAFNOSUPPORT, "no such address family"},
                 {ENOMEM, ""}};
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "::1", 0);
    f->conf.tcp.listen.line = 0;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char expected[128];

        logbook_open(LEVEL_INFO);
        SCRIPT(socket_script, -cases[i].error);
        assert_int_equal(plan(f, 1), -1);
        assert_int_equal(errno, cases[i].error);
        snprintf(expected, sizeof expected, "cannot listen on tcp [::1]:0: %s",
                 strerror(cases[i].error));
        assert_int_equal(logged(LEVEL_ERROR, expected), 1);
        assert_int_equal(logged(LEVEL_ERROR, cases[i].advice), 1);
        assert_int_equal(logbook.count, 1);
    }
}

static void a_host_without_ipv6_serves_the_default_ipv4_addresses(void **state)
{
    struct fixture *f = *state;

    f->conf.tcp.listen.is_default = true;
    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    want(&f->conf.tcp.listen, "::", 0);
    SCRIPT(socket_script, -EAFNOSUPPORT);
    apply(f, 1);
    assert_int_equal(f->current.count, 1);
    assert_int_equal(logged(LEVEL_NOTICE, "not listening on tcp [::]:0: this host has no IPv6"), 1);
    if (have_address("::")) {
        SCRIPT(bind_script, -EADDRNOTAVAIL);
        apply(f, 1);
        assert_int_equal(f->current.count, 1);
    }
    assert_int_equal(logged(LEVEL_ERROR, ""), 0);
}

static void a_default_ipv6_address_that_fails_for_another_reason_is_an_error(void **state)
{
    static const int errors[] = {EADDRINUSE, EACCES, EMFILE};
    struct fixture *f = *state;

    f->conf.tcp.listen.is_default = true;
    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    want(&f->conf.tcp.listen, "::", 0);
    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(socket_script, -errors[i]);
        assert_int_equal(plan(f, 1), -1);
        assert_int_equal(errno, errors[i]);
    }
}

static void an_ipv6_address_in_the_configuration_is_an_error_without_ipv6(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.udp.listen, "127.0.0.1", 0);
    want(&f->conf.udp.listen, "::", 0);
    SCRIPT(socket_script, -EAFNOSUPPORT);
    assert_int_equal(plan(f, 1), -1);
    assert_int_equal(errno, EAFNOSUPPORT);
    assert_int_equal(open_descriptors(), f->descriptors);
}

/* ---- inherited sockets ---- */

static void closing_spares_inherited_sockets_unless_asked(void **state)
{
    struct fixture *f = *state;
    int first = hand_over();

    assert_int_equal(endpoints_adopt(&f->inherited, first, 2), 0);
    apply(f, 1);
    endpoints_close(&f->current, false);
    assert_true(is_open(first));
    assert_true(is_open(first + 1));
    endpoints_close(&f->inherited, true);
    assert_false(is_open(first));
    assert_false(is_open(first + 1));
}

static void adopting_without_memory_is_an_error(void **state)
{
    struct script *scripts[] = {&calloc_script, &realloc_script};
    struct fixture *f = *state;
    int first = hand_over();

    for (size_t i = 0; i < COUNT(scripts); i++) {
        SCRIPT(*scripts[i], -ENOMEM);
        assert_int_equal(endpoints_adopt(&f->inherited, first, 2), -1);
        assert_int_equal(errno, ENOMEM);
        assert_int_equal(logged(LEVEL_ERROR, "no memory for a"), i + 1);
        assert_int_equal(f->inherited.count, 0);
    }
    close(first);
    close(first + 1);
}

/* ---- the rest ---- */

static void an_endpoint_prints_with_its_protocol(void **state)
{
    struct endpoint tcp = {.type = SOCK_STREAM, .addr = address("192.0.2.1", 7)};
    struct endpoint udp = {.type = SOCK_DGRAM, .addr = address("2001:db8::1", 7007)};
    char text[ENDPOINT_STRLEN];

    (void)state;
    assert_ptr_equal(endpoint_print(&tcp, text), text);
    assert_string_equal(text, "tcp 192.0.2.1:7");
    assert_string_equal(endpoint_print(&udp, text), "udp [2001:db8::1]:7007");
}

static void every_socket_but_inherited_ones_is_given_to_the_user(void **state)
{
    struct fixture *f = *state;
    int first = hand_over();

    assert_int_equal(endpoints_adopt(&f->inherited, first, 1), 0);
    close(first + 1);
    want(&f->conf.udp.listen, "127.0.0.1", 0);
    want(&f->conf.udp.listen, "127.0.0.2", 0);
    apply(f, 3);
    SCRIPT(fchown_script, PASS);
    assert_int_equal(endpoints_chown(&f->current, getuid(), getgid()), 0);
    assert_int_equal(fchown_script.calls, 6);
    for (unsigned n = 0; n < 6; n++) {
        script_fail_after(&fchown_script, n, EPERM);
        assert_int_equal(endpoints_chown(&f->current, getuid(), getgid()), -1);
        assert_int_equal(errno, EPERM);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_first_plan_opens_a_socket_for_each_address_and_worker),
        TEST(an_address_that_both_plans_have_keeps_its_socket),
        TEST(an_address_that_only_the_old_plan_has_is_retired),
        TEST(abandoning_a_plan_closes_its_fresh_sockets_only),
        TEST(after_a_failed_plan_no_address_is_shared),
        TEST(each_reason_why_an_address_cannot_be_bound_comes_with_advice),
        TEST(a_host_without_ipv6_serves_the_default_ipv4_addresses),
        TEST(a_default_ipv6_address_that_fails_for_another_reason_is_an_error),
        TEST(an_ipv6_address_in_the_configuration_is_an_error_without_ipv6),
        TEST(closing_spares_inherited_sockets_unless_asked),
        TEST(adopting_without_memory_is_an_error),
        TEST(an_endpoint_prints_with_its_protocol),
        TEST(every_socket_but_inherited_ones_is_given_to_the_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
