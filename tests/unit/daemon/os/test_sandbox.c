/* SPDX-License-Identifier: ISC */
#include "daemon/os/sandbox.h"

#include <linux/landlock.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "daemon/os/seccomp.h"
#include "unit/unit.h"

/* Landlock's three calls in turn: query the ABI, make a ruleset, then add rules and enter it. A
 * step that is a number of an ABI is the kernel's answer to the query. */
WRAP(long, syscall, long number, long a, long b, long c, long d)
{
    int step = PASS;

    if (number >= SYS_landlock_create_ruleset && number <= SYS_landlock_restrict_self)
        step = script_next(&syscall_script);
    if (step < 0) {
        errno = -step;
        return -1;
    }
    return step == PASS ? __real_syscall(number, a, b, c, d) : step;
}

WRAP_FAILING(int, sigaction, -1, (int signo, const struct sigaction *action, struct sigaction *old),
             (signo, action, old))

/* libseccomp returns a negative errno; a build without it links none. */
int __real_seccomp_load(void *filter) __attribute__((weak));
WRAP(int, seccomp_load, void *filter)
{
    int step = script_next(&seccomp_load_script);

    return step < 0 ? step : __real_seccomp_load(filter);
}

static char folder[] = "/tmp/echod-unit-XXXXXX";
static char config[64];
static struct sandbox sandbox;

static int make_folder(void **state)
{
    FILE *file;

    (void)state;
    assert_non_null(mkdtemp(folder));
    chmod(folder, 0755);
    snprintf(config, sizeof config, "%s/echod.conf", folder);
    file = fopen(config, "w");
    assert_non_null(file);
    fputs("workers = 1\n", file);
    return fclose(file);
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(config);
    return rmdir(folder);
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&syscall_script);
    script_clear(&sigaction_script);
    script_clear(&seccomp_load_script);
    logbook_open(LEVEL_NOTICE);
    return 0;
}

/* ---- a child in a sandbox: there is no way out of one ---- */

/* Status of waitpid(2); what it wrote to standard error is in `said`. */
static char said[512];
static int status_of_child(int (*fn)(void))
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
    int status = status_of_child(fn);

    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void no_new_privileges(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        exit(99);
}

static int enter(void)
{
    no_new_privileges();
    return sandbox_restrict_access(&sandbox, config) == 0 && sandbox_restrict_calls(&sandbox) == 0
               ? 0
               : -1;
}

/* A build with sanitizers has none, nor has a process under valgrind, whose own calls are filtered
 * too. */
static void need_sandbox(void)
{
    char text[SANDBOX_STRLEN];
    const char *preload = getenv("LD_PRELOAD");

    if (strstr(sandbox_describe(&(struct sandbox){0}, text), "instrumented"))
        skip_because("an instrumented build has no sandbox");
    if (preload && strstr(preload, "vgpreload"))
        skip_because("valgrind makes system calls of its own");
}

static int landlock_abi(void)
{
    return (int)__real_syscall(SYS_landlock_create_ruleset, 0, 0, 1, 0);
}

static void need_landlock(void)
{
    need_sandbox();
    if (landlock_abi() < 1)
        skip_because("this kernel has no Landlock");
}

static bool has_seccomp(void)
{
    seccomp_filter_prepare();
    return WIFEXITED(status_of_child(seccomp_filter_install)) &&
           WEXITSTATUS(status_of_child(seccomp_filter_install)) != 0;
}

static void need_seccomp(void)
{
    need_sandbox();
    if (!has_seccomp())
        skip_because("built without libseccomp");
}

/* ---- files and connections ---- */

static bool readable_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int look_at_files(void)
{
    char other[80];

    no_new_privileges();
    if (sandbox_restrict_access(&sandbox, config) < 0)
        return 1;
    snprintf(other, sizeof other, "%s/other", folder);
    if (!readable_file(config))
        return 2;
    if (readable_file("/etc/passwd") || readable_file("/proc/self/status") ||
        readable_file("/tmp") || readable_file("/dev/null"))
        return 3;
    if (open(config, O_WRONLY | O_CLOEXEC) >= 0 || open(other, O_WRONLY | O_CREAT, 0600) >= 0 ||
        unlink(config) == 0 || rename(config, other) == 0 || mkdir(other, 0700) == 0)
        return 4;
    return 0;
}

