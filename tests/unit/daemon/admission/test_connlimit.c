/* SPDX-License-Identifier: ISC */
#include "daemon/admission/connlimit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/random.h>

#include "unit/unit.h"

#define MS UINT64_C(1000000)

WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t size, unsigned flags), (buf, size, flags))

static void set_limits(struct connlimit *admit, unsigned total, unsigned per_source)
{
    connlimit_set_params(admit, &(struct connlimit_params){total, per_source, 32, 64});
}

static struct connlimit *new_admit(unsigned total, unsigned per_source)
{
    struct connlimit *admit = connlimit_new();

    assert_non_null(admit);
    set_limits(admit, total, per_source);
    return admit;
}

static struct connlimit_source *enter(struct connlimit *admit, const char *host)
{
    struct addr peer = address(host, 40000);

    return connlimit_enter(admit, &peer);
}

static void as_many_places_as_the_limit_can_be_reserved(void **state)
{
    struct connlimit *admit = new_admit(3, 0);

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(connlimit_open(admit), i);
        assert_true(connlimit_reserve(admit));
    }
    assert_false(connlimit_reserve(admit));
    assert_int_equal(connlimit_open(admit), 3);
    connlimit_release(admit);
    assert_int_equal(connlimit_open(admit), 2);
    assert_true(connlimit_reserve(admit));
    assert_false(connlimit_reserve(admit));
    connlimit_free(admit);
}

static void nothing_is_admitted_before_limits_are_set(void **state)
{
    struct connlimit *admit = connlimit_new();

    (void)state;
    assert_non_null(admit);
    assert_false(connlimit_reserve(admit));
    assert_int_equal(connlimit_open(admit), 0);
    connlimit_free(admit);
}

static void a_lowered_limit_lets_what_is_open_stay(void **state)
{
    struct connlimit *admit = new_admit(2, 0);

    (void)state;
    assert_true(connlimit_reserve(admit));
    assert_true(connlimit_reserve(admit));
    set_limits(admit, 1, 0);
    assert_int_equal(connlimit_open(admit), 2);
    connlimit_release(admit);
    assert_false(connlimit_reserve(admit));
    connlimit_release(admit);
    assert_true(connlimit_reserve(admit));
    set_limits(admit, 5, 0);
    assert_true(connlimit_reserve(admit));
    connlimit_free(admit);
}

static void a_source_gets_its_share_and_no_more(void **state)
{
    struct connlimit *admit = new_admit(100, 2);
    struct connlimit_source *source = enter(admit, "192.0.2.1");

    (void)state;
    assert_non_null(source);
    assert_ptr_equal(enter(admit, "192.0.2.1"), source);
    errno = 0;
    assert_null(enter(admit, "192.0.2.1"));
    assert_int_equal(errno, EUSERS);
    assert_non_null(enter(admit, "192.0.2.2"));
    connlimit_leave(admit, source);
    assert_ptr_equal(enter(admit, "192.0.2.1"), source);
    assert_null(enter(admit, "192.0.2.1"));
    connlimit_free(admit);
}

static void the_port_does_not_make_another_source(void **state)
{
    struct connlimit *admit = new_admit(100, 1);
    struct addr peer = address("192.0.2.1", 1);

    (void)state;
    assert_non_null(connlimit_enter(admit, &peer));
    addr_set_port(&peer, 2);
    assert_null(connlimit_enter(admit, &peer));
    connlimit_free(admit);
}

static void no_limit_per_source_still_counts(void **state)
{
    struct connlimit *admit = new_admit(100, 0);
    struct connlimit_source *source = NULL;

    (void)state;
    for (int i = 0; i < 50; i++)
        assert_non_null(source = enter(admit, "192.0.2.1"));
    set_limits(admit, 100, 50);
    assert_null(enter(admit, "192.0.2.1"));
    connlimit_leave(admit, source);
    assert_non_null(enter(admit, "192.0.2.1"));
    connlimit_free(admit);
}

