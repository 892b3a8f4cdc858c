/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_STREAM_STREAM_RUN_H
#define ECHOD_TOOLS_STREAM_STREAM_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/addr.h"
#include "net/loop.h"
#include "net/signals.h"

/* The classic echo client: what is read goes to the echo service, what comes back is written, and
 * both must be the same. Binary safe, both ways at once, in bounded memory. Times are nanoseconds.
 *
 * SIGINT and SIGTERM end it with the summary, SIGQUIT prints the figures so far. The caller ignores
 * SIGPIPE. Flags of `in` and `out` are left alone: the shell may share them. */

struct stream {
    int in;            /* to read from: a file, pipe, terminal or socket */
    int out;           /* to write to */
    FILE *err;         /* for people */
    bool quiet;        /* no summary there, only what went wrong */
    struct addr peer;  /* the echo service */
    uint64_t timeout;  /* TCP: how long nothing may move while octets, or the end of the stream,
                          are still to come back; UDP: for one reply. 0: as long as it takes */
    uint64_t deadline; /* for the whole run; 0: none */
};

/* The status that stream_tcp() and stream_udp() return, to exit with: 0 all that was sent came back
 * octet for octet, and all that was read was sent; 1 it did not, or the peer ended the connection
 * before the input ended; 2 any other error. `err` has been told why. */

/* ---- a first-in first-out buffer of fixed size ---- */

#define STREAM_RING (256 * 1024)
struct stream_ring {
    size_t start;
    size_t used;
    uint8_t octets[STREAM_RING];
};

/* The first piece that is free, or used; *len is 0 if none is. */
uint8_t *stream_ring_room(struct stream_ring *ring, size_t *len);
uint8_t *stream_ring_head(struct stream_ring *ring, size_t *len);

/* `len` octets of that piece have been filled, or are done with. */
void stream_ring_put(struct stream_ring *ring, size_t len);
void stream_ring_drop(struct stream_ring *ring, size_t len);

/* Append a copy of the octets, as far as they fit. */
void stream_ring_append(struct stream_ring *ring, const uint8_t *octets, size_t len);

/* ---- the digest of a stream ---- */

/* Depends on the octets alone, not on the pieces they came in. A single wrong 64-bit word is always
 * noticed; other errors are missed once in 2^64. All zero: the digest of an empty stream. */
struct stream_digest {
    uint64_t count; /* octets */
    uint64_t state;
    uint64_t partial; /* the octets after the last whole 64-bit word */
};

void stream_digest_add(struct stream_digest *digest, const uint8_t *octets, size_t len);
bool stream_digest_equal(const struct stream_digest *a, const struct stream_digest *b);

/* ---- a run ---- */

/* A descriptor that the run waits for at times. */
struct stream_watch {
    struct loop_io io;
    int fd;
    short events; /* waited for, as in poll(2); 0: the loop does not have it */
    short ready;  /* events of the latest wait; 0: none */
    bool always;  /* the loop does not take it, as epoll(7) no regular file: it is always ready */
};

struct stream_run {
    const struct stream *settings;
    struct loop loop;
    struct signals signals;
    struct loop_timer timer; /* ends a wait */
    struct stream_watch in;
    struct stream_watch out;
    struct stream_watch socket;
    struct stream_ring from_peer; /* received, to be written to `out` */
    bool out_is_socket;
    size_t piece; /* octets to write at a time */
    bool input_ended;
    bool asked;        /* SIGQUIT asks for the figures; cleared by stream_run_asked() */
    bool over;         /* ended by the user or the deadline */
    bool failed;       /* ended by an error on this host, which `err` has been told */
    uint64_t started;  /* a point in time */
    uint64_t deadline; /* a point in time; STREAM_NEVER: none */
};

#define STREAM_NEVER UINT64_MAX

/* -1: err was told why. stream_run_end() must be called all the same. */
int stream_run_start(struct stream_run *run, int socket, const struct stream *settings);
void stream_run_end(struct stream_run *run);

/* Wait until one of the descriptors has one of these events (0: it is not waited for), a signal
 * comes, `until` is reached or the deadline. Sets `ready` of each; sets over or failed if the run
 * must end. */
void stream_run_wait(struct stream_run *run, short in, short out, short socket, uint64_t until);

/* Whether the user has asked for the figures since the last call. */
bool stream_run_asked(struct stream_run *run);

/* Read from `in`, which is ready. Returns the octets read; 0: none came, or the input has ended
 * (input_ended), or it cannot be read (failed). */
size_t stream_run_read(struct stream_run *run, uint8_t *octets, size_t room);

/* Write some of `from_peer` to `out`, which is ready. */
void stream_run_write(struct stream_run *run);

/* Write what can be written without waiting. */
void stream_run_flush(struct stream_run *run);

/* Tell err what went wrong: "echo-probe: ", the text and a newline. */
__attribute__((format(printf, 2, 3))) void stream_run_say(const struct stream_run *run,
                                                          const char *format, ...);

/* Milliseconds since the start. */
uint64_t stream_run_ms(const struct stream_run *run);

#endif
