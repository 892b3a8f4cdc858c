/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/connection.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/util.h"

#define SCRATCH_SIZE (32 * 1024)

/* The idle timer runs at least this often, or at every 64th of the idle timeout if that is longer:
 * meanwhile slots may have been taken, which shortens the timeout. */
#define IDLE_CHECK SECOND

/* However much a client has sent, its connection is useful for at most this long. */
#define USEFUL_MAX (2 * SECOND)

static void close_idle(struct loop_timer *timer);

int connections_init(struct connections *set, struct loop *loop, struct stats *stats,
                     struct connlimit *connlimit, void (*slot_freed)(struct connections *set))
{
    *set = (struct connections){
        .loop = loop, .stats = stats, .connlimit = connlimit, .slot_freed = slot_freed};
    set->scratch = malloc(SCRATCH_SIZE);
    if (!set->scratch)
        return -1;
    loop_timer_init(loop, &set->idle_timer, close_idle);
    return 0;
}

void connections_fini(struct connections *set)
{
    connections_close_all(set);
    free(set->scratch);
    set->scratch = NULL;
}

/* ---- the list, in the order of the last activity ---- */

static void list_remove(struct connection *c)
{
    struct connections *set = c->set;

    if (set->cursor == c)
        set->cursor = c->newer;
    *(c->older ? &c->older->newer : &set->oldest) = c->newer;
    *(c->newer ? &c->newer->older : &set->newest) = c->older;
}

static void list_append(struct connection *c)
{
    struct connections *set = c->set;

    c->older = set->newest;
    c->newer = NULL;
    *(set->newest ? &set->newest->newer : &set->oldest) = c;
    set->newest = c;
}

static void note_activity(struct connection *c)
{
    c->last_activity = loop_now(c->set->loop);
    if (c != c->set->newest) {
        list_remove(c);
        list_append(c);
    }
}

static uint64_t idle_timeout_now(const struct connections *set)
{
    return set->idle_timeout >> (2 * connlimit_pressure(set->connlimit));
}

static void arm_idle_timer(struct connections *set)
{
    uint64_t shortest = set->idle_timeout >> (2 * CONNLIMIT_PRESSURE_MAX);
    uint64_t due, check;

    if (set->idle_timeout == 0 || !set->oldest) {
        loop_timer_stop(&set->idle_timer);
        return;
    }
    due = set->oldest->last_activity + idle_timeout_now(set);
    check = loop_now(set->loop) + (shortest > IDLE_CHECK ? shortest : IDLE_CHECK);
    loop_timer_set(set->loop, &set->idle_timer, due < check ? due : check);
}

/* ---- the end of a connection ---- */

static void log_end(const struct connection *c, const char *reason)
{
    struct addr peer = {.len = sizeof peer.in6};
    char text[ADDR_STRLEN];

    if (!log_enabled(LEVEL_DEBUG))
        return;
    /* After a reset the socket has no peer. */
    if (getpeername(c->io.fd, &peer.sa, &peer.len) < 0)
        log_debug("tcp: connection %d: %s", c->io.fd, reason);
    else
        log_debug("tcp: connection %d from %s: %s", c->io.fd, addr_print(&peer, text), reason);
}

void connection_discard(struct connection *c)
{
    close(c->echo.fd);
    echo_fini(&c->echo);
    connlimit_leave(c->set->connlimit, c->source);
    free(c);
}

void connection_end_keeping_slot(struct connection *c, const char *reason)
{
    struct connections *set = c->set;

    log_end(c, reason);
    /* Count before close(2), so that a client that sees the end finds it counted. */
    set->open--;
    stats_add(&set->stats->tcp_closed, 1);
    list_remove(c);
    loop_del(set->loop, &c->io);
    connection_discard(c);
}

static void end_connection(struct connection *c, const char *reason)
{
    struct connections *set = c->set;

    connection_end_keeping_slot(c, reason);
    connlimit_release(set->connlimit);
    set->slot_freed(set);
}

void connections_close_all(struct connections *set)
{
    while (set->oldest)
        end_connection(set->oldest, "closed by us");
}

/* ---- idle connections ---- */

/* A client that reads slowly empties the kernel's send buffer without waking us: tcp(7), SIOCOUTQ.
 */
static bool client_has_read(struct connection *c)
{
    int before = c->unacknowledged;

    return ioctl(c->io.fd, SIOCOUTQ, &c->unacknowledged) == 0 && c->unacknowledged != before;
}

bool connection_has_input(const struct connection *c)
{
    int unread = 0;

    return c->io.events == POLLIN && ioctl(c->io.fd, SIOCINQ, &unread) == 0 && unread > 0;
}

