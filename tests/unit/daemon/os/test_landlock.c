/* SPDX-License-Identifier: ISC */
#include "daemon/os/landlock.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "unit/unit.h"

/* LeakSanitizer would wait for ever at the end of a child that may not read /proc. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

/* landlock.c makes no other calls through syscall(2). A step that is not negative is the answer. */
WRAP(long, syscall, long number, long a, long b, long c, long d)
{
    int step = script_next(&syscall_script);

    if (step < 0)
        errno = -step;
    return step == PASS ? __real_syscall(number, a, b, c, d) : step < 0 ? -1 : step;
}

static char folder[] = "/tmp/echod-unit-XXXXXX";
static char config[64];

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
    return 0;
}

/* ---- a child in a sandbox: there is no way out of one ---- */

/* Returns the exit status of a child that runs fn(). */
static int status_of(int (*fn)(void))
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            exit(99);
        exit(fn());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void need_landlock(void)
{
    if (landlock_abi() < 1)
        skip_because("this kernel has no Landlock");
}

static bool can_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* ---- tests ---- */

static int look_at_files(void)
{
    char other[80];

    if (landlock_restrict(landlock_abi(), config) < 0)
        return 1;
    snprintf(other, sizeof other, "%s/other", folder);
    if (!can_read(config))
        return 2;
    if (can_read("/etc/passwd") || can_read("/proc/self/status") || can_read("/tmp") ||
        can_read("/dev/null"))
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
    if (landlock_restrict(landlock_abi(), link_name) < 0 || !can_read(link_name))
        return 1;
    return can_read("/etc/passwd") ? 2 : 0;
}

static void the_target_of_a_symbolic_link_can_be_read_too(void **state)
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
    if (landlock_restrict(landlock_abi(), "/nonexistent/echod.conf") < 0)
        return 1;
    return can_read("/etc/passwd") ? 2 : 0;
}

static void a_configuration_that_does_not_exist_needs_no_folder(void **state)
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
    if (landlock_restrict(landlock_abi(), config) < 0)
        return 2;
    /* A reload may bind another port. */
    if (bound_socket(SOCK_STREAM, "127.0.0.1") < 0)
        return 3;
    if (connect(datagram, &addr.sa, addr.len) < 0)
        return 4;
    return connect(client, &addr.sa, addr.len) < 0 && errno == EACCES ? 0 : 5;
}

static void no_tcp_connection_can_be_made(void **state)
{
    (void)state;
    need_landlock();
    if (landlock_abi() < LANDLOCK_ABI_TCP)
        skip_because("Landlock of this kernel cannot forbid TCP connections");
    assert_int_equal(status_of(connect_out), 0);
}

static int fails_with_eio(void)
{
    errno = 0;
    return landlock_restrict(1, config) == -1 && errno == EIO ? 0 : 1;
}

static void each_call_that_fails_is_reported(void **state)
{
    (void)state;
    need_landlock();
    for (unsigned n = 0; n < 4; n++) {
        /* Create a ruleset, add the folder and that of the target, enter it. */
        script_fail_after(&syscall_script, n, EIO);
        assert_int_equal(status_of(fails_with_eio), 0);
    }
}

static void a_kernel_without_landlock_is_told_from_one_with_it(void **state)
{
    static const int errors[] = {ENOSYS, EOPNOTSUPP, EPERM};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(syscall_script, -errors[i]);
        assert_int_equal(landlock_abi(), -1);
        assert_int_equal(errno, errors[i]);
    }
    SCRIPT(syscall_script, 3);
    assert_int_equal(landlock_abi(), 3);
}

static int older_abi;
static int restrict_by_older_abi(void)
{
    if (landlock_restrict(older_abi, config) < 0)
        return 1;
    return can_read(config) && !can_read("/etc/passwd") ? 0 : 2;
}

static void each_older_abi_restricts_files(void **state)
{
    (void)state;
    need_landlock();
    for (older_abi = 1; older_abi <= landlock_abi(); older_abi++)
        assert_int_equal(status_of(restrict_by_older_abi), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_the_folder_of_the_configuration_can_be_read),
        TEST(the_target_of_a_symbolic_link_can_be_read_too),
        TEST(a_configuration_that_does_not_exist_needs_no_folder),
        TEST(no_tcp_connection_can_be_made),
        TEST(each_call_that_fails_is_reported),
        TEST(a_kernel_without_landlock_is_told_from_one_with_it),
        TEST(each_older_abi_restricts_files),
    };

    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
