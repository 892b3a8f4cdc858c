/* SPDX-License-Identifier: ISC */
#include "udp.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "net.h"

/* Datagrams a turn: enough to spread the cost of a wake-up, few enough that TCP gets its share. */
#define BATCH 32

/* No datagram is larger (RFC 768 Length, which includes the header). */
#define DATAGRAM_MAX 65535

/* Buffers a power of two apart would all compete for the same few cache lines. */
#define BUFFER_STRIDE (DATAGRAM_MAX + 1 + 192)

/* How long a socket rests whose receiving fails. */
#define REST_NS (50 * UINT64_C(1000000))

/* How long replies wait for room in a socket: those to a neighbour that does not answer may fill it
 * for seconds, and meanwhile nobody would be read from. */
#define PATIENCE_NS (100 * UINT64_C(1000000))

/* Being told how many hops a datagram has left costs some percent of an echo, so one looks only for
 * a while now and then, and at every datagram that comes after a while of silence. A loop ends when
 * it is looked at once. */
#define LOOK_NS      (10 * UINT64_C(1000000))
#define LOOK_AWAY_NS (200 * UINT64_C(1000000))

#define UDP_OF(pointer, field)                                                                     \
    ((struct udp *)(void *)((char *)(pointer)-offsetof(struct udp, field)))

union control {
    struct cmsghdr align;
    unsigned char octets[UDP_CONTROL_SIZE];
};

struct udp {
    struct loop_io io;
    struct loop *loop;
    struct stats *stats;
    const struct udp_params *params;
    struct loop_timer rest_timer;
    struct log_limit receive_limit;
    bool looking;          /* at hops, */
    uint64_t look_changes; /* until then, or not before */
    bool first;            /* of those that share the address */
    unsigned waiting;      /* replies of the batch that wait for room in the socket... */
    unsigned sent;         /* ...the first of which is out[sent] */
    unsigned char *buffers;
    struct mmsghdr in[BATCH];
    struct mmsghdr out[BATCH];
    struct iovec in_data[BATCH];
    struct iovec out_data[BATCH];
    struct net_addr source[BATCH];
    union control in_control[BATCH];
    union control out_control[BATCH];
};

/* ---- one reply ---- */

struct request_info {
    const struct in_pktinfo *v4;
    const struct in6_pktinfo *v6;
    int tos;
    int hops; /* that it has left; 0: not told */
};

/* True if it is of that kind, and whole. */
static bool carries(const struct msghdr *request, const struct cmsghdr *c, int level, int type,
                    size_t length)
{
    const char *end = (const char *)request->msg_control + request->msg_controllen;

    return c->cmsg_level == level && c->cmsg_type == type && c->cmsg_len >= CMSG_LEN(length) &&
           (size_t)(end - (const char *)c) >= CMSG_LEN(length);
}

static struct request_info read_control(const struct msghdr *request)
{
    struct request_info info = {0};
    /* CMSG_NXTHDR takes a pointer to non-const and changes nothing. */
    struct msghdr *message = (struct msghdr *)(uintptr_t)request;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        const void *data = CMSG_DATA(c);

        if (carries(request, c, SOL_IP, IP_PKTINFO, sizeof *info.v4))
            info.v4 = data;
        else if (carries(request, c, SOL_IPV6, IPV6_PKTINFO, sizeof *info.v6))
            info.v6 = data;
        else if (carries(request, c, SOL_IP, IP_TOS, sizeof(uint8_t)))
            info.tos = *(const uint8_t *)data;
        else if (carries(request, c, SOL_IPV6, IPV6_TCLASS, sizeof info.tos))
            memcpy(&info.tos, data, sizeof info.tos);
        else if (carries(request, c, SOL_IP, IP_TTL, sizeof info.hops) ||
                 carries(request, c, SOL_IPV6, IPV6_HOPLIMIT, sizeof info.hops))
            memcpy(&info.hops, data, sizeof info.hops);
    }
    return info;
}

static void add_control(struct msghdr *reply, int level, int type, const void *data, size_t length)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((char *)reply->msg_control + reply->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    reply->msg_controllen += CMSG_SPACE(length);
}

static bool v4_link_local(in_addr_t address)
{
    return (ntohl(address) & 0xffff0000) == 0xa9fe0000; /* RFC 3927: 169.254/16 */
}