static bool is_in_echo(const struct connection *c)
{
    int unread = 0, unacknowledged = 0;

    return c->echo.held_end > 0 || c->echo.closing ||
           (ioctl(c->io.fd, SIOCINQ, &unread) == 0 && unread > 0) ||
           (ioctl(c->io.fd, SIOCOUTQ, &unacknowledged) == 0 && unacknowledged > 0);
}

unsigned connections_finish(struct connections *set, uint64_t until)
{
    struct connection *c, *next;
    unsigned left = 0, open = set->open;

    for (c = set->oldest; c; c = next) {
        next = c->newer;
        if (c->opened > until)
            continue;
        if (is_in_echo(c)) {
            left++;
            continue;
        }
        connection_end_keeping_slot(c, "closed by us");
        connlimit_release(set->connlimit);
    }
    if (set->open == open)
        return left;
    /* Only now: this may let in the client that waits for a slot, and may evict `next`. */
    open = set->open;
    set->slot_freed(set);
    return left + (set->open > open);
}

static void close_idle(struct loop_timer *timer)
{
    struct connections *set = container_of(timer, struct connections, idle_timer);
    uint64_t now = loop_now(set->loop);

    while (set->oldest && now - set->oldest->last_activity >= idle_timeout_now(set)) {
        if (client_has_read(set->oldest) || connection_has_input(set->oldest)) {
            note_activity(set->oldest);
            continue;
        }
        stats_add(&set->stats->tcp_idle, 1);
        end_connection(set->oldest, "idle for too long");
    }
    arm_idle_timer(set);
}

void connections_set_idle_timeout(struct connections *set, uint64_t timeout)
{
    set->idle_timeout = timeout;
    arm_idle_timer(set);
}

/* ---- a turn of a connection ---- */

static void prolong_usefulness(struct connection *c, uint64_t octets)
{
    const uint64_t per_octet = SECOND / CONNECTION_USEFUL_RATE;
    uint64_t now = loop_now(c->set->loop);
    uint64_t left = c->useful_until > now ? c->useful_until - now : 0;

    left += octets < USEFUL_MAX / per_octet ? octets * per_octet : USEFUL_MAX;
    c->useful_until = now + (left < USEFUL_MAX ? left : USEFUL_MAX);
}

static void serve(struct loop_io *io, short revents)
{
    struct connection *c = container_of(io, struct connection, io);
    struct connections *set = c->set;
    uint32_t held_at = c->echo.held_at;
    uint64_t owed = c->echo.held_end - held_at;
    uint64_t received = 0;
    uint64_t pieces = 0;
    enum echo_state state = echo_turn(&c->echo, set->scratch, SCRATCH_SIZE, &received, &pieces);

    (void)revents;
    /* If the loop cannot watch for what the echo waits for, nothing would ever wake it. */
    if ((state == ECHO_READ && loop_set(set->loop, io, POLLIN) < 0) ||
        (state == ECHO_WRITE && loop_set(set->loop, io, POLLOUT) < 0))
        state = ECHO_FAILED;
    stats_add(&set->stats->tcp_echoes, pieces);
    stats_add(&set->stats->tcp_octets, received);
    stats_add(&set->stats->tcp_octets_sent, owed + received - (c->echo.held_end - c->echo.held_at));
    prolong_usefulness(c, received);
    switch (state) {
    case ECHO_READ:
        c->unacknowledged = 0;
        break;
    case ECHO_WRITE:
        (void)client_has_read(c);
        break;
    case ECHO_FAILED:
        stats_add(&set->stats->tcp_reset, 1);
        end_connection(c, strerror(errno));
        return;
    case ECHO_ENDED:
        end_connection(c, "closed by the client");
        return;
    }
    if (received > 0 || c->echo.held_at != held_at)
        note_activity(c);
}

/* ---- refusals ---- */

/* The kernel keeps half of a refused connection for one second instead of the usual minute (tcp(7),
 * TCP_LINGER2). With less it would answer the client's acknowledgement with a reset. That may
 * arrive before the client's connect(2) returns, and looks like a port where nobody listens. */
static void linger_briefly(int fd)
{
    int seconds = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &seconds, sizeof seconds);
}

static void log_refusal(struct connections *set, struct log_limit *limit, const char *what,
                        const struct addr *peer, const char *why)
{
    uint64_t suppressed;
    char text[ADDR_STRLEN];

    if (log_limit_pass(limit, loop_now(set->loop), &suppressed))
        log_notice("tcp: %s %s: %s (%" PRIu64 " more since the last such line)", what,
                   addr_print_host(peer, text), why, suppressed);
}

