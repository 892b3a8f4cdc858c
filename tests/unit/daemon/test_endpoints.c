/* SPDX-License-Identifier: ISC */
#include "daemon/endpoints.h"

#include <stdio.h>

#include "unit/unit.h"

WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP_FAILING(int, fchown, -1, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))

/* Where the script says so, IPv6 is what is missing: IPv4 always passes. */
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

/* The last backlog of each descriptor. */
static int backlogs[256];
int __real_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog);
int __wrap_listen(int fd, int backlog)
{
    if (fd < (int)COUNT(backlogs))
        backlogs[fd] = backlog;
    return __real_listen(fd, backlog);
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
    memset(backlogs, 0, sizeof backlogs);
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

static void a_plan_from_nothing_opens_what_is_asked_for(void **state)
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

static void what_is_still_wanted_is_kept(void **state)
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

static void what_is_no_longer_wanted_is_retired_and_the_rest_stays(void **state)
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

static void a_plan_given_up_closes_only_what_is_fresh(void **state)
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

static void a_disabled_protocol_is_not_served(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    want(&f->conf.udp.listen, "127.0.0.1", 0);
    apply(f, 1);
    f->conf.tcp.enabled = false;
    apply(f, 1);
    assert_int_equal(f->current.count, 1);
    assert_int_equal(f->current.list[0]->type, SOCK_DGRAM);
}

static void where_nothing_is_left_to_serve_nothing_changes(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    apply(f, 1);
    f->conf.tcp.enabled = f->conf.udp.enabled = false;
    assert_int_equal(plan(f, 1), -1);
    assert_int_equal(errno, EADDRNOTAVAIL);
    assert_int_equal(logged(LEVEL_ERROR, "FILE: there is no address"), 1);
    assert_int_equal(f->current.count, 1);
    assert_true(is_open(endpoint_fd(f->current.list[0], 0)));
}

static void a_backlog_takes_effect_on_listeners_that_stay(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    apply(f, 2);
    assert_int_equal(backlogs[endpoint_fd(f->current.list[0], 1)], 77);
    f->conf.tcp.backlog = 99;
    apply(f, 2);
    assert_int_equal(backlogs[endpoint_fd(f->current.list[0], 0)], 99);
    assert_int_equal(backlogs[endpoint_fd(f->current.list[0], 1)], 99);
}

/* ---- addresses that overlap ---- */

static void swap_overlapping(struct fixture *f, struct conf_listen *listen, const char *from,
                             const char *to, size_t workers)
{
    uint16_t port = free_port();
    int fd;

    listen->count = 0;
    want(listen, from, port);
    while (plan(f, workers) < 0) { /* somebody else was faster */
        assert_int_equal(errno, EADDRINUSE);
        addr_set_port(&listen->addr[0], port = free_port());
    }
    commit(f);
    endpoints_close(&f->retired, false);
    assert_int_equal(option(endpoint_fd(f->current.list[0], 0), SO_REUSEPORT), workers > 1);
    listen->count = 0;
    want(listen, to, port);
    apply(f, workers);
    assert_int_equal(f->current.count, 1);
    fd = endpoint_fd(f->current.list[0], 0);
    /* Nobody else may join it. */
    assert_int_equal(option(fd, SO_REUSEPORT), workers > 1);
    assert_int_equal(open_descriptors(), f->descriptors + workers);
}

static void an_address_gives_way_to_one_that_overlaps_it(void **state)
{
    struct fixture *f = *state;

    for (size_t workers = 1; workers <= 2; workers++) {
        f->conf.tcp.listen.count = f->conf.udp.listen.count = 0;
        swap_overlapping(f, &f->conf.tcp.listen, "127.0.0.1", "0.0.0.0", workers);
        endpoints_close(&f->current, false);
        swap_overlapping(f, &f->conf.tcp.listen, "0.0.0.0", "127.0.0.1", workers);
        endpoints_close(&f->current, false);
        f->conf.tcp.listen.count = 0;
        swap_overlapping(f, &f->conf.udp.listen, "127.0.0.1", "0.0.0.0", workers);
        endpoints_close(&f->current, false);
        swap_overlapping(f, &f->conf.udp.listen, "0.0.0.0", "127.0.0.1", workers);
        endpoints_close(&f->current, false);
    }
}

static void a_failed_plan_leaves_nothing_shared(void **state)
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

static void an_address_that_is_taken_changes_nothing_and_names_its_line(void **state)
{
    struct fixture *f = *state;
    int taken = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct addr addr = local_address(taken);
    char text[ADDR_STRLEN];
    char expected[128];

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    apply(f, 1);
    want(&f->conf.tcp.listen, "127.0.0.2", 0);
    want(&f->conf.udp.listen, "127.0.0.2", 0);
    want(&f->conf.udp.listen, "127.0.0.1", addr_port(&addr));
    assert_int_equal(plan(f, 2), -1);
    assert_int_equal(errno, EADDRINUSE);
    snprintf(expected, sizeof expected, "FILE:34: cannot listen on udp %s: %s (another program",
             addr_print(&addr, text), strerror(EADDRINUSE));
    assert_int_equal(logged(LEVEL_ERROR, expected), 1);
    assert_int_equal(logbook.count, 1);
    assert_int_equal(f->next.count, 0);
    assert_int_equal(f->current.count, 1);
    close(taken);
    assert_int_equal(open_descriptors(), f->descriptors + 1);
}

static void each_reason_comes_with_advice(void **state)
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

static void a_default_address_that_wants_ipv6_may_be_missing(void **state)
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

static void a_default_address_fails_for_any_other_reason(void **state)
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

static void an_ipv6_address_that_was_named_must_not_be_missing(void **state)
{
    struct fixture *f = *state;

    want(&f->conf.udp.listen, "127.0.0.1", 0);
    want(&f->conf.udp.listen, "::", 0);
    SCRIPT(socket_script, -EAFNOSUPPORT);
    assert_int_equal(plan(f, 1), -1);
    assert_int_equal(errno, EAFNOSUPPORT);
    assert_int_equal(open_descriptors(), f->descriptors);
}

static void want_of_memory_anywhere_changes_nothing(void **state)
{
    struct script *scripts[] = {&calloc_script, &realloc_script};
    struct fixture *f = *state;

    want(&f->conf.tcp.listen, "127.0.0.1", 0);
    apply(f, 1);
    want(&f->conf.tcp.listen, "127.0.0.2", 0);
    want(&f->conf.udp.listen, "127.0.0.2", 0);
    for (size_t i = 0; i < COUNT(scripts); i++) {
        unsigned n = 0;

        for (;; n++) {
            int result;

            script_fail_after(scripts[i], n, ENOMEM);
            errno = 0;
            result = plan(f, 1);
            if (!script_done(scripts[i]))
                break;
            assert_int_equal(result, -1);
            assert_int_equal(errno, ENOMEM);
            assert_int_equal(open_descriptors(), f->descriptors + 1);
        }
        assert_int_equal(n, i == 0 ? 2 : 3);
        script_clear(scripts[i]);
        endpoints_abandon(&f->current, &f->next);
    }
    assert_int_equal(f->current.count, 1);
}

/* ---- inherited sockets ---- */

static void inherited_sockets_replace_the_list_of_their_protocol(void **state)
{
    struct fixture *f = *state;
    int first = hand_over();
    struct addr addr = local_address(first);

    assert_int_equal(endpoints_adopt(&f->inherited, first, 1), 0);
    close(first + 1);
    assert_int_equal(f->inherited.count, 1);
    assert_true(f->inherited.list[0]->inherited);
    assert_true(addr_equal(&f->inherited.list[0]->addr, &addr));
    want(&f->conf.tcp.listen, "127.0.0.9", 0);
    want(&f->conf.udp.listen, "127.0.0.1", 0);
    apply(f, 4);
    assert_int_equal(f->current.count, 2);
    assert_ptr_equal(f->current.list[0], f->inherited.list[0]);
    for (size_t worker = 0; worker < 4; worker++)
        assert_int_equal(endpoint_fd(f->current.list[0], worker), first);
    assert_int_equal(f->current.list[1]->type, SOCK_DGRAM);
    assert_int_equal(f->current.list[1]->count, 4);
}

static void a_disabled_protocols_inherited_sockets_wait_for_its_return(void **state)
{
    struct fixture *f = *state;
    int first = hand_over();

    assert_int_equal(endpoints_adopt(&f->inherited, first, 2), 0);
    apply(f, 1);
    assert_int_equal(f->current.count, 2);
    f->conf.tcp.enabled = false;
    apply(f, 1);
    assert_int_equal(f->current.count, 1);
    assert_int_equal(f->current.list[0]->type, SOCK_DGRAM);
    assert_true(is_open(first));
    assert_int_equal(option(first, SO_ACCEPTCONN), 1);
    f->conf.tcp.enabled = true;
    apply(f, 1);
    assert_int_equal(f->current.count, 2);
    assert_int_equal(endpoint_fd(f->current.list[0], 0), first);
}

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

static void what_cannot_be_served_is_named_and_refused(void **state)
{
    struct fixture *f = *state;
    int first = hand_over();
    int wrong = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(dup2(wrong, first + 2), first + 2);
    assert_int_equal(endpoints_adopt(&f->inherited, first, 3), -1);
    assert_int_equal(errno, EPROTOTYPE);
    assert_int_equal(logged(LEVEL_ERROR, "cannot serve descriptor 302"), 1);
    close(wrong);
    close(first + 2);
}

static void adopting_reports_want_of_memory(void **state)
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
        TEST(a_plan_from_nothing_opens_what_is_asked_for),
        TEST(what_is_still_wanted_is_kept),
        TEST(what_is_no_longer_wanted_is_retired_and_the_rest_stays),
        TEST(a_plan_given_up_closes_only_what_is_fresh),
        TEST(a_disabled_protocol_is_not_served),
        TEST(where_nothing_is_left_to_serve_nothing_changes),
        TEST(a_backlog_takes_effect_on_listeners_that_stay),
        TEST(an_address_gives_way_to_one_that_overlaps_it),
        TEST(a_failed_plan_leaves_nothing_shared),
        TEST(an_address_that_is_taken_changes_nothing_and_names_its_line),
        TEST(each_reason_comes_with_advice),
        TEST(a_default_address_that_wants_ipv6_may_be_missing),
        TEST(a_default_address_fails_for_any_other_reason),
        TEST(an_ipv6_address_that_was_named_must_not_be_missing),
        TEST(want_of_memory_anywhere_changes_nothing),
        TEST(inherited_sockets_replace_the_list_of_their_protocol),
        TEST(a_disabled_protocols_inherited_sockets_wait_for_its_return),
        TEST(closing_spares_inherited_sockets_unless_asked),
        TEST(what_cannot_be_served_is_named_and_refused),
        TEST(adopting_reports_want_of_memory),
        TEST(an_endpoint_prints_with_its_protocol),
        TEST(every_socket_but_inherited_ones_is_given_to_the_user),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
