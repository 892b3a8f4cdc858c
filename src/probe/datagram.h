/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_PROBE_DATAGRAM_H
#define ECHOD_PROBE_DATAGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "common/addr.h"
#include "probe/engine.h"

/* A datagram socket that asks one peer, and what the network says about it. The socket is not
 * connected, or the kernel would drop what comes from a wrong source. */

/* The largest payload over an address family: 65535, less the headers of UDP and, for IPv4 only, of
 * IP. */
#define DATAGRAM_MAX_V4 65507
#define DATAGRAM_MAX_V6 65527

/* Room that any datagram fits in, with one octet left. */
#define DATAGRAM_ROOM 65536

/* Why a datagram did not arrive. */
struct datagram_error {
    int error;              /* errno */
    bool local;             /* this host refused to send it, and sendto(2) has returned the error */
    uint32_t mtu;           /* EMSGSIZE: what would have passed, IP header included; 0: not known */
    struct addr from;       /* who reported it; len 0: this host */
    struct probe_icmp icmp; /* what was reported, if not local */
    size_t len;             /* octets of the datagram that came back with the error */
    uint64_t stamp; /* 0: an error; else no error, but when the datagram was sent, CLOCK_REALTIME in
                       nanoseconds */
    uint32_t number; /* with a stamp: number of the datagram, SOF_TIMESTAMPING_OPT_ID */
};

/* The time stamp among a message's control data, CLOCK_REALTIME in nanoseconds; 0: there is none.
 */
uint64_t datagram_stamp(struct msghdr *msg);

size_t datagram_max(const struct addr *peer);

/* Octets of IP and UDP headers. */
size_t datagram_headers(const struct addr *peer);

/* Turn *peer into the address that replies come from (0.0.0.0 means 127.0.0.1; a link-local one
 * gets its zone), as the kernel finds it for the socket of that index: connecting another one with
 * the same options tells, and sends nothing. -1 with errno: there is no way to it, or the socket
 * cannot be had. */
int datagram_route(const struct probe *probe, struct addr *peer, unsigned index);

/* A socket to send to *peer from, set up as the settings say, with its errors queued. Its port is
 * never the port of this host that is probed, or a probe would come back without any service. -1
 * with errno; EADDRINUSE also where just that port was asked for. */
int datagram_open(const struct probe *probe, const struct addr *peer, unsigned index);

/* Whether one of the ports that the settings ask for is the port of this host that is probed. */
bool datagram_answers_itself(const struct probe *probe, const struct addr *peer);

/* Take the oldest error (or time stamp, where they are asked for); the first octets of the datagram
 * go to `octets`. Returns false if there is none. Taking it also clears the error that the next
 * call on the socket would fail with. */
bool datagram_take_error(int fd, struct datagram_error *error, uint8_t *octets, size_t room);

/* Receive without waiting. The length, or -1 with errno. *from is the sender. *fragment is the size
 * of the largest IP fragment of the datagram; 0: it came whole, or this is not known. */
ssize_t datagram_receive(int fd, uint8_t octets[static DATAGRAM_ROOM], struct addr *from,
                         size_t *fragment);

#endif