static void note_denied(struct connections *set, const char *what, const struct addr *peer)
{
    stats_add(&set->stats->tcp_denied, 1);
    log_refusal(set, &connlimit_logs(set->connlimit)->denied, what, peer, "access denies it");
}

static void note_source_full(struct connections *set, const struct addr *peer)
{
    stats_add(&set->stats->tcp_refused_source, 1);
    log_refusal(set, &connlimit_logs(set->connlimit)->source, "refused", peer,
                "its source has max-connections-per-source open");
}

static void refuse(int fd)
{
    linger_briefly(fd);
    close(fd);
}

/* Notes a denial. After a reset the socket has no peer, and its connection ends by itself. */
static bool is_denied(const struct connection *c, const char *what)
{
    struct addr peer = {.len = sizeof peer.in6};

    if (getpeername(c->echo.fd, &peer.sa, &peer.len) < 0 || acl_allows(&c->set->access, &peer))
        return false;
    note_denied(c->set, what, &peer);
    linger_briefly(c->echo.fd);
    return true;
}

void connections_set_access(struct connections *set, const struct acl *access)
{
    struct connection *c, *next;
    bool has_ended = false;

    set->access = *access;
    if (!access->set && !access->only_listed)
        return;
    for (c = set->oldest; c; c = next) {
        next = c->newer;
        if (!is_denied(c, "ended a connection of"))
            continue;
        connection_end_keeping_slot(c, "denied by access");
        connlimit_release(set->connlimit);
        has_ended = true;
    }
    /* Only now: this may let a client in and evict a connection, even `next`. */
    if (has_ended)
        set->slot_freed(set);
}

/* ---- the beginning of a connection ---- */

static void log_beginning(const struct connection *c)
{
    struct addr peer = {.len = sizeof peer.in6};
    char text[ADDR_STRLEN];

    if (getpeername(c->io.fd, &peer.sa, &peer.len) == 0)
        log_debug("tcp: connection %d from %s", c->io.fd, addr_print(&peer, text));
}

enum connection_outcome connection_begin_waiting(struct connection *c)
{
    struct connections *set = c->set;

    if (loop_add(set->loop, &c->io, c->echo.fd, POLLIN, serve) < 0) {
        int saved = errno;

        linger_briefly(c->echo.fd);
        connection_discard(c);
        connlimit_release(set->connlimit);
        errno = saved;
        return CONNECTION_NO_MEMORY;
    }
    c->opened = c->last_activity = loop_now(set->loop);
    c->useful_until = 0;
    c->unacknowledged = 0;
    list_append(c);
    set->open++;
    if (c == set->oldest)
        arm_idle_timer(set);
    stats_add(&set->stats->tcp_accepted, 1);
    if (log_enabled(LEVEL_DEBUG))
        log_beginning(c);
    /* A client that has waited in the backlog has mostly sent something by now. */
    serve(&c->io, POLLIN);
    return CONNECTION_BEGUN;
}

enum connection_outcome connection_begin(struct connections *set, int fd, const struct addr *peer,
                                         struct connection **waiting)
{
    enum connlimit_result result = CONNLIMIT_NO_MEMORY;
    struct connection *c;

    if (!acl_allows(&set->access, peer)) {
        refuse(fd);
        note_denied(set, "refused", peer);
        return CONNECTION_DENIED;
    }
    c = malloc(sizeof *c);
    if (c)
        result = connlimit_enter(set->connlimit, peer, &c->source);
    if (result == CONNLIMIT_SOURCE_FULL || result == CONNLIMIT_NO_MEMORY) {
        refuse(fd);
        free(c);
        errno = ENOMEM;
        if (result == CONNLIMIT_NO_MEMORY)
            return CONNECTION_NO_MEMORY;
        note_source_full(set, peer);
        return CONNECTION_SOURCE_FULL;
    }
    c->set = set;
    echo_init(&c->echo, fd);
    if (result == CONNLIMIT_ENTERED)
        return connection_begin_waiting(c);
    *waiting = c;
    return CONNECTION_NO_SLOT;
}

/* Closed without a word, or reset. Octets that arrived before a reset can still be read, but
 * sending 0 octets fails then. */
static bool client_has_left(const struct connection *c)
{
    char octet;

    return send(c->echo.fd, NULL, 0, MSG_NOSIGNAL) < 0 ||
           recv(c->echo.fd, &octet, 1, MSG_PEEK) == 0;
}

bool connection_recheck(struct connection *c)
{
    if (!client_has_left(c) && !is_denied(c, "refused"))
        return true;
    connection_discard(c);
    return false;
}
