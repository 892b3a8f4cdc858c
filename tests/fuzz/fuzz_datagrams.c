/* SPDX-License-Identifier: ISC */
/* Batches of datagrams as no kernel would deliver them, through udp.c, loopguard.c and ratelimit.c,
 * with a clock and a socket of our own: nothing is answered that must not be, nothing twice,
 * nothing to anybody else, and the counters agree. */
#include "daemon/udp/udp.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/log.h"
#include "common/util.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

#define SLOTS      32
#define DATA_MAX   255
#define RATE       10
#define BURST      20
#define TABLE_SIZE 16
#define OWN_PORT   7007

static const struct source {
    const char *host;
    enum { FINE, EXEMPT, REFUSED } fate;
} sources[] = {
    {"192.0.2.1", FINE},
    {"192.0.2.200", REFUSED}, /* by access, and so on */
    {"127.0.0.1", EXEMPT},
    {"0.0.0.0", REFUSED},
    {"255.255.255.255", REFUSED},
    {"224.0.0.1", REFUSED},
    {"239.255.255.255", REFUSED},
    {"169.254.1.1", FINE},
    {"2001:db8::1", FINE},
    {"2001:db8:1::1", REFUSED},
    {"::1", EXEMPT},
    {"::", REFUSED},
    {"ff02::1", REFUSED},
    {"fe80::1", FINE},
    {"::ffff:192.0.2.1", FINE},
    {"::ffff:192.0.2.200", REFUSED},
    {"::ffff:127.0.0.1", EXEMPT},
    {"::ffff:0.0.0.0", REFUSED},
    {"::ffff:224.0.0.1", REFUSED},
    {"::ffff:255.255.255.255", REFUSED},
};

/* Where a datagram was sent to, and the local address that stands for it. */
static const struct asked {
    const char *destination, *local;
    bool group;
} asked[] = {
    {"192.0.2.7", "192.0.2.7", false},
    {"127.0.0.1", "127.0.0.1", false},
    {"169.254.7.7", "169.254.7.7", false},
    {"192.0.2.255", "192.0.2.7", true},
    {"255.255.255.255", "192.0.2.7", true},
    {"224.0.0.1", "192.0.2.7", true},
    {"2001:db8::7", "2001:db8::7", false},
    {"::1", "::1", false},
    {"fe80::7", "fe80::7", false},
    {"ff02::1", "::", true},
    {"ff0e::7", "::", true},
    {"::ffff:192.0.2.7", "::ffff:192.0.2.7", false},
};

/* What is known of a message that was delivered. */
struct slot {
    const void *name; /* where its source was put, */
    const char *base; /* and its data */
    unsigned char *control;
    unsigned char data[DATA_MAX]; /* all the same octet */
    size_t length;
    size_t segment;            /* of its datagrams; 0: whatever its control messages may mean */
    const struct asked *asked; /* NULL: likewise */
    bool refused, exempt;
    size_t replied, replied_octets;
};

static struct slot slots[SLOTS];
static unsigned used;
static const uint8_t *input;
static size_t left;
static struct acl access_list;
static struct udp_params params;
static struct stats stats;
static uint64_t now;
static uint64_t delivered, replies_limited;
static bool delivered_exactly;
static uint8_t send_mode;

static uint8_t take(void)
{
    if (left == 0)
        return 0;
    left--;
    return *input++;
}

static struct addr address(const char *host, uint16_t port)
{
    struct addr addr;

    MUST(addr_parse(host, 7, &addr) == 0);
    addr_set_port(&addr, port);
    return addr;
}

/* The clocks of libFuzzer go on. */
int clock_gettime(clockid_t clock, struct timespec *ts)
{
    if (clock != CLOCK_MONOTONIC || now == 0)
        return (int)syscall(SYS_clock_gettime, clock, ts);
    *ts = (struct timespec){.tv_sec = (time_t)(now / 1000000000),
                            .tv_nsec = (long)(now % 1000000000)};
    return 0;
}

/* ---- in ---- */

static void add(struct msghdr *message, int level, int type, const void *data, size_t length)
{
    struct cmsghdr *c =
        (struct cmsghdr *)(void *)((char *)message->msg_control + message->msg_controllen);

    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(c), data, length);
    message->msg_controllen += CMSG_SPACE(length);
}

