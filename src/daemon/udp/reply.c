/* SPDX-License-Identifier: ISC */
#include "daemon/udp/reply.h"

#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "common/util.h"

/* The control messages of a request. */
struct request_info {
    const struct in_pktinfo *v4;  /* NULL: none */
    const struct in6_pktinfo *v6; /* NULL: none */
    int tos;
    int ttl;          /* on arrival; 0: unknown */
    int segment;      /* octets of each datagram of the message; 0: it is one datagram */
    uint32_t dropped; /* datagrams that the kernel has dropped at the socket; 0: none */
};

/* True if the control message is of that kind, and has that much data. */
static bool carries(const struct cmsghdr *c, int level, int type, size_t length)
{
    return c->cmsg_level == level && c->cmsg_type == type && c->cmsg_len >= CMSG_LEN(length);
}

static struct request_info read_control(const struct msghdr *request)
{
    struct request_info info = {0};
    const struct cmsghdr *c = NULL;

    while ((c = next_control_message(request, c)) != NULL) {
        const void *data = CMSG_DATA(c);

        if (carries(c, SOL_IP, IP_PKTINFO, sizeof *info.v4))
            info.v4 = data;
        else if (carries(c, SOL_IPV6, IPV6_PKTINFO, sizeof *info.v6))
            info.v6 = data;
        else if (carries(c, SOL_IP, IP_TOS, sizeof(uint8_t)))
            info.tos = *(const uint8_t *)data;
        else if (carries(c, SOL_IPV6, IPV6_TCLASS, sizeof info.tos))
            memcpy(&info.tos, data, sizeof info.tos);
        else if (carries(c, SOL_IP, IP_TTL, sizeof info.ttl) ||
                 carries(c, SOL_IPV6, IPV6_HOPLIMIT, sizeof info.ttl))
            memcpy(&info.ttl, data, sizeof info.ttl);
        else if (carries(c, SOL_UDP, UDP_GRO, sizeof info.segment))
            memcpy(&info.segment, data, sizeof info.segment);
        else if (carries(c, SOL_SOCKET, SO_RXQ_OVFL, sizeof info.dropped))
            memcpy(&info.dropped, data, sizeof info.dropped);
    }
    return info;
}

static bool v4_link_local(in_addr_t address)
{
    return (ntohl(address) & 0xffff0000) == 0xa9fe0000; /* RFC 3927: 169.254/16 */
}

/* ip(7): ipi_addr is the destination in the header, ipi_spec_dst the local address of the socket's
 * host. They differ if the datagram was sent to a group. For an IPv4 datagram on a dual-stack
 * socket the kernel fills in an IPV6_PKTINFO as well, so look at the IPv4 one first, here and
 * below. */
static bool is_for_group(const struct request_info *info)
{
    if (info->v4)
        return info->v4->ipi_addr.s_addr != info->v4->ipi_spec_dst.s_addr;
    return IN6_IS_ADDR_MULTICAST(&info->v6->ipi6_addr);
}

/* The reply comes from the address that was asked (RFC 3542 6.2). A multicast address cannot be a
 * source (RFC 4291 2.7): then the kernel chooses one. The routing table chooses the interface,
 * unless the address is link-local, which has a meaning only with its interface. */
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
    if (!info->v6)
        return; /* such a request gets no answer, see udp_classify() */
    if (!IN6_IS_ADDR_MULTICAST(&info->v6->ipi6_addr))
        v6.ipi6_addr = info->v6->ipi6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&v6.ipi6_addr))
        v6.ipi6_ifindex = info->v6->ipi6_ifindex;
    add_control_message(reply, SOL_IPV6, IPV6_PKTINFO, &v6, sizeof v6);
}

static void set_tos(struct msghdr *reply, const struct request_info *info)
{
    /* Without the two ECN bits, which belong to the path of the request (RFC 3168 5). */
    int dscp = info->tos & 0xfc;

    if (dscp != 0 && info->v4)
        add_control_message(reply, SOL_IP, IP_TOS, &dscp, sizeof dscp);
    else if (dscp != 0)
        add_control_message(reply, SOL_IPV6, IPV6_TCLASS, &dscp, sizeof dscp);
}

static bool v4_can_be_answered(in_addr_t address)
{
    return address != htonl(INADDR_ANY) && address != htonl(INADDR_BROADCAST) &&
           !IN_MULTICAST(ntohl(address));
}

/* False for the address of a group of hosts, and for the unspecified address: it means this host
 * itself, and must not be a destination (RFC 1122 3.2.1.3). */
static bool can_be_answered(const struct addr *source)
{
    const struct in6_addr *v6 = &source->in6.sin6_addr;
    in_addr_t mapped;

    if (source->sa.sa_family == AF_INET)
        return v4_can_be_answered(source->in.sin_addr.s_addr);
    if (!IN6_IS_ADDR_V4MAPPED(v6))
        return !IN6_IS_ADDR_UNSPECIFIED(v6) && !IN6_IS_ADDR_MULTICAST(v6);
    memcpy(&mapped, &v6->s6_addr[12], sizeof mapped);
    return v4_can_be_answered(mapped);
}

static bool is_whole(const struct msghdr *request, const struct request_info *info)
{
    return !(request->msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && (info->v4 || info->v6) &&
           request->msg_namelen >= sizeof(struct sockaddr_in);
}

static enum verdict classify(const struct acl *access, const struct udp_params *params,
                             bool is_primary, const struct msghdr *request,
                             const struct request_info *info)
{
    const struct addr *source = request->msg_name;

    if (!is_whole(request, info))
        return VERDICT_REFUSE_OTHER;
    if (is_for_group(info) && !is_primary)
        return VERDICT_IGNORE;
    if (is_for_group(info) && !params->answer_broadcast)
        return VERDICT_REFUSE_GROUP;
    if (loopguard_refuses_port(&params->loopguard, addr_port(source)))
        return VERDICT_REFUSE_PORT;
    if (!can_be_answered(source))
        return VERDICT_REFUSE_OTHER;
    if (!acl_allows(access, source))
        return VERDICT_DENY;
    return loopguard_has_reply_ttl(info->ttl) ? VERDICT_LOOP : VERDICT_ANSWER;
}

void udp_classify(const struct acl *access, const struct udp_params *params, bool is_primary,
                  const struct msghdr *request, struct udp_reply *reply)
{
    struct request_info info = read_control(request);

    reply->segment = info.segment > 0 ? (unsigned)info.segment : UDP_ONE_DATAGRAM;
    reply->dropped = info.dropped;
    reply->verdict = classify(access, params, is_primary, request, &info);
    if (reply->verdict != VERDICT_ANSWER)
        return;
    reply->header = (struct msghdr){.msg_name = request->msg_name,
                                    .msg_namelen = request->msg_namelen,
                                    .msg_control = reply->control.octets};
    set_source(&reply->header, &info);
    if (params->reflect_tos)
        set_tos(&reply->header, &info);
}
