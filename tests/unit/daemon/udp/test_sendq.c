/* SPDX-License-Identifier: ISC */
#include "daemon/udp/sendq.h"

#include <netinet/udp.h>

#include "common/clock.h"
#include "unit/unit.h"

#define START (1000 * SECOND)

/* The datagrams that were sent, each by its address in memory, and the messages they were in. */
static struct {
    unsigned calls, messages, datagrams;
    const void *data[256];
    size_t length[256];
    unsigned message[256];
} sent;

static size_t longest_path; /* segments beyond it are refused */

static const struct cmsghdr *find_segment_size(const struct msghdr *header)
{
    struct msghdr *message = (struct msghdr *)(uintptr_t)header;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_SEGMENT)
            return c;
    return NULL;
}

static void note_datagram(const char *data, size_t length)
{
    assert_in_range(sent.datagrams, 0, COUNT(sent.data) - 1);
    sent.data[sent.datagrams] = data;
    sent.length[sent.datagrams] = length;
    sent.message[sent.datagrams++] = sent.messages;
}

/* As the kernel would: whatever the pieces are, only the last segment is shorter. */
static int take(struct mmsghdr *message)
{
    const struct cmsghdr *c = find_segment_size(&message->msg_hdr);
    size_t left = 0;
    uint16_t segment = 0;

    for (size_t i = 0; i < message->msg_hdr.msg_iovlen; i++)
        left += message->msg_hdr.msg_iov[i].iov_len;
    message->msg_len = (unsigned)left;
    if (c)
        memcpy(&segment, CMSG_DATA(c), sizeof segment);
    assert_true(c || message->msg_hdr.msg_iovlen == 1);
    assert_true(!c || (segment > 0 && segment < left));
    if (segment > longest_path)
        return EMSGSIZE;
    if (!c)
        note_datagram(message->msg_hdr.msg_iov->iov_base, left);
    for (size_t i = 0; c && i < message->msg_hdr.msg_iovlen; i++) {
        const struct iovec *iov = &message->msg_hdr.msg_iov[i];

        assert_true(iov->iov_len % segment == 0 || i + 1 == message->msg_hdr.msg_iovlen);
        for (size_t done = 0; done < iov->iov_len; done += segment)
            note_datagram((char *)iov->iov_base + done,
                          iov->iov_len - done < segment ? iov->iov_len - done : segment);
    }
    sent.messages++;
    return 0;
}

/* A step is the most messages that the call sends. */
WRAP(int, sendmmsg, int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    int step = script_next(&sendmmsg_script);
    unsigned n;

    (void)fd;
    assert_int_equal(flags, 0);
    assert_true(count > 0);
    sent.calls++;
    if (step < 0) {
        errno = -step;
        return -1;
    }
    for (n = 0; n < count && n < (unsigned)step; n++) {
        int error = take(&messages[n]);

        if (error != 0) {
            errno = error;
            return n > 0 ? (int)n : -1;
        }
    }
    return (int)n;
}

static struct sendq queue;
static struct stats stats;
static struct udp_reply reply;
static struct addr peer;
static char data[65536];
static uint64_t now;

static int set_up(void **state)
{
    struct cmsghdr *c = (struct cmsghdr *)(void *)reply.control.octets;

    (void)state;
    memset(&sent, 0, sizeof sent);
    memset(&stats, 0, sizeof stats);
    memset(&queue, 0, sizeof queue);
    script_clear(&sendmmsg_script);
    longest_path = SIZE_MAX;
    now = START;
    peer = address("192.0.2.1", 5000);
    *c = (struct cmsghdr){.cmsg_level = SOL_IP, .cmsg_type = IP_TOS, .cmsg_len = CMSG_LEN(1)};
    reply.segment = UDP_ONE_DATAGRAM;
    reply.header = (struct msghdr){.msg_name = &peer,
                                   .msg_namelen = peer.len,
                                   .msg_control = reply.control.octets,
                                   .msg_controllen = CMSG_SPACE(1)};
    sendq_begin(&queue, now);
    return 0;
}

