/* SPDX-License-Identifier: ISC */
#include "probe/tcp_stream.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "net/socket.h"
#include "probe/datagram.h"
#include "probe/inflight.h"

/* Octets sent or received by one call, and calls for one wake-up. After them the other direction,
 * other connections and the schedule get their turn. */
#define ROOM  65536
#define TURNS 16

/* Payloads within one call. */
static uint8_t buffer[ROOM];

/* Probes that may be queued in any case. */
#define QUEUE_MAX 32768

static struct probe *probe_of(const struct tcp_stream *stream)
{
    return stream->watch.link->probe;
}

/* ---- connecting ---- */

/* If nobody listens on an ephemeral port, the kernel may choose that very port for our end, and TCP
 * connects the socket with itself. */
static bool connected_to_itself(int fd, const struct addr *peer)
{
    struct addr own = {.len = sizeof own.in6};

    return getsockname(fd, &own.sa, &own.len) == 0 && addr_equal(&own, peer);
}

static void end_stream(struct tcp_stream *stream, int error)
{
    stream->state = TCP_ENDED;
    stream->error = error;
    probe_watch(&stream->watch, 0);
}

/* While it connects, the kernel keeps the ICMP message that ends it. Once connected, such messages
 * must not end it, and without this option they do not. */
static void queue_errors(int fd, int family, int on)
{
    bool v4 = family == AF_INET;

    (void)socket_set_option(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, on);
}

static void take_icmp(struct tcp_stream *stream)
{
    struct datagram_error error;
    uint8_t octets[576];

    while (!stream->reported &&
           datagram_take_error(stream->watch.fd, &error, octets, sizeof octets))
        if (!error.local && error.from.len != 0) {
            stream->reported = true;
            stream->icmp = error.icmp;
        }
}

/* connect(2) itself says what this host forbids or lacks; over loopback also what the peer says. */
static void fail_at_once(struct tcp_stream *stream, int error)
{
    stream->under_way = error == ECONNREFUSED || error == ECONNRESET || error == ETIMEDOUT;
    end_stream(stream, error);
}

/* tcp_stream_flush() watches for octets afterwards. */
static void established(struct tcp_stream *stream)
{
    int fd = stream->watch.fd;

    queue_errors(fd, stream->peer.sa.sa_family, 0);
    stream->peer.len = sizeof stream->peer.in6;
    if (getpeername(fd, &stream->peer.sa, &stream->peer.len) < 0)
        fail_at_once(stream, errno);
    else if (connected_to_itself(fd, &stream->peer))
        end_stream(stream, ECONNREFUSED);
    else
        stream->state = TCP_CONNECTED;
}

void tcp_stream_open(struct tcp_stream *stream, struct probe_link *link, const struct addr *peer)
{
    int fd = probe_socket(link->probe, peer->sa.sa_family, SOCK_STREAM, link->index);
    int rc = fd < 0 ? -1 : 0;

    memset(stream, 0, sizeof *stream);
    probe_watch_init(&stream->watch, link, fd);
    stream->peer = *peer;
    if (rc == 0) {
        (void)socket_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        stream->began = clock_now();
        queue_errors(fd, peer->sa.sa_family, 1);
        rc = connect(fd, &peer->sa, peer->len);
    }
    stream->under_way = rc == 0 || errno == EINPROGRESS;
    if (rc == 0)
        established(stream);
    else if (!stream->under_way)
        fail_at_once(stream, errno);
    if (stream->state != TCP_ENDED &&
        probe_watch(&stream->watch, stream->state == TCP_CONNECTED ? POLLIN : POLLOUT) < 0)
        end_stream(stream, errno);
}

void tcp_stream_close(struct tcp_stream *stream)
{
    probe_watch(&stream->watch, 0);
    if (stream->watch.fd >= 0)
        close(stream->watch.fd);
    free(stream->queue);
}

static void finish_connecting(struct tcp_stream *stream)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (getsockopt(stream->watch.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0) {
        error = errno;
        stream->under_way = false;
    }
    if (error == 0) {
        established(stream);
        return;
    }
    take_icmp(stream);
    end_stream(stream, error);
}

/* ---- the queue ---- */

static uint64_t queued(const struct tcp_stream *stream, uint32_t number)
{
    return stream->queue[number & (stream->capacity - 1)];
}

/* At most as many as half of the slots, or QUEUE_MAX: probes that are handed over and not taken
 * need slots, too. */
static bool grow(struct tcp_stream *stream)
{
    uint32_t capacity = stream->capacity ? 2 * stream->capacity : 1;
    uint64_t half = probe_of(stream)->capacity / 2;
    uint64_t most = half > QUEUE_MAX ? half : QUEUE_MAX;
    uint64_t *queue = capacity > most ? NULL : malloc(capacity * sizeof *queue);

    if (!queue)
        return false;
    for (uint32_t i = stream->in; i != stream->end; i++)
        queue[i & (capacity - 1)] = queued(stream, i);
    free(stream->queue);
    stream->queue = queue;
    stream->capacity = capacity;
    return true;
}

