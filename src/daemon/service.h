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

/* The workers, the sockets that they serve, and the rules in force. Call these functions from the
 * thread of worker 0 only. */
struct service {
    struct worker **workers;
    size_t worker_count;
    struct loop *loop;          /* worker 0's */
    struct endpoints endpoints; /* sockets of the configuration in force */
    struct endpoints inherited; /* sockets that were handed to us */
    struct endpoints retired;   /* sockets of an earlier configuration that still have clients */
    struct connlimit *connlimit;
    struct rules *rules;   /* in force */
    uint64_t rules_key[2]; /* hash key of the next rules' tables */
    struct loop_timer retired_timer;
    rlim_t descriptors; /* RLIMIT_NOFILE at start */
};

/* Make the workers of a zeroed struct. The caller starts their threads. -1 with errno; call
 * service_fini() in any case. */
int service_init(struct service *service, size_t workers, rlim_t descriptors);
void service_fini(struct service *service);

/* Serve sockets that were handed to us, before the first service_apply(): `count` descriptors from
 * `first` on. -1 with errno: the log says why. */
int service_adopt(struct service *service, int first, int count);

/* Serve what `conf` asks for, which was read from `file`. -1 if that failed: the log says why, and
 * nothing has changed. */
int service_apply(struct service *service, const struct conf *conf, const char *file);

/* Let no new client in. What has arrived is answered, and connections go on. With `leave` clients
 * in the backlogs of sockets that the service manager stores wait for the next process. */
void service_withdraw(struct service *service, bool leave);

/* See connections_finish(). */
unsigned service_finish_connections(struct service *service, uint64_t until);

/* Close all connections and end the workers. */
void service_stop(struct service *service);

/* The counters of all workers. */
struct stats_sum service_sum(const struct service *service);

#endif
