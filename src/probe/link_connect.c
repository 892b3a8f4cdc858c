/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <stdlib.h>

#include "probe/tcp_stream.h"

/* A connection for each probe: the link itself has no socket, only those that are under way. */
struct attempt {
    struct tcp_stream stream; /* first, and first in it the watch: what wakes it is itself */
    uint64_t seq;
    struct attempt *next;
    struct attempt **at; /* what points here */
};

struct connect_link {
    struct probe_link link;
    struct attempt *attempts;
};

static void drop(struct attempt *attempt)
{
    *attempt->at = attempt->next;
    if (attempt->next)
        attempt->next->at = attempt->at;
    tcp_stream_close(&attempt->stream);
    free(attempt);
}

static struct attempt *add(struct connect_link *link, uint64_t seq)
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

static void connect_close(struct probe_link *base)
{
    struct connect_link *link = (struct connect_link *)base;

    while (link->attempts)
        drop(link->attempts);
    free(link);
}

static struct probe_link *connect_open(struct probe *probe, const struct addr *peer, unsigned index)
{
    struct connect_link *link = calloc(1, sizeof *link);

    if (!link) {
        probe_failed(probe, peer, errno, 2);
        return NULL;
    }
    probe_link_init(&link->link, &probe_connect_ops, probe, index);
    link->link.peer = *peer;
    return &link->link;
}

/* Who is to blame; NULL: this host. */
static const struct addr *blamed(const struct tcp_stream *stream, int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == EPIPE || error == ENODATA
               ? &stream->peer
               : NULL;
}

/* See what has become of an attempt that was connecting before, or was not. */
static void review(struct connect_link *link, struct attempt *attempt, bool connecting)
{
    struct tcp_stream *stream = &attempt->stream;

    if (connecting && stream->state == TCP_CONNECTED) {
        link->link.peer = stream->peer;
        probe_connected(&link->link, attempt->seq, clock_now() - stream->began);
        tcp_stream_flush(stream);
    }
    if (stream->state == TCP_ENDED) {
        /* An end of file is an error, too, as long as the echo has not come. */
        int error = stream->error != 0 ? stream->error : ENODATA;

        if (stream->in_offset > 0)
            tcp_stream_remains(stream);
        else
            probe_error(&link->link, attempt->seq, error, blamed(stream, error), clock_now());
        drop(attempt);
    } else if (stream->in == stream->end) {
        drop(attempt);
    }
}

static void begin(struct connect_link *link, uint64_t seq)
{
    struct attempt *attempt = add(link, seq);

    if (!attempt) {
        probe_error(&link->link, seq, errno, NULL, clock_now());
        return;
    }
    tcp_stream_open(&attempt->stream, &link->link, &link->link.peer);
    if (tcp_stream_queue(&attempt->stream, seq)) {
        review(link, attempt, true);
    } else {
        probe_error(&link->link, seq, ENOMEM, NULL, clock_now());
        drop(attempt);
    }
}

static unsigned connect_send(struct probe_link *base, uint64_t first, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        begin((struct connect_link *)base, first + i);
    return count;
}

static void connect_ready(struct probe_link *base, struct probe_watch *watch, short revents)
{
    struct attempt *attempt = (struct attempt *)watch;
    bool connecting = attempt->stream.state == TCP_CONNECTING;

    tcp_stream_ready(&attempt->stream, revents);
    review((struct connect_link *)base, attempt, connecting);
}

/* The reply can only be late now, which is not worth a descriptor. */
static void connect_give_up(struct probe_link *base, uint64_t seq)
{
    struct connect_link *link = (struct connect_link *)base;

    for (struct attempt *attempt = link->attempts; attempt; attempt = attempt->next)
        if (attempt->seq == seq) {
            drop(attempt);
            return;
        }
}

const struct probe_ops probe_connect_ops = {
    .name = "tcp",
    .type = SOCK_STREAM,
    .open = connect_open,
    .send = connect_send,
    .ready = connect_ready,
    .give_up = connect_give_up,
    .close = connect_close,
};
