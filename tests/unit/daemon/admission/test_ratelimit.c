/* SPDX-License-Identifier: ISC */
#include "daemon/admission/ratelimit.h"

#include <stdio.h>
#include <sys/mman.h>

#include "common/clock.h"
#include "daemon/admission/loopguard.h"
#include "unit/unit.h"

#define MS MILLISECOND
#define US MICROSECOND

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, mmap, MAP_FAILED, (void *at, size_t n, int prot, int flags, int fd, off_t off),
             (at, n, prot, flags, fd, off))

static uint64_t now;
static uint32_t fingerprint; /* differs from one datagram to the next, as a client's do */

static const struct ratelimit_params usual = {
    .rate = 100, .burst = 50, .v4_length = 32, .v6_length = 64, .size = 4096, .key = {1, 2}};

static struct ratelimit *new_limit(const struct ratelimit_params *params)
{
    struct ratelimit *limit = ratelimit_new(params);

    assert_non_null(limit);
    now = 1000 * SECOND;
    return limit;
}

static enum verdict spend(struct ratelimit *limit, const char *host)
{
    struct addr source = address(host, 5000);

    return ratelimit_charge(limit, &source, ++fingerprint, now);
}

struct outcome {
    unsigned answered, slipped, refused, looped;
};

static void note(struct outcome *outcome, enum verdict verdict)
{
    outcome->answered += verdict == VERDICT_ANSWER;
    outcome->slipped += verdict == VERDICT_SLIP;
    outcome->refused += verdict == VERDICT_OVER_RATE;
    outcome->looped += verdict == VERDICT_LOOP;
}

/* So many at once. */
static struct outcome burst(struct ratelimit *limit, const char *host, unsigned count)
{
    struct outcome outcome = {0};

    while (count-- > 0)
        note(&outcome, spend(limit, host));
    return outcome;
}

/* ---- one source ---- */

static void a_burst_is_answered_and_no_more(void **state)
{
    struct ratelimit *limit = new_limit(&usual);
    struct outcome outcome = burst(limit, "192.0.2.1", 1000);

    (void)state;
    assert_int_equal(outcome.answered, 50);
    assert_int_equal(outcome.looped, 0);
    assert_int_equal(burst(limit, "192.0.2.1", 1000).answered, 0);
    ratelimit_free(limit);
    ratelimit_free(NULL);
}

static void a_spent_budget_refills_at_the_rate(void **state)
{
    struct ratelimit *limit = new_limit(&usual);

    (void)state;
    burst(limit, "192.0.2.1", 100);
    now += 100 * MS;
    assert_int_equal(burst(limit, "192.0.2.1", 100).answered, 10);
    now += 9 * MS;
    assert_int_equal(burst(limit, "192.0.2.1", 100).answered, 0);
    now += MS;
    assert_int_equal(burst(limit, "192.0.2.1", 100).answered, 1);
    now += 3600 * SECOND;
    assert_int_equal(burst(limit, "192.0.2.1", 100).answered, 50);
    ratelimit_free(limit);
}

static void a_source_within_its_rate_is_always_answered(void **state)
{
    struct ratelimit *limit = new_limit(&usual);

    (void)state;
    for (unsigned i = 0; i < 100000; i++, now += 10 * MS)
        assert_int_equal(spend(limit, "2001:db8::1"), VERDICT_ANSWER);
    ratelimit_free(limit);
}

static void the_extremes_of_rate_and_burst_hold(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;

    (void)state;
    params.rate = 1;
    params.burst = 1000000;
    limit = new_limit(&params);
    assert_int_equal(burst(limit, "192.0.2.1", 1000100).answered, 1000000);
    now += SECOND;
    assert_int_equal(burst(limit, "192.0.2.1", 100).answered, 1);
    ratelimit_free(limit);
    params.rate = 1000000;
    params.burst = 1;
    limit = new_limit(&params);
    assert_int_equal(burst(limit, "2001:db8::1", 100).answered, 1);
    now += 1000;
    assert_int_equal(burst(limit, "2001:db8::1", 100).answered, 1);
    ratelimit_free(limit);
}

static void the_port_makes_no_other_source(void **state)
{
    struct ratelimit *limit = new_limit(&usual);
    unsigned answered = 0;

    (void)state;
    for (uint16_t port = 1; port < 1000; port++) {
        struct addr source = address("192.0.2.1", port);

        answered += ratelimit_charge(limit, &source, ++fingerprint, now) == VERDICT_ANSWER;
    }
    assert_int_equal(answered, 50);
    ratelimit_free(limit);
}

