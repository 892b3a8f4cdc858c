/* SPDX-License-Identifier: ISC */
#include "daemon/udp/udp.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/addr.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/udp/sendq.h"
#include "net/socket.h"

/* Messages a turn: enough to spread the cost of a wake-up, few enough that TCP gets its share. */
#define BATCH SENDQ_SIZE

/* No datagram is larger (RFC 768 Length, which includes the header). */
#define DATAGRAM_MAX 65535

/* Buffers a power of two apart would all compete for the same few cache lines. */
#define BUFFER_STRIDE (DATAGRAM_MAX + 1 + 192)

/* How long a socket is left alone after receiving from it failed. */
#define RETRY_NS (50 * MILLISECOND)

/* How long replies wait for room in the send buffer. Replies to a neighbour that does not answer
 * ARP may fill it for seconds, and nothing is received meanwhile. */
#define SEND_WAIT_NS (100 * MILLISECOND)

/* After SINGLE_TURNS turns with a single message, ask for a batch only every SINGLE_RETRY'th turn.
 */
#define SINGLE_TURNS 64
#define SINGLE_RETRY 8

struct udp {
    struct loop_io io; /* not watched after another process has shut the socket down */
    int fd;
    struct loop *loop;
    struct stats *stats;
    const struct acl *access;
    const struct udp_params *params;
    struct loop_timer retry_timer; /* ends a pause after a failure to receive, or to send */
    struct log_limit receive_limit;
    bool answers_groups; /* sees, and may answer, broadcasts and multicasts */
    bool counts_drops;   /* no other worker counts the drops of this socket */
    bool knows_drops;    /* `drops` is valid */
    uint32_t drops;      /* of the socket so far, as the kernel told last */
    unsigned char *buffers;
    struct mmsghdr in[BATCH];
    struct iovec data[BATCH];
    struct addr source[BATCH];
    struct udp_control control[BATCH];
    unsigned single_turns;  /* turns in a row that received one message */
    struct udp_reply reply; /* to the request that was classified last */
    struct sendq queue;
};

/* ---- a batch ---- */

static enum verdict charge_datagram(const struct udp *udp, const struct addr *source,
                                    const void *data, size_t length)
{
    uint32_t fingerprint = loopguard_fingerprint(addr_port(source), data, length);
    enum verdict verdict =
        ratelimit_charge(udp->params->ratelimit, source, fingerprint, loop_now(udp->loop));

    verdict_count(verdict, udp->stats, 1);
    return verdict;
}

/* Charge each datagram of a message to its source, and move those that are answered together at the
 * front. Returns how many octets they have, or -1 if no datagram is answered. */
static ssize_t charge_message(const struct udp *udp, const struct msghdr *request, size_t left)
{
    char *data = request->msg_iov->iov_base, *from = data, *to = data;
    bool any = false;

    do {
        size_t size = left > udp->reply.segment ? udp->reply.segment : left;
        enum verdict verdict = charge_datagram(udp, request->msg_name, from, size);

        if (verdict == VERDICT_ANSWER || verdict == VERDICT_SLIP) {
            if (to != from)
                memmove(to, from, size);
            to += size;
            any = true;
        }
        from += size;
        left -= size;
    } while (left > 0);
    return any ? to - data : -1;
}

static void answer(struct udp *udp, const struct mmsghdr *in)
{
    const struct udp_reply *reply = &udp->reply;
    ssize_t length = (ssize_t)in->msg_len;
    unsigned datagrams = 1;

    if (reply->verdict == VERDICT_IGNORE)
        return;
    if (in->msg_len > reply->segment)
        datagrams = (in->msg_len + reply->segment - 1) / reply->segment;
    stats_add(&udp->stats->udp_received, datagrams);
    stats_add(&udp->stats->udp_octets_received, in->msg_len);
    if (reply->verdict != VERDICT_ANSWER) {
        verdict_count(reply->verdict, udp->stats, datagrams);
        return;
    }
    if (udp->params->ratelimit)
        length = charge_message(udp, &in->msg_hdr, in->msg_len);
    if (length >= 0)
        sendq_add(&udp->queue, reply, in->msg_hdr.msg_iov->iov_base, (size_t)length);
}

