/* SPDX-License-Identifier: ISC */
#include "daemon/server.h"

#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "daemon/os/sandbox.h"
#include "unit/unit.h"

/* What tests/functional cannot do to the real program: make one system call of its start fail. The
 * daemon runs in a child. */

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *set, int flags), (fd, set, flags))
WRAP_FAILING(int, eventfd, -1, (unsigned value, int flags), (value, flags))
WRAP_FAILING(int, sched_getaffinity, -1, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))
WRAP_FAILING(int, fchown, -1, (int fd, uid_t uid, gid_t gid), (fd, uid, gid))
WRAP_FAILING(int, setresuid, -1, (uid_t r, uid_t e, uid_t s), (r, e, s))
WRAP_FAILING(int, prctl, -1,
             (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d),
             (option, a, b, c, d))
WRAP_FAILING(struct passwd *, getpwnam, NULL, (const char *name), (name))

WRAP(int, pthread_create, pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
     void *argument)
{
    int step = script_next(&pthread_create_script);

    return step < 0 ? -step : __real_pthread_create(thread, attr, fn, argument);
}

/* A step that is not negative is the kernel's answer to Landlock's query of the ABI. */
WRAP(long, syscall, long number, long a, long b, long c, long d)
{
    int step = script_next(&syscall_script);

    if (step < 0)
        errno = -step;
    return step == PASS ? __real_syscall(number, a, b, c, d) : step < 0 ? -1 : step;
}

/* libseccomp returns a negative errno. A build without it does not link it. */
int __real_seccomp_load(void *filter) __attribute__((weak));
WRAP(int, seccomp_load, void *filter)
{
    int step = script_next(&seccomp_load_script);

    return step < 0 ? step : __real_seccomp_load(filter);
}

/* On a port of the kernel's choice, whatever the configuration says. */
WRAP(int, bind, int fd, const struct sockaddr *addr, socklen_t len)
{
    struct addr copy = {.len = len};

    if (script_fails(&bind_script))
        return -1;
    memcpy(&copy.sa, addr, len);
    addr_set_port(&copy, 0);
    return __real_bind(fd, &copy.sa, len);
}

static struct script *const scripts[] = {
    &signalfd_script,       &eventfd_script, &sched_getaffinity_script, &fchown_script,
    &setresuid_script,      &prctl_script,   &getpwnam_script,          &bind_script,
    &pthread_create_script, &syscall_script, &seccomp_load_script};

static char config[64];
static struct server_options options = {.config = config, .overrides = {.log_level = -1}};
static rlim_t descriptors; /* RLIMIT_NOFILE of the child; 0: that of the test */
static bool ordinary_user; /* the child is not root, whoever runs the test */
static pid_t daemon_pid;
static int daemon_log; /* its standard error */
static char said[16384];

