/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_MTU_H
#define ECHOD_PROBE_MTU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"

/* Find the largest datagram that reaches a UDP echo service unfragmented and comes back, by binary
 * search (as in RFC 8899), and what stops larger ones. On the way to the peer no router fragments:
 * DF is set, and IPv6 routers never do. On the way back the peer decides; the kernel reports
 * fragments of a reply from Linux 4.12 on. Sizes are octets of payload, MTUs include the headers.
 */

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
    size_t mtu;       /* MTU_REPORTED, MTU_INTERFACE: the reported MTU; 0: none was reported */
    size_t fragment;  /* MTU_FRAGMENTED: the largest piece, with IP header */
    size_t len;       /* MTU_TRUNCATED: octets that came back */
    int error;        /* MTU_ERROR: errno */
    struct addr from; /* MTU_REPORTED, MTU_ERROR: the reporter; len 0: this host */
};

struct mtu_settings {
    unsigned tries;   /* tries of a size without an answer before it counts as silent; at least 1 */
    uint64_t timeout; /* of one try, nanoseconds */
    uint64_t deadline; /* of the whole search, nanoseconds; 0: none */
    size_t max;        /* the largest size to try; 0: what fits in a datagram */
    void (*progress)(void *context, const struct mtu_probe *probe); /* after each size, or NULL */
    void *context;
};

/* Three tries of a second each, without progress(). */
extern const struct mtu_settings mtu_defaults;

struct mtu_result {
    struct addr peer;
    bool found;             /* something came back; else `limit` tells about the smallest size */
    bool complete;          /* false: the user, the deadline or an error ended it */
    size_t largest;         /* largest size that came back */
    size_t mtu;             /* `largest` with headers */
    size_t fragment;        /* size of the largest fragment of its reply; 0: it came whole */
    size_t whole;           /* largest size that came back in one piece */
    struct mtu_probe limit; /* smallest that did not come back; size 0: none was tried */
    unsigned foreign;       /* datagrams that answer no try, or from a wrong source */
    int error;              /* errno of a failure on this host; 0: none */
};

/* The socket is one of datagram_open(); DF gets set.
 * SIGINT and SIGTERM end it. Returns the exit status: 0 found; 1 no reply, or ended before it was
 * found; 2 any other error. */
int mtu_find(int socket, const struct addr *peer, const struct mtu_settings *settings,
             struct mtu_result *result);

#endif