static void add(size_t at, size_t length)
{
    sendq_add(&queue, &reply, data + at, length);
}

static bool send_all(void)
{
    return sendq_send(&queue, 7, &stats, now);
}

/* The datagrams left in this order, with these lengths, in that number of messages. */
#define ASSERT_SENT(messages, ...)                                                                 \
    assert_sent(messages, (const size_t[]){__VA_ARGS__}, COUNT(((const size_t[]){__VA_ARGS__})))
static void assert_sent(unsigned messages, const size_t lengths[], size_t count)
{
    size_t octets = 0;

    assert_int_equal(sent.messages, messages);
    assert_int_equal(sent.datagrams, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(sent.length[i], lengths[i]);
        octets += lengths[i];
    }
    assert_int_equal(stats.udp_echoes, count);
    assert_int_equal(stats.udp_octets, octets);
    assert_int_equal(sendq_waiting(&queue), 0);
}

static void equal_lengths_leave_together(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++)
        add(i * 1000, 100);
    assert_int_equal(sendq_waiting(&queue), 5);
    assert_true(send_all());
    ASSERT_SENT(1, 100, 100, 100, 100, 100);
    for (size_t i = 0; i < 5; i++)
        assert_ptr_equal(sent.data[i], data + i * 1000);
}

static void only_the_last_may_be_shorter(void **state)
{
    (void)state;
    add(0, 100);
    add(1000, 100);
    add(2000, 60);
    add(3000, 60);
    add(4000, 61);
    add(5000, 0);
    add(6000, 0);
    add(7000, 1);
    add(8000, 1);
    assert_true(send_all());
    ASSERT_SENT(6, 100, 100, 60, 60, 61, 0, 0, 1, 1);
}

static void another_client_or_address_or_dscp_needs_another_message(void **state)
{
    struct addr other = address("192.0.2.1", 5001);
    size_t length = reply.header.msg_controllen;

    (void)state;
    add(0, 100);
    add(1000, 100);
    reply.header.msg_name = &other;
    add(2000, 100);
    reply.header.msg_name = &peer;
    add(3000, 100);
    CMSG_DATA((struct cmsghdr *)(void *)reply.control.octets)[0] ^= 4;
    add(4000, 100);
    reply.header.msg_controllen = 0;
    add(5000, 100);
    reply.header.msg_controllen = length;
    add(6000, 100);
    add(7000, 100);
    assert_true(send_all());
    ASSERT_SENT(6, 100, 100, 100, 100, 100, 100, 100, 100);
    assert_int_equal(sent.calls, 1);
}

static void no_message_is_longer_than_a_packet_can_be(void **state)
{
    (void)state;
    for (size_t i = 0; i < 4; i++)
        add(0, 30000);
    add(0, 65487);
    add(0, 65507);
    assert_true(send_all());
    ASSERT_SENT(4, 30000, 30000, 30000, 30000, 65487, 65507);
}

static void a_request_of_segments_gets_a_reply_of_segments(void **state)
{
    (void)state;
    reply.segment = 100;
    add(0, 250);
    add(1000, 300);
    add(2000, 100);
    add(3000, 100);
    add(4000, 99);
    assert_int_equal(sendq_waiting(&queue), 9);
    assert_true(send_all());
    ASSERT_SENT(3, 100, 100, 50, 100, 100, 100, 100, 100, 99);
    assert_ptr_equal(sent.data[2], data + 200);
}

/* The kernel that took them in may take more than others do. */
static void too_many_segments_leave_one_by_one_and_teach_nothing(void **state)
{
    (void)state;
    reply.segment = 10;
    SCRIPT(sendmmsg_script, -EINVAL, PASS);
    add(0, 100 * 10);
    assert_true(send_all());
    assert_int_equal(sent.messages, 100);
    assert_int_equal(stats.udp_echoes, 100);
    sendq_begin(&queue, now);
    add(0, 20);
    assert_true(send_all());
    assert_int_equal(sent.messages, 101);
    assert_int_equal(stats.udp_failed, 0);
}

