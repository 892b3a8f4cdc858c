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

/* The C library has them, but leaves their declaration to libcap. */
int capget(struct __user_cap_header_struct *header, struct __user_cap_data_struct *data);
int capset(struct __user_cap_header_struct *header, const struct __user_cap_data_struct *data);

int privileges_find(const char *user, const char *group, struct account *identity,
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
    identity->uid = pw->pw_uid;
    identity->gid = pw->pw_gid;
    if (!group)
        return 0;
    *unknown = group;
    gr = getgrnam(group);
    if (!gr) {
        errno = errno ? errno : ENOENT;
        return -1;
    }
    identity->gid = gr->gr_gid;
    return 0;
}

/* With the inheritable ones the ambient ones go, see capabilities(7). Nothing is set that is set
 * already, for the units forbid it. */
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

int privileges_drop(const struct account *identity)
{
    uid_t uid = identity->uid;
    gid_t gid = identity->gid;

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -1;
    /* The way back must be shut, whatever the calls returned. */
    if ((uid != 0 && setuid(0) == 0) || (gid != 0 && uid != 0 && setgid(0) == 0)) {
        errno = EPERM;
        return -1;
    }
    return privileges_confine();
}
