/* SPDX-License-Identifier: ISC */
#include "probe/mtu.h"

#include <linux/errqueue.h>
#include <signal.h>
#include <stdio.h>

#include "probe/datagram.h"
#include "probe/payload.h"
#include "report/mtu_text.h"
#include "unit/unit.h"

WRAP_FAILING(int, setsockopt, -1, (int fd, int level, int name, const void *value, socklen_t len),
             (fd, level, name, value, len))
WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t len, unsigned flags), (buf, len, flags))

/* A network of our own behind the wrapped calls. MTUs and sizes of 0 mean that there is no such
 * limit. */
static struct {
    size_t interface;
    size_t router;
    size_t told;    /* the MTU that the router tells, if it is not its own */
    bool mute;      /* the router tells once only */
    bool forgetful; /* the router gives no MTU (RFC 792) */
    size_t hole;    /* larger packets vanish */
    size_t cut;     /* longest payload that the server sends back */
    size_t back;    /* packets are fragmented to this size on the way back */
    unsigned lossy; /* so many tries of a size get lost */
    int refuse;     /* errno that the peer's host sends */
    int local;      /* errno that sending fails with */
    bool corrupt;
    bool stranger; /* another host answers first */
    bool short_quote;
    int stop_after; /* so many sends the user presses Ctrl-C */

    struct addr peer;
    struct addr by;
    unsigned sends;
    size_t last; /* size sent before */
    unsigned tries;
    struct sock_extended_err error; /* queued, if ee_origin is not 0 */
    uint8_t data[DATAGRAM_ROOM];
    ssize_t reply; /* length queued; -1: there is none */
    bool from_stranger;
    size_t largest; /* size that went out */
} network;

static size_t headers(void)
{
    return network.peer.sa.sa_family == AF_INET ? 28 : 48;
}

static void queue_error(uint8_t origin, int error, size_t mtu)
{
    network.error = (struct sock_extended_err){
        .ee_errno = (uint32_t)error, .ee_origin = origin, .ee_info = (uint32_t)mtu};
}

static void deliver(size_t size)
{
    size_t total = size + headers();

    if (++network.tries <= network.lossy || (network.hole != 0 && total > network.hole))
        return;
    if (network.router != 0 && total > network.router) {
        if (network.mute && network.largest != 0)
            return;
        network.largest = size;
        queue_error(SO_EE_ORIGIN_ICMP, EMSGSIZE,
                    network.forgetful ? 0
                    : network.told    ? network.told
                                      : network.router);
        return;
    }
    if (network.refuse != 0) {
        queue_error(SO_EE_ORIGIN_ICMP, network.refuse, 0);
        return;
    }
    network.reply = (ssize_t)(network.cut != 0 && network.cut < size ? network.cut : size);
    if (network.corrupt)
        network.data[network.reply / 2] ^= 1;
    network.from_stranger = network.stranger;
}

ssize_t __real_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                      socklen_t to_len);
ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                      socklen_t to_len);
ssize_t __wrap_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                      socklen_t to_len)
{
    struct addr own = local_address(fd);

    (void)flags;
    (void)to;
    (void)to_len;
    network.sends++;
    if (network.stop_after != 0 && network.sends >= (unsigned)network.stop_after)
        raise(SIGINT);
    network.reply = -1;
    if (network.local != 0) {
        errno = network.local;
        return -1;
    }
    if (network.interface != 0 && len + headers() > network.interface) {
        queue_error(SO_EE_ORIGIN_LOCAL, EMSGSIZE, network.interface);
        errno = EMSGSIZE;
        return -1;
    }
    memcpy(network.data, data, len);
    if (len != network.last)
        network.tries = 0;
    network.last = len;
    deliver(len);
    if (network.reply >= 0 || network.error.ee_origin != 0)
        assert_int_equal(__real_sendto(fd, "", 0, 0, &own.sa, own.len), 0);
    return (ssize_t)len;
}

static void add_control(struct msghdr *msg, int type, const void *data, size_t len)
{
    struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg);

    assert_true(msg->msg_controllen >= CMSG_SPACE(len));
    cmsg->cmsg_level = network.peer.sa.sa_family == AF_INET ? SOL_IP : SOL_IPV6;
    cmsg->cmsg_type = type;
    cmsg->cmsg_len = CMSG_LEN(len);
    memcpy(CMSG_DATA(cmsg), data, len);
    msg->msg_controllen = CMSG_SPACE(len);
}

