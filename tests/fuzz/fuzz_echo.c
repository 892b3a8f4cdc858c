/* SPDX-License-Identifier: ISC */
/* One connection's echo with a peer that sends, reads, shuts down and resets in any order, over TCP
 * on the loopback interface or over a pair of Unix sockets: what comes back is the beginning of
 * what was sent, and all of it where the peer lets it. */
#include "daemon/tcp/echo.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MUST(condition) ((condition) ? (void)0 : abort())

#define SCRATCH_MAX 65536
#define STEPS_MAX   256

static unsigned char scratch[SCRATCH_MAX];

static struct {
    struct echo echo;
    enum echo_state state;
    int peer; /* -1: gone */
    bool tcp;
    bool shut; /* the peer sends no more */
    bool deaf; /* nor takes any */
    uint64_t sent, back;
    uint64_t received, pieces; /* as echo.c counts */
} run;

static int listener = -1;

static bool ended(void)
{
    return run.state == ECHO_ENDED || run.state == ECHO_FAILED;
}

static void set(int fd, int level, int option, int value)
{
    MUST(setsockopt(fd, level, option, &value, sizeof value) == 0);
}

/* With a reset: closing in peace, thousands of times a second, would use up all ports. */
static void close_hard(int fd)
{
    struct linger linger = {.l_onoff = 1};

    if (run.tcp)
        MUST(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
    close(fd);
}

static void open_tcp(int ends[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t len = sizeof addr;

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (listener < 0) {
        listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        MUST(listener >= 0);
        set(listener, SOL_SOCKET, SO_OOBINLINE, 1);
        MUST(bind(listener, (struct sockaddr *)&addr, sizeof addr) == 0 &&
             listen(listener, 1) == 0);
    }
    MUST(getsockname(listener, (struct sockaddr *)&addr, &len) == 0);
    ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(ends[1] >= 0 && connect(ends[1], (struct sockaddr *)&addr, sizeof addr) == 0);
    ends[0] = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    MUST(ends[0] >= 0);
}

/* The octet at each place of the stream: not the same after any power of two. */
static unsigned char octet(uint64_t place)
{
    return (unsigned char)(place % 251);
}

static void peer_send(size_t length, int flags)
{
    static unsigned char data[SCRATCH_MAX];
    ssize_t n;

    for (size_t i = 0; i < length; i++)
        data[i] = octet(run.sent + i);
    n = send(run.peer, data, length, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n > 0)
        run.sent += (uint64_t)n;
}

/* False at the end. */
static bool peer_receive(size_t length)
{
    static unsigned char data[SCRATCH_MAX];
    ssize_t n = recv(run.peer, data, length, MSG_DONTWAIT);

    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    for (ssize_t i = 0; i < n; i++)
        MUST(data[i] == octet(run.back++));
    MUST(run.back <= run.sent && run.back <= run.received);
    return true;
}

static void turn(size_t size)
{
    uint64_t before = run.received;

    if (ended())
        return;
    run.state = echo_turn(&run.echo, scratch, size, &run.received, &run.pieces);
    MUST(run.received <= run.sent);
    MUST(run.received - before <= 4 * size && run.pieces <= run.received);
    MUST(run.echo.held_end == 0 || run.echo.held_at < run.echo.held_end);
    MUST((run.echo.held_end > 0) == (run.echo.held != NULL));
    MUST(run.state != ECHO_READ || (run.echo.held_end == 0 && !run.echo.closing));
    MUST(run.state != ECHO_WRITE || run.echo.held_end > 0 || run.echo.closing);
    /* Nobody who only sends and reads is cut off. */
    MUST(run.state != ECHO_FAILED || run.peer < 0 || run.deaf);
    MUST(run.state != ECHO_ENDED || run.peer < 0 || run.shut);
}

static size_t amount(uint8_t octet)
{
    return octet < 64 ? octet + 1U : (octet - 63U) * 341U;
}

static void step(uint8_t what, size_t length)
{
    if (what % 8 <= 1) {
        turn(length);
        return;
    }
    if (run.peer < 0)
        return;
    switch (what % 8) {
    case 2:
    case 3:
        if (!run.shut)
            peer_send(length, 0);
        break;
    case 4:
        if (!run.shut)
            peer_send(length, run.tcp ? MSG_OOB : 0);
        break;
    case 5:
        peer_receive(length);
        break;
    case 6:
        run.shut = true;
        shutdown(run.peer, SHUT_WR);
        break;
    default:
        if (what >= 240) {
            close_hard(run.peer);
            run.peer = -1;
        } else if (what >= 224) {
            run.deaf = true;
            shutdown(run.peer, SHUT_RD);
        }
        break;
    }
}

/* Until the kernel has something for one of the two. */
static void await(void)
{
    struct pollfd fds[] = {
        {.fd = run.echo.fd, .events = run.state == ECHO_WRITE ? POLLOUT : POLLIN},
        {.fd = run.peer, .events = POLLIN}};

    MUST(poll(fds, 2, -1) > 0 || errno == EINTR);
}

/* A peer that is still there reads on, and gets everything. */
static void finish(void)
{
    if (!run.shut)
        shutdown(run.peer, SHUT_WR);
    run.shut = true;
    while (!ended()) {
        await();
        turn(SCRATCH_MAX);
        peer_receive(SCRATCH_MAX);
    }
    MUST(run.state == ECHO_ENDED);
    shutdown(run.echo.fd, SHUT_WR);
    while (run.back < run.sent) {
        await();
        MUST(peer_receive(SCRATCH_MAX));
    }
    MUST(run.received == run.sent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int ends[2];

    if (size < 1)
        return 0;
    memset(&run, 0, sizeof run);
    run.tcp = data[0] & 1;
    if (run.tcp)
        open_tcp(ends);
    else
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    run.peer = ends[1];
    /* With little room TCP would only wait for its timers. */
    if (data[0] & 2 && !run.tcp)
        set(ends[0], SOL_SOCKET, SO_SNDBUF, 1);
    if (data[0] & 4 && !run.tcp)
        set(ends[1], SOL_SOCKET, SO_SNDBUF, 1);
    echo_init(&run.echo, ends[0]);
    for (size_t i = 1; i + 1 < size && i < STEPS_MAX; i += 2)
        step(data[i], amount(data[i + 1]));
    if (run.peer >= 0 && !run.deaf && !ended())
        finish();
    echo_fini(&run.echo);
    close_hard(ends[0]);
    if (run.peer >= 0)
        close_hard(run.peer);
    return 0;
}
