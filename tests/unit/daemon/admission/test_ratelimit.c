/* SPDX-License-Identifier: ISC */
#include "daemon/admission/ratelimit.h"

#include <stdio.h>
#include <sys/mman.h>

#include "unit/unit.h"

#define MS     UINT64_C(1000000)
#define SECOND (1000 * MS)
#define US     UINT64_C(1000)

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, mmap, MAP_FAILED, (void *at, size_t n, int prot, int flags, int fd, off_t off),
             (at, n, prot, flags, fd, off))

static uint64_t now;
static uint32_t mark; /* differs from one datagram to the next, as a client's do */

static const struct ratelimit_params usual = {
    .rate = 100, .burst = 50, .v4_length = 32, .v6_length = 64, .size = 4096, .key = {1, 2}};

static struct ratelimit *new_budget(const struct ratelimit_params *params)
{
    struct ratelimit *budget = ratelimit_new(params);

    assert_non_null(budget);
    now = 1000 * SECOND;
    return budget;
}

static enum ratelimit_verdict spend(struct ratelimit *budget, const char *host)
{
    struct addr source = address(host, 5000);

    return ratelimit_spend(budget, &source, ++mark, now);
}

struct outcome {
    unsigned answered, leaked, refused, looped;
};

static void note(struct outcome *outcome, enum ratelimit_verdict verdict)
{
    outcome->answered += verdict == RATELIMIT_ANSWER;
    outcome->leaked += verdict == RATELIMIT_SLIP;
    outcome->refused += verdict == RATELIMIT_REFUSE;
    outcome->looped += verdict == RATELIMIT_LOOP;
}

/* So many at once. */
static struct outcome burst(struct ratelimit *budget, const char *host, unsigned count)
{
    struct outcome outcome = {0};

    while (count-- > 0)
        note(&outcome, spend(budget, host));
    return outcome;
}

/* ---- one source ---- */

static void a_burst_is_answered_and_no_more(void **state)
{
    struct ratelimit *budget = new_budget(&usual);
    struct outcome outcome = burst(budget, "192.0.2.1", 1000);

    (void)state;
    assert_int_equal(outcome.answered, 50);
    assert_int_equal(outcome.looped, 0);
    assert_int_equal(burst(budget, "192.0.2.1", 1000).answered, 0);
    ratelimit_free(budget);
    ratelimit_free(NULL);
}

static void what_was_spent_comes_back_at_the_rate(void **state)
{
    struct ratelimit *budget = new_budget(&usual);

    (void)state;
    burst(budget, "192.0.2.1", 100);
    now += 100 * MS;
    assert_int_equal(burst(budget, "192.0.2.1", 100).answered, 10);
    now += 9 * MS;
    assert_int_equal(burst(budget, "192.0.2.1", 100).answered, 0);
    now += MS;
    assert_int_equal(burst(budget, "192.0.2.1", 100).answered, 1);
    now += 3600 * SECOND;
    assert_int_equal(burst(budget, "192.0.2.1", 100).answered, 50);
    ratelimit_free(budget);
}

static void a_source_within_its_rate_is_always_answered(void **state)
{
    struct ratelimit *budget = new_budget(&usual);

    (void)state;
    for (unsigned i = 0; i < 100000; i++, now += 10 * MS)
        assert_int_equal(spend(budget, "2001:db8::1"), RATELIMIT_ANSWER);
    ratelimit_free(budget);
}

static void the_extremes_of_rate_and_burst_hold(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;

    (void)state;
    params.rate = 1;
    params.burst = 1000000;
    budget = new_budget(&params);
    assert_int_equal(burst(budget, "192.0.2.1", 1000100).answered, 1000000);
    now += SECOND;
    assert_int_equal(burst(budget, "192.0.2.1", 100).answered, 1);
    ratelimit_free(budget);
    params.rate = 1000000;
    params.burst = 1;
    budget = new_budget(&params);
    assert_int_equal(burst(budget, "2001:db8::1", 100).answered, 1);
    now += 1000;
    assert_int_equal(burst(budget, "2001:db8::1", 100).answered, 1);
    ratelimit_free(budget);
}

