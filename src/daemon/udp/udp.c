/* SPDX-License-Identifier: ISC */
#include "daemon/udp/udp.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/addr.h"
#include "common/util.h"
#include "daemon/udp/sendq.h"
#include "net/socket.h"

/* Messages a turn: enough to spread the cost of a wake-up, few enough that TCP gets its share. */
#define BATCH SENDQ_SIZE

/* No datagram is larger (RFC 768 Length, which includes the header). */
#define DATAGRAM_MAX 65535

/* Buffers a power of two apart would all compete for the same few cache lines. */
#define BUFFER_STRIDE (DATAGRAM_MAX + 1 + 192)

/* How long a socket rests whose receiving fails. */
#define REST_NS (50 * UINT64_C(1000000))

/* How long replies wait for room in a socket: those to a neighbour that does not answer may fill it
 * for seconds, and meanwhile nobody would be read from. */
#define PATIENCE_NS (100 * UINT64_C(1000000))

/* Being told how many hops a datagram has left, and how many were dropped, costs some percent of an
 * echo, so one looks only for a while now and then, and when a datagram comes after a while of
 * silence. A loop ends when it is looked at once, and what was dropped is told by its sum. */
#define LOOK_NS      (10 * UINT64_C(1000000))
#define LOOK_AWAY_NS (200 * UINT64_C(1000000))

#define ALONE_FOR_LONG 64
#define ALONE_AGAIN    8

struct udp {
    struct loop_io io;
    int fd; /* watched, unless somebody has shut it down */
    struct loop *loop;
    struct stats *stats;
    const struct acl *access;
    const struct udp_params *params;
    struct loop_timer rest_timer;
    struct log_limit receive_limit;
    bool looking;          /* at hops and drops, */
    uint64_t look_changes; /* until then, or not before */
    bool answers_groups;
    bool counts_drops;  /* or another worker does, */
    bool knows_dropped; /* and began to, */
    uint32_t dropped;   /* after so many */
    unsigned char *buffers;
    struct mmsghdr in[BATCH];
    struct iovec data[BATCH];
    struct addr source[BATCH];
    struct udp_control control[BATCH];
    unsigned alone;         /* turns in a row that found one message */
    struct udp_reply reply; /* as judged last, */
    struct msghdr judged;   /* for this request, without its data: flags of -1 for none */
    struct addr judged_source;
    struct udp_control judged_control;
    struct sendq out;
};

/* ---- a batch in ---- */

static void count_refusal(struct stats *stats, enum udp_verdict verdict, unsigned datagrams)
{
    switch (verdict) {
    case UDP_REFUSE_PORT:
        stats_add(&stats->udp_refused_port, datagrams);
        break;
    case UDP_REFUSE_GROUP:
        stats_add(&stats->udp_refused_group, datagrams);
        break;
    case UDP_DENY:
        stats_add(&stats->udp_denied, datagrams);
        break;
    case UDP_LOOP:
        stats_add(&stats->udp_looped, datagrams);
        break;
    case UDP_OVER_BUDGET:
        stats_add(&stats->udp_over_budget, datagrams);
        break;
    case UDP_REFUSE_OTHER:
    case UDP_ANSWER:
    case UDP_PASS_OVER:
        stats_add(&stats->udp_refused_other, datagrams);
        break;
    }
}

static enum udp_verdict charge_one(struct udp *udp, const struct addr *source, const void *data,
                                   size_t length)
{
    uint32_t mark = ratelimit_fingerprint(addr_port(source), data, length);

    switch (ratelimit_spend(udp->params->budget, source, mark, loop_now(udp->loop))) {
    case RATELIMIT_REFUSE:
        return UDP_OVER_BUDGET;
    case RATELIMIT_LOOP:
        return UDP_LOOP;
    case RATELIMIT_SLIP:
        stats_add(&udp->stats->udp_leaked, 1);
        break;
    case RATELIMIT_ANSWER:
        break;
    }
    return UDP_ANSWER;
}

/* Charge each datagram of a message to its source. Those that may be answered move together at the
 * front: returns how many octets that are, or -1 for no datagram. */
static ssize_t charge(struct udp *udp, const struct msghdr *request, size_t left)
{
    char *data = request->msg_iov->iov_base, *from = data, *to = data;
    bool any = false;

    do {
        size_t size = left > udp->reply.segment ? udp->reply.segment : left;
        enum udp_verdict verdict = charge_one(udp, request->msg_name, from, size);

        if (verdict == UDP_ANSWER) {
            if (to != from)
                memmove(to, from, size);
            to += size;
            any = true;
        } else {
            count_refusal(udp->stats, verdict, 1);
        }
        from += size;
        left -= size;
    } while (left > 0);
    return any ? to - data : -1;
}

