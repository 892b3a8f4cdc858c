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

/* connect(2) finds the address, and sends nothing. It is called on another socket, bound to the
 * same device: a socket forgets its device when it is disconnected. */
static int find_route(int fd, struct addr *peer)
{
    int probe = socket(peer->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int device = 0;
    socklen_t len = sizeof device;
    int rc = -1;
    int saved;

    if (probe < 0)
        return -1;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &device, &len) == 0 && device != 0)
        socket_set_option(probe, SOL_SOCKET, SO_BINDTOIFINDEX, device);
    if (connect(probe, &peer->sa, peer->len) == 0) {
        peer->len = sizeof peer->in6;
        rc = getpeername(probe, &peer->sa, &peer->len);
    }
    saved = errno;
    close(probe);
    errno = saved;
    return rc;
}

int datagram_prepare(int fd, struct addr *peer)
{
    bool v4 = peer->sa.sa_family == AF_INET;

    /* Without it, refusals by ICMP are not seen, and only silence tells of them. */
    (void)socket_set_option(fd, v4 ? SOL_IP : SOL_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, 1);
    return find_route(fd, peer);
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