static void add_asked(struct msghdr *message, const struct asked *where)
{
    struct addr destination = address(where->destination, 0);
    struct addr local = address(where->local, 0);
    struct in_pktinfo v4 = {.ipi_ifindex = 3};
    struct in6_pktinfo v6 = {.ipi6_ifindex = 3};

    if (destination.sa.sa_family == AF_INET) {
        v4.ipi_addr = destination.in.sin_addr;
        v4.ipi_spec_dst = local.in.sin_addr;
        add(message, SOL_IP, IP_PKTINFO, &v4, sizeof v4);
    } else {
        v6.ipi6_addr = destination.in6.sin6_addr;
        add(message, SOL_IPV6, IPV6_PKTINFO, &v6, sizeof v6);
    }
}

/* What an octet of the input stands for: kinds of control messages, in any order, any number. */
static void add_controls(struct msghdr *message, struct slot *slot)
{
    static const int kinds[][2] = {{SOL_IP, IP_TOS},          {SOL_IPV6, IPV6_TCLASS},
                                   {SOL_IP, IP_TTL},          {SOL_IPV6, IPV6_HOPLIMIT},
                                   {SOL_SOCKET, SO_RXQ_OVFL}, {SOL_UDP, UDP_GRO},
                                   {SOL_IP, IP_PKTINFO},      {SOL_IPV6, IPV6_PKTINFO}};
    unsigned n = take() % 5;

    while (n-- > 0) {
        uint8_t which = take();
        int value = take();
        unsigned char octets[32] = {0};
        size_t length;

        if (which < 128) {
            const int *kind = kinds[which % 6];

            if (kind[0] == SOL_UDP && slot->segment > 0)
                slot->segment = value > 0 ? (size_t)value : UDP_ONE_DATAGRAM;
            add(message, kind[0], kind[1], &value,
                kind[0] == SOL_IP && kind[1] == IP_TOS ? 1 : sizeof value);
            continue;
        }
        /* Any octets, any length. */
        slot->asked = NULL;
        slot->segment = 0;
        length = (size_t)value % sizeof octets;
        for (size_t i = 0; i < length; i++)
            octets[i] = take();
        add(message, kinds[which % COUNT(kinds)][0], kinds[which % COUNT(kinds)][1], octets,
            length);
        if (which & 64)
            ((struct cmsghdr *)(void *)((char *)message->msg_control + message->msg_controllen -
                                        CMSG_SPACE(length)))
                ->cmsg_len = take();
    }
}

/* In a buffer of its very size, so that what is read beyond is found. */
static void fit_control(struct msghdr *message, struct slot *slot)
{
    free(slot->control);
    slot->control = malloc(message->msg_controllen ? message->msg_controllen : 1);
    MUST(slot->control);
    memcpy(slot->control, message->msg_control, message->msg_controllen);
    message->msg_control = slot->control;
}

static void fill_source(struct msghdr *message, struct slot *slot)
{
    uint8_t which = take();
    uint16_t port = (uint16_t)(take() << 8);
    const struct source *source = &sources[which % COUNT(sources)];
    struct addr addr;

    port |= take();
    addr = address(source->host, port);
    slot->exempt = source->fate == EXEMPT;
    slot->refused = source->fate == REFUSED || port < 1024 || port == OWN_PORT;
    /* One of its neighbours, which access and limits take for no other. */
    if (which >= 128 && source->fate == FINE) {
        uint8_t other = take() & 0x7e;

        if (addr.sa.sa_family == AF_INET)
            addr.in.sin_addr.s_addr ^= htonl(other);
        else
            addr.in6.sin6_addr.s6_addr[15] ^= other;
    }
    memcpy(message->msg_name, &addr.sa, addr.len);
    message->msg_namelen = addr.len;
}

static void deliver(struct mmsghdr *in, struct slot *slot)
{
    static _Alignas(struct cmsghdr) unsigned char control[512];
    struct msghdr *message = &in->msg_hdr;
    uint8_t how = take();

    slot->name = message->msg_name;
    slot->base = message->msg_iov->iov_base;
    slot->segment = UDP_ONE_DATAGRAM;
    slot->replied = slot->replied_octets = 0;
    fill_source(message, slot);
    memset(control, 0, sizeof control);
    message->msg_control = control;
    message->msg_controllen = 0;
    slot->asked = &asked[take() % COUNT(asked)];
    if (how & 1)
        slot->refused = true;
    else
        add_asked(message, slot->asked);
    add_controls(message, slot);
    if (!slot->asked)
        slot->refused = slot->refused && !(how & 1);
    fit_control(message, slot);
    message->msg_flags = 0;
    if ((how & 6) == 6) {
        message->msg_flags = how & 8 ? MSG_TRUNC : MSG_CTRUNC;
        slot->refused = true;
    }
    if ((how & 48) == 48) {
        message->msg_namelen = take() % sizeof(struct sockaddr_in);
        slot->refused = true;
    }
    slot->length = take();
    memset(slot->data, take(), slot->length);
    memcpy(message->msg_iov->iov_base, slot->data, slot->length);
    in->msg_len = (unsigned)slot->length;
}

