/* SPDX-License-Identifier: ISC */
#include "daemon/admission/loopguard.h"

#include <string.h>

void loopguard_init(struct loopguard *guard, const uint8_t refused_ports[static 65536 / 8])
{
    memcpy(guard->refused_ports, refused_ports, sizeof guard->refused_ports);
    loopguard_refuse_port(guard, 0);
}

void loopguard_refuse_port(struct loopguard *guard, uint16_t port)
{
    guard->refused_ports[port / 8] |= (uint8_t)(1U << port % 8);
}

static bool v4_is_group(in_addr_t address)
{
    return IN_MULTICAST(ntohl(address)) || address == htonl(INADDR_BROADCAST);
}

static in_addr_t mapped_v4(const struct in6_addr *address)
{
    in_addr_t v4;

    memcpy(&v4, &address->s6_addr[12], sizeof v4);
    return v4;
}

bool loopguard_is_group(const struct addr *address)
{
    if (address->sa.sa_family == AF_INET)
        return v4_is_group(address->in.sin_addr.s_addr);
    if (IN6_IS_ADDR_V4MAPPED(&address->in6.sin6_addr))
        return v4_is_group(mapped_v4(&address->in6.sin6_addr));
    return IN6_IS_ADDR_MULTICAST(&address->in6.sin6_addr);
}

/* Sending to the unspecified address would reach this host itself (RFC 1122 3.2.1.3 forbids it as a
 * destination). */
static bool is_unspecified(const struct addr *source)
{
    if (source->sa.sa_family == AF_INET)
        return source->in.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&source->in6.sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&source->in6.sin6_addr) &&
            mapped_v4(&source->in6.sin6_addr) == htonl(INADDR_ANY));
}

enum loopguard_verdict loopguard_judge(const struct loopguard *guard, const struct addr *source)
{
    uint16_t port = addr_port(source);

    if (guard->refused_ports[port / 8] & 1U << port % 8)
        return LOOPGUARD_REFUSE_PORT;
    if (is_unspecified(source) || loopguard_is_group(source))
        return LOOPGUARD_REFUSE_ADDRESS;
    return LOOPGUARD_ANSWER;
}

bool loopguard_has_reply_ttl(int hops)
{
    return hops > LOOPGUARD_TTL_USUAL && hops <= LOOPGUARD_TTL;
}
