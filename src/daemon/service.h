/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_SERVICE_H
#define ECHOD_DAEMON_SERVICE_H

#include <stddef.h>
#include <sys/resource.h>

#include "daemon/admission/connlimit.h"
#include "daemon/admission/rules.h"
#include "daemon/conf/conf.h"
#include "daemon/endpoints.h"
#include "daemon/stats/stats.h"
#include "daemon/worker.h"
#include "net/loop.h"

/* What is served, and by whom: the workers, the sockets that they have, and the rules in force. All
 * functions are for the thread of worker 0. */
struct service {
    struct worker **workers;
    size_t worker_count;
    struct loop *loop; /* worker 0's */
    struct endpoints endpoints;
    struct endpoints inherited;
    struct endpoints retired; /* of an earlier configuration, being served out */
    struct connlimit *admit;
    uint64_t key[2];      /* of the policies' tables */
    struct rules *policy; /* in force */
    struct loop_timer retired_timer;
    rlim_t descriptors; /* RLIMIT_NOFILE as it was at start */
};

/* Make the workers of a zeroed service; their threads are started by the caller. -1 with errno;
 * service_fini() is due in any case. */
int service_init(struct service *service, size_t workers, rlim_t descriptors);
void service_fini(struct service *service);

/* Serve what conf, read from `file`, asks for. -1 with errno: the log tells why, and nothing has
 * changed. */
int service_apply(struct service *service, const struct conf *conf, const char *file);

/* Take nobody in any longer: what has arrived is answered, connections go on. */
void service_withdraw(struct service *service);

/* Close all connections, and let the workers end. */
void service_stop(struct service *service);

/* The counters of all workers. */
struct stats_sum service_sum(const struct service *service);

#endif
