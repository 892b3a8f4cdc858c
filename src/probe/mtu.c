/* SPDX-License-Identifier: ISC */
#include "probe/mtu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "common/clock.h"
#include "common/util.h"
#include "net/loop.h"
#include "net/signals.h"
#include "net/socket.h"
#include "probe/datagram.h"
#include "probe/payload.h"

/* Sending fails with the errors of earlier datagrams first. */
#define ERRORS 8

/* Datagrams received at a time, so that signals and timers get their turn. */
#define DATAGRAMS 8

const struct mtu_settings mtu_defaults = {.tries = 3, .timeout = SECOND};

struct search {
    const struct mtu_settings *settings;
    struct mtu_result *result;
    struct loop loop;
    struct signals signals;
    struct loop_io socket;
    struct loop_timer try_timer;
    struct loop_timer deadline_timer;
    struct addr peer;
    size_t headers;
    uint64_t nonce;
    uint64_t seq;            /* number of the latest try */
    uint64_t first;          /* number of the first try of this size */
    struct mtu_probe *probe; /* the size that is being tried */
    struct mtu_probe report; /* the latest of MTU_REPORTED: routers do not repeat it at will */
    bool decided;            /* it is known whether this size passes */
    bool refused;            /* this try failed by an error that is not about its size */
    bool timed_out;          /* this try was not answered in time */
    bool over;               /* the user or the deadline has ended the search */
    uint8_t out[DATAGRAM_ROOM];
    uint8_t in[DATAGRAM_ROOM];
};

/* Sizes up to `good` pass, sizes from `bad` on do not; `hint` may be the answer. */
struct bounds {
    size_t good;
    size_t bad;
    size_t hint;
    bool confirming; /* the hint is one more than an earlier hint that passed */
};

/* PROBE sets DF and ignores the path MTU that the kernel remembers: with DO an old report of a
 * router would look like a limit of this host. */
