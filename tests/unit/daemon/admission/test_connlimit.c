/* SPDX-License-Identifier: ISC */
#include "daemon/admission/connlimit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

#include "common/clock.h"
#include "unit/unit.h"

WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))

static void set_limits(struct connlimit *connlimit, unsigned total, unsigned per_source)
{
    connlimit_set_params(connlimit, &(struct connlimit_params){total, per_source, 32, 64});
}

static struct connlimit *new_connlimit(unsigned total, unsigned per_source)
{
    struct connlimit *connlimit = connlimit_new();

    assert_non_null(connlimit);
    set_limits(connlimit, total, per_source);
    return connlimit;
}

/* The peer's source, or NULL if the connection was not counted. */
static struct connlimit_source *enter_peer(struct connlimit *connlimit, const struct addr *peer)
{
    struct connlimit_source *source = NULL;

    connlimit_enter(connlimit, peer, &source);
    return source;
}

static struct connlimit_source *enter(struct connlimit *connlimit, const char *host)
{
    struct addr peer = address(host, 40000);

    return enter_peer(connlimit, &peer);
}

static enum connlimit_result result_of(struct connlimit *connlimit, const char *host)
{
    struct addr peer = address(host, 40000);
    struct connlimit_source *source;

    return connlimit_enter(connlimit, &peer, &source);
}

static void as_many_slots_as_the_limit_can_be_reserved(void **state)
{
    struct connlimit *connlimit = new_connlimit(3, 0);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(connlimit_open(connlimit), i);
        assert_true(connlimit_reserve(connlimit));
    }
    assert_false(connlimit_reserve(connlimit));
    assert_int_equal(connlimit_open(connlimit), 3);
    connlimit_release(connlimit);
    assert_int_equal(connlimit_open(connlimit), 2);
    assert_true(connlimit_reserve(connlimit));
    assert_false(connlimit_reserve(connlimit));
    connlimit_free(connlimit);
}

static void nothing_is_admitted_before_limits_are_set(void **state)
{
    struct connlimit *connlimit = connlimit_new();

    (void)state;
    assert_non_null(connlimit);
    assert_false(connlimit_reserve(connlimit));
    assert_int_equal(connlimit_open(connlimit), 0);
    connlimit_free(connlimit);
}

static void a_lowered_limit_lets_what_is_open_stay(void **state)
{
    struct connlimit *connlimit = new_connlimit(2, 0);

    (void)state;
    assert_true(connlimit_reserve(connlimit));
    assert_true(connlimit_reserve(connlimit));
    set_limits(connlimit, 1, 0);
    assert_int_equal(connlimit_open(connlimit), 2);
    connlimit_release(connlimit);
    assert_false(connlimit_reserve(connlimit));
    connlimit_release(connlimit);
    assert_true(connlimit_reserve(connlimit));
    set_limits(connlimit, 5, 0);
    assert_true(connlimit_reserve(connlimit));
    connlimit_free(connlimit);
}

static void a_source_gets_its_share_and_no_more(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 2);
    struct connlimit_source *source = enter(connlimit, "192.0.2.1");

    (void)state;
    assert_non_null(source);
    assert_ptr_equal(enter(connlimit, "192.0.2.1"), source);
    assert_int_equal(result_of(connlimit, "192.0.2.1"), CONNLIMIT_SOURCE_FULL);
    assert_int_equal(connlimit_open(connlimit), 2);
    assert_non_null(enter(connlimit, "192.0.2.2"));
    connlimit_leave(connlimit, source);
    assert_ptr_equal(enter(connlimit, "192.0.2.1"), source);
    assert_null(enter(connlimit, "192.0.2.1"));
    connlimit_free(connlimit);
}

static void a_connection_without_a_slot_is_counted_all_the_same(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 2);

    (void)state;
    assert_int_equal(result_of(connlimit, "192.0.2.1"), CONNLIMIT_ENTERED);
    assert_int_equal(result_of(connlimit, "192.0.2.1"), CONNLIMIT_NO_SLOT);
    assert_int_equal(result_of(connlimit, "192.0.2.1"), CONNLIMIT_SOURCE_FULL);
    assert_int_equal(result_of(connlimit, "192.0.2.2"), CONNLIMIT_NO_SLOT);
    assert_int_equal(connlimit_open(connlimit), 1);
    connlimit_free(connlimit);
}

