/* SPDX-License-Identifier: ISC */
#include "tools/stream/stream_tcp.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/decimal.h"
#include "net/socket.h"

/* No buffer holds all that can be under way to the peer and back, so both streams are digested. The
 * digest of the sent stream is kept after every STEP octets, which tells about where the first
 * difference is. If more than MARKS steps are under way, only the digests at the end decide. */
#define STEP  4096
#define MARKS 16384

struct tcp_run {
    struct stream_run run;
    struct stream_ring to_peer; /* read, to be sent */
    struct stream_digest sent;
    struct stream_digest received;
    uint64_t marks[MARKS];
    bool different;           /* an octet that came back is wrong */
    uint64_t different_after; /* at least this many octets before it are right */
    bool half_closed;
    bool peer_ended;   /* no more will come back */
    bool timed_out;    /* nothing moved for too long */
    int error;         /* why the connection failed; 0: it did not */
    uint64_t moved_at; /* when an octet was last sent, received or written */
};

/* ---- comparing ---- */

static void add_sent(struct tcp_run *tcp, const uint8_t *octets, size_t len)
{
    while (len > 0) {
        size_t part = STEP - tcp->sent.count % STEP;

        if (part > len)
            part = len;
        stream_digest_add(&tcp->sent, octets, part);
        if (tcp->sent.count % STEP == 0)
            tcp->marks[tcp->sent.count / STEP % MARKS] = tcp->sent.state;
        octets += part;
        len -= part;
    }
}

static void found_difference(struct tcp_run *tcp, uint64_t after)
{
    if (tcp->different)
        return;
    tcp->different = true;
    tcp->different_after = after;
}

static void check_mark(struct tcp_run *tcp)
{
    uint64_t count = tcp->received.count;

    if (tcp->sent.count - count < (uint64_t)STEP * MARKS &&
        tcp->marks[count / STEP % MARKS] != tcp->received.state)
        found_difference(tcp, count - STEP);
}

static void add_received(struct tcp_run *tcp, const uint8_t *octets, size_t len)
{
    /* What comes before it was sent is no echo. */
    if (tcp->received.count + len > tcp->sent.count)
        found_difference(tcp, tcp->sent.count);
    while (len > 0) {
        size_t part = STEP - tcp->received.count % STEP;

        if (part > len)
            part = len;
        stream_digest_add(&tcp->received, octets, part);
        if (tcp->received.count % STEP == 0 && tcp->received.count <= tcp->sent.count)
            check_mark(tcp);
        octets += part;
        len -= part;
    }
}

/* ---- moving ---- */

static void move_out(struct tcp_run *tcp)
{
    size_t len;
    const uint8_t *head = stream_ring_head(&tcp->to_peer, &len);
    ssize_t sent = send(tcp->run.socket.fd, head, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            tcp->error = errno;
        return;
    }
    add_sent(tcp, head, (size_t)sent);
    stream_ring_drop(&tcp->to_peer, (size_t)sent);
    tcp->moved_at = clock_now();
}

static void move_in(struct tcp_run *tcp)
{
    size_t room;
    uint8_t *octets = stream_ring_room(&tcp->run.from_peer, &room);
    ssize_t len = recv(tcp->run.socket.fd, octets, room, MSG_DONTWAIT);

    if (len < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return;
        /* Keep the first error: it is the cause. */
        if (tcp->error == 0)
            tcp->error = errno;
    }
    if (len <= 0) {
        tcp->peer_ended = true;
        return;
    }
    add_received(tcp, octets, (size_t)len);
    stream_ring_put(&tcp->run.from_peer, (size_t)len);
    tcp->moved_at = clock_now();
}

static void read_input(struct tcp_run *tcp)
{
    size_t room;
    uint8_t *octets = stream_ring_room(&tcp->to_peer, &room);

    stream_ring_put(&tcp->to_peer, stream_run_read(&tcp->run, octets, room));
}

/* What was sent before a failure may still come back. */
static bool sending(const struct tcp_run *tcp)
{
    return tcp->error == 0 && !tcp->peer_ended;
}

static void half_close(struct tcp_run *tcp)
{
    if (!sending(tcp) || tcp->half_closed || !tcp->run.input_ended || tcp->to_peer.used > 0)
        return;
    /* If it fails the connection is gone, and receiving tells why. */
    (void)shutdown(tcp->run.socket.fd, SHUT_WR);
    tcp->half_closed = true;
    tcp->moved_at = clock_now();
}

/* ---- the run ---- */

static bool done(const struct tcp_run *tcp)
{
    return tcp->run.over || tcp->run.failed || tcp->timed_out ||
           (tcp->peer_ended && tcp->run.from_peer.used == 0);
}

/* Until when to wait for the peer: for ever while it owes nothing, and while our own output blocks.
 */
static uint64_t peer_deadline(const struct tcp_run *tcp)
{
    bool owed = tcp->to_peer.used > 0 || tcp->received.count < tcp->sent.count || tcp->half_closed;

    if (tcp->run.settings->timeout == 0 || !owed || tcp->run.from_peer.used > 0 || tcp->peer_ended)
        return STREAM_NEVER;
    return tcp->moved_at + tcp->run.settings->timeout;
}

