/* SPDX-License-Identifier: ISC */
#include "common/prefix.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define V4_BITS 32
#define V6_BITS 128

/* ---- one prefix ---- */

static void mask_to(struct prefix *prefix, unsigned length)
{
    prefix->length = (uint8_t)length;
    if (length < 64) {
        prefix->hi &= length == 0 ? 0 : UINT64_MAX << (64 - length);
        prefix->lo = 0;
    } else if (length < V6_BITS) {
        prefix->lo &= length == 64 ? 0 : UINT64_MAX << (V6_BITS - length);
    }
}

static struct prefix from_v4(uint32_t host_order)
{
    return (struct prefix){.hi = (uint64_t)host_order << 32, .length = V4_BITS, .is_v4 = true};
}

/* The result may be IPv4-mapped. */
static struct prefix from_v6(const struct in6_addr *address)
{
    uint64_t words[2];

    memcpy(words, address, sizeof words);
    return (struct prefix){.hi = be64toh(words[0]), .lo = be64toh(words[1]), .length = V6_BITS};
}

static bool is_mapped(const struct prefix *v6)
{
    return v6->hi == 0 && v6->lo >> 32 == 0xffff;
}

static struct prefix full_prefix(const struct addr *addr)
{
    struct prefix prefix;

    if (addr->sa.sa_family == AF_INET)
        return from_v4(ntohl(addr->in.sin_addr.s_addr));
    prefix = from_v6(&addr->in6.sin6_addr);
    return is_mapped(&prefix) ? from_v4((uint32_t)prefix.lo) : prefix;
}

struct prefix prefix_of(const struct addr *addr, unsigned v4_length, unsigned v6_length)
{
    struct prefix prefix = full_prefix(addr);

    mask_to(&prefix, prefix.is_v4 ? v4_length : v6_length);
    return prefix;
}

struct prefix prefix_cut(const struct prefix *prefix, unsigned length)
{
    struct prefix cut = *prefix;

    mask_to(&cut, length);
    return cut;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
    return a->hi == b->hi && a->lo == b->lo && a->length == b->length && a->is_v4 == b->is_v4;
}

/* Decimal digits without a leading zero. A number of more than three digits is INT32_MAX. */
static int parse_length(const char *text, unsigned *length)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || text[digits] != '\0' || (text[0] == '0' && digits > 1))
        return -1;
    *length = digits > 3 ? INT32_MAX : (unsigned)strtoul(text, NULL, 10);
    return 0;
}

int prefix_parse(const char *text, struct prefix *prefix)
{
    const char *slash = strchr(text, '/');
    size_t size = slash ? (size_t)(slash - text) : strlen(text);
    char host[INET6_ADDRSTRLEN];
    struct prefix given;
    struct in6_addr v6;
    struct in_addr v4;
    unsigned length;

    errno = EINVAL;
    if (size >= sizeof host)
        return -1;
    memcpy(host, text, size);
    host[size] = '\0';
    if (inet_pton(AF_INET, host, &v4) == 1)
        given = from_v4(ntohl(v4.s_addr));
    else if (inet_pton(AF_INET6, host, &v6) == 1)
        given = from_v6(&v6);
    else
        return -1;
    length = given.length;
    if (slash && parse_length(slash + 1, &length) < 0)
        return -1;
    if (length > given.length) {
        errno = ERANGE;
        return -1;
    }
    if (!given.is_v4 && length >= V6_BITS - V4_BITS && is_mapped(&given)) {
        given = from_v4((uint32_t)given.lo);
        length -= V6_BITS - V4_BITS;
    }
    *prefix = prefix_cut(&given, length);
    if (prefix->hi == given.hi && prefix->lo == given.lo)
        return 0;
    errno = EDOM;
    return -1;
}

const char *prefix_print(const struct prefix *prefix, char buf[static PREFIX_STRLEN])
{
    uint64_t words[2] = {htobe64(prefix->hi), htobe64(prefix->lo)};
    unsigned bits = prefix->is_v4 ? V4_BITS : V6_BITS;

    inet_ntop(prefix->is_v4 ? AF_INET : AF_INET6, words, buf, PREFIX_STRLEN);
    if (prefix->length < bits)
        sprintf(buf + strlen(buf), "/%u", (unsigned)prefix->length);
    return buf;
}

