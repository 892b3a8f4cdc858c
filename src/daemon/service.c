/* SPDX-License-Identifier: ISC */
#include "daemon/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/os/service_manager.h"

/* How long a retired socket still accepts clients whose handshake had begun: a long round trip. */
#define RETIREMENT (SECOND / 5)

/* Descriptors kept for other things than connections, workers and their sockets. */
#define RESERVED_DESCRIPTORS 32

/* What a worker has open: its epoll, event and timer descriptor, and the client that waits for a
 * slot. */
#define WORKER_DESCRIPTORS 4

/* A reload may open every socket anew beside the present ones. */
static rlim_t reserved_descriptors(const struct service *service)
{
    rlim_t reserved = RESERVED_DESCRIPTORS + service->worker_count * WORKER_DESCRIPTORS;

    for (size_t i = 0; i < service->endpoints.count; i++)
        reserved += service->endpoints.list[i]->count * 2;
    return reserved;
}

static unsigned connection_limit(const struct service *service, const struct conf_tcp *tcp)
{
    rlim_t reserved = reserved_descriptors(service);
    rlim_t limit = service->descriptors;
    rlim_t available = limit > reserved * 2 ? limit - reserved : limit / 2;

    if (available > UINT32_MAX)
        available = UINT32_MAX;
    if (tcp->max_connections == 0)
        return (unsigned)available;
    if (tcp->max_connections > available)
        log_warning("tcp max-connections is %u, but RLIMIT_NOFILE leaves room for %u (raise "
                    "LimitNOFILE= or ulimit -n)",
                    tcp->max_connections, (unsigned)available);
    return tcp->max_connections < available ? tcp->max_connections : (unsigned)available;
}

static void set_params(struct service *service, const struct conf *conf, const struct rules *rules)
{
    struct connlimit_params limits = {.total = connection_limit(service, &conf->tcp),
                                      .per_source = conf->tcp.max_connections_per_source,
                                      .v4_length = conf->limits.ipv4_prefix,
                                      .v6_length = conf->limits.ipv6_prefix};
    struct worker_params params = {.busy_poll = conf->busy_poll * MICROSECOND,
                                   .tcp_idle_timeout = conf->tcp.idle_timeout * SECOND,
                                   .access = rules->access,
                                   .udp = {.reflect_tos = conf->udp.reflect_tos,
                                           .answer_broadcast = conf->udp.answer_broadcast}};

    loopguard_init(&params.udp.loopguard, conf->udp.refuse_source_ports.bits);
    for (size_t i = 0; i < service->endpoints.count; i++)
        loopguard_refuse_port(&params.udp.loopguard, addr_port(&service->endpoints.list[i]->addr));
    connlimit_set_params(service->connlimit, &limits);
    for (size_t i = 0; i < service->worker_count; i++) {
        params.udp.ratelimit = rules_ratelimit(rules, i);
        worker_set_params(service->workers[i], &params);
    }
}

/* False if clients are left in a backlog for want of room. */
static bool drain(struct service *service, const struct endpoint *endpoint)
{
    bool is_empty = true;

    for (size_t i = 0; i < service->worker_count; i++)
        is_empty &=
            worker_drain_socket(service->workers[i], endpoint->type, endpoint_fd(endpoint, i));
    return is_empty;
}

static void drop_endpoint(struct service *service, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < service->worker_count; i++)
        worker_drop_socket(service->workers[i], endpoint->type, endpoint_fd(endpoint, i));
}

static void drain_and_drop(struct service *service, const struct endpoint *endpoint)
{
    (void)drain(service, endpoint);
    drop_endpoint(service, endpoint);
}

/* True if the next process may serve the sockets that we serve. */
static bool outlives_us(const struct endpoint *endpoint)
{
    return endpoint->inherited || endpoint->stored;
}

/* ---- the descriptor store ---- */

static void store(struct endpoint *endpoint)
{
    char name[ENDPOINT_NAMELEN];

    service_manager_store(endpoint_name(endpoint, name), endpoint->fds, endpoint->count);
    endpoint->stored = true;
}

