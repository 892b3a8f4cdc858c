/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_GUARD_H
#define ECHOD_GUARD_H

#include <stdbool.h>
#include <stdint.h>

#include "net.h"

/* May a datagram from this source be answered? Decided from its address alone; a loop of two echo
 * services, or of echo and another service that answers anything (CERT CA-1996-01, CVE-2024-2169),
 * must not begin. */
struct guard {
    uint8_t refused_ports[65536 / 8]; /* bit (port % 8) of octet (port / 8), host order */
};

/* Start from a set of refused ports; port 0, to which no reply could be sent, is always one. */
void guard_init(struct guard *guard, const uint8_t refused_ports[static 65536 / 8]);

/* Refuse one more: a port that we ourselves listen on. */
void guard_refuse_port(struct guard *guard, uint16_t port);

enum guard_verdict { GUARD_ANSWER, GUARD_REFUSE_PORT, GUARD_REFUSE_ADDRESS };
enum guard_verdict guard_judge(const struct guard *guard, const struct net_addr *source);

/* True for an address that stands for a group of hosts: multicast, or 255.255.255.255. */
bool guard_is_group(const struct net_addr *address);

#endif