static void an_ipv6_source_is_a_64(void **state)
{
    struct connlimit *admit = new_admit(100, 1);

    (void)state;
    assert_non_null(enter(admit, "2001:db8:0:1::1"));
    assert_null(enter(admit, "2001:db8:0:1:ffff:ffff:ffff:ffff"));
    assert_non_null(enter(admit, "2001:db8:0:2::1"));
    assert_non_null(enter(admit, "2001:db8:1:1::1"));
    connlimit_free(admit);
}

static void an_ipv4_mapped_source_is_the_ipv4_one(void **state)
{
    struct connlimit *admit = new_admit(100, 1);

    (void)state;
    assert_non_null(enter(admit, "192.0.2.1"));
    assert_null(enter(admit, "::ffff:192.0.2.1"));
    assert_non_null(enter(admit, "::ffff:192.0.2.2"));
    assert_null(enter(admit, "192.0.2.2"));
    connlimit_free(admit);
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
    struct connlimit *admit = new_admit(100, 1);

    (void)state;
    assert_non_null(enter(admit, "32.1.13.184"));
    for (size_t i = 0; i < COUNT(others); i++) {
        struct connlimit_source *source = enter(admit, others[i]);

        if (!source)
            fail_msg("%s counts as 32.1.13.184", others[i]);
        connlimit_leave(admit, source);
    }
    connlimit_free(admit);
}

static void many_sources_are_kept_apart(void **state)
{
    enum { SOURCES = 20000 };
    static struct connlimit_source *sources[SOURCES];
    struct connlimit *admit = new_admit(100, 1);

    (void)state;
    for (uint32_t i = 0; i < SOURCES; i++) {
        struct addr peer = address("10.0.0.0", 1);

        peer.in.sin_addr.s_addr |= htonl(i);
        sources[i] = connlimit_enter(admit, &peer);
        assert_non_null(sources[i]);
        assert_null(connlimit_enter(admit, &peer));
    }
    for (uint32_t i = 0; i < SOURCES; i += 2)
        connlimit_leave(admit, sources[i]);
    for (uint32_t i = 0; i < SOURCES; i++) {
        struct addr peer = address("10.0.0.0", 1);

        peer.in.sin_addr.s_addr |= htonl(i);
        assert_int_equal(connlimit_enter(admit, &peer) != NULL, i % 2 == 0);
    }
    connlimit_free(admit);
}

static void want_of_memory_is_reported(void **state)
{
    struct connlimit *admit;

    (void)state;
    SCRIPT(calloc_script, -ENOMEM);
    errno = 0;
    assert_null(connlimit_new());
    assert_int_equal(errno, ENOMEM);
    admit = new_admit(100, 1);
    SCRIPT(malloc_script, -ENOMEM);
    errno = 0;
    assert_null(enter(admit, "192.0.2.1"));
    assert_int_equal(errno, ENOMEM);
    assert_non_null(enter(admit, "192.0.2.1"));
    connlimit_free(admit);
}

static void it_works_without_random_numbers(void **state)
{
    struct connlimit *admit;

    (void)state;
    SCRIPT(getrandom_script, -EAGAIN);
    admit = new_admit(100, 1);
    assert_true(script_done(&getrandom_script));
    assert_non_null(enter(admit, "192.0.2.1"));
    assert_null(enter(admit, "192.0.2.1"));
    assert_non_null(enter(admit, "192.0.2.2"));
    connlimit_free(admit);
}

static void freeing_nothing_is_allowed(void **state)
{
    (void)state;
    connlimit_free(NULL);
}

/* ---- several threads ---- */

enum { THREADS = 4, ROUNDS = 3000, PLACES = 3, SHARE = 2 };

static _Atomic unsigned most_open;
static _Atomic unsigned inside; /* connections of the one source */
static _Atomic unsigned too_many;

static void note_open(unsigned open)
{
    if (open > most_open)
        most_open = open;
}

