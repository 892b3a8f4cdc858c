/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_UDP_REPLY_H
#define ECHOD_DAEMON_UDP_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/admission/acl.h"
#include "daemon/admission/loopguard.h"
#include "daemon/admission/ratelimit.h"

/* What is to become of one message that was received from a datagram socket of socket.h, and where
 * a reply goes: pure functions. */

struct udp_params {
    struct loopguard guard;
    bool reflect_tos;
    bool answer_broadcast;
    struct ratelimit *budget; /* this worker's, borrowed; NULL: no limits */
};

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

/* Room for the control messages of one message, either way. */
#define UDP_CONTROL_SIZE 256

struct udp_control {
    _Alignas(struct cmsghdr) unsigned char octets[UDP_CONTROL_SIZE];
};

/* Longer than any. */
#define UDP_ONE_DATAGRAM 65536

struct udp_reply {
    enum udp_verdict verdict;
    enum udp_verdict arrival; /* the same, but for its source */
    unsigned segment;     /* the message is datagrams of that length, but for the last, which may be
                             shorter */
    uint32_t dropped;     /* how many its socket had dropped before, which wraps; 0: not told */
    struct msghdr header; /* without data, if it is to be answered; points into the request and: */
    struct udp_control control;
};

/* Judge a message but for its source's budget. `before` is the message that *reply tells of, or
 * NULL; true if the reply goes to the same place, and all that is told of the one holds for the
 * other. Of several sockets that share an address one is `first`, see udp.h. */
bool udp_judge(const struct acl *access, const struct udp_params *params, bool first,
               const struct msghdr *before, const struct msghdr *request, struct udp_reply *reply);

#endif
