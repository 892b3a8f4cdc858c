/* SPDX-License-Identifier: ISC */
#include "daemon/os/privileges.h"

#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "unit/unit.h"

WRAP_FAILING(int, setgroups, -1, (size_t count, const gid_t *list), (count, list))
WRAP_FAILING(int, setresgid, -1, (gid_t r, gid_t e, gid_t s), (r, e, s))
WRAP_FAILING(int, setresuid, -1, (uid_t r, uid_t e, uid_t s), (r, e, s))

/* A step of 0 succeeds without effect. */
WRAP(int, setuid, uid_t uid)
{
    int step = script_next(&setuid_script);

    return step == 0 ? 0 : __real_setuid(uid);
}

WRAP(int, setgid, gid_t gid)
{
    int step = script_next(&setgid_script);

    return step == 0 ? 0 : __real_setgid(gid);
}

WRAP(int, prctl, int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)
{
    return script_fails(&prctl_script) ? -1 : __real_prctl(option, a, b, c, d);
}

WRAP_FAILING(int, capget, -1,
             (struct __user_cap_header_struct * header, struct __user_cap_data_struct *data),
             (header, data))
WRAP_FAILING(int, capset, -1,
             (struct __user_cap_header_struct * header, const struct __user_cap_data_struct *data),
             (header, data))

WRAP_FAILING(struct passwd *, getpwnam, NULL, (const char *name), (name))
WRAP_FAILING(struct group *, getgrnam, NULL, (const char *name), (name))

static int set_up(void **state)
{
    (void)state;
    script_clear(&setgroups_script);
    script_clear(&setresgid_script);
    script_clear(&setresuid_script);
    script_clear(&setuid_script);
    script_clear(&setgid_script);
    script_clear(&prctl_script);
    script_clear(&capget_script);
    script_clear(&capset_script);
    script_clear(&getpwnam_script);
    return 0;
}

/* Dropping privileges cannot be undone, so each test does it in a child. The exit status is 0, or
 * the number of the check that failed. */
static int status_of_child(int (*fn)(void))
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

static struct account nobody(void)
{
    return (struct account){.uid = 65534, .gid = 65534};
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip_because("only root can become another user");
}

/* ---- accounts ---- */

static void a_user_or_group_that_does_not_exist_is_named(void **state)
{
    struct account account;
    const char *unknown = NULL;

    (void)state;
    errno = 0;
    assert_int_equal(privileges_find("no-such-user", "daemon", &account, &unknown), -1);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(unknown, "no-such-user");
    errno = 0;
    assert_int_equal(privileges_find("nobody", "no-such-group", &account, &unknown), -1);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(unknown, "no-such-group");
}

/* 4294967295 is no account: setresuid(2) takes it for "unchanged". */
static void a_number_is_an_account_whether_or_not_it_has_a_name(void **state)
{
    struct account account;
    const char *unknown;

    (void)state;
    assert_int_equal(privileges_find("54321", "54322", &account, &unknown), 0);
    assert_int_equal(account.uid, 54321);
    assert_int_equal(account.gid, 54322);
    /* Without a group: the account's own, or the same number. */
    assert_int_equal(privileges_find("54321", NULL, &account, &unknown), 0);
    assert_int_equal(account.gid, 54321);
    assert_int_equal(privileges_find("0", NULL, &account, &unknown), 0);
    assert_int_equal(account.uid, 0);
    assert_int_equal(privileges_find("65534", NULL, &account, &unknown), 0);
    assert_int_equal(account.gid, getpwnam("nobody")->pw_gid);
    assert_int_equal(privileges_find("4294967295", NULL, &account, &unknown), -1);
    assert_int_equal(errno, ENOENT);
}

static void an_unreadable_database_is_another_error_than_a_missing_account(void **state)
{
    static const int errors[] = {EIO, EMFILE, ENFILE, ENOMEM};
    struct account account;
    const char *unknown;

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(getpwnam_script, -errors[i]);
        assert_int_equal(privileges_find("nobody", NULL, &account, &unknown), -1);
        assert_int_equal(errno, errors[i]);
        SCRIPT(getgrnam_script, -errors[i]);
        assert_int_equal(privileges_find("nobody", "daemon", &account, &unknown), -1);
        assert_int_equal(errno, errors[i]);
    }
}

static void without_a_user_the_account_is_echod_else_nobody(void **state)
{
    const struct passwd *own = getpwnam("echod");
    uid_t expected = own ? own->pw_uid : getpwnam("nobody")->pw_uid;
    struct account account;
    const char *unknown;

    (void)state;
    assert_int_equal(privileges_find(NULL, NULL, &account, &unknown), 0);
    assert_int_equal(account.uid, expected);
    assert_string_equal(unknown, own ? "echod" : "nobody");
    SCRIPT(getpwnam_script, -ENOENT);
    assert_int_equal(privileges_find(NULL, NULL, &account, &unknown), 0);
    assert_string_equal(unknown, "nobody");
    SCRIPT(getpwnam_script, -ENOENT, -ENOENT);
    assert_int_equal(privileges_find(NULL, NULL, &account, &unknown), -1);
    assert_int_equal(errno, ENOENT);
    SCRIPT(getpwnam_script, -EIO);
    assert_int_equal(privileges_find(NULL, NULL, &account, &unknown), -1);
    assert_int_equal(errno, EIO);
}

/* ---- dropping ---- */

/* As root of a user namespace with one id. */
static int stay_without_permission(void)
{
    struct account account = {.uid = getuid(), .gid = getgid()};

    script_always(&setgroups_script, -EPERM);
    script_always(&setresgid_script, -EPERM);
    script_always(&setresuid_script, -EPERM);
    return privileges_are(&account) && privileges_drop(&account) == 0 ? 0 : 1;
}

