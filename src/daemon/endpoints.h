/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ENDPOINTS_H
#define ECHOD_DAEMON_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/addr.h"
#include "daemon/conf/conf.h"
#include "net/socket.h"

/* The sockets that a configuration asks for, and how to get from one set to the next without
 * closing what both have. */

struct endpoint {
    int type; /* SOCK_STREAM or SOCK_DGRAM */
    struct addr addr;
    bool inherited; /* handed over by the service manager: one socket, which all workers share */
    bool fresh;     /* in the new set only */
    size_t count;
    int fds[]; /* one for each worker, or the inherited one */
};

struct endpoints {
    struct endpoint **list;
    size_t count;
};

/* The socket of a worker. */
int endpoint_fd(const struct endpoint *endpoint, size_t worker);

/* "tcp 192.0.2.1:7"; returns buf. */
#define ENDPOINT_STRLEN (ADDR_STRLEN + 4)
const char *endpoint_print(const struct endpoint *endpoint, char buf[static ENDPOINT_STRLEN]);

/* "tcp 0.0.0.0:7 [::]:7; udp 0.0.0.0:7", cut to fit; returns buf. */
const char *endpoints_describe(const struct endpoints *set, char *buf, size_t size);

/* Take over `count` descriptors from `first` on. Logs and returns -1 with errno at one that is no
 * socket we can serve. */
int endpoints_adopt(struct endpoints *set, int first, int count);

/* Make in *next what conf asks for: every endpoint of `current` that is still wanted, and fresh
 * ones with `workers` sockets each. Inherited ones stay whatever conf says, and replace its list
 * for their protocol; while their protocol is disabled they are left out of *next. `file` names the
 * configuration in errors, which are logged. On -1 with errno nothing has changed. */
int endpoints_plan(struct endpoints *next, const struct endpoints *current,
                   const struct endpoints *inherited, const struct conf *conf, const char *file,
                   size_t workers);

/* Give up a plan: close what is fresh in it, and undo what was done to `current` for it. Keeps
 * errno. */
void endpoints_abandon(const struct endpoints *current, struct endpoints *next);

/* Put a plan in force: moves *next to *current, what only *current had to *retired, which must be
 * empty, and gives all our listeners that backlog. What is retired is the caller's to serve out and
 * close. */
void endpoints_commit(struct endpoints *current, struct endpoints *next, struct endpoints *retired,
                      int backlog);

bool endpoints_has(const struct endpoints *set, const struct endpoint *endpoint);

/* Give every socket to that user, see socket_chown(). */
int endpoints_own(const struct endpoints *set, uid_t uid, gid_t gid);

/* Close and free all but, unless asked, the inherited ones. */
void endpoints_close(struct endpoints *set, bool also_inherited);

#endif
