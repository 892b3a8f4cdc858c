/* SPDX-License-Identifier: ISC */
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/reply_ttl.h"
#include "common/util.h"

/* Octets of kernel memory for one connection; the kernel doubles them for its overhead (socket(7)).
 * Without a limit, a client that stops reading ties up many megabytes: tcp_rmem[2] + tcp_wmem[2],
 * see tcp(7). A bulk stream costs 17 % more CPU time with half the send buffer, and 8 % less
 * without a limit. */
#define TCP_RECEIVE_BUFFER (512 * 1024)
#define TCP_SEND_BUFFER    (1024 * 1024)

/* Octets of kernel memory for the queue of a UDP socket. A burst of the largest datagrams must fit,
 * and each of them occupies far more kernel memory than its octets. */
#define UDP_BUFFER (4 * 1024 * 1024)

/* After KEEPALIVE_IDLE seconds of silence the kernel sends a probe every KEEPALIVE_INTERVAL
 * seconds. It closes the connection if the peer acknowledges nothing for DEAD_MS milliseconds, or
 * does not open its window for so long (tcp(7), TCP_USER_TIMEOUT). */
#define KEEPALIVE_IDLE     60
#define KEEPALIVE_INTERVAL 20
#define DEAD_MS            (300 * 1000)

int socket_set_option(int fd, int level, int option, int value)
{
    return setsockopt(fd, level, option, &value, sizeof value);
}

/* ---- options ---- */

/* An option that is set on a socket. Without an essential option a promise would be broken, so the
 * socket is not served. All other options only improve something. */
struct setting {
    int level;
    int option;
    int value;
    bool is_essential;
    const char *name;
};

#define SETTING(level, option, value)                                                              \
    {                                                                                              \
        level, option, value, false, #option                                                       \
    }
#define ESSENTIAL(level, option, value)                                                            \
    {                                                                                              \
        level, option, value, true, #option                                                        \
    }

/* The options of one socket that the kernel refused. */
struct refused_options {
    char names[256]; /* "A, B"; cut short if they do not fit */
    int error;       /* errno of the last */
};

static void note_refused(struct refused_options *refused, const char *name)
{
    size_t used = strlen(refused->names);

    refused->error = errno;
    snprintf(refused->names + used, sizeof refused->names - used, "%s%s", used ? ", " : "", name);
}

/* Returns -1 with errno if an essential option is refused. */
static int set_options(int fd, const struct setting *settings, size_t count,
                       struct refused_options *refused)
{
    for (const struct setting *s = settings; s < settings + count; s++) {
        if (socket_set_option(fd, s->level, s->option, s->value) == 0)
            continue;
        if (s->is_essential) {
            int saved = errno;

            log_error("a socket is not served without %s: %s", s->name, strerror(saved));
            errno = saved;
            return -1;
        }
        note_refused(refused, s->name);
    }
    return 0;
}

/* One line for a socket, whatever number of options it goes without. */
static void tell_refused(int type, const struct addr *addr, const struct refused_options *refused)
{
    char text[ADDR_STRLEN];

    if (refused->names[0] != '\0')
        log_info("%s %s is served without %s: %s", type == SOCK_STREAM ? "tcp" : "udp",
                 addr_print(addr, text), refused->names, strerror(refused->error));
}

/* Only with CAP_NET_ADMIN can the sizes exceed net.core.rmem_max and wmem_max (SO_RCVBUFFORCE). */
static void set_buffers(int fd, int receive, int transmit, struct refused_options *refused)
{
    if (socket_set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, receive) < 0 &&
        socket_set_option(fd, SOL_SOCKET, SO_RCVBUF, receive) < 0)
        note_refused(refused, "SO_RCVBUF");
    if (socket_set_option(fd, SOL_SOCKET, SO_SNDBUFFORCE, transmit) < 0 &&
        socket_set_option(fd, SOL_SOCKET, SO_SNDBUF, transmit) < 0)
        note_refused(refused, "SO_SNDBUF");
}

/* Accepted sockets inherit these options from the listener, which saves system calls.
 * SO_OOBINLINE: the urgent octet is echoed at its place in the stream. TCP_NODELAY: an echo does
 * not wait for Nagle's algorithm. SO_KEEPALIVE: a dead peer is detected without an idle timeout. */
static void configure_stream(int fd, struct refused_options *refused)
{
    static const struct setting settings[] = {
        SETTING(SOL_SOCKET, SO_OOBINLINE, 1),
        SETTING(SOL_SOCKET, SO_KEEPALIVE, 1),
        SETTING(IPPROTO_TCP, TCP_NODELAY, 1),
        SETTING(IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE),
        SETTING(IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL),
        SETTING(IPPROTO_TCP, TCP_USER_TIMEOUT, DEAD_MS),
    };

    (void)set_options(fd, settings, COUNT(settings), refused);
    set_buffers(fd, TCP_RECEIVE_BUFFER, TCP_SEND_BUFFER, refused);
}