static void turn(struct tcp_run *tcp)
{
    struct stream_run *run = &tcp->run;
    bool reading = sending(tcp) && !run->input_ended && tcp->to_peer.used < STREAM_RING;
    bool receiving = !tcp->peer_ended && run->from_peer.used < STREAM_RING;
    int sendable = sending(tcp) && tcp->to_peer.used > 0 ? POLLOUT : 0;
    uint64_t until = peer_deadline(tcp);

    stream_run_wait(run, reading ? POLLIN : 0, run->from_peer.used > 0 ? POLLOUT : 0,
                    (short)((receiving ? POLLIN : 0) | sendable), until);
    if (run->over || run->failed)
        return;
    if (run->in.ready)
        read_input(tcp);
    /* Do not wait for the socket first: it mostly has room. */
    if (tcp->to_peer.used > 0 && sending(tcp) && (run->in.ready || run->socket.ready))
        move_out(tcp);
    if (receiving && run->socket.ready)
        move_in(tcp);
    if (run->out.ready) {
        stream_run_write(run);
        tcp->moved_at = clock_now();
    }
    half_close(tcp);
    tcp->timed_out =
        clock_now() >= until && !run->in.ready && !run->out.ready && !run->socket.ready;
}

/* ---- the end ---- */

static bool all_came_back(const struct tcp_run *tcp)
{
    return !tcp->different && tcp->to_peer.used == 0 &&
           stream_digest_equal(&tcp->sent, &tcp->received);
}

static void print_figures(const struct tcp_run *tcp)
{
    const char *verdict = tcp->different                                    ? "different"
                          : tcp->received.count < tcp->sent.count           ? "incomplete"
                          : stream_digest_equal(&tcp->sent, &tcp->received) ? "no difference"
                                                                            : "different";

    fprintf(tcp->run.settings->err,
            "%" PRIu64 " bytes sent, %" PRIu64 " received, %s, time %" PRIu64 "ms\n",
            tcp->sent.count, tcp->received.count, verdict, stream_run_ms(&tcp->run));
}

static void say_what_is_wrong(struct tcp_run *tcp)
{
    const struct stream_run *run = &tcp->run;
    uint64_t sent = tcp->sent.count;
    uint64_t received = tcp->received.count;

    if (!tcp->different && sent == received && !stream_digest_equal(&tcp->sent, &tcp->received))
        found_difference(tcp, sent - sent % STEP);
    if (tcp->different)
        stream_run_say(run,
                       "what came back is not what was sent: the first wrong byte is after byte "
                       "%" PRIu64,
                       tcp->different_after);
    if (received > sent)
        stream_run_say(run, "%" PRIu64 " bytes more came back than were sent", received - sent);
    if (received < sent)
        stream_run_say(run, "%" PRIu64 " of the %" PRIu64 " bytes sent did not come back",
                       sent - received, sent);
    if (tcp->to_peer.used > 0)
        stream_run_say(run, "%zu bytes that were read have not been sent", tcp->to_peer.used);
}

static void say_why_it_ended(const struct tcp_run *tcp)
{
    const struct stream_run *run = &tcp->run;
    char peer[ADDR_STRLEN];
    char text[DECIMAL_SIZE];

    addr_print(&run->settings->peer, peer);
    if (tcp->timed_out)
        stream_run_say(run, "%s sent nothing back for %s s, and did not end the connection", peer,
                       print_seconds(run->settings->timeout, text));
    else if (tcp->error == ECONNRESET || tcp->error == EPIPE)
        stream_run_say(run, "%s reset the connection", peer);
    else if (tcp->error != 0)
        stream_run_say(run, "the connection to %s failed: %s", peer, strerror(tcp->error));
    else if (tcp->peer_ended && !tcp->half_closed)
        stream_run_say(run, "%s closed the connection before the end of the input", peer);
    else if (tcp->peer_ended && tcp->received.count < tcp->sent.count)
        stream_run_say(run, "%s closed the connection before it had sent all back", peer);
}

/* The user and the deadline may end it whenever nothing is owed. A peer that sends all back and
 * does not end the connection has done its job as an echo. */
static int conclude(struct tcp_run *tcp)
{
    bool whole = all_came_back(tcp);

    stream_run_flush(&tcp->run);
    if (!tcp->run.failed) {
        say_why_it_ended(tcp);
        say_what_is_wrong(tcp);
    }
    if (!tcp->run.settings->quiet)
        print_figures(tcp);
    if (tcp->run.failed)
        return 2;
    return whole && (tcp->half_closed || tcp->run.over) && tcp->error == 0 ? 0 : 1;
}

int stream_tcp(int socket, const struct stream *settings)
{
    struct tcp_run *tcp = calloc(1, sizeof *tcp);
    int status = 2;

    if (!tcp) {
        fprintf(settings->err, "echo-probe: %s\n", strerror(errno));
        return 2;
    }
    /* A line that was typed goes out at once; without the option it only takes longer. */
    (void)socket_set_option(socket, IPPROTO_TCP, TCP_NODELAY, 1);
    if (stream_run_start(&tcp->run, socket, settings) == 0) {
        tcp->moved_at = tcp->run.started;
        while (!done(tcp)) {
            turn(tcp);
            if (stream_run_asked(&tcp->run))
                print_figures(tcp);
        }
        status = conclude(tcp);
    }
    stream_run_end(&tcp->run);
    free(tcp);
    return status;
}