static void write_config(const char *text)
{
    FILE *file = fopen(config, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int set_up(void **state)
{
    int fd;

    (void)state;
    for (size_t i = 0; i < COUNT(scripts); i++)
        script_clear(scripts[i]);
    descriptors = 0;
    ordinary_user = false;
    daemon_pid = 0;
    strcpy(config, "/tmp/echod-test-XXXXXX");
    fd = mkstemp(config);
    assert_true(fd >= 0);
    fchmod(fd, 0644);
    close(fd);
    write_config("user = \"nobody\"\nworkers = 3\n"
                 "tcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { listen = { \"127.0.0.1:7001\" } }\n");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (daemon_pid > 0) {
        kill(daemon_pid, SIGKILL);
        waitpid(daemon_pid, NULL, 0);
    }
    unlink(config);
    return 0;
}

static void start_daemon(void)
{
    struct rlimit limit = {.rlim_cur = descriptors, .rlim_max = descriptors};
    int fds[2];

    said[0] = '\0';
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(NULL);
    daemon_pid = fork();
    assert_true(daemon_pid >= 0);
    if (daemon_pid == 0) {
        dup2(fds[1], STDERR_FILENO);
        if (descriptors > 0)
            setrlimit(RLIMIT_NOFILE, &limit);
        if (ordinary_user && geteuid() == 0)
            (void)!__real_setresuid(65534, 65534, 65534);
        exit(server_run(&options));
    }
    close(fds[1]);
    daemon_log = fds[0];
}

/* Read what the daemon logs until that comes, or the end if it does not. */
static bool says(const char *text)
{
    size_t used = strlen(said);

    while (!strstr(said, text) && readable(daemon_log, PATIENCE_MS)) {
        ssize_t n = read(daemon_log, said + used, sizeof said - 1 - used);

        if (n <= 0)
            break;
        said[used += (size_t)n] = '\0';
    }
    return strstr(said, text) != NULL;
}

static void assert_says(const char *text)
{
    if (!says(text))
        fail_msg("no '%s' in:\n%s", text, said);
}

static void assert_ends_with(int expected)
{
    int status;

    says("\nnever\n");
    close(daemon_log);
    assert_int_equal(waitpid(daemon_pid, &status, 0), daemon_pid);
    daemon_pid = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        fail_msg("ended with %#x instead of %d:\n%s", (unsigned)status, expected, said);
}

static void stop_daemon(void)
{
    kill(daemon_pid, SIGTERM);
    assert_ends_with(0);
}

/* The daemon must not start if one call fails; it says `text` and the reason. */
static void assert_fails(struct script *script, unsigned passes, int error, int status,
                         const char *text)
{
    char expected[160];

    script_fail_after(script, passes, error);
    start_daemon();
    assert_ends_with(status);
    script_clear(script);
    snprintf(expected, sizeof expected, "%s: %s", text, strerror(error));
    if (!strstr(said, expected))
        fail_msg("no '%s' in:\n%s", expected, said);
}

static void a_call_that_fails_at_start_ends_it_with_status_1(void **state)
{
    (void)state;
    assert_fails(&signalfd_script, 0, EMFILE, EXIT_FAILURE, "cannot start");
    assert_fails(&eventfd_script, 0, EMFILE, EXIT_FAILURE, "cannot start");
    assert_fails(&eventfd_script, 2, ENFILE, EXIT_FAILURE, "cannot start");
    assert_fails(&pthread_create_script, 0, EAGAIN, EXIT_FAILURE, "cannot start a thread");
    assert_fails(&pthread_create_script, 1, EAGAIN, EXIT_FAILURE, "cannot start a thread");
}

static void a_port_that_needs_privileges_ends_the_start_with_status_77(void **state)
{
    (void)state;
    assert_fails(&bind_script, 0, EACCES, EX_NOPERM, "cannot listen on tcp 127.0.0.1:7001");
}

static void a_user_that_root_cannot_become_ends_the_start_with_status_77(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip_because("only root can become another user");
    assert_fails(&setresuid_script, 0, EAGAIN, EX_NOPERM, "cannot become user nobody");
    assert_fails(&fchown_script, 0, EPERM, EX_NOPERM, "cannot become user nobody");
    /* The configuration looked the user up without an error before. */
    assert_fails(&getpwnam_script, 1, EIO, EX_NOPERM, "cannot become user nobody: nobody");
}

static void privileges_that_cannot_be_given_up_end_the_start_with_status_77(void **state)
{
    (void)state;
    ordinary_user = true;
    assert_fails(&prctl_script, 0, EINVAL, EX_NOPERM, "cannot give up privileges");
}

static void a_sandbox_that_cannot_be_entered_ends_the_start_with_status_1(void **state)
{
    char text[SANDBOX_STRLEN];
    char expected[160];

    (void)state;
    if (strstr(sandbox_describe(&(struct sandbox){0}, text), "instrumented"))
        skip_because("an instrumented build has no sandbox");
    SCRIPT(syscall_script, 4, -EIO);
    start_daemon();
    assert_ends_with(EXIT_FAILURE);
    snprintf(expected, sizeof expected,
             "cannot enter the sandbox: Landlock: %s (without one: sandbox = false in %s)",
             strerror(EIO), config);
    assert_non_null(strstr(said, expected));
    script_clear(&syscall_script);
    if (!__real_seccomp_load)
        skip_because("built without libseccomp");
    /* SECCOMP_GET_ACTION_AVAIL (2) of SECCOMP_RET_ALLOW. Without it the daemon would start. */
    if (syscall(SYS_seccomp, 2, 0, &(uint32_t){0x7fff0000}) < 0)
        skip_because("the kernel, or valgrind, has no seccomp(2)");
    assert_fails(&seccomp_load_script, 0, EINVAL, EXIT_FAILURE,
                 "cannot enter the sandbox: seccomp");
}

static void there_is_a_worker_for_each_usable_cpu_or_one_if_they_are_unknown(void **state)
{
    cpu_set_t usable;
    char expected[32];

    (void)state;
    write_config("tcp { listen = { \"127.0.0.1:7001\" } }\nudp { enabled = false }\n");
    assert_int_equal(sched_getaffinity(0, sizeof usable, &usable), 0);
    snprintf(expected, sizeof expected, "; %d worker", CPU_COUNT(&usable));
    start_daemon();
    assert_says(expected);
    stop_daemon();
    script_fail_after(&sched_getaffinity_script, 0, EINVAL);
    start_daemon();
    assert_says("; 1 worker; ");
    stop_daemon();
}

static void more_connections_than_descriptors_are_warned_of(void **state)
{
    (void)state;
    descriptors = 256;
    write_config("workers = 1\nudp { enabled = false }\n"
                 "tcp { listen = { \"127.0.0.1:7001\" } max-connections = 1000 }\n");
    start_daemon();
    assert_says("max-connections is 1000, but RLIMIT_NOFILE leaves room for 218");
    stop_daemon();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_call_that_fails_at_start_ends_it_with_status_1),
        TEST(a_port_that_needs_privileges_ends_the_start_with_status_77),
        TEST(a_user_that_root_cannot_become_ends_the_start_with_status_77),
        TEST(privileges_that_cannot_be_given_up_end_the_start_with_status_77),
        TEST(a_sandbox_that_cannot_be_entered_ends_the_start_with_status_1),
        TEST(there_is_a_worker_for_each_usable_cpu_or_one_if_they_are_unknown),
        TEST(more_connections_than_descriptors_are_warned_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
