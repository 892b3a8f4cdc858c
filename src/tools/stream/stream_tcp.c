/* SPDX-License-Identifier: ISC */
#include "tools/stream/stream.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

#include "tools/stream/stream_run.h"

/* What a peer and the kernel owe has no bound that we could keep a copy for. So both streams are
 * digested, and what the digest of the sent one was after every STEP octets is kept, to tell where
 * about the first difference is. Beyond MARKS steps under way only the end decides. */
#define STEP  4096
#define MARKS 16384

struct tcp {
    struct stream_run run;
    struct stream_ring there; /* read, and is to be sent */
    struct stream_digest sent;
    struct stream_digest received;
    uint64_t marks[MARKS];
    bool different;           /* an octet that came back is wrong */
    uint64_t different_after; /* ... it comes after so many right ones, at least */
    bool half_closed;
    bool peer_ended;   /* no more will come back */
    bool timed_out;    /* nothing moved for too long */
    int error;         /* why the connection failed; 0: it did not */
    uint64_t moved_at; /* when something moved for the last time */
    int socket;
};

/* ---- comparing ---- */

static void add_sent(struct tcp *tcp, const uint8_t *octets, size_t len)
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

static void found_difference(struct tcp *tcp, uint64_t after)
{
    if (tcp->different)
        return;
    tcp->different = true;
    tcp->different_after = after;
}

static void check_mark(struct tcp *tcp)
{
    uint64_t count = tcp->received.count;

    if (tcp->sent.count - count < (uint64_t)STEP * MARKS &&
        tcp->marks[count / STEP % MARKS] != tcp->received.state)
        found_difference(tcp, count - STEP);
}

static void add_received(struct tcp *tcp, const uint8_t *octets, size_t len)
{
    /* No echo comes before the call. */
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

static void move_out(struct tcp *tcp)
{
    size_t len;
    const uint8_t *head = stream_ring_head(&tcp->there, &len);
    ssize_t sent = send(tcp->socket, head, len, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN && errno != EINTR)
            tcp->error = errno;
        return;
    }
    add_sent(tcp, head, (size_t)sent);
    stream_ring_drop(&tcp->there, (size_t)sent);
    tcp->moved_at = clock_now();
}

static void move_in(struct tcp *tcp)
{
    size_t room;
    uint8_t *octets = stream_ring_room(&tcp->run.back, &room);
    ssize_t len = recv(tcp->socket, octets, room, MSG_DONTWAIT);

    if (len < 0) {
        if (errno == EAGAIN || errno == EINTR)
            return;
        /* The cause is what failed first. */
        if (tcp->error == 0)
            tcp->error = errno;
    }
    if (len <= 0) {
        tcp->peer_ended = true;
        return;
    }
    add_received(tcp, octets, (size_t)len);
    stream_ring_put(&tcp->run.back, (size_t)len);
    tcp->moved_at = clock_now();
}

static void read_input(struct tcp *tcp)
{
    size_t room;
    uint8_t *octets = stream_ring_room(&tcp->there, &room);

    stream_ring_put(&tcp->there, stream_run_read(&tcp->run, octets, room));
}

/* What was sent before a failure may still come back. */
static bool sending(const struct tcp *tcp)
{
    return tcp->error == 0 && !tcp->peer_ended;
}

static void half_close(struct tcp *tcp)
{
    if (!sending(tcp) || tcp->half_closed || !tcp->run.input_ended || tcp->there.used > 0)
        return;
    /* Where it fails the connection is gone, and receiving tells why. */
    (void)shutdown(tcp->socket, SHUT_WR);
    tcp->half_closed = true;
    tcp->moved_at = clock_now();
}

/* ---- the run ---- */

static bool done(const struct tcp *tcp)
{
    return tcp->run.over || tcp->run.failed || tcp->timed_out ||
           (tcp->peer_ended && tcp->run.back.used == 0);
}

/* A descriptor that is not asked for anything stays out of the set: poll(2) would return at once,
 * again and again, if its other end was closed. */