/* No assertion in here: cmocka's belong to the test's own thread. */
static void *come_and_go(void *argument)
{
    struct connlimit *admit = argument;
    struct addr peer = {.in = {.sin_family = AF_INET}, .len = sizeof peer.in};

    peer.in.sin_addr.s_addr = htonl(0x0a000001);
    for (int i = 0; i < ROUNDS; i++) {
        struct connlimit_source *source;

        if (!connlimit_reserve(admit))
            continue;
        source = connlimit_enter(admit, &peer);
        if (source) {
            if (atomic_fetch_add(&inside, 1) >= SHARE)
                too_many++;
            note_open(inside);
            atomic_fetch_sub(&inside, 1);
            connlimit_leave(admit, source);
        }
        connlimit_release(admit);
    }
    return NULL;
}

static void threads_never_exceed_the_limits(void **state)
{
    struct connlimit *admit = new_admit(PLACES, SHARE);
    pthread_t threads[THREADS];

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, come_and_go, admit), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(too_many, 0);
    assert_in_range(most_open, 1, SHARE);
    assert_int_equal(connlimit_open(admit), 0);
    for (int i = 0; i < PLACES; i++)
        assert_true(connlimit_reserve(admit));
    assert_false(connlimit_reserve(admit));
    for (int i = 0; i < SHARE; i++)
        assert_non_null(enter(admit, "10.0.0.1"));
    assert_null(enter(admit, "10.0.0.1"));
    connlimit_free(admit);
}

static void a_source_is_a_prefix_of_the_length_that_is_set(void **state)
{
    struct connlimit *admit = new_admit(100, 1);
    struct connlimit_source *before;

    (void)state;
    before = enter(admit, "192.0.2.1");
    assert_non_null(before);
    connlimit_set_params(admit, &(struct connlimit_params){100, 1, 24, 128});
    assert_non_null(enter(admit, "192.0.2.1"));
    assert_null(enter(admit, "192.0.2.2"));
    assert_non_null(enter(admit, "2001:db8::1"));
    assert_non_null(enter(admit, "2001:db8::2"));
    assert_null(enter(admit, "2001:db8::2"));
    /* It was counted by another length. */
    connlimit_leave(admit, before);
    assert_null(enter(admit, "192.0.2.3"));
    connlimit_free(admit);
}

static void how_many_a_source_has_can_be_asked(void **state)
{
    struct connlimit *admit = new_admit(100, 0);
    struct connlimit_source *source = enter(admit, "192.0.2.1");

    (void)state;
    assert_int_equal(connlimit_count(source), 1);
    enter(admit, "192.0.2.1");
    assert_int_equal(connlimit_count(source), 2);
    connlimit_leave(admit, source);
    assert_int_equal(connlimit_count(source), 1);
    connlimit_free(admit);
}

static void places_get_scarce_by_halves(void **state)
{
    static const unsigned scarcity[] = {0, 0, 0, 0, 0, 1, 1, 2, 3};
    struct connlimit *admit = new_admit(8, 0);

    (void)state;
    for (unsigned i = 0; i < 9; i++) {
        assert_int_equal(connlimit_pressure(admit), scarcity[i]);
        assert_int_equal(connlimit_reserve(admit), i < 8);
    }
    set_limits(admit, 4, 0);
    assert_int_equal(connlimit_total(admit), 4);
    assert_int_equal(connlimit_pressure(admit), CONNLIMIT_PRESSURE_MAX);
    connlimit_free(admit);
}

static unsigned rings(int bell)
{
    uint64_t n = 0;

    return read(bell, &n, sizeof n) == sizeof n ? (unsigned)n : 0;
}

