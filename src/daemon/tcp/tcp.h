/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_TCP_H
#define ECHOD_DAEMON_TCP_TCP_H

#include <stdint.h>

#include "daemon/admission/acl.h"
#include "daemon/admission/connlimit.h"
#include "daemon/stats/stats.h"
#include "daemon/tcp/connection.h"
#include "daemon/tcp/listener.h"
#include "net/loop.h"

/* One worker's TCP service: its listeners (add, retire, drain and drop them through `listeners`)
 * and its connections. */
struct tcp {
    struct connections connections;
    struct listeners listeners;
};

/* `loop`, `stats` and `connlimit` are borrowed and must outlive it, and so must `wakeup`, the
 * worker's eventfd(2), which is added to connlimit. -1 with errno. */
int tcp_init(struct tcp *tcp, struct loop *loop, struct stats *stats, struct connlimit *connlimit,
             int wakeup);

/* Closes all connections at once and leaves the clients in a backlog to others. Does nothing to a
 * zeroed struct. */
void tcp_fini(struct tcp *tcp);

/* Who may connect from now on, and the idle timeout in nanoseconds (0: never). Both hold for open
 * connections too. Also looks for listeners that were shut down and are listening again. */
void tcp_set_params(struct tcp *tcp, const struct acl *access, uint64_t idle_timeout);

/* To be called when `wakeup` was written to: another worker needs a slot, or has given us one. */
void tcp_woken(struct tcp *tcp);

/* See connections_finish(). */
unsigned tcp_finish(struct tcp *tcp, uint64_t until);

/* Close all connections at once. */
void tcp_close_all(struct tcp *tcp);

#endif
