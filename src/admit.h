/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_ADMIT_H
#define ECHOD_ADMIT_H

#include <stdbool.h>

#include "log.h"
#include "net.h"

/* How many TCP connections may be open, in all and from one source. Shared by all workers,
 * consulted when a connection comes and when it goes, never on the path of an echo. A source is an
 * IPv4 address or an IPv6 /64, which is what one host has; an IPv4-mapped address is the IPv4 one.
 */
struct admit;
struct admit_source; /* a source with at least one connection */

/* NULL with errno on failure. */
struct admit *admit_new(void);
void admit_free(struct admit *admit);

/* May be changed at any time; what is open already stays. per_source 0: no limit. */
void admit_set_limits(struct admit *admit, unsigned total, unsigned per_source);

/* Take one of the places in all, before accept(2); false if there is none. */
bool admit_reserve(struct admit *admit);

/* Give it back. */
void admit_release(struct admit *admit);

/* How many places are taken. */
unsigned admit_open(const struct admit *admit);

/* Brakes for what is logged about it, one for all workers. */
struct admit_logs {
    struct log_limit full;    /* no place is left */
    struct log_limit starved; /* no descriptor or memory */
    struct log_limit source;  /* a source had its share */
};
struct admit_logs *admit_logs(struct admit *admit);

/* Count a connection to its source. NULL with errno EUSERS where the source has its share already,
 * ENOMEM for want of memory. */
struct admit_source *admit_enter(struct admit *admit, const struct net_addr *peer);
void admit_leave(struct admit *admit, struct admit_source *source);

#endif
