/* SPDX-License-Identifier: ISC */
/* Functions that several programs of this folder use. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

static inline _Noreturn void fail(const char *what)
{
    perror(what);
    exit(1);
}

/* A decimal argument. The program ends if it is no number or out of range. */
static inline long number(const char *text, long least, long most)
{
    char *end = NULL;
    long value = strtol(text, &end, 10);

    if (end == text || *end != '\0' || value < least || value > most) {
        fprintf(stderr, "'%s': a number from %ld to %ld is allowed\n", text, least, most);
        exit(64);
    }
    return value;
}

static inline uint16_t port_of(const char *text)
{
    return htons((uint16_t)number(text, 1, 65535));
}

static inline double seconds(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A socket of this type, which may include SOCK_NONBLOCK, bound to the port on every IPv4 address.
 * A stream socket listens. */
static inline int bound(int type, const char *port)
{
    struct sockaddr_in here = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY), .sin_port = port_of(port)};
    int fd = socket(AF_INET, type, 0);
    int on = 1;

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, (struct sockaddr *)&here, sizeof here) != 0)
        fail("bind");
    if ((type & ~SOCK_NONBLOCK) == SOCK_STREAM &&
        (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 || listen(fd, 4096) != 0))
        fail("listen");
    return fd;
}

#endif