/* ip(7): ipi_addr is the destination in the header, ipi_spec_dst the local address that stands for
 * it; they differ where the datagram was meant for a group. The kernel also fills in an
 * IPV6_PKTINFO for an IPv4 datagram on a dual-stack socket, so the other one is asked first, here
 * and below. */
static bool is_for_group(const struct request_info *info)
{
    if (info->v4)
        return info->v4->ipi_addr.s_addr != info->v4->ipi_spec_dst.s_addr;
    return IN6_IS_ADDR_MULTICAST(&info->v6->ipi6_addr);
}

/* The address that was asked becomes the source (RFC 3542 6.2), but for a multicast address, which
 * can be none (RFC 4291 2.7): the kernel then chooses. The interface is left to the routing table,
 * unless the address means nothing without it. */
static void set_source(struct msghdr *reply, const struct request_info *info)
{
    struct in_pktinfo v4 = {0};
    struct in6_pktinfo v6 = {0};

    if (info->v4) {
        v4.ipi_spec_dst = info->v4->ipi_spec_dst;
        if (v4_link_local(v4.ipi_spec_dst.s_addr))
            v4.ipi_ifindex = info->v4->ipi_ifindex;
        add_control(reply, SOL_IP, IP_PKTINFO, &v4, sizeof v4);
        return;
    }
    if (!IN6_IS_ADDR_MULTICAST(&info->v6->ipi6_addr))
        v6.ipi6_addr = info->v6->ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&v6.ipi6_addr))
        v6.ipi6_ifindex = info->v6->ipi6_ifindex;
    add_control(reply, SOL_IPV6, IPV6_PKTINFO, &v6, sizeof v6);
}

static void set_tos(struct msghdr *reply, const struct request_info *info)
{
    int dscp =
        info->tos & 0xfc; /* not the two ECN bits, RFC 3168 5: they tell of the request's path */

    if (dscp != 0 && info->v4)
        add_control(reply, SOL_IP, IP_TOS, &dscp, sizeof dscp);
    else if (dscp != 0)
        add_control(reply, SOL_IPV6, IPV6_TCLASS, &dscp, sizeof dscp);
}

static enum udp_verdict judge_source(const struct guard *guard, const struct net_addr *source)
{
    switch (guard_judge(guard, source)) {
    case GUARD_REFUSE_PORT:
        return UDP_REFUSE_PORT;
    case GUARD_REFUSE_ADDRESS:
        return UDP_REFUSE_OTHER;
    case GUARD_REFUSE_ACCESS:
        return UDP_DENY;
    case GUARD_ANSWER:
        break;
    }
    return UDP_ANSWER;
}

enum udp_verdict udp_judge(const struct udp_params *params, bool first,
                           const struct msghdr *request, struct msghdr *reply)
{
    const struct net_addr *source = request->msg_name;
    struct request_info info;
    enum udp_verdict verdict;

    if (request->msg_flags & (MSG_TRUNC | MSG_CTRUNC) || request->msg_namelen < sizeof source->in)
        return UDP_REFUSE_OTHER;
    info = read_control(request);
    if (!info.v4 && !info.v6)
        return UDP_REFUSE_OTHER;
    if (is_for_group(&info) && !first)
        return UDP_PASS_OVER;
    if (is_for_group(&info) && !params->answer_broadcast)
        return UDP_REFUSE_GROUP;
    verdict = judge_source(&params->guard, source);
    if (verdict != UDP_ANSWER)
        return verdict;
    if (guard_is_reply(info.hops))
        return UDP_LOOP;
    reply->msg_name = request->msg_name;
    reply->msg_namelen = request->msg_namelen;
    reply->msg_controllen = 0;
    set_source(reply, &info);
    if (params->reflect_tos)
        set_tos(reply, &info);
    return UDP_ANSWER;
}

/* ---- a batch out ---- */

/* Send on from where the last call stopped. False if the socket has no room now. sendmmsg(2) stops
 * at the first message that fails and tells why only when asked again, so a failure costs that one
 * message and no other. */
