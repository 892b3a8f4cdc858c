/* SPDX-License-Identifier: ISC */
#include "daemon/udp/sendq.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>

#include "common/util.h"

/* Segments of one message that every kernel takes which knows of them (UDP_MAX_SEGMENTS), and
 * octets: an IPv6 packet's, less its headers. */
#define SEGMENTS_MAX 64
#define OCTETS_MAX   (65535 - 40 - 8)

static_assert(SENDQ_SIZE <= SEGMENTS_MAX, "a batch of datagrams may leave as one message");

/* How long longer segments are not tried after one was too long for its path. */
#define LESSON_NS UINT64_C(1000000000)

void sendq_begin(struct sendq *box, uint64_t now)
{
    box->sent = 0;
    box->waiting = 0;
    box->data_used = 0;
    box->open = false;
    if (now - box->max_gso_segment_at >= LESSON_NS)
        box->longest = OCTETS_MAX;
}

void sendq_end_run(struct sendq *box)
{
    box->open = false;
}

/* The last control message, so that it can be left out. */
static void add_segment_size(struct msghdr *header, size_t segment)
{
    uint16_t size = (uint16_t)segment;

    add_control_message(header, SOL_UDP, UDP_SEGMENT, &size, sizeof size);
}

static bool join(struct sendq *box, size_t length)
{
    struct sendq_segments *parts = &box->parts[box->waiting - 1];
    struct msghdr *header = &box->message[box->waiting - 1].msg_hdr;

    if (length == 0 || length > parts->segment || box->octets + length > OCTETS_MAX)
        return false;
    if (parts->count++ == 1)
        add_segment_size(header, parts->segment);
    header->msg_iovlen++;
    box->octets += length;
    box->open = length == parts->segment;
    return true;
}

void sendq_add(struct sendq *box, const struct udp_reply *reply, void *data, size_t length)
{
    bool many = length > reply->segment;
    struct iovec *iov = &box->data[box->data_used++];
    struct sendq_segments *parts = &box->parts[box->waiting];
    struct msghdr *header = &box->message[box->waiting].msg_hdr;

    *iov = (struct iovec){.iov_base = data, .iov_len = length};
    if (box->open && !many && join(box, length))
        return;
    *header = reply->header;
    header->msg_iov = iov;
    header->msg_iovlen = 1;
    header->msg_control = box->control[box->waiting].octets;
    memcpy(header->msg_control, reply->control.octets, header->msg_controllen);
    *parts = (struct sendq_segments){.segment = length, .count = 1};
    if (many) {
        parts->segment = reply->segment;
        parts->count = (unsigned)((length + reply->segment - 1) / reply->segment);
        parts->one_by_one = reply->segment > box->longest;
        add_segment_size(header, reply->segment);
    }
    box->waiting++;
    box->octets = length;
    box->open = !many && length <= box->longest;
}

/* ---- sending ---- */

/* Messages that one call can send. */
static unsigned count_whole(const struct sendq *box)
{
    unsigned n = 0;

    while (n < box->waiting && !box->parts[box->sent + n].one_by_one)
        n++;
    return n;
}

static int send_first_segment(const struct sendq *box, int fd)
{
    struct mmsghdr one = box->message[box->sent];
    struct iovec data = *one.msg_hdr.msg_iov;

    if (data.iov_len > box->parts[box->sent].segment)
        data.iov_len = box->parts[box->sent].segment;
    one.msg_hdr.msg_iov = &data;
    one.msg_hdr.msg_iovlen = 1;
    one.msg_hdr.msg_controllen -= CMSG_SPACE(sizeof(uint16_t));
    return sendmmsg(fd, &one, 1, 0);
}

static void pass_messages(struct sendq *box, unsigned n)
{
    box->sent += n;
    box->waiting -= n;
}

/* Returns its length. */
static size_t pass_first_segment(struct sendq *box)
{
    struct msghdr *header = &box->message[box->sent].msg_hdr;
    struct sendq_segments *parts = &box->parts[box->sent];
    struct iovec *iov = header->msg_iov;
    size_t length = iov->iov_len < parts->segment ? iov->iov_len : parts->segment;

    iov->iov_base = (char *)iov->iov_base + length;
    iov->iov_len -= length;
    if (iov->iov_len == 0)
        header->msg_iov++;
    if (--parts->count == 0)
        pass_messages(box, 1);
    return length;
}

static void count_sent(const struct sendq *box, struct stats *stats, unsigned n)
{
    uint64_t octets = 0, datagrams = 0;

    for (unsigned i = box->sent; i < box->sent + n; i++) {
        octets += box->message[i].msg_len;
        datagrams += box->parts[i].count;
    }
    stats_add(&stats->udp_octets, octets);
    stats_add(&stats->udp_echoes, datagrams);
}

/* It failed as a whole: its segments are too long for its path (EMSGSIZE, or EINVAL before Linux
 * 6.13), or too many, or the way out knows of none (EIO), or for something that concerns each. */
static void send_one_by_one(struct sendq *box, int error, uint64_t now)
{
    struct sendq_segments *parts = &box->parts[box->sent];

    parts->one_by_one = true;
    if (error == EMSGSIZE || (error == EINVAL && parts->count <= SEGMENTS_MAX))
        box->longest = parts->segment - 1;
    else if (error == EIO)
        box->longest = 0;
    else
        return;
    box->max_gso_segment_at = now;
}

/* sendmmsg(2) stops at the first message that fails and tells why only when asked again. */
bool sendq_send(struct sendq *box, int fd, struct stats *stats, uint64_t now)
{
    while (box->waiting > 0) {
        struct sendq_segments *parts = &box->parts[box->sent];
        bool whole = !parts->one_by_one;
        int n = whole ? sendmmsg(fd, box->message + box->sent, count_whole(box), 0)
                      : send_first_segment(box, fd);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return false;
        if (n < 0 && whole && parts->count > 1) {
            send_one_by_one(box, errno, now);
        } else if (n < 0) {
            stats_add(&stats->udp_failed, 1);
            (void)pass_first_segment(box);
        } else if (whole) {
            count_sent(box, stats, (unsigned)n);
            pass_messages(box, (unsigned)n);
        } else {
            stats_add(&stats->udp_octets, pass_first_segment(box));
            stats_add(&stats->udp_echoes, 1);
        }
    }
    return true;
}

unsigned sendq_waiting(const struct sendq *box)
{
    unsigned n = 0;

    for (unsigned i = 0; i < box->waiting; i++)
        n += box->parts[box->sent + i].count;
    return n;
}
