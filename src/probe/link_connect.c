/* SPDX-License-Identifier: ISC */
#include "probe/link_connect.h"

#include <errno.h>
#include <stdlib.h>

#include "common/clock.h"
#include "common/util.h"
#include "probe/inflight.h"
#include "probe/tcp_stream.h"

/* The connection of one probe. */
struct attempt {
    struct tcp_stream stream;
    uint64_t seq;
    struct attempt *next;
    struct attempt **at; /* the pointer to this attempt */
};

/* The link itself has no socket: its attempts have. */
struct link_connect {
    struct probe_link link;
    struct attempt *attempts;
};

static struct link_connect *link_connect_of(struct probe_link *link)
{
    return container_of(link, struct link_connect, link);
}

static void drop_attempt(struct attempt *attempt)
{
    *attempt->at = attempt->next;
    if (attempt->next)
        attempt->next->at = attempt->at;
    tcp_stream_close(&attempt->stream);
    free(attempt);
}

static struct attempt *add_attempt(struct link_connect *link, uint64_t seq)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);

    if (!attempt)
        return NULL;
    attempt->seq = seq;
    attempt->at = &link->attempts;
    attempt->next = link->attempts;
    if (attempt->next)
        attempt->next->at = &attempt->next;
    link->attempts = attempt;
    return attempt;
}

static void close_connect(struct probe_link *base)
{
    struct link_connect *link = link_connect_of(base);

    while (link->attempts)
        drop_attempt(link->attempts);
    probe_link_fini(base);
    free(link);
}

static struct probe_link *open_connect(struct probe *probe, const struct addr *peer, unsigned index)
{
    struct link_connect *link = calloc(1, sizeof *link);

    if (!link) {
        probe_failed(probe, peer, errno, 2);
        return NULL;
    }
    probe_link_init(&link->link, &probe_connect_ops, probe, index);
    link->link.peer = *peer;
    return &link->link;
}

/* Who reported the error by ICMP, or the peer if it caused the error; NULL: this host did. */
static const struct addr *source_of_error(const struct tcp_stream *stream, int error)
{
    if (stream->reported)
        return &stream->icmp.from;
    return error == ECONNREFUSED || error == ECONNRESET || error == EPIPE || error == ENODATA
               ? &stream->peer
               : NULL;
}

/* See what has become of an attempt; `connecting`: its connection was not there before. */
static void review_attempt(struct link_connect *link, struct attempt *attempt, bool connecting)
{
    struct tcp_stream *stream = &attempt->stream;

    if (connecting && stream->state == TCP_CONNECTED) {
        link->link.peer = stream->peer;
        inflight_connected(&link->link, attempt->seq, clock_now() - stream->began);
        tcp_stream_flush(stream);
    }
    if (stream->state == TCP_ENDED) {
        /* An end of file is an error, too, as long as the echo has not come. */
        int error = stream->error != 0 ? stream->error : ENODATA;

        if (stream->in_offset > 0)
            tcp_stream_remains(stream);
        else
            inflight_icmp_error(&link->link, attempt->seq, error, source_of_error(stream, error),
                                stream->reported ? &stream->icmp : NULL, clock_now());
        drop_attempt(attempt);
    } else if (stream->in == stream->end) {
        drop_attempt(attempt);
    }
}

static void begin_attempt(struct link_connect *link, uint64_t seq)
{
    struct attempt *attempt = add_attempt(link, seq);

    if (!attempt) {
        inflight_error(&link->link, seq, errno, NULL, clock_now());
        return;
    }
    tcp_stream_open(&attempt->stream, &link->link, &link->link.peer);
    if (tcp_stream_queue(&attempt->stream, seq)) {
        review_attempt(link, attempt, true);
    } else {
        inflight_error(&link->link, seq, ENOMEM, NULL, clock_now());
        drop_attempt(attempt);
    }
}

static unsigned send_connect(struct probe_link *base, uint64_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        begin_attempt(link_connect_of(base), first + i);
    return count;
}

static void connect_is_ready(struct probe_link *base, struct probe_watch *watch, short revents)
{
    struct attempt *attempt = container_of(watch, struct attempt, stream.watch);
    bool connecting = attempt->stream.state == TCP_CONNECTING;

    tcp_stream_ready(&attempt->stream, revents);
    review_attempt(link_connect_of(base), attempt, connecting);
}

/* The reply can only be late now, so the connection is not kept. */
static void give_up_connect(struct probe_link *base, uint64_t seq)
{
    struct link_connect *link = link_connect_of(base);

    for (struct attempt *attempt = link->attempts; attempt; attempt = attempt->next)
        if (attempt->seq == seq) {
            drop_attempt(attempt);
            return;
        }
}

const struct probe_ops probe_connect_ops = {
    .name = "tcp",
    .type = SOCK_STREAM,
    .min_size = 1,
    .max_size_v4 = TCP_STREAM_MAX_PAYLOAD,
    .max_size_v6 = TCP_STREAM_MAX_PAYLOAD,
    .open = open_connect,
    .send = send_connect,
    .ready = connect_is_ready,
    .give_up = give_up_connect,
    .close = close_connect,
};