static bool send_waiting(struct udp *udp)
{
    while (udp->waiting > 0) {
        int n = sendmmsg(udp->io.fd, udp->out + udp->sent, udp->waiting, 0);

        if (n < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN || errno == EWOULDBLOCK)
                return false;
            stats_add(&udp->stats->udp_failed, 1);
            n = 1;
        } else {
            uint64_t octets = 0;

            for (int i = 0; i < n; i++)
                octets += udp->out[udp->sent + (unsigned)i].msg_len;
            stats_add(&udp->stats->udp_octets, octets);
            stats_add(&udp->stats->udp_echoes, (uint64_t)n);
        }
        udp->sent += (unsigned)n;
        udp->waiting -= (unsigned)n;
    }
    return true;
}

/* ---- a batch in ---- */

static void count_refusal(struct stats *stats, enum udp_verdict verdict)
{
    switch (verdict) {
    case UDP_REFUSE_PORT:
        stats_add(&stats->udp_refused_port, 1);
        break;
    case UDP_REFUSE_GROUP:
        stats_add(&stats->udp_refused_group, 1);
        break;
    case UDP_DENY:
        stats_add(&stats->udp_denied, 1);
        break;
    case UDP_LOOP:
        stats_add(&stats->udp_looped, 1);
        break;
    case UDP_OVER_BUDGET:
        stats_add(&stats->udp_over_budget, 1);
        break;
    case UDP_REFUSE_OTHER:
    case UDP_ANSWER:
    case UDP_PASS_OVER:
        stats_add(&stats->udp_refused_other, 1);
        break;
    }
}

static enum udp_verdict charge(struct udp *udp, const struct mmsghdr *in)
{
    const struct net_addr *source = in->msg_hdr.msg_name;
    uint32_t mark = budget_mark(net_port(source), in->msg_hdr.msg_iov->iov_base, in->msg_len);

    switch (budget_spend(udp->params->budget, source, mark, loop_now(udp->loop))) {
    case BUDGET_REFUSE:
        return UDP_OVER_BUDGET;
    case BUDGET_LOOP:
        return UDP_LOOP;
    case BUDGET_LEAK:
        stats_add(&udp->stats->udp_leaked, 1);
        break;
    case BUDGET_ANSWER:
        break;
    }
    return UDP_ANSWER;
}

static void compose_replies(struct udp *udp, unsigned received)
{
    unsigned n = 0;

    for (unsigned i = 0; i < received; i++) {
        enum udp_verdict verdict =
            udp_judge(udp->params, udp->first, &udp->in[i].msg_hdr, &udp->out[n].msg_hdr);

        if (verdict == UDP_PASS_OVER)
            continue;
        stats_add(&udp->stats->udp_received, 1);
        if (verdict == UDP_ANSWER && udp->params->budget)
            verdict = charge(udp, &udp->in[i]);
        if (verdict != UDP_ANSWER) {
            count_refusal(udp->stats, verdict);
            continue;
        }
        udp->out_data[n] =
            (struct iovec){.iov_base = udp->in_data[i].iov_base, .iov_len = udp->in[i].msg_len};
        n++;
    }
    udp->sent = 0;
    udp->waiting = n;
}

static void reset_slots(struct udp *udp, unsigned used)
{
    for (unsigned i = 0; i < used; i++) {
        udp->in[i].msg_hdr.msg_namelen = sizeof udp->source[i].in6;
        udp->in[i].msg_hdr.msg_controllen = sizeof udp->in_control[i];
    }
}

static void choose_look(struct udp *udp)
{
    uint64_t now = loop_now(udp->loop);

    if (now < udp->look_changes)
        return;
    /* A loop must not keep step with it: what the clock's last digits are is as good as chance. */
    if (udp->looking)
        udp->look_changes = now + LOOK_AWAY_NS + now % LOOK_AWAY_NS;
    else
        udp->look_changes = now + LOOK_NS;
    udp->looking = !udp->looking;
    net_show_hops(udp->io.fd, udp->looking);
}

/* The number of datagrams, or -1. */
static int receive_batch(struct udp *udp)
{
    int n;

    choose_look(udp);
    n = recvmmsg(udp->io.fd, udp->in, BATCH, 0, NULL);
    if (n > 0) {
        compose_replies(udp, (unsigned)n);
        reset_slots(udp, (unsigned)n);
    }
    return n;
}

