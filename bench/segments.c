/* SPDX-License-Identifier: ISC */
/* Asks a UDP echo service from four sockets, 64 datagrams at once from each, and verifies every one
 * that comes back. Prints how many came back for each CPU second of the service.
 *
 *   segments plain|segments PORT SIZE SECONDS PID      at 127.0.0.1; PID has one thread
 *
 * plain: each datagram is sent by itself. segments: all 64 in one packet, with UDP_SEGMENT. */
#include <arpa/inet.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define SOCKETS 4
#define WINDOW  64
#define MOST    1024

static unsigned char sent[WINDOW * MOST], back[WINDOW * MOST + 1];
static size_t size;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static double cpu_seconds(const char *pid)
{
    unsigned long long ns = 0;
    char path[64];
    FILE *file;

    snprintf(path, sizeof path, "/proc/%s/schedstat", pid);
    file = fopen(path, "r");
    if (!file || fscanf(file, "%llu", &ns) != 1)
        fail(path);
    fclose(file);
    return (double)ns / 1e9;
}

static void send_plain(int fd)
{
    struct iovec iov[WINDOW];
    struct mmsghdr messages[WINDOW];

    memset(messages, 0, sizeof messages);
    for (size_t i = 0; i < WINDOW; i++) {
        iov[i] = (struct iovec){sent + i * size, size};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    if (sendmmsg(fd, messages, WINDOW, 0) != WINDOW)
        fail("sendmmsg");
}

static void send_segments(int fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(uint16_t))] = {0};
    struct iovec iov = {sent, WINDOW * size};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    uint16_t segment = (uint16_t)size;

    c->cmsg_level = SOL_UDP;
    c->cmsg_type = UDP_SEGMENT;
    c->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(c), &segment, sizeof segment);
    if (sendmsg(fd, &message, 0) < 0)
        fail("sendmsg");
}

/* No two alike, which echod would take for a loop. */
static void number(void)
{
    static uint32_t serial;

    for (size_t i = 0; i < WINDOW; i++, serial++)
        memcpy(sent + i * size, &serial, sizeof serial);
}

/* Takes them as they come, joined or not; loopback keeps their order. */
static void receive(int fd)
{
    for (size_t done = 0; done < WINDOW * size;) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        ssize_t n = recv(fd, back, sizeof back, MSG_DONTWAIT);

        if (n < 0 && poll(&readable, 1, 5000) != 1) {
            fprintf(stderr, "segments: no echo came\n");
            exit(1);
        }
        if (n > 0 && (done + (size_t)n > WINDOW * size || memcmp(back, sent + done, (size_t)n))) {
            fprintf(stderr, "segments: another echo came than what was sent\n");
            exit(1);
        }
        done += n > 0 ? (size_t)n : 0;
    }
}

static int ask(const char *port)
{
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    int on = 1, room = 4 << 20;

    peer.sin_port = htons((uint16_t)atoi(port));
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0 ||
        setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) < 0)
        fail("socket");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    return fd;
}

int main(int argc, char *argv[])
{
    bool in_segments = argc == 6 && strcmp(argv[1], "segments") == 0;
    int fds[SOCKETS];
    double cpu, end;
    long datagrams = 0;

    size = argc == 6 ? (size_t)atoi(argv[3]) : 0;
    if (size < sizeof(uint32_t) || size > MOST) {
        fprintf(stderr, "usage: segments plain|segments PORT SIZE(4-%d) SECONDS PID\n", MOST);
        return 64;
    }
    for (size_t i = 0; i < sizeof sent; i++)
        sent[i] = (unsigned char)(i * 7 + i / 251);
    for (int i = 0; i < SOCKETS; i++)
        fds[i] = ask(argv[2]);
    cpu = cpu_seconds(argv[5]);
    for (end = now() + atof(argv[4]); now() < end; datagrams += SOCKETS * WINDOW) {
        number();
        for (int i = 0; i < SOCKETS; i++)
            (in_segments ? send_segments : send_plain)(fds[i]);
        for (int i = 0; i < SOCKETS; i++)
            receive(fds[i]);
    }
    printf("%.0f\n", (double)datagrams / (cpu_seconds(argv[5]) - cpu));
    return 0;
}
