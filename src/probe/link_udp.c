/* SPDX-License-Identifier: ISC */
#include "probe/link_udp.h"

#include <errno.h>
#include <linux/net_tstamp.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/util.h"
#include "net/socket.h"
#include "probe/datagram.h"
#include "probe/inflight.h"

/* The most datagrams that one call sends or receives, and the octets of room for them. */
#define DATAGRAMS 64
#define ROOM      (256 * 1024)

/* Batches received for one wake-up. After them the schedule gets its turn. */
#define TURNS 8

#define TRIES 4

/* Socket buffers: room for 60 of the largest datagrams. The kernel's limits may cap it. */
#define BUFFER (4 * 1024 * 1024)

/* Octets of control messages: a time stamp, or what describes an error. */
#define CONTROL 512

/* The kernel stamps datagrams that were sent, and numbers them. The probes of the latest STAMPS
 * numbers are remembered. A power of two. */
#define STAMPS 1024

#define STAMPING                                                                                   \
    (SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_TX_SOFTWARE |     \
     SOF_TIMESTAMPING_OPT_ID | SOF_TIMESTAMPING_OPT_TSONLY)

/* Memory of one call. All links share it. */
struct datagram_batch {
    unsigned size;
    struct mmsghdr out[DATAGRAMS];
    struct mmsghdr in[DATAGRAMS];
    struct iovec out_iov[DATAGRAMS];
    struct iovec in_iov[DATAGRAMS];
    struct addr from[DATAGRAMS];
    char control[DATAGRAMS][CONTROL] __attribute__((aligned(8)));
    uint8_t octets[]; /* `size` payloads to send, then `size` rooms to receive */
};

/* The socket is not connected, or the kernel would drop what comes from a wrong source. */
struct link_udp {
    struct probe_link link;
    struct datagram_batch *batch; /* belongs to the first link, which is closed last */
    bool stamping;
    uint32_t stamp_id;          /* number that the kernel gives to the next datagram */
    uint64_t stamp_seq[STAMPS]; /* probe of number i is in stamp_seq[i % STAMPS] */
};

static struct link_udp *link_udp_of(struct probe_link *link)
{
    return container_of(link, struct link_udp, link);
}

/* ---- opening ---- */

static void close_udp(struct probe_link *link)
{
    struct link_udp *udp = link_udp_of(link);

    probe_watch(&link->watch, 0);
    if (link->watch.fd >= 0)
        close(link->watch.fd);
    if (link->index == 0)
        free(udp->batch);
    probe_link_fini(link);
    free(udp);
}

/* Begin with number 0, again after a failed call: it is not known whether that took a number. */
static void number_stamps(struct link_udp *udp)
{
    int fd = udp->link.watch.fd;

    udp->stamp_id = 0;
    udp->stamping = socket_set_option(fd, SOL_SOCKET, SO_TIMESTAMPING, 0) == 0 &&
                    socket_set_option(fd, SOL_SOCKET, SO_TIMESTAMPING, STAMPING) == 0;
}

static int open_udp_socket(struct link_udp *udp)
{
    struct probe *probe = udp->link.probe;
    struct addr own = {.len = sizeof own.in6};
    int fd;

    if (datagram_route(probe, &udp->link.peer, udp->link.index) < 0)
        return -1;
    fd = datagram_open(probe, &udp->link.peer, udp->link.index);
    if (fd < 0)
        return -1;
    udp->link.watch.fd = fd;
    (void)socket_set_option(fd, SOL_SOCKET, SO_SNDBUF, BUFFER);
    (void)socket_set_option(fd, SOL_SOCKET, SO_RCVBUF, BUFFER);
    if (getsockname(fd, &own.sa, &own.len) == 0)
        udp->link.port = addr_port(&own);
    if (probe->settings.kernel_stamps)
        number_stamps(udp);
    return probe_watch(&udp->link.watch, POLLIN);
}

/* A room is an octet larger than a payload; MSG_TRUNC tells of longer datagrams. NULL with
 * errno. */
