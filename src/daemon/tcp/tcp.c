/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/tcp.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "common/addr.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/tcp/connection.h"

#define SCRATCH_SIZE (32 * 1024)

/* The idle timer looks again so often, in case that other workers have made places scarce. */
#define IDLE_CHECK_NS UINT64_C(1000000000)

static void close_idle(struct loop_timer *timer);

int tcp_init(struct tcp *tcp, struct loop *loop, struct stats *stats, struct connlimit *admit)
{
    *tcp = (struct tcp){.loop = loop, .stats = stats, .admit = admit};
    tcp->scratch = malloc(SCRATCH_SIZE);
    if (!tcp->scratch)
        return -1;
    tcp_listen_init(tcp);
    loop_timer_init(loop, &tcp->idle_timer, close_idle);
    return 0;
}

void tcp_fini(struct tcp *tcp)
{
    tcp_forget_listeners(tcp);
    tcp_close_all(tcp);
    free(tcp->scratch);
    tcp->scratch = NULL;
}

/* ---- connections in the order of their last activity ---- */

static void unlink_conn(struct tcp *tcp, struct connection *c)
{
    if (tcp->walked_to == c)
        tcp->walked_to = c->newer;
    *(c->older ? &c->older->newer : &tcp->oldest) = c->newer;
    *(c->newer ? &c->newer->older : &tcp->newest) = c->older;
}

static void link_newest(struct tcp *tcp, struct connection *c)
{
    c->older = tcp->newest;
    c->newer = NULL;
    *(tcp->newest ? &tcp->newest->newer : &tcp->oldest) = c;
    tcp->newest = c;
}

static void touch(struct tcp *tcp, struct connection *c)
{
    c->last_activity = loop_now(tcp->loop);
    if (c != tcp->newest) {
        unlink_conn(tcp, c);
        link_newest(tcp, c);
    }
}

static uint64_t idle_timeout_now(struct tcp *tcp)
{
    tcp->scarcity = connlimit_pressure(tcp->admit);
    return tcp->idle_timeout >> (2 * tcp->scarcity);
}

static void arm_idle_timer(struct tcp *tcp)
{
    uint64_t check = tcp->idle_timeout >> (2 * CONNLIMIT_PRESSURE_MAX);
    uint64_t due, look;

    if (tcp->idle_timeout == 0 || !tcp->oldest) {
        loop_timer_stop(&tcp->idle_timer);
        return;
    }
    due = tcp->oldest->last_activity + idle_timeout_now(tcp);
    look = loop_now(tcp->loop) + (check > IDLE_CHECK_NS ? check : IDLE_CHECK_NS);
    loop_timer_set(tcp->loop, &tcp->idle_timer, due < look ? due : look);
}

/* ---- the end of a connection ---- */

static void log_end(const struct connection *c, const char *how)
{
    struct addr peer = {.len = sizeof peer.in6};
    char text[ADDR_STRLEN];

    if (!log_enabled(LEVEL_DEBUG))
        return;
    /* A connection that was reset has no peer any more. */
    if (getpeername(c->io.fd, &peer.sa, &peer.len) < 0)
        log_debug("tcp: connection %d: %s", c->io.fd, how);
    else
        log_debug("tcp: connection %d from %s: %s", c->io.fd, addr_print(&peer, text), how);
}

static void end_and_keep_place(struct connection *c, const char *how)
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
    echo_fini(&c->conn);
    connlimit_leave(tcp->admit, c->source);
    free(c);
}

static void end_connection(struct connection *c, const char *how)
{
    struct tcp *tcp = c->tcp;

    end_and_keep_place(c, how);
    connlimit_release(tcp->admit);
    tcp_resume(tcp);
}

/* A slow reader takes octets out of the kernel's send buffer without our being called: tcp(7),
 * SIOCOUTQ. */
static bool has_moved(struct connection *c)
{
    int before = c->unacknowledged;

    return ioctl(c->io.fd, SIOCOUTQ, &c->unacknowledged) == 0 && c->unacknowledged != before;
}

/* Where we had no time for long, or our machine was stopped, clients seem idle whom we have not
 * heard yet. */
bool tcp_has_input(const struct connection *c)
{
    int unread = 0;

    return c->io.events == POLLIN && ioctl(c->io.fd, SIOCINQ, &unread) == 0 && unread > 0;
}

