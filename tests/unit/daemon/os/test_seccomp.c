/* SPDX-License-Identifier: ISC */
#include "daemon/os/seccomp.h"

#include <asm/termbits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "daemon/os/sandbox.h"
#include "unit/unit.h"

/* LeakSanitizer would wait for ever at the end of a child that may not read /proc. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

WRAP_FAILING(int, sigaction, -1, (int signo, const struct sigaction *action, struct sigaction *old),
             (signo, action, old))

/* libseccomp returns a negative errno. A build without it does not link it. */
int __real_seccomp_load(void *filter) __attribute__((weak));
WRAP(int, seccomp_load, void *filter)
{
    int step = script_next(&seccomp_load_script);

    return step < 0 ? step : __real_seccomp_load(filter);
}

static char config[] = "/tmp/echod-unit-XXXXXX";

static int make_config(void **state)
{
    int fd = mkstemp(config);

    (void)state;
    assert_int_equal(write(fd, "workers = 1\n", 12), 12);
    return close(fd);
}

static int remove_config(void **state)
{
    (void)state;
    return unlink(config);
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&sigaction_script);
    script_clear(&seccomp_load_script);
    return 0;
}

/* ---- a child with the filter: it cannot be removed again ---- */

/* The status of waitpid(2) of a child that runs fn(); what it wrote to standard error is in `said`.
 */
static char said[512];
static int run_child(int (*fn)(void))
{
    int status, fds[2];
    pid_t child;
    ssize_t n;

    fflush(NULL);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(fds[1], STDERR_FILENO);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
            exit(99);
        seccomp_filter_prepare();
        exit(fn());
    }
    close(fds[1]);
    assert_int_equal(waitpid(child, &status, 0), child);
    n = read(fds[0], said, sizeof said - 1);
    said[n > 0 ? n : 0] = '\0';
    close(fds[0]);
    return status;
}

static int status_of(int (*fn)(void))
{
    int status = run_child(fn);

    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int is_missing(void)
{
    return seccomp_filter_install() < 0 && errno == ENOSYS;
}

/* The filter would stop a sanitizer, and valgrind, whose own calls are filtered too. */
static void need_filter(void)
{
    char text[SANDBOX_STRLEN];
    const char *preload = getenv("LD_PRELOAD");

    if (strstr(sandbox_describe(&(struct sandbox){0}, text), "instrumented"))
        skip_because("the filter would stop an instrumented build");
    if (preload && strstr(preload, "vgpreload"))
        skip_because("valgrind makes system calls of its own");
    if (status_of(is_missing))
        skip_because("no seccomp in this build or kernel");
}

/* ---- what is allowed ---- */

static int open_config(void)
{
    int fd = open(config, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char text[64];

    if (fd < 0 || read(fd, text, sizeof text) < 1 ||
        fstatat(fd, "", &(struct stat){0}, AT_EMPTY_PATH) < 0)
        return 0;
    close(fd);
    return 1;
}

static int echo_and_reload(void)
{
    struct addr addr = address("127.0.0.1", 0);
    int tcp, udp;
    void *block;

    if (seccomp_filter_install() < 0)
        return 1;
    tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (tcp < 0 || udp < 0 || bind(tcp, &addr.sa, addr.len) < 0 || listen(tcp, 5) < 0 ||
        bind(udp, &addr.sa, addr.len) < 0)
        return 2;
    if (poll(&(struct pollfd){.fd = udp, .events = POLLIN}, 1, 1) != 0)
        return 3;
    if (!open_config())
        return 4;
    block = malloc(1 << 20);
    block = realloc(block, 1 << 24);
    if (!block)
        return 5;
    free(block);
    return seccomp_filter_refused() == 0 ? 0 : 6;
}

static void the_daemons_own_calls_are_allowed(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(echo_and_reload), 0);
}

/* The calls of other C libraries and of newer architectures, made by number. */
static int calls_of_other_libraries(void)
{
    int fds[2];
    char octet = 'x';
    struct iovec iov = {.iov_base = &octet, .iov_len = 1};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
    struct pollfd pollfd = {.fd = -1};
    struct timespec none = {0};
    int epoll = epoll_create1(0);
    struct epoll_event event;

    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, fds) < 0 || seccomp_filter_install() < 0)
        return 1;
    if (syscall(SYS_sendmsg, fds[0], &message, 0) != 1 ||
        syscall(SYS_recvmsg, fds[1], &message, 0) != 1)
        return 2;
    if (syscall(SYS_ppoll, &pollfd, 1, &none, NULL, 8) != 0 ||
        syscall(SYS_epoll_pwait, epoll, &event, 1, 0, NULL, 8) != 0)
        return 3;
#ifdef SYS_epoll_pwait2
    if (syscall(SYS_epoll_pwait2, epoll, &event, 1, &none, NULL, 8) != 0 && errno != ENOSYS)
        return 4;
#endif
#ifdef SYS_open
    if (syscall(SYS_open, config, O_RDONLY) < 0)
        return 5;
