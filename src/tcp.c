/* SPDX-License-Identifier: ISC */
#include "tcp.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "conn.h"
#include "log.h"
#include "net.h"
#include "tcp_conn.h"

#define SCRATCH_SIZE (32 * 1024)

/* How many connections one turn lets in, before the others get theirs. Finding out that there is no
 * further one costs as much as half a connection, so only one is let in where there was none in the
 * turn before. */
#define ACCEPT_BATCH 32

/* A backlog has an end, but clients may come as fast as they are let in. */
#define QUEUE_MAX 65536

/* How long the listeners rest when a connection cannot be had: short enough that a descriptor that
 * some other part of the system frees is put to use within a tenth of a second. */
#define RESUME_NS (50 * UINT64_C(1000000))

/* How long a client is left to the other workers that share a listener, if this one has more than
 * its share of connections: at least SHARE_SLACK, and a SHARE_PART'th of all. */
#define LEAVE_NS    UINT64_C(1000000)
#define SHARE_SLACK 4
#define SHARE_PART  16

/* The idle timer looks again so often, in case that other workers have made places scarce. */
#define IDLE_CHECK_NS UINT64_C(1000000000)

#define LISTENER_OF(io_)                                                                           \
    ((struct tcp_listener *)(void *)((char *)(io_)-offsetof(struct tcp_listener, io)))
#define CONN_OF(io_)      ((struct tcp_conn *)(void *)((char *)(io_)-offsetof(struct tcp_conn, io)))
#define TCP_OF(t_, field) ((struct tcp *)(void *)((char *)(t_)-offsetof(struct tcp, field)))

struct tcp_listener {
    struct loop_io io;
    struct tcp *tcp;
    struct tcp_listener *next;
    uint64_t last_turn; /* that had somebody to let in */
    bool shared;        /* with all other workers */
    bool retired;
    bool plain; /* what is accepted from it lacks our options: see net_welcome() */
};

static void resume_accepting(struct loop_timer *timer);
static void close_idle(struct loop_timer *timer);

int tcp_init(struct tcp *tcp, struct loop *loop, struct stats *stats, struct admit *admit)
{
    *tcp = (struct tcp){.loop = loop, .stats = stats, .admit = admit, .workers = 1};
    tcp->scratch = malloc(SCRATCH_SIZE);
    if (!tcp->scratch)
        return -1;
    loop_timer_init(loop, &tcp->resume_timer, resume_accepting);
    loop_timer_init(loop, &tcp->idle_timer, close_idle);
    return 0;
}

void tcp_fini(struct tcp *tcp)
{
    tcp_close_all(tcp);
    free(tcp->scratch);
    tcp->scratch = NULL;
}

/* ---- connections in the order of their last activity ---- */

static void unlink_conn(struct tcp *tcp, struct tcp_conn *c)
{
    *(c->older ? &c->older->newer : &tcp->oldest) = c->newer;
    *(c->newer ? &c->newer->older : &tcp->newest) = c->older;
}

static void link_newest(struct tcp *tcp, struct tcp_conn *c)
{
    c->older = tcp->newest;
    c->newer = NULL;
    *(tcp->newest ? &tcp->newest->newer : &tcp->oldest) = c;
    tcp->newest = c;
}

static void touch(struct tcp *tcp, struct tcp_conn *c)
{
    c->last_activity = loop_now(tcp->loop);
    if (c != tcp->newest) {
        unlink_conn(tcp, c);
        link_newest(tcp, c);
    }
}

static uint64_t idle_timeout_now(struct tcp *tcp)
{
    tcp->scarcity = admit_scarcity(tcp->admit);
    return tcp->idle_timeout >> (2 * tcp->scarcity);
}

static void arm_idle_timer(struct tcp *tcp)
{
    uint64_t check = tcp->idle_timeout >> (2 * ADMIT_SCARCE_MAX);
    uint64_t due, look;

    if (tcp->idle_timeout == 0 || !tcp->oldest) {
        loop_timer_stop(&tcp->idle_timer);
        return;
    }
    due = tcp->oldest->last_activity + idle_timeout_now(tcp);
    look = loop_now(tcp->loop) + (check > IDLE_CHECK_NS ? check : IDLE_CHECK_NS);
    loop_timer_set(tcp->loop, &tcp->idle_timer, due < look ? due : look);
}

/* ---- the listeners' rest ---- */

static void mute(struct tcp *tcp, uint64_t ns)
{
    tcp->muted = true;
    for (struct tcp_listener *l = tcp->listeners; l; l = l->next)
        (void)loop_set(tcp->loop, &l->io, 0); /* or it is told again that there are no places */
    loop_timer_set(tcp->loop, &tcp->resume_timer, loop_now(tcp->loop) + ns);
}

