/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_UDP_UDP_H
#define ECHOD_DAEMON_UDP_UDP_H

#include <stdbool.h>

#include "daemon/admission/acl.h"
#include "daemon/stats/stats.h"
#include "daemon/udp/reply.h"
#include "net/loop.h"

/* The echo of one datagram socket (RFC 862, "UDP Based Echo Service"): receive a batch, classify
 * each message, send the replies. A reply comes from the address that was asked. */

struct udp;

/* Serve fd, a socket of socket.h, which stays the caller's. `is_primary`: the one socket of an
 * SO_REUSEPORT group that answers broadcasts and multicasts, which the kernel delivers to all of
 * them. `sharing_workers`: workers that share an inherited socket, else 0; the primary one counts
 * what the kernel drops there. loop, stats, access and params are borrowed and must outlive the
 * result; access and params may change between turns. NULL with errno. */
struct udp *udp_new(struct loop *loop, struct stats *stats, const struct acl *access,
                    const struct udp_params *params, int fd, bool is_primary,
                    unsigned sharing_workers);

/* Keep new clients away from the socket, see socket_retire(). */
void udp_retire(struct udp *udp);

/* Answer what has already arrived, and stop. */
void udp_free(struct udp *udp);

int udp_fd(const struct udp *udp);

#endif
