/* SPDX-License-Identifier: ISC */
#include "daemon/admission/ratelimit.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/hash.h"
#include "common/util.h"
#include "daemon/admission/loopguard.h"

#define WAYS       4
#define LEVELS_MAX 5

/* A large network has many times the rate of one source, so an interval between two of its
 * datagrams may be short: times are counted in ticks, which are finer than nanoseconds. */
#define TICKS_PER_NS     16
#define TICKS_PER_SECOND (SECOND * TICKS_PER_NS)

/* Slips that may follow one another at once. */
#define SLIP_BURST 16

/* A token bucket is the time, in ticks, when it will be full: the generic cell rate algorithm
 * (ITU-T I.371, virtual scheduling). A time in the past means that it is full. */
typedef uint64_t bucket;

struct entry {
    uint32_t tag; /* the part of the source's hash that tells it from others in its set */
    struct loopguard_history history;
    bucket tokens;
};

/* The entries among which a source has its place. */
struct set {
    struct entry way[WAYS];
};

static_assert(sizeof(struct set) == 128, "a set is two cache lines");

/* The budget of a source, or of a network around it. */
struct level {
    unsigned length;   /* bits of the prefix */
    uint64_t interval; /* ticks that one datagram costs */
    uint64_t depth; /* ticks that a bucket's time may be ahead, and a datagram is still answered */
};

struct ratelimit {
    struct level v4;
    struct level v6[LEVELS_MAX];
    unsigned v6_levels;
    uint64_t key[2];
    uint64_t random; /* the state of random_one_in() */
    bucket slips;
    struct set *sets;
    size_t set_count;
    const struct prefix_set *exempt;
    struct loopguard_allowance rounds;
    struct loopguard_allowance exempt_rounds;
};

static uint64_t hash(const struct ratelimit *limit, const struct prefix *prefix)
{
    return hash_words(
        limit->key,
        (const uint64_t[]){(uint64_t)prefix->length << 1 | prefix->is_v4, prefix->hi, prefix->lo},
        prefix->length > 64 ? 3 : 2);
}

/* ---- life ---- */

/* The budget of a network that is `larger` bits larger than a source: four times as much for every
 * 8 bits, so 2^(larger/4) times. */
static struct level new_level(const struct ratelimit_params *params, unsigned length,
                              unsigned larger)
{
    static const uint64_t fourth_roots[] = {1024, 1218, 1448, 1722}; /* 1024 * 2^(n/4) */
    uint64_t interval = TICKS_PER_SECOND / params->rate;
    uint64_t share = (interval * 1024 / fourth_roots[larger % 4]) >> larger / 4;

    return (struct level){
        .length = length, .interval = share, .depth = params->burst * interval - share};
}

static void set_levels(struct ratelimit *limit, const struct ratelimit_params *params)
{
    static const unsigned networks[] = {64, 56, 48, 32};

    limit->v4 = new_level(params, params->v4_length, 0);
    limit->v6[0] = new_level(params, params->v6_length, 0);
    limit->v6_levels = 1;
    for (size_t i = 0; i < COUNT(networks); i++) {
        struct level level = {.interval = 0};

        if (networks[i] < params->v6_length)
            level = new_level(params, networks[i], params->v6_length - networks[i]);
        /* 0: more than a datagram in each tick, which no link carries. */
        if (level.interval > 0)
            limit->v6[limit->v6_levels++] = level;
    }
}

struct ratelimit *ratelimit_new(const struct ratelimit_params *params)
{
    struct ratelimit *limit = calloc(1, sizeof *limit);
    void *sets;

    if (!limit)
        return NULL;
    limit->set_count = (size_t)((params->size + WAYS - 1) / WAYS);
    /* Aligned to a cache line, and all zeros: every bucket is full. */
    sets = mmap(NULL, limit->set_count * sizeof *limit->sets, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sets == MAP_FAILED) {
        free(limit);
        return NULL;
    }
    limit->sets = sets;
    limit->exempt = params->exempt;
    memcpy(limit->key, params->key, sizeof limit->key);
    limit->random = (params->key[0] ^ params->key[1]) | 1;
    limit->rounds = loopguard_allow(LOOPGUARD_ROUNDS, LOOPGUARD_ROUNDS_PER_SECOND, LOOPGUARD_ODDS);
    limit->exempt_rounds = loopguard_allow(params->burst, params->rate, 1);
    set_levels(limit, params);
    return limit;
}

void ratelimit_free(struct ratelimit *limit)
{
    if (!limit)
        return;
    munmap(limit->sets, limit->set_count * sizeof *limit->sets);
    free(limit);
}

/* ---- the table ---- */

/* What is forgotten with the entry: a source in debt would begin anew. */
static bucket debt(const struct entry *entry)
{
    bucket rounds = entry->history.rounds_until * TICKS_PER_NS;

    return entry->tokens > rounds ? entry->tokens : rounds;
}

static struct entry *find_entry(struct ratelimit *limit, const struct prefix *prefix, uint64_t now)
{
    uint64_t place = hash(limit, prefix), time = now * TICKS_PER_NS;
    struct set *set = &limit->sets[((place >> 32) * limit->set_count) >> 32];
    struct entry *least = &set->way[0];
    uint32_t tag = (uint32_t)place;

    for (unsigned i = 0; i < WAYS; i++) {
        if (set->way[i].tag == tag)
            return &set->way[i];
        if (debt(&set->way[i]) < debt(least))
            least = &set->way[i];
    }
    *least = (struct entry){.tag = tag,
                            .history = loopguard_new_history(now),
                            .tokens = least->tokens > time ? least->tokens : time};
    return least;
}

/* ---- charging ---- */

static bool take_tokens(struct entry *const entries[], const struct level *levels, unsigned count,
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

static bool slip(struct ratelimit *limit, uint64_t time)
{
    uint64_t interval = limit->v4.interval;

    if (!random_one_in(&limit->random, RATELIMIT_SLIP_ODDS) ||
        limit->slips > time + (SLIP_BURST - 1) * interval)
        return false;
    limit->slips = (limit->slips > time ? limit->slips : time) + interval;
    return true;
}

enum verdict ratelimit_charge(struct ratelimit *limit, const struct addr *source,
                              uint32_t fingerprint, uint64_t now)
{
    struct prefix address = prefix_of(source, 32, 128);
    const struct level *levels = address.is_v4 ? &limit->v4 : limit->v6;
    bool exempt = limit->exempt && prefix_set_find(limit->exempt, source) != 0;
    unsigned count = address.is_v4 || exempt ? 1 : limit->v6_levels;
    uint64_t time = now * TICKS_PER_NS;
    struct entry *entries[LEVELS_MAX] = {NULL};

    for (unsigned i = 0; i < count; i++) {
        struct prefix network = prefix_cut(&address, levels[i].length);

        entries[i] = find_entry(limit, &network, now);
    }
    if (loopguard_keeps_returning(&entries[0]->history,
                                  exempt ? &limit->exempt_rounds : &limit->rounds, fingerprint, now,
                                  &limit->random))
        return VERDICT_LOOP;
    if (exempt || take_tokens(entries, levels, count, time))
        return VERDICT_ANSWER;
    return slip(limit, time) ? VERDICT_SLIP : VERDICT_OVER_RATE;
}
