/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_CLIENT_H
#define ECHOD_TOOLS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/cli.h"
#include "probe/run.h"

/* What the programs that probe share beyond their command lines. */

/* For a table of options: the octet of type of service or traffic class, 0 to 255 or 0x0 to 0xff,
 * stored in an int. */
cli_take client_take_tos;

/* "-s": octets of payload that the protocol can carry over the family (AF_UNSPEC: over either). */
size_t client_size(const struct cli *cli, const char *text, const struct probe_ops *ops,
                   int family);

/* Whether one of these addresses is 0.0.0.0 or ::, which as a destination stand for this very host,
 * whatever host was meant. */
bool client_is_placeholder(const struct addr list[], int count);

/* The same, and a warning on standard error. */
void client_warn_of_placeholder(const struct cli *cli, const char *host, const struct addr list[],
                                int count);

/* Open all links to the first address of a list that can be reached. A datagram reaches any, so
 * only one is tried. `announce` (NULL: nothing) is told each address before, and false from it ends
 * that. -1: the probe's listener was told why. */
int client_open(struct probe *probe, const struct probe_ops *ops, const struct addr list[],
                int count, bool (*announce)(void *context, const struct addr *peer), void *context);

#endif
