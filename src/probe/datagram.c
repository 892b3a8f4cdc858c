/* SPDX-License-Identifier: ISC */
#include "probe/datagram.h"

#include <errno.h>
#include <linux/errqueue.h>
#include <string.h>
#include <unistd.h>

#include "common/util.h"
#include "net/socket.h"

size_t datagram_max(const struct addr *peer)
{
    return peer->sa.sa_family == AF_INET ? DATAGRAM_MAX_V4 : DATAGRAM_MAX_V6;
}

size_t datagram_headers(const struct addr *peer)
{
    return peer->sa.sa_family == AF_INET ? 20 + 8 : 40 + 8;
}

static void close_keeping_errno(int fd)
{
    int saved = errno;

    close(fd);
    errno = saved;
}

int datagram_route(const struct probe *probe, struct addr *peer, unsigned index)
{
    int fd = probe_socket(probe, peer->sa.sa_family, SOCK_DGRAM, index);
    int rc = -1;

    if (fd < 0)
        return -1;
    if (connect(fd, &peer->sa, peer->len) == 0) {
        peer->len = sizeof peer->in6;
        rc = getpeername(fd, &peer->sa, &peer->len);
    }
    close_keeping_errno(fd);
    return rc;
}

/* An address of this host can be bound. */
static bool is_own_address(const struct addr *peer)
{
    struct addr any_port = *peer;
    int fd = socket(peer->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool own;

    if (fd < 0)
        return false;
    addr_set_port(&any_port, 0);
    own = bind(fd, &any_port.sa, any_port.len) == 0;
    close(fd);
    return own;
}

/* A socket receives what it sends to its own address and port. */
static bool would_answer_itself(int fd, const struct addr *peer)
{
    struct addr own = {.len = sizeof own.in6};

    return getsockname(fd, &own.sa, &own.len) == 0 && addr_overlap(&own, peer) &&
           is_own_address(peer);
}

/* If the kernel chooses the port that is probed, the next socket gets another one while the first
 * is open. */
static int open_socket(const struct probe *probe, const struct addr *peer, unsigned index)
{
    int family = peer->sa.sa_family;
    int fd = probe_socket(probe, family, SOCK_DGRAM, index);
    int other = -1;

    if (fd < 0 || !would_answer_itself(fd, peer))
        return fd;
    if (probe->settings.socket.port == 0)
        other = probe_socket(probe, family, SOCK_DGRAM, index);
    else
        errno = EADDRINUSE;
    close_keeping_errno(fd);
    return other;
}

int datagram_open(const struct probe *probe, const struct addr *peer, unsigned index)
{
    bool v4 = peer->sa.sa_family == AF_INET;
    int fd = open_socket(probe, peer, index);

    if (fd < 0)
        return -1;
    /* Without it, refusals by ICMP are not seen, and only silence tells of them. */
    (void)socket_set_option(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
    return fd;
}

bool datagram_answers_itself(const struct probe *probe, const struct addr *peer)
{
    const struct probe_settings *settings = &probe->settings;
    unsigned port = addr_port(peer);
    const struct addr *source = &settings->socket.source;
    struct addr own = *source;

    addr_set_port(&own, (uint16_t)port);
    return settings->socket.port != 0 && port >= settings->socket.port &&
           port - settings->socket.port < settings->links &&
           (source->len == 0 || addr_overlap(&own, peer)) && is_own_address(peer);
}

uint64_t datagram_stamp(struct msghdr *msg)
{
    const struct cmsghdr *cmsg = NULL;

    while ((cmsg = next_control_message(msg, cmsg)) != NULL)
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SO_TIMESTAMPING) {
            struct scm_timestamping stamps;

            memcpy(&stamps, CMSG_DATA(cmsg), sizeof stamps);
            return (uint64_t)stamps.ts[0].tv_sec * UINT64_C(1000000000) +
                   (uint64_t)stamps.ts[0].tv_nsec;
        }
    return 0;
}

static const void *find_control(struct msghdr *msg, int type_v4, int type_v6)
{
    const struct cmsghdr *cmsg = NULL;

    while ((cmsg = next_control_message(msg, cmsg)) != NULL)
        if ((cmsg->cmsg_level == SOL_IP && cmsg->cmsg_type == type_v4) ||
            (cmsg->cmsg_level == SOL_IPV6 && cmsg->cmsg_type == type_v6))
            return CMSG_DATA(cmsg);
    return NULL;
}

/* The address that reported an error follows the error; len is 0 if this host did. */
static void get_offender(const struct sock_extended_err *error, struct addr *from)
{
    const struct sockaddr *sa = SO_EE_OFFENDER(error);

    from->len = 0;
    if (sa->sa_family != AF_INET && sa->sa_family != AF_INET6)
        return;
    from->len = sa->sa_family == AF_INET ? sizeof from->in : sizeof from->in6;
    memcpy(&from->sa, sa, from->len);
}

bool datagram_take_error(int fd, struct datagram_error *error, uint8_t *octets, size_t room)
{
    char control[512] __attribute__((aligned(8)));
    struct iovec iov = {octets, room};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t len = recvmsg(fd, &msg, MSG_ERRQUEUE);
    const struct sock_extended_err *found;

    if (len < 0)
        return false;
    memset(error, 0, sizeof *error);
    error->len = (size_t)len;
    found = find_control(&msg, IP_RECVERR, IPV6_RECVERR);
    error->local = true;
    if (!found)
        return true;
    error->error = (int)found->ee_errno;
    if (found->ee_origin == SO_EE_ORIGIN_TIMESTAMPING) {
        error->stamp = datagram_stamp(&msg);
        error->number = found->ee_data;
    }
    error->local = found->ee_origin != SO_EE_ORIGIN_ICMP && found->ee_origin != SO_EE_ORIGIN_ICMP6;
    if (error->error == EMSGSIZE)
        error->mtu = found->ee_info;
    get_offender(found, &error->from);
    error->icmp = (struct probe_icmp){.v6 = found->ee_origin == SO_EE_ORIGIN_ICMP6,
                                      .type = found->ee_type,
                                      .code = found->ee_code,
                                      .from = error->from};
    return true;
}

ssize_t datagram_receive(int fd, uint8_t octets[static DATAGRAM_ROOM], struct addr *from,
                         size_t *fragment)
{
    char control[128] __attribute__((aligned(8)));
    struct iovec iov = {octets, DATAGRAM_ROOM};
    struct msghdr msg = {.msg_name = &from->sa,
                         .msg_namelen = sizeof from->in6,
                         .msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof control};
    ssize_t len = recvmsg(fd, &msg, MSG_DONTWAIT);
    const void *size;
    int value = 0;

    if (len < 0)
        return -1;
    from->len = msg.msg_namelen;
    size = find_control(&msg, IP_RECVFRAGSIZE, IPV6_RECVFRAGSIZE);
    if (size)
        memcpy(&value, size, sizeof value);
    *fragment = value > 0 ? (size_t)value : 0;
    return len;
}
