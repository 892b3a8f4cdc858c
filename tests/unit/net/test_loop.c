/* SPDX-License-Identifier: ISC */
#include "net/loop.h"

#include <sys/timerfd.h>

#include "common/clock.h"
#include "unit/unit.h"

#define MS MILLISECOND

static int poll_timeout;
static unsigned pauses;
WRAP(int, poll, struct pollfd *fds, nfds_t count, int timeout)
{
    if (count == 0) {
        assert_true(timeout > 0);
        pauses++;
        return 0;
    }
    poll_timeout = timeout;
    return script_fails(&poll_script) ? -1 : __real_poll(fds, count, timeout);
}

static int epoll_timeout;
WRAP(int, epoll_wait, int fd, struct epoll_event *events, int count, int timeout)
{
    epoll_timeout = timeout;
    return script_fails(&epoll_wait_script) ? -1 : __real_epoll_wait(fd, events, count, timeout);
}

WRAP_FAILING(int, epoll_ctl, -1, (int fd, int operation, int io, struct epoll_event *event),
             (fd, operation, io, event))
WRAP_FAILING(int, epoll_create1, -1, (int flags), (flags))
WRAP_FAILING(int, timerfd_create, -1, (int clock, int flags), (clock, flags))

static struct itimerspec alarm_set;
WRAP(int, timerfd_settime, int fd, int flags, const struct itimerspec *at, struct itimerspec *was)
{
    assert_int_equal(flags, TFD_TIMER_ABSTIME);
    alarm_set = *at;
    return script_fails(&timerfd_settime_script) ? -1 : __real_timerfd_settime(fd, flags, at, was);
}

/* The time that tests set; 0: the real one. */
static uint64_t fake_now;
int __real_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (fake_now == 0)
        return __real_clock_gettime(clock, ts);
    ts->tv_sec = (time_t)(fake_now / 1000000000);
    ts->tv_nsec = (long)(fake_now % 1000000000);
    return 0;
}

/* ---- a loop with many descriptors ---- */

#define MOST 220

/* A watched socket, and its peer to make it readable with. */
struct watched {
    struct loop_io io;
    int fd;
    int peer;
    unsigned calls;
    unsigned calls_after_del;
    short revents;
    bool deleted;
    bool keep; /* leave the octet in the socket */
    struct watched *victim;
};

static struct loop loop;
static struct watched all[MOST];
static unsigned count;

static void remove_watched(struct watched *w)
{
    if (w->deleted)
        return;
    w->deleted = true;
    loop_del(&loop, &w->io);
}

static void on_event(struct loop_io *io, short revents)
{
    struct watched *w = (struct watched *)(void *)io;
    char octet;

    w->calls++;
    w->revents = revents;
    w->calls_after_del += w->deleted;
    if (!w->keep && revents & POLLIN)
        (void)!read(w->fd, &octet, 1);
    if (w->victim)
        remove_watched(w->victim);
}

static struct watched *new_watched(void)
{
    struct watched *w = &all[count];
    int fds[2];

    assert_true(count < MOST);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *w = (struct watched){.fd = fds[0], .peer = fds[1]};
    count++;
    return w;
}

static int add_watched(unsigned n, short events)
{
    for (; n > 0; n--) {
        struct watched *w = new_watched();

        if (loop_add(&loop, &w->io, w->fd, events, on_event) < 0) {
            w->deleted = true;
            return -1;
        }
    }
    return 0;
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&poll_script);
    script_clear(&epoll_wait_script);
    script_clear(&epoll_ctl_script);
    script_clear(&epoll_create1_script);
    fake_now = 0;
    pauses = 0;
    count = 0;
    assert_int_equal(loop_init(&loop), 0);
    return 0;
}

static void end_watched(void)
{
    for (unsigned i = 0; i < count; i++) {
        remove_watched(&all[i]);
        close(all[i].fd);
        if (all[i].peer >= 0)
            close(all[i].peer);
    }
    count = 0;
}

static int tear_down(void **state)
{
    (void)state;
    end_watched();
    loop_fini(&loop);
    return 0;
}