#endif
    if (fcntl(epoll, F_SETFD, FD_CLOEXEC) < 0)
        return 6;
    return seccomp_filter_refused() == 0 ? 0 : 7;
}

static void the_calls_of_other_c_libraries_are_allowed(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(calls_of_other_libraries), 0);
}

static bool is_no_terminal(unsigned long request)
{
    errno = 0;
    return ioctl(-1, request, NULL) < 0 && errno == ENOTTY;
}

static int asks_for_a_terminal(void)
{
    if (seccomp_filter_install() < 0)
        return 1;
    if (isatty(-1) || errno != ENOTTY)
        return 2;
    if (!is_no_terminal(TCGETS) || !is_no_terminal(TIOCGWINSZ))
        return 3;
#ifdef TCGETS2
    if (!is_no_terminal(TCGETS2))
        return 4;
#endif
    return seccomp_filter_refused() == 0 ? 0 : 5;
}

static void no_descriptor_is_a_terminal_however_the_c_library_asks(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(asks_for_a_terminal), 0);
}

/* ---- what fails ---- */

static bool is_checked(const char *call)
{
    const char *unchecked = seccomp_filter_unchecked();

    return !unchecked || !strstr(unchecked, call);
}

static int makes_unknown_calls(void)
{
    char call[SECCOMP_CALL_STRLEN];
    char expected[SECCOMP_CALL_STRLEN];

    if (seccomp_filter_install() < 0)
        return 1;
    if (seccomp_filter_refused_call(0, call))
        return 2;
    for (int i = 0; i < 3; i++) {
        errno = 0;
        if (syscall(SYS_getppid) != -1 || errno != ENOSYS)
            return 3;
    }
    if (syscall(SYS_dup, 0) != -1 || errno != ENOSYS)
        return 4;
    if (seccomp_filter_refused() != 4)
        return 5;
    snprintf(expected, sizeof expected, "getppid (%d)", SYS_getppid);
    if (!seccomp_filter_refused_call(0, call) || strcmp(call, expected) != 0)
        return 6;
    snprintf(expected, sizeof expected, "dup (%d)", SYS_dup);
    if (!seccomp_filter_refused_call(1, call) || strcmp(call, expected) != 0)
        return 7;
    return seccomp_filter_refused_call(2, call) ? 8 : 0;
}

static void an_unknown_call_fails_and_is_counted_and_named(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(makes_unknown_calls), 0);
}

static int makes_calls_with_unknown_arguments(void)
{
    if (seccomp_filter_install() < 0)
        return 1;
    if (ioctl(0, TIOCSTI, "x") == 0 || errno != ENOTTY)
        return 2;
    if (fcntl(0, F_GETFL) >= 0 || errno != EINVAL)
        return 3;
    if (is_checked("setsockopt") &&
        (setsockopt(1, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) == 0 || errno != ENOPROTOOPT))
        return 4;
    return seccomp_filter_refused() == (is_checked("setsockopt") ? 3 : 2) ? 0 : 5;
}

static void a_call_with_unknown_arguments_fails_with_an_errno_of_that_call(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(makes_calls_with_unknown_arguments), 0);
}

static int makes_many_unknown_calls(void)
{
    char call[SECCOMP_CALL_STRLEN];
    unsigned named = 0;

    if (seccomp_filter_install() < 0)
        return 1;
    /* None has a number up there. */
    for (int i = 0; i < 200; i++)
        if (syscall(10000 + i) != -1 || errno != ENOSYS)
            return 2;
    if (seccomp_filter_refused() != 200)
        return 3;
    while (named < 200 && seccomp_filter_refused_call(named, call))
        named++;
    return named == 32 && strstr(call, "of unknown name (10031)") ? 0 : 4;
}

static void all_calls_that_fail_are_counted_and_the_first_32_different_ones_named(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(makes_many_unknown_calls), 0);
}

/* ---- threads ---- */

/* Threads tell when they are at work, and wait until they are told to go on. */
static _Atomic int at_work, go;

static void wait_to_go(void)
{
    at_work++;
    while (!go)
        poll(NULL, 0, 1);
}

#define THREADS 40 /* more than glibc makes heaps for before it asks for the number of CPUs */

/* Run fn() in threads that exist before the filter does. */
static int in_threads(void *(*fn)(void *))
{
    pthread_t threads[THREADS];
    void *failed;

    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, fn, NULL) != 0)
            return 2;
    while (at_work < THREADS)
        poll(NULL, 0, 1);
    if (seccomp_filter_install() < 0)
        return 3;
    go = 1;
    for (int i = 0; i < THREADS; i++)
        if (pthread_join(threads[i], &failed) != 0 || failed)
            return 4;
    return 0;
}

static void *make_unknown_calls(void *unused)
{
    (void)unused;
    wait_to_go();
    for (int i = 0; i < 100; i++)
        if (syscall(SYS_getppid) != -1 || errno != ENOSYS)
            return &go;
    return NULL;
}

