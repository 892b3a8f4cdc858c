/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/listener.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/tcp/evict.h"
#include "net/socket.h"

/* How many clients one turn lets in before other descriptors are served. It lets in only one unless
 * the turn before had a client too: an accept4(2) that finds none takes 2.7 us, which is 6 % of a
 * connection with one echo. */
#define ACCEPT_BATCH 32

/* How long the listeners pause when a worker has more than its share of connections, while others
 * accept from the same socket: its share is an equal part, and SHARE_SLACK, and 1/SHARE_PART of
 * all. Of 400 clients that come at once, two workers then get 188 and 213 each time; without the
 * pause it is up to 87 and 314. */
#define SHARE_PAUSE (5 * MILLISECOND)
#define SHARE_SLACK 4
#define SHARE_PART  16

/* The most clients that listeners_drain() lets in: clients may come as fast as they are let in. */
#define DRAIN_MAX 65536

/* How long the listeners pause when no client can be let in. So short that a descriptor freed by
 * another process is used within a tenth of a second. */
#define RESUME_AFTER (50 * MILLISECOND)

struct listener {
    struct loop_io io;
    struct listeners *owner;
    struct listener *next;
    int fd;                   /* watched, unless another process has shut it down */
    uint64_t last_turn;       /* number of the last turn that found a client */
    unsigned sharing_workers; /* workers that accept from this socket if it is inherited, or 0 */
    bool retired;
    bool lacks_options; /* what it accepts has not inherited all socket options from it */
};

/* ---- pausing ---- */

static void pause_accepting(struct listeners *listeners, uint64_t duration)
{
    struct loop *loop = listeners->connections->loop;

    listeners->paused = true;
    /* If one cannot be set, its event comes again and is ignored. */
    for (struct listener *l = listeners->first; l; l = l->next)
        (void)loop_set(loop, &l->io, 0);
    loop_timer_set(loop, &listeners->resume_timer, loop_now(loop) + duration);
}

static void resume_by_timer(struct loop_timer *timer)
{
    listeners_resume(container_of(timer, struct listeners, resume_timer));
}

void listeners_init(struct listeners *listeners, struct connections *connections, unsigned worker)
{
    *listeners = (struct listeners){.connections = connections, .worker = worker};
    loop_timer_init(connections->loop, &listeners->resume_timer, resume_by_timer);
}

/* ---- why no client can be let in ---- */

static void note_starved(struct listeners *listeners, const char *what)
{
    struct connections *set = listeners->connections;
    int error = errno;
    uint64_t suppressed;

    stats_add(&set->stats->tcp_starved, 1);
    if (log_limit_pass(&connlimit_logs(set->connlimit)->starved, loop_now(set->loop), &suppressed))
        log_warning("tcp: cannot %s a connection: %s; %u are open here, new ones wait in the "
                    "backlog until there is room%s (%" PRIu64
                    " more times since the last such line)",
                    what, strerror(error), set->open,
                    error == EMFILE ? " (raise LimitNOFILE= or ulimit -n)" : "", suppressed);
    pause_accepting(listeners, RESUME_AFTER);
}

static void note_full(struct listeners *listeners)
{
    struct connections *set = listeners->connections;
    uint64_t suppressed;

    stats_add(&set->stats->tcp_full, 1);
    if (log_limit_pass(&connlimit_logs(set->connlimit)->full, loop_now(set->loop), &suppressed))
        log_warning("tcp: all %u connections are taken; new ones wait in the backlog until one "
                    "ends (%" PRIu64
                    " more times since the last such line; see tcp max-connections)",
                    connlimit_open(set->connlimit), suppressed);
    connlimit_wait(set->connlimit, listeners->worker, loop_now(set->loop));
    pause_accepting(listeners, RESUME_AFTER);
}

/* ---- letting clients in ---- */