static void only_the_folder_of_the_configuration_can_be_read(void **state)
{
    (void)state;
    need_landlock();
    assert_int_equal(status_of(look_at_files), 0);
}

static char link_folder[] = "/tmp/echod-unit-XXXXXX";
static char link_name[64];

static int follow_the_link(void)
{
    no_new_privileges();
    if (sandbox_restrict_access(&sandbox, link_name) < 0 || !readable_file(link_name))
        return 1;
    return readable_file("/etc/passwd") ? 2 : 0;
}

static void a_link_may_lead_to_another_folder(void **state)
{
    (void)state;
    need_landlock();
    assert_non_null(mkdtemp(link_folder));
    snprintf(link_name, sizeof link_name, "%s/echod.conf", link_folder);
    assert_int_equal(symlink(config, link_name), 0);
    assert_int_equal(status_of(follow_the_link), 0);
    unlink(link_name);
    rmdir(link_folder);
}

static int without_folder(void)
{
    no_new_privileges();
    if (sandbox_restrict_access(&sandbox, "/nonexistent/echod.conf") < 0)
        return 1;
    return readable_file("/etc/passwd") ? 2 : 0;
}

static void a_configuration_that_is_not_there_needs_no_folder(void **state)
{
    (void)state;
    need_landlock();
    assert_int_equal(status_of(without_folder), 0);
}

static int connect_out(void)
{
    int listener = bound_socket(SOCK_STREAM, "127.0.0.1");
    struct addr addr = local_address(listener);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (listen(listener, 1) < 0)
        return 1;
    no_new_privileges();
    if (sandbox_restrict_access(&sandbox, config) < 0)
        return 2;
    /* A reload may want another port. */
    if (bound_socket(SOCK_STREAM, "127.0.0.1") < 0)
        return 3;
    if (connect(datagram, &addr.sa, addr.len) < 0)
        return 4;
    return connect(client, &addr.sa, addr.len) < 0 && errno == EACCES ? 0 : 5;
}

static void tcp_connects_to_nowhere(void **state)
{
    (void)state;
    need_landlock();
    if (landlock_abi() < 4)
        skip_because("Landlock of this kernel cannot forbid TCP connections");
    assert_int_equal(status_of(connect_out), 0);
}

static int fails_with_eio(void)
{
    errno = 0;
    return sandbox_restrict_access(&sandbox, config) == -1 && errno == EIO ? 0 : 1;
}

static void whatever_fails_is_reported(void **state)
{
    (void)state;
    need_landlock();
    SCRIPT(syscall_script, PASS, -EIO);
    assert_int_equal(status_of(fails_with_eio), 0);
    SCRIPT(syscall_script, PASS, PASS, -EIO);
    assert_int_equal(status_of(fails_with_eio), 0);
    SCRIPT(syscall_script, PASS, PASS, PASS, PASS, -EIO);
    assert_int_equal(status_of(fails_with_eio), 0);
}

static void a_kernel_without_landlock_is_no_error(void **state)
{
    static const int errors[] = {ENOSYS, EOPNOTSUPP, EPERM};
    char text[SANDBOX_STRLEN];

    (void)state;
    need_sandbox();
    for (size_t i = 0; i < COUNT(errors); i++) {
        logbook_open(LEVEL_NOTICE);
        SCRIPT(syscall_script, -errors[i]);
        assert_int_equal(sandbox_restrict_access(&sandbox, config), 0);
        assert_int_equal(sandbox.landlock, 0);
        assert_int_equal(logged(LEVEL_NOTICE, strerror(errors[i])), 1);
        assert_non_null(strstr(sandbox_describe(&sandbox, text), "no Landlock"));
    }
    assert_true(readable_file("/etc/passwd"));
}

