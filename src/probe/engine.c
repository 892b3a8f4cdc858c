/* SPDX-License-Identifier: ISC */
#include "probe/engine.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/socket.h"

const struct probe_settings probe_defaults = {
    .interval = SECOND,
    .size = 56,
    .preload = 1,
    .links = 1,
    .kernel_stamps = true,
    .socket = {.tos = -1, .ttl = -1, .pmtu = -1},
};

void probe_emit(struct probe *probe, const struct probe_event *event)
{
    if (!probe->listener(probe->context, event)) {
        probe->stopped = true;
        probe->status = 2;
    }
}

void probe_failed(struct probe *probe, const struct addr *peer, int error, int status)
{
    probe->status = status;
    probe_emit(probe, &(struct probe_event){.kind = PROBE_FAILURE, .error = error, .from = peer});
}

uint64_t probe_elapsed(const struct probe *probe, uint64_t now)
{
    return probe->started != 0 && now > probe->started ? now - probe->started : 0;
}

size_t probe_max_size(const struct probe_ops *ops, int family)
{
    return family == AF_INET ? ops->max_size_v4 : ops->max_size_v6;
}

size_t probe_min_size(const struct probe_ops *ops)
{
    return ops->min_size;
}

/* ---- links and what wakes them ---- */

void probe_link_init(struct probe_link *link, const struct probe_ops *ops, struct probe *probe,
                     unsigned index)
{
    *link = (struct probe_link){.ops = ops, .probe = probe, .index = index};
    probe_watch_init(&link->watch, link, -1);
    link->peer.len = sizeof link->peer.in6;
    /* A single link has nothing to tell that the whole run does not. */
    if (probe->settings.links > 1)
        rtt_init(&link->rtt);
}

void probe_link_fini(struct probe_link *link)
{
    rtt_fini(&link->rtt);
}

void probe_link_close(struct probe_link *link, int error)
{
    probe_watch(&link->watch, 0);
    if (!link->closed)
        link->probe->closed_links++;
    link->closed = true;
    link->error = error;
}

void probe_watch_init(struct probe_watch *watch, struct probe_link *link, int fd)
{
    *watch = (struct probe_watch){.io.fd = -1, .link = link, .fd = fd};
}

int probe_watch(struct probe_watch *watch, short events)
{
    const struct probe *probe = watch->link->probe;

    if (events == 0)
        loop_del(probe->loop, &watch->io);
    else if (loop_is_watched(&watch->io))
        return loop_set(probe->loop, &watch->io, events);
    else
        return loop_add(probe->loop, &watch->io, watch->fd, events, probe->watch_ready);
    return 0;
}

/* ---- sockets ---- */

/* The options have one name for each family, but the same meaning. */
static int set_path(int fd, int family, int type, const struct probe_socket *how)
{
    bool v4 = family == AF_INET;
    int level = v4 ? SOL_IP : SOL_IPV6;
    int pmtu = how->pmtu < 0 && type == SOCK_DGRAM ? IP_PMTUDISC_DONT : how->pmtu;

    if (how->mark != 0 && socket_set_option(fd, SOL_SOCKET, SO_MARK, (int)how->mark) < 0)
        return -1;
    if (how->tos >= 0 && socket_set_option(fd, level, v4 ? IP_TOS : IPV6_TCLASS, how->tos) < 0)
        return -1;
    if (how->ttl >= 0 &&
        socket_set_option(fd, level, v4 ? IP_TTL : IPV6_UNICAST_HOPS, how->ttl) < 0)
        return -1;
    /* The user asked for how->pmtu; our own choice only lets a large probe pass in fragments. */
    if (pmtu >= 0 &&
        socket_set_option(fd, level, v4 ? IP_MTU_DISCOVER : IPV6_MTU_DISCOVER, pmtu) < 0 &&
        how->pmtu >= 0)
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
        (void)socket_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (how->port == 0)
            (void)socket_set_option(fd, SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
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
