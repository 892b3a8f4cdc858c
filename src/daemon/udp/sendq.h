/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_UDP_SENDQ_H
#define ECHOD_DAEMON_UDP_SENDQ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "daemon/stats/stats.h"
#include "daemon/udp/reply.h"

/* The send queue of a datagram socket: the replies to one received batch. Datagrams of the same
 * length that follow one another to the same client become segments of one message (udp(7),
 * UDP_SEGMENT), because the way through the kernel, which is most of the cost of an echo, is then
 * paid once for all of them. If such a message cannot be sent, its datagrams are sent singly. */

#define SENDQ_SIZE 32

/* How a message consists of datagrams. */
struct sendq_segments {
    size_t segment; /* octets of each datagram; the last may be shorter */
    unsigned count; /* datagrams that were not sent yet */
    bool singly;    /* send each datagram by itself */
};

struct sendq {
    unsigned waiting;   /* messages left */
    unsigned next;      /* index of the first message left */
    unsigned data_used; /* elements of `data` in use */
    bool joinable;      /* a datagram to the same client may become a segment of the last message */
    size_t octets;      /* length of the last message */
    size_t control_length;  /* of the control messages of the last message, without UDP_SEGMENT */
    size_t max_gso_segment; /* longest segment that is worth trying, in octets */
    uint64_t max_gso_segment_at; /* when that was found, in nanoseconds */
    struct mmsghdr message[SENDQ_SIZE];
    struct sendq_segments segments[SENDQ_SIZE]; /* of the message with the same index */
    struct iovec data[SENDQ_SIZE];
    struct udp_control control[SENDQ_SIZE]; /* of the message with the same index */
};

/* Begin a batch of at most SENDQ_SIZE replies, and forget what was not sent. */
void sendq_begin(struct sendq *queue, uint64_t now);

/* Add a reply: one datagram, or several of `reply->segment` octets each. `data` and the name that
 * *reply points to are borrowed until they are sent. */
void sendq_add(struct sendq *queue, const struct udp_reply *reply, void *data, size_t length);

/* Send what is left. A datagram that fails is dropped and counted, the others are sent. False if
 * the socket has no room now. */
bool sendq_send(struct sendq *queue, int fd, struct stats *stats, uint64_t now);

/* How many datagrams are left. */
unsigned sendq_waiting(const struct sendq *queue);

#endif
