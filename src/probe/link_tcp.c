/* SPDX-License-Identifier: ISC */
#include "probe/link_tcp.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/util.h"
#include "probe/inflight.h"
#include "probe/tcp_stream.h"

/* One connection for the whole run. */
struct link_tcp {
    struct probe_link link;
    struct tcp_stream stream;
};

static struct link_tcp *link_tcp_of(struct probe_link *link)
{
    return container_of(link, struct link_tcp, link);
}

static void close_tcp(struct probe_link *link)
{
    struct link_tcp *tcp = link_tcp_of(link);

    tcp_stream_close(&tcp->stream);
    probe_link_fini(link);
    free(tcp);
}

/* Status 1 is what the peer or the way to it is to blame for, 2 what this host is. */
static void tell_failure(struct link_tcp *tcp)
{
    const struct tcp_stream *stream = &tcp->stream;
    struct probe *probe = tcp->link.probe;

    probe->status = stream->under_way ? 1 : 2;
    probe_emit(probe, &(struct probe_event){.kind = PROBE_FAILURE,
                                            .error = stream->error,
                                            .from = &tcp->link.peer,
                                            .icmp = stream->reported ? &stream->icmp : NULL});
}

static void stream_is_connected(struct link_tcp *tcp)
{
    struct addr own = {.len = sizeof own.in6};

    tcp->link.peer = tcp->stream.peer;
    tcp->link.watch.fd = tcp->stream.watch.fd;
    if (getsockname(tcp->stream.watch.fd, &own.sa, &own.len) == 0)
        tcp->link.port = addr_port(&own);
    tcp_stream_flush(&tcp->stream);
    inflight_connected(&tcp->link, 0, clock_now() - tcp->stream.began);
}

static struct probe_link *open_tcp(struct probe *probe, const struct addr *peer, unsigned index)
{
    struct link_tcp *tcp = calloc(1, sizeof *tcp);

    if (!tcp) {
        probe_failed(probe, peer, errno, 2);
        return NULL;
    }
    probe_link_init(&tcp->link, &probe_tcp_ops, probe, index);
    tcp->link.peer = *peer;
    tcp_stream_open(&tcp->stream, &tcp->link, peer);
    if (tcp->stream.state == TCP_ENDED) {
        tell_failure(tcp);
        close_tcp(&tcp->link);
        return NULL;
    }
    tcp->link.opening = tcp->stream.state == TCP_CONNECTING;
    if (!tcp->link.opening)
        stream_is_connected(tcp);
    return &tcp->link;
}

static void stream_has_ended(struct link_tcp *tcp)
{
    if (tcp->link.opening) {
        tcp->link.opening = false;
        tell_failure(tcp);
        return;
    }
    if (!tcp->link.closed)
        probe_link_close(&tcp->link, tcp->stream.error);
}

static void finish_tcp(struct probe_link *link)
{
    tcp_stream_remains(&link_tcp_of(link)->stream);
}

static unsigned send_tcp(struct probe_link *link, uint64_t first, unsigned count)
{
    struct link_tcp *tcp = link_tcp_of(link);
    unsigned taken = 0;

    while (taken < count && tcp_stream_queue(&tcp->stream, first + taken))
        taken++;
    link->blocked = taken < count;
    tcp_stream_flush(&tcp->stream);
    if (tcp->stream.state == TCP_ENDED)
        stream_has_ended(tcp);
    return taken;
}

static void tcp_is_ready(struct probe_link *link, struct probe_watch *watch, short revents)
{
    struct link_tcp *tcp = link_tcp_of(link);

    (void)watch;
    tcp_stream_ready(&tcp->stream, revents);
    link->blocked = false;
    if (tcp->stream.state == TCP_ENDED)
        stream_has_ended(tcp);
    else if (link->opening && tcp->stream.state == TCP_CONNECTED)
        stream_is_connected(tcp);
}

const struct probe_ops probe_tcp_ops = {
    .name = "tcp",
    .type = SOCK_STREAM,
    .min_size = 1,
    .max_size_v4 = TCP_STREAM_MAX_PAYLOAD,
    .max_size_v6 = TCP_STREAM_MAX_PAYLOAD,
    .open = open_tcp,
    .send = send_tcp,
    .ready = tcp_is_ready,
    .finish = finish_tcp,
    .close = close_tcp,
};