static void a_source_is_a_prefix_of_the_configured_length(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;

    (void)state;
    params.v4_length = 24;
    limit = new_limit(&params);
    burst(limit, "192.0.2.1", 50);
    assert_int_not_equal(spend(limit, "192.0.2.255"), VERDICT_ANSWER);
    assert_int_not_equal(spend(limit, "::ffff:192.0.2.7"), VERDICT_ANSWER);
    assert_int_equal(spend(limit, "192.0.3.1"), VERDICT_ANSWER);
    burst(limit, "2001:db8::1", 50);
    assert_int_not_equal(spend(limit, "2001:db8::ffff:0:0:1"), VERDICT_ANSWER);
    assert_int_equal(spend(limit, "2001:db8:0:1::1"), VERDICT_ANSWER);
    ratelimit_free(limit);
}

/* ---- slips ---- */

static void one_in_sixteen_slips_through_beyond_the_rate(void **state)
{
    enum { ROUNDS = 20000 };
    struct ratelimit *limit = new_limit(&usual);
    struct outcome outcome = {0};

    (void)state;
    burst(limit, "192.0.2.1", 50);
    /* Ten times the rate, so that slips stay below it. */
    for (unsigned i = 0; i < ROUNDS; i++, now += MS)
        note(&outcome, spend(limit, "192.0.2.1"));
    assert_in_range(outcome.answered, ROUNDS / 10 - 1, ROUNDS / 10 + 1);
    assert_in_range(outcome.slipped, (ROUNDS - outcome.answered) / RATELIMIT_SLIP_ODDS * 8 / 10,
                    (ROUNDS - outcome.answered) / RATELIMIT_SLIP_ODDS * 12 / 10);
    ratelimit_free(limit);
}

static void slips_of_all_sources_together_do_not_exceed_the_rate(void **state)
{
    struct ratelimit *limit = new_limit(&usual);
    struct outcome outcome = {0};
    char host[32];

    (void)state;
    for (unsigned s = 0; s < 100; s++) {
        snprintf(host, sizeof host, "192.0.2.%u", s);
        burst(limit, host, 50);
    }
    for (unsigned ms = 0; ms < 1000; ms++, now += MS)
        for (unsigned s = 0; s < 100; s++) {
            snprintf(host, sizeof host, "192.0.2.%u", s);
            note(&outcome, spend(limit, host));
        }
    assert_in_range(outcome.slipped, 90, 100 + 50);
    ratelimit_free(limit);
}

/* ---- networks ---- */

/* So many datagrams from each of so many networks, which differ by a number at that octet of their
 * address. */
static unsigned spread(struct ratelimit *limit, const char *host, unsigned octet, unsigned networks,
                       unsigned each)
{
    unsigned answered = 0;

    for (unsigned i = 0; i < networks; i++) {
        struct addr source = address(host, 5000);

        source.in6.sin6_addr.s6_addr[octet] = (uint8_t)(i >> 8);
        source.in6.sin6_addr.s6_addr[octet + 1] = (uint8_t)i;
        for (unsigned n = 0; n < each; n++)
            answered += ratelimit_charge(limit, &source, ++fingerprint, now) == VERDICT_ANSWER;
    }
    return answered;
}

static void the_parts_of_an_ipv6_network_share_a_larger_budget(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;

    (void)state;
    params.size = 65536;
    limit = new_limit(&params);
    assert_int_equal(spread(limit, "2001:db8::1", 6, 256, 50), 4 * 50);
    assert_int_equal(spread(limit, "2001:db8:100::1", 5, 256, 50), 16 * 50);
    assert_int_equal(spread(limit, "2001:db9::1", 4, 65536, 50), 256 * 50);
    /* One of them alone is not touched by what others elsewhere do. */
    assert_int_equal(burst(limit, "2001:dba::1", 100).answered, 50);
    ratelimit_free(limit);
}

/* The source may have any length: 2^(n/4) budgets for a network that is n bits larger. */
static void every_8_bits_of_a_network_allow_four_times_as_much(void **state)
{
    static const struct {
        unsigned v6_length, octet, networks, answered;
    } cases[] = {{48, 6, 100, 50},     {48, 4, 1000, 16 * 50},   {16, 2, 1000, 50},
                 {72, 7, 256, 4 * 50}, {68, 7, 256, 2 * 50},     {66, 7, 256, 70},
                 {65, 7, 256, 59},     {67, 7, 256, 84},         {80, 8, 1000, 16 * 50},
                 {60, 6, 256, 2 * 50}, {128, 14, 400, 400 * 50}, {96, 10, 400, 256 * 50}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ratelimit_params params = usual;
        struct ratelimit *limit;

        params.size = 65536;
        params.v6_length = cases[i].v6_length;
        limit = new_limit(&params);
        assert_int_equal(spread(limit, "2001:db8::1", cases[i].octet, cases[i].networks, 50),
                         cases[i].answered);
        ratelimit_free(limit);
    }
}

