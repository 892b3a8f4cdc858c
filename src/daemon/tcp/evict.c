/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/connection.h"

/* How many connections at each end of the list are looked at to find one that has to go, and how
 * many further ones if there is none among them: somebody may keep both ends busy. */
#define SAMPLE 16
#define WALK   1024

/* What a client has sent makes its connection useful for so long at most. */
#define USEFUL_MAX_NS UINT64_C(2000000000)

void tcp_note_use(struct connection *c, uint64_t octets)
{
    uint64_t now = loop_now(c->tcp->loop), left = 0;

    if (octets > USEFUL_MAX_NS / 1000000000 * TCP_USEFUL_RATE)
        octets = USEFUL_MAX_NS / 1000000000 * TCP_USEFUL_RATE;
    if (c->useful_until > now)
        left = c->useful_until - now;
    left += octets * (UINT64_C(1000000000) / TCP_USEFUL_RATE);
    c->useful_until = now + (left < USEFUL_MAX_NS ? left : USEFUL_MAX_NS);
}

/* How much a connection deserves to go; 0: not at all. */
static unsigned blame(const struct connection *c)
{
    const struct tcp *tcp = c->tcp;
    uint64_t now = loop_now(tcp->loop);
    unsigned count = connlimit_count(c->source), share = connlimit_total(tcp->admit) / TCP_SHARE;

    if (now - c->opened < TCP_SETTLED_NS)
        return 0;
    if (c->useful_until <= now)
        return count + UINT32_MAX / 2;
    return count > share && count >= TCP_SHARE_MIN ? count : 0;
}

static void consider(struct connection *c, struct connection **victim, unsigned *most)
{
    unsigned own = blame(c);

    if (own > *most && !tcp_has_input(c)) {
        *victim = c;
        *most = own;
    }
}

struct connection *evict_choose(struct tcp *tcp)
{
    struct connection *victim = NULL, *c;
    unsigned i, most = 0;

    for (c = tcp->oldest, i = 0; c && i < SAMPLE; c = c->newer, i++)
        consider(c, &victim, &most);
    for (c = tcp->newest, i = 0; c && i < SAMPLE; c = c->older, i++)
        consider(c, &victim, &most);
    c = tcp->walked_to ? tcp->walked_to : tcp->oldest;
    for (i = 0; c && !victim && i < WALK && i < tcp->open; i++) {
        consider(c, &victim, &most);
        c = c->newer ? c->newer : tcp->oldest;
    }
    tcp->walked_to = c;
    return victim;
}
