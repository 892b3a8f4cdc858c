/* SPDX-License-Identifier: ISC */
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"

/* One set of event bits serves both calls. */
static_assert(POLLIN == EPOLLIN && POLLOUT == EPOLLOUT && POLLERR == EPOLLERR &&
                  POLLHUP == EPOLLHUP,
              "poll(2) and epoll(7) share their event bits on Linux");

#define NEVER UINT64_MAX

/* The kernel wakes the loop that stands first in line for a shared descriptor. After so many events
 * a loop goes to the end of the line. Of 400 datagrams that come one by one, 4 workers answer 96,
 * 96, 96 and 112; without this one worker answers all. */
#define SHARED_TURN 16

/* If the clock fails, time stands still: another value might end connections as idle. */
static void read_clock(struct loop *loop)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_MONOTONIC, &ts) == 0)
        loop->now = (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void put_in_slot(struct loop *loop, struct loop_io *io, short events)
{
    unsigned slot = loop->used++;

    io->slot = (short)slot;
    io->events = events;
    loop->ios[slot] = io;
    loop->fds[slot] = (struct pollfd){.fd = io->fd, .events = events};
}

static int put_in_epoll(struct loop *loop, struct loop_io *io, short events, int operation)
{
    struct epoll_event event = {.events = (uint32_t)events, .data.ptr = io};

    if (io->shared)
        event.events |= EPOLLEXCLUSIVE;
    if (epoll_ctl(loop->epoll, operation, io->fd, &event) < 0)
        return -1;
    io->slot = 0;
    io->events = events;
    return 0;
}

static void init_io(struct loop_io *io, int fd, loop_io_fn *fn, bool shared)
{
    io->fn = fn;
    io->fd = fd;
    io->shared = shared;
    io->taken = 0;
}

int loop_init(struct loop *loop)
{
    struct epoll_event alarm = {.events = EPOLLIN}; /* ends a wait, has no callback */

    memset(loop, 0, sizeof *loop);
    loop->alarm = -1;
    /* Opened now: later there may be no descriptor left. */
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        return -1;
    loop->alarm = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (loop->alarm < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->alarm, &alarm) < 0) {
        int saved = errno;

        loop_fini(loop);
        errno = saved;
        return -1;
    }
    loop->fds[0].events = POLLIN;
    loop->fds[0].fd = loop->epoll;
    loop->alarm_works = true;
    loop->used = 1;
    loop->slots = LOOP_SLOTS;
    loop->next_due = NEVER;
    read_clock(loop);
    return 0;
}

void loop_fini(struct loop *loop)
{
    if (loop->alarm >= 0)
        close(loop->alarm);
    if (loop->epoll >= 0)
        close(loop->epoll);
    loop->alarm = loop->epoll = -1;
}

/* Swap-remove. If this turn has passed that slot already, its event is delivered next turn. */
static void empty_slot(struct loop *loop, unsigned slot)
{
    unsigned last = --loop->used;

    loop->fds[slot] = loop->fds[last];
    loop->ios[slot] = loop->ios[last];
    loop->ios[slot]->slot = (short)slot;
}

/* From now on the set holds all descriptors, and epoll_wait(2) alone waits. A descriptor that the
 * set does not take stays in the array; then poll(2) waits for both. */
static void leave_poll(struct loop *loop)
{
    for (unsigned slot = loop->used; slot-- > 1;) {
        struct loop_io *io = loop->ios[slot];

        empty_slot(loop, slot);
        if (put_in_epoll(loop, io, io->events, EPOLL_CTL_ADD) < 0)
            put_in_slot(loop, io, io->events);
    }
    loop->slots = loop->used;
}

int loop_add(struct loop *loop, struct loop_io *io, int fd, short events, loop_io_fn *fn)
{
    init_io(io, fd, fn, false);
    if (loop->used == loop->slots && loop->slots > 1)
        leave_poll(loop);
    if (loop->used < loop->slots)
        put_in_slot(loop, io, events);
    else if (put_in_epoll(loop, io, events, EPOLL_CTL_ADD) < 0)
        io->fd = -1;
    return loop_is_watched(io) ? 0 : -1;
}