static void poke(unsigned i)
{
    assert_int_equal(write(all[i].peer, "x", 1), 1);
}

static void poke_all(void)
{
    for (unsigned i = 0; i < count; i++)
        if (!all[i].deleted)
            poke(i);
}

static void turn(unsigned times)
{
    while (times-- > 0)
        loop_turn(&loop, 0);
}

/* ---- descriptors ---- */

static void a_loop_that_cannot_begin_leaves_nothing_open(void **state)
{
    struct loop other;
    unsigned before = open_descriptors();

    (void)state;
    SCRIPT(epoll_create1_script, -EMFILE);
    assert_int_equal(loop_init(&other), -1);
    assert_int_equal(errno, EMFILE);
    SCRIPT(timerfd_create_script, -ENFILE);
    assert_int_equal(loop_init(&other), -1);
    assert_int_equal(errno, ENFILE);
    SCRIPT(epoll_ctl_script, -ENOSPC);
    assert_int_equal(loop_init(&other), -1);
    assert_int_equal(errno, ENOSPC);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(loop_init(&other), 0);
    loop_fini(&other);
    assert_int_equal(open_descriptors(), before);
}

static void a_ready_descriptor_is_delivered_until_it_is_no_longer_ready(void **state)
{
    (void)state;
    add_watched(2, POLLIN);
    turn(1);
    assert_int_equal(all[0].calls, 0);
    all[0].keep = true;
    poke(0);
    turn(3);
    assert_int_equal(all[0].calls, 3);
    assert_int_equal(all[0].revents, POLLIN);
    all[0].keep = false;
    turn(3);
    assert_int_equal(all[0].calls, 4);
    assert_int_equal(all[1].calls, 0);
}

static void what_is_watched_for_can_be_changed(void **state)
{
    (void)state;
    /* One in the array, and the last one in the epoll set. */
    add_watched(LOOP_SLOTS + 1, POLLIN);
    for (unsigned i = 0; i < count; i += count - 1) {
        struct watched *w = &all[i];

        loop_set(&loop, &w->io, POLLOUT);
        turn(1);
        assert_int_equal(w->calls, 1);
        assert_int_equal(w->revents, POLLOUT);
        loop_set(&loop, &w->io, POLLIN);
        turn(1);
        assert_int_equal(w->calls, 1);
        loop_set(&loop, &w->io, 0);
        poke(i);
        turn(1);
        assert_int_equal(w->calls, 1);
        loop_set(&loop, &w->io, POLLIN);
        turn(1);
        assert_int_equal(w->calls, 2);
    }
}

static void setting_what_is_set_already_costs_no_system_call(void **state)
{
    (void)state;
    add_watched(LOOP_SLOTS + 1, POLLIN);
    script_clear(&epoll_ctl_script);
    loop_set(&loop, &all[count - 1].io, POLLIN);
    assert_int_equal(epoll_ctl_script.calls, 0);
}

static void a_hangup_is_delivered_even_if_nothing_is_watched_for(void **state)
{
    (void)state;
    add_watched(LOOP_SLOTS + 1, 0);
    for (unsigned i = 0; i < count; i += count - 1) {
        poke(i);
        turn(1);
        assert_int_equal(all[i].calls, 0);
        close(all[i].peer);
        all[i].peer = -1;
        turn(1);
        assert_int_equal(all[i].calls, 1);
        assert_true(all[i].revents & POLLHUP);
    }
}

static void one_turn_serves_each_at_most_once(void **state)
{
    (void)state;
    add_watched(150, POLLIN);
    for (unsigned i = 0; i < count; i++)
        all[i].keep = true;
    poke_all();
    turn(1);
    for (unsigned i = 0; i < count; i++)
        assert_in_range(all[i].calls, 0, 1);
}

/* ---- ending from within a callback ---- */

/* Few descriptors are in the array, many in the set. */
static void add_busy(unsigned n)
{
    assert_int_equal(add_watched(n, POLLIN), 0);
    poke_all();
}

