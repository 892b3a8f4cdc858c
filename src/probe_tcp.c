/* SPDX-License-Identifier: ISC */
#include "probe.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* Octets made or checked at a time, and how often in one go, so that either direction and the
 * schedule get their turn. */
#define ROOM  65536
#define TURNS 16

/* A place in the stream: so many octets into the payload of probe `seq`. */
struct place {
    uint64_t seq;
    size_t offset;
};

struct tcp_link {
    struct probe_link link;
    uint64_t wanted;      /* all up to this probe are to be sent */
    struct place out;     /* next octet to send */
    struct place in;      /* next octet to come back */
    int error;            /* why sending failed, 0: it did not; told after what came in before */
    bool corrupt;         /* the reply that is coming in has a wrong octet */
    size_t wrong;         /* ... the first one */
    uint8_t buffer[ROOM]; /* of either direction, within one call */
};

static void advance(struct place *place, size_t octets, size_t size)
{
    place->offset += octets;
    if (place->offset == size)
        *place = (struct place){place->seq + 1, 0};
}

static void tcp_close(struct probe_link *link)
{
    close(link->fd);
    free(link);
}

/* ---- connecting ---- */

/* A port nobody listens on may be picked for our own end, and TCP then connects the socket with
 * itself. */
static bool connected_to_itself(int fd, const struct net_addr *peer)
{
    struct net_addr own = {.len = sizeof own.in6};

    return getsockname(fd, &own.sa, &own.len) == 0 && net_equal(&own, peer);
}

