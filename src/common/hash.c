/* SPDX-License-Identifier: ISC */
#include "common/hash.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

static uint64_t rotate_left(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate_left(v[1], 13) ^ v[0];
    v[0] = rotate_left(v[0], 32);
    v[2] += v[3];
    v[3] = rotate_left(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate_left(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate_left(v[1], 17) ^ v[2];
    v[2] = rotate_left(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    v[0] ^= word;
}

uint64_t hash_words(const uint64_t key[static 2], const uint64_t words[], size_t count)
{
    uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                     key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};

    for (size_t i = 0; i < count; i++)
        sip_word(v, words[i]);
    /* The highest octet of SipHash's last word is the length in octets, modulo 256. */
    sip_word(v, (uint64_t)(count * sizeof *words) << 56);
    v[2] ^= 0xff;
    for (unsigned i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void hash_choose_key(uint64_t key[static 2])
{
    if (getrandom(key, 2 * sizeof *key, GRND_NONBLOCK) != (ssize_t)(2 * sizeof *key))
        memcpy(key, (const void *)(uintptr_t)getauxval(AT_RANDOM), 2 * sizeof *key);
}

/* xorshift64*: Vigna, 2014. */
bool random_one_in(uint64_t *state, unsigned odds)
{
    uint64_t x = *state;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return (x * UINT64_C(0x2545f4914f6cdd1d)) >> 32 < (UINT64_C(1) << 32) / odds;
}
