/* SPDX-License-Identifier: ISC */
#include "conn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#define READS_PER_TURN 4

/* What a client that does not read may cost us. */
#define HELD_MAX ((size_t)16 * 1024)

void conn_init(struct conn *conn, int fd)
{
    *conn = (struct conn){.fd = fd};
}

void conn_fini(struct conn *conn)
{
    free(conn->held);
    conn->held = NULL;
    conn->held_end = 0;
}

/* How many octets the socket took, which may be none; -1 with errno where it is broken. */
static ssize_t send_some(int fd, const unsigned char *data, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = send(fd, data + done, length - done, MSG_NOSIGNAL);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                break;
            return -1;
        }
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static enum conn_state send_held(struct conn *conn)
{
    ssize_t n = send_some(conn->fd, conn->held + conn->held_at, conn->held_end - conn->held_at);

    if (n < 0)
        return CONN_FAILED;
    conn->held_at += (uint32_t)n;
    if (conn->held_at < conn->held_end)
        return CONN_WRITE;
    conn_fini(conn);
    return CONN_READ;
}

static enum conn_state hold(struct conn *conn, const unsigned char *data, size_t length)
{
    conn->held = malloc(length);
    if (!conn->held)
        return CONN_FAILED;
    memcpy(conn->held, data, length);
    conn->held_at = 0;
    conn->held_end = (uint32_t)length;
    return CONN_WRITE;
}

/* The peer has closed. Were we to close while octets wait for it to read, the kernel would keep a
 * connection that nobody counts, times out or drains. With TCP_NOTSENT_LOWAT at 1 the socket is not
 * writable until none waits (tcp(7)). */
static enum conn_state finish(struct conn *conn)
{
    int unsent = 0;
    int lowest = 1;

    if (ioctl(conn->fd, SIOCOUTQNSD, &unsent) < 0 || unsent == 0)
        return CONN_ENDED;
    /* The count survives a reset; sending nothing tells of that. */
    if (send(conn->fd, NULL, 0, MSG_NOSIGNAL) < 0)
        return CONN_FAILED;
    if (setsockopt(conn->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowest, sizeof lowest) < 0)
        return CONN_ENDED;
    conn->closing = true;
    return CONN_WRITE;
}

static enum conn_state receive_nothing(struct conn *conn, ssize_t got)
{
    if (got == 0)
        return finish(conn);
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? CONN_READ : CONN_FAILED;
}

/* Send one piece back, and hold what the socket does not take. */
static enum conn_state echo_piece(struct conn *conn, unsigned char *scratch, size_t size,
                                  size_t *taken)
{
    ssize_t got = recv(conn->fd, scratch, size, 0);
    ssize_t sent;

    if (got <= 0)
        return receive_nothing(conn, got);
    *taken = (size_t)got;
    sent = send_some(conn->fd, scratch, *taken);
    if (sent < 0)
        return CONN_FAILED;
    return sent < got ? hold(conn, scratch + sent, *taken - (size_t)sent) : CONN_READ;
}

/* Read what was sent back already, which need not be copied for that (tcp(7), MSG_TRUNC). */
static enum conn_state discard_echoed(struct conn *conn, unsigned char *scratch)
{
    while (conn->echoed > 0) {
        ssize_t n = recv(conn->fd, scratch, conn->echoed, MSG_TRUNC);

        if (n <= 0)
            return receive_nothing(conn, n);
        conn->echoed -= (uint32_t)n;
    }
    return CONN_READ;
}

/* The same for a large piece: what the socket does not take stays where it is. */
static enum conn_state echo_bulk(struct conn *conn, unsigned char *scratch, size_t size,
                                 size_t *taken)
{
    ssize_t got = recv(conn->fd, scratch, size, MSG_PEEK);
    ssize_t sent;
    enum conn_state state;

    if (got <= 0)
        return receive_nothing(conn, got);
    sent = send_some(conn->fd, scratch, (size_t)got);
    if (sent < 0)
        return CONN_FAILED;
    *taken = (size_t)sent;
    conn->echoed = (uint32_t)sent;
    state = discard_echoed(conn, scratch);
    return state == CONN_READ && sent < got ? CONN_WRITE : state;
}

enum conn_state conn_turn(struct conn *conn, unsigned char *scratch, size_t size,
                          uint64_t *received, uint64_t *pieces)
{
    size_t small = size > HELD_MAX ? HELD_MAX + 1 : size;
    enum conn_state state = CONN_READ;

    if (conn->held_end > 0) {
        state = send_held(conn);
        if (state != CONN_READ)
            return state;
    }
    if (conn->closing)
        return finish(conn);
    state = discard_echoed(conn, scratch);
    if (state != CONN_READ)
        return state;
    for (int reads = 0; reads < READS_PER_TURN && conn->echoed == 0; reads++) {
        size_t most = conn->bulk ? size : small, taken = 0;

        state = conn->bulk ? echo_bulk(conn, scratch, most, &taken)
                           : echo_piece(conn, scratch, most, &taken);
        *received += taken;
        *pieces += taken > 0;
        if (state != CONN_READ)
            break;
        conn->bulk = taken > HELD_MAX;
        if (taken < most)
            break;
    }
    return state;
}