static void unmute(struct tcp *tcp)
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
    unmute(TCP_OF(timer, resume_timer));
}

/* ---- the end of a connection ---- */

static void log_end(const struct tcp_conn *c, const char *how)
{
    struct net_addr peer = {.len = sizeof peer.in6};
    char text[NET_STRLEN];

    if (!log_enabled(LEVEL_DEBUG))
        return;
    /* A connection that was reset has no peer any more. */
    if (getpeername(c->io.fd, &peer.sa, &peer.len) < 0)
        log_debug("tcp: connection %d: %s", c->io.fd, how);
    else
        log_debug("tcp: connection %d from %s: %s", c->io.fd, net_print(&peer, text), how);
}

static void end_connection(struct tcp_conn *c, const char *how)
{
    struct tcp *tcp = c->tcp;
    int fd = c->io.fd;

    log_end(c, how);
    /* Before the client can know. */
    tcp->open--;
    stats_add(&tcp->stats->tcp_closed, 1);
    unlink_conn(tcp, c);
    loop_del(tcp->loop, &c->io);
    close(fd);
    conn_fini(&c->conn);
    admit_leave(tcp->admit, c->source);
    admit_release(tcp->admit);
    free(c);
    unmute(tcp);
}

/* A slow reader takes octets out of the kernel's send buffer without our being called: tcp(7),
 * SIOCOUTQ. */
static bool has_moved(struct tcp_conn *c)
{
    int before = c->unacknowledged;

    return ioctl(c->io.fd, SIOCOUTQ, &c->unacknowledged) == 0 && c->unacknowledged != before;
}

static void close_idle(struct loop_timer *timer)
{
    struct tcp *tcp = TCP_OF(timer, idle_timer);
    uint64_t now = loop_now(tcp->loop);

    while (tcp->oldest && now - tcp->oldest->last_activity >= idle_timeout_now(tcp)) {
        if (has_moved(tcp->oldest)) {
            touch(tcp, tcp->oldest);
            continue;
        }
        stats_add(&tcp->stats->tcp_idle, 1);
        end_connection(tcp->oldest, "idle for too long");
    }
    arm_idle_timer(tcp);
}

void tcp_set_idle_timeout(struct tcp *tcp, uint64_t timeout)
{
    tcp->idle_timeout = timeout;
    arm_idle_timer(tcp);
}

void tcp_close_all(struct tcp *tcp)
{
    while (tcp->oldest)
        end_connection(tcp->oldest, "closed by us");
}

/* ---- a connection's echo ---- */

static void serve(struct loop_io *io, short revents)
{
    struct tcp_conn *c = CONN_OF(io);
    struct tcp *tcp = c->tcp;
    uint32_t held_at = c->conn.held_at;
    uint64_t received = 0;
    uint64_t pieces = 0;
    enum conn_state state = conn_turn(&c->conn, tcp->scratch, SCRATCH_SIZE, &received, &pieces);

    (void)revents;
    /* Nothing would wake it for what it waits for. */
    if ((state == CONN_READ && loop_set(tcp->loop, io, POLLIN) < 0) ||
        (state == CONN_WRITE && loop_set(tcp->loop, io, POLLOUT) < 0))
        state = CONN_FAILED;
    stats_add(&tcp->stats->tcp_echoes, pieces);
    stats_add(&tcp->stats->tcp_octets, received);
    tcp_note_use(c, received);
    switch (state) {
    case CONN_READ:
        c->unacknowledged = 0;
        break;
    case CONN_WRITE:
        (void)has_moved(c);
        break;
    case CONN_FAILED:
        stats_add(&tcp->stats->tcp_reset, 1);
        end_connection(c, strerror(errno));
        return;
    case CONN_ENDED:
        end_connection(c, "closed by the client");
        return;
    }
    if (received > 0 || c->conn.held_at != held_at)
        touch(tcp, c);
}

/* Of a client that is turned away the kernel is to keep half a connection for a second, not for the
 * usual minute (tcp(7), TCP_LINGER2). With less it would answer the client's acknowledgement by a
 * reset, which may come before connect(2) returns there, and pass for a port where nobody listens.
 */
static void linger_briefly(int fd)
{
    int seconds = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &seconds, sizeof seconds);
}

/* ---- whom to let in ---- */

static void log_refusal(struct tcp *tcp, struct log_limit *limit, const char *what,
                        const struct net_addr *peer, const char *why)
{
    uint64_t suppressed;
    char text[NET_STRLEN];

    if (log_limit_pass(limit, loop_now(tcp->loop), &suppressed))
        log_notice("tcp: %s %s: %s (%" PRIu64 " more since the last such line)", what,
                   net_print_host(peer, text), why, suppressed);
}

