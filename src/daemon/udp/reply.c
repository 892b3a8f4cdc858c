/* SPDX-License-Identifier: ISC */
#include "daemon/udp/reply.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "common/util.h"

struct request_info {
    const struct in_pktinfo *v4;
    const struct in6_pktinfo *v6;
    int tos;
    int hops; /* that it has left; 0: not told */
    int segment;
    uint32_t dropped;
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
        else if (carries(request, c, SOL_UDP, UDP_GRO, sizeof info.segment))
            memcpy(&info.segment, data, sizeof info.segment);
        else if (carries(request, c, SOL_SOCKET, SO_RXQ_OVFL, sizeof info.dropped))
            memcpy(&info.dropped, data, sizeof info.dropped);
    }
    return info;
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
        add_control_message(reply, SOL_IP, IP_PKTINFO, &v4, sizeof v4);
        return;
    }
    if (!IN6_IS_ADDR_MULTICAST(&info->v6->ipi6_addr))
        v6.ipi6_addr = info->v6->ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&v6.ipi6_addr))
        v6.ipi6_ifindex = info->v6->ipi6_ifindex;
    add_control_message(reply, SOL_IPV6, IPV6_PKTINFO, &v6, sizeof v6);
}

static void set_tos(struct msghdr *reply, const struct request_info *info)
{
    int dscp =
        info->tos & 0xfc; /* not the two ECN bits, RFC 3168 5: they tell of the request's path */

    if (dscp != 0 && info->v4)
        add_control_message(reply, SOL_IP, IP_TOS, &dscp, sizeof dscp);
    else if (dscp != 0)
        add_control_message(reply, SOL_IPV6, IPV6_TCLASS, &dscp, sizeof dscp);
}

static bool is_whole(const struct msghdr *request, const struct request_info *info)
{
    return !(request->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && (info->v4 || info->v6);
}

static enum udp_verdict judge_arrival(const struct udp_params *params, bool first,
                                      const struct request_info *info)
{
    if (is_for_group(info) && !first)
        return UDP_PASS_OVER;
    if (is_for_group(info) && !params->answer_broadcast)
        return UDP_REFUSE_GROUP;
    return loopguard_has_reply_ttl(info->hops) ? UDP_LOOP : UDP_ANSWER;
}

/* What the control messages and flags say of it. */
static void read_arrival(const struct udp_params *params, bool first, const struct msghdr *request,
                         struct udp_reply *reply)
{
    struct request_info info = read_control(request);

    reply->segment = info.segment > 0 ? (unsigned)info.segment : UDP_ONE_DATAGRAM;
    reply->dropped = info.dropped;
    reply->arrival = UDP_REFUSE_OTHER;
    if (!is_whole(request, &info))
        return;
    reply->arrival = judge_arrival(params, first, &info);
    if (reply->arrival != UDP_ANSWER)
        return;
    reply->header = (struct msghdr){.msg_control = reply->control.octets};
    set_source(&reply->header, &info);
    if (params->reflect_tos)
        set_tos(&reply->header, &info);
}

static enum udp_verdict judge_source(const struct acl *access, const struct loopguard *guard,
                                     const struct msghdr *request)
{
    if (request->msg_namelen < sizeof(struct sockaddr_in))
        return UDP_REFUSE_OTHER;
    switch (loopguard_judge(guard, request->msg_name)) {
    case LOOPGUARD_REFUSE_PORT:
        return UDP_REFUSE_PORT;
    case LOOPGUARD_REFUSE_ADDRESS:
        return UDP_REFUSE_OTHER;
    case LOOPGUARD_ANSWER:
        break;
    }
    return acl_allows(access, request->msg_name) ? UDP_ANSWER : UDP_DENY;
}

static bool same_arrival(const struct msghdr *a, const struct msghdr *b)
{
    return a->msg_controllen == b->msg_controllen && a->msg_flags == b->msg_flags &&
           memcmp(a->msg_control, b->msg_control, a->msg_controllen) == 0;
}

static bool same_source(const struct msghdr *a, const struct msghdr *b)
{
    return a->msg_namelen == b->msg_namelen &&
           memcmp(a->msg_name, b->msg_name, a->msg_namelen) == 0;
}

bool udp_judge(const struct acl *access, const struct udp_params *params, bool first,
               const struct msghdr *before, const struct msghdr *request, struct udp_reply *reply)
{
    bool same = before && same_arrival(before, request);
    enum udp_verdict source;

    if (!same)
        read_arrival(params, first, request, reply);
    else if (same_source(before, request))
        return true;
    reply->verdict = reply->arrival;
    if (reply->arrival != UDP_ANSWER && reply->arrival != UDP_LOOP)
        return false;
    reply->header.msg_name = request->msg_name;
    reply->header.msg_namelen = request->msg_namelen;
    source = judge_source(access, &params->guard, request);
    if (source != UDP_ANSWER)
        reply->verdict = source;
    return false;
}