static void answer(struct udp *udp, const struct mmsghdr *in)
{
    const struct udp_reply *reply = &udp->reply;
    ssize_t length = in->msg_len;
    unsigned datagrams = 1;

    if (reply->verdict == UDP_PASS_OVER)
        return;
    if (in->msg_len > reply->segment)
        datagrams = (in->msg_len + reply->segment - 1) / reply->segment;
    stats_add(&udp->stats->udp_received, datagrams);
    if (reply->verdict != UDP_ANSWER) {
        count_refusal(udp->stats, reply->verdict, datagrams);
        return;
    }
    if (udp->params->budget)
        length = charge(udp, &in->msg_hdr, in->msg_len);
    if (length >= 0)
        sendq_add(&udp->out, reply, in->msg_hdr.msg_iov->iov_base, (size_t)length);
}

/* The number wraps, and datagrams that arrived at once may tell it in the wrong order. What an
 * inherited socket dropped before somebody looked was perhaps not dropped in our time. */
static void count_drops(struct udp *udp, uint32_t dropped)
{
    uint32_t more = udp->knows_dropped ? dropped - udp->dropped : 0;

    if (!udp->counts_drops || dropped == 0 || more > INT32_MAX)
        return;
    stats_add(&udp->stats->udp_dropped, more);
    udp->knows_dropped = true;
    udp->dropped = dropped;
}

/* The buffers are needed again. Whom one meets next is mostly whom one met last. */
static void remember_judged(struct udp *udp, const struct msghdr *request)
{
    udp->judged.msg_namelen = request->msg_namelen;
    udp->judged.msg_controllen = request->msg_controllen;
    udp->judged.msg_flags = request->msg_flags;
    memcpy(udp->judged.msg_name, request->msg_name, request->msg_namelen);
    memcpy(udp->judged.msg_control, request->msg_control, request->msg_controllen);
}

static void compose_replies(struct udp *udp, unsigned received)
{
    const struct msghdr *before = &udp->judged;

    sendq_begin(&udp->out, loop_now(udp->loop));
    for (unsigned i = 0; i < received; i++) {
        const struct msghdr *request = &udp->in[i].msg_hdr;

        if (!udp_judge(udp->access, udp->params, udp->answers_groups, before, request,
                       &udp->reply)) {
            sendq_end_run(&udp->out);
            count_drops(udp, udp->reply.dropped);
            before = request;
        }
        /* The same name, in a buffer that is not used again before the reply has left. */
        udp->reply.header.msg_name = request->msg_name;
        answer(udp, &udp->in[i]);
    }
    if (before != &udp->judged)
        remember_judged(udp, before);
}

static void reset_slots(struct udp *udp, unsigned used)
{
    for (unsigned i = 0; i < used; i++) {
        udp->in[i].msg_hdr.msg_namelen = sizeof udp->source[i].in6;
        udp->in[i].msg_hdr.msg_controllen = sizeof udp->control[i];
    }
}

static void look(struct udp *udp, bool on, uint64_t until)
{
    udp->looking = on;
    udp->look_changes = until;
    socket_enable_ttl_and_drops(udp->fd, on);
}

static void begin_look(struct udp *udp, uint64_t now)
{
    if (!udp->looking && now >= udp->look_changes)
        look(udp, true, now + LOOK_NS);
}

/* Not before something was received, or who seldom meets a datagram would never look at one that
 * came while it was looking. A loop must not keep step with it: what the clock's last digits are is
 * as good as chance. */
static void end_look(struct udp *udp, uint64_t now)
{
    if (udp->looking && now >= udp->look_changes)
        look(udp, false, now + LOOK_AWAY_NS + now % LOOK_AWAY_NS);
}

/* Looking for a second message where there is none costs some percent of an echo, so who meets one
 * at a time for long looks no further but now and then. */
static unsigned choose_count(const struct udp *udp)
{
    return udp->alone < ALONE_FOR_LONG || udp->alone % ALONE_AGAIN == 0 ? BATCH : 1;
}

/* The number of messages, or -1. */
static int receive_batch(struct udp *udp)
{
    uint64_t now = loop_now(udp->loop);
    int n;

    begin_look(udp, now);
    n = recvmmsg(udp->fd, udp->in, choose_count(udp), 0, NULL);
    if (n > 0) {
        udp->alone = n == 1 ? udp->alone + 1 : 0;
        compose_replies(udp, (unsigned)n);
        reset_slots(udp, (unsigned)n);
        end_look(udp, now);
    }
    return n;
}

static void rest(struct udp *udp)
{
    int error = errno;
    uint64_t suppressed;

    if (log_limit_pass(&udp->receive_limit, loop_now(udp->loop), &suppressed))
        log_warning("udp: cannot receive: %s; trying again (%" PRIu64
                    " more failures since the last such line)",
                    strerror(error), suppressed);
    (void)loop_set(udp->loop, &udp->io, 0); /* or it rests again soon */
    loop_timer_set(udp->loop, &udp->rest_timer, loop_now(udp->loop) + REST_NS);
}

