/* SPDX-License-Identifier: ISC */
#include "daemon/admission/connlimit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/hash.h"
#include "common/prefix.h"

#define BUCKETS 4096

/* The shortest time between two requests for an eviction. Each request wakes all other workers. */
#define EVICTION_INTERVAL (250 * MILLISECOND)

struct connlimit_source {
    struct connlimit_source *next;
    struct prefix prefix;
    _Atomic unsigned count; /* written under the lock */
};

/* What a worker does about a slot: only the worker itself begins to wait and stops, others only
 * turn WAITING into GRANTED. */
enum wait_state { NOT_WAITING, WAITING, GRANTED };

struct slot_waiter {
    int wakeup; /* eventfd(2) */
    _Atomic int state;
};

struct connlimit {
    _Atomic unsigned open;
    _Atomic unsigned total;
    _Atomic unsigned per_source;
    _Atomic unsigned v4_length;
    _Atomic unsigned v6_length;
    _Atomic unsigned waiting_count; /* workers in state WAITING */
    _Atomic unsigned next_waiter;   /* where the search for a waiting worker starts */
    _Atomic bool eviction_wanted;
    _Atomic uint64_t eviction_asked_at; /* nanoseconds */
    struct slot_waiter *workers;
    size_t worker_count;
    struct connlimit_logs logs;
    pthread_mutex_t lock; /* guards the buckets */
    uint64_t key[2];
    struct connlimit_source *buckets[BUCKETS];
};

struct connlimit *connlimit_new(void)
{
    struct connlimit *connlimit = calloc(1, sizeof *connlimit);

    if (!connlimit)
        return NULL;
    hash_choose_key(connlimit->key);
    pthread_mutex_init(&connlimit->lock, NULL);
    return connlimit;
}

void connlimit_free(struct connlimit *connlimit)
{
    if (!connlimit)
        return;
    for (size_t i = 0; i < BUCKETS; i++)
        while (connlimit->buckets[i]) {
            struct connlimit_source *source = connlimit->buckets[i];

            connlimit->buckets[i] = source->next;
            free(source);
        }
    pthread_mutex_destroy(&connlimit->lock);
    free(connlimit->workers);
    free(connlimit);
}

void connlimit_set_params(struct connlimit *connlimit, const struct connlimit_params *params)
{
    atomic_store(&connlimit->total, params->total);
    atomic_store(&connlimit->per_source, params->per_source);
    atomic_store(&connlimit->v4_length, params->v4_length);
    atomic_store(&connlimit->v6_length, params->v6_length);
}

int connlimit_add_worker(struct connlimit *connlimit, int wakeup)
{
    size_t count = connlimit->worker_count;
    struct slot_waiter *workers = realloc(connlimit->workers, (count + 1) * sizeof *workers);

    if (!workers)
        return -1;
    workers[count].wakeup = wakeup;
    atomic_init(&workers[count].state, NOT_WAITING);
    connlimit->workers = workers;
    connlimit->worker_count++;
    return (int)count;
}

/* ---- slots ---- */

bool connlimit_reserve(struct connlimit *connlimit)
{
    unsigned open = atomic_load(&connlimit->open);

    do {
        if (open >= atomic_load(&connlimit->total))
            return false;
    } while (!atomic_compare_exchange_weak(&connlimit->open, &open, open + 1));
    return true;
}

static void wake_worker(const struct slot_waiter *worker)
{
    uint64_t one = 1;
    /* Fails only while the counter is full, and then the worker is awake already. */
    ssize_t written = write(worker->wakeup, &one, sizeof one);

    (void)written;
}

/* Give a slot to a worker that waits. They take turns. */
static bool grant(struct connlimit *connlimit)
{
    size_t start = atomic_fetch_add(&connlimit->next_waiter, 1);

    for (size_t i = 0; i < connlimit->worker_count; i++) {
        struct slot_waiter *worker = &connlimit->workers[(start + i) % connlimit->worker_count];
        int state = WAITING;

        if (atomic_compare_exchange_strong(&worker->state, &state, GRANTED)) {
            atomic_fetch_sub(&connlimit->waiting_count, 1);
            wake_worker(worker);
            return true;
        }
    }
    return false;
}

void connlimit_release(struct connlimit *connlimit)
{
    if (atomic_load(&connlimit->waiting_count) > 0 &&
        connlimit_open(connlimit) <= connlimit_total(connlimit) && grant(connlimit))
        return;
    atomic_fetch_sub(&connlimit->open, 1);
}

