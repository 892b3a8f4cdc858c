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

/* A build without systemd links the stub. */
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

static void without_a_manager_nothing_is_sent_and_nothing_fails(void **state)
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

static void a_manager_that_has_ended_does_no_harm(void **state)
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

static void without_listen_fds_no_sockets_are_handed_over(void **state)
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
    setenv("LISTEN_FDNAMES", "a:" SERVICE_MANAGER_STORED "b", 1);
    assert_int_equal(service_manager_sockets(&first), 2);
    assert_false(service_manager_is_stored(2));
    assert_false(service_manager_is_stored(3));
    assert_true(service_manager_is_stored(4));
    assert_false(service_manager_is_stored(5));
    assert_int_equal(first, 3);
    assert_null(getenv("LISTEN_FDS"));
    assert_null(getenv("LISTEN_PID"));
    assert_null(getenv("LISTEN_FDNAMES"));
    assert_int_equal(service_manager_sockets(&first), 0);
    for (int fd = 3; fd <= 4; fd++)
        if (opened[fd - 3])
            close(fd);
}

/* The message and whether a descriptor came with it. */
static const char *told_with_descriptor(bool *has_descriptor)
{
    static char text[512];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
    struct iovec piece = {text, sizeof text - 1};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
    ssize_t n = recvmsg(manager, &message, MSG_CMSG_CLOEXEC);
    const struct cmsghdr *cmsg = next_control_message(&message, NULL);

    text[n > 0 ? n : 0] = '\0';
    *has_descriptor = cmsg && cmsg->cmsg_type == SCM_RIGHTS;
    if (*has_descriptor)
        close(*(const int *)(const void *)CMSG_DATA(cmsg));
    return text;
}

static void descriptors_are_stored_and_given_up_by_name(void **state)
{
    bool has_descriptor;

    (void)state;
    if (is_stub())
        skip_because("built without systemd");
    service_manager_store(SERVICE_MANAGER_STORED "x", &manager, 1);
    assert_string_equal(told_with_descriptor(&has_descriptor),
                        "FDSTORE=1\nFDPOLL=0\nFDNAME=" SERVICE_MANAGER_STORED "x");
    assert_true(has_descriptor);
    service_manager_unstore(SERVICE_MANAGER_STORED "x");
    assert_string_equal(told(), "FDSTOREREMOVE=1\nFDNAME=" SERVICE_MANAGER_STORED "x");
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_a_manager_nothing_is_sent_and_nothing_fails),
        TEST(a_manager_that_has_ended_does_no_harm),
        TEST(the_watchdog_interval_is_in_nanoseconds),
        TEST(without_listen_fds_no_sockets_are_handed_over),
        TEST(sockets_are_handed_over_once),
        TEST(descriptors_are_stored_and_given_up_by_name),
        TEST(a_malformed_environment_is_an_error_and_is_cleared),
        TEST(descriptors_that_are_not_open_are_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