static void segments_too_long_for_the_path_leave_one_by_one(void **state)
{
    (void)state;
    longest_path = 1400;
    reply.segment = 1500;
    add(0, 4000);
    reply.segment = UDP_ONE_DATAGRAM;
    add(5000, 1400);
    add(7000, 1400);
    assert_true(send_all());
    ASSERT_SENT(4, 1500, 1500, 1000, 1400, 1400);
    assert_ptr_equal(sent.data[1], data + 1500);
    assert_int_equal(sent.calls, 5);
}

static void for_a_while_they_are_not_tried_again(void **state)
{
    (void)state;
    longest_path = 1400;
    for (unsigned i = 0; i < 4; i++) {
        unsigned calls = sent.calls;

        sendq_begin(&queue, now);
        add(0, 1500);
        add(1500, 1500);
        assert_true(send_all());
        reply.segment = 1500;
        sendq_begin(&queue, now);
        add(0, 3000);
        assert_true(send_all());
        reply.segment = UDP_ONE_DATAGRAM;
        /* A try, each by itself, and again each by itself; then, of plain ones, both in a call. */
        assert_int_equal(sent.calls - calls, i % 2 == 0 ? 5 : 3);
        now += 600 * MILLISECOND;
    }
    assert_int_equal(sent.datagrams, 16);
    assert_int_equal(stats.udp_failed, 0);
}

static void a_way_out_without_segments_is_not_tried_for_a_while(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, -EIO, PASS);
    add(0, 100);
    add(100, 100);
    assert_true(send_all());
    assert_int_equal(sent.calls, 3);
    sendq_begin(&queue, now);
    add(0, 2);
    add(2, 2);
    assert_true(send_all());
    ASSERT_SENT(4, 100, 100, 2, 2);
    assert_int_equal(sent.calls, 4);
}

static void another_failure_is_each_segments_own(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, -EPERM, PASS, -EPERM, PASS);
    add(0, 100);
    add(100, 100);
    add(200, 100);
    assert_true(send_all());
    assert_int_equal(stats.udp_failed, 1);
    ASSERT_SENT(2, 100, 100);
    assert_ptr_equal(sent.data[1], data + 200);
    sendq_begin(&queue, now);
    add(0, 100);
    add(100, 100);
    assert_true(send_all());
    assert_int_equal(sent.messages, 3);
}

static void a_full_socket_goes_on_where_it_stopped(void **state)
{
    (void)state;
    SCRIPT(sendmmsg_script, 1, -EAGAIN, -EMSGSIZE, -EINTR, PASS, -EAGAIN, PASS);
    add(0, 10);
    add(1000, 100);
    add(2000, 100);
    add(3000, 50);
    add(4000, 60);
    assert_false(send_all());
    assert_int_equal(sendq_waiting(&queue), 4);
    assert_false(send_all());
    assert_int_equal(sendq_waiting(&queue), 3);
    assert_true(send_all());
    ASSERT_SENT(5, 10, 100, 100, 50, 60);
}

static void a_new_batch_forgets_the_old_one(void **state)
{
    (void)state;
    script_always(&sendmmsg_script, -EAGAIN);
    add(0, 10);
    assert_false(send_all());
    script_clear(&sendmmsg_script);
    sendq_begin(&queue, now);
    add(0, 20);
    assert_true(send_all());
    ASSERT_SENT(1, 20);
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(equal_lengths_leave_together),
        TEST(only_the_last_may_be_shorter),
        TEST(another_client_or_address_or_dscp_needs_another_message),
        TEST(no_message_is_longer_than_a_packet_can_be),
        TEST(a_request_of_segments_gets_a_reply_of_segments),
        TEST(too_many_segments_leave_one_by_one_and_teach_nothing),
        TEST(segments_too_long_for_the_path_leave_one_by_one),
        TEST(for_a_while_they_are_not_tried_again),
        TEST(a_way_out_without_segments_is_not_tried_for_a_while),
        TEST(another_failure_is_each_segments_own),
        TEST(a_full_socket_goes_on_where_it_stopped),
        TEST(a_new_batch_forgets_the_old_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