static int older_abi;
static int older(void)
{
    no_new_privileges();
    SCRIPT(syscall_script, older_abi);
    if (sandbox_restrict_access(&sandbox, config) < 0 || sandbox.landlock != older_abi)
        return 1;
    if (logged(LEVEL_NOTICE, "TCP connections stay possible") != (older_abi < 4))
        return 2;
    return readable_file(config) && !readable_file("/etc/passwd") ? 0 : 3;
}

static void older_abis_restrict_what_they_can(void **state)
{
    int newest;

    (void)state;
    need_landlock();
    newest = landlock_abi();
    for (older_abi = 1; older_abi <= newest; older_abi++)
        assert_int_equal(status_of(older), 0);
}

/* ---- system calls ---- */

static int echo_and_reload(void)
{
    int tcp, udp, fd;
    struct addr addr = address("127.0.0.1", 7);
    char text[64];
    void *block;

    if (enter() < 0)
        return 1;
    /* What bound_socket() does is more than the daemon does. */
    addr_set_port(&addr, 0);
    tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    udp = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (tcp < 0 || udp < 0 || bind(tcp, &addr.sa, addr.len) < 0 || listen(tcp, 5) < 0 ||
        bind(udp, &addr.sa, addr.len) < 0)
        return 2;
    if (poll(&(struct pollfd){.fd = udp, .events = POLLIN}, 1, 1) != 0)
        return 3;
    fd = open(config, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text) < 1 ||
        fstatat(fd, "", &(struct stat){0}, AT_EMPTY_PATH) < 0)
        return 4;
    close(fd);
    block = malloc(1 << 20);
    block = realloc(block, 1 << 24);
    if (!block)
        return 5;
    free(block);
    if (open("/etc/passwd", O_RDONLY) >= 0 && sandbox.landlock > 0)
        return 6;
    return 0;
}

static void what_the_daemon_does_is_allowed(void **state)
{
    (void)state;
    need_seccomp();
    assert_int_equal(status_of(echo_and_reload), 0);
}

static void there_are_at_most_30_calls(void **state)
{
    (void)state;
    need_seccomp();
    assert_in_range(WEXITSTATUS(status_of_child(seccomp_filter_install)), 1, 30);
}

/* Each of these ends the process. */
static int in_a_sandbox(void)
{
    return enter() < 0 ? -1 : 0;
}

static int calls_getppid(void)
{
    return in_a_sandbox() < 0 ? 1 : getppid() < 0;
}

static int opens_for_writing(void)
{
    return in_a_sandbox() < 0 ? 1 : open(config, O_RDWR) < 0;
}

static int maps_code(void)
{
    return in_a_sandbox() < 0 ? 1
                              : mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                                     -1, 0) == MAP_FAILED;
}

static int opens_a_raw_socket(void)
{
    return in_a_sandbox() < 0 ? 1 : socket(AF_INET, SOCK_RAW, IPPROTO_ICMP) < 0;
}

static int opens_a_stream_to_a_service(void)
{
    return in_a_sandbox() < 0 ? 1 : socket(AF_UNIX, SOCK_STREAM, 0) < 0;
}

