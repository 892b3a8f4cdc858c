/* SPDX-License-Identifier: ISC */
#include "daemon/os/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/util.h"

/* The C library defines them, but only libcap declares them. */
int capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data);
int capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data);

/* (uid_t)-1 is no account: setresuid(2) takes it for "unchanged". */
static bool parse_id(const char *text, uint64_t *id)
{
    return parse_number(text, UINT32_MAX - 1, id);
}

/* A name may consist of digits: the database comes first. */
static int find_user(const char *user, struct account *account)
{
    const struct passwd *pw;
    uint64_t id;

    errno = 0;
    pw = getpwnam(user);
    if (!pw && parse_id(user, &id)) {
        pw = getpwuid((uid_t)id);
        account->uid = (uid_t)id;
        account->gid = pw ? pw->pw_gid : (gid_t)id;
        return 0;
    }
    if (!pw) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    account->uid = pw->pw_uid;
    account->gid = pw->pw_gid;
    return 0;
}

int privileges_find_group(const char *group, gid_t *gid)
{
    const struct group *gr;
    uint64_t id;

    errno = 0;
    gr = getgrnam(group);
    if (!gr && !parse_id(group, &id)) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    *gid = gr ? gr->gr_gid : (gid_t)id;
    return 0;
}

/* A line of uid_map or gid_map is "INSIDE OUTSIDE COUNT" (user_namespaces(7)). Without the file
 * every id is taken to exist: to become that account will tell. */
static bool has_id(const char *map, uint32_t id)
{
    FILE *file = fopen(map, "re");
    bool found = !file;
    char line[128];

    while (!found && fgets(line, sizeof line, file)) {
        char *rest;
        unsigned long first = strtoul(line, &rest, 10);
        unsigned long count;

        (void)strtoul(rest, &rest, 10);
        count = strtoul(rest, NULL, 10);
        found = id >= first && id - first < count;
    }
    if (file)
        fclose(file);
    return found;
}

static int find_default_user(struct account *account, const char **unknown)
{
    static const char *const users[] = {"echod", "nobody"};

    for (size_t i = 0; i < COUNT(users); i++) {
        *unknown = users[i];
        if (find_user(users[i], account) == 0) {
            if (has_id("/proc/self/uid_map", account->uid) &&
                has_id("/proc/self/gid_map", account->gid))
                return 0;
            errno = ENOENT;
        }
        if (errno != ENOENT)
            return -1;
    }
    return -1;
}

int privileges_find(const char *user, const char *group, struct account *account,
                    const char **unknown)
{
    *unknown = user;
    if ((user ? find_user(user, account) : find_default_user(account, unknown)) < 0)
        return -1;
    if (!group)
        return 0;
    *unknown = group;
    return privileges_find_group(group, &account->gid);
}

/* Clearing the inheritable set clears the ambient set too, see capabilities(7). Where nothing has
 * to change capset(2) is not called, because the units forbid it. */
int privileges_confine(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3] = {0};
    const uint32_t keep = CAP_TO_MASK(CAP_NET_BIND_SERVICE);

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || capget(&header, sets) < 0)
        return -1;
    if (((sets[0].permitted | sets[0].inheritable) & ~keep) == 0 &&
        (sets[1].permitted | sets[1].inheritable) == 0)
        return 0;
    sets[0].permitted &= keep;
    sets[0].effective &= keep;
    sets[0].inheritable &= keep;
    sets[1] = (struct __user_cap_data_struct){0};
    return capset(&header, sets);
}

bool privileges_are(const struct account *account)
{
    uid_t real, effective, saved;
    gid_t real_group, effective_group, saved_group;

    return getresuid(&real, &effective, &saved) == 0 && real == account->uid &&
           effective == account->uid && saved == account->uid &&
           getresgid(&real_group, &effective_group, &saved_group) == 0 &&
           real_group == account->gid && effective_group == account->gid &&
           saved_group == account->gid;
}

static int change_ids(const struct account *account)
{
    uid_t uid = account->uid;
    gid_t gid = account->gid;

    if (privileges_are(account))
        return getgroups(0, NULL) > 0 && setgroups(0, NULL) < 0 && errno != EPERM ? -1 : 0;
    return setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0
               ? -1
               : 0;
}

int privileges_drop(const struct account *account)
{
    uid_t uid = account->uid;
    gid_t gid = account->gid;

    if (change_ids(account) < 0)
        return -1;
    /* Check that there is no way back to root, whatever the calls returned. */
    if ((uid != 0 && setuid(0) == 0) || (gid != 0 && uid != 0 && setgid(0) == 0)) {
        errno = EPERM;
        return -1;
    }
    return privileges_confine();
}
