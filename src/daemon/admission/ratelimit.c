/* SPDX-License-Identifier: ISC */
#include "daemon/admission/ratelimit.h"

#include "common/hash.h"
#include "common/util.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WAYS       4
#define LEVELS_MAX 5

/* Time is counted in ticks, finer than nanoseconds, because the networks around a source have many
 * budgets a second. */
#define TICKS_PER_NS     16
#define TICKS_PER_SECOND (UINT64_C(1000000000) * TICKS_PER_NS)

/* One of so many datagrams that are under way at once is recognized: its power of two. */
#define REACH_MAX 15

/* Octets at either end of a datagram that its mark is made of. */
#define MARK_END 32

/* Leaks that may follow one another. */
#define LEAK_BURST 16

/* A bucket is the time when it will be full again: the generic cell rate algorithm (ITU-T I.371,
 * virtual scheduling). One that lies in the past is full. */
typedef uint64_t bucket;

struct entry {
    uint32_t tag;
    uint32_t mark;    /* of the datagram that is watched for */
    uint32_t mark_at; /* when it came last, in 1024 ns, which wraps */
    uint16_t since;   /* others that came since then, */
    uint16_t reach;   /* as many as this power of two at most */
    bucket tokens;
    bucket rounds;
};

/* Two cache lines. */
struct set {
    struct entry way[WAYS];
};

struct level {
    unsigned length;
    uint64_t interval; /* ticks that one datagram costs */
    uint64_t depth;    /* how far a bucket's time may lie ahead before a datagram */
};

struct ratelimit {
    struct level v4;
    struct level v6[LEVELS_MAX];
    unsigned v6_levels;
    uint64_t key[2];
    uint64_t random;
    bucket leak;
    struct set *sets;
    uint64_t set_count;
    const struct prefix_set *exempt;
    /* The last source and its entries: a burst of one source is looked up once. */
    struct addr last;
    const struct level *last_levels;
    unsigned last_count;
    bool last_exempt;
    struct entry *last_entries[LEVELS_MAX];
};

static uint64_t rotate(uint64_t x, unsigned by)
{
    return x << by | x >> (64 - by);
}

static uint64_t hash(const struct ratelimit *budget, const struct prefix *prefix)
{
    return hash_words(
        budget->key,
        (const uint64_t[]){(uint64_t)prefix->length << 1 | prefix->is_v4, prefix->hi, prefix->lo},
        prefix->length > 64 ? 3 : 2);
}

/* ---- life ---- */

static struct level new_level(const struct ratelimit_params *params, unsigned length,
                              unsigned budgets)
{
    uint64_t interval = TICKS_PER_SECOND / params->rate;

    return (struct level){.length = length,
                          .interval = interval / budgets,
                          .depth = params->burst * interval - interval / budgets};
}

static void set_levels(struct ratelimit *budget, const struct ratelimit_params *params)
{
    static const unsigned lengths[] = {64, 56, 48, 32};
    unsigned budgets = 1, before = params->v6_length;

    budget->v4 = new_level(params, params->v4_length, 1);
    budget->v6[0] = new_level(params, params->v6_length, 1);
    budget->v6_levels = 1;
    for (size_t i = 0; i < COUNT(lengths); i++) {
        if (lengths[i] >= params->v6_length)
            continue;
        budgets *= before == 48 ? 16 : 4;
        before = lengths[i];
        budget->v6[budget->v6_levels++] = new_level(params, lengths[i], budgets);
    }
}

struct ratelimit *ratelimit_new(const struct ratelimit_params *params)
{
    struct ratelimit *budget = calloc(1, sizeof *budget);
    void *sets;

    if (!budget)
        return NULL;
    budget->set_count = (params->size + WAYS - 1) / WAYS;
    /* Begins at the start of a cache line, and is all zeros: buckets that are full. */
    sets = mmap(NULL, budget->set_count * sizeof *budget->sets, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sets == MAP_FAILED) {
        free(budget);
        return NULL;
    }
    budget->sets = sets;
    budget->exempt = params->exempt;
    memcpy(budget->key, params->key, sizeof budget->key);
    budget->random = params->key[0] ^ rotate(params->key[1], 32) ^ 1;
    set_levels(budget, params);
    return budget;
}

void ratelimit_free(struct ratelimit *budget)
{
    if (!budget)
        return;
    munmap(budget->sets, budget->set_count * sizeof *budget->sets);
    free(budget);
}

/* ---- the table ---- */

/* What would be lost with it. */
static bucket worth(const struct entry *entry)
{
    return entry->tokens > entry->rounds ? entry->tokens : entry->rounds;
}

static struct entry *find(struct ratelimit *budget, const struct prefix *prefix, uint64_t now)
{
    uint64_t place = hash(budget, prefix), time = now * TICKS_PER_NS;
    struct set *set = &budget->sets[((place >> 32) * budget->set_count) >> 32];
    struct entry *least = &set->way[0];
    uint32_t tag = (uint32_t)place;

    for (unsigned i = 0; i < WAYS; i++) {
        if (set->way[i].tag == tag)
            return &set->way[i];
        if (worth(&set->way[i]) < worth(least))
            least = &set->way[i];
    }
    *least = (struct entry){.tag = tag,
                            .mark_at = (uint32_t)((now - RATELIMIT_RETURN_NS) >> 10),
                            .tokens = least->tokens > time ? least->tokens : time};
    return least;
}

/* ---- loops ---- */