/* ---- sets ---- */

/* A path-compressed binary trie: a node has a value, or two children, or both. The array moves when
 * it grows, so children are indices. */
struct node {
    struct prefix prefix;
    uint8_t value;     /* 0: a branch only */
    uint32_t child[2]; /* by the bit after the prefix; 0, the index of a root: no child */
};

enum { V6_ROOT, V4_ROOT, ROOTS };

struct prefix_set {
    struct node *nodes;
    uint32_t count, room; /* nodes in use, nodes allocated */
};

struct prefix_set *prefix_set_new(void)
{
    struct prefix_set *set = calloc(1, sizeof *set);

    if (!set)
        return NULL;
    set->nodes = calloc(ROOTS, sizeof *set->nodes);
    if (!set->nodes) {
        free(set);
        return NULL;
    }
    set->nodes[V4_ROOT].prefix.is_v4 = true;
    set->count = set->room = ROOTS;
    return set;
}

void prefix_set_free(struct prefix_set *set)
{
    if (!set)
        return;
    free(set->nodes);
    free(set);
}

static unsigned bit(const struct prefix *prefix, unsigned at)
{
    return (at < 64 ? prefix->hi >> (63 - at) : prefix->lo >> (127 - at)) & 1;
}

/* How many leading bits two prefixes of one family have in common. */
static unsigned common_bits(const struct prefix *a, const struct prefix *b)
{
    unsigned shorter = a->length < b->length ? a->length : b->length;
    unsigned same = V6_BITS;

    if (a->hi != b->hi)
        same = (unsigned)__builtin_clzll(a->hi ^ b->hi);
    else if (a->lo != b->lo)
        same = 64 + (unsigned)__builtin_clzll(a->lo ^ b->lo);
    return same < shorter ? same : shorter;
}

/* Adding a prefix makes at most two nodes: its own and a branch. */
static int grow_nodes(struct prefix_set *set)
{
    uint32_t room = set->room * 2;
    struct node *grown;

    if (set->room - set->count >= 2)
        return 0;
    grown = reallocarray(set->nodes, room, sizeof *grown);
    if (!grown)
        return -1;
    set->nodes = grown;
    set->room = room;
    return 0;
}

static uint32_t new_node(struct prefix_set *set, struct prefix prefix, uint8_t value)
{
    set->nodes[set->count] = (struct node){.prefix = prefix, .value = value};
    return set->count++;
}

int prefix_set_add(struct prefix_set *set, const struct prefix *prefix, uint8_t value)
{
    uint32_t at = prefix->is_v4 ? V4_ROOT : V6_ROOT;
    uint32_t *link, next, branch;
    unsigned same;

    if (grow_nodes(set) < 0)
        return -1;
    /* Invariant: `prefix` begins with the prefix of node `at`. */
    while (set->nodes[at].prefix.length < prefix->length) {
        link = &set->nodes[at].child[bit(prefix, set->nodes[at].prefix.length)];
        next = *link;
        if (next == 0) {
            *link = new_node(set, *prefix, value);
            return 0;
        }
        same = common_bits(&set->nodes[next].prefix, prefix);
        if (same < set->nodes[next].prefix.length) {
            *link = branch = new_node(set, prefix_cut(prefix, same), 0);
            set->nodes[branch].child[bit(&set->nodes[next].prefix, same)] = next;
            next = branch;
        }
        at = next;
    }
    if (set->nodes[at].value < value)
        set->nodes[at].value = value;
    return 0;
}

uint8_t prefix_set_find(const struct prefix_set *set, const struct addr *addr)
{
    struct prefix address = full_prefix(addr);
    uint32_t at = address.is_v4 ? V4_ROOT : V6_ROOT;
    uint8_t value = 0;

    do {
        const struct node *node = &set->nodes[at];

        if (common_bits(&node->prefix, &address) < node->prefix.length)
            break;
        if (node->value != 0)
            value = node->value;
        at = node->prefix.length < address.length ? node->child[bit(&address, node->prefix.length)]
                                                  : 0;
    } while (at != 0);
    return value;
}
