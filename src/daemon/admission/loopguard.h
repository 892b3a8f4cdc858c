/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_ADMISSION_LOOPGUARD_H
#define ECHOD_DAEMON_ADMISSION_LOOPGUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/clock.h"

/* A datagram with a forged source can make two echo services answer each other for ever, or echo
 * and any other service that answers whatever it gets (CERT CA-1996-01, CVE-2024-2169). Three
 * defences: such a loop does not begin, or it ends.
 *
 * 1. Datagrams from the ports of such services, and from our own ports, are refused.
 * 2. Replies of echod start with a TTL that other senders do not use. A datagram that still has
 *    such a TTL is the reply of another echod, at most 40 hops away, and is refused.
 * 3. A datagram that keeps coming back to us soon after we have echoed it goes round in a loop.
 *    This ends a loop through a service that changes the TTL. It needs memory of each source, so
 *    it works where ratelimit does. */

/* ---- 1. source ports ---- */

struct loopguard {
    uint8_t refused_ports[65536 / 8]; /* bit (port % 8) of octet (port / 8); ports in host order */
};

/* Refuse these ports, and port 0, to which no reply can be sent. */
void loopguard_init(struct loopguard *guard, const uint8_t refused_ports[static 65536 / 8]);

/* Refuse another port, in host order: one that we ourselves listen on. */
void loopguard_refuse_port(struct loopguard *guard, uint16_t port);

static inline bool loopguard_refuses_port(const struct loopguard *guard, uint16_t port)
{
    return guard->refused_ports[port / 8] & 1U << port % 8;
}

/* ---- 2. the TTL of replies ---- */

/* True if a datagram that arrived with this TTL or hop limit is a reply of an echod. */
bool loopguard_has_reply_ttl(int ttl);

/* ---- 3. datagrams that keep coming back ---- */

/* An echoed datagram that its source sends again within LOOPGUARD_RETURN_NS has made a round, in a
 * loop or because a client repeats itself. A source may make LOOPGUARD_ROUNDS, and
 * LOOPGUARD_ROUNDS_PER_SECOND more each second. Beyond that one datagram in LOOPGUARD_ODDS is
 * refused at random: a loop ends after about that many rounds, a client loses less than 1 %. */
#define LOOPGUARD_RETURN_NS         (2 * SECOND)
#define LOOPGUARD_ROUNDS            1000
#define LOOPGUARD_ROUNDS_PER_SECOND 16
#define LOOPGUARD_ODDS              128

/* Only one datagram of a source is watched for at a time. Each of its returns stands for the other
 * datagrams that came meanwhile, up to LOOPGUARD_ROUND_WEIGHT in all. */
#define LOOPGUARD_ROUND_WEIGHT 16

/* How many rounds a source may make. */
struct loopguard_allowance {
    uint64_t interval; /* nanoseconds in which one more round is allowed */
    uint64_t depth;    /* nanoseconds of rounds that may be made at once, less one interval */
    unsigned odds;     /* one datagram in `odds` is refused beyond that. 1: one is, and then the
                          whole allowance is there again. */
};

struct loopguard_allowance loopguard_allow(uint64_t rounds, uint64_t per_second, unsigned odds);

/* What is remembered of one source. Packed: ratelimit keeps four sources in two cache lines. */
struct loopguard_history {
    uint64_t rounds_until; /* when all rounds will be allowed again, in nanoseconds */
    uint32_t fingerprint;  /* of the datagram that is watched for */
    uint32_t seen_at;      /* when that datagram came last, in units of 1024 ns; wraps */
    uint16_t passed;       /* datagrams that differ from it and came since */
    uint16_t log2_window;  /* when 2^log2_window have passed, another datagram is watched for */
} __attribute__((packed, aligned(4)));

/* A source that has sent nothing yet. */
struct loopguard_history loopguard_new_history(uint64_t now);

/* Equal for equal datagrams from the same port, and for different ones once in 2^32. Of a datagram
 * of more than 64 octets only the first and last 32 are looked at. */
uint32_t loopguard_fingerprint(uint16_t port, const void *data, size_t length);

/* Note a datagram. True if it is to be refused. *random is for random_one_in(). */
bool loopguard_keeps_returning(struct loopguard_history *history,
                               const struct loopguard_allowance *allowance, uint32_t fingerprint,
                               uint64_t now, uint64_t *random);

#endif
