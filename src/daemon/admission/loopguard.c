/* SPDX-License-Identifier: ISC */
#include "daemon/admission/loopguard.h"

#include <string.h>

#include "common/hash.h"
#include "common/reply_ttl.h"

/* ---- 1. source ports ---- */

void loopguard_init(struct loopguard *guard, const uint8_t refused_ports[static 65536 / 8])
{
    memcpy(guard->refused_ports, refused_ports, sizeof guard->refused_ports);
    loopguard_refuse_port(guard, 0);
}

void loopguard_refuse_port(struct loopguard *guard, uint16_t port)
{
    guard->refused_ports[port / 8] |= (uint8_t)(1U << port % 8);
}

/* ---- 2. the TTL of replies ---- */

bool loopguard_has_reply_ttl(int ttl)
{
    return ttl > REPLY_TTL_OTHERS && ttl <= REPLY_TTL;
}

/* ---- 3. datagrams that keep coming back ---- */

/* Octets at either end of a datagram that its fingerprint is made of. */
#define END 32

#define LOG2_WINDOW_MAX 15

struct loopguard_allowance loopguard_allow(uint64_t rounds, uint64_t per_second, unsigned odds)
{
    uint64_t interval = SECOND / per_second;

    return (struct loopguard_allowance){
        .interval = interval, .depth = (rounds - 1) * interval, .odds = odds};
}

static uint32_t coarse(uint64_t now)
{
    return (uint32_t)(now >> 10);
}

struct loopguard_history loopguard_new_history(uint64_t now)
{
    return (struct loopguard_history){.seen_at = coarse(now - LOOPGUARD_RETURN_NS)};
}

static uint64_t load_word(const char *from)
{
    uint64_t word;

    memcpy(&word, from, sizeof word);
    return word;
}

/* SplitMix64's finalizer: Steele, Lea, Flood, 2014. */
static uint64_t mix_bits(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

uint32_t loopguard_fingerprint(uint16_t port, const void *data, size_t length)
{
    uint64_t sum = (uint64_t)length << 16 | port;
    char padded[END] = {0};
    const char *head = data, *tail = head + length - END;

    if (length < END) {
        memcpy(padded, data, length);
        head = tail = padded;
    }
    for (unsigned i = 0; i < END; i += sizeof sum) {
        sum ^= load_word(head + i);
        sum = ((sum << 23 | sum >> 41) + load_word(tail + i)) * UINT64_C(0x9e3779b97f4a7c15);
    }
    return (uint32_t)(mix_bits(sum) >> 32);
}

/* How many rounds this datagram stands for. The number of datagrams in a loop is not known, so the
 * window doubles each time that the datagram that is watched for has not come back within it, as in
 * Brent's cycle detection (1980). */
static unsigned count_rounds(struct loopguard_history *history, uint32_t fingerprint, uint64_t now)
{
    bool recent = coarse(now) - history->seen_at < LOOPGUARD_RETURN_NS >> 10;
    unsigned rounds = 0;

    if (recent && fingerprint != history->fingerprint) {
        if (++history->passed < 1U << history->log2_window)
            return 0;
        if (history->log2_window < LOG2_WINDOW_MAX)
            history->log2_window++;
    } else if (!recent) {
        history->log2_window = 0;
    } else if (coarse(now) != history->seen_at) {
        /* Datagrams that arrived together were not sent in answer to one another. */
        rounds = history->passed < LOOPGUARD_ROUND_WEIGHT ? 1U + history->passed
                                                          : LOOPGUARD_ROUND_WEIGHT;
    }
    history->fingerprint = fingerprint;
    history->seen_at = coarse(now);
    history->passed = 0;
    return rounds;
}

bool loopguard_keeps_returning(struct loopguard_history *history,
                               const struct loopguard_allowance *allowance, uint32_t fingerprint,
                               uint64_t now, uint64_t *random)
{
    unsigned rounds = count_rounds(history, fingerprint, now);

    if (history->rounds_until <= now + allowance->depth) {
        if (rounds > 0)
            history->rounds_until = (history->rounds_until > now ? history->rounds_until : now) +
                                    rounds * allowance->interval;
        return false;
    }
    if (allowance->odds == 1)
        history->rounds_until = now;
    return random_one_in(random, allowance->odds);
}
