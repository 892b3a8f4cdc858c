/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/evict.h"

#include <inttypes.h>
#include <sys/socket.h>

#include "common/addr.h"
#include "common/log.h"

/* How many connections at each end of the list are looked at. */
#define SAMPLE 16

/* How many further ones are looked at if none of the sample can go: a crowd could keep both ends of
 * the list busy. */
#define WALK 1024

/* How many connections may have to end before one client gets a slot, after the limit was lowered.
 */
#define EVICTIONS_MAX 32

/* How much a connection deserves to be evicted; 0: it may stay. */
static unsigned eviction_score(const struct connection *c)
{
    struct connlimit *connlimit = c->set->connlimit;
    uint64_t now = loop_now(c->set->loop);
    unsigned count = connlimit_count(c->source);

    if (now - c->opened < EVICT_MIN_AGE)
        return 0;
    if (c->useful_until <= now)
        return count + UINT32_MAX / 2; /* above every busy connection */
    return count > connlimit_total(connlimit) / EVICT_SHARE && count >= EVICT_SHARE_MIN ? count : 0;
}

static void consider(struct connection *c, struct connection **victim, unsigned *highest)
{
    unsigned score = eviction_score(c);

    if (score > *highest && !connection_has_input(c)) {
        *victim = c;
        *highest = score;
    }
}

/* The connection to evict; NULL: none. */
static struct connection *choose(struct connections *set)
{
    struct connection *victim = NULL, *c;
    unsigned i, highest = 0;

    for (c = set->oldest, i = 0; c && i < SAMPLE; c = c->newer, i++)
        consider(c, &victim, &highest);
    for (c = set->newest, i = 0; c && i < SAMPLE; c = c->older, i++)
        consider(c, &victim, &highest);
    c = set->cursor ? set->cursor : set->oldest;
    for (i = 0; c && !victim && i < WALK && i < set->open; i++) {
        consider(c, &victim, &highest);
        c = c->newer ? c->newer : set->oldest;
    }
    set->cursor = c;
    return victim;
}

/* End the connection and keep its slot. */
static void evict(struct connection *victim)
{
    struct connections *set = victim->set;
    struct addr peer = {.len = sizeof peer.in6};
    uint64_t now = loop_now(set->loop), suppressed;
    char text[ADDR_STRLEN];

    stats_add(&set->stats->tcp_evicted, 1);
    if (log_limit_pass(&connlimit_logs(set->connlimit)->evicted, now, &suppressed) &&
        getpeername(victim->io.fd, &peer.sa, &peer.len) == 0)
        log_warning("tcp: all %u connections are taken; ended one of %s, last active %" PRIu64
                    " ms ago, to let another in (%" PRIu64
                    " more since the last such line; see tcp max-connections)",
                    connlimit_open(set->connlimit), addr_print_host(&peer, text),
                    (now - victim->last_activity) / MILLISECOND, suppressed);
    connection_end_keeping_slot(victim, "evicted");
}

/* End the victim and, after the limit was lowered, as many others as it takes until a slot is left
 * over. */
static bool make_room(struct connections *set, struct connection *victim)
{
    for (unsigned i = 0; victim && i < EVICTIONS_MAX; i++) {
        evict(victim);
        if (connlimit_open(set->connlimit) <= connlimit_total(set->connlimit))
            return true;
        connlimit_release(set->connlimit);
        victim = choose(set);
    }
    return false;
}

bool evict_for_client(struct connections *set)
{
    return make_room(set, choose(set));
}

void evict_for_other_workers(struct connections *set)
{
    struct connection *victim = connlimit_eviction_wanted(set->connlimit) ? choose(set) : NULL;

    /* Claim only with a victim: otherwise the request is left to a worker that has one. */
    if (victim && connlimit_claim_eviction(set->connlimit) && make_room(set, victim))
        connlimit_release(set->connlimit);
}