static void note_denied(struct tcp *tcp, const char *what, const struct net_addr *peer)
{
    stats_add(&tcp->stats->tcp_denied, 1);
    log_refusal(tcp, &admit_logs(tcp->admit)->denied, what, peer, "access denies it");
}

void tcp_set_access(struct tcp *tcp, const struct guard_access *access)
{
    struct tcp_conn *c, *next;

    tcp->access = *access;
    if (!access->set && !access->only_listed)
        return;
    for (c = tcp->oldest; c; c = next) {
        struct net_addr peer = {.len = sizeof peer.in6};

        next = c->newer;
        /* One that was reset has no peer any more, and ends by itself. */
        if (getpeername(c->io.fd, &peer.sa, &peer.len) < 0 || guard_admits(access, &peer))
            continue;
        note_denied(tcp, "ended a connection of", &peer);
        linger_briefly(c->io.fd);
        end_connection(c, "denied by access");
    }
}

/* ---- who has to go for it ---- */

/* Its place is left to the caller. */
static void evict(struct tcp *tcp, struct tcp_conn *victim)
{
    struct net_addr peer = {.len = sizeof peer.in6};
    uint64_t now = loop_now(tcp->loop), suppressed;
    char text[NET_STRLEN];

    stats_add(&tcp->stats->tcp_evicted, 1);
    if (log_limit_pass(&admit_logs(tcp->admit)->evicted, now, &suppressed) &&
        getpeername(victim->io.fd, &peer.sa, &peer.len) == 0)
        log_warning("tcp: all %u connections are taken; ended one of %s, last active %" PRIu64
                    " ms ago, to let another in (%" PRIu64
                    " more since the last such line; see tcp max-connections)",
                    admit_open(tcp->admit), net_print_host(&peer, text),
                    (now - victim->last_activity) / 1000000, suppressed);
    admit_exchange(tcp->admit);
    end_connection(victim, "had to make room");
}

/* ---- letting connections in ---- */

static void turn_away(struct tcp *tcp, int fd, bool has_place)
{
    linger_briefly(fd);
    close(fd);
    if (has_place)
        admit_release(tcp->admit);
}

/* NULL with errno for want of memory. */
static struct tcp_conn *new_connection(struct tcp *tcp, int fd, struct admit_source *source)
{
    struct tcp_conn *c = malloc(sizeof *c);

    if (!c)
        return NULL;
    if (loop_add(tcp->loop, &c->io, fd, POLLIN, serve) < 0) {
        int saved = errno;

        free(c);
        errno = saved;
        return NULL;
    }
    c->tcp = tcp;
    c->source = source;
    c->opened = c->last_activity = loop_now(tcp->loop);
    c->useful_until = 0;
    c->unacknowledged = 0;
    conn_init(&c->conn, fd);
    return c;
}

/* It takes the victim's place, or one that was reserved. Closes fd and gives that back where it
 * fails. */
static int begin_connection(struct tcp *tcp, int fd, const struct net_addr *peer,
                            struct tcp_conn *victim)
{
    bool has_place = victim == NULL;
    struct admit_source *source;
    struct tcp_conn *c;
    char text[NET_STRLEN];

    if (!guard_admits(&tcp->access, peer)) {
        turn_away(tcp, fd, has_place);
        note_denied(tcp, "refused", peer);
        return 0;
    }
    source = admit_enter(tcp->admit, peer);
    if (!source && errno == EUSERS) {
        turn_away(tcp, fd, has_place);
        stats_add(&tcp->stats->tcp_refused_source, 1);
        log_refusal(tcp, &admit_logs(tcp->admit)->source, "refused", peer,
                    "its source has max-connections-per-source open");
        return 0;
    }
    c = source ? new_connection(tcp, fd, source) : NULL;
    if (!c) {
        int saved = errno;

        if (source)
            admit_leave(tcp->admit, source);
        turn_away(tcp, fd, has_place);
        errno = saved;
        return -1;
    }
    if (!has_place)
        evict(tcp, victim);
    link_newest(tcp, c);
    tcp->open++;
    if (c == tcp->oldest || admit_scarcity(tcp->admit) > tcp->scarcity)
        arm_idle_timer(tcp);
    stats_add(&tcp->stats->tcp_accepted, 1);
    if (log_enabled(LEVEL_DEBUG))
        log_debug("tcp: connection %d from %s", fd, net_print(peer, text));
    return 0;
}