static void request_eviction(struct connlimit *connlimit, unsigned worker, uint64_t now)
{
    uint64_t last = atomic_load(&connlimit->eviction_asked_at);

    /* Each worker has read its clock at another moment, so `now` may be before `last`. */
    if (now < last + EVICTION_INTERVAL ||
        !atomic_compare_exchange_strong(&connlimit->eviction_asked_at, &last, now))
        return;
    atomic_store(&connlimit->eviction_wanted, true);
    for (size_t i = 0; i < connlimit->worker_count; i++)
        if (i != worker)
            wake_worker(&connlimit->workers[i]);
}

void connlimit_wait(struct connlimit *connlimit, unsigned worker, uint64_t now)
{
    atomic_fetch_add(&connlimit->waiting_count, 1);
    atomic_store(&connlimit->workers[worker].state, WAITING);
    if (connlimit->worker_count > 1)
        request_eviction(connlimit, worker, now);
}

bool connlimit_stop_waiting(struct connlimit *connlimit, unsigned worker)
{
    int state = atomic_exchange(&connlimit->workers[worker].state, NOT_WAITING);

    if (state == WAITING)
        atomic_fetch_sub(&connlimit->waiting_count, 1);
    return state == GRANTED;
}

bool connlimit_eviction_wanted(const struct connlimit *connlimit)
{
    return atomic_load(&connlimit->eviction_wanted) && atomic_load(&connlimit->waiting_count) > 0;
}

bool connlimit_claim_eviction(struct connlimit *connlimit)
{
    return atomic_exchange(&connlimit->eviction_wanted, false);
}

unsigned connlimit_open(const struct connlimit *connlimit)
{
    return atomic_load(&connlimit->open);
}

unsigned connlimit_total(const struct connlimit *connlimit)
{
    return atomic_load(&connlimit->total);
}

unsigned connlimit_pressure(const struct connlimit *connlimit)
{
    unsigned total = atomic_load(&connlimit->total), open = atomic_load(&connlimit->open);
    uint64_t left = total > open ? total - open : 0;
    unsigned pressure = 0;

    while (pressure < CONNLIMIT_PRESSURE_MAX && left << (pressure + 1) < total)
        pressure++;
    return pressure;
}

/* ---- sources ---- */

/* A keyed hash: otherwise a stranger with an IPv6 prefix could fill one bucket. */
static struct connlimit_source **bucket_of(struct connlimit *connlimit, const struct prefix *prefix)
{
    uint64_t words[] = {prefix->hi, prefix->lo, prefix->is_v4};

    return &connlimit->buckets[hash_words(connlimit->key, words, 3) % BUCKETS];
}

/* Called under the lock. */
static enum connlimit_result count_in(struct connlimit *connlimit, const struct prefix *prefix,
                                      struct connlimit_source **found)
{
    unsigned limit = atomic_load(&connlimit->per_source);
    struct connlimit_source **bucket = bucket_of(connlimit, prefix);
    struct connlimit_source *source = *bucket;

    while (source && !prefix_equal(&source->prefix, prefix))
        source = source->next;
    if (source && limit != 0 && source->count >= limit)
        return CONNLIMIT_SOURCE_FULL;
    if (!source) {
        source = malloc(sizeof *source);
        if (!source)
            return CONNLIMIT_NO_MEMORY;
        *source = (struct connlimit_source){.next = *bucket, .prefix = *prefix};
        *bucket = source;
    }
    source->count++;
    *found = source;
    return CONNLIMIT_ENTERED;
}

enum connlimit_result connlimit_enter(struct connlimit *connlimit, const struct addr *peer,
                                      struct connlimit_source **source)
{
    struct prefix prefix =
        prefix_of(peer, atomic_load(&connlimit->v4_length), atomic_load(&connlimit->v6_length));
    enum connlimit_result result;

    pthread_mutex_lock(&connlimit->lock);
    result = count_in(connlimit, &prefix, source);
    pthread_mutex_unlock(&connlimit->lock);
    if (result == CONNLIMIT_ENTERED && !connlimit_reserve(connlimit))
        result = CONNLIMIT_NO_SLOT;
    return result;
}

void connlimit_leave(struct connlimit *connlimit, struct connlimit_source *source)
{
    pthread_mutex_lock(&connlimit->lock);
    if (--source->count == 0) {
        struct connlimit_source **link = bucket_of(connlimit, &source->prefix);

        while (*link != source)
            link = &(*link)->next;
        *link = source->next;
        free(source);
    }
    pthread_mutex_unlock(&connlimit->lock);
}

unsigned connlimit_count(const struct connlimit_source *source)
{
    return atomic_load_explicit(&source->count, memory_order_relaxed);
}

struct connlimit_logs *connlimit_logs(struct connlimit *connlimit)
{
    return &connlimit->logs;
}
