/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_ECHO_H
#define ECHOD_DAEMON_TCP_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The echo of one connection (RFC 862, "TCP Based Echo Service"): octets are sent back as they
 * arrive, until the client closes and has been sent everything. While octets are owed, nothing is
 * read. So a client that does not read costs at most 16 KiB of memory, or one full read if it has
 * read megabytes before, and TCP's flow control slows it down. Needs a nonblocking socket with
 * SO_OOBINLINE. */

enum echo_state {
    ECHO_READ,  /* wait until the socket is readable */
    ECHO_WRITE, /* wait until the socket is writable */
    ECHO_ENDED, /* the client has closed and the kernel has sent everything: close the socket */
    ECHO_FAILED /* reset, timed out, or no memory for what is owed (errno): close the socket */
};

struct echo {
    int fd;
    uint32_t held_at;    /* index in `held` of the next octet to send */
    uint32_t held_end;   /* number of octets in `held`; 0: nothing is owed */
    uint32_t echoed;     /* octets sent back, counted up to a few megabytes */
    unsigned char *held; /* octets that were received and not sent yet, or NULL */
    bool closing;        /* the client has closed, and the kernel still has octets for it */
};

/* The socket stays the caller's. */
void echo_init(struct echo *echo, int fd);

/* Free the octets that are owed. */
void echo_fini(struct echo *echo);

/* Send what is owed, then read and send back, as far as the socket allows now. `scratch` is a
 * buffer that the caller lends for the call. A turn reads at most four times its size, so that no
 * client starves the others. *received grows by the octets that were read, *pieces by the reads. */
enum echo_state echo_turn(struct echo *echo, unsigned char *scratch, size_t size,
                          uint64_t *received, uint64_t *pieces);

#endif
