/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/addr.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/tcp/connection.h"
#include "net/socket.h"

/* How many connections one turn lets in, before the others get theirs. Finding out that there is no
 * further one costs as much as half a connection, so only one is let in where there was none in the
 * turn before. */
#define ACCEPT_BATCH 32

/* How long it rests if other workers share it, and this one has more than its share of connections:
 * at least SHARE_SLACK, and a SHARE_PART'th of all. In a rush who wakes first would have them all.
 */
#define SHARE_REST_NS UINT64_C(5000000)
#define SHARE_SLACK   4
#define SHARE_PART    16

/* A backlog has an end, but clients may come as fast as they are let in. */
#define QUEUE_MAX 65536

/* How long the listeners rest when a connection cannot be had: short enough that a descriptor that
 * some other part of the system frees is put to use within a tenth of a second. */
#define RESUME_NS (50 * UINT64_C(1000000))

struct tcp_listener {
    struct loop_io io;
    int fd; /* watched, unless somebody has shut it down */
    struct tcp *tcp;
    struct tcp_listener *next;
    uint64_t last_turn;       /* that had somebody to let in */
    unsigned sharing_workers; /* workers that accept from it */
    bool retired;
    bool plain; /* what is accepted from it lacks our options: see socket_set_accepted_options() */
};

/* ---- the listeners' rest ---- */

static void mute(struct tcp *tcp, uint64_t ns)
{
    tcp->muted = true;
    for (struct tcp_listener *l = tcp->listeners; l; l = l->next)
        (void)loop_set(tcp->loop, &l->io, 0); /* or it is told again that there are no places */
    loop_timer_set(tcp->loop, &tcp->resume_timer, loop_now(tcp->loop) + ns);
}

void tcp_resume(struct tcp *tcp)
{
    if (!tcp->muted)
        return;
    tcp->muted = false;
    loop_timer_stop(&tcp->resume_timer);
    for (struct tcp_listener *l = tcp->listeners; l; l = l->next)
        tcp->muted |= loop_set(tcp->loop, &l->io, POLLIN) < 0;
    if (tcp->muted)
        loop_timer_set(tcp->loop, &tcp->resume_timer, loop_now(tcp->loop) + RESUME_NS);
}

static void resume_accepting(struct loop_timer *timer)
{
    tcp_resume(container_of(timer, struct tcp, resume_timer));
}

void tcp_listen_init(struct tcp *tcp)
{
    loop_timer_init(tcp->loop, &tcp->resume_timer, resume_accepting);
}

/* ---- letting them in ---- */

static void log_starved(struct tcp *tcp, const char *what)
{
    int error = errno;
    uint64_t suppressed;

    stats_add(&tcp->stats->tcp_starved, 1);
    if (log_limit_pass(&connlimit_logs(tcp->admit)->starved, loop_now(tcp->loop), &suppressed))
        log_warning("tcp: cannot %s a connection: %s; %u are open here, new ones wait in the "
                    "backlog until there is room%s (%" PRIu64
                    " more times since the last such line)",
                    what, strerror(error), tcp->open,
                    error == EMFILE ? " (raise LimitNOFILE= or ulimit -n)" : "", suppressed);
}

static void log_full(struct tcp *tcp)
{
    uint64_t suppressed;

    stats_add(&tcp->stats->tcp_full, 1);
    if (log_limit_pass(&connlimit_logs(tcp->admit)->full, loop_now(tcp->loop), &suppressed))
        log_warning("tcp: all %u connections are taken; new ones wait in the backlog until one "
                    "ends (%" PRIu64
                    " more times since the last such line; see tcp max-connections)",
                    connlimit_open(tcp->admit), suppressed);
}

/* The kernel would tell of it without end, and of nothing else. */
static void end_watch(struct tcp_listener *listener)
{
    char text[ADDR_STRLEN];

    log_error("tcp: another process has shut down the socket of %s, and nobody is let in there "
              "until a reload finds it listening again",
              socket_print_own(listener->fd, text));
    loop_del(listener->tcp->loop, &listener->io);
}

/* accept(2) hands on what went wrong with the one connection that it was about to return; the next
 * one may be well. */
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

/* What became of an attempt to let one in. */
enum accepted {
    LET_IN,
    TRY_AGAIN, /* that one failed (errno); the next may be well */
    QUEUE_EMPTY,
    FULL,
    STARVED /* of descriptors or memory: the listeners rest */
};

static bool is_overfull(const struct tcp *tcp)
{
    return connlimit_open(tcp->admit) > connlimit_total(tcp->admit);
}

/* True with a place that was reserved, or a victim whose place is to be had. After the limit was
 * lowered some have to go before one makes room for another. */
static bool find_place(struct tcp *tcp, struct connection **victim)
{
    *victim = NULL;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        if (connlimit_reserve(tcp->admit))
            return true;
        *victim = evict_choose(tcp);
        if (!*victim || !is_overfull(tcp))
            return *victim;
        tcp_evict(*victim);
        *victim = NULL;
        connlimit_release(tcp->admit);
    }
    return false;
}

static enum accepted accept_one(struct tcp_listener *listener)
{
    struct tcp *tcp = listener->tcp;
    struct addr peer = {.len = sizeof peer.in6};
    struct connection *victim;
    int fd;

    if (!find_place(tcp, &victim))
        return FULL;
    fd = accept4(listener->fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (listener->plain)
            socket_set_accepted_options(fd);
        if (tcp_begin(tcp, fd, &peer, victim) == 0)
            return LET_IN;
        log_starved(tcp, "keep");
        mute(tcp, RESUME_NS);
        return STARVED;
    }
    if (!victim)
        connlimit_release(tcp->admit);
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
        listener->plain = listener->retired;
        return QUEUE_EMPTY;
    }
    if (is_transient(errno))
        return TRY_AGAIN;
    log_starved(tcp, "accept");
    mute(tcp, RESUME_NS);
    return STARVED;
}

