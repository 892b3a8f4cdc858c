/* SPDX-License-Identifier: ISC */
#include "priv.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <unistd.h>

int priv_find(const char *user, const char *group, struct priv_identity *identity,
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

int priv_no_new_privileges(void)
{
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int priv_drop(const struct priv_identity *identity)
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
    return priv_no_new_privileges();
}
