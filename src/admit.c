/* SPDX-License-Identifier: ISC */
#include "admit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define BUCKETS 4096

/* What counts as one source. */
struct key {
    uint64_t prefix; /* an IPv6 address's first 64 bits, or an IPv4 address */
    bool is_v4;
};

struct admit_source {
    struct admit_source *next;
    struct key key;
    unsigned count;
};

struct admit {
    _Atomic unsigned open;
    _Atomic unsigned total;
    _Atomic unsigned per_source;
    struct admit_logs logs;
    pthread_mutex_t lock; /* the table's */
    uint64_t secret;
    struct admit_source *buckets[BUCKETS];
};

struct admit *admit_new(void)
{
    struct admit *admit = calloc(1, sizeof *admit);

    if (!admit)
        return NULL;
    /* Without a secret a stranger with an IPv6 prefix could fill one bucket. */
    if (getrandom(&admit->secret, sizeof admit->secret, GRND_NONBLOCK) < 0)
        admit->secret = (uintptr_t)admit;
    pthread_mutex_init(&admit->lock, NULL);
    return admit;
}

void admit_free(struct admit *admit)
{
    if (!admit)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (admit->buckets[i]) {
            struct admit_source *source = admit->buckets[i];

            admit->buckets[i] = source->next;
            free(source);
        }
    pthread_mutex_destroy(&admit->lock);
    free(admit);
}

void admit_set_limits(struct admit *admit, unsigned total, unsigned per_source)
{
    atomic_store(&admit->total, total);
    atomic_store(&admit->per_source, per_source);
}

bool admit_reserve(struct admit *admit)
{
    if (atomic_fetch_add(&admit->open, 1) < atomic_load(&admit->total))
        return true;
    atomic_fetch_sub(&admit->open, 1);
    return false;
}

void admit_release(struct admit *admit)
{
    atomic_fetch_sub(&admit->open, 1);
}

unsigned admit_open(const struct admit *admit)
{
    return atomic_load(&admit->open);
}

static struct key key_of(const struct net_addr *peer)
{
    struct key key = {0};
    uint32_t v4;

    if (peer->sa.sa_family == AF_INET) {
        key = (struct key){.prefix = peer->in.sin_addr.s_addr, .is_v4 = true};
    } else if (IN6_IS_ADDR_V4MAPPED(&peer->in6.sin6_addr)) {
        memcpy(&v4, &peer->in6.sin6_addr.s6_addr[12], sizeof v4);
        key = (struct key){.prefix = v4, .is_v4 = true};
    } else {
        memcpy(&key.prefix, &peer->in6.sin6_addr, sizeof key.prefix);
    }
    return key;
}

static struct admit_source **bucket_of(struct admit *admit, struct key key)
{
    uint64_t hash = (key.prefix ^ admit->secret) * UINT64_C(0x9e3779b97f4a7c15);

    hash = (hash ^ hash >> 32 ^ admit->secret >> 7) * UINT64_C(0xd6e8feb86659fd93);
    return &admit->buckets[hash >> 52];
}

/* Under the lock. */
static struct admit_source *find_or_add(struct admit *admit, struct key key)
{
    struct admit_source **bucket = bucket_of(admit, key);
    struct admit_source *source = *bucket;

    while (source && (source->key.prefix != key.prefix || source->key.is_v4 != key.is_v4))
        source = source->next;
    if (source)
        return source;
    source = malloc(sizeof *source);
    if (source) {
        *source = (struct admit_source){.next = *bucket, .key = key};
        *bucket = source;
    }
    return source;
}

struct admit_logs *admit_logs(struct admit *admit)
{
    return &admit->logs;
}

struct admit_source *admit_enter(struct admit *admit, const struct net_addr *peer)
{
    unsigned limit = atomic_load(&admit->per_source);
    struct admit_source *source;

    pthread_mutex_lock(&admit->lock);
    source = find_or_add(admit, key_of(peer));
    if (source && limit != 0 && source->count >= limit) {
        source = NULL;
        errno = EUSERS;
    } else if (source) {
        source->count++;
    }
    pthread_mutex_unlock(&admit->lock);
    return source;
}

void admit_leave(struct admit *admit, struct admit_source *source)
{
    pthread_mutex_lock(&admit->lock);
    if (--source->count == 0) {
        struct admit_source **link = bucket_of(admit, source->key);

        while (*link != source)
            link = &(*link)->next;
        *link = source->next;
        free(source);
    }
    pthread_mutex_unlock(&admit->lock);
}
