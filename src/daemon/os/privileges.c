/* SPDX-License-Identifier: ISC */
#include "daemon/os/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <unistd.h>

/* The C library defines them, but only libcap declares them. */
int capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data);
int capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data);

int privileges_find(const char *user, const char *group, struct account *account,
                    const char **unknown)
{
    const struct passwd *pw;
    const struct group *gr;

    errno = 0;
    *unknown = user;
    pw = getpwnam(user);
    if (!pw) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    account->uid = pw->pw_uid;
    account->gid = pw->pw_gid;
    if (!group)
        return 0;
    *unknown = group;
    gr = getgrnam(group);
    if (!gr) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    account->gid = gr->gr_gid;
    return 0;
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

int privileges_drop(const struct account *account)
{
    uid_t uid = account->uid;
    gid_t gid = account->gid;

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -1;
    /* Check that there is no way back to root, whatever the calls returned. */
    if ((uid != 0 && setuid(0) == 0) || (gid != 0 && uid != 0 && setgid(0) == 0)) {
        errno = EPERM;
        return -1;
    }
    return privileges_confine();
}