static void log_starved(struct tcp *tcp, const char *what)
{
    int error = errno;
    uint64_t suppressed;

    stats_add(&tcp->stats->tcp_starved, 1);
    if (log_limit_pass(&admit_logs(tcp->admit)->starved, loop_now(tcp->loop), &suppressed))
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
    if (log_limit_pass(&admit_logs(tcp->admit)->full, loop_now(tcp->loop), &suppressed))
        log_warning("tcp: all %u connections are taken; new ones wait in the backlog until one "
                    "ends (%" PRIu64
                    " more times since the last such line; see tcp max-connections)",
                    admit_open(tcp->admit), suppressed);
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

static enum accepted accept_one(struct tcp_listener *listener)
{
    struct tcp *tcp = listener->tcp;
    struct net_addr peer = {.len = sizeof peer.in6};
    bool has_place = admit_reserve(tcp->admit);
    struct tcp_conn *victim = has_place ? NULL : tcp_find_victim(tcp);
    int fd;

    if (!has_place && !victim)
        return FULL;
    fd = accept4(listener->io.fd, &peer.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (listener->plain)
            net_welcome(fd);
        if (begin_connection(tcp, fd, &peer, victim) == 0)
            return LET_IN;
        log_starved(tcp, "keep");
        mute(tcp, RESUME_NS);
        return STARVED;
    }
    if (has_place)
        admit_release(tcp->admit);
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

/* All who share a listener wake for a client, and the quickest has it, which tends to be the same
 * one again and again. What comes after that is taken, however long it was until then: it may be
 * the client that nobody else has taken. */
static bool leave_to_others(const struct tcp_listener *listener)
{
    struct tcp *tcp = listener->tcp;
    unsigned total = admit_open(tcp->admit), slack = SHARE_SLACK + total / SHARE_PART;

    if (!listener->shared || tcp->open < total / tcp->workers + slack)
        return false;
    tcp->has_left = !tcp->has_left;
    if (tcp->has_left)
        mute(tcp, LEAVE_NS);
    return tcp->has_left;
}

static void accept_some(struct loop_io *io, short revents)
{
    struct tcp_listener *listener = LISTENER_OF(io);
    uint64_t turn = loop_turn_number(listener->tcp->loop);
    int most = 1;
    bool rush = turn - listener->last_turn <= 1 || listener->plain;
    enum accepted last;

    (void)revents;
    if (leave_to_others(listener))
        return;
    listener->last_turn = turn;
    if (rush)
        most = listener->shared ? SHARE_SLACK : ACCEPT_BATCH;
    if (accept_many(listener, most, &last) > 0)
        return;
    /* Somebody waits, and nothing that we could do now would let him in. */
    if (last == FULL) {
        log_full(listener->tcp);
        mute(listener->tcp, RESUME_NS);
    } else if (last == TRY_AGAIN) {
        log_starved(listener->tcp, "accept");
        mute(listener->tcp, RESUME_NS);
    }
}

int tcp_add_listener(struct tcp *tcp, int fd, bool shared)
{
    struct tcp_listener *l = malloc(sizeof *l);

    if (!l)
        return -1;
    if (loop_add(tcp->loop, &l->io, fd, tcp->muted ? 0 : POLLIN, accept_some) < 0) {
        free(l);
        return -1;
    }
    l->tcp = tcp;
    l->shared = shared;
    l->last_turn = 0;
    l->retired = false;
    /* What has queued up before we were handed the socket has inherited what it was then. */
    l->plain = true;
    l->next = tcp->listeners;
    tcp->listeners = l;
    return 0;
}

/* The link to it, or to NULL. */
static struct tcp_listener **find_listener(struct tcp *tcp, int fd)
{
    struct tcp_listener **link = &tcp->listeners;

    while (*link && (*link)->io.fd != fd)
        link = &(*link)->next;
    return link;
}

void tcp_retire_listener(struct tcp *tcp, int fd)
{
    struct tcp_listener *l = *find_listener(tcp, fd);

    if (!l)
        return;
    net_retire(SOCK_STREAM, fd);
    l->retired = l->plain = true;
}

bool tcp_empty_queue(struct tcp *tcp, int fd)
{
    struct tcp_listener *l = *find_listener(tcp, fd);
    enum accepted last = QUEUE_EMPTY;

    if (l)
        accept_many(l, QUEUE_MAX, &last);
    return last == QUEUE_EMPTY;
}

void tcp_drop_listener(struct tcp *tcp, int fd)
{
    struct tcp_listener **link = find_listener(tcp, fd);
    struct tcp_listener *l = *link;

    if (!l)
        return;
    tcp_empty_queue(tcp, fd);
    *link = l->next;
    loop_del(tcp->loop, &l->io);
    free(l);
}
