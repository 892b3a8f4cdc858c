/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#define READS_PER_TURN 4

/* What a client that does not read may cost us: so much, or as much as one read takes if so much
 * has gone back to it that somebody must have read it. Large reads make a bulk stream cheaper. */
#define HELD_MAX    ((size_t)16 * 1024)
#define PROVEN_FROM (4 * 1024 * 1024)

void echo_init(struct echo *conn, int fd)
{
    *conn = (struct echo){.fd = fd};
}

void echo_fini(struct echo *conn)
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

static enum echo_state send_held(struct echo *conn)
{
    ssize_t n = send_some(conn->fd, conn->held + conn->held_at, conn->held_end - conn->held_at);

    if (n < 0)
        return ECHO_FAILED;
    conn->held_at += (uint32_t)n;
    if (conn->held_at < conn->held_end)
        return ECHO_WRITE;
    echo_fini(conn);
    return ECHO_READ;
}

static enum echo_state hold(struct echo *conn, const unsigned char *data, size_t length)
{
    conn->held = malloc(length);
    if (!conn->held)
        return ECHO_FAILED;
    memcpy(conn->held, data, length);
    conn->held_at = 0;
    conn->held_end = (uint32_t)length;
    return ECHO_WRITE;
}

/* The peer has closed. Were we to close while octets wait for it to read, the kernel would keep a
 * connection that nobody counts, times out or drains. With TCP_NOTSENT_LOWAT at 1 the socket is not
 * writable until none waits (tcp(7)). */
static enum echo_state finish(struct echo *conn)
{
    int unsent = 0;
    int lowest = 1;

    if (ioctl(conn->fd, SIOCOUTQNSD, &unsent) < 0 || unsent == 0)
        return ECHO_ENDED;
    /* The count survives a reset; sending nothing tells of that. */
    if (send(conn->fd, NULL, 0, MSG_NOSIGNAL) < 0)
        return ECHO_FAILED;
    if (setsockopt(conn->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowest, sizeof lowest) < 0)
        return ECHO_ENDED;
    conn->closing = true;
    return ECHO_WRITE;
}

/* A read that is full has more behind it: one octet more than may be held tells 16 KiB from that.
 */
static size_t read_size(const struct echo *conn, size_t size)
{
    return conn->echoed >= PROVEN_FROM || size <= HELD_MAX ? size : HELD_MAX + 1;
}

static void note_echoed(struct echo *conn, size_t length)
{
    if (conn->echoed < PROVEN_FROM)
        conn->echoed += (uint32_t)length;
}

enum echo_state echo_turn(struct echo *conn, unsigned char *scratch, size_t size,
                          uint64_t *received, uint64_t *pieces)
{
    if (conn->held_end > 0) {
        enum echo_state state = send_held(conn);

        if (state != ECHO_READ)
            return state;
    }
    if (conn->closing)
        return finish(conn);
    for (int reads = 0; reads < READS_PER_TURN; reads++) {
        size_t most = read_size(conn, size);
        ssize_t got = recv(conn->fd, scratch, most, 0);

        if (got == 0)
            return finish(conn);
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return errno == EAGAIN || errno == EWOULDBLOCK ? ECHO_READ : ECHO_FAILED;
        }
        *received += (uint64_t)got;
        *pieces += 1;

        ssize_t sent = send_some(conn->fd, scratch, (size_t)got);

        if (sent < 0)
            return ECHO_FAILED;
        note_echoed(conn, (size_t)sent);
        if (sent < got)
            return hold(conn, scratch + sent, (size_t)(got - sent));
        if ((size_t)got < most)
            break;
    }
    return ECHO_READ;
}
