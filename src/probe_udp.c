/* SPDX-License-Identifier: ISC */
#include "probe.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Datagrams taken in one go, so that the schedule is looked at in between. */
#define BATCH 64

#define TRIES 4

/* More than the largest datagram: nothing is cut off unnoticed. */
#define ROOM 65536

/* Several of the largest datagrams; the kernel's limits may cap it. */
#define BUFFER (1024 * 1024)

/* The socket is not connected, or the kernel would drop what comes from a wrong source. */
struct udp_link {
    struct probe_link link;
    uint8_t *out;
    uint8_t in[ROOM];
};

static int set(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

/* Ask the kernel whether there is a way to the peer, and by which address it is known (0.0.0.0
 * means 127.0.0.1). */
static int find_route(const struct net_addr *peer, struct net_addr *known)
{
    int fd = socket(peer->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = -1;
    int saved;

    if (fd < 0)
        return -1;
    known->len = sizeof known->in6;
    if (connect(fd, &peer->sa, peer->len) == 0)
        rc = getpeername(fd, &known->sa, &known->len);
    saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0)
        return -1;
    /* RECVERR tells of ICMP errors also where the socket is not connected. Large datagrams are
     * fragmented. */
    if (family == AF_INET)
        rc = set(fd, SOL_IP, IP_RECVERR, 1) < 0 ||
             set(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT) < 0;
    else
        rc = set(fd, SOL_IPV6, IPV6_RECVERR, 1) < 0 ||
             set(fd, SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT) < 0;
    if (rc || set(fd, SOL_SOCKET, SO_SNDBUF, BUFFER) < 0 ||
        set(fd, SOL_SOCKET, SO_RCVBUF, BUFFER) < 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void udp_close(struct probe_link *link)
{
    struct udp_link *udp = (struct udp_link *)link;

    close(link->fd);
    free(udp->out);
    free(udp);
}

static struct probe_link *udp_open(struct probe *probe, const struct net_addr *peer)
{
    struct udp_link *udp = malloc(sizeof *udp);
    uint8_t *out = malloc(probe->settings.size + 1);

    if (udp && out) {
        udp->link = (struct probe_link){.ops = &probe_udp_ops, .probe = probe, .events = POLLIN};
        udp->out = out;
        if (find_route(peer, &udp->link.peer) == 0) {
            udp->link.fd = open_socket(peer->sa.sa_family);
            if (udp->link.fd >= 0)
                return &udp->link;
        }
    }
    probe_failed(probe, peer, errno, 2);
    free(udp);
    free(out);
    return NULL;
}

/* The address that reported an error follows it; there is none where this host did. */
static bool offender(const struct sock_extended_err *error, struct net_addr *from)
{
    const struct sockaddr *sa = SO_EE_OFFENDER(error);

    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return false;
    from->len = sa->sa_family == AF_INET ? sizeof from->in : sizeof from->in6;
    memcpy(&from->sa, sa, from->len);
    return true;
}

/* One error and the beginning of the datagram it is about. Returns false for what the kernel itself
 * objected to, which sendto(2) has returned already. */
static bool take_error(struct udp_link *udp, struct msghdr *msg, size_t len)
{
    struct probe *probe = udp->link.probe;
    const struct sock_extended_err *error = NULL;
    struct payload_identity about;
    struct net_addr from;
    bool known;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg))
        if ((cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == IP_RECVERR) ||
            (cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == IPV6_RECVERR))
            error = (const struct sock_extended_err *)(const void *)CMSG_DATA(cmsg);
    if (!error || error->ee_origin == SO_EE_ORIGIN_LOCAL)
        return false;
    known = offender(error, &from);
    about = payload_identify(&probe->payload, udp->in, len, probe_oldest_waiting(probe),
                             probe->counters.sent);
    probe_error(probe, about.seq, (int)error->ee_errno, known ? &from : NULL, probe_now());
    return true;
}

/* Returns whether there were errors of earlier datagrams; taking them clears the error that the
 * next call would fail with. */
static bool take_errors(struct udp_link *udp)
{
    bool taken = false;

    for (unsigned i = 0; i < BATCH; i++) {
        struct net_addr to;
        char control[512] __attribute__((aligned(8)));
        struct iovec iov = {udp->in, sizeof udp->in};
        struct msghdr msg = {.msg_name = &to.sa,
                             .msg_namelen = sizeof to.in6,
                             .msg_iov = &iov,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = sizeof control};
        ssize_t len = recvmsg(udp->link.fd, &msg, MSG_ERRQUEUE);

        if (len < 0)
            break;
        taken |= take_error(udp, &msg, (size_t)len);
    }
    return taken;
}

static void udp_send(struct probe_link *link, uint64_t seq)
{
    struct udp_link *udp = (struct udp_link *)link;
    struct probe *probe = link->probe;
    ssize_t rc = -1;
    int failure = 0;

    payload_fill(&probe->payload, seq, 0, udp->out, probe->payload.size);
    /* A call may fail with the error of an earlier datagram; then this one has not been sent. */
    for (unsigned tries = 0; rc < 0 && tries < TRIES; tries++) {
        rc = sendto(link->fd, udp->out, probe->payload.size, 0, &link->peer.sa, link->peer.len);
        failure = errno;
        if (rc < 0 && !take_errors(udp))
            break;
    }
    if (rc < 0)
        probe_error(probe, seq, failure, NULL, probe_now());
}

static void udp_ready(struct probe_link *link, short revents)
{
    struct udp_link *udp = (struct udp_link *)link;
    struct probe *probe = link->probe;

    if (revents & POLLERR)
        take_errors(udp);
    for (unsigned i = 0; i < BATCH && !probe->stopped; i++) {
        struct net_addr from;
        struct iovec iov = {udp->in, sizeof udp->in};
        struct msghdr msg = {
            .msg_name = &from.sa, .msg_namelen = sizeof from.in6, .msg_iov = &iov, .msg_iovlen = 1};
        ssize_t len = recvmsg(link->fd, &msg, 0);
        struct payload_identity identity;
        uint64_t now = probe_now();

        if (len < 0) {
            if (errno == EAGAIN || !take_errors(udp))
                return;
            continue;
        }
        from.len = msg.msg_namelen;
        identity = payload_identify(&probe->payload, udp->in, (size_t)len,
                                    probe_oldest_waiting(probe), probe->counters.sent);
        probe_reply(probe, &identity, (size_t)len, &from, now);
    }
}

const struct probe_ops probe_udp_ops = {
    .name = "udp",
    .type = SOCK_DGRAM,
    .open = udp_open,
    .send = udp_send,
    .ready = udp_ready,
    .close = udp_close,
};
