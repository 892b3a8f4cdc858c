/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_HASH_H
#define ECHOD_COMMON_HASH_H

#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3 of whole 64-bit words (Aumasson and Bernstein, 2012). Who does not know the key
 * cannot choose words whose hashes collide. */
uint64_t hash_words(const uint64_t key[static 2], const uint64_t words[], size_t count);

/* A key that a stranger cannot foretell: random, or before the kernel has randomness, early at
 * boot, what it gave this process (getauxval(3), AT_RANDOM). */
void hash_choose_key(uint64_t key[static 2]);

#endif