static void rest(struct udp *udp)
{
    int error = errno;
    uint64_t suppressed;

    if (log_limit_pass(&udp->receive_limit, loop_now(udp->loop), &suppressed))
        log_warning("udp: cannot receive: %s; trying again (%" PRIu64
                    " more failures since the last such line)",
                    strerror(error), suppressed);
    (void)loop_set(udp->loop, &udp->io, 0); /* or it rests again soon */
    loop_timer_set(udp->loop, &udp->rest_timer, loop_now(udp->loop) + REST_NS);
}

/* Of a socket that could not receive, or whose replies found no room. */
static void end_rest(struct loop_timer *timer)
{
    struct udp *udp = UDP_OF(timer, rest_timer);

    stats_add(&udp->stats->udp_failed, udp->waiting);
    udp->waiting = 0;
    if (loop_set(udp->loop, &udp->io, POLLIN) < 0)
        loop_timer_set(udp->loop, timer, loop_now(udp->loop) + REST_NS);
}

static void serve(struct loop_io *io, short revents)
{
    struct udp *udp = UDP_OF(io, io);

    (void)revents;
    if (udp->waiting == 0) {
        int n = receive_batch(udp);

        /* ICMP errors for earlier replies come up here too; reading one clears it. */
        if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR &&
            errno != ECONNREFUSED)
            rest(udp);
        if (n <= 0)
            return;
    }
    if (send_waiting(udp)) {
        loop_timer_stop(&udp->rest_timer);
        (void)loop_set(udp->loop, io, POLLIN); /* or POLLOUT brings us back at once */
    } else if (io->events != POLLOUT) {
        loop_timer_set(udp->loop, &udp->rest_timer, loop_now(udp->loop) + PATIENCE_NS);
        (void)loop_set(udp->loop, io, POLLOUT); /* or the timer drops what waits */
    }
}

/* ---- life ---- */

struct udp *udp_new(struct loop *loop, struct stats *stats, const struct udp_params *params, int fd,
                    bool first)
{
    struct udp *udp = calloc(1, sizeof *udp);
    void *buffers;

    if (!udp)
        return NULL;
    /* Only the pages that datagrams have filled take memory. */
    buffers = mmap(NULL, BATCH * BUFFER_STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    if (buffers == MAP_FAILED) {
        free(udp);
        return NULL;
    }
    udp->buffers = buffers;
    udp->loop = loop;
    udp->stats = stats;
    udp->params = params;
    udp->first = first;
    for (unsigned i = 0; i < BATCH; i++) {
        udp->in_data[i] =
            (struct iovec){.iov_base = udp->buffers + i * BUFFER_STRIDE, .iov_len = DATAGRAM_MAX};
        udp->in[i].msg_hdr = (struct msghdr){.msg_name = &udp->source[i],
                                             .msg_iov = &udp->in_data[i],
                                             .msg_iovlen = 1,
                                             .msg_control = udp->in_control[i].octets};
        udp->out[i].msg_hdr = (struct msghdr){.msg_iov = &udp->out_data[i],
                                              .msg_iovlen = 1,
                                              .msg_control = udp->out_control[i].octets};
    }
    reset_slots(udp, BATCH);
    if (loop_add(loop, &udp->io, fd, POLLIN, serve) < 0) {
        munmap(udp->buffers, BATCH * BUFFER_STRIDE);
        free(udp);
        return NULL;
    }
    loop_timer_init(loop, &udp->rest_timer, end_rest);
    return udp;
}

/* Bounded: a receive buffer has an end, but datagrams may come as fast as they are answered, and
 * errors too. */
static void empty_queue(struct udp *udp)
{
    for (int i = 0; i < 65536 / BATCH && send_waiting(udp); i++)
        if (receive_batch(udp) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
}

void udp_free(struct udp *udp)
{
    empty_queue(udp);
    loop_timer_fini(udp->loop, &udp->rest_timer);
    loop_del(udp->loop, &udp->io);
    munmap(udp->buffers, BATCH * BUFFER_STRIDE);
    free(udp);
}

void udp_retire(struct udp *udp)
{
    net_retire(SOCK_DGRAM, udp->io.fd);
}

int udp_fd(const struct udp *udp)
{
    return udp->io.fd;
}