static void update_store(const struct service *service)
{
    char name[ENDPOINT_NAMELEN];

    if (!service_manager_enabled())
        return;
    for (size_t i = 0; i < service->retired.count; i++)
        if (service->retired.list[i]->stored) {
            service_manager_unstore(endpoint_name(service->retired.list[i], name));
            service->retired.list[i]->stored = false;
        }
    for (size_t i = 0; i < service->endpoints.count; i++)
        if (!outlives_us(service->endpoints.list[i]))
            store(service->endpoints.list[i]);
}

/* ---- sockets ---- */

/* A socket that outlives us is not retired: the process that serves it next would find it so. */
static void retire(struct service *service, const struct endpoints *set)
{
    for (size_t i = 0; i < set->count; i++)
        for (size_t j = 0; j < service->worker_count && !outlives_us(set->list[i]); j++)
            worker_retire_socket(service->workers[j], set->list[i]->type,
                                 endpoint_fd(set->list[i], j));
}

static int add_to_workers(struct service *service, const struct endpoint *endpoint)
{
    unsigned sharing_workers = endpoint->inherited ? (unsigned)service->worker_count : 0;

    for (size_t i = 0; i < service->worker_count; i++)
        if (worker_add_socket(service->workers[i], endpoint->type, endpoint_fd(endpoint, i), i == 0,
                              sharing_workers) < 0) {
            log_error("cannot serve a new socket: %s", strerror(errno));
            return -1;
        }
    return 0;
}

/* Serve the sockets of `next` that are not served yet; all or none. */
static int serve_new(struct service *service, const struct endpoints *next)
{
    for (size_t i = 0; i < next->count; i++) {
        if (endpoints_has(&service->endpoints, next->list[i]) ||
            add_to_workers(service, next->list[i]) == 0)
            continue;
        for (size_t j = 0; j <= i; j++)
            if (!endpoints_has(&service->endpoints, next->list[j]))
                drain_and_drop(service, next->list[j]); /* also a socket that was not added */
        return -1;
    }
    return 0;
}

static void drop_retired(struct service *service)
{
    for (size_t i = 0; i < service->retired.count; i++)
        drain_and_drop(service, service->retired.list[i]);
    endpoints_close(&service->retired, false);
    loop_timer_stop(&service->retired_timer);
}

/* A retired socket stays open while clients wait in its backlog for a connection to end. An
 * inherited one need not: others may serve it. */
static void end_retirement(struct loop_timer *timer)
{
    struct service *service = container_of(timer, struct service, retired_timer);
    bool is_done = true;

    for (size_t i = 0; i < service->retired.count; i++)
        is_done &= drain(service, service->retired.list[i]) || service->retired.list[i]->inherited;
    if (is_done)
        drop_retired(service);
    else
        loop_timer_set(service->loop, timer, loop_now(service->loop) + RETIREMENT);
}

int service_adopt(struct service *service, int first, int count)
{
    int *stored = calloc((size_t)count + 1, sizeof *stored);
    size_t stored_count = 0;
    int status = stored ? 0 : -1;

    if (!stored)
        log_error("cannot take over sockets: %s", strerror(errno));
    for (int fd = first; fd < first + count && status == 0; fd++)
        if (service_manager_is_stored(fd))
            stored[stored_count++] = fd;
        else
            status = endpoints_adopt(&service->inherited, fd, 1);
    if (status == 0)
        status =
            endpoints_restore(&service->endpoints, stored, stored_count, service->worker_count);
    free(stored);
    for (size_t i = 0; i < service->endpoints.count && status == 0; i++)
        status = add_to_workers(service, service->endpoints.list[i]);
    return status;
}

/* At the start all retired sockets are stored ones. */
static void log_left_over(const struct service *service, const char *file)
{
    char text[ENDPOINT_STRLEN];

    for (size_t i = 0; i < service->retired.count && !service->rules; i++)
        log_notice("closing %s, which the service manager has stored: %s does not name it any more",
                   endpoint_print(service->retired.list[i], text), file);
}