/* The counter wraps and may arrive out of order. Where the drops from before the start are unknown,
 * the first value of an inherited socket is only a baseline. */
static void count_drops(struct udp *udp, uint32_t drops)
{
    uint32_t more = udp->knows_drops ? drops - udp->drops : 0;

    if (!udp->counts_drops || drops == 0 || more > INT32_MAX)
        return;
    stats_add(&udp->stats->udp_dropped, more);
    udp->knows_drops = true;
    udp->drops = drops;
}

/* An inherited socket may have dropped datagrams before we were started. The sandbox does not let
 * us ask, so that a socket which a reload serves again begins with an unknown number. */
static void read_drops(struct udp *udp)
{
    uint32_t memory[SK_MEMINFO_VARS];
    socklen_t len = sizeof memory;

    if (getsockopt(udp->fd, SOL_SOCKET, SO_MEMINFO, memory, &len) < 0 || len < sizeof memory)
        return;
    udp->drops = memory[SK_MEMINFO_DROPS];
    udp->knows_drops = true;
}

static void queue_replies(struct udp *udp, unsigned received)
{
    sendq_begin(&udp->queue, loop_now(udp->loop));
    for (unsigned i = 0; i < received; i++) {
        udp_classify(udp->access, udp->params, udp->answers_groups, &udp->in[i].msg_hdr,
                     &udp->reply);
        count_drops(udp, udp->reply.dropped);
        answer(udp, &udp->in[i]);
    }
}

static void reset_slots(struct udp *udp, unsigned used)
{
    for (unsigned i = 0; i < used; i++) {
        udp->in[i].msg_hdr.msg_namelen = sizeof udp->source[i].in6;
        udp->in[i].msg_hdr.msg_controllen = sizeof udp->control[i];
    }
}

static unsigned choose_batch(const struct udp *udp)
{
    return udp->single_turns < SINGLE_TURNS || udp->single_turns % SINGLE_RETRY == 0 ? BATCH : 1;
}

/* Returns the number of messages, or -1 with errno. */
static int receive_batch(struct udp *udp)
{
    int n = recvmmsg(udp->fd, udp->in, choose_batch(udp), 0, NULL);

    if (n > 0) {
        udp->single_turns = n == 1 ? udp->single_turns + 1 : 0;
        queue_replies(udp, (unsigned)n);
        reset_slots(udp, (unsigned)n);
    }
    return n;
}

/* ---- turns ---- */

static void pause_receiving(struct udp *udp)
{
    int error = errno;
    uint64_t suppressed;

    if (log_limit_pass(&udp->receive_limit, loop_now(udp->loop), &suppressed))
        log_warning("udp: cannot receive: %s; trying again (%" PRIu64
                    " more failures since the last such line)",
                    strerror(error), suppressed);
    (void)loop_set(udp->loop, &udp->io, 0); /* if that fails, the next turn tries again */
    loop_timer_set(udp->loop, &udp->retry_timer, loop_now(udp->loop) + RETRY_NS);
}

/* The pause after a failure to receive is over, or replies have waited too long for room. */
static void resume(struct loop_timer *timer)
{
    struct udp *udp = container_of(timer, struct udp, retry_timer);

    stats_add(&udp->stats->udp_failed, sendq_waiting(&udp->queue));
    sendq_begin(&udp->queue, loop_now(udp->loop));
    if (loop_set(udp->loop, &udp->io, POLLIN) < 0)
        loop_timer_set(udp->loop, timer, loop_now(udp->loop) + RETRY_NS);
}

/* A socket that was shut down is readable for ever. */
static void end_watch(struct udp *udp)
{
    char text[ADDR_STRLEN];

    log_error("udp: another process has shut down the socket of %s, and nobody is answered there "
              "any more; restart what made it, and then echod",
              socket_print_own(udp->fd, text));
    loop_timer_stop(&udp->retry_timer);
    loop_del(udp->loop, &udp->io);
}