static void the_port_makes_no_other_source(void **state)
{
    struct ratelimit *budget = new_budget(&usual);
    unsigned answered = 0;

    (void)state;
    for (uint16_t port = 1; port < 1000; port++) {
        struct addr source = address("192.0.2.1", port);

        answered += ratelimit_spend(budget, &source, ++mark, now) == RATELIMIT_ANSWER;
    }
    assert_int_equal(answered, 50);
    ratelimit_free(budget);
}

static void a_source_is_a_prefix_of_the_configured_length(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;

    (void)state;
    params.v4_length = 24;
    budget = new_budget(&params);
    burst(budget, "192.0.2.1", 50);
    assert_int_not_equal(spend(budget, "192.0.2.255"), RATELIMIT_ANSWER);
    assert_int_not_equal(spend(budget, "::ffff:192.0.2.7"), RATELIMIT_ANSWER);
    assert_int_equal(spend(budget, "192.0.3.1"), RATELIMIT_ANSWER);
    burst(budget, "2001:db8::1", 50);
    assert_int_not_equal(spend(budget, "2001:db8::ffff:0:0:1"), RATELIMIT_ANSWER);
    assert_int_equal(spend(budget, "2001:db8:0:1::1"), RATELIMIT_ANSWER);
    ratelimit_free(budget);
}

/* ---- leaks ---- */

static void a_few_leak_beyond_the_budget(void **state)
{
    enum { ROUNDS = 20000 };
    struct ratelimit *budget = new_budget(&usual);
    struct outcome outcome = {0};

    (void)state;
    burst(budget, "192.0.2.1", 50);
    /* Ten times the rate, so that leaks stay below it. */
    for (unsigned i = 0; i < ROUNDS; i++, now += MS)
        note(&outcome, spend(budget, "192.0.2.1"));
    assert_in_range(outcome.answered, ROUNDS / 10 - 1, ROUNDS / 10 + 1);
    assert_in_range(outcome.leaked, (ROUNDS - outcome.answered) / RATELIMIT_SLIP_ODDS * 8 / 10,
                    (ROUNDS - outcome.answered) / RATELIMIT_SLIP_ODDS * 12 / 10);
    ratelimit_free(budget);
}

static void leaks_of_all_sources_together_have_one_budget(void **state)
{
    struct ratelimit *budget = new_budget(&usual);
    struct outcome outcome = {0};
    char host[32];

    (void)state;
    for (unsigned s = 0; s < 100; s++) {
        snprintf(host, sizeof host, "192.0.2.%u", s);
        burst(budget, host, 50);
    }
    for (unsigned ms = 0; ms < 1000; ms++, now += MS)
        for (unsigned s = 0; s < 100; s++) {
            snprintf(host, sizeof host, "192.0.2.%u", s);
            note(&outcome, spend(budget, host));
        }
    assert_in_range(outcome.leaked, 90, 100 + 50);
    ratelimit_free(budget);
}

/* ---- networks ---- */

/* So many datagrams from each of so many networks, which differ by a number at that octet of their
 * address. */
static unsigned spread(struct ratelimit *budget, const char *host, unsigned octet,
                       unsigned networks, unsigned each)
{
    unsigned answered = 0;

    for (unsigned i = 0; i < networks; i++) {
        struct addr source = address(host, 5000);

        source.in6.sin6_addr.s6_addr[octet] = (uint8_t)(i >> 8);
        source.in6.sin6_addr.s6_addr[octet + 1] = (uint8_t)i;
        for (unsigned n = 0; n < each; n++)
            answered += ratelimit_spend(budget, &source, ++mark, now) == RATELIMIT_ANSWER;
    }
    return answered;
}

static void the_parts_of_an_ipv6_network_share_a_larger_budget(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;

    (void)state;
    params.size = 65536;
    budget = new_budget(&params);
    assert_int_equal(spread(budget, "2001:db8::1", 6, 256, 50), 4 * 50);
    assert_int_equal(spread(budget, "2001:db8:100::1", 5, 256, 50), 16 * 50);
    assert_int_equal(spread(budget, "2001:db9::1", 4, 65536, 50), 256 * 50);
    /* One of them alone is not touched by what others elsewhere do. */
    assert_int_equal(burst(budget, "2001:dba::1", 100).answered, 50);
    ratelimit_free(budget);
}

