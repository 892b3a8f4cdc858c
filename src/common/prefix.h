/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_PREFIX_H
#define ECHOD_COMMON_PREFIX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

/* Address prefixes, and sets of them in which the longest one that matches is found. An IPv4-mapped
 * IPv6 address or prefix (RFC 4291 2.5.5.2) is the IPv4 one, here and everywhere in a set; no IPv6
 * prefix matches an IPv4 address. Functions that can fail return -1 with errno set. */

/* Bits of the address in host order, the first bit on top of hi; those beyond length are 0. An IPv4
 * address has its 32 bits there too. */
struct prefix {
    uint64_t hi, lo;
    uint8_t length; /* to 32 or 128 */
    bool is_v4;
};

/* The first bits of an address: so many of them, by its family. */
struct prefix prefix_of(const struct addr *addr, unsigned v4_length, unsigned v6_length);

/* The first bits of a prefix that is at least that long. */
struct prefix prefix_cut(const struct prefix *prefix, unsigned length);

bool prefix_equal(const struct prefix *a, const struct prefix *b);

/* "192.0.2.0/24", "2001:db8::/32"; a bare address is a prefix of its whole length. EINVAL: no such
 * form; ERANGE: the length is too large for the address; EDOM: bits beyond the length are set, and
 * *prefix is the one without them. */
int prefix_parse(const char *text, struct prefix *prefix);

/* As prefix_parse() reads it. Returns buf. */
#define PREFIX_STRLEN (INET6_ADDRSTRLEN + 4)
const char *prefix_print(const struct prefix *prefix, char buf[static PREFIX_STRLEN]);

/* Maps prefixes to values above 0. It only grows, and may be searched by several threads while it
 * does not. A search looks at each bit of the address once at most. */
struct prefix_set;

/* NULL with errno. */
struct prefix_set *prefix_set_new(void);

/* NULL is allowed. */
void prefix_set_free(struct prefix_set *set);

/* Of several values for one prefix the greatest stays. */
int prefix_set_add(struct prefix_set *set, const struct prefix *prefix, uint8_t value);

/* The value of the longest prefix that the address is in; 0: there is none. */
uint8_t prefix_set_find(const struct prefix_set *set, const struct addr *addr);

#endif
