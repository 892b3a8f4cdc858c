/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_TCP_STREAM_H
#define ECHOD_PROBE_TCP_STREAM_H

#include "probe/engine.h"

/* One TCP connection that carries probes, one after the other: it sends their payloads, compares
 * what comes back octet for octet, and tells the engine of each reply. */

/* Octets of a probe, at most. */
#define TCP_STREAM_MAX_PAYLOAD 16777216

enum tcp_state {
    TCP_CONNECTING,
    TCP_CONNECTED,
    TCP_ENDED /* stream->error tells why: 0 is the peer's end of file */
};

struct tcp_stream {
    struct probe_watch watch;
    struct addr peer;
    enum tcp_state state;
    int error;
    bool under_way; /* connecting began, so an error comes from the network or the peer */
    bool reported;  /* ICMP ended it: `icmp` is what was said */
    struct probe_icmp icmp;
    uint64_t began;    /* when connecting began */
    uint64_t *queue;   /* probe number i is in queue[i % capacity] */
    uint32_t capacity; /* of the queue: a power of two, or 0 */
    uint32_t in, out,
        end; /* numbers of those coming back and being sent, and how many there were */
    size_t in_offset, out_offset; /* octets of these that are done */
    bool corrupt;                 /* the current reply has a wrong octet */
    size_t wrong;                 /* index of the first wrong octet, if corrupt */
};

/* Begin to connect. Afterwards the stream is connecting, connected or ended; it has to be closed in
 * any case. */
void tcp_stream_open(struct tcp_stream *stream, struct probe_link *link, const struct addr *peer);
void tcp_stream_close(struct tcp_stream *stream);

/* Take one more probe to send. False: there is no room (or memory) for more. */
bool tcp_stream_queue(struct tcp_stream *stream, uint64_t seq);

/* Send what is queued as far as the socket takes it. Call it also when the stream has become
 * connected: it then begins to watch for replies. */
void tcp_stream_flush(struct tcp_stream *stream);

/* The watch was woken: go on connecting, or sending and receiving. */
void tcp_stream_ready(struct tcp_stream *stream, short revents);

/* After the end: report the reply that came in part as truncated, if there is one. */
void tcp_stream_remains(struct tcp_stream *stream);

#endif