static const unsigned sizes[] = {LOOP_SLOTS - 1, 8};

static void a_descriptor_that_was_deleted_is_never_called(void **state)
{
    (void)state;
    for (unsigned n = 0; n < COUNT(sizes); n++)
        for (unsigned i = 0; i < sizes[n] * sizes[n]; i++) {
            struct watched *victim = &all[i / sizes[n]];

            add_busy(sizes[n]);
            all[i % sizes[n]].victim = victim;
            turn(3);
            assert_true(victim->deleted);
            assert_int_equal(victim->calls_after_del, 0);
            for (unsigned k = 0; k < count; k++)
                assert_true(&all[k] == victim || all[k].calls == 1);
            end_watched();
        }
}

static struct watched *reused;

static void replace_reused(struct loop_io *io, short revents)
{
    int fd = reused->fd;

    (void)io;
    (void)revents;
    if (reused->deleted)
        return;
    loop_del(&loop, &reused->io);
    /* Its peer's end: has nothing to read. */
    reused->deleted = true;
    reused->fd = reused->peer;
    reused->peer = fd;
    assert_int_equal(loop_add(&loop, &reused->io, reused->fd, POLLIN, on_event), 0);
}

/* A connection's memory may be used again for the next one at once. */
static void memory_used_again_gets_no_event_of_its_predecessor(void **state)
{
    (void)state;
    for (unsigned n = 0; n < COUNT(sizes); n++)
        for (unsigned i = 0; i < sizes[n] * sizes[n]; i++) {
            if (i / sizes[n] == i % sizes[n])
                continue;
            add_busy(sizes[n]);
            reused = &all[i / sizes[n]];
            all[i % sizes[n]].io.fn = replace_reused;
            turn(4);
            /* Served before it was replaced, or not at all. */
            assert_int_equal(reused->calls_after_del, 0);
            assert_in_range(reused->calls, 0, 1);
            reused->deleted = false;
            end_watched();
        }
}

/* ---- poll(2) and epoll(7) ---- */

static void poll_waits_for_few_descriptors_and_epoll_for_more(void **state)
{
    (void)state;
    add_busy(LOOP_SLOTS - 1);
    script_clear(&epoll_wait_script);
    script_clear(&epoll_ctl_script);
    turn(2);
    assert_int_equal(epoll_wait_script.calls + epoll_ctl_script.calls, 0);
    assert_int_equal(all[count - 1].calls, 1);
    add_watched(200, POLLIN);
    script_clear(&poll_script);
    for (unsigned round = 0; round < 3; round++) {
        poke_all();
        turn(count / LOOP_BATCH + 1);
    }
    turn(2);
    assert_int_equal(poll_script.calls, 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(all[i].calls, i < LOOP_SLOTS - 1 ? 4 : 3);
}

static void no_room_in_the_kernel_is_reported(void **state)
{
    struct loop_io io;

    (void)state;
    add_watched(LOOP_SLOTS + 1, POLLIN);
    for (unsigned shared = 0; shared < 2; shared++) {
        SCRIPT(epoll_ctl_script, -ENOSPC);
        assert_int_equal((shared ? loop_add_shared : loop_add)(&loop, &io, all[0].fd, POLLIN, NULL),
                         -1);
        assert_int_equal(errno, ENOSPC);
        assert_false(loop_is_watched(&io));
        assert_int_equal(loop_set(&loop, &io, POLLOUT), 0);
        loop_del(&loop, &io);
    }
    add_busy(1);
    turn(1);
    assert_int_equal(all[count - 1].calls, 1);
}

/* Where the set takes nothing, poll(2) serves the array and epoll_wait(2) the set. */
static void descriptors_that_the_set_does_not_take_are_served_nevertheless(void **state)
{
    (void)state;
    add_watched(LOOP_SLOTS - 1, POLLIN);
    SCRIPT(epoll_ctl_script, -ENOMEM, PASS, -ENOMEM);
    assert_int_equal(add_watched(2, POLLIN), 0);
    for (unsigned round = 1; round <= 3; round++) {
        poke_all();
        turn(1);
        for (unsigned i = 0; i < count; i++)
            assert_int_equal(all[i].calls, round);
    }
    add_watched(1, POLLIN);
    script_clear(&poll_script);
    poke_all();
    turn(1);
    assert_int_equal(poll_script.calls, 0);
    assert_int_equal(all[0].calls, 4);
}

/* ---- shared descriptors ---- */

/* So many turns in which one of these descriptors is ready, one after the other. */
static void keep_busy(unsigned first, unsigned n, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        poke(first + i % n);
        turn(1);
    }
}