/* SplitMix64's finalizer: Steele, Lea, Flood, 2014. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static uint64_t load(const char *from)
{
    uint64_t word;

    memcpy(&word, from, sizeof word);
    return word;
}

uint32_t ratelimit_fingerprint(uint16_t port, const void *data, size_t length)
{
    uint64_t mark = (uint64_t)length << 16 | port;
    char whole[MARK_END] = {0};
    const char *head = data, *tail = head + length - MARK_END;

    if (length < MARK_END) {
        memcpy(whole, data, length);
        head = tail = whole;
    }
    for (unsigned i = 0; i < MARK_END; i += sizeof mark)
        mark = (rotate(mark ^ load(head + i), 23) + load(tail + i)) * UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(mix(mark) >> 32);
}

/* xorshift64*: Vigna, 2014. Nobody can see enough of it to foretell it. */
static bool one_in(struct ratelimit *budget, unsigned odds)
{
    uint64_t x = budget->random;

    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    budget->random = x;
    return (x * UINT64_C(0x2545f4914f6cdd1d)) >> 32 < (UINT64_C(1) << 32) / odds;
}

/* How many rounds this datagram tells of. How many go round in a loop is not known, so another one
 * is watched for after twice as many as before have passed by: Brent's way to find a cycle (1980).
 */
static unsigned count_rounds(struct entry *entry, uint32_t mark, uint64_t now)
{
    uint32_t now32 = (uint32_t)(now >> 10);
    bool recent = now32 - entry->mark_at < RATELIMIT_RETURN_NS >> 10;
    unsigned rounds = 0;

    if (recent && mark != entry->mark) {
        if (++entry->since < 1U << entry->reach)
            return 0;
        if (entry->reach < REACH_MAX)
            entry->reach++;
    } else if (!recent) {
        entry->reach = 0;
    } else if (now32 != entry->mark_at) {
        /* What arrives together with its like was not sent in answer to it. */
        rounds = entry->since < RATELIMIT_ROUND_WEIGHT ? 1U + entry->since : RATELIMIT_ROUND_WEIGHT;
    }
    entry->mark = mark;
    entry->mark_at = now32;
    entry->since = 0;
    return rounds;
}

static bool is_looping(struct ratelimit *budget, struct entry *entry, unsigned rounds,
                       const struct level *level, uint64_t time)
{
    bool exempt = budget->last_exempt;
    uint64_t interval = exempt ? level->interval : TICKS_PER_SECOND / RATELIMIT_ROUND_RATE;
    uint64_t depth = exempt ? level->depth : (RATELIMIT_ROUNDS - 1) * interval;

    if (entry->rounds <= time + depth) {
        if (rounds > 0)
            entry->rounds = (entry->rounds > time ? entry->rounds : time) + rounds * interval;
        return false;
    }
    if (!exempt)
        return one_in(budget, RATELIMIT_LOOP_ODDS);
    entry->rounds = time;
    return true;
}

/* ---- budgets ---- */

static bool charge(struct entry *const entries[], const struct level *levels, unsigned count,
                   uint64_t time)
{
    for (unsigned i = 0; i < count; i++)
        if (entries[i]->tokens > time + levels[i].depth)
            return false;
    for (unsigned i = 0; i < count; i++) {
        bucket *tokens = &entries[i]->tokens;

        *tokens = (*tokens > time ? *tokens : time) + levels[i].interval;
    }
    return true;
}

static bool leak(struct ratelimit *budget, uint64_t time)
{
    uint64_t interval = budget->v4.interval;

    if (!one_in(budget, RATELIMIT_SLIP_ODDS) || budget->leak > time + (LEAK_BURST - 1) * interval)
        return false;
    budget->leak = (budget->leak > time ? budget->leak : time) + interval;
    return true;
}

static bool is_last(const struct ratelimit *budget, const struct addr *source)
{
    const struct addr *last = &budget->last;

    if (source->sa.sa_family != last->sa.sa_family)
        return false;
    if (source->sa.sa_family == AF_INET)
        return source->in.sin_addr.s_addr == last->in.sin_addr.s_addr;
    return memcmp(&source->in6.sin6_addr, &last->in6.sin6_addr, sizeof last->in6.sin6_addr) == 0;
}

static void look_up(struct ratelimit *budget, const struct addr *source, uint64_t now)
{
    struct prefix address = prefix_of(source, 32, 128);

    budget->last = *source;
    budget->last_levels = address.is_v4 ? &budget->v4 : budget->v6;
    budget->last_count = address.is_v4 ? 1 : budget->v6_levels;
    budget->last_exempt = budget->exempt && prefix_set_find(budget->exempt, source) != 0;
    for (unsigned i = 0; i < budget->last_count; i++) {
        struct prefix network = prefix_cut(&address, budget->last_levels[i].length);

        budget->last_entries[i] = find(budget, &network, now);
    }
}

enum ratelimit_verdict ratelimit_spend(struct ratelimit *budget, const struct addr *source,
                                       uint32_t mark, uint64_t now)
{
    struct entry **entries = budget->last_entries;
    uint64_t time = now * TICKS_PER_NS;
    unsigned rounds;

    if (!is_last(budget, source))
        look_up(budget, source, now);
    rounds = count_rounds(entries[0], mark, now);
    if (is_looping(budget, entries[0], rounds, budget->last_levels, time))
        return RATELIMIT_LOOP;
    if (budget->last_exempt || charge(entries, budget->last_levels, budget->last_count, time))
        return RATELIMIT_ANSWER;
    return leak(budget, time) ? RATELIMIT_SLIP : RATELIMIT_REFUSE;
}
