/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_PRIVILEGES_H
#define ECHOD_DAEMON_OS_PRIVILEGES_H

#include <sys/types.h>

/* Who we are, from the moment that the ports are bound. */

struct account {
    uid_t uid;
    gid_t gid;
};

/* Look up an account, and a group unless that is NULL: the account's own. -1 with errno, ENOENT
 * where one does not exist, and *unknown its name. */
int privileges_find(const char *user, const char *group, struct account *identity,
                    const char **unknown);

/* Become that account for good: no supplementary groups, no way back; and privileges_confine().
 * Every part must succeed; on -1 with errno the caller must not go on. */
int privileges_drop(const struct account *identity);

/* For whoever does not drop: no more privileges through execve(2), and no capability but
 * CAP_NET_BIND_SERVICE where there is one, so that a reload can bind another port below 1024. Who
 * started as root and became an ordinary user has none. */
int privileges_confine(void);

#endif