static void the_port_does_not_make_another_source(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 1);
    struct addr peer = address("192.0.2.1", 1);

    (void)state;
    assert_non_null(enter_peer(connlimit, &peer));
    addr_set_port(&peer, 2);
    assert_null(enter_peer(connlimit, &peer));
    connlimit_free(connlimit);
}

static void no_limit_per_source_still_counts(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 0);
    struct connlimit_source *source = NULL;

    (void)state;
    for (int i = 0; i < 50; i++)
        assert_non_null(source = enter(connlimit, "192.0.2.1"));
    set_limits(connlimit, 100, 50);
    assert_null(enter(connlimit, "192.0.2.1"));
    connlimit_leave(connlimit, source);
    assert_non_null(enter(connlimit, "192.0.2.1"));
    connlimit_free(connlimit);
}

static void an_ipv6_source_is_a_64(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 1);

    (void)state;
    assert_non_null(enter(connlimit, "2001:db8:0:1::1"));
    assert_null(enter(connlimit, "2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_non_null(enter(connlimit, "2001:db8:0:2::1"));
    assert_non_null(enter(connlimit, "2001:db8:1:1::1"));
    connlimit_free(connlimit);
}

static void an_ipv4_mapped_source_is_the_ipv4_one(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 1);

    (void)state;
    assert_non_null(enter(connlimit, "192.0.2.1"));
    assert_null(enter(connlimit, "::ffff:192.0.2.1"));
    assert_non_null(enter(connlimit, "::ffff:192.0.2.2"));
    assert_null(enter(connlimit, "192.0.2.2"));
    connlimit_free(connlimit);
}

/* 32.1.13.184 is 0x20010db8: whatever stands for an IPv4 address must be no IPv6 prefix that begins
 * or ends with the same octets. */
static void no_ipv6_source_is_taken_for_an_ipv4_one(void **state)
{
    static const char *const others[] = {
        "2001:db8:ffff::1",
        "2001:db8::1",
        "2001:db8:0:ffff::1",
        "0:ffff:2001:db8::1",
        "::1",
        "ffff:0:2001:db8::1",
        "b80d:120:ffff::1",
        "0:ffff:b80d:120::1",
        "64:ff9b::2001:0db8",
        "2001:db8:ffff:ffff::1",
        "0:0:2001:db8:ffff::1",
    };
    struct connlimit *connlimit = new_connlimit(100, 1);

    (void)state;
    assert_non_null(enter(connlimit, "32.1.13.184"));
    for (size_t i = 0; i < COUNT(others); i++) {
        struct connlimit_source *source = enter(connlimit, others[i]);

        if (!source)
            fail_msg("%s counts as 32.1.13.184", others[i]);
        connlimit_leave(connlimit, source);
    }
    connlimit_free(connlimit);
}

static void many_sources_are_kept_apart(void **state)
{
    enum { SOURCES = 20000 };
    static struct connlimit_source *sources[SOURCES];
    struct connlimit *connlimit = new_connlimit(100, 1);

    (void)state;
    for (uint32_t i = 0; i < SOURCES; i++) {
        struct addr peer = address("10.0.0.0", 1);

        peer.in.sin_addr.s_addr |= htonl(i);
        sources[i] = enter_peer(connlimit, &peer);
        assert_non_null(sources[i]);
        assert_null(enter_peer(connlimit, &peer));
    }
    for (uint32_t i = 0; i < SOURCES; i += 2)
        connlimit_leave(connlimit, sources[i]);
    for (uint32_t i = 0; i < SOURCES; i++) {
        struct addr peer = address("10.0.0.0", 1);

        peer.in.sin_addr.s_addr |= htonl(i);
        assert_int_equal(enter_peer(connlimit, &peer) != NULL, i % 2 == 0);
    }
    connlimit_free(connlimit);
}

static void want_of_memory_is_an_error(void **state)
{
    struct connlimit *connlimit;

    (void)state;
    SCRIPT(calloc_script, -ENOMEM);
    errno = 0;
    assert_null(connlimit_new());
    assert_int_equal(errno, ENOMEM);
    connlimit = new_connlimit(100, 1);
    SCRIPT(malloc_script, -ENOMEM);
    assert_int_equal(result_of(connlimit, "192.0.2.1"), CONNLIMIT_NO_MEMORY);
    assert_int_equal(connlimit_open(connlimit), 0);
    assert_non_null(enter(connlimit, "192.0.2.1"));
    connlimit_free(connlimit);
}

