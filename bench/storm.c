/* SPDX-License-Identifier: ISC */
/* Thousands of clients, from several addresses of this host, faster than a script could make them.
 *
 *   storm ADDRESS PORT echo COUNT    COUNT connections at once, with one echo on each
 *   storm ADDRESS PORT stall COUNT   COUNT connections that send all they can and never read
 *   storm ADDRESS PORT flood SIZE    datagrams as fast as possible, whose echoes are not read
 *   storm ADDRESS PORT burst COUNT   datagrams, COUNT with each send(2), as segments of one packet
 *
 * Prints the seconds until all connections were served or stalled, or 0 before the first datagram.
 * Holds the connections, or sends datagrams, until its standard input ends; after a burst it prints
 * how many datagrams were echoed. It ends at once if a call fails or an echo is wrong. */
#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "common.h"

#define MOST          100000
#define SOURCES       8 /* addresses of 127/8; each has its own ephemeral ports */
#define SIZE          64
#define EVENTS        512
#define BATCH         64
#define PATIENCE      30000 /* milliseconds without any progress */
#define LOST          10    /* milliseconds after which datagrams in flight count as lost */
#define WINDOW        256   /* datagrams in flight */
#define MOST_SEGMENTS 64
#define STALLED       200 /* milliseconds without progress after which all connections are full */

static struct sockaddr_in server = {.sin_family = AF_INET};
static char message[65536];
static int epoll;

static void open_client(long index)
{
    struct sockaddr_in here = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(0x7f000100 + (uint32_t)index % SOURCES)};
    struct epoll_event event = {.events = EPOLLOUT};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

    event.data.fd = fd;
    if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&here, sizeof here) != 0 ||
        (connect(fd, (struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        fail("connect");
}

static void wait_for(int fd, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.fd = fd};

    if (epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event) != 0)
        fail("epoll_ctl");
}

/* True when this client has received its echo. */
static bool echoed(int fd, uint32_t events)
{
    char back[SIZE];

    if (events & EPOLLOUT) {
        if (send(fd, message, SIZE, MSG_NOSIGNAL) != SIZE)
            fail("send");
        wait_for(fd, EPOLLIN);
        return false;
    }
    if (recv(fd, back, sizeof back, 0) != SIZE || memcmp(back, message, SIZE) != 0)
        fail("wrong echo");
    wait_for(fd, 0);
    return true;
}

static bool send_only(int fd, uint32_t events)
{
    if (send(fd, message, sizeof message, MSG_NOSIGNAL) < 0 && errno != EAGAIN)
        fail("send");
    (void)events;
    return false;
}

/* Returns how many were served: all, or fewer if none made progress for `patience` milliseconds. */
static long serve_all(long count, bool (*serve)(int fd, uint32_t events), int patience)
{
    struct epoll_event events[EVENTS];
    long served = 0;
    int ready;

    epoll = epoll_create1(0);
    for (long i = 0; i < count; i++)
        open_client(i);
    while (served < count && (ready = epoll_wait(epoll, events, EVENTS, patience)) > 0) {
        for (int i = 0; i < ready; i++)
            served += serve(events[i].data.fd, events[i].events);
    }
    return served;
}

static bool input_is_open(void)
{
    struct pollfd input = {.fd = 0, .events = POLLIN};

    return poll(&input, 1, 0) == 0;
}

static void flood(size_t size)
{
    static struct iovec iov;
    static struct mmsghdr batch[BATCH];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0)
        fail("connect");
    iov = (struct iovec){message, size};
    for (int i = 0; i < BATCH; i++)
        batch[i].msg_hdr = (struct msghdr){.msg_iov = &iov, .msg_iovlen = 1};
    while (input_is_open())
        sendmmsg(fd, batch, BATCH, 0);
}

/* Returns how many datagrams came back, after checking each. */
static long take_echoes(int fd)
{
    static char back[sizeof message];
    long echoes = 0;
    ssize_t got;

    while ((got = recv(fd, back, sizeof back, 0)) > 0) {
        if (got % SIZE != 0 || memcmp(back, message, (size_t)got) != 0)
            fail("wrong echo");
        echoes += got / SIZE;
    }
    return echoes;
}

static long burst(long count)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int segment = count > 1 ? SIZE : 0, on = 1;
    long in_flight = 0, echoes = 0;

    if (fd < 0 || connect(fd, (struct sockaddr *)&server, sizeof server) != 0 ||
        setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) != 0 ||
        setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) != 0)
        fail("connect");
    while (input_is_open()) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        long back;

        while (in_flight + count <= WINDOW && send(fd, message, (size_t)count * SIZE, 0) > 0)
            in_flight += count;
        if (poll(&readable, 1, LOST) == 0)
            in_flight = 0;
        back = take_echoes(fd);
        echoes += back;
        in_flight = in_flight > back ? in_flight - back : 0;
    }
    return echoes;
}

static void say(double value)
{
    printf("%.3f\n", value);
    fflush(stdout);
}

int main(int argc, char *argv[])
{
    const char *what = argc == 5 ? argv[3] : "";
    double start = seconds();
    char end;

    if (argc != 5 || inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) {
        fprintf(stderr, "usage: storm ADDRESS PORT echo|stall|flood|burst COUNT|SIZE\n");
        return 64;
    }
    server.sin_port = port_of(argv[2]);
    memset(message, 'x', sizeof message);
    if (strcmp(what, "flood") == 0) {
        say(0);
        flood((size_t)number(argv[4], 1, sizeof message));
        return 0;
    }
    if (strcmp(what, "burst") == 0) {
        say(0);
        say((double)burst(number(argv[4], 1, MOST_SEGMENTS)));
        return 0;
    }
    long count = number(argv[4], 1, MOST);

    if (strcmp(what, "echo") == 0 && serve_all(count, echoed, PATIENCE) < count)
        fail("not all were served");
    if (strcmp(what, "stall") == 0)
        serve_all(count, send_only, STALLED);
    say(seconds() - start);
    while (read(0, &end, 1) > 0)
        ;
    return 0;
}
