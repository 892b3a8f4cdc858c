/* SPDX-License-Identifier: ISC */
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What one connection may tie up in the kernel (socket(7): the kernel doubles it to make room for
 * its own overhead). Left alone the kernel lets a client that stops reading hold many megabytes:
 * tcp_rmem[2] + tcp_wmem[2], see tcp(7). Half the send buffer makes a
 * bulk stream a sixth dearer; no limit at all, a twelfth cheaper. */
#define TCP_RECEIVE_BUFFER (512 * 1024)
#define TCP_SEND_BUFFER    (1024 * 1024)

/* A burst of the largest datagrams must fit, and one such occupies far more kernel memory than its
 * octets. */
#define UDP_BUFFER (4 * 1024 * 1024)

/* A peer that says nothing is asked whether it is there after KEEPALIVE_IDLE seconds, and then
 * every KEEPALIVE_INTERVAL; one that acknowledges nothing for DEAD_MS, or takes none of what waits
 * for it, is given up (tcp(7), TCP_USER_TIMEOUT). */
#define KEEPALIVE_IDLE     60
#define KEEPALIVE_INTERVAL 20
#define DEAD_MS            (300 * 1000)

int socket_set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

/* Beyond net.core.rmem_max and wmem_max only with CAP_NET_ADMIN. */
static int set_buffers(int fd, int receive, int transmit)
{
    if (socket_set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, receive) < 0 &&
        socket_set_option(fd, SOL_SOCKET, SO_RCVBUF, receive) < 0)
        return -1;
    if (socket_set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, transmit) < 0 &&
        socket_set_option(fd, SOL_SOCKET, SO_SNDBUF, transmit) < 0)
        return -1;
    return 0;
}

/* Accepted sockets inherit all of these from the listener, so a connection costs no further system
 * call. */
static int configure_stream(int fd)
{
    /* The urgent octet stays where it was sent (tcp(7), SO_OOBINLINE); an echo must not wait for
     * Nagle's algorithm; a peer that died without a word is found out even where there is no idle
     * timeout. */
    if (socket_set_option(fd, SOL_SOCKET, SO_OOBINLINE, 1) < 0 ||
        socket_set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
        socket_set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1) < 0 ||
        socket_set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE) < 0 ||
        socket_set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL) < 0 ||
        socket_set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_MS) < 0)
        return -1;
    return set_buffers(fd, TCP_RECEIVE_BUFFER, TCP_SEND_BUFFER);
}

/* With SO_REUSEADDR, which systemd sets on every socket, a second process could take the address
 * over. The IPv4 options serve an IPv6 socket too: it may be a dual-stack one that systemd opened.
 * Replies set out with as many hops to go as there can be; guard.h says why. Datagrams that came in
 * segments of one packet are received as one message, where the kernel can (udp(7), UDP_GRO). */
static int configure_datagram(int fd, int family)
{
    if (socket_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 0) < 0 ||
        socket_set_option(fd, SOL_IP, IP_PKTINFO, 1) < 0 ||
        socket_set_option(fd, SOL_IP, IP_RECVTOS, 1) < 0 ||
        socket_set_option(fd, SOL_IP, IP_TTL, SOCKET_REPLY_TTL) < 0 ||
        socket_set_option(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT) < 0)
        return -1;
    (void)socket_set_option(fd, SOL_UDP, UDP_GRO, 1);
    if (family == AF_INET6 &&
        (socket_set_option(fd, SOL_IPV6, IPV6_RECVPKTINFO, 1) < 0 ||
         socket_set_option(fd, SOL_IPV6, IPV6_RECVTCLASS, 1) < 0 ||
         socket_set_option(fd, SOL_IPV6, IPV6_UNICAST_HOPS, SOCKET_REPLY_TTL) < 0 ||
         socket_set_option(fd, SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT) < 0))
        return -1;
    return 0;
}

/* Replies to a neighbour that does not answer ARP or neighbour discovery stay in the send buffer
 * for seconds, and a full one would stop the replies to everybody. A socket that was handed over
 * keeps what its unit has set. */
static int enlarge_datagram_buffers(int fd)
{
    return set_buffers(fd, UDP_BUFFER, UDP_BUFFER);
}

static void close_all(int fds[], size_t count)
{
    int saved = errno;

    while (count > 0)
        close(fds[--count]);
    errno = saved;
}

static int configure(int fd, int type, int family)
{
    return type == SOCK_STREAM ? configure_stream(fd) : configure_datagram(fd, family);
}

