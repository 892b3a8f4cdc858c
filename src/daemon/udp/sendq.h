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

#define OUTBOX_ROOM 32

struct outbox_parts {
    size_t segment;  /* the length of its datagrams; the last may be shorter */
    unsigned count;  /* of its datagrams */
    bool one_by_one; /* they cannot leave together */
};

struct outbox {
    unsigned waiting; /* messages that were not sent... */
    unsigned sent;    /* ...the first of which it is */
    unsigned data_used;
    bool open;           /* what is added may join the last message... */
    size_t octets;       /* ...which has so many */
    size_t longest;      /* segment that is worth trying */
    uint64_t longest_at; /* when it was found */
    struct mmsghdr message[OUTBOX_ROOM];
    struct outbox_parts parts[OUTBOX_ROOM];
    struct iovec data[OUTBOX_ROOM];
    struct udp_control control[OUTBOX_ROOM];
};

/* Begin a batch of OUTBOX_ROOM replies at most; what still waited is forgotten. */
void outbox_begin(struct outbox *box, uint64_t now);

/* What is added next goes elsewhere than what was added before. */
void outbox_part(struct outbox *box);

/* Add a reply's data: one datagram, or several of `reply->segment` octets. Name and data are
 * borrowed until they are sent. */
void outbox_add(struct outbox *box, const struct udp_reply *reply, void *data, size_t length);

/* Send what waits, from where the last call stopped; a failure costs one datagram and no other.
 * False if the socket has no room now. */
bool outbox_send(struct outbox *box, int fd, struct stats *stats, uint64_t now);

/* Datagrams that wait. */
unsigned outbox_waiting(const struct outbox *box);

#endif