static struct datagram_batch *new_datagram_batch(size_t payload)
{
    size_t room = payload + 1;
    unsigned size = ROOM / room < DATAGRAMS ? (unsigned)(ROOM / room) : DATAGRAMS;
    struct datagram_batch *batch = calloc(1, sizeof *batch + 2 * size * room);

    if (!batch)
        return NULL;
    batch->size = size;
    for (unsigned i = 0; i < size; i++) {
        batch->out_iov[i] = (struct iovec){batch->octets + i * room, payload};
        batch->in_iov[i] = (struct iovec){batch->octets + (size + i) * room, room};
        batch->out[i].msg_hdr = (struct msghdr){.msg_iov = &batch->out_iov[i], .msg_iovlen = 1};
        batch->in[i].msg_hdr = (struct msghdr){
            .msg_name = &batch->from[i].sa, .msg_iov = &batch->in_iov[i], .msg_iovlen = 1};
    }
    return batch;
}

static int set_batch(struct link_udp *udp, size_t payload)
{
    if (udp->link.index == 0)
        udp->batch = new_datagram_batch(payload);
    else
        udp->batch = link_udp_of(udp->link.probe->links[0])->batch;
    return udp->batch ? 0 : -1;
}

static struct probe_link *open_udp(struct probe *probe, const struct addr *peer, unsigned index)
{
    struct link_udp *udp = calloc(1, sizeof *udp);

    if (udp) {
        probe_link_init(&udp->link, &probe_udp_ops, probe, index);
        udp->link.peer = *peer;
        if (set_batch(udp, probe->payload.size) == 0 && open_udp_socket(udp) == 0)
            return &udp->link;
    }
    probe_failed(probe, peer, errno, 2);
    if (udp)
        close_udp(&udp->link);
    return NULL;
}

/* ---- the error queue: errors, and when datagrams were sent ---- */

/* Returns false if it is no error, or if sending has returned the error already. */
static bool count_error(struct link_udp *udp, const struct datagram_error *error,
                        const uint8_t *octets)
{
    struct probe *probe = udp->link.probe;
    struct payload_identity about;

    if (error->stamp != 0)
        inflight_stamp(probe, udp->stamp_seq[error->number % STAMPS], error->stamp);
    if (error->local)
        return false;
    about = payload_identify(&probe->payload, octets, error->len, inflight_oldest(probe),
                             probe->counters.sent);
    inflight_icmp_error(&udp->link, about.seq, error->error,
                        error->from.len != 0 ? &error->from : NULL,
                        error->from.len != 0 ? &error->icmp : NULL, clock_now());
    return true;
}

/* Returns whether there were errors of earlier datagrams; taking them clears the error that the
 * next call would fail with. */
static bool drain_errors(struct link_udp *udp)
{
    bool taken = false;
    struct datagram_error error;
    uint8_t octets[576]; /* no router returns more of a datagram */

    for (unsigned i = 0; i < 4 * DATAGRAMS; i++) {
        if (!datagram_take_error(udp->link.watch.fd, &error, octets, sizeof octets))
            break;
        taken |= count_error(udp, &error, octets);
    }
    return taken;
}

/* ---- sending ---- */

/* Returns how many were sent; 0 with the errno of the first. */
static unsigned send_datagrams(struct link_udp *udp, uint64_t first, unsigned count)
{
    const struct payload *payload = &udp->link.probe->payload;
    struct datagram_batch *batch = udp->batch;
    int sent = -1;

    for (unsigned i = 0; i < count; i++) {
        payload_fill(payload, first + i, 0, batch->out_iov[i].iov_base, payload->size);
        batch->out[i].msg_hdr.msg_name = &udp->link.peer.sa;
        batch->out[i].msg_hdr.msg_namelen = udp->link.peer.len;
        udp->stamp_seq[(udp->stamp_id + i) % STAMPS] = first + i;
    }
    /* A call may fail with the error of an earlier datagram; then this one has not been sent. */
    for (unsigned tries = 0; sent < 0 && tries < TRIES; tries++) {
        sent = sendmmsg(udp->link.watch.fd, batch->out, count, 0);
        if (sent < 0) {
            int failure = errno;
            bool earlier = failure != EAGAIN && drain_errors(udp);

            errno = failure;
            if (!earlier)
                break;
        }
    }
    if (sent < 0)
        return 0;
    udp->stamp_id += (unsigned)sent;
    return (unsigned)sent;
}

