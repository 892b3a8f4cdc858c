/* SPDX-License-Identifier: ISC */
#include "daemon/os/service_manager.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/un.h>

#include "unit/unit.h"

static const char *const variables[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID",
                                        "LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES"};

static void clear_environment(void)
{
    for (size_t i = 0; i < COUNT(variables); i++)
        unsetenv(variables[i]);
}

/* A build without systemd links the stub, which is to do nothing. */
static bool is_stub(void)
{
    return !service_manager_enabled();
}

static int manager; /* the service manager's end */

static int set_up(void **state)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t); /* an abstract address of the kernel's choice: unix(7) */
    char text[sizeof name.sun_path + 1];

    (void)state;
    clear_environment();
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(manager >= 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&name, len), 0);
    len = sizeof name;
    assert_int_equal(getsockname(manager, (struct sockaddr *)&name, &len), 0);
    len -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
    snprintf(text, sizeof text, "@%.*s", (int)len, name.sun_path + 1);
    assert_int_equal(setenv("NOTIFY_SOCKET", text, 1), 0);
    service_manager_open();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(manager);
    service_manager_close();
    clear_environment();
    return 0;
}

static const char *told(void)
{
    static char text[512];
    ssize_t n = recv(manager, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void the_manager_is_told_of_readiness_and_status(void **state)
{
    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    assert_true(service_manager_enabled());
    service_manager_ready("all is well: 100%");
    assert_string_equal(told(), "READY=1\nSTATUS=all is well: 100%");
    service_manager_status("%s 3 open");
    assert_string_equal(told(), "STATUS=%s 3 open");
    service_manager_stopping(35);
    assert_string_equal(told(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=35000000");
    service_manager_alive();
    assert_string_equal(told(), "WATCHDOG=1");
    assert_string_equal(told(), "");
}

static uint64_t monotonic_usec(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void a_reload_is_announced_with_its_time(void **state)
{
    uint64_t before = monotonic_usec();
    uint64_t usec = 0;
    char end;

    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    service_manager_reloading();
    assert_int_equal(sscanf(told(), "RELOADING=1\nMONOTONIC_USEC=%" SCNu64 "%c", &usec, &end), 1);
    assert_in_range(usec, before, monotonic_usec());
}

static void without_a_manager_nothing_is_said_and_nothing_fails(void **state)
{
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    service_manager_open();
    assert_false(service_manager_enabled());
    service_manager_ready("x");
    service_manager_status("x");
    service_manager_reloading();
    service_manager_stopping(0);
    service_manager_alive();
    assert_string_equal(told(), "");
    assert_int_equal(service_manager_watchdog_interval(), 0);
}

static void a_manager_that_is_gone_does_no_harm(void **state)
{
    (void)state;
    close(manager);
    service_manager_ready("x");
    service_manager_alive();
    assert_int_equal(setenv("NOTIFY_SOCKET", "nonsense", 1), 0);
    service_manager_open();
    assert_false(service_manager_enabled());
    service_manager_ready("x");
    service_manager_alive();
}

static void the_watchdog_interval_is_in_nanoseconds(void **state)
{
    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    assert_int_equal(service_manager_watchdog_interval(), 0);
    setenv("WATCHDOG_USEC", "2500000", 1);
    assert_int_equal(service_manager_watchdog_interval(), UINT64_C(2500000000));
    assert_int_equal(service_manager_watchdog_interval(), UINT64_C(2500000000));
    setenv("WATCHDOG_USEC", "18446744073709551", 1);
    assert_int_equal(service_manager_watchdog_interval(), UINT64_C(18446744073709551000));
    setenv("WATCHDOG_USEC", "18446744073709552", 1);
    assert_int_equal(service_manager_watchdog_interval(), UINT64_MAX);
    setenv("WATCHDOG_USEC", "soon", 1);
    assert_int_equal(service_manager_watchdog_interval(), 0);
}

static void set_pid(const char *variable, long pid)
{
    char text[24];

    snprintf(text, sizeof text, "%ld", pid);
    assert_int_equal(setenv(variable, text, 1), 0);
}

static void a_watchdog_for_another_process_is_not_ours(void **state)
{
    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    setenv("WATCHDOG_USEC", "1000000", 1);
    set_pid("WATCHDOG_PID", (long)getpid() + 1);
    assert_int_equal(service_manager_watchdog_interval(), 0);
    set_pid("WATCHDOG_PID", (long)getpid());
    assert_int_equal(service_manager_watchdog_interval(), UINT64_C(1000000000));
}

static void no_sockets_are_handed_over_by_nobody(void **state)
{
    int first = -1;

    (void)state;
    assert_int_equal(service_manager_sockets(&first), 0);
}

static void sockets_are_handed_over_once(void **state)
{
    int first = -1;
    bool opened[2];

    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    /* They begin at descriptor 3 and may be anything that is open. */
    for (int fd = 3; fd <= 4; fd++) {
        opened[fd - 3] = fcntl(fd, F_GETFD) < 0;
        if (opened[fd - 3])
            assert_int_equal(dup2(manager, fd), fd);
    }
    set_pid("LISTEN_PID", (long)getpid());
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "a:b", 1);
    assert_int_equal(service_manager_sockets(&first), 2);
    assert_int_equal(first, 3);
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDNAMES"));
    assert_int_equal(service_manager_sockets(&first), 0);
    for (int fd = 3; fd <= 4; fd++)
        if (opened[fd - 3])
            close(fd);
}

static void sockets_of_another_process_are_not_ours(void **state)
{
    int first = -1;

    (void)state;
    setenv("LISTEN_FDS", "1", 1);
    set_pid("LISTEN_PID", (long)getpid() + 1);
    assert_int_equal(service_manager_sockets(&first), 0);
}

static void a_malformed_environment_is_an_error_and_is_cleared(void **state)
{
    static const char *const wrong[] = {"many", "0", "-1", "3x", "99999999999", ""};
    int first = -1;

    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    for (size_t i = 0; i < COUNT(wrong); i++) {
        set_pid("LISTEN_PID", (long)getpid());
        setenv("LISTEN_FDS", wrong[i], 1);
        errno = 0;
        assert_int_equal(service_manager_sockets(&first), -1);
        assert_int_not_equal(errno, 0);
        assert_null(getenv("LISTEN_FDS"));
        assert_null(getenv("LISTEN_PID"));
    }
    setenv("LISTEN_FDS", "1", 1);
    setenv("LISTEN_PID", "me", 1);
    assert_int_equal(service_manager_sockets(&first), -1);
    assert_null(getenv("LISTEN_PID"));
}

static void descriptors_that_are_not_open_are_an_error(void **state)
{
    int first = -1;

    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    set_pid("LISTEN_PID", (long)getpid());
    setenv("LISTEN_FDS", "400", 1);
    assert_int_equal(service_manager_sockets(&first), -1);
    assert_int_equal(errno, EBADF);
}

static void a_manager_that_has_stopped_reading_does_not_stop_us(void **state)
{
    unsigned taken = 0, ready = 0;

    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    for (int i = 0; i < 20000; i++)
        service_manager_status("x");
    /* Waits a moment for room, in vain. */
    service_manager_ready("x");
    for (const char *text = told(); *text; text = told()) {
        taken++;
        ready += strncmp(text, "READY", 5) == 0;
    }
    assert_in_range(taken, 1, 19999);
    assert_int_equal(ready, 0);
    service_manager_ready("x");
    assert_string_equal(told(), "READY=1\nSTATUS=x");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_manager_is_told_of_readiness_and_status),
        TEST(a_reload_is_announced_with_its_time),
        TEST(without_a_manager_nothing_is_said_and_nothing_fails),
        TEST(a_manager_that_is_gone_does_no_harm),
        TEST(the_watchdog_interval_is_in_nanoseconds),
        TEST(a_watchdog_for_another_process_is_not_ours),
        TEST(no_sockets_are_handed_over_by_nobody),
        TEST(sockets_are_handed_over_once),
        TEST(sockets_of_another_process_are_not_ours),
        TEST(a_malformed_environment_is_an_error_and_is_cleared),
        TEST(descriptors_that_are_not_open_are_an_error),
        TEST(a_manager_that_has_stopped_reading_does_not_stop_us),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
