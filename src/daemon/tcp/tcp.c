/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/tcp.h"

#include "common/util.h"
#include "daemon/tcp/evict.h"

static void on_slot_freed(struct connections *connections)
{
    listeners_resume(&container_of(connections, struct tcp, connections)->listeners);
}

int tcp_init(struct tcp *tcp, struct loop *loop, struct stats *stats, struct connlimit *connlimit,
             int wakeup)
{
    int worker;

    if (connections_init(&tcp->connections, loop, stats, connlimit, on_slot_freed) < 0)
        return -1;
    worker = connlimit_add_worker(connlimit, wakeup);
    if (worker < 0)
        return -1;
    listeners_init(&tcp->listeners, &tcp->connections, (unsigned)worker);
    return 0;
}

void tcp_fini(struct tcp *tcp)
{
    listeners_fini(&tcp->listeners);
    connections_fini(&tcp->connections);
}

void tcp_set_params(struct tcp *tcp, const struct acl *access, uint64_t idle_timeout)
{
    connections_set_access(&tcp->connections, access);
    connections_set_idle_timeout(&tcp->connections, idle_timeout);
    listeners_rearm(&tcp->listeners);
}

void tcp_woken(struct tcp *tcp)
{
    evict_for_other_workers(&tcp->connections);
    listeners_woken(&tcp->listeners);
}

unsigned tcp_finish(struct tcp *tcp, uint64_t until)
{
    return connections_finish(&tcp->connections, until);
}

void tcp_close_all(struct tcp *tcp)
{
    listeners_discard_waiting(&tcp->listeners);
    connections_close_all(&tcp->connections);
}