/* 0, or the errno that tells why there is no connection. */
static int await_connection(struct tcp_link *tcp, uint64_t until)
{
    struct probe *probe = tcp->link.probe;
    int error = 0;
    socklen_t len = sizeof error;

    while (probe_wait(probe, tcp->link.fd, POLLOUT, until) == 0)
        if (probe->stopped || probe_now() >= until)
            return ETIMEDOUT;
    if (getsockopt(tcp->link.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return errno;
    return error;
}

/* What only the peer or the way to it is to blame for: no reply, rather than an error of ours. */
static int failure_status(int error)
{
    return error == ECONNREFUSED || error == ECONNRESET || error == ETIMEDOUT ? 1 : 2;
}

static int connect_to(struct tcp_link *tcp, const struct net_addr *peer)
{
    int fd = tcp->link.fd;
    int on = 1;
    uint64_t start = probe_now();
    int error = 0;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0)
        return errno;
    if (connect(fd, &peer->sa, peer->len) < 0)
        error = errno == EINPROGRESS
                    ? await_connection(tcp, probe_connect_until(tcp->link.probe, start))
                    : errno;
    if (error == 0 && getpeername(fd, &tcp->link.peer.sa, &tcp->link.peer.len) < 0)
        error = errno;
    if (error == 0 && connected_to_itself(fd, &tcp->link.peer))
        error = ECONNREFUSED;
    if (error == 0)
        probe_connected(tcp->link.probe, &tcp->link.peer, probe_now() - start);
    return error;
}

static struct probe_link *tcp_open(struct probe *probe, const struct net_addr *peer)
{
    struct tcp_link *tcp = calloc(1, sizeof *tcp);
    int error;

    if (!tcp) {
        probe_failed(probe, peer, errno, 2);
        return NULL;
    }
    tcp->link = (struct probe_link){.ops = &probe_tcp_ops, .probe = probe, .events = POLLIN};
    tcp->link.peer.len = sizeof tcp->link.peer.in6;
    tcp->out.seq = tcp->in.seq = 1;
    tcp->link.fd = socket(peer->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    error = tcp->link.fd < 0 ? errno : connect_to(tcp, peer);
    if (error == 0)
        return &tcp->link;
    if (!probe->stopped)
        probe_failed(probe, peer, error, failure_status(error));
    if (tcp->link.fd >= 0)
        close(tcp->link.fd);
    free(tcp);
    return NULL;
}

/* ---- the stream ---- */

static void lost_connection(struct tcp_link *tcp, int error)
{
    struct probe *probe = tcp->link.probe;

    probe_closed(probe, error);
    /* Of the reply that was coming in, no more will. */
    if (error == 0 && tcp->in.offset > 0)
        probe_reply(probe, &(struct payload_identity){PAYLOAD_TRUNCATED, tcp->in.seq, 0},
                    tcp->in.offset, &tcp->link.peer, probe_now());
}

/* How many octets of the reply that is coming in have been sent, and so may come back. */
static size_t owed(const struct tcp_link *tcp, size_t size)
{
    size_t end = tcp->out.seq > tcp->in.seq ? size : tcp->out.offset;

    return end - tcp->in.offset;
}

static void check(struct tcp_link *tcp, const uint8_t *octets, size_t len, uint64_t now)
{
    struct probe *probe = tcp->link.probe;
    size_t size = probe->payload.size;

    while (len > 0) {
        struct payload_identity identity = {.seq = tcp->in.seq};
        size_t part = owed(tcp, size) < len ? owed(tcp, size) : len;
        size_t right;

        if (part == 0) {
            identity = (struct payload_identity){.verdict = PAYLOAD_FOREIGN};
            probe_reply(probe, &identity, len, &tcp->link.peer, now);
            return;
        }
        right = payload_compare(&probe->payload, tcp->in.seq, tcp->in.offset, octets, part);
        if (right < part && !tcp->corrupt) {
            tcp->corrupt = true;
            tcp->wrong = tcp->in.offset + right;
        }
        advance(&tcp->in, part, size);
        if (tcp->in.offset == 0) {
            identity.verdict = tcp->corrupt ? PAYLOAD_CORRUPT : PAYLOAD_GOOD;
            identity.wrong = tcp->wrong;
            tcp->corrupt = false;
            probe_reply(probe, &identity, size, &tcp->link.peer, now);
        }
        octets += part;
        len -= part;
    }
}

static void receive(struct tcp_link *tcp)
{
    for (unsigned i = 0; i < TURNS && !tcp->link.probe->stopped; i++) {
        ssize_t len = recv(tcp->link.fd, tcp->buffer, ROOM, 0);

        if (len <= 0) {
            int error = len == 0 ? 0 : errno;

            if (tcp->error != 0 || error != EAGAIN)
                lost_connection(tcp, tcp->error != 0 ? tcp->error : error);
            return;
        }
        check(tcp, tcp->buffer, (size_t)len, probe_now());
    }
}

static bool sending(const struct tcp_link *tcp)
{
    return tcp->error == 0 && tcp->out.seq <= tcp->wanted;
}

/* Send until all is sent or the socket takes no more; that one then wakes us. */
static void flush(struct tcp_link *tcp)
{
    struct probe *probe = tcp->link.probe;
    size_t size = probe->payload.size;

    for (unsigned i = 0; i < TURNS && sending(tcp); i++) {
        size_t len = size - tcp->out.offset < ROOM ? size - tcp->out.offset : ROOM;
        ssize_t sent;

        payload_fill(&probe->payload, tcp->out.seq, tcp->out.offset, tcp->buffer, len);
        sent = send(tcp->link.fd, tcp->buffer, len, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) {
                tcp->error = errno;
                receive(tcp);
            }
            break;
        }
        advance(&tcp->out, (size_t)sent, size);
    }
    tcp->link.events = sending(tcp) ? POLLIN | POLLOUT : POLLIN;
}

static void tcp_send(struct probe_link *link, uint64_t seq)
{
    struct tcp_link *tcp = (struct tcp_link *)link;

    tcp->wanted = seq;
    flush(tcp);
}

static void tcp_ready(struct probe_link *link, short revents)
{
    struct tcp_link *tcp = (struct tcp_link *)link;

    if (revents & POLLOUT)
        flush(tcp);
    if (revents & ~POLLOUT && !link->probe->closed)
        receive(tcp);
}

const struct probe_ops probe_tcp_ops = {
    .name = "tcp",
    .type = SOCK_STREAM,
    .open = tcp_open,
    .send = tcp_send,
    .ready = tcp_ready,
    .close = tcp_close,
};