enum accept_result {
    ACCEPT_DONE,   /* a client was let in or refused */
    ACCEPT_FAILED, /* one client failed (errno); the next may be well */
    ACCEPT_EMPTY,  /* the backlog is empty */
    ACCEPT_PAUSED  /* no slot, descriptor or memory: the listeners pause */
};

static enum accept_result note_kept(struct listeners *listeners, enum connection_outcome outcome)
{
    if (outcome != CONNECTION_NO_MEMORY)
        return ACCEPT_DONE;
    note_starved(listeners, "keep");
    return ACCEPT_PAUSED;
}

/* Begin a connection that has no slot, in the slot of an evicted one, or let it wait. */
static enum accept_result make_room_or_wait(struct listeners *listeners, struct connection *c)
{
    if (evict_for_client(listeners->connections))
        return note_kept(listeners, connection_begin_waiting(c));
    listeners->waiting = c;
    note_full(listeners);
    return ACCEPT_PAUSED;
}

/* Errors of accept(2) that concern the one connection that it was about to return. */
static bool is_transient(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static enum accept_result accept_one(struct listener *l)
{
    struct addr peer = {.len = sizeof peer.in6};
    int fd = accept4(l->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        enum connection_outcome outcome;
        struct connection *c;

        if (l->lacks_options)
            socket_set_accepted_options(fd);
        outcome = connection_begin(l->owner->connections, fd, &peer, &c);
        if (outcome == CONNECTION_NO_SLOT)
            return make_room_or_wait(l->owner, c);
        return note_kept(l->owner, outcome);
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        /* Clients that come from now on inherit the options, unless the listener is retired. */
        l->lacks_options = l->retired;
        return ACCEPT_EMPTY;
    }
    if (is_transient(errno))
        return ACCEPT_FAILED;
    note_starved(l->owner, "accept");
    return ACCEPT_PAUSED;
}

/* Let in up to `most` clients, besides those that fail. True if there was one. */
static bool accept_up_to(struct listener *l, int most)
{
    enum accept_result last = ACCEPT_DONE;
    int done = 0;

    for (int tries = most + ACCEPT_BATCH; tries > 0 && done < most; tries--) {
        last = accept_one(l);
        if (last == ACCEPT_EMPTY || last == ACCEPT_PAUSED)
            break;
        done += last == ACCEPT_DONE;
    }
    if (last == ACCEPT_FAILED && done == 0)
        note_starved(l->owner, "accept");
    return done > 0;
}

static bool has_more_than_its_share(const struct listener *l)
{
    const struct connections *set = l->owner->connections;
    unsigned total = connlimit_open(set->connlimit);

    return set->open >= total / l->sharing_workers + SHARE_SLACK + total / SHARE_PART;
}

/* Otherwise poll(2) would report it without end. */
static void stop_watching(struct listener *l)
{
    char text[ADDR_STRLEN];

    log_error("tcp: another process has shut down the socket of %s, and nobody is let in there "
              "until a reload finds it listening again",
              socket_print_own(l->fd, text));
    loop_del(l->owner->connections->loop, &l->io);
}

static void accept_event(struct loop_io *io, short revents)
{
    struct listener *l = container_of(io, struct listener, io);
    uint64_t turn = loop_turn_number(l->owner->connections->loop);
    bool is_shared = l->sharing_workers > 1;
    bool is_rush = turn - l->last_turn <= 1 || l->lacks_options;

    if (revents & POLLHUP) {
        stop_watching(l);
        return;
    }
    if (l->owner->paused)
        return;
    l->last_turn = turn;
    if (accept_up_to(l, is_rush && !is_shared ? ACCEPT_BATCH : 1) && is_shared &&
        has_more_than_its_share(l))
        pause_accepting(l->owner, SHARE_PAUSE);
}

/* ---- the client that waits ---- */

void listeners_discard_waiting(struct listeners *listeners)
{
    struct connlimit *connlimit = listeners->connections->connlimit;

    if (!listeners->waiting)
        return;
    connection_discard(listeners->waiting);
    listeners->waiting = NULL;
    if (connlimit_stop_waiting(connlimit, listeners->worker))
        connlimit_release(connlimit);
}

/* False if the listeners still have to pause. */
static bool retry_waiting(struct listeners *listeners)
{
    struct connlimit *connlimit = listeners->connections->connlimit;
    struct connection *c = listeners->waiting;
    bool has_slot = connlimit_stop_waiting(connlimit, listeners->worker);

    listeners->waiting = NULL;
    if (!connection_recheck(c)) {
        if (has_slot)
            connlimit_release(connlimit);
        return true;
    }
    if (has_slot || connlimit_reserve(connlimit))
        return note_kept(listeners, connection_begin_waiting(c)) == ACCEPT_DONE;
    return make_room_or_wait(listeners, c) == ACCEPT_DONE;
}

void listeners_resume(struct listeners *listeners)
{
    struct loop *loop = listeners->connections->loop;

    if (!listeners->paused || (listeners->waiting && !retry_waiting(listeners)))
        return;
    listeners->paused = false;
    loop_timer_stop(&listeners->resume_timer);
    for (struct listener *l = listeners->first; l; l = l->next)
        listeners->paused |= loop_set(loop, &l->io, POLLIN) < 0;
    if (listeners->paused)
        loop_timer_set(loop, &listeners->resume_timer, loop_now(loop) + RESUME_AFTER);
}

void listeners_woken(struct listeners *listeners)
{
    if (listeners->waiting)
        listeners_resume(listeners);
}

/* ---- the list of listeners ---- */

static int watch_listener(struct listener *l)
{
    return (l->sharing_workers > 1 ? loop_add_shared : loop_add)(
        l->owner->connections->loop, &l->io, l->fd, l->owner->paused ? 0 : POLLIN, accept_event);
}

int listeners_add(struct listeners *listeners, int fd, unsigned sharing_workers)
{
    struct listener *l = malloc(sizeof *l);

    if (!l)
        return -1;
    /* Clients that queued up before we were handed the socket have inherited its former options. */
    *l = (struct listener){
        .owner = listeners, .fd = fd, .sharing_workers = sharing_workers, .lacks_options = true};
    if (watch_listener(l) < 0) {
        free(l);
        return -1;
    }
    l->next = listeners->first;
    listeners->first = l;
    return 0;
}

void listeners_rearm(struct listeners *listeners)
{
    for (struct listener *l = listeners->first; l; l = l->next)
        if (!loop_is_watched(&l->io) && !loop_is_shut_down(l->fd))
            (void)watch_listener(l); /* if this fails, the next reload tries again */
}

/* The link to the listener of that socket, or to NULL. */
static struct listener **find_listener(struct listeners *listeners, int fd)
{
    struct listener **link = &listeners->first;

    while (*link && (*link)->fd != fd)
        link = &(*link)->next;
    return link;
}

static void drop_listener(struct listener **link)
{
    struct listener *l = *link;

    *link = l->next;
    loop_del(l->owner->connections->loop, &l->io);
    free(l);
}

void listeners_retire(struct listeners *listeners, int fd)
{
    struct listener *l = *find_listener(listeners, fd);

    if (!l)
        return;
    socket_retire(SOCK_STREAM, fd);
    l->retired = l->lacks_options = true;
}

bool listeners_drain(struct listeners *listeners, int fd)
{
    struct listener *l = *find_listener(listeners, fd);

    if (!l || !loop_is_watched(&l->io) || !loop_is_readable(fd))
        return true;
    if (!listeners->waiting)
        (void)accept_up_to(l, DRAIN_MAX);
    return !loop_is_readable(fd);
}

void listeners_drop(struct listeners *listeners, int fd)
{
    struct listener **link = find_listener(listeners, fd);

    if (*link)
        drop_listener(link);
}

void listeners_fini(struct listeners *listeners)
{
    while (listeners->first)
        drop_listener(&listeners->first);
    if (listeners->connections)
        listeners_discard_waiting(listeners);
}
