/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_PRIVILEGES_H
#define ECHOD_DAEMON_OS_PRIVILEGES_H

#include <sys/types.h>

/* Root's privileges are given up as soon as the ports are bound. */

struct account {
    uid_t uid;
    gid_t gid;
};

/* Look up `user`, and `group` unless that is NULL; then it is the user's own group. On -1 with
 * errno, *unknown is the name that could not be found: ENOENT if it does not exist, another errno
 * if the database cannot be read. */
int privileges_find(const char *user, const char *group, struct account *account,
                    const char **unknown);

/* Become that account for ever, without supplementary groups, and call privileges_confine(). On -1
 * with errno the caller must not go on: part of it may be done. */
int privileges_drop(const struct account *account);

/* Set no_new_privs and give up every capability but CAP_NET_BIND_SERVICE, with which a reload can
 * bind another port below 1024. A process that became an ordinary user has no capability left.
 * Returns -1 with errno. */
int privileges_confine(void);

#endif