bool tcp_stream_queue(struct tcp_stream *stream, uint64_t seq)
{
    if (stream->end - stream->in == stream->capacity && !grow(stream))
        return false;
    stream->queue[stream->end++ & (stream->capacity - 1)] = seq;
    return true;
}

/* ---- the stream ---- */

static void tell_reply(struct tcp_stream *stream, const struct payload_identity *identity,
                       const uint8_t *octets, size_t size, uint64_t now)
{
    struct probe_arrival arrival = {
        .from = &stream->peer, .octets = octets, .size = size, .now = now};

    inflight_reply(stream->watch.link, identity, &arrival);
}

void tcp_stream_remains(struct tcp_stream *stream)
{
    if (stream->in_offset > 0)
        tell_reply(stream,
                   &(struct payload_identity){PAYLOAD_TRUNCATED, queued(stream, stream->in), 0},
                   NULL, stream->in_offset, clock_now());
}

/* Octets of the current reply that have been sent and have not come back. */
static size_t owed(const struct tcp_stream *stream, size_t size)
{
    size_t sent = stream->out != stream->in ? size : stream->out_offset;

    return sent - stream->in_offset;
}

static void verify(struct tcp_stream *stream, const uint8_t *octets, size_t len, uint64_t now)
{
    const struct payload *payload = &probe_of(stream)->payload;

    while (len > 0) {
        size_t most = owed(stream, payload->size);
        size_t part = most < len ? most : len;
        struct payload_identity identity = {.verdict = PAYLOAD_FOREIGN};
        size_t right;

        if (part == 0) {
            tell_reply(stream, &identity, octets, len, now);
            return;
        }
        identity.seq = queued(stream, stream->in);
        right = payload_compare(payload, identity.seq, stream->in_offset, octets, part);
        if (right < part && !stream->corrupt) {
            stream->corrupt = true;
            stream->wrong = stream->in_offset + right;
        }
        stream->in_offset += part;
        if (stream->in_offset == payload->size) {
            identity.verdict = stream->corrupt ? PAYLOAD_CORRUPT : PAYLOAD_GOOD;
            identity.wrong = stream->wrong;
            stream->corrupt = false;
            stream->in_offset = 0;
            stream->in++;
            tell_reply(stream, &identity, part == payload->size ? octets : NULL, payload->size,
                       now);
        }
        octets += part;
        len -= part;
    }
}

static void receive_stream(struct tcp_stream *stream)
{
    for (unsigned i = 0; i < TURNS && !probe_of(stream)->stopped; i++) {
        ssize_t len = recv(stream->watch.fd, buffer, ROOM, 0);

        if (len <= 0) {
            int error = len == 0 ? 0 : errno;

            /* Report a failed send after the replies that came before. */
            if (stream->error != 0)
                end_stream(stream, stream->error);
            else if (error != EAGAIN)
                end_stream(stream, error);
            return;
        }
        verify(stream, buffer, (size_t)len, clock_now());
        if (len < ROOM && stream->error == 0)
            return;
    }
}

static bool is_sending(const struct tcp_stream *stream)
{
    return stream->error == 0 && stream->out != stream->end;
}

/* Fill the buffer with the next octets to send. Returns their number. */
static size_t compose(const struct tcp_stream *stream)
{
    const struct payload *payload = &probe_of(stream)->payload;
    size_t offset = stream->out_offset;
    size_t len = 0;

    for (uint32_t i = stream->out; i != stream->end && len < ROOM; i++) {
        size_t part = payload->size - offset < ROOM - len ? payload->size - offset : ROOM - len;

        payload_fill(payload, queued(stream, i), offset, buffer + len, part);
        len += part;
        offset = 0;
    }
    return len;
}

static void advance(struct tcp_stream *stream, size_t octets)
{
    size_t size = probe_of(stream)->payload.size;

    octets += stream->out_offset;
    stream->out += (uint32_t)(octets / size);
    stream->out_offset = octets % size;
}

void tcp_stream_flush(struct tcp_stream *stream)
{
    if (stream->state != TCP_CONNECTED)
        return;
    for (unsigned i = 0; i < TURNS && is_sending(stream); i++) {
        size_t len = compose(stream);
        ssize_t sent = send(stream->watch.fd, buffer, len, MSG_NOSIGNAL);

        if (sent < 0) {
            if (errno != EAGAIN) {
                stream->error = errno;
                receive_stream(stream);
            }
            break;
        }
        advance(stream, (size_t)sent);
    }
    if (stream->state == TCP_CONNECTED)
        probe_watch(&stream->watch, is_sending(stream) ? POLLIN | POLLOUT : POLLIN);
}

void tcp_stream_ready(struct tcp_stream *stream, short revents)
{
    if (stream->state == TCP_CONNECTING) {
        finish_connecting(stream);
        return;
    }
    if (revents & POLLOUT)
        tcp_stream_flush(stream);
    if (revents & ~POLLOUT && stream->state == TCP_CONNECTED)
        receive_stream(stream);
}
