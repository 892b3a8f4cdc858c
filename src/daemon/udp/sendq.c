/* SPDX-License-Identifier: ISC */
#include "daemon/udp/sendq.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "common/clock.h"
#include "common/util.h"

/* What every kernel with UDP_SEGMENT takes in one message: segments (UDP_MAX_SEGMENTS), and octets,
 * an IPv6 packet without its headers. */
#define SEGMENTS_MAX 64
#define OCTETS_MAX   (65535 - 40 - 8)

static_assert(SENDQ_SIZE <= SEGMENTS_MAX, "all replies of a batch may become one message");

/* How long only shorter segments are tried after a segment was too long for its path. Trying each
 * time costs 5 % of an echo (3000 octets, MTU 1500, 256 in flight: 8839 against 8454 ns). */
#define RETRY_GSO_NS SECOND

void sendq_begin(struct sendq *queue, uint64_t now)
{
    queue->next = 0;
    queue->waiting = 0;
    queue->data_used = 0;
    queue->joinable = false;
    if (now - queue->max_gso_segment_at >= RETRY_GSO_NS)
        queue->max_gso_segment = OCTETS_MAX;
}

/* Append UDP_SEGMENT last, so that sending singly can truncate it. */
static void add_segment_size(struct msghdr *header, size_t segment)
{
    uint16_t size = (uint16_t)segment;

    add_control_message(header, SOL_UDP, UDP_SEGMENT, &size, sizeof size);
}

/* True if the reply goes from the same address to the same client as the last message, with the
 * same DSCP. UDP_SEGMENT stands behind the control messages that are compared. */
static bool same_way(const struct sendq *queue, const struct msghdr *reply)
{
    const struct msghdr *last = &queue->message[queue->waiting - 1].msg_hdr;

    return queue->control_length == reply->msg_controllen &&
           last->msg_namelen == reply->msg_namelen &&
           memcmp(last->msg_name, reply->msg_name, reply->msg_namelen) == 0 &&
           memcmp(last->msg_control, reply->msg_control, reply->msg_controllen) == 0;
}

/* Make a datagram a segment of the last message. False if it does not fit. */
static bool join(struct sendq *queue, const struct udp_reply *reply, size_t length)
{
    struct sendq_segments *segments = &queue->segments[queue->waiting - 1];
    struct msghdr *header = &queue->message[queue->waiting - 1].msg_hdr;

    if (length == 0 || length > segments->segment || queue->octets + length > OCTETS_MAX ||
        !same_way(queue, &reply->header))
        return false;
    if (segments->count++ == 1)
        add_segment_size(header, segments->segment);
    header->msg_iovlen++;
    queue->octets += length;
    queue->joinable = length == segments->segment;
    return true;
}

void sendq_add(struct sendq *queue, const struct udp_reply *reply, void *data, size_t length)
{
    bool many = length > reply->segment;
    struct iovec *iov = &queue->data[queue->data_used++];
    struct sendq_segments *segments = &queue->segments[queue->waiting];
    struct msghdr *header = &queue->message[queue->waiting].msg_hdr;

    *iov = (struct iovec){.iov_base = data, .iov_len = length};
    if (queue->joinable && !many && join(queue, reply, length))
        return;
    *header = reply->header;
    header->msg_iov = iov;
    header->msg_iovlen = 1;
    header->msg_control = queue->control[queue->waiting].octets;
    memcpy(header->msg_control, reply->control.octets, header->msg_controllen);
    *segments = (struct sendq_segments){.segment = length, .count = 1};
    if (many) {
        segments->segment = reply->segment;
        segments->count = (unsigned)((length + reply->segment - 1) / reply->segment);
        segments->singly = reply->segment > queue->max_gso_segment;
        add_segment_size(header, reply->segment);
    }
    queue->waiting++;
    queue->octets = length;
    queue->control_length = reply->header.msg_controllen;
    queue->joinable = !many && length <= queue->max_gso_segment;
}

/* ---- sending ---- */

