/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_STREAM_STREAM_RUN_H
#define ECHOD_TOOLS_STREAM_STREAM_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/waiter.h"
#include "tools/stream/stream.h"

/* What both kinds of echo client are made of: buffers, digests, the way out, and the end of a run.
 */

/* ---- a first-in first-out buffer of fixed size ---- */

#define STREAM_RING (256 * 1024)
struct stream_ring {
    size_t start;
    size_t used;
    uint8_t octets[STREAM_RING];
};

/* The first piece that is free, or used; *len is 0 if there is none. */
uint8_t *stream_ring_room(struct stream_ring *ring, size_t *len);
uint8_t *stream_ring_head(struct stream_ring *ring, size_t *len);

/* So many octets of that piece have been filled, or are done with. */
void stream_ring_put(struct stream_ring *ring, size_t len);
void stream_ring_drop(struct stream_ring *ring, size_t len);

/* Append a copy of what fits. */
void stream_ring_append(struct stream_ring *ring, const uint8_t *octets, size_t len);

/* ---- what a stream was, in a few octets ---- */

/* Depends on the octets alone, not on the pieces they came in. One wrong 64-bit word always makes a
 * difference, anything else does but once in 2^64. All zero: of nothing. */
struct stream_digest {
    uint64_t count; /* octets */
    uint64_t state;
    uint64_t partial; /* octets that do not make a word yet */
};

void stream_digest_add(struct stream_digest *digest, const uint8_t *octets, size_t len);
bool stream_digest_equal(const struct stream_digest *a, const struct stream_digest *b);

/* ---- a run ---- */

struct stream_run {
    const struct stream *settings;
    struct waiter waiter;
    struct stream_ring back; /* to be written */
    bool out_is_socket;
    size_t piece; /* to write at a time */
    bool input_ended;
    bool over;   /* by the user or the deadline */
    bool failed; /* by an error of ours; the user was told */
    uint64_t started;
    uint64_t deadline; /* a point in time */
};

/* -1: err was told why. */
int stream_run_start(struct stream_run *run, const struct stream *settings);
void stream_run_end(struct stream_run *run);

/* waiter_wait(), but no longer than the deadline. Sets over or failed if the run must end. */
void stream_run_wait(struct stream_run *run, struct pollfd fds[], unsigned count, uint64_t until);

/* Read what is there, at least one octet: the number; 0: there was nothing, or no more will come
 * (input_ended), or it cannot be read (failed). */
size_t stream_run_read(struct stream_run *run, uint8_t *octets, size_t room);

/* Write some of `back`, after poll(2) called `out` writable. */
void stream_run_write(struct stream_run *run);

/* Write what still can be written without waiting. */
void stream_run_flush(struct stream_run *run);

/* Tell err what went wrong: "echo-probe: ", the text and a newline. */
__attribute__((format(printf, 2, 3))) void stream_run_say(const struct stream_run *run,
                                                          const char *format, ...);

/* Milliseconds since the start. */
uint64_t stream_run_ms(const struct stream_run *run);

#endif
