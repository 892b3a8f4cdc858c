/* SPDX-License-Identifier: ISC */
/* The least that an echo can cost: plain system calls, without checks, limits or features.
 *
 *   floor PORT HOW [SIZE]
 *
 * TCP: one        one connection after the other, blocking
 *      many       epoll_wait(2), then a read of up to SIZE octets and a write
 *      drain      the same, but reads and writes until nothing is left to read
 *      splice     epoll_wait(2), then splice(2) through a pipe of SIZE octets
 * UDP: datagram   one at a time
 *      datagrams  recvmmsg(2) and sendmmsg(2), with room for SIZE octets in each
 *
 * Serves until it is killed. Writes block, so a client must read while it writes. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"

#define LARGEST (1 << 20)
#define EVENTS  256
#define BATCH   64
#define SLOT    65536

static char octets[LARGEST];
static size_t size = 262144;
static int splice_pipe[2];

/* False if not everything could be sent. */
static bool send_back(int fd, ssize_t length)
{
    for (ssize_t sent = 0, n; sent < length; sent += n) {
        n = send(fd, octets + sent, (size_t)(length - sent), MSG_NOSIGNAL);
        if (n < 0)
            return false;
    }
    return true;
}

/* These return false if the connection must be closed. */

static bool echo_once(int fd)
{
    ssize_t got = recv(fd, octets, size, 0);

    return got > 0 && send_back(fd, got);
}

static bool echo_all(int fd)
{
    ssize_t got;

    while ((got = recv(fd, octets, size, MSG_DONTWAIT)) > 0) {
        if (!send_back(fd, got))
            return false;
    }
    return got < 0 && errno == EAGAIN;
}

static void open_pipe(void)
{
    if (pipe(splice_pipe) != 0 || fcntl(splice_pipe[0], F_SETPIPE_SZ, (int)size) < 0)
        fail("pipe");
}

static bool echo_spliced(int fd)
{
    ssize_t got = splice(fd, NULL, splice_pipe[1], NULL, size, SPLICE_F_MOVE);

    for (ssize_t sent = 0, n; sent < got; sent += n) {
        n = splice(splice_pipe[0], NULL, fd, NULL, (size_t)(got - sent), SPLICE_F_MOVE);
        if (n <= 0) {
            close(splice_pipe[0]);
            close(splice_pipe[1]);
            open_pipe(); /* The rest belonged to this client. */
            return false;
        }
    }
    return got > 0;
}

static void add_to_epoll(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl");
}

static void serve_with_epoll(int listener, bool (*echo)(int fd))
{
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(0);

    add_to_epoll(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                if (!echo(fd))
                    close(fd);
            } else if ((fd = accept(listener, NULL, NULL)) >= 0) {
                add_to_epoll(epoll, fd);
            }
        }
    }
}

static void one_by_one(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        while (fd >= 0 && echo_once(fd))
            ;
        if (fd >= 0)
            close(fd);
    }
}

static void read_once(int listener)
{
    serve_with_epoll(listener, echo_once);
}

static void read_until_empty(int listener)
{
    serve_with_epoll(listener, echo_all);
}

static void spliced(int listener)
{
    signal(SIGPIPE, SIG_IGN);
    open_pipe();
    serve_with_epoll(listener, echo_spliced);
}

static void datagram(int fd)
{
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t got = recvfrom(fd, octets, size, 0, (struct sockaddr *)&from, &length);

        if (got >= 0)
            sendto(fd, octets, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
}

static void datagrams(int fd)
{
    static char batch[BATCH * SLOT];
    static struct sockaddr_in from[BATCH];
    static struct iovec iov[BATCH];
    static struct mmsghdr messages[BATCH];
    size_t slot = size < SLOT ? size : SLOT;

    for (;;) {
        for (size_t i = 0; i < BATCH; i++) {
            iov[i] = (struct iovec){batch + i * slot, slot};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &from[i],
                                                  .msg_namelen = sizeof from[i],
                                                  .msg_iov = &iov[i],
                                                  .msg_iovlen = 1};
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);

        for (int i = 0; i < count; i++)
            iov[i].iov_len = messages[i].msg_len;
        for (int sent = 0, n; sent < count; sent += n) {
            n = sendmmsg(fd, messages + sent, (unsigned)(count - sent), 0);
            if (n <= 0)
                n = 1; /* The error concerns the first message only. */
        }
    }
}

int main(int argc, char *argv[])
{
    static const struct {
        const char *name;
        int type;
        void (*serve)(int fd);
    } ways[] = {{"one", SOCK_STREAM, one_by_one},         {"many", SOCK_STREAM, read_once},
                {"drain", SOCK_STREAM, read_until_empty}, {"splice", SOCK_STREAM, spliced},
                {"datagram", SOCK_DGRAM, datagram},       {"datagrams", SOCK_DGRAM, datagrams}};

    if (argc == 4)
        size = (size_t)number(argv[3], 1, LARGEST);
    for (size_t i = 0; argc >= 3 && i < sizeof ways / sizeof *ways; i++) {
        if (strcmp(argv[2], ways[i].name) == 0)
            ways[i].serve(bound(ways[i].type, argv[1]));
    }
    fprintf(stderr, "usage: floor PORT one|many|drain|splice|datagram|datagrams [SIZE]\n");
    return 64;
}