static struct watched *add_shared(void)
{
    struct watched *w = new_watched();

    assert_int_equal(loop_add_shared(&loop, &w->io, w->fd, POLLIN, on_event), 0);
    return w;
}

static void what_a_shared_descriptor_is_watched_for_can_be_changed(void **state)
{
    struct watched *w = add_shared();

    (void)state;
    poke(0);
    turn(1);
    assert_int_equal(w->calls, 1);
    assert_int_equal(loop_set(&loop, &w->io, 0), 0);
    poke(0);
    turn(2);
    assert_int_equal(w->calls, 1);
    assert_int_equal(loop_set(&loop, &w->io, POLLOUT), 0);
    turn(1);
    assert_int_equal(w->revents, POLLOUT);
    assert_int_equal(loop_set(&loop, &w->io, POLLIN), 0);
    turn(2);
    assert_int_equal(w->calls, 3);
    assert_int_equal(w->revents, POLLIN);
}

static void a_loop_that_served_a_shared_descriptor_goes_to_the_end_of_the_line(void **state)
{
    struct watched *w = add_shared();

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        script_clear(&epoll_ctl_script);
        keep_busy(0, 1, 16);
        assert_int_equal(epoll_ctl_script.calls, 2);
    }
    SCRIPT(epoll_ctl_script, -ENOMEM);
    keep_busy(0, 1, 16);
    assert_true(script_done(&epoll_ctl_script));
    keep_busy(0, 1, 16);
    assert_int_equal(w->calls, 96);
}

static void a_shared_one_that_cannot_be_changed_is_watched_as_before(void **state)
{
    struct watched *w = add_shared();

    (void)state;
    SCRIPT(epoll_ctl_script, -ENOMEM);
    assert_int_equal(loop_set(&loop, &w->io, 0), -1);
    assert_int_equal(errno, ENOMEM);
    keep_busy(0, 1, 3);
    assert_int_equal(w->calls, 3);
}

static void a_shared_one_that_the_set_does_not_take_again_is_not_lost(void **state)
{
    struct watched *w = add_shared();

    (void)state;
    SCRIPT(epoll_ctl_script, PASS, -ENOMEM);
    assert_int_equal(loop_set(&loop, &w->io, POLLOUT), 0);
    assert_true(script_done(&epoll_ctl_script));
    turn(1);
    assert_int_equal(w->revents, POLLOUT);
    assert_int_equal(loop_set(&loop, &w->io, POLLIN), 0);
    keep_busy(0, 1, 20);
    assert_int_equal(w->calls, 21);
}

static void it_spins_for_a_while_after_something_came(void **state)
{
    (void)state;
    fake_now = MS;
    add_watched(1, POLLIN);
    loop_set_spin(&loop, 1000);
    loop_turn(&loop, 1);
    assert_int_equal(poll_timeout, 1);
    poke(0);
    loop_turn(&loop, 1000);
    assert_int_equal(all[0].calls, 1);
    for (unsigned i = 0; i < 3; i++) {
        loop_turn(&loop, 1);
        assert_int_equal(poll_timeout, 0);
    }
    fake_now += 1000;
    loop_turn(&loop, 1);
    assert_int_equal(poll_timeout, 0);
    loop_turn(&loop, 1);
    assert_int_equal(poll_timeout, 1);
    poke(0);
    loop_turn(&loop, 1);
    loop_set_spin(&loop, 0);
    fake_now += 1000;
    loop_turn(&loop, 1);
    loop_turn(&loop, 1);
    assert_int_equal(poll_timeout, 1);
}