/* Put a shared descriptor at the end of the line. EPOLL_CTL_MOD does not allow EPOLLEXCLUSIVE, so
 * it is removed and added again. If the set does not take it again, poll(2) waits for it. */
static int requeue(struct loop *loop, struct loop_io *io, short events)
{
    if (loop->used == LOOP_SLOTS) {
        errno = ENOSPC;
        return -1;
    }
    if (epoll_ctl(loop->epoll, EPOLL_CTL_DEL, io->fd, NULL) < 0)
        return -1;
    if (put_in_epoll(loop, io, events, EPOLL_CTL_ADD) < 0) {
        put_in_slot(loop, io, events);
        loop->slots = loop->used;
    }
    return 0;
}

int loop_set(struct loop *loop, struct loop_io *io, short events)
{
    if (!loop_is_watched(io) || io->events == events)
        return 0;
    if (io->slot == 0 && io->shared)
        return requeue(loop, io, events);
    if (io->slot == 0)
        return put_in_epoll(loop, io, events, EPOLL_CTL_MOD);
    loop->fds[io->slot].events = io->events = events;
    return 0;
}

static void leave_epoll(struct loop *loop, struct loop_io *io)
{
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, io->fd, NULL);
    for (int i = loop->batch_end - loop->batch_left; i < loop->batch_end; i++)
        if (loop->batch[i].data.ptr == io)
            loop->batch[i].data.ptr = NULL;
}

void loop_del(struct loop *loop, struct loop_io *io)
{
    if (!loop_is_watched(io))
        return;
    if (io->slot > 0)
        empty_slot(loop, (unsigned)io->slot);
    else
        leave_epoll(loop, io);
    io->fd = -1;
}

bool loop_is_readable(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    return poll(&pollfd, 1, 0) != 0;
}

bool loop_is_shut_down(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLRDHUP};

    return poll(&pollfd, 1, 0) > 0 && pollfd.revents & (POLLRDHUP | POLLHUP);
}

void loop_timer_init(struct loop *loop, struct loop_timer *timer, loop_timer_fn *fn)
{
    timer->fn = fn;
    timer->due = 0;
    timer->next = loop->timers;
    loop->timers = timer;
}

void loop_timer_fini(struct loop *loop, struct loop_timer *timer)
{
    struct loop_timer **link = &loop->timers;

    while (*link != timer)
        link = &(*link)->next;
    *link = timer->next;
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t due)
{
    timer->due = due;
    if (due < loop->next_due)
        loop->next_due = due;
}

void loop_timer_stop(struct loop_timer *timer)
{
    timer->due = 0;
}

void loop_set_spin(struct loop *loop, uint64_t ns)
{
    loop->spin = ns;
}

static void run_timers(struct loop *loop)
{
    if (loop->now < loop->next_due)
        return;
    for (struct loop_timer *t = loop->timers; t; t = t->next)
        if (t->due != 0 && t->due <= loop->now) {
            t->due = 0;
            t->fn(t);
        }
    loop->next_due = NEVER;
    for (struct loop_timer *t = loop->timers; t; t = t->next)
        if (t->due != 0 && t->due < loop->next_due)
            loop->next_due = t->due;
}

/* Arm the timerfd for the next timer. An earlier alarm may stay: it costs one idle wake-up. -1 with
 * errno. */
static int set_alarm(struct loop *loop)
{
    uint64_t due = loop->next_due == NEVER ? 0 : loop->next_due;
    struct itimerspec at = {
        .it_value = {.tv_sec = (time_t)(due / SECOND), .tv_nsec = (long)(due % SECOND)}};

    if (loop->alarm_due == due ||
        (loop->alarm_due > loop->now && (due == 0 || loop->alarm_due < due)))
        return 0;
    loop->alarm_due = due;
    return timerfd_settime(loop->alarm, TFD_TIMER_ABSTIME, &at, NULL);
}

