/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_HASH_H
#define ECHOD_COMMON_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* SipHash-1-3 of whole 64-bit words (Aumasson and Bernstein, 2012). An attacker who does not know
 * the key cannot choose words whose hashes collide. */
uint64_t hash_words(const uint64_t key[static 2], const uint64_t words[], size_t count);

/* Choose a key that an attacker cannot guess: random octets, or early at boot, before the kernel
 * has any, the 16 octets that execve(2) gave this process (getauxval(3), AT_RANDOM). */
void hash_choose_key(uint64_t key[static 2]);

/* True for one call in `odds`, at random. *state is the generator's, any number but 0 to begin
 * with. A stranger sees too little of the results to foretell them. */
bool random_one_in(uint64_t *state, unsigned odds);

#endif