/* 4^12 times a rate of a million: not even a tick for each. */
static void a_network_with_more_than_any_link_carries_has_no_limit(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;

    (void)state;
    params.size = 65536;
    params.v6_length = 128;
    params.rate = 1000000;
    params.burst = 1;
    limit = new_limit(&params);
    assert_int_equal(spread(limit, "2001:db8::1", 2, 200, 2), 200);
    ratelimit_free(limit);
}

/* ---- the table ---- */

static struct addr random_source(void)
{
    static uint32_t state = 1;
    struct addr addr = address("0.0.0.0", 5000);

    state = state * 1664525 + 1013904223;
    addr.in.sin_addr.s_addr = htonl(state >> 4 | 0x20000000);
    return addr;
}

/* As many strangers as there are datagrams, each within his rights, displace nobody who has spent
 * something: their own buckets are full again at once. */
static void a_flood_of_strangers_restores_nobodys_budget(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;
    unsigned answered = 0;

    (void)state;
    params.rate = 5000;
    params.burst = 10000;
    limit = new_limit(&params);
    for (unsigned i = 0; i < 1000000; i++, now += 10 * US) {
        struct addr stranger = random_source();

        assert_int_equal(ratelimit_charge(limit, &stranger, ++fingerprint, now), VERDICT_ANSWER);
        answered += spend(limit, "192.0.2.1") == VERDICT_ANSWER;
    }
    assert_in_range(answered, 10000 + 49999, 10000 + 50001);
    ratelimit_free(limit);
}

static void a_full_table_answers_no_more_than_its_size_times_a_budget(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;
    struct outcome outcome = {0};

    (void)state;
    params.rate = 1;
    params.burst = 2;
    params.size = 1024;
    limit = new_limit(&params);
    for (unsigned i = 0; i < 1000000; i++) {
        struct addr stranger = random_source();

        note(&outcome, ratelimit_charge(limit, &stranger, ++fingerprint, now));
    }
    assert_in_range(outcome.answered, 1024 * 2 * 9 / 10, 1024 * 2);
    assert_in_range(outcome.slipped, 1, 16);
    /* It recovers. */
    now += 2 * SECOND;
    assert_int_equal(burst(limit, "192.0.2.1", 10).answered, 2);
    ratelimit_free(limit);
}

static void a_new_source_gets_what_is_left_in_a_full_table(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;
    unsigned answered = 0;

    (void)state;
    params.size = 1024;
    limit = new_limit(&params);
    /* Each has spent a fifth. */
    for (unsigned i = 0; i < 2048; i++) {
        struct addr stranger = random_source();

        for (unsigned n = 0; n < 10; n++)
            ratelimit_charge(limit, &stranger, ++fingerprint, now);
    }
    for (unsigned i = 0; i < 100; i++) {
        struct addr innocent = random_source();

        answered += ratelimit_charge(limit, &innocent, ++fingerprint, now) == VERDICT_ANSWER;
    }
    assert_int_equal(answered, 100);
    ratelimit_free(limit);
}

static void the_smallest_table_works(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;

    (void)state;
    params.size = 1;
    limit = new_limit(&params);
    for (unsigned i = 0; i < 1000; i++) {
        struct addr stranger = random_source();

        ratelimit_charge(limit, &stranger, ++fingerprint, now);
    }
    now += SECOND;
    assert_int_equal(burst(limit, "2001:db8::1", 100).answered, 50);
    ratelimit_free(limit);
}

static void another_key_is_another_order(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *one, *two;
    unsigned differences = 0;

    (void)state;
    params.rate = 1;
    params.burst = 1;
    params.size = 256;
    one = new_limit(&params);
    params.key[1] = 3;
    two = new_limit(&params);
    for (unsigned i = 0; i < 512; i++) {
        struct addr source = random_source();
        bool first = ratelimit_charge(one, &source, i, now) == VERDICT_ANSWER;
        bool second = ratelimit_charge(two, &source, i, now) == VERDICT_ANSWER;

        differences += first != second;
    }
    assert_true(differences > 10);
    ratelimit_free(one);
    ratelimit_free(two);
}

/* ---- exempt sources, and loops ---- */

static struct prefix_set *exempt;

