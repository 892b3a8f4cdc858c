/* SPDX-License-Identifier: ISC */
#include "tcp_conn.h"

/* How many connections at each end of the list are looked at to find one that has to go. */
#define SAMPLE 16

/* What a client has sent makes its connection useful for so long at most. */
#define USEFUL_MAX_NS UINT64_C(2000000000)

void tcp_note_use(struct tcp_conn *c, uint64_t octets)
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
static unsigned blame(const struct tcp_conn *c)
{
    const struct tcp *tcp = c->tcp;
    uint64_t now = loop_now(tcp->loop);
    unsigned count = admit_count(c->source), share = admit_total(tcp->admit) / TCP_SHARE;

    if (now - c->opened < TCP_SETTLED_NS)
        return 0;
    if (c->useful_until <= now)
        return count + UINT32_MAX / 2;
    return count > share && count >= TCP_SHARE_MIN ? count : 0;
}

static void consider(struct tcp_conn *c, struct tcp_conn **victim, unsigned *most)
{
    unsigned own = blame(c);

    if (own > *most) {
        *victim = c;
        *most = own;
    }
}

struct tcp_conn *tcp_find_victim(const struct tcp *tcp)
{
    struct tcp_conn *victim = NULL, *c;
    unsigned i, most = 0;

    if (admit_open(tcp->admit) > admit_total(tcp->admit))
        return NULL;
    for (c = tcp->oldest, i = 0; c && i < SAMPLE; c = c->newer, i++)
        consider(c, &victim, &most);
    for (c = tcp->newest, i = 0; c && i < SAMPLE; c = c->older, i++)
        consider(c, &victim, &most);
    return victim;
}