/* ---- failures of the wait ---- */

static void an_interrupted_poll_goes_on(void **state)
{
    (void)state;
    add_watched(3, POLLIN);
    poke_all();
    SCRIPT(poll_script, -EINTR, -EINTR);
    turn(2);
    assert_int_equal(all[0].calls, 0);
    turn(1);
    assert_int_equal(all[0].calls, 1);
    assert_int_equal(pauses, 0);
    assert_int_equal(epoll_wait_script.calls, 0);
}

static void where_poll_fails_epoll_waits(void **state)
{
    (void)state;
    add_watched(LOOP_SLOTS - 1, POLLIN);
    SCRIPT(poll_script, -EINVAL);
    turn(1);
    poke_all();
    loop_turn(&loop, 1234);
    assert_int_equal(epoll_timeout, 1234);
    assert_int_equal(poll_script.calls, 1);
    assert_int_equal(all[0].calls, 1);
    assert_int_equal(pauses, 0);
}

static void a_wait_that_goes_on_failing_does_not_spin(void **state)
{
    (void)state;
    add_busy(LOOP_SLOTS - 1);
    SCRIPT(poll_script, -ENOMEM);
    SCRIPT(epoll_ctl_script, -ENOMEM, -ENOMEM, -ENOMEM);
    turn(1);
    assert_int_equal(pauses, 1);
    turn(1);
    assert_int_equal(all[0].calls, 1);
    add_busy(2);
    SCRIPT(epoll_wait_script, -EINTR, -EBADF);
    turn(1);
    assert_int_equal(pauses, 1);
    turn(1);
    assert_int_equal(pauses, 2);
    turn(1);
    assert_int_equal(all[count - 1].calls, 1);
}

/* ---- timers ---- */

struct clocked {
    struct loop_timer timer;
    unsigned calls;
    uint64_t rearm; /* after that time again */
    struct clocked *stops;
};

static void on_timer(struct loop_timer *timer)
{
    struct clocked *c = (struct clocked *)(void *)timer;

    c->calls++;
    if (c->rearm > 0)
        loop_timer_set(&loop, timer, loop_now(&loop) + c->rearm);
    if (c->stops)
        loop_timer_stop(&c->stops->timer);
}

static void at(uint64_t now)
{
    fake_now = now;
    loop_turn(&loop, 0);
    assert_int_equal(loop_now(&loop), now);
}

static void a_timer_fires_once_and_not_early(void **state)
{
    struct clocked c = {0};

    (void)state;
    loop_timer_init(&loop, &c.timer, on_timer);
    at(100 * MS);
    assert_int_equal(c.calls, 0);
    loop_timer_set(&loop, &c.timer, 200 * MS);
    at(200 * MS - 1);
    assert_int_equal(c.calls, 0);
    at(200 * MS);
    assert_int_equal(c.calls, 1);
    at(1000 * MS);
    assert_int_equal(c.calls, 1);
    loop_timer_fini(&loop, &c.timer);
}

static void a_timer_set_again_moves(void **state)
{
    struct clocked c = {0};

    (void)state;
    at(100 * MS);
    loop_timer_init(&loop, &c.timer, on_timer);
    loop_timer_set(&loop, &c.timer, 200 * MS);
    loop_timer_set(&loop, &c.timer, 300 * MS);
    at(250 * MS);
    assert_int_equal(c.calls, 0);
    at(300 * MS);
    assert_int_equal(c.calls, 1);
    loop_timer_set(&loop, &c.timer, 900 * MS);
    loop_timer_set(&loop, &c.timer, 400 * MS);
    at(400 * MS);
    assert_int_equal(c.calls, 2);
    at(900 * MS);
    assert_int_equal(c.calls, 2);
    loop_timer_fini(&loop, &c.timer);
}