static void freeing_nothing_is_allowed(void **state)
{
    (void)state;
    connlimit_free(NULL);
}

/* ---- several threads ---- */

enum { THREADS = 4, ROUNDS = 3000, SLOTS = 3, SHARE = 2 };

static _Atomic unsigned most_open;
static _Atomic unsigned inside; /* connections of the one source */
static _Atomic unsigned too_many;

/* No assertion in here: cmocka's belong to the test's own thread. */
static void *come_and_go(void *argument)
{
    struct connlimit *connlimit = argument;
    struct addr peer = {.in = {.sin_family = AF_INET}, .len = sizeof peer.in};

    peer.in.sin_addr.s_addr = htonl(0x0a000001);
    for (int i = 0; i < ROUNDS; i++) {
        struct connlimit_source *source;
        enum connlimit_result result = connlimit_enter(connlimit, &peer, &source);

        if (result == CONNLIMIT_SOURCE_FULL)
            continue;
        if (atomic_fetch_add(&inside, 1) >= SHARE || connlimit_open(connlimit) > SLOTS)
            too_many++;
        if (inside > most_open)
            most_open = inside;
        atomic_fetch_sub(&inside, 1);
        connlimit_leave(connlimit, source);
        if (result == CONNLIMIT_ENTERED)
            connlimit_release(connlimit);
    }
    return NULL;
}

static void threads_never_exceed_the_limits(void **state)
{
    struct connlimit *connlimit = new_connlimit(SLOTS, SHARE);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, connlimit), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(too_many, 0);
    assert_in_range(most_open, 1, SHARE);
    assert_int_equal(connlimit_open(connlimit), 0);
    for (int i = 0; i < SHARE; i++)
        assert_non_null(enter(connlimit, "10.0.0.1"));
    assert_null(enter(connlimit, "10.0.0.1"));
    assert_int_equal(connlimit_open(connlimit), SHARE);
    connlimit_free(connlimit);
}

static void a_source_is_a_prefix_of_the_length_that_is_set(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 1);
    struct connlimit_source *before;

    (void)state;
    before = enter(connlimit, "192.0.2.1");
    assert_non_null(before);
    connlimit_set_params(connlimit, &(struct connlimit_params){100, 1, 24, 128});
    assert_non_null(enter(connlimit, "192.0.2.1"));
    assert_null(enter(connlimit, "192.0.2.2"));
    assert_non_null(enter(connlimit, "2001:db8::1"));
    assert_non_null(enter(connlimit, "2001:db8::2"));
    assert_null(enter(connlimit, "2001:db8::2"));
    /* It was counted by another length. */
    connlimit_leave(connlimit, before);
    assert_null(enter(connlimit, "192.0.2.3"));
    connlimit_free(connlimit);
}

static void the_connections_of_a_source_are_counted(void **state)
{
    struct connlimit *connlimit = new_connlimit(100, 0);
    struct connlimit_source *source = enter(connlimit, "192.0.2.1");

    (void)state;
    assert_int_equal(connlimit_count(source), 1);
    enter(connlimit, "192.0.2.1");
    assert_int_equal(connlimit_count(source), 2);
    connlimit_leave(connlimit, source);
    assert_int_equal(connlimit_count(source), 1);
    connlimit_free(connlimit);
}

static void pressure_grows_when_half_of_the_rest_is_taken(void **state)
{
    static const unsigned pressure[] = {0, 0, 0, 0, 0, 1, 1, 2, 3};
    struct connlimit *connlimit = new_connlimit(8, 0);

    (void)state;
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(connlimit_pressure(connlimit), pressure[i]);
        assert_int_equal(connlimit_reserve(connlimit), i < 8);
    }
    set_limits(connlimit, 4, 0);
    assert_int_equal(connlimit_total(connlimit), 4);
    assert_int_equal(connlimit_pressure(connlimit), CONNLIMIT_PRESSURE_MAX);
    connlimit_free(connlimit);
}

/* ---- waiting for a slot ---- */

struct worker {
    int wakeup;
    unsigned number;
};

static void add_workers(struct connlimit *connlimit, struct worker workers[], unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        workers[i].wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_true(workers[i].wakeup >= 0);
        workers[i].number = (unsigned)connlimit_add_worker(connlimit, workers[i].wakeup);
        assert_int_equal(workers[i].number, i);
    }
}

static void close_workers(struct worker workers[], unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        close(workers[i].wakeup);
}