/* 1 at least. */
static size_t datagrams(const struct slot *slot, size_t octets)
{
    return slot->segment == 0 || octets == 0 ? 1 : (octets + slot->segment - 1) / slot->segment;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    static const int errors[] = {EAGAIN, EINTR, ECONNREFUSED, ENOMEM, EHOSTUNREACH, EBADF};
    uint8_t n = take();

    (void)fd, (void)flags, (void)timeout;
    MUST(count == 1 || count == SLOTS);
    if (left == 0 || n % 40 >= SLOTS) {
        errno = left == 0 ? EAGAIN : errors[n % COUNT(errors)];
        return -1;
    }
    n = (uint8_t)(1 + n % count);
    for (unsigned i = 0; i < n; i++)
        deliver(&messages[i], &slots[i]);
    for (unsigned i = 0; i < n; i++) {
        delivered += datagrams(&slots[i], slots[i].length);
        delivered_exactly = delivered_exactly && slots[i].segment > 0;
    }
    used = n;
    send_mode = take();
    return n;
}

/* ---- out ---- */

/* Returns the length of the segments, 0 if it is one datagram. */
static size_t check_control(const struct msghdr *reply, const struct asked *where)
{
    struct msghdr *message = (struct msghdr *)(uintptr_t)reply;
    struct addr local = address(where ? where->local : "::", 0);
    uint16_t segment = 0;

    MUST(reply->msg_controllen <= UDP_CONTROL_SIZE);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
        struct in_pktinfo v4;
        struct in6_pktinfo v6;

        if (c->cmsg_type == IP_PKTINFO && c->cmsg_level == SOL_IP) {
            MUST(c->cmsg_len == CMSG_LEN(sizeof v4));
            memcpy(&v4, CMSG_DATA(c), sizeof v4);
            MUST(!where || v4.ipi_spec_dst.s_addr == local.in.sin_addr.s_addr);
        } else if (c->cmsg_type == IPV6_PKTINFO && c->cmsg_level == SOL_IPV6) {
            MUST(c->cmsg_len == CMSG_LEN(sizeof v6));
            memcpy(&v6, CMSG_DATA(c), sizeof v6);
            MUST(!IN6_IS_ADDR_MULTICAST(&v6.ipi6_addr));
            MUST(!where || memcmp(&v6.ipi6_addr, &local.in6.sin6_addr, sizeof v6.ipi6_addr) == 0);
        } else if (c->cmsg_type == UDP_SEGMENT && c->cmsg_level == SOL_UDP) {
            MUST(c->cmsg_len == CMSG_LEN(sizeof segment));
            memcpy(&segment, CMSG_DATA(c), sizeof segment);
            MUST(segment > 0);
        } else {
            MUST(c->cmsg_len == CMSG_LEN(sizeof(int)));
        }
    }
    return segment;
}

static struct slot *request_of(const char *data)
{
    for (size_t i = 0; i < used; i++)
        if (data >= slots[i].base && data <= slots[i].base + slots[i].length)
            return &slots[i];
    abort();
}

/* One piece of a message: a datagram, or several of the same request. */
static void check_piece(const struct msghdr *reply, const struct iovec *piece, bool last)
{
    struct slot *slot = request_of(piece->iov_base);
    size_t segment = check_control(reply, slot->asked);
    size_t length = piece->iov_len;
    size_t count = slot->segment == 0 && segment > 0 ? (length + segment - 1) / segment
                                                     : datagrams(slot, length);

    MUST(!slot->refused);
    MUST(!slot->asked || !slot->asked->group || params.answer_broadcast);
    MUST(memcmp(reply->msg_name, slot->name, reply->msg_namelen) == 0);
    MUST(length <= slot->length && memcmp(piece->iov_base, slot->data, length) == 0);
    MUST(segment > 0 || reply->msg_iovlen == 1);
    MUST(segment == 0 || length % segment == 0 || last);
    if (slot->segment > 0 && slot->segment < slot->length)
        MUST(segment == 0 ? length <= slot->segment : segment == slot->segment);
    else if (slot->segment > 0)
        MUST(length == slot->length && slot->replied == 0);
    slot->replied += count;
    slot->replied_octets += length;
    MUST(slot->replied_octets <= slot->length);
    MUST(slot->segment == 0 || slot->replied <= datagrams(slot, slot->length));
    if (!slot->exempt && slot->segment > 0)
        replies_limited += count;
}