static void a_stopped_timer_does_not_fire(void **state)
{
    struct clocked a = {0};
    struct clocked b = {0};

    (void)state;
    at(100 * MS);
    loop_timer_init(&loop, &a.timer, on_timer);
    loop_timer_init(&loop, &b.timer, on_timer);
    loop_timer_set(&loop, &a.timer, 200 * MS);
    loop_timer_set(&loop, &b.timer, 300 * MS);
    loop_timer_stop(&a.timer);
    at(200 * MS);
    assert_int_equal(a.calls, 0);
    at(300 * MS);
    assert_int_equal(a.calls, 0);
    assert_int_equal(b.calls, 1);
    loop_timer_fini(&loop, &b.timer);
    loop_timer_fini(&loop, &a.timer);
}

static void a_timer_may_set_itself_and_stop_others(void **state)
{
    struct clocked tick = {.rearm = 10 * MS};
    struct clocked other = {0};

    (void)state;
    at(100 * MS);
    loop_timer_init(&loop, &other.timer, on_timer);
    loop_timer_init(&loop, &tick.timer, on_timer);
    loop_timer_set(&loop, &tick.timer, 110 * MS);
    for (unsigned i = 1; i <= 5; i++) {
        at((100 + 10 * i) * MS);
        assert_int_equal(tick.calls, i);
    }
    tick.stops = &other;
    loop_timer_set(&loop, &other.timer, 165 * MS);
    at(160 * MS);
    at(165 * MS);
    assert_int_equal(other.calls, 0);
    loop_timer_fini(&loop, &tick.timer);
    loop_timer_fini(&loop, &other.timer);
}

static void a_timer_that_ended_is_forgotten(void **state)
{
    struct clocked c[3] = {0};

    (void)state;
    at(100 * MS);
    for (unsigned i = 0; i < 3; i++) {
        loop_timer_init(&loop, &c[i].timer, on_timer);
        loop_timer_set(&loop, &c[i].timer, 200 * MS);
    }
    loop_timer_fini(&loop, &c[1].timer);
    at(200 * MS);
    assert_int_equal(c[0].calls, 1);
    assert_int_equal(c[1].calls, 0);
    assert_int_equal(c[2].calls, 1);
    loop_timer_fini(&loop, &c[2].timer);
    loop_timer_fini(&loop, &c[0].timer);
}

/* To the nanosecond, where poll(2) waits and where epoll_wait(2) does. */
static void a_wait_ends_at_the_next_timer(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 2; round++) {
        struct clocked c = {0};
        uint64_t due;

        turn(1);
        loop_timer_init(&loop, &c.timer, on_timer);
        due = loop_now(&loop) + 20 * MS + 1;
        loop_timer_set(&loop, &c.timer, due);
        while (c.calls == 0) {
            loop_turn(&loop, 20000);
            assert_int_equal(round == 0 ? poll_timeout : epoll_timeout, 20000);
        }
        assert_true(loop_now(&loop) >= due);
        assert_int_equal(alarm_set.it_value.tv_sec * 1000000000 + alarm_set.it_value.tv_nsec, due);
        loop_timer_fini(&loop, &c.timer);
        add_watched(LOOP_SLOTS, POLLIN);
    }
}

/* One system call for each timer that is sooner than the alarm, none for one that was put off. */
static void the_alarm_is_set_only_for_a_sooner_timer(void **state)
{
    struct clocked c = {0};
    uint64_t now;

    (void)state;
    turn(1);
    now = loop_now(&loop);
    loop_timer_init(&loop, &c.timer, on_timer);
    for (unsigned i = 0; i < 4; i++) {
        static const struct {
            uint64_t due;
            bool set;
        } steps[] = {
            {3000 * SECOND, true}, {5000 * SECOND, false}, {2000 * SECOND, true}, {0, false}};

        loop_timer_stop(&c.timer);
        if (steps[i].due != 0)
            loop_timer_set(&loop, &c.timer, now + steps[i].due);
        script_clear(&timerfd_settime_script);
        loop_turn(&loop, 1);
        assert_int_equal(timerfd_settime_script.calls, steps[i].set);
    }
    loop_timer_fini(&loop, &c.timer);
}

