/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_STREAM_STREAM_H
#define ECHOD_TOOLS_STREAM_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/addr.h"

/* The classic echo client: what is read goes to the echo service, what comes back is written, and
 * both must be the same. Binary safe, both ways at once, in bounded memory. Times are nanoseconds.
 *
 * SIGINT and SIGTERM end it with the summary, SIGQUIT prints the figures so far. The caller ignores
 * SIGPIPE. Flags of `in` and `out` are left alone: the shell may share them. */

struct stream {
    int in;            /* to read from: a file, pipe, terminal or socket */
    int out;           /* to write to */
    FILE *err;         /* for people */
    bool quiet;        /* no summary there, only what went wrong */
    struct addr peer;  /* the echo service */
    uint64_t timeout;  /* TCP: how long nothing may move while octets, or the end of the stream,
                          are still to come back; UDP: for one reply. 0: as long as it takes */
    uint64_t deadline; /* for the whole run; 0: none */
};

/* Both return what to exit with: 0 all that was sent came back octet for octet, and all that was
 * read was sent; 1 it did not, or the peer ended the connection before the input ended; 2 any other
 * error. `err` has been told why. */

/* Over a connected socket. At the end of `in` half-close it, and go on until the peer ends. What
 * comes back is written, right or wrong. */
int stream_tcp(int socket, const struct stream *settings);

/* A datagram for each line, its newline included; one is under way at a time, and the next follows
 * its reply or its timeout. Lines that are too long for a datagram are not sent. What is not the
 * reply to the line under way is counted, not written. The socket is not connected; it may be bound
 * and have options set. */
int stream_udp(int socket, const struct stream *settings);

#endif
