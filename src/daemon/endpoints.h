/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ENDPOINTS_H
#define ECHOD_DAEMON_ENDPOINTS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/addr.h"
#include "daemon/conf/conf.h"
#include "daemon/os/service_manager.h"
#include "net/socket.h"

/* The sockets that a configuration asks for. A reload plans the next set, then commits or abandons
 * the plan; sockets that both sets have stay open. */

struct endpoint {
    int type; /* SOCK_STREAM or SOCK_DGRAM */
    struct addr addr;
    bool mptcp;     /* its listeners were opened for MPTCP */
    bool inherited; /* handed over by the service manager: all workers share its one socket */
    bool fresh;     /* opened by a plan that is not committed yet */
    bool stored;    /* the service manager's descriptor store holds its sockets, too */
    size_t count;   /* of fds */
    int fds[];      /* by worker; an inherited endpoint has only fds[0] */
};

struct endpoints {
    struct endpoint **list;
    size_t count;
};

/* The socket that a worker serves. */
int endpoint_fd(const struct endpoint *endpoint, size_t worker);

/* "tcp 192.0.2.1:7"; returns buf. */
#define ENDPOINT_STRLEN (ADDR_STRLEN + 4)
const char *endpoint_print(const struct endpoint *endpoint, char buf[static ENDPOINT_STRLEN]);

/* "tcp 0.0.0.0:7 [::]:7; udp 0.0.0.0:7", cut short if it does not fit; returns buf. */
const char *endpoints_describe(const struct endpoints *set, char *buf, size_t size);

/* Append inherited endpoints for `count` descriptors from `first` on. If a descriptor is not a
 * socket that we can serve, logs which and why, and returns -1 with errno; the endpoints before it
 * stay in the set. */
int endpoints_adopt(struct endpoints *set, int first, int count);

/* Append the sockets that an earlier process of ours has stored: those of one address are one
 * endpoint. Each gets one socket for each worker: surplus sockets are closed and further ones
 * opened, and then the endpoint counts as not stored. What cannot be served is closed, and the log
 * says so. -1 without memory. */
int endpoints_restore(struct endpoints *set, const int fds[], size_t count, size_t workers);

/* The endpoint's name in the descriptor store; returns buf. */
#define ENDPOINT_NAMELEN (ENDPOINT_STRLEN + sizeof SERVICE_MANAGER_STORED)
const char *endpoint_name(const struct endpoint *endpoint, char buf[static ENDPOINT_NAMELEN]);

/* Make *next the set that conf asks for: the endpoints of `current` that conf still lists, and
 * fresh endpoints with `workers` sockets each. For a protocol with inherited endpoints, conf's list
 * is ignored: *next has the inherited endpoints, or none while the protocol is disabled. Errors are
 * logged, with `file` as the name of the configuration. On -1 with errno nothing has changed. */
int endpoints_plan(struct endpoints *next, const struct endpoints *current,
                   const struct endpoints *inherited, const struct conf *conf, const char *file,
                   size_t workers);

/* Give up a plan: close its fresh endpoints, and undo changes to the sockets of `current`. Keeps
 * errno. */
void endpoints_abandon(const struct endpoints *current, struct endpoints *next);

/* Put a plan in force: *next becomes *current, and endpoints that only *current had become
 * *retired, which must be empty before. Every listener that is not inherited gets the backlog. The
 * caller serves the clients of *retired and closes it. */
void endpoints_commit(struct endpoints *current, struct endpoints *next, struct endpoints *retired,
                      int backlog);

bool endpoints_has(const struct endpoints *set, const struct endpoint *endpoint);

/* Give every socket that is not inherited to that user, see socket_chown(). Returns -1 with errno.
 */
int endpoints_chown(const struct endpoints *set, uid_t uid, gid_t gid);

/* Empty the set, and close and free its endpoints; inherited ones only if asked. */
void endpoints_close(struct endpoints *set, bool also_inherited);

#endif
