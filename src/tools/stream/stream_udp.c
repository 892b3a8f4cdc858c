/* SPDX-License-Identifier: ISC */
#include "tools/stream/stream_udp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/decimal.h"
#include "probe/datagram.h"

/* Two of the largest datagrams: there is always room to read on. */
#define INPUT (2 * DATAGRAM_ROOM)

/* Earlier lines that are remembered, to know their reply if it comes late or once more. */
#define MEMORY 64

/* How often to try to send: each error of an earlier datagram makes one attempt fail. */
#define TRIES 8

struct input_line {
    uint64_t number; /* from 1; 0: none */
    struct stream_digest digest;
};

struct udp_run {
    struct stream_run run;
    struct addr peer;
    uint8_t input[INPUT];
    size_t start;   /* where the line that is under way, or comes next, begins in `input` */
    size_t used;    /* octets in `input` from `start` on */
    size_t max;     /* octets of the longest line that can be sent */
    bool skipping;  /* the rest of a line that was too long is left out */
    size_t len;     /* octets of the line that is under way or to be sent; 0: no line is */
    bool sent;      /* the line is under way */
    uint64_t until; /* when the line under way is lost; STREAM_NEVER: never */
    struct input_line current;
    struct input_line earlier[MEMORY]; /* line n is in slot n % MEMORY */
    struct {
        uint64_t sent;
        uint64_t received;
        uint64_t octets_sent;
        uint64_t octets_received;
        uint64_t lost;
        uint64_t refused; /* by the network, with any error */
        uint64_t unsent;  /* too long, or refused by the kernel */
        uint64_t late;    /* late, or repeated */
        uint64_t different;
        uint64_t wrong_source;
    } count;
    uint8_t reply[DATAGRAM_ROOM];
};

/* ---- lines ---- */

static void take_line(struct udp_run *udp, size_t len)
{
    udp->current = (struct input_line){.number = udp->current.number + 1};
    udp->len = len;
}

static void drop_line(struct udp_run *udp)
{
    udp->earlier[udp->current.number % MEMORY] = udp->current;
    udp->start += udp->len;
    udp->used -= udp->len;
    udp->len = 0;
    udp->sent = false;
}

static void refuse_line(struct udp_run *udp)
{
    udp->current.number++;
    udp->count.unsent++;
    stream_run_say(&udp->run,
                   "line %" PRIu64
                   " was not sent: a datagram carries at most %zu bytes, and it has "
                   "more",
                   udp->current.number, udp->max);
}

/* Cut the next line off the input, if it is all there. */
static void find_line(struct udp_run *udp)
{
    while (udp->used > 0 && udp->len == 0) {
        const uint8_t *begin = udp->input + udp->start;
        const uint8_t *newline = memchr(begin, '\n', udp->used);
        size_t len = newline ? (size_t)(newline - begin) + 1 : udp->used;
        bool whole = newline || udp->run.input_ended;

        if (!udp->skipping && len <= udp->max) {
            if (whole)
                take_line(udp, len);
            return;
        }
        if (!udp->skipping)
            refuse_line(udp);
        udp->skipping = !whole;
        udp->start += len;
        udp->used -= len;
    }
}

static void read_input(struct udp_run *udp)
{
    if (udp->start > 0)
        memmove(udp->input, udp->input + udp->start, udp->used);
    udp->start = 0;
    udp->used += stream_run_read(&udp->run, udp->input + udp->used, INPUT - udp->used);
}

/* ---- errors ---- */

/* Whether an error is about the line under way, as far as the octets that came with it tell. */
static bool is_current(const struct udp_run *udp, const struct datagram_error *error)
{
    size_t len = error->len < udp->len ? error->len : udp->len;

    return udp->sent && memcmp(udp->reply, udp->input + udp->start, len) == 0;
}

