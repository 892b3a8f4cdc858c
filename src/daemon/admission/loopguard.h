/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_LOOPGUARD_H
#define ECHOD_DAEMON_ADMISSION_LOOPGUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/addr.h"
#include "net/socket.h"

/* May a datagram from this source be answered? Decided from its address alone; a loop of two echo
 * services, or of echo and another service that answers anything (CERT CA-1996-01, CVE-2024-2169),
 * must not begin. */
struct loopguard {
    uint8_t refused_ports[65536 / 8]; /* bit (port % 8) of octet (port / 8), host order */
};

/* Start from a set of refused ports, and port 0, to which no reply could be
 * sent. */
void loopguard_init(struct loopguard *guard, const uint8_t refused_ports[static 65536 / 8]);

/* Refuse one more: a port that we ourselves listen on. */
void loopguard_refuse_port(struct loopguard *guard, uint16_t port);

enum loopguard_verdict {
    LOOPGUARD_ANSWER,
    LOOPGUARD_REFUSE_PORT,
    LOOPGUARD_REFUSE_ADDRESS /* none that a reply can go to */
};
enum loopguard_verdict loopguard_judge(const struct loopguard *guard, const struct addr *source);

/* True for an address that stands for a group of hosts: multicast, or 255.255.255.255. */
bool loopguard_is_group(const struct addr *address);

/* Replies of ours set out with LOOPGUARD_TTL to go, which no client's datagram does: those have at
 * most LOOPGUARD_TTL_USUAL left, or started with 255 and have far more. So a reply of another echod
 * is known up to 40 hops away, and not answered: two of them do not go on with each other, at
 * whatever ports, rate and distance, and at no cost to anybody else. */
#define LOOPGUARD_TTL       SOCKET_REPLY_TTL
#define LOOPGUARD_TTL_USUAL 128

/* True if a datagram that has so many hops left to go is such a reply. */
bool loopguard_has_reply_ttl(int hops);

#endif