static void a_change_that_changes_nothing_needs_no_permission(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(stay_without_permission), 0);
}

static int drop_fails_with_eperm(void)
{
    struct account account = nobody();

    errno = 0;
    return privileges_drop(&account) == -1 ? (errno == EPERM ? 0 : 2) : 1;
}

static int drop_fails_with_eagain(void)
{
    struct account account = nobody();

    errno = 0;
    return privileges_drop(&account) == -1 ? (errno == EAGAIN ? 0 : 2) : 1;
}

static void dropping_fails_if_any_call_fails(void **state)
{
    struct script *scripts[] = {&setgroups_script, &setresgid_script, &setresuid_script,
                                &prctl_script};

    (void)state;
    need_root();
    for (size_t i = 0; i < COUNT(scripts); i++) {
        SCRIPT(*scripts[i], -EPERM);
        assert_int_equal(status_of_child(drop_fails_with_eperm), 0);
        script_clear(scripts[i]);
    }
    /* setresuid(2): the user has RLIMIT_NPROC processes already. */
    SCRIPT(setresuid_script, -EAGAIN);
    assert_int_equal(status_of_child(drop_fails_with_eagain), 0);
}

static void dropping_fails_if_the_process_can_become_root_again(void **state)
{
    (void)state;
    need_root();
    SCRIPT(setuid_script, 0);
    assert_int_equal(status_of_child(drop_fails_with_eperm), 0);
    script_clear(&setuid_script);
    SCRIPT(setgid_script, 0);
    assert_int_equal(status_of_child(drop_fails_with_eperm), 0);
}

static int drop_without_privileges(void)
{
    struct account account = nobody();

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
        return 3;
    account.uid = 1;
    return privileges_drop(&account) == -1 ? (errno == EPERM ? 0 : 2) : 1;
}

static void dropping_fails_without_privileges(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(drop_without_privileges), 0);
}

static int drop_to(uid_t uid, gid_t gid)
{
    struct account account = {.uid = uid, .gid = gid};

    if (privileges_drop(&account) < 0)
        return 1;
    return getuid() == uid && getgid() == gid ? 0 : 2;
}

static int drop_to_group_root(void)
{
    return drop_to(65534, 0);
}

static void a_user_in_group_root_is_allowed(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(status_of_child(drop_to_group_root), 0);
}

/* ---- without dropping ---- */

#define NET_BIND_SERVICE (UINT64_C(1) << CAP_NET_BIND_SERVICE)

static uint64_t capabilities(const char *set)
{
    char line[256];
    uint64_t value = UINT64_MAX;
    FILE *status = fopen("/proc/self/status", "r");

    if (!status)
        return UINT64_MAX;
    while (fgets(line, sizeof line, status))
        if (strncmp(line, set, strlen(set)) == 0)
            value = strtoull(line + strlen(set) + 1, NULL, 16);
    fclose(status);
    return value;
}

static int confine_and_look(void)
{
    uint64_t bind = geteuid() == 0 ? NET_BIND_SERVICE : 0;

    if (privileges_confine() < 0)
        return 1;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 2;
    if (capabilities("CapPrm") != bind || capabilities("CapEff") != bind)
        return 3;
    return capabilities("CapInh") == 0 && capabilities("CapAmb") == 0 ? 0 : 4;
}

/* As systemd starts a service with AmbientCapabilities=, but with more capabilities. */
static int with_ambient_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setresuid(65534, 65534, 65534) < 0 ||
        __real_capget(&header, sets) < 0)
        return 11;
    sets[0].effective = sets[0].inheritable = sets[0].permitted;
    if (__real_capset(&header, sets) < 0)
        return 12;
    for (unsigned long c = CAP_NET_BIND_SERVICE; c <= CAP_NET_RAW; c++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
            return 13;
    if (privileges_confine() < 0)
        return 14;
    if (capabilities("CapEff") != NET_BIND_SERVICE || capabilities("CapInh") != NET_BIND_SERVICE ||
        capabilities("CapAmb") != NET_BIND_SERVICE)
        return 15;
    /* Under the units, where there is nothing to give up, capset(2) is forbidden. */
    script_always(&capset_script, -EPERM);
    return privileges_confine() == 0 ? 0 : 16;
}

static void confining_leaves_at_most_the_capability_to_bind_low_ports(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(confine_and_look), 0);
    need_root();
    assert_int_equal(status_of_child(with_ambient_capabilities), 0);
}

static int confine_fails(void)
{
    errno = 0;
    return privileges_confine() == -1 && errno == EINVAL ? 0 : 1;
}

static void confining_fails_if_any_call_fails(void **state)
{
    struct script *scripts[] = {&prctl_script, &capget_script, &capset_script};

    (void)state;
    need_root();
    for (size_t i = 0; i < COUNT(scripts); i++) {
        SCRIPT(*scripts[i], -EINVAL);
        assert_int_equal(status_of_child(confine_fails), 0);
        script_clear(scripts[i]);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_user_or_group_that_does_not_exist_is_named),
        TEST(a_number_is_an_account_whether_or_not_it_has_a_name),
        TEST(an_unreadable_database_is_another_error_than_a_missing_account),
        TEST(without_a_user_the_account_is_echod_else_nobody),
        TEST(a_change_that_changes_nothing_needs_no_permission),
        TEST(dropping_fails_if_any_call_fails),
        TEST(dropping_fails_if_the_process_can_become_root_again),
        TEST(dropping_fails_without_privileges),
        TEST(a_user_in_group_root_is_allowed),
        TEST(confining_leaves_at_most_the_capability_to_bind_low_ports),
        TEST(confining_fails_if_any_call_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