static int sets_another_option(void)
{
    return in_a_sandbox() < 0 ? 1 : setsockopt(1, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0;
}

static int types_into_the_terminal(void)
{
    return in_a_sandbox() < 0 ? 1 : ioctl(0, TIOCSTI, "x") < 0;
}

static int starts_a_process(void)
{
    return in_a_sandbox() < 0 ? 1 : fork() < 0;
}

static void any_other_call_is_named_and_fatal(void **state)
{
    static const struct {
        int (*fn)(void);
        const char *name;
    } forbidden[] = {
        {calls_getppid, "getppid"},
        {opens_for_writing, "openat"},
        {maps_code, "mmap"},
        {opens_a_raw_socket, "socket"},
        {sets_another_option, "setsockopt"},
        {opens_a_stream_to_a_service, "socket"},
        {types_into_the_terminal, "ioctl"},
        {starts_a_process, "clone"},
    };
    char expected[128];

    (void)state;
    need_seccomp();
    for (size_t i = 0; i < COUNT(forbidden); i++) {
        int status = status_of_child(forbidden[i].fn);

        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
        snprintf(expected, sizeof expected, "echod: forbidden system call %s (", forbidden[i].name);
        assert_non_null(strstr(said, expected));
        assert_non_null(strstr(said, "), stopped by the sandbox; sandbox = false turns it off\n"));
    }
}

/* Threads tell when they are at work, and wait until they are told to go on. */
static _Atomic int at_work, go;

static void wait_to_go(void)
{
    at_work++;
    while (!go)
        poll(NULL, 0, 1);
}

static void wait_until_at_work(int threads)
{
    while (at_work < threads)
        poll(NULL, 0, 1);
}

static void *violate(void *unused)
{
    (void)unused;
    wait_to_go();
    getppid();
    return NULL;
}

static int violates_in_a_thread(void)
{
    pthread_t thread;

    no_new_privileges();
    if (pthread_create(&thread, NULL, violate, NULL) != 0)
        return 1;
    wait_until_at_work(1);
    if (enter() < 0)
        return 1;
    go = 1;
    pthread_join(thread, NULL);
    return 2;
}

static void threads_that_run_are_filtered_too(void **state)
{
    int status;

    (void)state;
    need_seccomp();
    status = status_of_child(violates_in_a_thread);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGSYS);
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

/* More threads than the C library makes heaps for before it asks for the number of CPUs. */
#define THREADS 40
static int allocates_in_threads_and_ends_them(void)
{
    pthread_t threads[THREADS];
    void *failed;

    no_new_privileges();
    if (sandbox_restrict_access(&sandbox, config) < 0)
        return 1;
    for (int i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, allocate, NULL) != 0)
            return 2;
    wait_until_at_work(THREADS);
    if (sandbox_restrict_calls(&sandbox) < 0)
        return 3;
    go = 1;
    for (int i = 0; i < THREADS; i++)
        if (pthread_join(threads[i], &failed) != 0 || failed)
            return 4;
    return 0;
}

static void threads_allocate_and_end(void **state)
{
    (void)state;
    need_seccomp();
    assert_int_equal(status_of(allocates_in_threads_and_ends_them), 0);
}

static int filter_fails(void)
{
    no_new_privileges();
    errno = 0;
    return sandbox_restrict_calls(&sandbox) == -1 && errno == EINVAL ? 0 : 1;
}

static void a_filter_that_cannot_be_had_is_reported(void **state)
{
    (void)state;
    need_seccomp();
    SCRIPT(seccomp_load_script, -EINVAL);
    assert_int_equal(status_of(filter_fails), 0);
    script_clear(&seccomp_load_script);
    SCRIPT(sigaction_script, -EINVAL);
    assert_int_equal(status_of(filter_fails), 0);
}

/* ---- what is said of it ---- */

static void it_says_what_is_in_force(void **state)
{
    char text[SANDBOX_STRLEN];

    (void)state;
    assert_string_equal(sandbox_describe(NULL, text), "none");
    need_sandbox();
    sandbox = (struct sandbox){.landlock = 7, .calls = 30};
    assert_string_equal(sandbox_describe(&sandbox, text), "seccomp (30 calls), Landlock ABI 7");
    sandbox = (struct sandbox){0};
    assert_string_equal(sandbox_describe(&sandbox, text), "no seccomp, no Landlock");
    sandbox = (struct sandbox){.landlock = INT_MAX, .calls = INT_MAX};
    assert_int_equal(strlen(sandbox_describe(&sandbox, text)), 51);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_the_folder_of_the_configuration_can_be_read),
        TEST(a_link_may_lead_to_another_folder),
        TEST(a_configuration_that_is_not_there_needs_no_folder),
        TEST(tcp_connects_to_nowhere),
        TEST(whatever_fails_is_reported),
        TEST(a_kernel_without_landlock_is_no_error),
        TEST(older_abis_restrict_what_they_can),
        TEST(what_the_daemon_does_is_allowed),
        TEST(there_are_at_most_30_calls),
        TEST(any_other_call_is_named_and_fatal),
        TEST(threads_that_run_are_filtered_too),
        TEST(threads_allocate_and_end),
        TEST(a_filter_that_cannot_be_had_is_reported),
        TEST(it_says_what_is_in_force),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
