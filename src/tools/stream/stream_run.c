/* SPDX-License-Identifier: ISC */
#include "tools/stream/stream_run.h"

#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/util.h"

#define WORD sizeof(uint64_t)

/* ---- ring ---- */

uint8_t *stream_ring_room(struct stream_ring *ring, size_t *len)
{
    size_t end;

    /* Start again at the beginning, so that the piece is as large as possible. */
    if (ring->used == 0)
        ring->start = 0;
    end = (ring->start + ring->used) % STREAM_RING;
    *len = STREAM_RING - ring->used;
    if (*len > STREAM_RING - end)
        *len = STREAM_RING - end;
    return ring->octets + end;
}

uint8_t *stream_ring_head(struct stream_ring *ring, size_t *len)
{
    *len = STREAM_RING - ring->start < ring->used ? STREAM_RING - ring->start : ring->used;
    return ring->octets + ring->start;
}

void stream_ring_put(struct stream_ring *ring, size_t len)
{
    ring->used += len;
}

void stream_ring_drop(struct stream_ring *ring, size_t len)
{
    ring->start = (ring->start + len) % STREAM_RING;
    ring->used -= len;
}

void stream_ring_append(struct stream_ring *ring, const uint8_t *octets, size_t len)
{
    while (len > 0) {
        size_t part;
        uint8_t *room = stream_ring_room(ring, &part);

        if (part == 0)
            return;
        if (part > len)
            part = len;
        memcpy(room, octets, part);
        stream_ring_put(ring, part);
        octets += part;
        len -= part;
    }
}

/* ---- digest ---- */

/* For each word this is a permutation of states, and for each state a permutation of words. */
static uint64_t mix(uint64_t state, uint64_t word)
{
    state = (state ^ word) * UINT64_C(0xe7037ed1a0b428db) + UINT64_C(0xa0761d6478bd642f);
    return state ^ state >> 32;
}

static void add_octet(struct stream_digest *digest, uint8_t octet)
{
    digest->partial = digest->partial << 8 | octet;
    digest->count++;
    if (digest->count % WORD == 0) {
        digest->state = mix(digest->state, digest->partial);
        digest->partial = 0;
    }
}

void stream_digest_add(struct stream_digest *digest, const uint8_t *octets, size_t len)
{
    for (; len > 0 && digest->count % WORD != 0; len--)
        add_octet(digest, *octets++);
    for (; len >= WORD; len -= WORD, octets += WORD) {
        uint64_t word;

        memcpy(&word, octets, WORD);
        digest->state = mix(digest->state, be64toh(word));
        digest->count += WORD;
    }
    for (; len > 0; len--)
        add_octet(digest, *octets++);
}

bool stream_digest_equal(const struct stream_digest *a, const struct stream_digest *b)
{
    return a->count == b->count && a->state == b->state && a->partial == b->partial;
}

/* ---- run ---- */

void stream_run_say(const struct stream_run *run, const char *format, ...)
{
    va_list args;

    fputs("echo-probe: ", run->settings->err);
    va_start(args, format);
    vfprintf(run->settings->err, format, args);
    va_end(args);
    fputc('\n', run->settings->err);
}

/* poll(2) calls a pipe writable when PIPE_BUF octets fit (pipe(7)). A larger write would block, and
 * the socket and signals would go unnoticed. A terminal gets the same amount at a time. A file
 * never blocks for long. */
static void look_at_output(struct stream_run *run)
{
    struct stat st;
    bool known = fstat(run->settings->out, &st) == 0;

    run->out_is_socket = known && S_ISSOCK(st.st_mode);
    run->piece = known && S_ISREG(st.st_mode) ? STREAM_RING : PIPE_BUF;
}

/* ---- waiting ---- */

static void signal_came(struct signals *signals, int number)
{
    struct stream_run *run = container_of(signals, struct stream_run, signals);

    if (number == SIGQUIT)
        run->asked = true;
    else
        run->over = true;
}

/* It only ends loop_turn(). */
static void time_passed(struct loop_timer *timer)
{
    (void)timer;
}