static struct pollfd wanted(int fd, int events)
{
    return (struct pollfd){.fd = events != 0 ? fd : -1, .events = (short)events};
}

/* Nobody waits for the peer while it owes nothing, or while it is our own output that blocks. */
static uint64_t patience(const struct tcp *tcp)
{
    bool owed = tcp->there.used > 0 || tcp->received.count < tcp->sent.count || tcp->half_closed;

    if (tcp->run.settings->timeout == 0 || !owed || tcp->run.back.used > 0 || tcp->peer_ended)
        return WAITER_NEVER;
    return tcp->moved_at + tcp->run.settings->timeout;
}

static void turn(struct tcp *tcp)
{
    struct stream_run *run = &tcp->run;
    bool hungry = sending(tcp) && !run->input_ended && tcp->there.used < STREAM_RING;
    bool receiving = !tcp->peer_ended && run->back.used < STREAM_RING;
    int sendable = sending(tcp) && tcp->there.used > 0 ? POLLOUT : 0;
    uint64_t until = patience(tcp);
    struct pollfd fds[] = {wanted(run->settings->in, hungry ? POLLIN : 0),
                           wanted(tcp->socket, (receiving ? POLLIN : 0) | sendable),
                           wanted(run->settings->out, run->back.used > 0 ? POLLOUT : 0)};

    stream_run_wait(run, fds, 3, until);
    if (run->over || run->failed)
        return;
    if (fds[0].revents)
        read_input(tcp);
    /* Without waiting for the socket, which mostly has room. */
    if (tcp->there.used > 0 && sending(tcp) && (fds[0].revents || fds[1].revents))
        move_out(tcp);
    if (receiving && fds[1].revents)
        move_in(tcp);
    if (fds[2].revents) {
        stream_run_write(run);
        tcp->moved_at = clock_now();
    }
    half_close(tcp);
    tcp->timed_out = clock_now() >= until && !fds[0].revents && !fds[1].revents && !fds[2].revents;
}

/* ---- the end ---- */

static bool all_came_back(const struct tcp *tcp)
{
    return !tcp->different && tcp->there.used == 0 &&
           stream_digest_equal(&tcp->sent, &tcp->received);
}

static void print_figures(const struct tcp *tcp)
{
    const char *verdict = tcp->different                                    ? "different"
                          : tcp->received.count < tcp->sent.count           ? "incomplete"
                          : stream_digest_equal(&tcp->sent, &tcp->received) ? "no difference"
                                                                            : "different";

    fprintf(tcp->run.settings->err,
            "%" PRIu64 " bytes sent, %" PRIu64 " received, %s, time %" PRIu64 "ms\n",
            tcp->sent.count, tcp->received.count, verdict, stream_run_ms(&tcp->run));
}

static void say_what_is_wrong(struct tcp *tcp)
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
    if (tcp->there.used > 0)
        stream_run_say(run, "%zu bytes that were read have not been sent", tcp->there.used);
}

static void say_why_it_ended(const struct tcp *tcp)
{
    const struct stream_run *run = &tcp->run;
    char peer[ADDR_STRLEN];

    addr_print(&run->settings->peer, peer);
    if (tcp->timed_out)
        stream_run_say(run, "%s sent nothing back for %.3g s, and did not end the connection", peer,
                       (double)run->settings->timeout / (double)SECOND);
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
static int conclude(struct tcp *tcp)
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
    struct tcp *tcp = calloc(1, sizeof *tcp);
    int on = 1;
    int status = 2;

    if (!tcp) {
        fprintf(settings->err, "echo-probe: %s\n", strerror(errno));
        return 2;
    }
    tcp->socket = socket;
    /* A line that was typed goes out at once; where this cannot be had it only takes longer. */
    (void)setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (stream_run_start(&tcp->run, settings) == 0) {
        tcp->moved_at = tcp->run.started;
        while (!done(tcp)) {
            turn(tcp);
            if (tcp->run.waiter.asked)
                print_figures(tcp);
            tcp->run.waiter.asked = false;
        }
        status = conclude(tcp);
    }
    stream_run_end(&tcp->run);
    free(tcp);
    return status;
}
