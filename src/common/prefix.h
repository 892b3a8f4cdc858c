/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_PREFIX_H
#define ECHOD_COMMON_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

/* Address prefixes, and sets that find the longest prefix an address has. An IPv4-mapped IPv6
 * address or prefix (RFC 4291 2.5.5.2) counts as IPv4 everywhere. No IPv6 prefix matches an IPv4
 * address. */

/* The address is in host order. Its first bit is the highest bit of hi, for IPv4 too. Bits beyond
 * the length are 0. */
struct prefix {
    uint64_t hi, lo;
    uint8_t length; /* in bits, up to 32 for IPv4 and 128 for IPv6 */
    bool is_v4;
};

/* The prefix of an address: its first v4_length or v6_length bits. */
struct prefix prefix_of(const struct addr *addr, unsigned v4_length, unsigned v6_length);

/* The first `length` bits of a prefix that is at least that long. */
struct prefix prefix_cut(const struct prefix *prefix, unsigned length);

bool prefix_equal(const struct prefix *a, const struct prefix *b);

/* Parse "192.0.2.0/24" or "2001:db8::/32"; an address without a length means all of its bits.
 * Returns -1 with errno: EINVAL if the text is neither, ERANGE if the length is too large, EDOM if
 * bits beyond the length are set; then *prefix is the prefix without them. */
int prefix_parse(const char *text, struct prefix *prefix);

/* In the form that prefix_parse() reads. Returns buf. */
#define PREFIX_STRLEN (INET6_ADDRSTRLEN + 4)
const char *prefix_print(const struct prefix *prefix, char buf[static PREFIX_STRLEN]);

/* A map from prefixes to values above 0. Prefixes can be added only. Several threads may search it
 * while none adds. A search visits at most one node for each bit of the address. */
struct prefix_set;

/* Returns NULL with errno. */
struct prefix_set *prefix_set_new(void);

/* NULL is ignored. */
void prefix_set_free(struct prefix_set *set);

/* If a prefix is added twice, the greater value stays. Returns -1 with errno. */
int prefix_set_add(struct prefix_set *set, const struct prefix *prefix, uint8_t value);

/* The value of the longest prefix that the address has; 0: it has none. */
uint8_t prefix_set_find(const struct prefix_set *set, const struct addr *addr);

#endif
