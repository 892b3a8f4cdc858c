/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_NET_LOOP_H
#define ECHOD_NET_LOOP_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>

/* Descriptors and timers of one thread. poll(2) waits while few descriptors are watched,
 * epoll_wait(2) from the first time that they are more; shared ones need epoll(7), too. Events are
 * level-triggered, so a callback may leave work for the next turn.
 *
 * A daemon's thread calls loop_run(). A client calls loop_turn() until what it waits for has
 * happened: loop_init(), signals_init() (net/signals.h), loop_timer_set(), loop_turn(). */

/* Slot 0 is the epoll set itself. Each descriptor that is idle costs poll(2) 0.2 us a turn, 3 % of
 * an echo: with 8 slots echoes cost 20 % more than with 4. */
#define LOOP_SLOTS 4
#define LOOP_BATCH 64

/* A descriptor being watched; part of its owner's struct. */
struct loop_io;
typedef void loop_io_fn(struct loop_io *io, short revents);
struct loop_io {
    loop_io_fn *fn;
    int fd;     /* -1: not watched */
    short slot; /* index in the array of poll(2); 0: it is in the epoll set */
    short events;
    bool shared;
    unsigned char taken; /* shared: events since it was at the end of the line */
};

/* A point in time to be called at, once; part of its owner's struct. */
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
    unsigned used;  /* slots that are used */
    unsigned slots; /* slots that poll(2) may use; 1: epoll_wait(2) alone waits */
    int epoll;
    struct epoll_event batch[LOOP_BATCH];
    int batch_left;     /* events at the end of the batch that are not delivered yet */
    int batch_end;      /* events in the batch */
    int alarm;          /* timerfd_create(2), in the epoll set */
    bool alarm_works;   /* false once it could not be set */
    uint64_t alarm_due; /* 0: not set */
    struct loop_timer *timers;
    uint64_t turn;
    uint64_t next_due;
    uint64_t now;
    uint64_t spin;        /* nanoseconds, see loop_set_spin() */
    uint64_t awake_until; /* no sleep before this point in time */
    bool stopped;
};

/* -1 with errno; then only loop_fini() may be called, and need not. */
int loop_init(struct loop *loop);
void loop_fini(struct loop *loop);

/* Watch fd for events (POLLIN, POLLOUT, 0 for errors only). -1 with errno where the kernel has no
 * room. */
int loop_add(struct loop *loop, struct loop_io *io, int fd, short events, loop_io_fn *fn);

/* The same for a descriptor that other loops watch, too: an event wakes one of the sleeping loops,
 * and they take turns. */
int loop_add_shared(struct loop *loop, struct loop_io *io, int fd, short events, loop_io_fn *fn);

/* Change the events of a descriptor, if it is watched. -1 with errno: they are as before. */
int loop_set(struct loop *loop, struct loop_io *io, short events);

/* Stop watching, if it is watched; also from within a callback, for any descriptor. Call it before
 * close(2). */
void loop_del(struct loop *loop, struct loop_io *io);

/* False if never added, removed, or if adding failed. */
static inline bool loop_is_watched(const struct loop_io *io)
{
    return io->fd >= 0;
}

/* True if read(2) would return at once, also with an end or an error, or if this is not known. */
bool loop_is_readable(int fd);

/* True if shutdown(2) or the peer has ended receiving from fd. */
bool loop_is_shut_down(int fd);

/* A timer belongs to its loop from init to fini; setting it again moves it. It must
 * not be ended from its own callback. */
void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_fn *fn);
void loop_timer_fini(struct loop *loop, struct loop_timer *timer);
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due);
void loop_timer_stop(struct loop_timer *timer);

/* For so many nanoseconds after each event do not sleep, but poll again and again: it costs a CPU
 * and answers faster. 0, the initial value: always sleep. */
void loop_set_spin(struct loop *loop, uint64_t ns);

/* Number of this turn, from 1. */
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