/* How long a loop without an alarm waits for a timer that is due in `rest`. */
static int wait_for(uint64_t rest, int max_ms)
{
    struct clocked c = {0};

    tear_down(NULL);
    set_up(NULL);
    at(100 * MS);
    loop_timer_init(&loop, &c.timer, on_timer);
    loop_timer_set(&loop, &c.timer, 100 * MS + rest);
    SCRIPT(timerfd_settime_script, -EINVAL);
    SCRIPT(poll_script, -EINTR);
    loop_turn(&loop, max_ms);
    return poll_timeout;
}

/* Rounded up: a wait that ends a moment early would be a turn for nothing. */
static void without_an_alarm_the_wait_lasts_until_the_next_timer(void **state)
{
    (void)state;
    assert_int_equal(wait_for(10 * MS, -1), 10);
    assert_int_equal(wait_for(10 * MS + 1, -1), 11);
    assert_int_equal(wait_for(1, -1), 1);
    assert_int_equal(wait_for(0, -1), 0);
    assert_int_equal(wait_for(10 * MS, 5), 5);
    assert_int_equal(wait_for(UINT64_MAX - 100 * MS - 1, -1), INT32_MAX);
}

/* ---- running ---- */

static void stop_in_callback(struct loop_io *io, short revents)
{
    on_event(io, revents);
    loop_stop(&loop);
}

static void it_runs_until_it_is_stopped(void **state)
{
    struct clocked c = {.rearm = 1};

    (void)state;
    add_watched(1, POLLIN);
    all[0].io.fn = stop_in_callback;
    loop_timer_init(&loop, &c.timer, on_timer);
    loop_timer_set(&loop, &c.timer, 1);
    poke(0);
    loop_run(&loop);
    assert_int_equal(all[0].calls, 1);
    loop_timer_fini(&loop, &c.timer);
}

static void the_time_is_that_of_the_turn(void **state)
{
    (void)state;
    fake_now = 123 * MS;
    turn(1);
    fake_now = 124 * MS;
    assert_int_equal(loop_now(&loop), 123 * MS);
    turn(1);
    assert_int_equal(loop_now(&loop), 124 * MS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_loop_that_cannot_begin_leaves_nothing_open),
        TEST(a_ready_descriptor_is_delivered_until_it_is_no_longer_ready),
        TEST(what_is_watched_for_can_be_changed),
        TEST(setting_what_is_set_already_costs_no_system_call),
        TEST(a_hangup_is_delivered_even_if_nothing_is_watched_for),
        TEST(one_turn_serves_each_at_most_once),
        TEST(a_descriptor_that_was_deleted_is_never_called),
        TEST(memory_used_again_gets_no_event_of_its_predecessor),
        TEST(poll_waits_for_few_descriptors_and_epoll_for_more),
        TEST(no_room_in_the_kernel_is_reported),
        TEST(descriptors_that_the_set_does_not_take_are_served_nevertheless),
        TEST(what_a_shared_descriptor_is_watched_for_can_be_changed),
        TEST(a_loop_that_served_a_shared_descriptor_goes_to_the_end_of_the_line),
        TEST(a_shared_one_that_cannot_be_changed_is_watched_as_before),
        TEST(a_shared_one_that_the_set_does_not_take_again_is_not_lost),
        TEST(it_spins_for_a_while_after_something_came),
        TEST(an_interrupted_poll_goes_on),
        TEST(where_poll_fails_epoll_waits),
        TEST(a_wait_that_goes_on_failing_does_not_spin),
        TEST(a_timer_fires_once_and_not_early),
        TEST(a_timer_set_again_moves),
        TEST(a_stopped_timer_does_not_fire),
        TEST(a_timer_may_set_itself_and_stop_others),
        TEST(a_timer_that_ended_is_forgotten),
        TEST(a_wait_ends_at_the_next_timer),
        TEST(the_alarm_is_set_only_for_a_sooner_timer),
        TEST(without_an_alarm_the_wait_lasts_until_the_next_timer),
        TEST(it_runs_until_it_is_stopped),
        TEST(the_time_is_that_of_the_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
