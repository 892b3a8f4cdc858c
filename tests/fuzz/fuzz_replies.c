/* SPDX-License-Identifier: ISC */
/* A whole run against a service that sends anything at any time, over datagrams and over a stream:
 * nothing is counted that was not sent, and the counters agree. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probe/inflight.h"
#include "probe/run.h"
#include "probe/schedule.h"
#include "probe/tcp_stream.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

static uint64_t events[PROBE_TICK + 1];

static bool listen_to(void *context, const struct probe_event *event)
{
    const struct probe *probe = context;

    MUST(event->seq <= probe->counters.sent);
    events[event->kind]++;
    return true;
}

static unsigned fake_send(struct probe_link *link, uint64_t first, unsigned count)
{
    (void)link;
    (void)first;
    return count;
}

static void fake_close(struct probe_link *link)
{
    probe_link_fini(link);
    free(link);
}

static const struct probe_ops fake = {
    .name = "udp", .type = SOCK_DGRAM, .send = fake_send, .close = fake_close};

static void check_counters(const struct probe *probe)
{
    const struct probe_counters *counters = &probe->counters;
    unsigned unanswered = 0;

    for (unsigned i = 0; i < probe->opened; i++)
        unanswered += probe->links[i]->unanswered;
    MUST(counters->received <= counters->sent && counters->received == probe->rtt.count);
    MUST(counters->received == events[PROBE_RECEIVED] &&
         counters->duplicate == events[PROBE_DUPLICATE]);
    MUST(probe->waiting <= counters->sent - counters->received && unanswered <= probe->waiting);
}

static void add_link(struct probe *probe)
{
    struct probe_link *link = calloc(1, sizeof *link);

    MUST(link);
    probe_link_init(link, &fake, probe, probe->opened);
    MUST(addr_parse("192.0.2.1", 7, &link->peer) == 0);
    probe->links[probe->opened++] = link;
}

/* Each octet and what follows it: let time pass, or take a datagram that differs so from some
 * probe. */
static void run_datagrams(struct probe *probe, const uint8_t *data, size_t size)
{
    uint64_t now = SECOND;
    struct addr other;

    MUST(addr_parse("192.0.2.2", 7, &other) == 0);
    add_link(probe);
    add_link(probe);
    schedule_turn(probe, now);
    while (size >= 4) {
        struct probe_link *link = probe->links[data[0] & 1];
        size_t len = data[1] < size - 4 ? data[1] : size - 4;
        uint64_t seq = data[2];
        uint8_t octets[256];
        struct payload_identity identity;

        now += data[3] * UINT64_C(1000003);
        payload_fill(&probe->payload, seq, 0, octets, len);
        for (size_t i = 0; i < len; i++)
            octets[i] ^= data[4 + i];
        identity = payload_identify(&probe->payload, octets, len, inflight_oldest(probe),
                                    probe->counters.sent);
        if (data[0] & 4)
            inflight_stamp(probe, seq, now);
        if (data[0] & 8)
            inflight_error(link, identity.seq, 111, NULL, now);
        else
            inflight_reply(link, &identity,
                           &(struct probe_arrival){.from = data[0] & 2 ? &other : &link->peer,
                                                   .octets = octets,
                                                   .size = len,
                                                   .now = now,
                                                   .stamp = data[0] & 4 ? now + data[3] : 0});
        schedule_turn(probe, now);
        check_counters(probe);
        data += 4 + len;
        size -= 4 + len;
    }
}

/* The first octet: how much of the right stream comes before what follows. */
static void run_stream(struct probe *probe, const uint8_t *data, size_t size)
{
    struct tcp_stream stream = {.state = TCP_CONNECTED};
    uint8_t sent[65536];
    ssize_t right;
    int ends[2];

    add_link(probe);
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
    probe_watch_init(&stream.watch, probe->links[0], ends[0]);
    stream.peer = probe->links[0]->peer;
    schedule_turn(probe, SECOND);
    for (uint64_t seq = 1; seq <= probe->counters.sent; seq++)
        MUST(tcp_stream_queue(&stream, seq));
    tcp_stream_flush(&stream);
    right = read(ends[1], sent, sizeof sent);
    MUST(right > 0);
    if (size > 0 && right > data[0])
        right = data[0];
    MUST(send(ends[1], sent, (size_t)right, MSG_NOSIGNAL) == right);
    if (size > 1)
        MUST(send(ends[1], data + 1, size - 1, MSG_NOSIGNAL) > 0);
    tcp_stream_ready(&stream, 1);
    if (size & 1) {
        close(ends[1]);
        ends[1] = -1;
        tcp_stream_ready(&stream, 1);
        MUST(stream.state == TCP_ENDED);
        tcp_stream_remains(&stream);
    }
    check_counters(probe);
    tcp_stream_close(&stream);
    if (ends[1] >= 0)
        close(ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct probe_settings settings = probe_defaults;
    struct runner runner;
    struct probe probe;

    if (size < 2 || size > 4096)
        return 0;
    settings.links = 2;
    settings.size = 1 + data[0] % 64;
    settings.preload = 8;
    settings.interval = data[1] & 2 ? SECOND / 100 : SECOND;
    settings.window = data[1] & 4 ? 4 : 0;
    memset(events, 0, sizeof events);
    MUST(runner_init(&runner) == 0);
    MUST(probe_init(&probe, &runner, &settings, listen_to, &probe) == 0);
    probe.payload.nonce = UINT64_C(0x0123456789abcdef);
    if (data[1] & 1)
        run_stream(&probe, data + 2, size - 2);
    else
        run_datagrams(&probe, data + 2, size - 2);
    probe_fini(&probe);
    runner_fini(&runner);
    return 0;
}