/* Without packet information a datagram is not answered: it tells where the datagram was sent to,
 * and so where the reply has to come from. UDP_GRO: the kernel may deliver several datagrams of one
 * client as one message (udp(7)). */
static int configure_datagram(int fd, int family, struct refused_options *refused)
{
    /* For IPv6 sockets too, because systemd may have opened a dual-stack socket. */
    static const struct setting v4[] = {
        SETTING(SOL_IP, IP_RECVTOS, 1),      SETTING(SOL_IP, IP_RECVTTL, 1),
        SETTING(SOL_IP, IP_TTL, REPLY_TTL),  SETTING(SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DONT),
        SETTING(SOL_SOCKET, SO_RXQ_OVFL, 1), SETTING(SOL_UDP, UDP_GRO, 1),
    };
    static const struct setting v4_packet_info[] = {ESSENTIAL(SOL_IP, IP_PKTINFO, 1)};
    static const struct setting v6[] = {
        ESSENTIAL(SOL_IPV6, IPV6_RECVPKTINFO, 1),
        SETTING(SOL_IPV6, IPV6_RECVTCLASS, 1),
        SETTING(SOL_IPV6, IPV6_RECVHOPLIMIT, 1),
        SETTING(SOL_IPV6, IPV6_UNICAST_HOPS, REPLY_TTL),
        SETTING(SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_DONT),
    };

    (void)set_options(fd, v4, COUNT(v4), refused);
    if (family == AF_INET)
        return set_options(fd, v4_packet_info, COUNT(v4_packet_info), refused);
    (void)socket_set_option(fd, SOL_IP, IP_PKTINFO, 1);
    return set_options(fd, v6, COUNT(v6), refused);
}

/* A reply may come from any address that is routed to this host, such as one of a whole prefix,
 * though no interface has it. After bind(2), which would otherwise take any address. */
static void free_reply_source(int fd, int family, struct refused_options *refused)
{
    static const struct setting v4[] = {SETTING(SOL_IP, IP_FREEBIND, 1)};
    static const struct setting v6[] = {SETTING(SOL_IPV6, IPV6_FREEBIND, 1)};

    (void)set_options(fd, family == AF_INET ? v4 : v6, 1, refused);
}

static void close_all(int fds[], size_t count)
{
    int saved = errno;

    while (count > 0)
        close(fds[--count]);
    errno = saved;
}

static int configure_socket(int fd, int type, int family, struct refused_options *refused)
{
    if (type == SOCK_DGRAM)
        return configure_datagram(fd, family, refused);
    configure_stream(fd, refused);
    return 0;
}

/* On a listener SO_REUSEADDR only means that a restart can bind while old connections are in
 * TIME_WAIT (RFC 9293 3.6.1). Replies to a neighbour that does not answer ARP or neighbour
 * discovery stay in the send buffer for seconds; a full buffer would stop the replies to all
 * clients. An adopted socket keeps the sizes that its unit has set. */
static int configure_new(int fd, const struct socket_wish *wish, int family, bool share,
                         struct refused_options *refused)
{
    static const struct setting restart[] = {SETTING(SOL_SOCKET, SO_REUSEADDR, 1)};
    static const struct setting sharing[] = {ESSENTIAL(SOL_SOCKET, SO_REUSEPORT, 1)};
    static const struct setting one_family[] = {ESSENTIAL(SOL_IPV6, IPV6_V6ONLY, 1)};
    static const struct setting freebind[] = {ESSENTIAL(SOL_IP, IP_FREEBIND, 1)};

    if (wish->type == SOCK_STREAM)
        (void)set_options(fd, restart, COUNT(restart), refused);
    else
        set_buffers(fd, UDP_BUFFER, UDP_BUFFER, refused);
    if ((family == AF_INET6 && set_options(fd, one_family, COUNT(one_family), refused) < 0) ||
        (share && set_options(fd, sharing, COUNT(sharing), refused) < 0) ||
        (wish->freebind && set_options(fd, freebind, COUNT(freebind), refused) < 0))
        return -1;
    return configure_socket(fd, wish->type, family, refused);
}

/* A kernel without MPTCP (EPROTONOSUPPORT, or ENOPROTOOPT while net.mptcp.enabled is 0) has TCP. */
static int new_socket(const struct socket_wish *wish, int family, struct refused_options *refused)
{
    int type = wish->type | SOCK_NONBLOCK | SOCK_CLOEXEC;

    if (wish->mptcp && wish->type == SOCK_STREAM) {
        int fd = socket(family, type, IPPROTO_MPTCP);

        if (fd >= 0)
            return fd;
        note_refused(refused, "MPTCP");
    }
    return socket(family, type, 0);
}

