/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_PRIVILEGES_H
#define ECHOD_DAEMON_OS_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

/* Root's privileges are given up as soon as the ports are bound. */

struct account {
    uid_t uid;
    gid_t gid;
};

/* Look up `user`, and `group` unless that is NULL; then it is the user's own group. If `user` is
 * NULL the account is "echod", else "nobody", of which one must exist and have an id in this user
 * namespace (user_namespaces(7)). *unknown is then its name. On -1 with errno, *unknown is the name
 * that could not be found: ENOENT if it does not exist, another errno if the database cannot be
 * read. */
int privileges_find(const char *user, const char *group, struct account *account,
                    const char **unknown);

/* Look up a group, or take a number. -1 with errno, as above. */
int privileges_find_group(const char *group, gid_t *gid);

/* True if the process is that account already. */
bool privileges_are(const struct account *account);

/* Become that account for ever, without supplementary groups, and call privileges_confine(). What
 * would change nothing is not asked for, and so needs no permission; an account that stays the same
 * may keep its supplementary groups where the kernel does not let a process give them up. On -1
 * with errno the caller must not go on: part of it may be done. */
int privileges_drop(const struct account *account);

/* Set no_new_privs and give up every capability but CAP_NET_BIND_SERVICE, with which a reload can
 * bind another port below 1024. A process that became an ordinary user has no capability left.
 * Returns -1 with errno. */
int privileges_confine(void);

#endif
