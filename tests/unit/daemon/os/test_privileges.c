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

/* A step of 0 is a success without effect: a kernel or a C library that lies. */
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

/* What the account database says when asked for a name: as it is, or that it cannot be read. */
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
    return 0;
}

/* Dropping privileges cannot be undone: each test does it in a child of its own, whose exit status
 * is 0, or the number of what was wrong. */
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
        skip_because("only root can become somebody else");
}

/* ---- accounts ---- */

static void an_account_brings_its_own_group(void **state)
{
    struct account identity;
    const char *unknown;

    (void)state;
    assert_int_equal(privileges_find("nobody", NULL, &identity, &unknown), 0);
    assert_int_equal(identity.uid, 65534);
    assert_int_equal(identity.gid, getpwnam("nobody")->pw_gid);
}

static void a_group_that_is_named_replaces_it(void **state)
{
    struct account identity;
    const char *unknown;

    (void)state;
    assert_int_equal(privileges_find("nobody", "daemon", &identity, &unknown), 0);
    assert_int_equal(identity.uid, 65534);
    assert_int_equal(identity.gid, getgrnam("daemon")->gr_gid);
}

static void what_does_not_exist_is_named(void **state)
{
    struct account identity;
    const char *unknown = NULL;

    (void)state;
    errno = 0;
    assert_int_equal(privileges_find("no-such-user", "daemon", &identity, &unknown), -1);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(unknown, "no-such-user");
    errno = 0;
    assert_int_equal(privileges_find("nobody", "no-such-group", &identity, &unknown), -1);
    assert_int_equal(errno, ENOENT);
    assert_string_equal(unknown, "no-such-group");
}

static void an_unreadable_database_is_another_error_than_a_missing_account(void **state)
{
    static const int errors[] = {EIO, EMFILE, ENFILE, ENOMEM};
    struct account identity;
    const char *unknown;

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(getpwnam_script, -errors[i]);
        assert_int_equal(privileges_find("nobody", NULL, &identity, &unknown), -1);
        assert_int_equal(errno, errors[i]);
        SCRIPT(getgrnam_script, -errors[i]);
        assert_int_equal(privileges_find("nobody", "daemon", &identity, &unknown), -1);
        assert_int_equal(errno, errors[i]);
    }
}

/* ---- dropping ---- */

static int drop_and_look(void)
{
    struct account identity = nobody();
    uid_t uids[3];
    gid_t gids[3];

    if (privileges_drop(&identity) < 0)
        return 1;
    if (getresuid(&uids[0], &uids[1], &uids[2]) < 0 || getresgid(&gids[0], &gids[1], &gids[2]) < 0)
        return 2;
    for (int i = 0; i < 3; i++)
        if (uids[i] != 65534 || gids[i] != 65534)
            return 3;
    if (getgroups(0, NULL) != 0)
        return 4;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
        return 5;
    return setresuid(0, 0, 0) == 0 || setresgid(0, 0, 0) == 0 ? 6 : 0;
}

static void everything_is_dropped_and_there_is_no_way_back(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(status_of_child(drop_and_look), 0);
}

static int drop_fails_with_eperm(void)
{
    struct account identity = nobody();

    errno = 0;
    return privileges_drop(&identity) == -1 ? (errno == EPERM ? 0 : 2) : 1;
}

static int drop_fails_with_eagain(void)
{
    struct account identity = nobody();

    errno = 0;
    return privileges_drop(&identity) == -1 ? (errno == EAGAIN ? 0 : 2) : 1;
}

static void each_call_that_fails_makes_it_fail(void **state)
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

static void a_way_back_that_is_open_makes_it_fail(void **state)
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
    struct account identity = nobody();

    if (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0)
        return 3;
    identity.uid = 1;
    return privileges_drop(&identity) == -1 ? (errno == EPERM ? 0 : 2) : 1;
}

static void without_privileges_it_fails(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(drop_without_privileges), 0);
}

static int drop_to(uid_t uid, gid_t gid)
{
    struct account identity = {.uid = uid, .gid = gid};

    if (privileges_drop(&identity) < 0)
        return 1;
    return getuid() == uid && getgid() == gid ? 0 : 2;
}

static int drop_to_group_root(void)
{
    return drop_to(65534, 0);
}

static int drop_to_root(void)
{
    return drop_to(0, 0);
}

static void an_account_in_group_root_is_allowed(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(status_of_child(drop_to_group_root), 0);
}

static void root_may_stay_root_if_asked(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(status_of_child(drop_to_root), 0);
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

static int drop_and_look_at_capabilities(void)
{
    struct account identity = nobody();

    if (privileges_drop(&identity) < 0)
        return 1;
    return capabilities("CapPrm") == 0 && capabilities("CapEff") == 0 &&
                   capabilities("CapInh") == 0 && capabilities("CapAmb") == 0
               ? 0
               : 2;
}

/* As systemd starts a service with AmbientCapabilities=, and more than that. */
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

static void at_most_low_ports_can_be_bound(void **state)
{
    (void)state;
    assert_int_equal(status_of_child(confine_and_look), 0);
    need_root();
    assert_int_equal(status_of_child(with_ambient_capabilities), 0);
}

static void who_becomes_an_ordinary_user_has_no_capability(void **state)
{
    (void)state;
    need_root();
    assert_int_equal(status_of_child(drop_and_look_at_capabilities), 0);
}

static int confine_fails(void)
{
    errno = 0;
    return privileges_confine() == -1 && errno == EINVAL ? 0 : 1;
}

static void whatever_fails_makes_confining_fail(void **state)
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
        TEST(an_account_brings_its_own_group),
        TEST(a_group_that_is_named_replaces_it),
        TEST(what_does_not_exist_is_named),
        TEST(an_unreadable_database_is_another_error_than_a_missing_account),
        TEST(everything_is_dropped_and_there_is_no_way_back),
        TEST(each_call_that_fails_makes_it_fail),
        TEST(a_way_back_that_is_open_makes_it_fail),
        TEST(without_privileges_it_fails),
        TEST(an_account_in_group_root_is_allowed),
        TEST(root_may_stay_root_if_asked),
        TEST(at_most_low_ports_can_be_bound),
        TEST(who_becomes_an_ordinary_user_has_no_capability),
        TEST(whatever_fails_makes_confining_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