/* bind(2) takes the zone of a link-local address itself. Needs no privilege since Linux 5.7. */
static int bind_to_zone(int fd, const struct addr *addr)
{
    const struct setting zone[] = {ESSENTIAL(SOL_SOCKET, SO_BINDTOIFINDEX, (int)addr_zone(addr))};

    if (zone[0].value == 0 ||
        (addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr)))
        return 0;
    return set_options(fd, zone, COUNT(zone), NULL);
}

static int open_one(const struct socket_wish *wish, const struct addr *addr, bool share,
                    struct refused_options *refused)
{
    int family = addr->sa.sa_family;
    int fd = new_socket(wish, family, refused);

    if (fd < 0)
        return -1;
    if (configure_new(fd, wish, family, share, refused) < 0 || bind_to_zone(fd, addr) < 0 ||
        bind(fd, &addr->sa, addr->len) < 0) {
        close_all(&fd, 1);
        return -1;
    }
    if (wish->type == SOCK_DGRAM)
        free_reply_source(fd, family, refused);
    return fd;
}

int socket_open(const struct socket_wish *wish, const struct addr *addr, size_t count, int fds[])
{
    size_t done = 0;

    while (done < count) {
        struct refused_options refused = {0};

        /* The first socket binds without SO_REUSEPORT. Otherwise a second echod of the same user
         * could bind too, and would share our clients unnoticed. */
        fds[done] = open_one(wish, addr, wish->share || done > 0, &refused);
        if (fds[done] < 0)
            break;
        done++;
        /* The other sockets are refused the same options. */
        if (done == 1)
            tell_refused(wish->type, addr, &refused);
        if (done == 1 && count > 1 && socket_share(fds[0], true) < 0)
            break;
    }
    if (done == count && wish->type == SOCK_STREAM)
        for (size_t i = 0; i < count; i++)
            if (listen(fds[i], wish->backlog) < 0) {
                close_all(fds, count);
                return -1;
            }
    if (done < count) {
        close_all(fds, done);
        return -1;
    }
    return 0;
}

int socket_share(int fd, bool on)
{
    return socket_set_option(fd, SOL_SOCKET, SO_REUSEPORT, on);
}

/* With 255 the listener drops SYNs, because nearly all senders start with a TTL of 64 or 128. The
 * client sends its SYN again after a second (RFC 6298 2.1), when another listener, or none, has the
 * address. Handshakes that have begun are not checked (ip(7), IP_MINTTL). */
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

/* A connected UDP socket receives from its peer only (udp(7)), and this socket becomes its own
 * peer. Datagrams that were queued before stay. */
static void connect_to_itself(int fd)
{
    struct addr addr = {.len = sizeof addr.in6};

    if (getsockname(fd, &addr.sa, &addr.len) < 0)
        return;
    if (addr_is_wildcard(&addr) && addr.sa.sa_family == AF_INET)
        addr.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else if (addr_is_wildcard(&addr))
        addr.in6.sin6_addr = in6addr_loopback;
    (void)connect(fd, &addr.sa, addr.len);
}

/* If a call here fails, clients that come before the socket is closed may be lost, as they would be
 * without retiring. */
void socket_retire(int type, int fd)
{
    if (type == SOCK_STREAM)
        set_min_ttl(fd, 255);
    else
        connect_to_itself(fd);
}

void socket_set_accepted_options(int fd)
{
    struct refused_options refused = {0};

    configure_stream(fd, &refused);
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

/* systemd sets SO_REUSEADDR on every socket; with it another process could take over the address of
 * a UDP socket. We do not read the error queue, and an error in it would keep poll(2) returning
 * (ip(7), IP_RECVERR). */
static int configure_adopted(int fd, int type, const struct addr *addr)
{
    static const struct setting alone[] = {ESSENTIAL(SOL_SOCKET, SO_REUSEADDR, 0)};
    struct refused_options refused = {0};

    if (type == SOCK_DGRAM) {
        if (set_options(fd, alone, COUNT(alone), &refused) < 0)
            return -1;
        (void)socket_set_option(fd, SOL_IP, IP_RECVERR, 0);
        (void)socket_set_option(fd, SOL_IPV6, IPV6_RECVERR, 0);
        free_reply_source(fd, addr->sa.sa_family, &refused);
    }
    if (configure_socket(fd, type, addr->sa.sa_family, &refused) < 0)
        return -1;
    tell_refused(type, addr, &refused);
    return 0;
}

int socket_adopt(int fd, int *type, struct addr *addr)
{
    int listening = 0, zone = 0;
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
    /* getsockname(2) does not tell the interface that the socket is bound to. */
    len = sizeof zone;
    if (getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &zone, &len) == 0 && zone > 0)
        addr_set_zone(addr, (unsigned)zone);
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return -1;
    return configure_adopted(fd, *type, addr);
}

bool socket_is_mptcp(int fd)
{
    int protocol = 0;
    socklen_t len = sizeof protocol;

    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 &&
           protocol == IPPROTO_MPTCP;
}