static int set_up(void **state)
{
    struct prefix prefix;

    (void)state;
    exempt = prefix_set_new();
    assert_non_null(exempt);
    assert_int_equal(prefix_parse("127.0.0.0/8", &prefix), 0);
    assert_int_equal(prefix_set_add(exempt, &prefix, 1), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    prefix_set_free(exempt);
    return 0;
}

static struct ratelimit *new_generous_limit(void)
{
    struct ratelimit_params params = usual;

    params.exempt = exempt;
    params.rate = 5000;
    params.burst = 10000;
    return new_limit(&params);
}

static void an_exempt_source_has_no_limit(void **state)
{
    struct ratelimit_params params = usual;
    struct addr source = address("127.0.0.1", 5000);
    struct ratelimit *limit;

    (void)state;
    params.exempt = exempt;
    limit = new_limit(&params);
    for (unsigned i = 0; i < 100000; i++, now += US)
        assert_int_equal(ratelimit_charge(limit, &source, ++fingerprint, now), VERDICT_ANSWER);
    assert_int_equal(burst(limit, "128.0.0.1", 1000).answered, 50);
    ratelimit_free(limit);
}

/* Equal datagrams of one source, one every 200 us. */
static struct outcome repeat(struct ratelimit *limit, const char *host, unsigned count)
{
    struct addr source = address(host, 5000);
    struct outcome outcome = {0};

    for (; count > 0; count--, now += 200 * US)
        note(&outcome, ratelimit_charge(limit, &source, 7, now));
    return outcome;
}

static void a_datagram_that_keeps_coming_back_is_refused_as_a_loop(void **state)
{
    struct ratelimit *limit = new_generous_limit();

    (void)state;
    assert_int_equal(repeat(limit, "192.0.2.1", LOOPGUARD_ROUNDS).looped, 0);
    assert_in_range(repeat(limit, "192.0.2.1", 20 * LOOPGUARD_ODDS).looped, 1, 60);
    assert_int_equal(repeat(limit, "192.0.2.2", LOOPGUARD_ROUNDS).looped, 0);
    ratelimit_free(limit);
}

static void an_exempt_source_loses_one_datagram_for_each_burst_of_rounds(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *limit;
    struct outcome outcome;

    (void)state;
    params.exempt = exempt;
    limit = new_limit(&params);
    /* 50 rounds are allowed, and two more in the 10 ms meanwhile. */
    outcome = repeat(limit, "127.0.0.1", 52);
    assert_int_equal(outcome.looped, 0);
    outcome = repeat(limit, "127.0.0.1", 53 * 10);
    assert_in_range(outcome.looped, 9, 11);
    assert_int_equal(outcome.answered + outcome.looped, 530);
    ratelimit_free(limit);
}

static void want_of_memory_is_an_error(void **state)
{
    (void)state;
    SCRIPT(calloc_script, -ENOMEM);
    assert_null(ratelimit_new(&usual));
    SCRIPT(mmap_script, -ENOMEM);
    assert_null(ratelimit_new(&usual));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_is_answered_and_no_more),
        cmocka_unit_test(a_spent_budget_refills_at_the_rate),
        cmocka_unit_test(a_source_within_its_rate_is_always_answered),
        cmocka_unit_test(the_extremes_of_rate_and_burst_hold),
        cmocka_unit_test(the_port_makes_no_other_source),
        cmocka_unit_test(a_source_is_a_prefix_of_the_configured_length),
        cmocka_unit_test(one_in_sixteen_slips_through_beyond_the_rate),
        cmocka_unit_test(slips_of_all_sources_together_do_not_exceed_the_rate),
        cmocka_unit_test(the_parts_of_an_ipv6_network_share_a_larger_budget),
        cmocka_unit_test(every_8_bits_of_a_network_allow_four_times_as_much),
        cmocka_unit_test(a_network_with_more_than_any_link_carries_has_no_limit),
        cmocka_unit_test(a_flood_of_strangers_restores_nobodys_budget),
        cmocka_unit_test(a_full_table_answers_no_more_than_its_size_times_a_budget),
        cmocka_unit_test(a_new_source_gets_what_is_left_in_a_full_table),
        cmocka_unit_test(the_smallest_table_works),
        cmocka_unit_test(another_key_is_another_order),
        cmocka_unit_test(an_exempt_source_loses_one_datagram_for_each_burst_of_rounds),
        cmocka_unit_test(a_datagram_that_keeps_coming_back_is_refused_as_a_loop),
        cmocka_unit_test(an_exempt_source_has_no_limit),
        cmocka_unit_test(want_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