static void check_reply(struct mmsghdr *out)
{
    const struct msghdr *reply = &out->msg_hdr;

    out->msg_len = 0;
    for (size_t i = 0; i < reply->msg_iovlen; i++) {
        check_piece(reply, &reply->msg_iov[i], i + 1 == reply->msg_iovlen);
        out->msg_len += (unsigned)reply->msg_iov[i].iov_len;
    }
}

/* The first call after a batch may take less, or fail. */
int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    static const int errors[] = {EAGAIN, EINTR, EPERM, EMSGSIZE, EINVAL, EIO};
    uint8_t mode = send_mode;

    (void)fd, (void)flags;
    MUST(count >= 1 && count <= SLOTS);
    send_mode = 0;
    if (mode >= 128) {
        errno = errors[mode % COUNT(errors)];
        return -1;
    }
    if (mode > 0 && mode < count)
        count = mode;
    for (unsigned i = 0; i < count; i++)
        check_reply(&messages[i]);
    return (int)count;
}

/* ---- a run ---- */

static void ignore(enum log_level level, const char *message)
{
    (void)level, (void)message;
}

static void add_prefix(struct prefix_set *set, const char *text, uint8_t value)
{
    struct prefix prefix;

    MUST(prefix_parse(text, &prefix) == 0 && prefix_set_add(set, &prefix, value) == 0);
}

static void set_params(uint8_t how)
{
    static struct prefix_set *denied, *exempt;
    static uint8_t refused[65536 / 8];

    if (!denied) {
        log_set_sink(ignore);
        denied = prefix_set_new();
        exempt = prefix_set_new();
        MUST(denied && exempt);
        add_prefix(denied, "192.0.2.128/25", ACL_DENY);
        add_prefix(denied, "2001:db8:1::/48", ACL_DENY);
        add_prefix(exempt, "127.0.0.0/8", 1);
        add_prefix(exempt, "::1", 1);
        memset(refused, 0xff, 1024 / 8);
    }
    loopguard_init(&params.loopguard, refused);
    loopguard_refuse_port(&params.loopguard, OWN_PORT);
    access_list.set = denied;
    params.reflect_tos = how & 1;
    params.answer_broadcast = how & 2;
    params.ratelimit = how & 4 ? ratelimit_new(&(struct ratelimit_params){.rate = RATE,
                                                                          .burst = BURST,
                                                                          .v4_length = 32,
                                                                          .v6_length = 64,
                                                                          .exempt = exempt,
                                                                          .size = TABLE_SIZE,
                                                                          .key = {how, 7}})
                               : NULL;
    MUST(!(how & 4) || params.ratelimit);
}

static void check_counters(bool first, uint64_t elapsed)
{
    struct stats_sum sum = {0};
    uint64_t budgets = TABLE_SIZE + 1; /* one for all that leaks */

    stats_sum(&sum, &stats);
    if (delivered_exactly)
        MUST(first ? sum.udp_received == delivered : sum.udp_received <= delivered);
    MUST(sum.udp_echoes + sum.udp_failed + stats_refused(&sum) <= sum.udp_received);
    MUST(!params.ratelimit ||
         replies_limited <= budgets * (BURST + 1 + elapsed * RATE / UINT64_C(1000000000)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t begin = UINT64_C(1000000000000);
    struct loop loop;
    struct udp *udp;
    uint8_t how;
    int fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);

    input = data;
    left = size;
    how = take();
    set_params(how);
    memset(&stats, 0, sizeof stats);
    delivered = replies_limited = 0;
    delivered_exactly = true;
    send_mode = 0;
    now = begin;
    MUST(fd >= 0 && loop_init(&loop) == 0);
    udp = udp_new(&loop, &stats, &access_list, &params, fd, !(how & 8), how & 16);
    MUST(udp);
    while (left > 0) {
        now += (uint64_t)1 << take() % 34;
        loop_turn(&loop, 0);
    }
    udp_free(udp);
    check_counters((how & 24) != 8, now - begin);
    now = 0;
    loop_fini(&loop);
    ratelimit_free(params.ratelimit);
    close(fd);
    for (size_t i = 0; i < SLOTS; i++) {
        free(slots[i].control);
        slots[i].control = NULL;
    }
    return 0;
}
