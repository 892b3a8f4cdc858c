/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_TCP_ECHO_H
#define ECHOD_DAEMON_TCP_ECHO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The echo of one connection (RFC 862, "TCP Based Echo Service"): what arrives is sent back until
 * the peer closes, and then so is all that is still owed. Nothing is read while anything is owed,
 * so a peer that does not read costs 16 KiB of memory at most, or one read's worth if it has read a
 * lot before, and the kernel's flow control holds it. Needs a nonblocking socket with SO_OOBINLINE.
 */

enum echo_state {
    ECHO_READ,  /* wait until the socket can be read */
    ECHO_WRITE, /* wait until it can be written */
    ECHO_ENDED, /* the peer closed, and everything is on its way back: close it */
    ECHO_FAILED /* reset, timed out, or no memory to hold what is owed (errno): close it */
};

struct echo {
    int fd;
    uint32_t held_at;  /* first octet of `held` not sent yet */
    uint32_t held_end; /* 0: nothing is owed */
    uint32_t echoed;   /* octets sent back, roughly and up to a few megabytes */
    unsigned char *held;
    bool closing; /* the peer has closed, but the kernel still has octets for it */
};

void echo_init(struct echo *conn, int fd);

/* Free what is held. Does not close the socket. */
void echo_fini(struct echo *conn);

/* Do what can be done now, reading through `scratch`, a buffer of any size that the caller lends
 * for the call and that decides how much one turn may take: a few times its size, so that no client
 * starves the others. *received and *pieces grow by what was read. */
enum echo_state echo_turn(struct echo *conn, unsigned char *scratch, size_t size,
                          uint64_t *received, uint64_t *pieces);

#endif
