/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_UDP_SENDQ_H
#define ECHOD_DAEMON_UDP_SENDQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/stats/stats.h"
#include "daemon/udp/reply.h"

/* Replies on their way out of a datagram socket. Datagrams of one length that follow one another to
 * the same place leave as segments of one message (udp(7), UDP_SEGMENT): the way through the
 * kernel, which is most of what an echo costs, is gone once for all of them. Where that cannot be
 * done each leaves by itself, as it would have. */

#define SENDQ_SIZE 32

struct sendq_segments {
    size_t segment;  /* the length of its datagrams; the last may be shorter */
    unsigned count;  /* of its datagrams */
    bool one_by_one; /* they cannot leave together */
};

struct sendq {
    unsigned waiting; /* messages that were not sent... */
    unsigned sent;    /* ...the first of which it is */
    unsigned data_used;
    bool open;                   /* what is added may join the last message... */
    size_t octets;               /* ...which has so many */
    size_t longest;              /* segment that is worth trying */
    uint64_t max_gso_segment_at; /* when it was found */
    struct mmsghdr message[SENDQ_SIZE];
    struct sendq_segments parts[SENDQ_SIZE];
    struct iovec data[SENDQ_SIZE];
    struct udp_control control[SENDQ_SIZE];
};

/* Begin a batch of SENDQ_SIZE replies at most; what still waited is forgotten. */
void sendq_begin(struct sendq *box, uint64_t now);

/* What is added next goes elsewhere than what was added before. */
void sendq_end_run(struct sendq *box);

/* Add a reply's data: one datagram, or several of `reply->segment` octets. Name and data are
 * borrowed until they are sent. */
void sendq_add(struct sendq *box, const struct udp_reply *reply, void *data, size_t length);

/* Send what waits, from where the last call stopped; a failure costs one datagram and no other.
 * False if the socket has no room now. */
bool sendq_send(struct sendq *box, int fd, struct stats *stats, uint64_t now);

/* Datagrams that wait. */
unsigned sendq_waiting(const struct sendq *box);

#endif