static int open_one(int type, const struct addr *addr, bool share)
{
    int family = addr->sa.sa_family;
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    /* On a listener SO_REUSEADDR lets a restart bind while old connections are in TIME_WAIT (RFC
     * 9293 3.6.1), and no more. */
    if ((type == SOCK_STREAM && socket_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0) ||
        (type == SOCK_DGRAM && enlarge_datagram_buffers(fd) < 0) ||
        (family == AF_INET6 && socket_set_option(fd, SOL_IPV6, IPV6_V6ONLY, 1) < 0) ||
        (share && socket_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1) < 0) ||
        configure(fd, type, family) < 0 || bind(fd, &addr->sa, addr->len) < 0) {
        close_all(&fd, 1);
        return -1;
    }
    return fd;
}

int socket_open(int type, const struct addr *addr, int backlog, bool share, size_t count, int fds[])
{
    size_t done = 0;

    while (done < count) {
        /* The first one binds alone, or a second echod of the same user would join us unnoticed and
         * share our clients; only then may its siblings join. */
        fds[done] = open_one(type, addr, share || done > 0);
        if (fds[done] < 0)
            break;
        done++;
        if (done == 1 && count > 1 && socket_share(fds[0], true) < 0)
            break;
    }
    if (done == count && type == SOCK_STREAM)
        for (size_t i = 0; i < count; i++)
            if (listen(fds[i], backlog) < 0) {
                close_all(fds, count);
                return -1;
            }
    if (done < count) {
        close_all(fds, done);
        return -1;
    }
    return 0;
}

void socket_enable_ttl_and_drops(int fd, bool on)
{
    socket_set_option(fd, SOL_SOCKET, SO_RXQ_OVFL, on);
    /* One of them fails on a socket of the other family. */
    socket_set_option(fd, SOL_IP, IP_RECVTTL, on);
    socket_set_option(fd, SOL_IPV6, IPV6_RECVHOPLIMIT, on);
}

int socket_share(int fd, bool on)
{
    return socket_set_option(fd, SOL_SOCKET, SO_REUSEPORT, on);
}

/* Segments that crossed a router, or came from anyone who follows RFC 1700's 64, are below 255: the
 * listener drops their SYNs, which the client sends again a second later (RFC 6298 2.1), by when
 * there is another listener or none. Handshakes that have begun do not pass this check (ip(7),
 * IP_MINTTL). */
static void set_min_ttl(int fd, int ttl)
{
    struct addr addr = {.len = sizeof addr.in6};

    if (getsockname(fd, &addr.sa, &addr.len) < 0)
        return;
    if (addr.sa.sa_family == AF_INET)
        socket_set_option(fd, SOL_IP, IP_MINTTL, ttl);
    else
        socket_set_option(fd, SOL_IPV6, IPV6_MINHOPCOUNT, ttl);
}

/* A connected datagram socket receives from its peer only (udp(7)); ours becomes its own peer. What
 * was queued before stays. */
static void connect_to_itself(int fd)
{
    struct addr addr = {.len = sizeof addr.in6};

    if (getsockname(fd, &addr.sa, &addr.len) < 0)
        return;
    if (addr_is_wildcard(&addr) && addr.sa.sa_family == AF_INET)
        addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (addr_is_wildcard(&addr))
        addr.in6.sin6_addr = in6addr_loopback;
    /* See socket_retire() for what follows if it fails. */
    (void)connect(fd, &addr.sa, addr.len);
}

/* Where either fails, a client that comes at the wrong moment is turned away: what would happen
 * without it. */
void socket_retire(int type, int fd)
{
    if (type == SOCK_STREAM)
        set_min_ttl(fd, 255);
    else
        connect_to_itself(fd);
}

void socket_set_accepted_options(int fd)
{
    configure_stream(fd);
    set_min_ttl(fd, 0);
}

const char *socket_print_own(int fd, char buf[static ADDR_STRLEN])
{
    struct addr addr = {.len = sizeof addr.in6};

    if (getsockname(fd, &addr.sa, &addr.len) < 0)
        return strcpy(buf, "?");
    return addr_print(&addr, buf);
}

int socket_chown(int fd, uid_t uid, gid_t gid)
{
    return fchown(fd, uid, gid);
}

int socket_adopt(int fd, int *type, struct addr *addr)
{
    int listening = 0;
    socklen_t len = sizeof *type;
    int flags;

    addr->len = sizeof addr->in6;
    if (getsockname(fd, &addr->sa, &addr->len) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, type, &len) < 0)
        return -1;
    len = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
        return -1;
    if ((addr->sa.sa_family != AF_INET && addr->sa.sa_family != AF_INET6) || addr_port(addr) == 0 ||
        !(*type == SOCK_STREAM ? listening : *type == SOCK_DGRAM)) {
        errno = EPROTOTYPE;
        return -1;
    }
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    /* Errors that nobody reads would keep a socket ready for ever (ip(7), IP_RECVERR). */
    if (*type == SOCK_DGRAM) {
        (void)socket_set_option(fd, SOL_IP, IP_RECVERR, 0);
        (void)socket_set_option(fd, SOL_IPV6, IPV6_RECVERR, 0);
    }
    return configure(fd, *type, addr->sa.sa_family);
}