static void networks_grow_from_whatever_one_source_is(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;

    (void)state;
    params.v6_length = 48;
    budget = new_budget(&params);
    assert_int_equal(spread(budget, "2001:db8::1", 6, 100, 50), 50);
    assert_int_equal(spread(budget, "2001:db9::1", 4, 1000, 50), 16 * 50);
    ratelimit_free(budget);
    params.v6_length = 128;
    budget = new_budget(&params);
    assert_int_equal(spread(budget, "2001:db8::1", 14, 1000, 50), 4 * 50);
    ratelimit_free(budget);
    params.v6_length = 16;
    budget = new_budget(&params);
    assert_int_equal(spread(budget, "2001::", 2, 1000, 50), 50);
    ratelimit_free(budget);
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
    struct ratelimit *budget;
    unsigned answered = 0;

    (void)state;
    params.rate = 5000;
    params.burst = 10000;
    budget = new_budget(&params);
    for (unsigned i = 0; i < 1000000; i++, now += 10 * US) {
        struct addr stranger = random_source();

        assert_int_equal(ratelimit_spend(budget, &stranger, ++mark, now), RATELIMIT_ANSWER);
        answered += spend(budget, "192.0.2.1") == RATELIMIT_ANSWER;
    }
    assert_in_range(answered, 10000 + 49999, 10000 + 50001);
    ratelimit_free(budget);
}

static void a_full_table_answers_no_more_than_its_size_times_a_budget(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;
    struct outcome outcome = {0};

    (void)state;
    params.rate = 1;
    params.burst = 2;
    params.size = 1024;
    budget = new_budget(&params);
    for (unsigned i = 0; i < 1000000; i++) {
        struct addr stranger = random_source();

        note(&outcome, ratelimit_spend(budget, &stranger, ++mark, now));
    }
    assert_in_range(outcome.answered, 1024 * 2 * 9 / 10, 1024 * 2);
    assert_in_range(outcome.leaked, 1, 16);
    /* It recovers. */
    now += 2 * SECOND;
    assert_int_equal(burst(budget, "192.0.2.1", 10).answered, 2);
    ratelimit_free(budget);
}

static void a_full_table_leaves_the_innocent_what_is_left(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;
    unsigned answered = 0;

    (void)state;
    params.size = 1024;
    budget = new_budget(&params);
    /* Each has spent a fifth. */
    for (unsigned i = 0; i < 2048; i++) {
        struct addr stranger = random_source();

        for (unsigned n = 0; n < 10; n++)
            ratelimit_spend(budget, &stranger, ++mark, now);
    }
    for (unsigned i = 0; i < 100; i++) {
        struct addr innocent = random_source();

        answered += ratelimit_spend(budget, &innocent, ++mark, now) == RATELIMIT_ANSWER;
    }
    assert_int_equal(answered, 100);
    ratelimit_free(budget);
}

static void the_smallest_table_works(void **state)
{
    struct ratelimit_params params = usual;
    struct ratelimit *budget;

    (void)state;
    params.size = 1;
    budget = new_budget(&params);
    for (unsigned i = 0; i < 1000; i++) {
        struct addr stranger = random_source();

        ratelimit_spend(budget, &stranger, ++mark, now);
    }
    now += SECOND;
    assert_int_equal(burst(budget, "2001:db8::1", 100).answered, 50);
    ratelimit_free(budget);
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
    one = new_budget(&params);
    params.key[1] = 3;
    two = new_budget(&params);
    for (unsigned i = 0; i < 512; i++) {
        struct addr source = random_source();
        bool first = ratelimit_spend(one, &source, i, now) == RATELIMIT_ANSWER;
        bool second = ratelimit_spend(two, &source, i, now) == RATELIMIT_ANSWER;

        differences += first != second;
    }
    assert_true(differences > 10);
    ratelimit_free(one);
    ratelimit_free(two);
}

/* ---- loops ---- */

/* A loop in which `datagrams` different ones go round, each `round_trip` long. How many rounds it
 * makes until the last one is refused, or `most`. */
static unsigned go_round(struct ratelimit *budget, const char *host, unsigned datagrams,
                         uint64_t round_trip, unsigned most)
{
    struct addr source = address(host, 5000);
    bool *alive = calloc(datagrams, sizeof *alive);
    unsigned left = datagrams, rounds = 0;

    for (unsigned i = 0; i < datagrams; i++)
        alive[i] = true;
    for (; left > 0 && rounds < most; rounds++)
        for (unsigned i = 0; i < datagrams; i++) {
            enum ratelimit_verdict verdict = RATELIMIT_ANSWER;

            now += round_trip / datagrams;
            if (alive[i])
                verdict = ratelimit_spend(budget, &source, 1000000 + i, now);
            if (verdict == RATELIMIT_LOOP || verdict == RATELIMIT_REFUSE) {
                alive[i] = false;
                left--;
            }
        }
    free(alive);
    return rounds;
}

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