/* Everything that can fail comes before anything takes effect. */
int service_apply(struct service *service, const struct conf *conf, const char *file)
{
    struct rules *rules = rules_new(conf, service->worker_count, service->rules_key);
    struct endpoints next;

    if (!rules) {
        log_error("cannot keep the access and limits of %s: %s", file, strerror(errno));
        return -1;
    }
    /* The new configuration may bring back an address that is being retired. */
    drop_retired(service);
    if (endpoints_plan(&next, &service->endpoints, &service->inherited, conf, file,
                       service->worker_count) < 0) {
        rules_free(rules);
        return -1;
    }
    if (serve_new(service, &next) < 0) {
        endpoints_abandon(&service->endpoints, &next);
        rules_free(rules);
        return -1;
    }
    endpoints_commit(&service->endpoints, &next, &service->retired, (int)conf->tcp.backlog);
    log_left_over(service, file);
    update_store(service);
    retire(service, &service->retired);
    loop_timer_set(service->loop, &service->retired_timer, loop_now(service->loop) + RETIREMENT);
    set_params(service, conf, rules);
    rules_free(service->rules);
    service->rules = rules;
    return 0;
}

void service_withdraw(struct service *service, bool leave)
{
    drop_retired(service);
    retire(service, &service->endpoints);
    for (size_t i = 0; i < service->endpoints.count; i++) {
        if (!leave || !service->endpoints.list[i]->stored)
            (void)drain(service, service->endpoints.list[i]);
        drop_endpoint(service, service->endpoints.list[i]);
    }
    endpoints_close(&service->endpoints, false);
}

unsigned service_finish_connections(struct service *service, uint64_t until)
{
    unsigned left = 0;

    for (size_t i = 0; i < service->worker_count; i++)
        left += worker_finish_connections(service->workers[i], until);
    return left;
}

/* ---- the workers ---- */

int service_init(struct service *service, size_t workers, rlim_t descriptors)
{
    service->descriptors = descriptors;
    hash_choose_key(service->rules_key);
    service->connlimit = connlimit_new();
    service->workers = calloc(workers, sizeof *service->workers);
    if (!service->connlimit || !service->workers)
        return -1;
    for (service->worker_count = 0; service->worker_count < workers; service->worker_count++) {
        service->workers[service->worker_count] = worker_new(service->connlimit);
        if (!service->workers[service->worker_count])
            return -1;
    }
    service->loop = worker_loop(service->workers[0]);
    loop_timer_init(service->loop, &service->retired_timer, end_retirement);
    return 0;
}

void service_stop(struct service *service)
{
    for (size_t i = 0; i < service->worker_count; i++)
        worker_close_connections(service->workers[i]);
    for (size_t i = service->worker_count; i-- > 0;)
        worker_stop(service->workers[i]);
}

void service_fini(struct service *service)
{
    for (size_t i = service->worker_count; i-- > 0;)
        worker_stop(service->workers[i]);
    drop_retired(service);
    /* Sockets are left only after a failed start. Clients in the backlog of those that outlive us
     * wait for the next process. */
    for (size_t i = 0; i < service->endpoints.count; i++) {
        if (!outlives_us(service->endpoints.list[i]))
            (void)drain(service, service->endpoints.list[i]);
        drop_endpoint(service, service->endpoints.list[i]);
    }
    endpoints_close(&service->endpoints, false);
    endpoints_close(&service->inherited, true);
    for (size_t i = 0; i < service->worker_count; i++)
        worker_free(service->workers[i]);
    free(service->workers);
    rules_free(service->rules);
    connlimit_free(service->connlimit);
}

struct stats_sum service_sum(const struct service *service)
{
    struct stats_sum sum = {0};

    for (size_t i = 0; i < service->worker_count; i++)
        stats_sum(&sum, worker_stats(service->workers[i]));
    return sum;
}
