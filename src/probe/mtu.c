/* SPDX-License-Identifier: ISC */
#include "probe/mtu.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

#include "net/socket.h"
#include "net/waiter.h"
#include "probe/datagram.h"
#include "probe/payload.h"

/* Sending fails with the errors of earlier datagrams first. */
#define ERRORS 8

const struct mtu_settings mtu_defaults = {.tries = 3, .timeout = SECOND};

struct search {
    const struct mtu_settings *settings;
    struct mtu_result *result;
    struct waiter waiter;
    struct addr peer;
    size_t headers;
    uint64_t nonce;
    uint64_t seq;   /* of the latest try */
    uint64_t first; /* of the tries of this size */
    uint64_t deadline;
    struct mtu_probe report; /* the latest of MTU_REPORTED: routers do not repeat it at will */
    bool refused;            /* this try, by an error that is not about its size */
    bool over;               /* by the user, the deadline or an error of ours */
    int socket;
    uint8_t out[DATAGRAM_ROOM];
    uint8_t in[DATAGRAM_ROOM];
};

/* Sizes up to `good` pass, `bad` and larger ones do not; `hint` is what may be the answer. */
struct bounds {
    size_t good;
    size_t bad;
    size_t hint;
    bool confirming; /* the hint is one more than what an earlier one said */
};

/* PROBE sets DF and ignores what the kernel believes about the path: with DO, a router's report of
 * yesterday would be taken for this host's limit. */
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

/* Is a datagram of which we see `len` octets, or all, one of the tries of this size? */
static enum payload_verdict identify(const struct search *search, size_t size, size_t len)
{
    struct payload payload = {.nonce = search->nonce, .size = size};
    struct payload_identity identity =
        payload_identify(&payload, search->in, len, search->seq, search->seq);

    return identity.seq >= search->first ? identity.verdict : PAYLOAD_FOREIGN;
}

/* Returns whether it is about this size and decides on it. A report that gives no smaller MTU than
 * was sent is old, or a lie. */
static bool take_error(struct search *search, const struct datagram_error *error,
                       struct mtu_probe *probe)
{
    size_t total = probe->size + search->headers;

    if (error->local && error->error != EMSGSIZE)
        return false;
    if (error->len >= PAYLOAD_HEADER && identify(search, probe->size, error->len) > PAYLOAD_CORRUPT)
        return false;
    if (error->error != EMSGSIZE) {
        probe->outcome = MTU_ERROR;
        probe->error = error->error;
        probe->from = error->from;
        search->refused = true;
        return false;
    }
    if (error->mtu >= total)
        return false;
    probe->outcome = error->local ? MTU_INTERFACE : MTU_REPORTED;
    probe->mtu = error->mtu;
    probe->from = error->from;
    if (!error->local)
        search->report = *probe;
    return true;
}

static bool take_errors(struct search *search, struct mtu_probe *probe, bool *decided)
{
    struct datagram_error error;
    bool taken = false;

    for (unsigned i = 0; i < ERRORS && !*decided; i++) {
        if (!datagram_take_error(search->socket, &error, search->in, sizeof search->in))
            break;
        taken = true;
        *decided = take_error(search, &error, probe);
    }
    return taken;
}

/* Returns whether that decides on the size. */
static bool send_try(struct search *search, struct mtu_probe *probe)
{
    struct payload payload = {.nonce = search->nonce, .size = probe->size};
    bool decided = false;
    int failure = 0;

    search->seq++;
    search->refused = false;
    probe->tries++;
    payload_fill(&payload, search->seq, 0, search->out, probe->size);
    for (unsigned i = 0; i < ERRORS && !decided; i++) {
        if (sendto(search->socket, search->out, probe->size, MSG_DONTWAIT, &search->peer.sa,
                   search->peer.len) >= 0)
            return false;
        failure = errno;
        if (!take_errors(search, probe, &decided))
            break;
    }
    /* Neither room in the socket nor in a queue of the interface: as good as lost on the way. */
    if (decided || failure == EAGAIN || failure == ENOBUFS)
        return decided;
    probe->outcome = failure == EMSGSIZE ? MTU_INTERFACE : MTU_ERROR;
    probe->error = failure;
    probe->from.len = 0;
    return true;
}

/* Returns whether it decides on the size. */
static bool receive(struct search *search, struct mtu_probe *probe)
{
    struct addr from;
    size_t fragment;
    ssize_t len = datagram_receive(search->socket, search->in, &from, &fragment);
    enum payload_verdict verdict;

    if (len < 0)
        return false;
    verdict = identify(search, probe->size, (size_t)len);
    if (!addr_equal(&from, &search->peer) ||
        (verdict != PAYLOAD_GOOD && verdict != PAYLOAD_TRUNCATED)) {
        search->result->foreign++;
        return false;
    }
    probe->outcome = fragment > 0 ? MTU_FRAGMENTED : MTU_WHOLE;
    if (verdict == PAYLOAD_TRUNCATED)
        probe->outcome = MTU_TRUNCATED;
    probe->fragment = fragment;
    probe->len = (size_t)len;
    return true;
}

/* Returns whether the answer to this try, or a late one to an earlier, decides on the size. */
static bool await_answer(struct search *search, struct mtu_probe *probe)
{
    uint64_t until = clock_now() + search->settings->timeout;
    bool decided = false;

    while (!decided) {
        struct pollfd fd = {.fd = search->socket, .events = POLLIN};

        if (waiter_wait(&search->waiter, &fd, 1,
                        until < search->deadline ? until : search->deadline) < 0) {
            search->result->error = errno;
            search->over = true;
        }
        search->over |= search->waiter.stopped || clock_now() >= search->deadline;
        if (search->over)
            return false;
        if (fd.revents & POLLERR)
            take_errors(search, probe, &decided);
        if (fd.revents && !decided)
            decided = receive(search, probe);
        if (!decided && (search->refused || (!fd.revents && clock_now() >= until)))
            return false;
    }
    return true;
}

/* ---- one size ---- */

static void try_size(struct search *search, size_t size, struct mtu_probe *probe)
{
    bool decided = false;

    *probe = (struct mtu_probe){.size = size, .outcome = MTU_SILENT};
    search->first = search->seq + 1;
    while (!decided && !search->over && probe->tries < search->settings->tries)
        decided = send_try(search, probe) || await_answer(search, probe);
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

/* A size that was told to be the largest is not believed before the next one has failed. */
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

/* The largest that comes back. */
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

/* Below that, the largest that comes back in one piece. */
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

/* The smallest has room for the nonce, and servers that ignore an empty datagram answer it. */
static void run(struct search *search)
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

static int start(struct search *search, int socket, const struct addr *peer)
{
    search->socket = socket;
    search->peer = *peer;
    search->headers = datagram_headers(peer);
    if (getrandom(&search->nonce, sizeof search->nonce, 0) < 0 ||
        forbid_fragments(socket, peer->sa.sa_family) < 0 ||
        datagram_prepare(socket, &search->peer) < 0 || waiter_open(&search->waiter) < 0)
        return -1;
    search->result->peer = search->peer;
    search->deadline =
        search->settings->deadline != 0 ? clock_now() + search->settings->deadline : WAITER_NEVER;
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
    if (start(search, socket, peer) < 0) {
        result->error = errno;
    } else {
        run(search);
        waiter_close(&search->waiter);
    }
    free(search);
    if (result->error != 0)
        return 2;
    return result->complete ? 0 : 1;
}