static void descriptor_ready(struct loop_io *io, short revents)
{
    container_of(io, struct stream_watch, io)->ready = revents;
}

int stream_run_start(struct stream_run *run, int socket, const struct stream *settings)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGQUIT};

    memset(run, 0, sizeof *run);
    run->settings = settings;
    run->in.fd = settings->in;
    run->out.fd = settings->out;
    run->socket.fd = socket;
    if (loop_init(&run->loop) < 0) {
        stream_run_say(run, "cannot wait: %s", strerror(errno));
        return -1;
    }
    loop_timer_init(&run->loop, &run->timer, time_passed);
    if (signals_init(&run->signals, &run->loop, numbers, COUNT(numbers), signal_came) < 0) {
        stream_run_say(run, "cannot take signals: %s", strerror(errno));
        return -1;
    }
    look_at_output(run);
    run->started = clock_now();
    run->deadline = settings->deadline != 0 ? run->started + settings->deadline : STREAM_NEVER;
    return 0;
}

/* The loop forgets a descriptor that is not waited for: poll(2) reports an end that was closed
 * whether asked or not, again and again. */
static void watch_descriptor(struct stream_run *run, struct stream_watch *watch, short events)
{
    watch->ready = watch->always ? events : 0;
    if (watch->always || watch->events == events)
        return;
    if (events == 0) {
        loop_del(&run->loop, &watch->io);
    } else if (watch->events != 0) {
        (void)loop_set(&run->loop, &watch->io, events);
    } else if (loop_add(&run->loop, &watch->io, watch->fd, events, descriptor_ready) < 0) {
        watch->always = true;
        watch->ready = events;
    }
    watch->events = watch->always ? 0 : events;
}

void stream_run_end(struct stream_run *run)
{
    watch_descriptor(run, &run->in, 0);
    watch_descriptor(run, &run->out, 0);
    watch_descriptor(run, &run->socket, 0);
    signals_fini(&run->signals);
    loop_fini(&run->loop);
}

void stream_run_wait(struct stream_run *run, short in, short out, short socket, uint64_t until)
{
    if (until > run->deadline)
        until = run->deadline;
    watch_descriptor(run, &run->in, in);
    watch_descriptor(run, &run->out, out);
    watch_descriptor(run, &run->socket, socket);
    loop_timer_stop(&run->timer);
    if (until != STREAM_NEVER)
        loop_timer_set(&run->loop, &run->timer, until);
    loop_turn(&run->loop, run->in.ready || run->out.ready ? 0 : -1);
    if (clock_now() >= run->deadline)
        run->over = true;
}

bool stream_run_asked(struct stream_run *run)
{
    bool asked = run->asked;

    run->asked = false;
    return asked;
}

/* ---- input and output ---- */

size_t stream_run_read(struct stream_run *run, uint8_t *octets, size_t room)
{
    ssize_t len = read(run->settings->in, octets, room);

    if (len > 0)
        return (size_t)len;
    if (len == 0) {
        run->input_ended = true;
    } else if (errno != EAGAIN && errno != EINTR) {
        stream_run_say(run, "cannot read standard input: %s", strerror(errno));
        run->failed = true;
    }
    return 0;
}

void stream_run_write(struct stream_run *run)
{
    size_t len;
    const uint8_t *head = stream_ring_head(&run->from_peer, &len);
    ssize_t written;

    if (run->out_is_socket)
        written = send(run->settings->out, head, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    else
        written = write(run->settings->out, head, len < run->piece ? len : run->piece);
    if (written >= 0) {
        stream_ring_drop(&run->from_peer, (size_t)written);
    } else if (errno != EAGAIN && errno != EINTR) {
        stream_run_say(run, "cannot write to standard output: %s", strerror(errno));
        run->failed = true;
    }
}

void stream_run_flush(struct stream_run *run)
{
    while (run->from_peer.used > 0 && !run->failed) {
        stream_run_wait(run, 0, POLLOUT, 0, 1);
        if (run->out.ready == 0)
            return;
        stream_run_write(run);
    }
}

uint64_t stream_run_ms(const struct stream_run *run)
{
    return (clock_now() - run->started) / MILLISECOND;
}
