/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_VERDICT_H
#define ECHOD_DAEMON_ADMISSION_VERDICT_H

#include "daemon/stats/stats.h"

/* What becomes of a received datagram.
 *   X(name, counter): a refusal, and the counter of stats.h that tells of it. */
#define VERDICT_REFUSALS(X)                                                                        \
    X(REFUSE_PORT, udp_refused_port) /* loopguard: its source port is refused */                   \
    X(LOOP, udp_looped)              /* loopguard: it is a reply, or it keeps coming back */       \
    X(DENY, udp_denied)              /* acl: access denies its source */                           \
    X(OVER_RATE, udp_over_budget)    /* ratelimit: its source has sent too many */                 \
    /* Only udp can tell: */                                                                       \
    X(REFUSE_GROUP, udp_refused_group) /* it was sent to a broadcast or multicast address */       \
    X(REFUSE_OTHER, udp_refused_other) /* it is cut short, or no reply can go to its source */

enum verdict {
    VERDICT_ANSWER,
    VERDICT_SLIP,   /* ratelimit: answer, although its source has sent too many */
    VERDICT_IGNORE, /* udp: do not answer or count; another worker got the datagram as well */
#define X(name, counter) VERDICT_##name,
    VERDICT_REFUSALS(X)
#undef X
};

/* Count `datagrams` with the same verdict. udp counts what it receives and sends itself. */
static inline void verdict_count(enum verdict verdict, struct stats *stats, unsigned datagrams)
{
    switch (verdict) {
    case VERDICT_ANSWER:
    case VERDICT_IGNORE:
        return;
    case VERDICT_SLIP:
        stats_add(&stats->udp_leaked, datagrams);
        return;
#define X(name, counter)                                                                           \
    case VERDICT_##name:                                                                           \
        stats_add(&stats->counter, datagrams);                                                     \
        return;
        VERDICT_REFUSALS(X)
#undef X
    }
}

#endif