static bool send_waiting(struct udp *udp)
{
    return sendq_send(&udp->queue, udp->fd, udp->stats, loop_now(udp->loop));
}

static void serve_socket(struct loop_io *io, short revents)
{
    struct udp *udp = container_of(io, struct udp, io);

    (void)revents;
    if (udp->queue.waiting == 0) {
        int n = receive_batch(udp);
        bool none = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);

        /* ECONNREFUSED: an ICMP error for an earlier reply, which this call has cleared. */
        if (n < 0 && !none && errno != EINTR && errno != ECONNREFUSED)
            pause_receiving(udp);
        if (n <= 0 && io->events != POLLOUT) {
            if (none && loop_is_shut_down(udp->fd))
                end_watch(udp);
            return;
        }
    }
    if (send_waiting(udp)) {
        loop_timer_stop(&udp->retry_timer);
        (void)loop_set(udp->loop, io, POLLIN); /* if that fails, POLLOUT calls us to try again */
    } else if (io->events != POLLOUT) {
        loop_timer_set(udp->loop, &udp->retry_timer, loop_now(udp->loop) + SEND_WAIT_NS);
        (void)loop_set(udp->loop, io, POLLOUT); /* if that fails, the timer drops the replies */
    }
}

/* ---- life ---- */

/* Only the pages that datagrams have filled take memory. 0 or -1. */
static int map_buffers(struct udp *udp)
{
    void *buffers = mmap(NULL, BATCH * BUFFER_STRIDE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (buffers == MAP_FAILED)
        return -1;
    udp->buffers = buffers;
    for (unsigned i = 0; i < BATCH; i++) {
        udp->data[i] =
            (struct iovec){.iov_base = udp->buffers + i * BUFFER_STRIDE, .iov_len = DATAGRAM_MAX};
        udp->in[i].msg_hdr = (struct msghdr){.msg_name = &udp->source[i],
                                             .msg_iov = &udp->data[i],
                                             .msg_iovlen = 1,
                                             .msg_control = udp->control[i].octets};
    }
    reset_slots(udp, BATCH);
    return 0;
}

struct udp *udp_new(struct loop *loop, struct stats *stats, const struct acl *access,
                    const struct udp_params *params, int fd, bool is_primary,
                    unsigned sharing_workers)
{
    struct udp *udp = calloc(1, sizeof *udp);

    if (!udp)
        return NULL;
    udp->fd = fd;
    udp->loop = loop;
    udp->stats = stats;
    udp->access = access;
    udp->params = params;
    udp->answers_groups = is_primary || sharing_workers > 0;
    udp->counts_drops = is_primary || sharing_workers == 0;
    udp->knows_drops = sharing_workers == 0;
    if (udp->counts_drops && !udp->knows_drops)
        read_drops(udp);
    if (map_buffers(udp) < 0) {
        free(udp);
        return NULL;
    }
    if ((sharing_workers > 1 ? loop_add_shared : loop_add)(loop, &udp->io, fd, POLLIN,
                                                           serve_socket) < 0) {
        munmap(udp->buffers, BATCH * BUFFER_STRIDE);
        free(udp);
        return NULL;
    }
    loop_timer_init(loop, &udp->retry_timer, resume);
    return udp;
}

/* Bounded: datagrams may come as fast as they are answered, and so may errors. */
static void empty_queue(struct udp *udp)
{
    for (int i = 0; i < 65536 / BATCH && send_waiting(udp); i++)
        if (receive_batch(udp) < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
}

void udp_free(struct udp *udp)
{
    if (loop_is_watched(&udp->io))
        empty_queue(udp);
    loop_del(udp->loop, &udp->io);
    loop_timer_fini(udp->loop, &udp->retry_timer);
    munmap(udp->buffers, BATCH * BUFFER_STRIDE);
    free(udp);
}

void udp_retire(struct udp *udp)
{
    socket_retire(SOCK_DGRAM, udp->fd);
}

int udp_fd(const struct udp *udp)
{
    return udp->fd;
}