static int makes_unknown_calls_in_threads(void)
{
    char call[SECCOMP_CALL_STRLEN];
    int status = in_threads(make_unknown_calls);

    if (status != 0 || seccomp_filter_refused() != 100 * THREADS)
        return status != 0 ? status : 5;
    return seccomp_filter_refused_call(0, call) && !seccomp_filter_refused_call(1, call) ? 0 : 6;
}

static void calls_of_all_threads_are_filtered_and_counted(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(makes_unknown_calls_in_threads), 0);
}

static void *allocate(void *unused)
{
    (void)unused;
    wait_to_go();
    for (size_t size = 16; size < 1 << 22; size *= 2) {
        char *block = malloc(size);

        if (!block)
            return &go;
        block[size - 1] = 1;
        free(block);
    }
    return NULL;
}

static int allocates_in_threads(void)
{
    int status = in_threads(allocate);

    return status != 0 ? status : seccomp_filter_refused() == 0 ? 0 : 5;
}

static void threads_can_allocate_memory_and_end(void **state)
{
    (void)state;
    need_filter();
    assert_int_equal(status_of(allocates_in_threads), 0);
}

/* ---- what ends the process ---- */

#define EXPLOIT(name, expression)                                                                  \
    static int name(void)                                                                          \
    {                                                                                              \
        if (seccomp_filter_install() < 0)                                                          \
            return 1;                                                                              \
        (void)!(expression);                                                                       \
        return 2;                                                                                  \
    }

EXPLOIT(opens_for_writing, open(config, O_RDWR))
EXPLOIT(maps_code, mmap(NULL, 4096, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
EXPLOIT(makes_memory_code, mprotect(&said, 1, PROT_READ | PROT_EXEC))
EXPLOIT(opens_a_raw_socket, socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
EXPLOIT(opens_a_stream_to_a_service, socket(AF_UNIX, SOCK_STREAM, 0))
/* Landlock forbids connections of TCP only. */
EXPLOIT(opens_a_multipath_socket, socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP))
EXPLOIT(starts_a_process, syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL))
EXPLOIT(runs_a_program, execl("/bin/true", "true", NULL))
EXPLOIT(becomes_root, setresuid(0, 0, 0))
EXPLOIT(leaves_its_namespace, syscall(SYS_unshare, 0))
EXPLOIT(loads_bpf, syscall(SYS_bpf, 0, NULL, 0))

static void a_call_that_only_an_exploit_makes_is_named_and_fatal(void **state)
{
    static const struct {
        int (*fn)(void);
        const char *name;
    } exploits[] = {
        {opens_for_writing, "open"},          {maps_code, "mmap"},
        {makes_memory_code, "mprotect"},      {opens_a_raw_socket, "socket"},
        {starts_a_process, "clone"},          {opens_a_stream_to_a_service, "socket"},
        {runs_a_program, "execve"},           {becomes_root, "setresuid"},
        {leaves_its_namespace, "unshare"},    {loads_bpf, "bpf"},
        {opens_a_multipath_socket, "socket"},
    };
    char expected[128];

    (void)state;
    need_filter();
    for (size_t i = 0; i < COUNT(exploits); i++) {
        int status;

        if (!is_checked(exploits[i].name))
            continue;
        status = run_child(exploits[i].fn);
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
        /* Its name may go on: openat, mmap2, setresuid32. */
        snprintf(expected, sizeof expected, "echod: forbidden system call %s", exploits[i].name);
        assert_non_null(strstr(said, expected));
        assert_non_null(strstr(said, "), stopped by the sandbox; sandbox = false turns it off\n"));
    }
}

/* ---- failures ---- */

static int install_fails(void)
{
    errno = 0;
    return seccomp_filter_install() == -1 && errno == EINVAL ? 0 : 1;
}

static void a_filter_that_cannot_be_installed_is_reported(void **state)
{
    (void)state;
    need_filter();
    SCRIPT(seccomp_load_script, -EINVAL);
    assert_int_equal(status_of(install_fails), 0);
    script_clear(&seccomp_load_script);
    SCRIPT(sigaction_script, -EINVAL);
    assert_int_equal(status_of(install_fails), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_daemons_own_calls_are_allowed),
        TEST(the_calls_of_other_c_libraries_are_allowed),
        TEST(no_descriptor_is_a_terminal_however_the_c_library_asks),
        TEST(an_unknown_call_fails_and_is_counted_and_named),
        TEST(a_call_with_unknown_arguments_fails_with_an_errno_of_that_call),
        TEST(all_calls_that_fail_are_counted_and_the_first_32_different_ones_named),
        TEST(calls_of_all_threads_are_filtered_and_counted),
        TEST(threads_can_allocate_memory_and_end),
        TEST(a_call_that_only_an_exploit_makes_is_named_and_fatal),
        TEST(a_filter_that_cannot_be_installed_is_reported),
    };

    return cmocka_run_group_tests(tests, make_config, remove_config);
}
