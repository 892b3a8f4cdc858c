/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_MTU_H
#define ECHOD_PROBE_MTU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

/* Find the largest datagram that reaches a UDP echo service unfragmented and comes back, by binary
 * search (RFC 8899 calls it probing of the path layer), and what stops larger ones. The way there
 * is known for sure: nobody may fragment what has DF set, and IPv6 routers never do. On the way
 * back the service decides; fragments of a reply are noticed where the kernel tells of them (Linux
 * 4.12). Sizes are octets of payload, MTUs include the headers. */

/* What became of a size, after all its tries. */
enum mtu_outcome {
    MTU_WHOLE,      /* came back, in one piece as far as is known */
    MTU_FRAGMENTED, /* came back, in fragments */
    MTU_TRUNCATED,  /* came back, but not all of it */
    MTU_SILENT,     /* nothing came back */
    MTU_REPORTED,   /* a router reported that it is too big (RFC 1191, RFC 8201) */
    MTU_INTERFACE,  /* too big for this host's own interface */
    MTU_ERROR       /* the network or this host told of another error */
};

struct mtu_probe {
    size_t size;
    enum mtu_outcome outcome;
    unsigned tries;
    size_t mtu;       /* MTU_REPORTED, MTU_INTERFACE: what is told to pass; 0: it is not told */
    size_t fragment;  /* MTU_FRAGMENTED: the largest piece, with IP header */
    size_t len;       /* MTU_TRUNCATED: what came back */
    int error;        /* MTU_ERROR: errno */
    struct addr from; /* MTU_REPORTED, MTU_ERROR: who told; len 0: this host */
};

struct mtu_settings {
    unsigned tries;    /* of a size, before nothing is taken for an answer; at least 1 */
    uint64_t timeout;  /* of one try, in nanoseconds */
    uint64_t deadline; /* of all, in nanoseconds; 0: none */
    size_t max;        /* the largest size to try; 0: what fits in a datagram */
    void (*progress)(void *context, const struct mtu_probe *probe); /* after each size, or NULL */
    void *context;
};

/* Three tries of a second each, and silence about it. */
extern const struct mtu_settings mtu_defaults;

struct mtu_result {
    struct addr peer;
    bool found;      /* something came back; else `limit` tells about the smallest size */
    bool complete;   /* false: the user, the deadline or an error ended it */
    size_t largest;  /* that came back */
    size_t mtu;      /* the same with headers */
    size_t fragment; /* its reply came in fragments, the largest of this size; 0: it did not */
    size_t whole;    /* largest that came back in one piece */
    struct mtu_probe limit; /* smallest that did not come back; size 0: none was tried */
    unsigned foreign;       /* datagrams that were nothing of ours, or from a wrong source */
    int error;              /* errno of what failed here; 0: nothing did */
};

/* The socket is a datagram one, not connected; it may be bound and have options set; DF gets set.
 * SIGINT and SIGTERM end it. Returns what to exit with: 0 found; 1 no reply, or ended before it was
 * found; 2 any other error. */
int mtu_find(int socket, const struct addr *peer, const struct mtu_settings *settings,
             struct mtu_result *result);

#endif