static void close_idle(struct loop_timer *timer)
{
    struct tcp *tcp = container_of(timer, struct tcp, idle_timer);
    uint64_t now = loop_now(tcp->loop);

    while (tcp->oldest && now - tcp->oldest->last_activity >= idle_timeout_now(tcp)) {
        if (has_moved(tcp->oldest) || tcp_has_input(tcp->oldest)) {
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
    struct connection *c = container_of(io, struct connection, io);
    struct tcp *tcp = c->tcp;
    uint32_t held_at = c->conn.held_at;
    uint64_t received = 0;
    uint64_t pieces = 0;
    enum echo_state state = echo_turn(&c->conn, tcp->scratch, SCRATCH_SIZE, &received, &pieces);

    (void)revents;
    /* Nothing would wake it for what it waits for. */
    if ((state == ECHO_READ && loop_set(tcp->loop, io, POLLIN) < 0) ||
        (state == ECHO_WRITE && loop_set(tcp->loop, io, POLLOUT) < 0))
        state = ECHO_FAILED;
    stats_add(&tcp->stats->tcp_echoes, pieces);
    stats_add(&tcp->stats->tcp_octets, received);
    tcp_note_use(c, received);
    switch (state) {
    case ECHO_READ:
        c->unacknowledged = 0;
        break;
    case ECHO_WRITE:
        (void)has_moved(c);
        break;
    case ECHO_FAILED:
        stats_add(&tcp->stats->tcp_reset, 1);
        end_connection(c, strerror(errno));
        return;
    case ECHO_ENDED:
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
                        const struct addr *peer, const char *why)
{
    uint64_t suppressed;
    char text[ADDR_STRLEN];

    if (log_limit_pass(limit, loop_now(tcp->loop), &suppressed))
        log_notice("tcp: %s %s: %s (%" PRIu64 " more since the last such line)", what,
                   addr_print_host(peer, text), why, suppressed);
}

static void note_denied(struct tcp *tcp, const char *what, const struct addr *peer)
{
    stats_add(&tcp->stats->tcp_denied, 1);
    log_refusal(tcp, &connlimit_logs(tcp->admit)->denied, what, peer, "access denies it");
}

void tcp_set_access(struct tcp *tcp, const struct acl *access)
{
    struct connection *c, *next;

    tcp->access = *access;
    if (!access->set && !access->only_listed)
        return;
    for (c = tcp->oldest; c; c = next) {
        struct addr peer = {.len = sizeof peer.in6};

        next = c->newer;
        /* One that was reset has no peer any more, and ends by itself. */
        if (getpeername(c->io.fd, &peer.sa, &peer.len) < 0 || acl_allows(access, &peer))
            continue;
        note_denied(tcp, "ended a connection of", &peer);
        linger_briefly(c->io.fd);
        end_connection(c, "denied by access");
    }
}

/* ---- who has to go for it ---- */

void tcp_evict(struct connection *victim)
{
    struct tcp *tcp = victim->tcp;
    struct addr peer = {.len = sizeof peer.in6};
    uint64_t now = loop_now(tcp->loop), suppressed;
    char text[ADDR_STRLEN];

    stats_add(&tcp->stats->tcp_evicted, 1);
    if (log_limit_pass(&connlimit_logs(tcp->admit)->evicted, now, &suppressed) &&
        getpeername(victim->io.fd, &peer.sa, &peer.len) == 0)
        log_warning("tcp: all %u connections are taken; ended one of %s, last active %" PRIu64
                    " ms ago, to let another in (%" PRIu64
                    " more since the last such line; see tcp max-connections)",
                    connlimit_open(tcp->admit), addr_print_host(&peer, text),
                    (now - victim->last_activity) / 1000000, suppressed);
    end_and_keep_place(victim, "had to make room");
    tcp_resume(tcp);
}

/* ---- letting connections in ---- */

static void turn_away(struct tcp *tcp, int fd, bool has_place)
{
    linger_briefly(fd);
    close(fd);
    if (has_place)
        connlimit_release(tcp->admit);
}

/* NULL with errno for want of memory. */
static struct connection *new_connection(struct tcp *tcp, int fd, struct connlimit_source *source)
{
    struct connection *c = malloc(sizeof *c);

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
    echo_init(&c->conn, fd);
    return c;
}

int tcp_begin(struct tcp *tcp, int fd, const struct addr *peer, struct connection *victim)
{
    bool has_place = victim == NULL;
    struct connlimit_source *source;
    struct connection *c;
    char text[ADDR_STRLEN];

    if (!acl_allows(&tcp->access, peer)) {
        turn_away(tcp, fd, has_place);
        note_denied(tcp, "refused", peer);
        return 0;
    }
    source = connlimit_enter(tcp->admit, peer);
    if (!source && errno == EUSERS) {
        turn_away(tcp, fd, has_place);
        stats_add(&tcp->stats->tcp_refused_source, 1);
        log_refusal(tcp, &connlimit_logs(tcp->admit)->source, "refused", peer,
                    "its source has max-connections-per-source open");
        return 0;
    }
    c = source ? new_connection(tcp, fd, source) : NULL;
    if (!c) {
        int saved = errno;

        if (source)
            connlimit_leave(tcp->admit, source);
        turn_away(tcp, fd, has_place);
        errno = saved;
        return -1;
    }
    if (!has_place)
        tcp_evict(victim);
    link_newest(tcp, c);
    tcp->open++;
    if (c == tcp->oldest || connlimit_pressure(tcp->admit) > tcp->scarcity)
        arm_idle_timer(tcp);
    stats_add(&tcp->stats->tcp_accepted, 1);
    if (log_enabled(LEVEL_DEBUG))
        log_debug("tcp: connection %d from %s", fd, addr_print(peer, text));
    /* Who waits in a backlog has mostly sent something by now. */
    serve(&c->io, POLLIN);
    return 0;
}