static struct ratelimit *generous_budget(void)
{
    struct ratelimit_params params = usual;

    params.exempt = exempt;
    params.rate = 5000;
    params.burst = 10000;
    return new_budget(&params);
}

static void a_loop_below_the_rate_ends_within_a_second(void **state)
{
    (void)state;
    for (unsigned us = 200; us <= 500; us += 50) {
        struct ratelimit *budget = generous_budget();
        uint64_t begin = now;
        unsigned rounds = go_round(budget, "192.0.2.1", 1, us * US, 1000000);

        assert_in_range(rounds, RATELIMIT_ROUNDS, RATELIMIT_ROUNDS + 20 * RATELIMIT_LOOP_ODDS);
        assert_true(now - begin < 2 * SECOND);
        ratelimit_free(budget);
    }
}

static void loops_of_many_datagrams_and_long_round_trips_end_too(void **state)
{
    static const struct {
        unsigned datagrams;
        unsigned ms;
    } cases[] = {{1, 10}, {1, 50}, {8, 10}, {8, 50}, {100, 100}, {100, 300}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct ratelimit *budget = generous_budget();
        unsigned most = 2000000 / cases[i].datagrams;
        unsigned rounds =
            go_round(budget, "2001:db8::1", cases[i].datagrams, cases[i].ms * MS, most);
        double per_second = 1000.0 / cases[i].ms;

        /* What is left when so few are under way that they pass for a client is not more than
         * that. */
        if (per_second > RATELIMIT_ROUND_RATE)
            assert_true(rounds < most);
        ratelimit_free(budget);
    }
}

static void the_loop_of_an_exempt_source_ends_with_its_budget(void **state)
{
    struct ratelimit *budget = generous_budget();
    unsigned rounds = go_round(budget, "127.0.0.1", 1, 20 * US, 1000000);

    (void)state;
    assert_in_range(rounds, 10000, 12000);
    ratelimit_free(budget);
}

static void an_exempt_source_has_no_budget(void **state)
{
    struct ratelimit_params params = usual;
    struct addr source = address("127.0.0.1", 5000);
    struct ratelimit *budget;

    (void)state;
    params.exempt = exempt;
    budget = new_budget(&params);
    for (unsigned i = 0; i < 100000; i++, now += US)
        assert_int_equal(ratelimit_spend(budget, &source, ++mark, now), RATELIMIT_ANSWER);
    assert_int_equal(burst(budget, "128.0.0.1", 1000).answered, 50);
    ratelimit_free(budget);
}

static void an_exempt_client_that_repeats_itself_fast_loses_next_to_nothing(void **state)
{
    enum { COUNT_SENT = 1000000 };
    struct ratelimit *budget = generous_budget();
    struct addr source = address("127.0.0.1", 5000);
    struct outcome outcome = {0};

    (void)state;
    for (unsigned i = 0; i < COUNT_SENT; i++, now += 10 * US)
        note(&outcome, ratelimit_spend(budget, &source, 7, now));
    assert_int_equal(outcome.answered + outcome.looped, COUNT_SENT);
    assert_in_range(outcome.looped, 1, COUNT_SENT / 10000);
    ratelimit_free(budget);
}

static void a_client_whose_datagrams_differ_is_in_no_loop(void **state)
{
    struct ratelimit *budget = generous_budget();

    (void)state;
    for (unsigned i = 0; i < 100000; i++, now += 250 * US)
        assert_int_equal(spend(budget, "192.0.2.1"), RATELIMIT_ANSWER);
    ratelimit_free(budget);
}

static void a_client_that_repeats_itself_now_and_then_is_in_no_loop(void **state)
{
    struct ratelimit *budget = generous_budget();
    struct addr source = address("192.0.2.1", 5000);

    (void)state;
    for (unsigned i = 0; i < 100000; i++, now += SECOND / RATELIMIT_ROUND_RATE)
        assert_int_equal(ratelimit_spend(budget, &source, 7, now), RATELIMIT_ANSWER);
    ratelimit_free(budget);
}