static ssize_t take_queued(struct msghdr *msg)
{
    struct {
        struct sock_extended_err error;
        struct addr offender;
    } content = {network.error, network.by};
    size_t len = network.short_quote ? 0 : network.last;

    if (network.error.ee_origin == 0) {
        errno = EAGAIN;
        return -1;
    }
    if (network.error.ee_origin == SO_EE_ORIGIN_LOCAL) {
        content.offender.sa.sa_family = AF_UNSPEC;
        len = 0;
    }
    add_control(msg, network.peer.sa.sa_family == AF_INET ? IP_RECVERR : IPV6_RECVERR, &content,
                sizeof content);
    network.error.ee_origin = 0;
    if (len > msg->msg_iov->iov_len)
        len = msg->msg_iov->iov_len;
    memcpy(msg->msg_iov->iov_base, network.data, len);
    return (ssize_t)len;
}

ssize_t __real_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t __wrap_recvmsg(int fd, struct msghdr *msg, int flags)
{
    ssize_t len = network.reply;
    int fragment = (int)network.back;

    if (flags & MSG_ERRQUEUE)
        return take_queued(msg);
    if (len < 0) {
        /* What has made the socket readable is taken. */
        __real_recvmsg(fd, msg, MSG_DONTWAIT);
        errno = EAGAIN;
        return -1;
    }
    memcpy(msg->msg_name, network.from_stranger ? &network.by.sa : &network.peer.sa,
           network.peer.len);
    msg->msg_namelen = network.peer.len;
    memcpy(msg->msg_iov->iov_base, network.data, (size_t)len);
    if (network.back != 0 && (size_t)len + headers() > network.back)
        add_control(msg, network.peer.sa.sa_family == AF_INET ? IP_RECVFRAGSIZE : IPV6_RECVFRAGSIZE,
                    &fragment, sizeof fragment);
    else
        msg->msg_controllen = 0;
    if (network.from_stranger)
        network.from_stranger = false;
    else
        network.reply = -1;
    return len;
}

static struct mtu_result result;
static struct mtu_probe probes[256];
static unsigned probed;

static void heard(void *context, const struct mtu_probe *probe)
{
    (void)context;
    assert_true(probed < COUNT(probes));
    probes[probed++] = *probe;
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&setsockopt_script);
    script_clear(&signalfd_script);
    script_clear(&calloc_script);
    script_clear(&getrandom_script);
    memset(&network, 0, sizeof network);
    network.reply = -1;
    network.peer = address("127.0.0.1", 7);
    network.by = address("192.0.2.1", 7);
    return 0;
}

static void use_v6(void)
{
    network.peer = address("::1", 7);
    network.by = address("2001:db8::1", 7);
}

static int open_socket(void)
{
    struct addr own = address(network.peer.sa.sa_family == AF_INET ? "127.0.0.1" : "::1", 0);
    int fd = socket(own.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, &own.sa, own.len), 0);
    return fd;
}

/* A timeout that has passed when it begins: nothing comes that is not there at once. */
static int find_up_to(size_t max)
{
    struct mtu_settings settings = {.tries = 3, .timeout = 1, .max = max, .progress = heard};
    unsigned descriptors = open_descriptors();
    int fd = open_socket();
    int status;

    probed = 0;
    network.sends = 0;
    network.largest = 0;
    status = mtu_find(fd, &network.peer, &settings, &result);
    close(fd);
    assert_int_equal(open_descriptors(), descriptors);
    return status;
}

static int find(void)
{
    return find_up_to(0);
}

static void assert_found(size_t mtu, enum mtu_outcome outcome)
{
    assert_true(result.found && result.complete);
    assert_int_equal(result.mtu, mtu);
    assert_int_equal(result.largest, mtu - headers());
    assert_int_equal(result.limit.size, result.largest + 1);
    assert_int_equal(result.limit.outcome, outcome);
}

static void assert_printed(const char *text)
{
    char *printed;
    size_t size;
    FILE *out = open_memstream(&printed, &size);

    mtu_print(out, &result);
    fclose(out);
    if (!strstr(printed, text))
        fail_msg("no '%s' in:\n%s", text, printed);
    free(printed);
}

/* ---- limits ---- */

static void the_largest_datagram_may_come_back(void **state)
{
    (void)state;
    assert_int_equal(find(), 0);
    assert_int_equal(result.largest, 65507);
    assert_int_equal(result.whole, 65507);
    assert_int_equal(result.limit.size, 0);
    assert_int_equal(network.sends, 2);
    assert_printed("at least 65535, for 65507 bytes of payload\nlimit: nothing larger");
    use_v6();
    assert_int_equal(find(), 0);
    assert_int_equal(result.largest, 65527);
}