/* How often a worker was woken since the last call. */
static unsigned wakeups(const struct worker *worker)
{
    uint64_t n = 0;

    return read(worker->wakeup, &n, sizeof n) == sizeof n ? (unsigned)n : 0;
}

static void a_released_slot_is_given_to_a_worker_that_waits(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 0);
    struct worker workers[2];

    (void)state;
    add_workers(connlimit, workers, 2);
    assert_true(connlimit_reserve(connlimit));
    assert_false(connlimit_stop_waiting(connlimit, 1));
    connlimit_wait(connlimit, 1, SECOND);
    assert_int_equal(wakeups(&workers[1]), 0);
    connlimit_release(connlimit);
    assert_int_equal(wakeups(&workers[1]), 1);
    assert_int_equal(connlimit_open(connlimit), 1);
    assert_false(connlimit_reserve(connlimit));
    assert_true(connlimit_stop_waiting(connlimit, 1));
    assert_false(connlimit_stop_waiting(connlimit, 1));
    connlimit_release(connlimit);
    assert_int_equal(connlimit_open(connlimit), 0);
    connlimit_free(connlimit);
    close_workers(workers, 2);
}

static void workers_that_wait_take_turns(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 0);
    unsigned granted[2] = {0};
    struct worker workers[2];

    (void)state;
    add_workers(connlimit, workers, 2);
    assert_true(connlimit_reserve(connlimit));
    for (unsigned i = 0; i < 10; i++) {
        connlimit_wait(connlimit, 0, SECOND);
        connlimit_wait(connlimit, 1, SECOND);
        connlimit_release(connlimit);
        for (unsigned worker = 0; worker < 2; worker++)
            granted[worker] += connlimit_stop_waiting(connlimit, worker);
    }
    assert_int_equal(granted[0], 5);
    assert_int_equal(granted[1], 5);
    connlimit_free(connlimit);
    close_workers(workers, 2);
}

static void after_the_limit_was_lowered_a_released_slot_is_not_given_away(void **state)
{
    struct connlimit *connlimit = new_connlimit(2, 0);
    struct worker worker;

    (void)state;
    add_workers(connlimit, &worker, 1);
    assert_true(connlimit_reserve(connlimit));
    assert_true(connlimit_reserve(connlimit));
    set_limits(connlimit, 1, 0);
    connlimit_wait(connlimit, 0, SECOND);
    connlimit_release(connlimit);
    assert_int_equal(connlimit_open(connlimit), 1);
    assert_false(connlimit_stop_waiting(connlimit, 0));
    connlimit_free(connlimit);
    close_workers(&worker, 1);
}

static void a_worker_that_waits_asks_the_others_for_an_eviction_now_and_then(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 0);
    struct worker workers[3];
    const uint64_t interval = 250 * MILLISECOND;

    (void)state;
    add_workers(connlimit, workers, 1);
    assert_true(connlimit_reserve(connlimit));
    connlimit_wait(connlimit, 0, SECOND);
    assert_false(connlimit_eviction_wanted(connlimit)); /* there is no other worker */
    assert_false(connlimit_stop_waiting(connlimit, 0));
    close_workers(workers, 1);
    connlimit_free(connlimit);

    connlimit = new_connlimit(1, 0);
    add_workers(connlimit, workers, 3);
    assert_true(connlimit_reserve(connlimit));
    connlimit_wait(connlimit, 1, SECOND);
    assert_int_equal(wakeups(&workers[0]), 1);
    assert_int_equal(wakeups(&workers[1]), 0);
    assert_int_equal(wakeups(&workers[2]), 1);
    assert_true(connlimit_eviction_wanted(connlimit));
    assert_true(connlimit_claim_eviction(connlimit));
    assert_false(connlimit_claim_eviction(connlimit));
    assert_false(connlimit_eviction_wanted(connlimit));
    connlimit_wait(connlimit, 2, SECOND + interval - 1);
    connlimit_wait(connlimit, 0, SECOND - 1); /* each worker has a clock of its own */
    assert_false(connlimit_eviction_wanted(connlimit));
    assert_false(connlimit_stop_waiting(connlimit, 0));
    connlimit_wait(connlimit, 0, SECOND + interval);
    assert_int_equal(wakeups(&workers[1]), 1);
    assert_true(connlimit_eviction_wanted(connlimit));
    for (unsigned worker = 0; worker < 3; worker++)
        assert_false(connlimit_stop_waiting(connlimit, worker));
    assert_false(connlimit_eviction_wanted(connlimit)); /* nobody waits any more */
    connlimit_free(connlimit);
    close_workers(workers, 3);
}

