/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_UDP_UDP_H
#define ECHOD_DAEMON_UDP_UDP_H

#include <stdbool.h>

#include "common/log.h"
#include "daemon/stats/stats.h"
#include "daemon/udp/reply.h"
#include "net/loop.h"

/* One datagram socket's echo (RFC 862, "UDP Based Echo Service"): receive a batch, judge each, send
 * the batch back. A reply leaves from the address that was asked. */

struct udp;

/* Serve fd, a socket that socket.h set up and that stays the caller's. Of several sockets that
 * share an address one is `first`: what was sent to a group of hosts the kernel delivers to all of
 * them, and the others pass over it in silence. Where there are `sharing_workers`, the socket was
 * inherited and is served by so many, of which one is `first`: it counts what the kernel drops.
 * access, params, loop and stats are borrowed and must outlive it. NULL with errno on failure. */
struct udp *udp_new(struct loop *loop, struct stats *stats, const struct acl *access,
                    const struct udp_params *params, int fd, bool first, unsigned sharing_workers);

/* To be called after access or params have changed; not while it serves. */
void udp_params_changed(struct udp *udp);

/* Let no new client reach it, see socket_retire(). */
void udp_retire(struct udp *udp);

/* Stop, after answering what has already arrived. */
void udp_free(struct udp *udp);

int udp_fd(const struct udp *udp);

#endif
