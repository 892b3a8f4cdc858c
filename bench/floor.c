/* SPDX-License-Identifier: ISC */
/* The least that an echo can cost: plain system calls, with no guard, no limits and no features.
 *
 *   floor one|many|datagram|datagrams PORT
 *
 * one: TCP, one connection after the other, blocking.     many: TCP, epoll_wait(2), a read and a
 * write. datagram: UDP, one at a time.                           datagrams: UDP, recvmmsg(2) and
 * sendmmsg(2).
 *
 * Serves until it is killed. Writing blocks: the client must read while it writes. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SIZE    262144
#define EVENTS  256
#define BATCH   64
#define LARGEST 65536

static char octets[SIZE];

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static int bound(int type, int port)
{
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_ANY),
                               .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, type, 0);
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&here, sizeof here) != 0)
        fail("bind");
    if (type == SOCK_STREAM &&
        (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 || listen(fd, 4096) != 0))
        fail("listen");
    return fd;
}

/* Whether there may be more to come. */
static bool echo_once(int fd)
{
    ssize_t got = recv(fd, octets, sizeof octets, 0);

    for (ssize_t sent = 0, n; sent < got; sent += n) {
        n = send(fd, octets + sent, (size_t)(got - sent), MSG_NOSIGNAL);
        if (n < 0)
            return false;
    }
    return got > 0;
}

static void one(int listener)
{
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        while (fd >= 0 && echo_once(fd))
            ;
        if (fd >= 0)
            close(fd);
    }
}

static void watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("epoll_ctl");
}

static void many(int listener)
{
    struct epoll_event events[EVENTS];
    int epoll = epoll_create1(0);

    watch(epoll, listener);
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);

        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;

            if (fd != listener) {
                if (!echo_once(fd))
                    close(fd);
            } else if ((fd = accept(listener, NULL, NULL)) >= 0) {
                watch(epoll, fd);
            }
        }
    }
}

static void datagram(int fd)
{
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t got = recvfrom(fd, octets, LARGEST, 0, (struct sockaddr *)&from, &length);

        if (got >= 0)
            sendto(fd, octets, (size_t)got, 0, (struct sockaddr *)&from, length);
    }
}

static void datagrams(int fd)
{
    static char batch[BATCH][LARGEST];
    static struct sockaddr_in from[BATCH];
    static struct iovec iov[BATCH];
    static struct mmsghdr messages[BATCH];

    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            iov[i] = (struct iovec){batch[i], LARGEST};
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
                n = 1; /* An error is about the first; the others may pass. */
        }
    }
}

int main(int argc, char *argv[])
{
    static const struct {
        const char *name;
        int type;
        void (*serve)(int fd);
    } modes[] = {{"one", SOCK_STREAM, one},
                 {"many", SOCK_STREAM, many},
                 {"datagram", SOCK_DGRAM, datagram},
                 {"datagrams", SOCK_DGRAM, datagrams}};

    for (size_t i = 0; argc == 3 && i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(argv[1], modes[i].name) == 0)
            modes[i].serve(bound(modes[i].type, atoi(argv[2])));
    }
    fprintf(stderr, "usage: floor one|many|datagram|datagrams PORT\n");
    return 64;
}