static void a_worker_that_cannot_be_added_is_an_error(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 0);

    (void)state;
    SCRIPT(realloc_script, -ENOMEM);
    assert_int_equal(connlimit_add_worker(connlimit, 1), -1);
    assert_int_equal(errno, ENOMEM);
    connlimit_free(connlimit);
}

/* ---- several threads, continued ---- */

enum { WAITERS = 3 };

static _Atomic unsigned holders;

/* Take a slot, waiting for it if need be, and give it back. */
static void *wait_and_go(void *argument)
{
    static _Atomic unsigned numbers;
    struct connlimit *connlimit = argument;
    unsigned worker = atomic_fetch_add(&numbers, 1);

    for (int i = 0; i < ROUNDS; i++) {
        while (!connlimit_reserve(connlimit)) {
            connlimit_wait(connlimit, worker, SECOND);
            if (connlimit_stop_waiting(connlimit, worker))
                break;
        }
        if (atomic_fetch_add(&holders, 1) >= 1)
            too_many++;
        atomic_fetch_sub(&holders, 1);
        connlimit_release(connlimit);
    }
    return NULL;
}

static void threads_that_wait_lose_no_slot_and_gain_none(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 0);
    struct worker workers[WAITERS];
    pthread_t threads[WAITERS];

    (void)state;
    too_many = 0;
    add_workers(connlimit, workers, WAITERS);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, wait_and_go, connlimit), 0);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(too_many, 0);
    assert_int_equal(connlimit_open(connlimit), 0);
    connlimit_free(connlimit);
    close_workers(workers, WAITERS);
}

static atomic_bool tried;

static void *reserve_in_vain(void *argument)
{
    for (int i = 0; i < 3000000; i++)
        (void)connlimit_reserve(argument);
    tried = true;
    return NULL;
}

/* If more slots were taken than there are, connections would be evicted as if the limit had been
 * lowered. */
static void a_reservation_that_fails_is_never_counted(void **state)
{
    struct connlimit *connlimit = new_connlimit(1, 0);
    unsigned most = 0;
    pthread_t thread;

    (void)state;
    assert_true(connlimit_reserve(connlimit));
    assert_int_equal(pthread_create(&thread, NULL, reserve_in_vain, connlimit), 0);
    while (!tried)
        most = connlimit_open(connlimit) > most ? connlimit_open(connlimit) : most;
    pthread_join(thread, NULL);
    assert_int_equal(most, 1);
    connlimit_free(connlimit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_slots_as_the_limit_can_be_reserved),
        cmocka_unit_test(nothing_is_admitted_before_limits_are_set),
        cmocka_unit_test(a_lowered_limit_lets_what_is_open_stay),
        cmocka_unit_test(a_source_gets_its_share_and_no_more),
        cmocka_unit_test(a_connection_without_a_slot_is_counted_all_the_same),
        cmocka_unit_test(the_port_does_not_make_another_source),
        cmocka_unit_test(no_limit_per_source_still_counts),
        cmocka_unit_test(an_ipv6_source_is_a_64),
        cmocka_unit_test(an_ipv4_mapped_source_is_the_ipv4_one),
        cmocka_unit_test(no_ipv6_source_is_taken_for_an_ipv4_one),
        cmocka_unit_test(many_sources_are_kept_apart),
        cmocka_unit_test(want_of_memory_is_an_error),
        cmocka_unit_test(freeing_nothing_is_allowed),
        cmocka_unit_test(threads_never_exceed_the_limits),
        cmocka_unit_test(a_source_is_a_prefix_of_the_length_that_is_set),
        cmocka_unit_test(the_connections_of_a_source_are_counted),
        cmocka_unit_test(pressure_grows_when_half_of_the_rest_is_taken),
        cmocka_unit_test(a_reservation_that_fails_is_never_counted),
        cmocka_unit_test(a_released_slot_is_given_to_a_worker_that_waits),
        cmocka_unit_test(workers_that_wait_take_turns),
        cmocka_unit_test(after_the_limit_was_lowered_a_released_slot_is_not_given_away),
        cmocka_unit_test(a_worker_that_waits_asks_the_others_for_an_eviction_now_and_then),
        cmocka_unit_test(a_worker_that_cannot_be_added_is_an_error),
        cmocka_unit_test(threads_that_wait_lose_no_slot_and_gain_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
