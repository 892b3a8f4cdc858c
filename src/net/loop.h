/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_LOOP_H
#define ECHOD_NET_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Descriptors and timers of one thread. While few are busy, those are in a short array that poll(2)
 * waits on, and all others in an epoll set, which is itself slot 0 of that array. While more are
 * busy than the array holds, or one only, or a descriptor is shared with other loops, all are in
 * the set and epoll_wait(2) does the waiting. So what is idle costs nothing. All is
 * level-triggered, so a callback may leave work for the next turn. */

#define LOOP_SLOTS 8
#define LOOP_BATCH 64

/* A descriptor being watched; part of its owner's struct. */
struct loop_io;
typedef void loop_io_fn(struct loop_io *io, short revents);
struct loop_io {
    loop_io_fn *fn;
    int fd;     /* -1: not watched any more */
    short slot; /* place in the array, or 0 in the epoll set */
    short events;
    bool shared;
    unsigned char taken;         /* events of a shared one since it was at the end of the line */
    unsigned last_active_review; /* the last review before which it had an event */
};

/* A moment to be called at, once; part of its owner's struct. */
struct loop_timer;
typedef void loop_timer_fn(struct loop_timer *timer);
struct loop_timer {
    struct loop_timer *next;
    loop_timer_fn *fn;
    uint64_t due; /* CLOCK_MONOTONIC, nanoseconds; 0: not set */
};

struct loop {
    struct pollfd fds[LOOP_SLOTS];
    struct loop_io *ios[LOOP_SLOTS];
    unsigned used;
    unsigned slots;  /* how many of LOOP_SLOTS poll(2) may use */
    unsigned shared; /* descriptors, see loop_add_shared() */
    unsigned review;
    unsigned turns; /* that brought something since the last review, */
    unsigned met;   /* the descriptors that came since then, and those that it was about, */
    unsigned busy;  /* and those of the latter that are still watched */
    int epoll;
    struct epoll_event batch[LOOP_BATCH];
    int batch_left; /* events of the batch that were not delivered yet, at its end */
    int batch_end;
    int alarm;          /* timerfd_create(2), in the set */
    bool alarm_works;   /* until it cannot be set, once */
    uint64_t alarm_due; /* 0: not set */
    struct loop_timer *timers;
    uint64_t turn;
    uint64_t next_due;
    uint64_t now;
    uint64_t spin; /* nanoseconds, see loop_set_spin() */
    uint64_t awake_until;
    bool stopped;
};

/* -1 with errno; then only loop_fini() may be called, and need not. */
int loop_init(struct loop *loop);
void loop_fini(struct loop *loop);

/* Watch fd for events (POLLIN, POLLOUT, 0 for errors only). -1 with errno where the kernel has no
 * room. */
int loop_add(struct loop *loop, struct loop_io *io, int fd, short events, loop_io_fn *fn);

/* The same, of a descriptor that other loops watch too: an event wakes one of those that sleep, not
 * all of them, and each in its turn. */
int loop_add_shared(struct loop *loop, struct loop_io *io, int fd, short events, loop_io_fn *fn);

/* Watch it for other events, if it is watched. -1 with errno: it is, for the same as before. */
int loop_set(struct loop *loop, struct loop_io *io, short events);

/* Stop watching, if it is watched; also from within a callback, for any descriptor. To be called
 * before close(2). */
void loop_del(struct loop *loop, struct loop_io *io);

/* Of one that was added once, or could not be. */
static inline bool loop_is_watched(const struct loop_io *io)
{
    return io->fd >= 0;
}

/* Whether fd could be read at once, be it an end or an error; also if that cannot be told. */
bool loop_is_readable(int fd);

/* Whether shutdown(2) has ended receiving from it, or its peer has. */
bool loop_is_shut_down(int fd);

/* A timer belongs to its loop from init to fini; setting it again moves it. It must
 * not be ended from its own callback. */
void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_fn *fn);
void loop_timer_fini(struct loop *loop, struct loop_timer *timer);
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due);
void loop_timer_stop(struct loop_timer *timer);

/* After a turn that brought something do not sleep for so many nanoseconds, but ask again and
 * again: a CPU for quicker answers. At first, 0. */
void loop_set_spin(struct loop *loop, uint64_t ns);

/* The number of this turn. */
static inline uint64_t loop_turn_number(const struct loop *loop)
{
    return loop->turn;
}

/* The time when this turn began. */
static inline uint64_t loop_now(const struct loop *loop)
{
    return loop->now;
}

/* Wait once, for at most `max_ms` milliseconds (-1: until something is due), and deliver. */
void loop_turn(struct loop *loop, int max_ms);

/* Turn until loop_stop() is called from a callback. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