static void the_interface_may_be_the_limit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        network.interface = 1500;
        assert_int_equal(find(), 0);
        assert_found(1500, MTU_INTERFACE);
        assert_int_equal(result.limit.mtu, 1500);
        assert_int_equal(result.limit.from.len, 0);
        assert_printed("too big for the interface of this host (MTU 1500)");
        use_v6();
    }
}

static void a_router_may_report_the_limit(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        network.interface = 1500;
        network.router = 1400;
        assert_int_equal(find(), 0);
        assert_found(1400, MTU_REPORTED);
        assert_true(addr_equal(&result.limit.from, &network.by));
        /* The smallest, the largest, the interface's, the router's, and one more that must fail. */
        assert_int_equal(probed, 5);
        assert_printed(i == 0 ? "too big, says 192.0.2.1 (MTU 1400)"
                              : "too big, says 2001:db8::1 (MTU 1400)");
        use_v6();
    }
}

static void any_limit_is_found(void **state)
{
    (void)state;
    for (size_t mtu = 44; mtu < 2000; mtu += 13) {
        set_up(NULL);
        network.hole = mtu;
        assert_int_equal(find_up_to(2000), 0);
        assert_found(mtu, MTU_SILENT);
        set_up(NULL);
        network.router = mtu;
        network.forgetful = true;
        assert_int_equal(find_up_to(2000), 0);
        assert_found(mtu, MTU_REPORTED);
        assert_int_equal(result.limit.mtu, 0);
    }
}

static void a_black_hole_is_told_from_a_report(void **state)
{
    (void)state;
    network.interface = 1500;
    network.hole = 1280;
    assert_int_equal(find(), 0);
    assert_found(1280, MTU_SILENT);
    assert_int_equal(result.limit.tries, 3);
    assert_printed("limit: black hole, larger datagrams vanish: 1253 bytes: no reply");
}

static void a_router_that_reports_once_is_remembered(void **state)
{
    (void)state;
    network.router = 1400;
    network.mute = true;
    assert_int_equal(find(), 0);
    assert_found(1400, MTU_REPORTED);
    assert_true(addr_equal(&result.limit.from, &network.by));
}

static void a_false_report_is_found_out(void **state)
{
    (void)state;
    network.router = 1400;
    network.told = 1000;
    assert_int_equal(find(), 0);
    assert_found(1400, MTU_REPORTED);
    assert_in_range(probed, 5, 40);
}

static void a_report_that_says_nothing_new_is_no_report(void **state)
{
    (void)state;
    network.router = 1400;
    network.told = 65536;
    assert_int_equal(find(), 0);
    assert_found(1400, MTU_SILENT);
}

static void a_report_need_not_quote_the_datagram(void **state)
{
    (void)state;
    network.router = 1400;
    network.short_quote = true;
    assert_int_equal(find(), 0);
    assert_found(1400, MTU_REPORTED);
}

static void losses_are_made_good_by_tries(void **state)
{
    (void)state;
    network.interface = 1500;
    network.lossy = 2;
    assert_int_equal(find(), 0);
    assert_found(1500, MTU_INTERFACE);
    assert_int_equal(probes[0].tries, 3);
}

static void a_server_that_cuts_off_is_its_own_limit(void **state)
{
    (void)state;
    network.interface = 9000;
    network.cut = 8192;
    assert_int_equal(find(), 0);
    assert_int_equal(result.largest, 8192);
    assert_int_equal(result.limit.outcome, MTU_TRUNCATED);
    assert_int_equal(result.limit.len, 8192);
    assert_printed("at least 8220, for 8192 bytes of payload\n"
                   "limit: 8193 bytes: the server sent back only 8192 bytes");
}

static void fragments_on_the_way_back_are_told(void **state)
{
    (void)state;
    for (size_t back = 600; back < 1500; back += 7) {
        set_up(NULL);
        network.interface = 1500;
        network.back = back;
        if (back % 2)
            use_v6();
        assert_int_equal(find(), 0);
        assert_found(1500, MTU_INTERFACE);
        assert_int_equal(result.fragment, back);
        assert_int_equal(result.whole, back - headers());
    }
    assert_printed("way back: comes in fragments of up to ");
}

/* ---- nothing found ---- */

static void no_reply_at_all(void **state)
{
    (void)state;
    network.lossy = 1000;
    assert_int_equal(find(), 1);
    assert_false(result.found);
    assert_int_equal(network.sends, 3);
    assert_printed("there is no echo service, or something filters its datagrams; 16 bytes: no ");
}

static void refused(void **state)
{
    (void)state;
    network.refuse = ECONNREFUSED;
    assert_int_equal(find(), 1);
    assert_int_equal(result.limit.error, ECONNREFUSED);
    assert_printed("not found, not even the smallest datagram comes back: 16 bytes: "
                   "Connection refused, says 192.0.2.1");
}

