/* SPDX-License-Identifier: ISC */
/* The fastest UDP echo client that we know: one connected socket, `window` datagrams in flight,
 * only sendmmsg(2) and recvmmsg(2). It does not look at the replies. Prints echoes a second.
 *
 *   bare PORT WINDOW SECONDS      to 127.0.0.1, 64 octets each */
#include <poll.h>

#include "common.h"

#define MOST 1024
#define SIZE 64

int main(int argc, char *argv[])
{
    static char octets[MOST][SIZE];
    static struct iovec iov[MOST];
    static struct mmsghdr messages[MOST];
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    int window, in_flight = 0;
    double start, end;
    long received = 0;

    if (argc != 4) {
        fprintf(stderr, "usage: bare PORT WINDOW SECONDS\n");
        return 64;
    }
    window = (int)number(argv[2], 1, MOST);
    peer.sin_port = port_of(argv[1]);
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer) < 0)
        fail("connect");
    for (int i = 0; i < MOST; i++) {
        iov[i] = (struct iovec){octets[i], SIZE};
        messages[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
    }
    start = seconds();
    end = start + (double)number(argv[3], 1, 3600);
    while (seconds() < end) {
        struct pollfd readable = {.fd = fd, .events = POLLIN};
        int sent =
            in_flight < window ? sendmmsg(fd, messages, (unsigned)(window - in_flight), 0) : 0;
        int got;

        if (sent > 0)
            in_flight += sent;
        /* After 10 ms without a reply those in flight count as lost. */
        if (poll(&readable, 1, 10) == 0)
            in_flight = 0;
        got = recvmmsg(fd, messages, MOST, 0, NULL);
        if (got > 0) {
            received += got;
            in_flight = in_flight > got ? in_flight - got : 0;
        }
    }
    printf("%.0f\n", (double)received / (seconds() - start));
    return 0;
}