static void who_wants_room_rings_for_all_now_and_then(void **state)
{
    struct connlimit *admit = new_admit(1, 0);
    int bells[2];
    uint64_t now = 1000 * MS;

    (void)state;
    for (size_t i = 0; i < COUNT(bells); i++) {
        bells[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        assert_true(bells[i] >= 0);
        assert_int_equal(connlimit_add_wakeup(admit, bells[i]), 0);
        connlimit_request_eviction(admit, 7, i == 0 ? now : now - 1);
        /* A worker alone has nobody to ring for. */
        assert_int_equal(rings(bells[0]), i);
    }
    assert_int_equal(rings(bells[1]), 1);
    assert_false(connlimit_eviction_requested(admit));
    assert_true(connlimit_reserve(admit));
    assert_true(connlimit_eviction_requested(admit));
    connlimit_request_eviction(admit, 8, now + 249 * MS - 1);
    connlimit_request_eviction(admit, 8, now - 100 * MS);
    assert_int_equal(rings(bells[0]) + rings(bells[1]), 0);
    assert_int_equal(connlimit_claim_request(admit), 7);
    assert_int_equal(connlimit_claim_request(admit), -1);
    assert_false(connlimit_eviction_requested(admit));
    connlimit_request_eviction(admit, 0, now + 250 * MS);
    assert_int_equal(rings(bells[0]), 1);
    assert_int_equal(rings(bells[1]), 1);
    assert_true(connlimit_eviction_requested(admit));
    assert_int_equal(connlimit_claim_request(admit), 0);
    connlimit_free(admit);
    close(bells[0]);
    close(bells[1]);
}

static void without_memory_there_is_no_bell(void **state)
{
    struct connlimit *admit = new_admit(1, 0);

    (void)state;
    SCRIPT(realloc_script, -ENOMEM);
    assert_int_equal(connlimit_add_wakeup(admit, 1), -1);
    assert_int_equal(errno, ENOMEM);
    connlimit_free(admit);
}

static atomic_bool tried;

static void *reserve_in_vain(void *argument)
{
    for (int i = 0; i < 3000000; i++)
        (void)connlimit_reserve(argument);
    tried = true;
    return NULL;
}

/* More than there may be means that the limit was lowered, and that nobody has to make room. */
static void who_reserves_in_vain_is_never_counted(void **state)
{
    struct connlimit *admit = new_admit(1, 0);
    unsigned most = 0;
    pthread_t thread;

    (void)state;
    assert_true(connlimit_reserve(admit));
    assert_int_equal(pthread_create(&thread, NULL, reserve_in_vain, admit), 0);
    while (!tried)
        most = connlimit_open(admit) > most ? connlimit_open(admit) : most;
    pthread_join(thread, NULL);
    assert_int_equal(most, 1);
    connlimit_free(admit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_places_as_the_limit_can_be_reserved),
        cmocka_unit_test(nothing_is_admitted_before_limits_are_set),
        cmocka_unit_test(a_lowered_limit_lets_what_is_open_stay),
        cmocka_unit_test(a_source_gets_its_share_and_no_more),
        cmocka_unit_test(the_port_does_not_make_another_source),
        cmocka_unit_test(no_limit_per_source_still_counts),
        cmocka_unit_test(an_ipv6_source_is_a_64),
        cmocka_unit_test(an_ipv4_mapped_source_is_the_ipv4_one),
        cmocka_unit_test(no_ipv6_source_is_taken_for_an_ipv4_one),
        cmocka_unit_test(many_sources_are_kept_apart),
        cmocka_unit_test(want_of_memory_is_reported),
        cmocka_unit_test(it_works_without_random_numbers),
        cmocka_unit_test(freeing_nothing_is_allowed),
        cmocka_unit_test(threads_never_exceed_the_limits),
        cmocka_unit_test(a_source_is_a_prefix_of_the_length_that_is_set),
        cmocka_unit_test(how_many_a_source_has_can_be_asked),
        cmocka_unit_test(places_get_scarce_by_halves),
        cmocka_unit_test(who_reserves_in_vain_is_never_counted),
        cmocka_unit_test(who_wants_room_rings_for_all_now_and_then),
        cmocka_unit_test(without_memory_there_is_no_bell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
