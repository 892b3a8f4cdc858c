/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <stdlib.h>

#include "probe/tcp_stream.h"

/* One connection for the whole run. */
struct tcp_link {
    struct probe_link link;
    struct tcp_stream stream;
};

static void tcp_close(struct probe_link *link)
{
    struct tcp_link *tcp = (struct tcp_link *)link;

    tcp_stream_close(&tcp->stream);
    free(tcp);
}

/* What only the peer or the way to it is to blame for: no reply, rather than an error of ours. */
static int failure_status(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == ETIMEDOUT ? 1 : 2;
}

static void connected(struct tcp_link *tcp)
{
    struct addr own = {.len = sizeof own.in6};

    tcp->link.peer = tcp->stream.peer;
    tcp->link.watch.fd = tcp->stream.watch.fd;
    if (getsockname(tcp->stream.watch.fd, &own.sa, &own.len) == 0)
        tcp->link.port = addr_port(&own);
    tcp_stream_flush(&tcp->stream);
    probe_connected(&tcp->link, 0, clock_now() - tcp->stream.began);
}

static struct probe_link *tcp_open(struct probe *probe, const struct addr *peer, unsigned index)
{
    struct tcp_link *tcp = calloc(1, sizeof *tcp);

    if (!tcp) {
        probe_failed(probe, peer, errno, 2);
        return NULL;
    }
    probe_link_init(&tcp->link, &probe_tcp_ops, probe, index);
    tcp->link.peer = *peer;
    tcp_stream_open(&tcp->stream, &tcp->link, peer);
    if (tcp->stream.state == TCP_ENDED) {
        probe_failed(probe, peer, tcp->stream.error, failure_status(tcp->stream.error));
        tcp_close(&tcp->link);
        return NULL;
    }
    tcp->link.opening = tcp->stream.state == TCP_CONNECTING;
    if (!tcp->link.opening)
        connected(tcp);
    return &tcp->link;
}

static void ended(struct tcp_link *tcp)
{
    if (tcp->link.opening) {
        tcp->link.opening = false;
        probe_failed(tcp->link.probe, &tcp->link.peer, tcp->stream.error,
                     failure_status(tcp->stream.error));
        return;
    }
    if (tcp->link.closed)
        return;
    probe_closed(&tcp->link, tcp->stream.error);
    /* Of the reply that was coming in, no more will. */
    if (tcp->stream.error == 0)
        tcp_stream_remains(&tcp->stream);
}

static unsigned tcp_send(struct probe_link *link, uint64_t first, unsigned count)
{
    struct tcp_link *tcp = (struct tcp_link *)link;
    unsigned taken = 0;

    while (taken < count && tcp_stream_queue(&tcp->stream, first + taken))
        taken++;
    link->blocked = taken < count;
    tcp_stream_flush(&tcp->stream);
    if (tcp->stream.state == TCP_ENDED)
        ended(tcp);
    return taken;
}

static void tcp_ready(struct probe_link *link, struct probe_watch *watch, short revents)
{
    struct tcp_link *tcp = (struct tcp_link *)link;

    (void)watch;
    tcp_stream_ready(&tcp->stream, revents);
    link->blocked = false;
    if (tcp->stream.state == TCP_ENDED)
        ended(tcp);
    else if (link->opening && tcp->stream.state == TCP_CONNECTED)
        connected(tcp);
}

const struct probe_ops probe_tcp_ops = {
    .name = "tcp",
    .type = SOCK_STREAM,
    .open = tcp_open,
    .send = tcp_send,
    .ready = tcp_ready,
    .close = tcp_close,
};