static void a_client_that_repeats_itself_fast_loses_little(void **state)
{
    enum { COUNT_SENT = 100000 };
    struct ratelimit *budget = generous_budget();
    struct addr source = address("192.0.2.1", 5000);
    struct outcome outcome = {0};

    (void)state;
    for (unsigned i = 0; i < COUNT_SENT; i++, now += MS)
        note(&outcome, ratelimit_spend(budget, &source, 7, now));
    assert_int_equal(outcome.answered + outcome.looped, COUNT_SENT);
    assert_in_range(outcome.looped, COUNT_SENT / RATELIMIT_LOOP_ODDS / 2,
                    COUNT_SENT / RATELIMIT_LOOP_ODDS * 5 / 4);
    ratelimit_free(budget);
}

static void what_arrives_together_is_not_counted_as_rounds(void **state)
{
    struct ratelimit *budget = generous_budget();
    struct addr source = address("192.0.2.1", 5000);

    (void)state;
    for (unsigned i = 0; i < 9000; i++)
        assert_int_equal(ratelimit_spend(budget, &source, 7, now), RATELIMIT_ANSWER);
    ratelimit_free(budget);
}

static void marks_tell_ports_lengths_and_contents_apart(void **state)
{
    unsigned char data[200] = {0};
    uint32_t own = ratelimit_fingerprint(5000, data, 100);

    (void)state;
    assert_int_equal(ratelimit_fingerprint(5000, data, 100), own);
    assert_int_not_equal(ratelimit_fingerprint(5001, data, 100), own);
    assert_int_not_equal(ratelimit_fingerprint(5000, data, 99), own);
    for (unsigned i = 0; i < 100; i++)
        if (i < 32 || i >= 68) {
            data[i] = 1;
            assert_int_not_equal(ratelimit_fingerprint(5000, data, 100), own);
            data[i] = 0;
        }
    for (unsigned length = 0; length < 64; length++)
        for (unsigned i = 0; i < length; i++) {
            own = ratelimit_fingerprint(5000, data, length);
            data[i] = 1;
            assert_int_not_equal(ratelimit_fingerprint(5000, data, length), own);
            data[i] = 0;
        }
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
        cmocka_unit_test(what_was_spent_comes_back_at_the_rate),
        cmocka_unit_test(a_source_within_its_rate_is_always_answered),
        cmocka_unit_test(the_extremes_of_rate_and_burst_hold),
        cmocka_unit_test(the_port_makes_no_other_source),
        cmocka_unit_test(a_source_is_a_prefix_of_the_configured_length),
        cmocka_unit_test(a_few_leak_beyond_the_budget),
        cmocka_unit_test(leaks_of_all_sources_together_have_one_budget),
        cmocka_unit_test(the_parts_of_an_ipv6_network_share_a_larger_budget),
        cmocka_unit_test(networks_grow_from_whatever_one_source_is),
        cmocka_unit_test(a_flood_of_strangers_restores_nobodys_budget),
        cmocka_unit_test(a_full_table_answers_no_more_than_its_size_times_a_budget),
        cmocka_unit_test(a_full_table_leaves_the_innocent_what_is_left),
        cmocka_unit_test(the_smallest_table_works),
        cmocka_unit_test(another_key_is_another_order),
        cmocka_unit_test(a_loop_below_the_rate_ends_within_a_second),
        cmocka_unit_test(loops_of_many_datagrams_and_long_round_trips_end_too),
        cmocka_unit_test(the_loop_of_an_exempt_source_ends_with_its_budget),
        cmocka_unit_test(an_exempt_source_has_no_budget),
        cmocka_unit_test(an_exempt_client_that_repeats_itself_fast_loses_next_to_nothing),
        cmocka_unit_test(a_client_whose_datagrams_differ_is_in_no_loop),
        cmocka_unit_test(a_client_that_repeats_itself_now_and_then_is_in_no_loop),
        cmocka_unit_test(a_client_that_repeats_itself_fast_loses_little),
        cmocka_unit_test(what_arrives_together_is_not_counted_as_rounds),
        cmocka_unit_test(marks_tell_ports_lengths_and_contents_apart),
        cmocka_unit_test(want_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