/* Let in up to `most`, failures of single ones aside; *last is why it was not more. */
static int accept_many(struct tcp_listener *listener, int most, enum accepted *last)
{
    int let_in = 0;

    *last = LET_IN;
    for (int tries = most + ACCEPT_BATCH; tries > 0 && let_in < most; tries--) {
        *last = accept_one(listener);
        if (*last != LET_IN && *last != TRY_AGAIN)
            break;
        let_in += *last == LET_IN;
    }
    return let_in;
}

static bool has_more_than_its_share(const struct tcp *tcp, unsigned workers)
{
    unsigned total = connlimit_open(tcp->admit);

    return tcp->open >= total / workers + SHARE_SLACK + total / SHARE_PART;
}

static void accept_some(struct loop_io *io, short revents)
{
    struct tcp_listener *listener = container_of(io, struct tcp_listener, io);
    uint64_t turn = loop_turn_number(listener->tcp->loop);
    bool rush = turn - listener->last_turn <= 1 || listener->plain;
    bool shared = listener->sharing_workers > 1;
    enum accepted last;

    if (revents & POLLHUP) {
        end_watch(listener);
        return;
    }
    listener->last_turn = turn;
    if (accept_many(listener, rush && !shared ? ACCEPT_BATCH : 1, &last) > 0) {
        if (shared && has_more_than_its_share(listener->tcp, listener->sharing_workers))
            mute(listener->tcp, SHARE_REST_NS);
        return;
    }
    /* Somebody waits, and nothing that we could do now would let him in. */
    if (last == FULL) {
        log_full(listener->tcp);
        connlimit_request_eviction(listener->tcp->admit, listener->fd,
                                   loop_now(listener->tcp->loop));
        mute(listener->tcp, RESUME_NS);
    } else if (last == TRY_AGAIN) {
        log_starved(listener->tcp, "accept");
        mute(listener->tcp, RESUME_NS);
    }
}

/* Only who is accepted is known to wait, and not to be denied: before that nobody has to go. What
 * was that listener may be another one by now, or none, which accept4(2) refuses. */
void tcp_evict_for_others(struct tcp *tcp)
{
    struct connection *victim = connlimit_eviction_requested(tcp->admit) ? evict_choose(tcp) : NULL;
    int listener = victim ? connlimit_claim_request(tcp->admit) : -1;
    uint64_t evicted = tcp->stats->tcp_evicted;

    for (int i = 0; listener >= 0 && i < ACCEPT_BATCH && tcp->stats->tcp_evicted == evicted; i++) {
        struct addr peer = {.len = sizeof peer.in6};
        int fd = accept4(listener, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0)
            return;
        socket_set_accepted_options(fd);
        if (tcp_begin(tcp, fd, &peer, victim) < 0)
            return;
    }
}

/* ---- which there are ---- */

static int watch(struct tcp_listener *l)
{
    return (l->sharing_workers > 1 ? loop_add_shared : loop_add)(
        l->tcp->loop, &l->io, l->fd, l->tcp->muted ? 0 : POLLIN, accept_some);
}

int tcp_add_listener(struct tcp *tcp, int fd, unsigned sharing_workers)
{
    struct tcp_listener *l = malloc(sizeof *l);

    if (!l)
        return -1;
    /* What has queued up before we were handed the socket has inherited what it was then. */
    *l = (struct tcp_listener){
        .fd = fd, .tcp = tcp, .sharing_workers = sharing_workers, .plain = true};
    if (watch(l) < 0) {
        free(l);
        return -1;
    }
    l->next = tcp->listeners;
    tcp->listeners = l;
    return 0;
}

void tcp_rearm_listeners(struct tcp *tcp)
{
    for (struct tcp_listener *l = tcp->listeners; l; l = l->next)
        if (!loop_is_watched(&l->io) && !loop_is_shut_down(l->fd))
            (void)watch(l); /* or the next reload finds it */
}

/* The link to it, or to NULL. */
static struct tcp_listener **find_listener(struct tcp *tcp, int fd)
{
    struct tcp_listener **link = &tcp->listeners;

    while (*link && (*link)->fd != fd)
        link = &(*link)->next;
    return link;
}

static void end_listener(struct tcp_listener **link)
{
    struct tcp_listener *l = *link;

    *link = l->next;
    loop_del(l->tcp->loop, &l->io);
    free(l);
}

void tcp_retire_listener(struct tcp *tcp, int fd)
{
    struct tcp_listener *l = *find_listener(tcp, fd);

    if (!l)
        return;
    socket_retire(SOCK_STREAM, fd);
    l->retired = l->plain = true;
}

bool tcp_empty_queue(struct tcp *tcp, int fd)
{
    struct tcp_listener *l = *find_listener(tcp, fd);
    enum accepted last;

    if (!l || !loop_is_watched(&l->io) || !loop_is_readable(fd))
        return true;
    accept_many(l, QUEUE_MAX, &last);
    return !loop_is_readable(fd);
}

void tcp_drop_listener(struct tcp *tcp, int fd)
{
    struct tcp_listener **link = find_listener(tcp, fd);

    if (!*link)
        return;
    tcp_empty_queue(tcp, fd);
    end_listener(link);
}

void tcp_forget_listeners(struct tcp *tcp)
{
    while (tcp->listeners)
        end_listener(&tcp->listeners);
}
