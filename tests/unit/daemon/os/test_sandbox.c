/* SPDX-License-Identifier: ISC */
#include "daemon/os/sandbox.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "unit/unit.h"

/* LeakSanitizer would wait for ever at the end of a child that may not read /proc. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

/* The answers to Landlock's query of the ABI, and to seccomp's query whether there are filters. */
WRAP(long, syscall, long number, long a, long b, long c, long d)
{
    int step = script_next(&syscall_script);

    if (step < 0)
        errno = -step;
    return step == PASS ? __real_syscall(number, a, b, c, d) : step < 0 ? -1 : step;
}

static struct sandbox sandbox;
static char text[SANDBOX_STRLEN];

static int set_up(void **state)
{
    (void)state;
    script_clear(&syscall_script);
    return 0;
}

static void need_sandbox(void)
{
    if (strstr(sandbox_describe(&(struct sandbox){0}, text), "instrumented"))
        skip_because("an instrumented build has no sandbox");
}

static int enter(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        sandbox_restrict_access(&sandbox, "/nonexistent/echod.conf") < 0 ||
        sandbox_restrict_calls(&sandbox) < 0)
        return 1;
    return 0;
}

/* In a child, as there is no way out of a sandbox. */
static int status_of(int (*fn)(void))
{
    int status;
    pid_t child;

    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        exit(fn());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool lacks(const char *what)
{
    return strstr(sandbox.missing, what) != NULL;
}

static int enters_on_a_kernel_without_both(void)
{
    if (enter() != 0)
        return 1;
    if (!lacks("no Landlock (") || !lacks("files stay readable, TCP connections possible") ||
        !lacks("; no seccomp (") || !lacks("all system calls stay possible"))
        return 2;
    return strcmp(sandbox_describe(&sandbox, text), "no seccomp, no Landlock") == 0 ? 0 : 3;
}

static void on_a_kernel_without_landlock_and_seccomp_it_says_what_is_missing(void **state)
{
    (void)state;
    need_sandbox();
    SCRIPT(syscall_script, -EOPNOTSUPP, -EINVAL);
    assert_int_equal(status_of(enters_on_a_kernel_without_both), 0);
}

static int has_an_old_landlock(void)
{
    SCRIPT(syscall_script, 3);
    if (sandbox_restrict_access(&sandbox, "/nonexistent/echod.conf") < 0)
        return errno == EOPNOTSUPP || errno == ENOSYS ? 77 : 1;
    return lacks("Landlock ABI 3, not 4: TCP connections stay possible") ? 0 : 2;
}

static int enters_with_an_old_landlock(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? 1 : has_an_old_landlock();
}

static void on_a_kernel_with_an_old_landlock_it_says_what_stays_possible(void **state)
{
    int status;

    (void)state;
    need_sandbox();
    status = status_of(enters_with_an_old_landlock);
    if (status == 77)
        skip_because("this kernel has no Landlock");
    assert_int_equal(status, 0);
}

static void it_says_what_is_in_force(void **state)
{
    (void)state;
    assert_string_equal(sandbox_describe(NULL, text), "none");
    need_sandbox();
    sandbox = (struct sandbox){.landlock = 7, .calls = 30};
    assert_non_null(strstr(sandbox_describe(&sandbox, text), "seccomp (30 calls"));
    assert_non_null(strstr(text, "), Landlock ABI 7"));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(on_a_kernel_without_landlock_and_seccomp_it_says_what_is_missing),
        TEST(on_a_kernel_with_an_old_landlock_it_says_what_stays_possible),
        TEST(it_says_what_is_in_force),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