static void take_error(struct udp_run *udp, const struct datagram_error *error)
{
    char from[ADDR_STRLEN] = "this host";

    if (error->local)
        return;
    if (error->from.len != 0)
        addr_print_host(&error->from, from);
    udp->count.refused++;
    if (!is_current(udp, error)) {
        stream_run_say(&udp->run, "an earlier line was refused by %s: %s", from,
                       strerror(error->error));
        return;
    }
    stream_run_say(&udp->run, "line %" PRIu64 " was refused by %s: %s", udp->current.number, from,
                   strerror(error->error));
    drop_line(udp);
}

static bool take_errors(struct udp_run *udp)
{
    struct datagram_error error;
    bool taken = false;

    for (unsigned i = 0; i < TRIES; i++) {
        if (!datagram_take_error(udp->run.socket.fd, &error, udp->reply, sizeof udp->reply))
            break;
        take_error(udp, &error);
        taken = true;
    }
    return taken;
}

/* ---- out and back ---- */

static void sent_line(struct udp_run *udp)
{
    uint64_t timeout = udp->run.settings->timeout;

    stream_digest_add(&udp->current.digest, udp->input + udp->start, udp->len);
    udp->count.sent++;
    udp->count.octets_sent += udp->len;
    udp->sent = true;
    udp->until = timeout != 0 ? clock_now() + timeout : STREAM_NEVER;
}

static void send_input_line(struct udp_run *udp)
{
    int failure = 0;

    for (unsigned i = 0; i < TRIES; i++) {
        if (sendto(udp->run.socket.fd, udp->input + udp->start, udp->len, MSG_DONTWAIT,
                   &udp->peer.sa, udp->peer.len) >= 0) {
            sent_line(udp);
            return;
        }
        failure = errno;
        /* The loop tells when the socket has room again. */
        if (failure == EAGAIN || failure == EINTR)
            return;
        if (!take_errors(udp))
            break;
    }
    stream_run_say(&udp->run, "line %" PRIu64 " (%zu bytes) was not sent: %s", udp->current.number,
                   udp->len, strerror(failure));
    udp->count.unsent++;
    drop_line(udp);
}

static void lose_line(struct udp_run *udp)
{
    char text[DECIMAL_SIZE];

    udp->count.lost++;
    stream_run_say(&udp->run, "line %" PRIu64 " did not come back within %s s", udp->current.number,
                   print_seconds(udp->run.settings->timeout, text));
    drop_line(udp);
}

/* The number of the line that this is the reply to; 0: no line that is remembered. */
static uint64_t find_earlier(const struct udp_run *udp, size_t len)
{
    struct stream_digest digest = {0};

    stream_digest_add(&digest, udp->reply, len);
    for (unsigned i = 0; i < MEMORY; i++)
        if (udp->earlier[i].number != 0 && stream_digest_equal(&udp->earlier[i].digest, &digest))
            return udp->earlier[i].number;
    return 0;
}

static void take_odd_reply(struct udp_run *udp, size_t len)
{
    uint64_t number = find_earlier(udp, len);

    if (number != 0) {
        udp->count.late++;
        stream_run_say(&udp->run, "line %" PRIu64 " came back late, or once more", number);
        return;
    }
    udp->count.different++;
    if (udp->sent)
        stream_run_say(&udp->run, "%zu bytes came back that are not the %zu bytes of line %" PRIu64,
                       len, udp->len, udp->current.number);
    else
        stream_run_say(&udp->run, "%zu bytes came back that were not sent", len);
}

static void take_reply(struct udp_run *udp, size_t len, const struct addr *from)
{
    char text[ADDR_STRLEN];

    if (!addr_equal(from, &udp->peer)) {
        udp->count.wrong_source++;
        stream_run_say(&udp->run, "%zu bytes came from %s, which was not asked", len,
                       addr_print(from, text));
        return;
    }
    if (!udp->sent || len != udp->len || memcmp(udp->reply, udp->input + udp->start, len) != 0) {
        take_odd_reply(udp, len);
        return;
    }
    udp->count.received++;
    udp->count.octets_received += len;
    stream_ring_append(&udp->run.from_peer, udp->reply, len);
    drop_line(udp);
}

