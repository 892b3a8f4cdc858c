/* SPDX-License-Identifier: ISC */
#include "net/socket.h"
#include "probe/probe.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void probe_link_init(struct probe_link *link, const struct probe_ops *ops, struct probe *probe,
                     unsigned index)
{
    *link = (struct probe_link){.ops = ops, .probe = probe, .index = index};
    link->watch = (struct probe_watch){.link = link, .fd = -1};
    link->peer.len = sizeof link->peer.in6;
    /* A single link has nothing to tell that the whole run does not. */
    if (probe->settings.links > 1)
        rtt_init(&link->rtt);
}

/* The options have one name for each family, but the same meaning. */
static int set_path(int fd, int family, int type, const struct probe_socket *how)
{
    bool v4 = family == AF_INET;
    int level = v4 ? SOL_IP : SOL_IPV6;
    int pmtu = how->pmtu < 0 && type == SOCK_DGRAM ? IP_PMTUDISC_DONT : how->pmtu;

    if (how->tos >= 0 && socket_set_option(fd, level, v4 ? IP_TOS : IPV6_TCLASS, how->tos) < 0)
        return -1;
    if (how->ttl >= 0 &&
        socket_set_option(fd, level, v4 ? IP_TTL : IPV6_UNICAST_HOPS, how->ttl) < 0)
        return -1;
    if (pmtu >= 0 &&
        socket_set_option(fd, level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, pmtu) < 0)
        return -1;
    if (how->device[0] == '\0')
        return 0;
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, how->device, (socklen_t)strlen(how->device));
}

static int bind_source(int fd, int family, int type, const struct probe_socket *how, unsigned index)
{
    struct addr source = how->source;

    /* A datagram socket is bound in any case, so that its port is known from the beginning. */
    if (source.len == 0 && how->port == 0 && type == SOCK_STREAM)
        return 0;
    if (source.len == 0) {
        memset(&source, 0, sizeof source);
        source.sa.sa_family = (sa_family_t)family;
        source.len = family == AF_INET ? sizeof source.in : sizeof source.in6;
    }
    if (source.sa.sa_family != family) {
        errno = EAFNOSUPPORT;
        return -1;
    }
    addr_set_port(&source, how->port != 0 ? (uint16_t)(how->port + index) : 0);
    if (type == SOCK_STREAM) {
        /* One of our own earlier connections may still be in TIME-WAIT; and without a port, the
         * kernel need not pick one before it knows the peer. */
        if (socket_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 ||
            (how->port == 0 && socket_set_option(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1) < 0))
            return -1;
    }
    return bind(fd, &source.sa, source.len);
}

int probe_socket(const struct probe *probe, int family, int type, unsigned index)
{
    const struct probe_socket *how = &probe->settings.socket;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int saved;

    if (fd < 0)
        return -1;
    if (set_path(fd, family, type, how) == 0 && bind_source(fd, family, type, how, index) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}