/* Of a socket that could not receive, or whose replies found no room. */
static void end_rest(struct loop_timer *timer)
{
    struct udp *udp = container_of(timer, struct udp, rest_timer);

    stats_add(&udp->stats->udp_failed, sendq_waiting(&udp->out));
    sendq_begin(&udp->out, loop_now(udp->loop));
    if (loop_set(udp->loop, &udp->io, POLLIN) < 0)
        loop_timer_set(udp->loop, timer, loop_now(udp->loop) + REST_NS);
}

/* It would be readable for ever. */
static void end_watch(struct udp *udp)
{
    char text[ADDR_STRLEN];

    log_error("udp: another process has shut down the socket of %s, and nobody is answered there "
              "any more; restart what made it, and then echod",
              socket_print_own(udp->fd, text));
    loop_timer_stop(&udp->rest_timer);
    loop_del(udp->loop, &udp->io);
}

static bool send_waiting(struct udp *udp)
{
    return sendq_send(&udp->out, udp->fd, udp->stats, loop_now(udp->loop));
}

static void serve(struct loop_io *io, short revents)
{
    struct udp *udp = container_of(io, struct udp, io);

    (void)revents;
    if (udp->out.waiting == 0) {
        int n = receive_batch(udp);
        bool none = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);

        /* ICMP errors for earlier replies come up here too; reading one clears it. */
        if (n < 0 && !none && errno != EINTR && errno != ECONNREFUSED)
            rest(udp);
        if (n <= 0 && io->events != POLLOUT) {
            if (none && loop_is_shut_down(udp->fd))
                end_watch(udp);
            return;
        }
    }
    if (send_waiting(udp)) {
        loop_timer_stop(&udp->rest_timer);
        (void)loop_set(udp->loop, io, POLLIN); /* or POLLOUT brings us back, to try again */
    } else if (io->events != POLLOUT) {
        loop_timer_set(udp->loop, &udp->rest_timer, loop_now(udp->loop) + PATIENCE_NS);
        (void)loop_set(udp->loop, io, POLLOUT); /* or the timer drops what waits */
    }
}

/* ---- life ---- */

struct udp *udp_new(struct loop *loop, struct stats *stats, const struct acl *access,
                    const struct udp_params *params, int fd, bool first, unsigned sharing_workers)
{
    struct udp *udp = calloc(1, sizeof *udp);
    void *buffers;

    if (!udp)
        return NULL;
    /* Only the pages that datagrams have filled take memory. */
    buffers = mmap(NULL, BATCH * BUFFER_STRIDE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                   -1, 0);
    if (buffers == MAP_FAILED) {
        free(udp);
        return NULL;
    }
    udp->buffers = buffers;
    udp->fd = fd;
    udp->loop = loop;
    udp->stats = stats;
    udp->access = access;
    udp->params = params;
    udp->answers_groups = first || sharing_workers > 0;
    udp->counts_drops = first || sharing_workers == 0;
    udp->knows_dropped = sharing_workers == 0;
    for (unsigned i = 0; i < BATCH; i++) {
        udp->data[i] =
            (struct iovec){.iov_base = udp->buffers + i * BUFFER_STRIDE, .iov_len = DATAGRAM_MAX};
        udp->in[i].msg_hdr = (struct msghdr){.msg_name = &udp->source[i],
                                             .msg_iov = &udp->data[i],
                                             .msg_iovlen = 1,
                                             .msg_control = udp->control[i].octets};
    }
    reset_slots(udp, BATCH);
    udp->judged = (struct msghdr){.msg_name = &udp->judged_source,
                                  .msg_control = udp->judged_control.octets,
                                  .msg_flags = -1};
    if ((sharing_workers > 1 ? loop_add_shared : loop_add)(loop, &udp->io, fd, POLLIN, serve) < 0) {
        munmap(udp->buffers, BATCH * BUFFER_STRIDE);
        free(udp);
        return NULL;
    }
    loop_timer_init(loop, &udp->rest_timer, end_rest);
    return udp;
}

/* Bounded: a receive buffer has an end, but datagrams may come as fast as they are answered, and
 * errors too. */
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
    loop_timer_fini(udp->loop, &udp->rest_timer);
    munmap(udp->buffers, BATCH * BUFFER_STRIDE);
    free(udp);
}

void udp_params_changed(struct udp *udp)
{
    udp->judged.msg_flags = -1;
}

void udp_retire(struct udp *udp)
{
    socket_retire(SOCK_DGRAM, udp->fd);
}

int udp_fd(const struct udp *udp)
{
    return udp->fd;
}
