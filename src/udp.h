/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_UDP_H
#define ECHOD_UDP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "budget.h"
#include "guard.h"
#include "log.h"
#include "loop.h"
#include "stats.h"

/* One datagram socket's echo (RFC 862, "UDP Based Echo Service"): receive a batch, judge each, send
 * the batch back. A reply leaves from the address that was asked. */

struct udp_params {
    struct guard guard;
    bool reflect_tos;
    bool answer_broadcast;
    struct budget *budget; /* this worker's, borrowed; NULL: no limits */
};

struct udp;

/* Serve fd, a socket that net.h set up and that stays the caller's. Of several sockets that share
 * an address one is `first`: what was sent to a group of hosts the kernel delivers to all of them,
 * and the others pass over it in silence. params, loop and stats are borrowed and must outlive it;
 * the params may change between turns. NULL with errno on failure. */
struct udp *udp_new(struct loop *loop, struct stats *stats, const struct udp_params *params, int fd,
                    bool first);

/* Let no new client reach it, see net_retire(). */
void udp_retire(struct udp *udp);

/* Stop, after answering what has already arrived. */
void udp_free(struct udp *udp);

int udp_fd(const struct udp *udp);

enum udp_verdict {
    UDP_ANSWER,
    UDP_PASS_OVER,
    UDP_REFUSE_PORT,
    UDP_REFUSE_GROUP,
    UDP_REFUSE_OTHER,
    UDP_DENY,
    UDP_LOOP, /* a reply, of another echod or that keeps coming back */
    UDP_OVER_BUDGET
};

/* Room for the control messages of one datagram, either way. */
#define UDP_CONTROL_SIZE 256

/* Judge a received message but for its source's budget, and compose its reply's address and control
 * messages: the heart of the above, a pure function for tests. `reply` must have msg_control
 * pointing to UDP_CONTROL_SIZE octets; name and control are filled in, data is not touched. */
enum udp_verdict udp_judge(const struct udp_params *params, bool first,
                           const struct msghdr *request, struct msghdr *reply);

#endif