/* How many messages sendmmsg() can send before the first that is sent singly. */
static unsigned count_whole(const struct sendq *queue)
{
    unsigned n = 0;

    while (n < queue->waiting && !queue->segments[queue->next + n].singly)
        n++;
    return n;
}

static int send_first_segment(const struct sendq *queue, int fd)
{
    struct mmsghdr one = queue->message[queue->next];
    struct iovec data = *one.msg_hdr.msg_iov;

    if (data.iov_len > queue->segments[queue->next].segment)
        data.iov_len = queue->segments[queue->next].segment;
    one.msg_hdr.msg_iov = &data;
    one.msg_hdr.msg_iovlen = 1;
    one.msg_hdr.msg_controllen -=
        (__typeof__(one.msg_hdr.msg_controllen))CMSG_SPACE(sizeof(uint16_t));
    return sendmmsg(fd, &one, 1, 0);
}

static void pass_messages(struct sendq *queue, unsigned n)
{
    queue->next += n;
    queue->waiting -= n;
}

/* Returns the length of the segment. */
static size_t pass_first_segment(struct sendq *queue)
{
    struct msghdr *header = &queue->message[queue->next].msg_hdr;
    struct sendq_segments *segments = &queue->segments[queue->next];
    struct iovec *iov = header->msg_iov;
    size_t length = iov->iov_len < segments->segment ? iov->iov_len : segments->segment;

    iov->iov_base = (char *)iov->iov_base + length;
    iov->iov_len -= length;
    if (iov->iov_len == 0)
        header->msg_iov++;
    if (--segments->count == 0)
        pass_messages(queue, 1);
    return length;
}

static void count_sent(const struct sendq *queue, struct stats *stats, unsigned n)
{
    uint64_t octets = 0, datagrams = 0;

    for (unsigned i = queue->next; i < queue->next + n; i++) {
        octets += queue->message[i].msg_len;
        datagrams += queue->segments[i].count;
    }
    stats_add(&stats->udp_octets, octets);
    stats_add(&stats->udp_echoes, datagrams);
}

/* A message of several segments failed. EMSGSIZE, or EINVAL before Linux 6.13: the segments are too
 * long for the path. EINVAL also if there are too many. EIO: the interface cannot send segments.
 * Another error may concern every single datagram as well. */
static void send_singly(struct sendq *queue, int error, uint64_t now)
{
    struct sendq_segments *segments = &queue->segments[queue->next];

    segments->singly = true;
    if (error == EMSGSIZE || (error == EINVAL && segments->count <= SEGMENTS_MAX))
        queue->max_gso_segment = segments->segment - 1;
    else if (error == EIO)
        queue->max_gso_segment = 0;
    else
        return;
    queue->max_gso_segment_at = now;
}

/* sendmmsg(2) stops before the first message that fails; only the next call returns its error. */
bool sendq_send(struct sendq *queue, int fd, struct stats *stats, uint64_t now)
{
    while (queue->waiting > 0) {
        struct sendq_segments *segments = &queue->segments[queue->next];
        bool whole = !segments->singly;
        int n = whole ? sendmmsg(fd, queue->message + queue->next, count_whole(queue), 0)
                      : send_first_segment(queue, fd);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return false;
        if (n < 0 && whole && segments->count > 1) {
            send_singly(queue, errno, now);
        } else if (n < 0) {
            stats_add(&stats->udp_failed, 1);
            (void)pass_first_segment(queue);
        } else if (whole) {
            count_sent(queue, stats, (unsigned)n);
            pass_messages(queue, (unsigned)n);
        } else {
            stats_add(&stats->udp_octets, pass_first_segment(queue));
            stats_add(&stats->udp_echoes, 1);
        }
    }
    return true;
}

unsigned sendq_waiting(const struct sendq *queue)
{
    unsigned n = 0;

    for (unsigned i = 0; i < queue->waiting; i++)
        n += queue->segments[queue->next + i].count;
    return n;
}