static int forbid_fragments(int fd, int family)
{
    if (family == AF_INET) {
        (void)socket_set_option(fd, SOL_IP, IP_RECVFRAGSIZE, 1);
        return socket_set_option(fd, SOL_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    }
    (void)socket_set_option(fd, SOL_IPV6, IPV6_RECVFRAGSIZE, 1);
    return socket_set_option(fd, SOL_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
}

/* ---- one try ---- */

/* Whether `in`, of which there are `len` octets, is one of the tries of this size. */
static enum payload_verdict identify(const struct search *search, size_t size, size_t len)
{
    struct payload payload = {.nonce = search->nonce, .size = size};
    struct payload_identity identity =
        payload_identify(&payload, search->in, len, search->seq, search->seq);

    return identity.seq >= search->first ? identity.verdict : PAYLOAD_FOREIGN;
}

/* A report that gives no smaller MTU than was sent is old, or false. */
static void judge_error(struct search *search, const struct datagram_error *error)
{
    struct mtu_probe *probe = search->probe;

    if (error->local && error->error != EMSGSIZE)
        return;
    if (error->len >= PAYLOAD_HEADER && identify(search, probe->size, error->len) > PAYLOAD_CORRUPT)
        return;
    if (error->error != EMSGSIZE) {
        probe->outcome = MTU_ERROR;
        probe->error = error->error;
        probe->from = error->from;
        search->refused = true;
        return;
    }
    if (error->mtu >= probe->size + search->headers)
        return;
    probe->outcome = error->local ? MTU_INTERFACE : MTU_REPORTED;
    probe->mtu = error->mtu;
    probe->from = error->from;
    if (!error->local)
        search->report = *probe;
    search->decided = true;
}

/* Returns whether there were errors. */
static bool drain_error_queue(struct search *search)
{
    struct datagram_error error;
    bool taken = false;

    for (unsigned i = 0; i < ERRORS && !search->decided; i++) {
        if (!datagram_take_error(search->socket.fd, &error, search->in, sizeof search->in))
            break;
        taken = true;
        judge_error(search, &error);
    }
    return taken;
}

static void send_try(struct search *search)
{
    struct mtu_probe *probe = search->probe;
    struct payload payload = {.nonce = search->nonce, .size = probe->size};
    int failure = 0;

    search->seq++;
    search->refused = false;
    probe->tries++;
    payload_fill(&payload, search->seq, 0, search->out, probe->size);
    for (unsigned i = 0; i < ERRORS && !search->decided; i++) {
        if (sendto(search->socket.fd, search->out, probe->size, MSG_DONTWAIT, &search->peer.sa,
                   search->peer.len) >= 0)
            return;
        failure = errno;
        if (!drain_error_queue(search))
            break;
    }
    /* Without room in the socket or in a queue of the interface, the try counts as lost. */
    if (search->decided || failure == EAGAIN || failure == ENOBUFS)
        return;
    probe->outcome = failure == EMSGSIZE ? MTU_INTERFACE : MTU_ERROR;
    probe->error = failure;
    probe->from.len = 0;
    search->decided = true;
}

/* Returns whether there was a datagram. */
static bool receive_answer(struct search *search)
{
    struct mtu_probe *probe = search->probe;
    struct addr from;
    size_t fragment;
    ssize_t len = datagram_receive(search->socket.fd, search->in, &from, &fragment);
    enum payload_verdict verdict;

    if (len < 0)
        return false;
    verdict = identify(search, probe->size, (size_t)len);
    if (!addr_equal(&from, &search->peer) ||
        (verdict != PAYLOAD_GOOD && verdict != PAYLOAD_TRUNCATED)) {
        search->result->foreign++;
        return true;
    }
    probe->outcome = fragment > 0 ? MTU_FRAGMENTED : MTU_WHOLE;
    if (verdict == PAYLOAD_TRUNCATED)
        probe->outcome = MTU_TRUNCATED;
    probe->fragment = fragment;
    probe->len = (size_t)len;
    search->decided = true;
    return true;
}

/* What arrives may also be a late answer to an earlier try of this size. */
static void answer_came(struct loop_io *io, short revents)
{
    struct search *search = container_of(io, struct search, socket);

    (void)revents;
    drain_error_queue(search);
    for (unsigned i = 0; i < DATAGRAMS && !search->decided; i++)
        if (!receive_answer(search))
            break;
}

static void await_answer(struct search *search)
{
    search->timed_out = false;
    loop_timer_set(&search->loop, &search->try_timer, clock_now() + search->settings->timeout);
    while (!search->decided && !search->refused && !search->timed_out && !search->over)
        loop_turn(&search->loop, -1);
}

static void try_timed_out(struct loop_timer *timer)
{
    container_of(timer, struct search, try_timer)->timed_out = true;
}

static void deadline_passed(struct loop_timer *timer)
{
    container_of(timer, struct search, deadline_timer)->over = true;
}

static void signal_came(struct signals *signals, int number)
{
    if (number != SIGQUIT) /* which asks other runs for the figures so far */
        container_of(signals, struct search, signals)->over = true;
}

/* ---- one size ---- */

static void try_size(struct search *search, size_t size, struct mtu_probe *probe)
{
    *probe = (struct mtu_probe){.size = size, .outcome = MTU_SILENT};
    search->probe = probe;
    search->decided = false;
    search->first = search->seq + 1;
    while (!search->decided && !search->over && probe->tries < search->settings->tries) {
        send_try(search);
        if (!search->decided)
            await_answer(search);
    }
    if (search->over)
        return;
    if (probe->outcome == MTU_SILENT && search->report.mtu != 0 &&
        search->report.mtu < size + search->headers) {
        probe->outcome = MTU_REPORTED;
        probe->mtu = search->report.mtu;
        probe->from = search->report.from;
    }
    if (search->settings->progress)
        search->settings->progress(search->settings->context, probe);
}

static bool came_back(const struct mtu_probe *probe)
{
    return probe->outcome == MTU_WHOLE || probe->outcome == MTU_FRAGMENTED;
}

/* ---- the search ---- */

static size_t next_size(const struct bounds *bounds)
{
    if (bounds->hint > bounds->good && bounds->hint < bounds->bad)
        return bounds->hint;
    return bounds->good + (bounds->bad - bounds->good) / 2;
}

static size_t payload_of(const struct search *search, size_t mtu)
{
    return mtu > search->headers ? mtu - search->headers : 0;
}

/* A reported limit is believed only when the next larger size has failed. */
static void narrow(struct bounds *bounds, size_t size, bool passed, size_t told)
{
    if (passed) {
        bounds->confirming = size == bounds->hint && !bounds->confirming;
        bounds->hint = bounds->confirming ? size + 1 : 0;
        bounds->good = size;
    } else {
        bounds->confirming = false;
        bounds->hint = told;
        bounds->bad = size;
    }
}

static void note(struct search *search, const struct mtu_probe *probe)
{
    struct mtu_result *result = search->result;

    if (came_back(probe) && (!result->found || probe->size > result->largest)) {
        result->largest = probe->size;
        result->mtu = probe->size + search->headers;
        result->fragment = probe->fragment;
    }
    if (probe->outcome == MTU_WHOLE && probe->size > result->whole)
        result->whole = probe->size;
    if (came_back(probe))
        result->found = true;
    else
        result->limit = *probe;
}

/* Find the largest size that comes back. */
static void search_largest(struct search *search, size_t floor, size_t max)
{
    struct bounds bounds = {.good = floor, .bad = max + 1, .hint = max};

    while (bounds.good + 1 < bounds.bad) {
        size_t size = next_size(&bounds);
        struct mtu_probe probe;

        try_size(search, size, &probe);
        if (search->over)
            return;
        note(search, &probe);
        narrow(&bounds, size, came_back(&probe), payload_of(search, probe.mtu));
    }
}

/* Below that, find the largest size that comes back in one piece. */
static void search_whole(struct search *search)
{
    struct mtu_result *result = search->result;
    struct bounds bounds = {.good = result->whole,
                            .bad = result->largest,
                            .hint = payload_of(search, result->fragment)};

    while (result->fragment > 0 && bounds.good + 1 < bounds.bad) {
        size_t size = next_size(&bounds);
        struct mtu_probe probe;

        try_size(search, size, &probe);
        if (search->over)
            return;
        if (probe.outcome == MTU_WHOLE)
            result->whole = size;
        narrow(&bounds, size, probe.outcome == MTU_WHOLE, payload_of(search, probe.fragment));
    }
}

/* The smallest size has room for the nonce. Some servers do not answer an empty datagram. */
static void find_mtu(struct search *search)
{
    size_t max = datagram_max(&search->peer);
    size_t floor = PAYLOAD_HEADER;
    struct mtu_probe probe;

    if (search->settings->max != 0 && search->settings->max < max)
        max = search->settings->max;
    if (floor > max)
        floor = max;
    try_size(search, floor, &probe);
    if (search->over)
        return;
    note(search, &probe);
    if (!search->result->found) {
        if (probe.outcome == MTU_ERROR && probe.from.len == 0)
            search->result->error = probe.error;
        return;
    }
    search_largest(search, floor, max);
    if (!search->over)
        search_whole(search);
    search->result->complete = !search->over;
}

/* stop() undoes it, also after a failure. -1 with errno. */
static int start(struct search *search, int socket)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGQUIT};

    search->socket.fd = -1;
    if (loop_init(&search->loop) < 0)
        return -1;
    loop_timer_init(&search->loop, &search->try_timer, try_timed_out);
    loop_timer_init(&search->loop, &search->deadline_timer, deadline_passed);
    if (search->settings->deadline != 0)
        loop_timer_set(&search->loop, &search->deadline_timer,
                       clock_now() + search->settings->deadline);
    if (signals_init(&search->signals, &search->loop, numbers, COUNT(numbers), signal_came) < 0)
        return -1;
    return loop_add(&search->loop, &search->socket, socket, POLLIN, answer_came);
}

static void stop(struct search *search)
{
    loop_del(&search->loop, &search->socket);
    signals_fini(&search->signals);
    loop_fini(&search->loop);
}

/* -1 with errno. */
static int prepare(struct search *search, int socket, const struct addr *peer)
{
    search->peer = *peer;
    search->headers = datagram_headers(peer);
    if (getrandom(&search->nonce, sizeof search->nonce, 0) < 0 ||
        forbid_fragments(socket, peer->sa.sa_family) < 0)
        return -1;
    return 0;
}

int mtu_find(int socket, const struct addr *peer, const struct mtu_settings *settings,
             struct mtu_result *result)
{
    struct search *search = calloc(1, sizeof *search);

    *result = (struct mtu_result){.peer = *peer};
    if (!search) {
        result->error = errno;
        return 2;
    }
    search->settings = settings;
    search->result = result;
    if (start(search, socket) < 0 || prepare(search, socket, peer) < 0)
        result->error = errno;
    else
        find_mtu(search);
    stop(search);
    free(search);
    if (result->error != 0)
        return 2;
    return result->complete ? 0 : 1;
}