static void strangers_and_wrong_octets_are_no_replies(void **state)
{
    (void)state;
    network.corrupt = true;
    assert_int_equal(find(), 1);
    assert_int_equal(result.foreign, 3);
    set_up(NULL);
    network.interface = 1500;
    network.stranger = true;
    assert_int_equal(find(), 0);
    assert_found(1500, MTU_INTERFACE);
    assert_true(result.foreign > 0);
}

static void no_room_is_a_loss(void **state)
{
    static const int errors[] = {EAGAIN, ENOBUFS};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        network.local = errors[i];
        assert_int_equal(find(), 1);
        assert_int_equal(result.limit.outcome, MTU_SILENT);
    }
}

static void this_host_may_forbid_it(void **state)
{
    (void)state;
    network.local = EPERM;
    assert_int_equal(find(), 2);
    assert_int_equal(result.error, EPERM);
    assert_printed("16 bytes: Operation not permitted, says this host");
}

static void errors_of_ours_are_status_2(void **state)
{
    static struct script *const scripts[] = {&setsockopt_script, &signalfd_script, &calloc_script,
                                             &getrandom_script};

    (void)state;
    for (size_t i = 0; i < COUNT(scripts); i++) {
        set_up(NULL);
        script_always(scripts[i], -ENETUNREACH);
        assert_int_equal(find(), 2);
        assert_int_equal(result.error, ENETUNREACH);
        assert_printed("not found: Network is unreachable");
    }
}

static void the_user_ends_it(void **state)
{
    (void)state;
    network.stop_after = 1;
    assert_int_equal(find(), 1);
    assert_printed("not found: ended before anything came back");
    network.interface = 1500;
    network.hole = 1000;
    network.stop_after = 6;
    assert_int_equal(find(), 1);
    assert_true(result.found);
    assert_false(result.complete);
    assert_printed("path MTU to 127.0.0.1:7: at least ");
    assert_printed("limit: not found, it was ended before");
}

static void the_deadline_ends_it(void **state)
{
    struct mtu_settings settings = mtu_defaults;
    int fd = open_socket();

    (void)state;
    settings.deadline = 1;
    assert_int_equal(mtu_find(fd, &network.peer, &settings, &result), 1);
    assert_false(result.complete);
    close(fd);
}

static void every_outcome_can_be_printed(void **state)
{
    static const char *const texts[] = {
        [MTU_WHOLE] = "5 bytes: came back\n",
        [MTU_FRAGMENTED] = "5 bytes: came back in fragments of up to 1300 bytes\n",
        [MTU_TRUNCATED] = "5 bytes: the server sent back only 3 bytes\n",
        [MTU_SILENT] = "5 bytes: no reply, and no error, in 2 tries\n",
        [MTU_REPORTED] = "5 bytes: too big, says 192.0.2.1\n",
        [MTU_INTERFACE] = "5 bytes: too big for the interface of this host\n",
        [MTU_ERROR] = "5 bytes: No route to host, says 192.0.2.1\n"};

    (void)state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct mtu_probe probe = {.size = 5,
                                  .outcome = (enum mtu_outcome)i,
                                  .tries = 2,
                                  .fragment = 1300,
                                  .len = 3,
                                  .error = EHOSTUNREACH,
                                  .from = network.by};
        char *printed;
        size_t size;
        FILE *out = open_memstream(&printed, &size);

        mtu_print_probe(out, &probe);
        fclose(out);
        assert_string_equal(printed, texts[i]);
        free(printed);
    }
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_largest_datagram_may_come_back),
        TEST(the_interface_may_be_the_limit),
        TEST(a_router_may_report_the_limit),
        TEST(any_limit_is_found),
        TEST(a_black_hole_is_told_from_a_report),
        TEST(a_router_that_reports_once_is_remembered),
        TEST(a_false_report_is_found_out),
        TEST(a_report_that_says_nothing_new_is_no_report),
        TEST(a_report_need_not_quote_the_datagram),
        TEST(losses_are_made_good_by_tries),
        TEST(a_server_that_cuts_off_is_its_own_limit),
        TEST(fragments_on_the_way_back_are_told),
        TEST(no_reply_at_all),
        TEST(refused),
        TEST(strangers_and_wrong_octets_are_no_replies),
        TEST(no_room_is_a_loss),
        TEST(this_host_may_forbid_it),
        TEST(errors_of_ours_are_status_2),
        TEST(the_user_ends_it),
        TEST(the_deadline_ends_it),
        TEST(every_outcome_can_be_printed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
