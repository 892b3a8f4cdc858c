/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_UDP_REPLY_H
#define ECHOD_DAEMON_UDP_REPLY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/admission/acl.h"
#include "daemon/admission/loopguard.h"
#include "daemon/admission/ratelimit.h"
#include "daemon/admission/verdict.h"

/* What becomes of a message that was received from a datagram socket of socket.h, and where its
 * reply goes. No function here makes a system call. */

struct udp_params {
    struct loopguard loopguard;
    bool reflect_tos;
    bool answer_broadcast;
    struct ratelimit *ratelimit; /* this worker's, borrowed; NULL: no limit */
};

/* Room for the control messages of a request or a reply. */
#define UDP_CONTROL_SIZE 256

struct udp_control {
    _Alignas(struct cmsghdr) unsigned char octets[UDP_CONTROL_SIZE];
};

/* The segment size of a message that is one datagram: more than any datagram has. */
#define UDP_ONE_DATAGRAM 65536

struct udp_reply {
    enum verdict verdict;
    unsigned segment;     /* octets of each datagram of the message; the last may be shorter */
    uint32_t dropped;     /* datagrams that the kernel has dropped at the socket; wraps; 0: none */
    struct msghdr header; /* of the reply, without data, if the verdict is VERDICT_ANSWER; points to
                             the request's name and to `control` */
    struct udp_control control;
};

/* Classify a request, except for rate limits, and say where its reply goes. `is_primary` is as in
 * udp.h. */
void udp_classify(const struct acl *access, const struct udp_params *params, bool is_primary,
                  const struct msghdr *request, struct udp_reply *reply);

#endif
