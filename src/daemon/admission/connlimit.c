/* SPDX-License-Identifier: ISC */
#include "daemon/admission/connlimit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/prefix.h"

#define BUCKETS 4096

/* The workers are not to be rung up more often than that. */
#define RING_NS (250 * UINT64_C(1000000))

struct connlimit_source {
    struct connlimit_source *next;
    struct prefix prefix;
    _Atomic unsigned count; /* written under the lock */
};

struct connlimit {
    _Atomic unsigned open;
    _Atomic unsigned total;
    _Atomic unsigned per_source;
    _Atomic unsigned v4_length;
    _Atomic unsigned v6_length;
    _Atomic int wanted_at; /* the listener where somebody waits, and 1; 0: nowhere */
    _Atomic uint64_t rung_at;
    int *bells;
    size_t bell_count;
    struct connlimit_logs logs;
    pthread_mutex_t lock; /* the table's */
    uint64_t secret;
    struct connlimit_source *buckets[BUCKETS];
};

struct connlimit *connlimit_new(void)
{
    struct connlimit *admit = calloc(1, sizeof *admit);

    if (!admit)
        return NULL;
    /* Without a secret a stranger with an IPv6 prefix could fill one bucket. */
    if (getrandom(&admit->secret, sizeof admit->secret, GRND_NONBLOCK) < 0)
        admit->secret = (uintptr_t)admit;
    pthread_mutex_init(&admit->lock, NULL);
    return admit;
}

void connlimit_free(struct connlimit *admit)
{
    if (!admit)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (admit->buckets[i]) {
            struct connlimit_source *source = admit->buckets[i];

            admit->buckets[i] = source->next;
            free(source);
        }
    pthread_mutex_destroy(&admit->lock);
    free(admit->bells);
    free(admit);
}

void connlimit_set_params(struct connlimit *admit, const struct connlimit_params *limits)
{
    atomic_store(&admit->total, limits->total);
    atomic_store(&admit->per_source, limits->per_source);
    atomic_store(&admit->v4_length, limits->v4_length);
    atomic_store(&admit->v6_length, limits->v6_length);
}

bool connlimit_reserve(struct connlimit *admit)
{
    unsigned open = atomic_load(&admit->open);

    do {
        if (open >= atomic_load(&admit->total))
            return false;
    } while (!atomic_compare_exchange_weak(&admit->open, &open, open + 1));
    return true;
}

int connlimit_add_wakeup(struct connlimit *admit, int bell)
{
    int *bells = realloc(admit->bells, (admit->bell_count + 1) * sizeof *bells);

    if (!bells)
        return -1;
    bells[admit->bell_count++] = bell;
    admit->bells = bells;
    return 0;
}

void connlimit_request_eviction(struct connlimit *admit, int listener, uint64_t now)
{
    uint64_t last = atomic_load(&admit->rung_at), once = 1;

    /* The workers' clocks differ a little. */
    if (admit->bell_count < 2 || now < last + RING_NS ||
        !atomic_compare_exchange_strong(&admit->rung_at, &last, now))
        return;
    atomic_store(&admit->wanted_at, listener + 1);
    for (size_t i = 0; i < admit->bell_count; i++) {
        /* Who does not hear it hears the next one. */
        ssize_t rung = write(admit->bells[i], &once, sizeof once);
        (void)rung;
    }
}

bool connlimit_eviction_requested(const struct connlimit *admit)
{
    return atomic_load(&admit->wanted_at) != 0 && connlimit_open(admit) >= connlimit_total(admit);
}

int connlimit_claim_request(struct connlimit *admit)
{
    return atomic_exchange(&admit->wanted_at, 0) - 1;
}

void connlimit_release(struct connlimit *admit)
{
    atomic_fetch_sub(&admit->open, 1);
}

unsigned connlimit_open(const struct connlimit *admit)
{
    return atomic_load(&admit->open);
}

unsigned connlimit_total(const struct connlimit *admit)
{
    return atomic_load(&admit->total);
}

unsigned connlimit_pressure(const struct connlimit *admit)
{
    unsigned total = connlimit_total(admit), open = connlimit_open(admit);
    uint64_t left = total > open ? total - open : 0;
    unsigned scarcity = 0;

    while (scarcity < CONNLIMIT_PRESSURE_MAX && left << (scarcity + 1) < total)
        scarcity++;
    return scarcity;
}

static struct connlimit_source **bucket_of(struct connlimit *admit, const struct prefix *prefix)
{
    uint64_t hash = (prefix->hi ^ admit->secret) * UINT64_C(0x9e3779b97f4a7c15);

    hash = (hash ^ hash >> 32 ^ prefix->lo ^ prefix->is_v4) * UINT64_C(0xff51afd7ed558ccd);
    hash = (hash ^ hash >> 32 ^ admit->secret >> 7) * UINT64_C(0xd6e8feb86659fd93);
    return &admit->buckets[hash >> 52];
}

/* Under the lock. */
static struct connlimit_source *find_or_add(struct connlimit *admit, const struct prefix *prefix)
{
    struct connlimit_source **bucket = bucket_of(admit, prefix);
    struct connlimit_source *source = *bucket;

    while (source && !prefix_equal(&source->prefix, prefix))
        source = source->next;
    if (source)
        return source;
    source = malloc(sizeof *source);
    if (source) {
        *source = (struct connlimit_source){.next = *bucket, .prefix = *prefix};
        *bucket = source;
    }
    return source;
}

struct connlimit_logs *connlimit_logs(struct connlimit *admit)
{
    return &admit->logs;
}

struct connlimit_source *connlimit_enter(struct connlimit *admit, const struct addr *peer)
{
    unsigned limit = atomic_load(&admit->per_source);
    struct prefix prefix =
        prefix_of(peer, atomic_load(&admit->v4_length), atomic_load(&admit->v6_length));
    struct connlimit_source *source;

    pthread_mutex_lock(&admit->lock);
    source = find_or_add(admit, &prefix);
    if (source && limit != 0 && source->count >= limit) {
        source = NULL;
        errno = EUSERS;
    } else if (source) {
        source->count++;
    }
    pthread_mutex_unlock(&admit->lock);
    return source;
}

void connlimit_leave(struct connlimit *admit, struct connlimit_source *source)
{
    pthread_mutex_lock(&admit->lock);
    if (--source->count == 0) {
        struct connlimit_source **link = bucket_of(admit, &source->prefix);

        while (*link != source)
            link = &(*link)->next;
        *link = source->next;
        free(source);
    }
    pthread_mutex_unlock(&admit->lock);
}

unsigned connlimit_count(const struct connlimit_source *source)
{
    return atomic_load_explicit(&source->count, memory_order_relaxed);
}
