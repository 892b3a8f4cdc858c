/* SPDX-License-Identifier: ISC */
#include "probe/payload.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

#define WORD sizeof(uint64_t)

static uint64_t word(const struct payload *payload, uint64_t seq, uint64_t index)
{
    uint64_t x;

    if (index == 0)
        return seq;
    if (index == 1)
        return payload->nonce;
    /* Mix by multiplying and folding, so that words differ between runs, probes and places. */
    x = payload->nonce + seq * UINT64_C(0xd6e8feb86659fd93) + index * UINT64_C(0xa0761d6478bd642f);
    x ^= x >> 32;
    x *= UINT64_C(0xe7037ed1a0b428db);
    return x ^ x >> 29;
}

/* Offset of the first octet that does not depend on the probe. */
static size_t fixed_from(const struct payload *payload)
{
    return !payload->fill ? SIZE_MAX : payload->bare ? 0 : PAYLOAD_HEADER;
}

static void fill_fixed(const struct payload *payload, size_t offset, uint8_t *octets, size_t len)
{
    size_t at = (offset - fixed_from(payload)) % payload->fill_size;

    for (size_t i = 0; i < len; i++) {
        octets[i] = payload->fill[at];
        at = at + 1 < payload->fill_size ? at + 1 : 0;
    }
}

void payload_fill(const struct payload *payload, uint64_t seq, size_t offset, uint8_t *octets,
                  size_t len)
{
    while (len > 0 && offset < fixed_from(payload)) {
        uint64_t little = htole64(word(payload, seq, offset / WORD));
        size_t skip = offset % WORD;
        size_t part = WORD - skip < len ? WORD - skip : len;

        memcpy(octets, (const uint8_t *)&little + skip, part);
        octets += part;
        offset += part;
        len -= part;
    }
    if (len > 0)
        fill_fixed(payload, offset, octets, len);
}

static size_t common_octets(const uint8_t *a, const uint8_t *b, size_t len)
{
    size_t i = 0;

    while (i < len && a[i] == b[i])
        i++;
    return i;
}

size_t payload_compare(const struct payload *payload, uint64_t seq, size_t offset,
                       const uint8_t *octets, size_t len)
{
    uint8_t expected[1024];
    size_t done = 0;

    while (done < len) {
        size_t part = len - done < sizeof expected ? len - done : sizeof expected;

        payload_fill(payload, seq, offset + done, expected, part);
        if (memcmp(octets + done, expected, part) != 0)
            return done + common_octets(octets + done, expected, part);
        done += part;
    }
    return len;
}

/* The probe whose number is in the first octets; 0: there was no such probe. If only low-order
 * octets of the number are there, the latest probe whose number ends in them. */
static uint64_t named(const uint8_t *octets, size_t len, uint64_t newest)
{
    uint64_t value = 0;
    uint64_t back;

    if (len > WORD)
        len = WORD;
    memcpy(&value, octets, len);
    value = le64toh(value);
    if (len == WORD)
        return value <= newest ? value : 0;
    back = (newest - value) & ((UINT64_C(1) << 8 * len) - 1);
    return back < newest ? newest - back : 0;
}

/* At least half of the octets after the number are right: it is damaged, but ours. */
static bool resembles(const struct payload *payload, uint64_t seq, const uint8_t *octets,
                      size_t len)
{
    size_t right = 0;

    for (size_t i = WORD; i < len; i++)
        right += payload_compare(payload, seq, i, octets + i, 1);
    return 2 * right >= len - WORD;
}

/* The octets of the nonce that a payload has are all there, and right. */
static bool has_nonce(const struct payload *payload, const uint8_t *octets, size_t len)
{
    size_t end = payload->size < PAYLOAD_HEADER ? payload->size : PAYLOAD_HEADER;

    /* cppcheck-suppress knownConditionTrueFalse */
    return len >= end && payload_compare(payload, 0, WORD, octets + WORD, end - WORD) == end - WORD;
}

static struct payload_identity identify_empty(const struct payload *payload, uint64_t oldest,
                                              uint64_t newest)
{
    if (payload->size == 0)
        return (struct payload_identity){PAYLOAD_GOOD, oldest != 0 ? oldest : newest, 0};
    return (struct payload_identity){oldest != 0 ? PAYLOAD_TRUNCATED : PAYLOAD_FOREIGN, oldest, 0};
}

/* A payload without a number answers the probe that waits longest. */
static struct payload_identity identify_bare(const struct payload *payload, const uint8_t *octets,
                                             size_t len, uint64_t seq)
{
    size_t common = len < payload->size ? len : payload->size;
    size_t wrong = payload_compare(payload, seq, 0, octets, common);

    if (wrong == common && len == payload->size)
        return (struct payload_identity){PAYLOAD_GOOD, seq, 0};
    if (wrong == len)
        return (struct payload_identity){PAYLOAD_TRUNCATED, seq, 0};
    return (struct payload_identity){PAYLOAD_CORRUPT, seq, wrong};
}

struct payload_identity payload_identify(const struct payload *payload, const uint8_t *octets,
                                         size_t len, uint64_t oldest, uint64_t newest)
{
    size_t common = len < payload->size ? len : payload->size;
    uint64_t seq;

    if (len == 0)
        return identify_empty(payload, oldest, newest);
    if (payload->bare)
        return identify_bare(payload, octets, len, oldest != 0 ? oldest : newest);
    seq = common > 0 ? named(octets, common, newest) : 0;
    if (seq != 0) {
        size_t wrong = payload_compare(payload, seq, 0, octets, common);

        if (wrong == common && len == payload->size)
            return (struct payload_identity){PAYLOAD_GOOD, seq, 0};
        if (wrong == len)
            return (struct payload_identity){PAYLOAD_TRUNCATED, seq, 0};
        if (wrong == common || resembles(payload, seq, octets, common))
            return (struct payload_identity){PAYLOAD_CORRUPT, seq, wrong};
    }
    /* The sequence number is damaged, or too short to have a nonce beside it. */
    if (payload->size <= WORD || has_nonce(payload, octets, common))
        return (struct payload_identity){PAYLOAD_CORRUPT, 0, 0};
    return (struct payload_identity){PAYLOAD_FOREIGN, 0, 0};
}
