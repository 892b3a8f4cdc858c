/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_RESOLVE_H
#define ECHOD_PROBE_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

/* Names to addresses and back. All of it may block as long as the name service does. */

#define RESOLVE_MAX 16

/* Octets of the longest reason for a failure. */
#define RESOLVE_WHY 256

/* A name, an IPv4 or IPv6 address, with zone or in brackets or both, to the addresses of `family`
 * (AF_UNSPEC: either) in the order they are to be tried. An IPv4-mapped IPv6 address is an IPv4
 * address. `port` is a number from 1 to 65535 or the
 * name of a service of `type` (SOCK_STREAM, SOCK_DGRAM). Returns how many there are, or -1 with a
 * sentence for users in `why`. *numeric tells that host was an address. */
int resolve(const char *host, const char *port, int family, int type, struct addr list[RESOLVE_MAX],
            bool *numeric, char why[static RESOLVE_WHY]);

/* The name of an address, or "" if it has none that can be shown as it is. Returns name. */
const char *resolve_name(const struct addr *addr, char name[static NI_MAXHOST]);

#endif