static unsigned send_udp(struct probe_link *link, uint64_t first, unsigned count)
{
    struct link_udp *udp = link_udp_of(link);
    unsigned done = 0;

    while (done < count) {
        unsigned part = count - done < udp->batch->size ? count - done : udp->batch->size;
        unsigned sent = send_datagrams(udp, first + done, part);

        if (sent == 0 && errno == EAGAIN) {
            link->blocked = true;
            probe_watch(&link->watch, POLLIN | POLLOUT);
            break;
        }
        if (sent == 0) {
            inflight_error(link, first + done, errno, NULL, clock_now());
            if (udp->stamping)
                number_stamps(udp);
            sent = 1;
        }
        done += sent;
    }
    return done;
}

/* ---- receiving ---- */

/* A datagram longer than its room is wrong, whatever the rest of it is. */
static void count_datagram(struct link_udp *udp, unsigned i, uint64_t now)
{
    struct probe *probe = udp->link.probe;
    struct datagram_batch *batch = udp->batch;
    const uint8_t *octets = batch->in_iov[i].iov_base;
    size_t len = batch->in[i].msg_len;
    bool whole = len <= batch->in_iov[i].iov_len;
    struct probe_arrival arrival = {.from = &batch->from[i],
                                    .octets = whole ? octets : NULL,
                                    .size = len,
                                    .now = now,
                                    .stamp = datagram_stamp(&batch->in[i].msg_hdr)};
    struct payload_identity identity;

    batch->from[i].len = batch->in[i].msg_hdr.msg_namelen;
    identity = payload_identify(&probe->payload, octets, whole ? len : batch->in_iov[i].iov_len,
                                inflight_oldest(probe), probe->counters.sent);
    inflight_reply(&udp->link, &identity, &arrival);
}

/* Returns whether there may be more. */
static bool receive_datagrams(struct link_udp *udp)
{
    struct datagram_batch *batch = udp->batch;
    uint64_t now;
    int count;

    for (unsigned i = 0; i < batch->size; i++) {
        struct msghdr *msg = &batch->in[i].msg_hdr;

        msg->msg_namelen = sizeof batch->from[i].in6;
        msg->msg_control = udp->stamping ? batch->control[i] : NULL;
        msg->msg_controllen = udp->stamping ? CONTROL : 0;
    }
    count = recvmmsg(udp->link.watch.fd, batch->in, batch->size, MSG_TRUNC, NULL);
    now = clock_now();
    if (count < 0)
        return errno != EAGAIN && drain_errors(udp);
    for (int i = 0; i < count && !udp->link.probe->stopped; i++)
        count_datagram(udp, (unsigned)i, now);
    return (unsigned)count == batch->size;
}

static void udp_is_ready(struct probe_link *link, struct probe_watch *watch, short revents)
{
    struct link_udp *udp = link_udp_of(link);

    if (revents & POLLOUT) {
        link->blocked = false;
        probe_watch(watch, POLLIN);
    }
    for (unsigned i = 0; i < TURNS && !link->probe->stopped; i++) {
        /* The stamp of a datagram is there before its reply is. */
        if (revents & POLLERR || udp->stamping)
            drain_errors(udp);
        if (!receive_datagrams(udp))
            return;
    }
}

const struct probe_ops probe_udp_ops = {
    .name = "udp",
    .type = SOCK_DGRAM,
    .min_size = 0,
    .max_size_v4 = DATAGRAM_MAX_V4,
    .max_size_v6 = DATAGRAM_MAX_V6,
    .open = open_udp,
    .send = send_udp,
    .ready = udp_is_ready,
    .close = close_udp,
};