/* How long to wait without an alarm: until the next timer, or max_ms if that is sooner. */
static int timeout_ms(const struct loop *loop, int max_ms)
{
    uint64_t ms;

    if (loop->next_due == NEVER)
        return max_ms;
    ms = (loop->next_due - loop->now + MILLISECOND - 1) / MILLISECOND;
    if (max_ms >= 0 && ms > (uint64_t)max_ms)
        return max_ms;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

/* A wait that fails again and again must not spin. poll(2) is a call that the sandbox allows. */
static void pause_after_failure(void)
{
    poll(NULL, 0, 10);
}

/* Where poll(2) waits for the set, the kernel wakes all loops (EPOLLEXCLUSIVE has no effect). */
int loop_add_shared(struct loop *loop, struct loop_io *io, int fd, short events, loop_io_fn *fn)
{
    init_io(io, fd, fn, true);
    if (put_in_epoll(loop, io, events, EPOLL_CTL_ADD) < 0) {
        io->fd = -1;
        return -1;
    }
    leave_poll(loop);
    return 0;
}

/* poll(2) fails for want of memory, or where the array is longer than RLIMIT_NOFILE. */
static void abandon_poll(struct loop *loop)
{
    leave_poll(loop);
    if (loop->slots > 1)
        pause_after_failure();
}

static void note_taken(struct loop *loop, struct loop_io *io)
{
    if (!io->shared || ++io->taken < SHARED_TURN)
        return;
    io->taken = 0;
    (void)requeue(loop, io, io->events); /* on failure it keeps its place for 16 events more */
}

/* Returns how many events had a callback. */
static int deliver_epoll(struct loop *loop, int ready)
{
    int delivered = 0;

    loop->batch_end = ready;
    for (loop->batch_left = ready; loop->batch_left > 0;) {
        const struct epoll_event *event = &loop->batch[loop->batch_end - loop->batch_left--];
        struct loop_io *io = event->data.ptr;

        if (io) {
            note_taken(loop, io);
            io->fn(io, (short)event->events);
            delivered++;
        }
    }
    return delivered;
}

static void deliver_poll(struct loop *loop, int ready)
{
    for (unsigned i = 1; i < loop->used && ready > 0; i++) {
        short revents = loop->fds[i].revents;

        if (revents == 0)
            continue;
        ready--;
        loop->fds[i].revents = 0;
        loop->ios[i]->fn(loop->ios[i], revents);
    }
}

static int wait_epoll(struct loop *loop, int ms)
{
    int ready = epoll_wait(loop->epoll, loop->batch, LOOP_BATCH, ms);

    if (ready < 0 && errno != EINTR)
        pause_after_failure();
    return ready < 0 ? 0 : ready;
}

/* In milliseconds. The alarm is exact to the nanosecond, and saves 3 % of an echo that is alone
 * under way (TCP) to 5 % (UDP): a wait with a timeout of its own sets a timer of the kernel each
 * time. */
static int choose_wait(struct loop *loop, int max_ms)
{
    if (max_ms == 0 || loop->next_due <= loop->now)
        return 0;
    if (loop->alarm_works && set_alarm(loop) < 0) {
        epoll_ctl(loop->epoll, EPOLL_CTL_DEL, loop->alarm, NULL);
        loop->alarm_works = false;
    }
    if (loop->now < loop->awake_until)
        return 0;
    return loop->alarm_works ? max_ms : timeout_ms(loop, max_ms);
}

void loop_turn(struct loop *loop, int max_ms)
{
    int ms = choose_wait(loop, max_ms);
    int in_array = 0;
    int in_epoll = 0;

    if (loop->slots == 1) {
        in_epoll = wait_epoll(loop, ms);
    } else {
        in_array = poll(loop->fds, loop->used, ms);
        if (in_array < 0 && errno != EINTR) {
            abandon_poll(loop);
        } else if (in_array > 0 && loop->fds[0].revents != 0) {
            in_array--;
            in_epoll = wait_epoll(loop, 0);
        }
    }
    loop->turn++;
    read_clock(loop);
    in_epoll = deliver_epoll(loop, in_epoll);
    deliver_poll(loop, in_array);
    if (in_epoll + in_array > 0)
        loop->awake_until = loop->now + loop->spin;
    run_timers(loop);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        loop_turn(loop, -1);
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}