static void receive_reply(struct udp_run *udp)
{
    struct addr from;
    size_t fragment;
    ssize_t len = datagram_receive(udp->run.socket.fd, udp->reply, &from, &fragment);

    if (len >= 0)
        take_reply(udp, (size_t)len, &from);
    else if (errno != EAGAIN && errno != EINTR && !take_errors(udp)) {
        stream_run_say(&udp->run, "cannot receive: %s", strerror(errno));
        udp->run.failed = true;
    }
}

/* ---- the run ---- */

static bool done(const struct udp_run *udp)
{
    return udp->run.over || udp->run.failed ||
           (udp->run.input_ended && udp->used == 0 && udp->run.from_peer.used == 0);
}

static void turn(struct udp_run *udp)
{
    struct stream_run *run = &udp->run;
    bool writing = run->from_peer.used > 0;
    bool reading = udp->len == 0 && !run->input_ended && !writing;
    bool unsent = udp->len > 0 && !udp->sent && !writing;

    stream_run_wait(run, reading ? POLLIN : 0, writing ? POLLOUT : 0,
                    (short)(POLLIN | (unsent ? POLLOUT : 0)),
                    udp->sent ? udp->until : STREAM_NEVER);
    if (run->over || run->failed)
        return;
    if (run->out.ready)
        stream_run_write(run);
    if (run->socket.ready & POLLERR)
        take_errors(udp);
    if (run->socket.ready & (POLLIN | POLLERR))
        receive_reply(udp);
    if (run->in.ready)
        read_input(udp);
    if (udp->sent && !run->socket.ready && clock_now() >= udp->until)
        lose_line(udp);
    if (udp->len == 0)
        find_line(udp);
    if (udp->len > 0 && !udp->sent && run->from_peer.used == 0)
        send_input_line(udp);
}

static void print_count(FILE *err, uint64_t count, const char *what)
{
    if (count > 0)
        fprintf(err, ", %" PRIu64 " %s", count, what);
}

static void print_figures(const struct udp_run *udp)
{
    FILE *err = udp->run.settings->err;

    fprintf(err,
            "%" PRIu64 " line%s (%" PRIu64 " bytes) sent, %" PRIu64 " (%" PRIu64 " bytes) received",
            udp->count.sent, udp->count.sent != 1 ? "s" : "", udp->count.octets_sent,
            udp->count.received, udp->count.octets_received);
    print_count(err, udp->count.lost, "lost");
    print_count(err, udp->count.refused, "refused");
    print_count(err, udp->count.unsent, "not sent");
    print_count(err, udp->count.late, "late or repeated");
    print_count(err, udp->count.different, "different");
    print_count(err, udp->count.wrong_source, "from a wrong source");
    fprintf(err, ", time %" PRIu64 "ms\n", stream_run_ms(&udp->run));
}

static int conclude(struct udp_run *udp)
{
    stream_run_flush(&udp->run);
    if (!udp->run.settings->quiet)
        print_figures(udp);
    if (udp->run.failed || udp->count.unsent > 0)
        return 2;
    return udp->count.received < udp->count.sent || udp->used > 0 ||
                   udp->count.different + udp->count.wrong_source > 0
               ? 1
               : 0;
}

int stream_udp(int socket, const struct stream *settings)
{
    struct udp_run *udp = calloc(1, sizeof *udp);
    int status = 2;

    if (!udp) {
        fprintf(settings->err, "echo-probe: %s\n", strerror(errno));
        return 2;
    }
    udp->peer = settings->peer;
    udp->max = datagram_max(&udp->peer);
    if (stream_run_start(&udp->run, socket, settings) == 0) {
        while (!done(udp)) {
            turn(udp);
            if (stream_run_asked(&udp->run))
                print_figures(udp);
        }
        status = conclude(udp);
    }
    stream_run_end(&udp->run);
    free(udp);
    return status;
}
