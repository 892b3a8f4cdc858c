/* SPDX-License-Identifier: ISC */
#include "daemon/admission/loopguard.h"

#include "common/reply_ttl.h"
#include "unit/unit.h"

/* ---- 1. source ports ---- */

static void only_listed_ports_added_ports_and_port_0_are_refused(void **state)
{
    uint8_t ports[65536 / 8] = {0};
    struct loopguard guard;

    (void)state;
    ports[7 / 8] |= 1U << 7 % 8;
    ports[65535 / 8] |= 1U << 65535 % 8;
    loopguard_init(&guard, ports);
    loopguard_refuse_port(&guard, 7007);
    for (unsigned port = 0; port < 65536; port++) {
        bool refused = port == 0 || port == 7 || port == 7007 || port == 65535;

        assert_int_equal(loopguard_refuses_port(&guard, (uint16_t)port), refused);
    }
}

/* ---- 2. the TTL of replies ---- */

static void a_ttl_tells_replies_up_to_40_hops_away_from_all_other_senders(void **state)
{
    static const int initial[] = {30, 32, 60, 64, 128, 255};

    (void)state;
    assert_false(loopguard_has_reply_ttl(0));
    for (size_t i = 0; i < COUNT(initial); i++)
        for (int away = 0; away < 60 && away < initial[i]; away++)
            assert_false(loopguard_has_reply_ttl(initial[i] - away));
    for (int away = 0; away < 40; away++)
        assert_true(loopguard_has_reply_ttl(REPLY_TTL - away));
}

/* ---- 3. datagrams that keep coming back ---- */

static struct loopguard_allowance usual;
static struct loopguard_history history;
static uint64_t now, random_state;

static int set_up(void **state)
{
    (void)state;
    usual = loopguard_allow(LOOPGUARD_ROUNDS, LOOPGUARD_ROUNDS_PER_SECOND, LOOPGUARD_ODDS);
    now = 1000 * SECOND;
    random_state = 1;
    history = loopguard_new_history(now);
    return 0;
}

static bool is_refused(uint32_t fingerprint)
{
    return loopguard_keeps_returning(&history, &usual, fingerprint, now, &random_state);
}

/* A loop in which `datagrams` different ones go round, each `round_trip` long. How many rounds it
 * makes until the last one is refused, or `most`. */
static unsigned go_round(unsigned datagrams, uint64_t round_trip, unsigned most)
{
    bool *dead = calloc(datagrams, sizeof *dead);
    unsigned left = datagrams, rounds = 0;

    assert_non_null(dead);
    for (; left > 0 && rounds < most; rounds++)
        for (unsigned i = 0; i < datagrams; i++) {
            now += round_trip / datagrams;
            if (!dead[i] && is_refused(1000000 + i)) {
                dead[i] = true;
                left--;
            }
        }
    free(dead);
    return rounds;
}

static void a_fast_loop_of_one_datagram_ends_within_two_seconds(void **state)
{
    for (unsigned us = 200; us <= 500; us += 50) {
        uint64_t begin;

        set_up(state);
        begin = now;
        assert_in_range(go_round(1, us * MICROSECOND, 1000000), LOOPGUARD_ROUNDS,
                        LOOPGUARD_ROUNDS + 20 * LOOPGUARD_ODDS);
        assert_true(now - begin < 2 * SECOND);
    }
}

/* Not those that are as slow as a client that repeats itself. */
static void loops_of_many_datagrams_and_long_round_trips_end(void **state)
{
    static const struct {
        unsigned datagrams;
        unsigned ms;
    } cases[] = {{1, 10}, {1, 50}, {8, 10}, {8, 50}, {100, 50}, {500, 50}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned most = 2000000 / cases[i].datagrams;

        set_up(state);
        assert_true(go_round(cases[i].datagrams, cases[i].ms * MILLISECOND, most) < most);
    }
}

static void a_client_whose_datagrams_differ_is_never_refused(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100000; i++, now += 250 * MICROSECOND)
        assert_false(is_refused(i));
}

static void a_client_that_repeats_itself_at_the_allowed_rate_is_never_refused(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100000; i++, now += SECOND / LOOPGUARD_ROUNDS_PER_SECOND)
        assert_false(is_refused(7));
}

static void a_client_that_repeats_itself_fast_loses_less_than_one_percent(void **state)
{
    enum { COUNT_SENT = 100000 };
    unsigned refused = 0;

    (void)state;
    for (unsigned i = 0; i < COUNT_SENT; i++, now += MILLISECOND)
        refused += is_refused(7);
    assert_in_range(refused, COUNT_SENT / LOOPGUARD_ODDS / 2, COUNT_SENT / 100);
}

static void equal_datagrams_that_arrive_together_are_no_rounds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 9000; i++)
        assert_false(is_refused(7));
}

static void with_odds_of_1_each_allowance_of_rounds_costs_one_datagram(void **state)
{
    unsigned refused = 0;

    (void)state;
    usual = loopguard_allow(10000, 5000, 1);
    for (unsigned i = 0; i < 1000000; i++, now += 10 * MICROSECOND)
        refused += is_refused(7);
    assert_in_range(refused, 50, 100);
}

static void fingerprints_tell_ports_lengths_and_contents_apart(void **state)
{
    unsigned char data[200] = {0};
    uint32_t own = loopguard_fingerprint(5000, data, 100);

    (void)state;
    assert_int_equal(loopguard_fingerprint(5000, data, 100), own);
    assert_int_not_equal(loopguard_fingerprint(5001, data, 100), own);
    assert_int_not_equal(loopguard_fingerprint(5000, data, 99), own);
    for (unsigned i = 0; i < 100; i++)
        if (i < 32 || i >= 68) {
            data[i] = 1;
            assert_int_not_equal(loopguard_fingerprint(5000, data, 100), own);
            data[i] = 0;
        }
    for (unsigned length = 0; length < 64; length++)
        for (unsigned i = 0; i < length; i++) {
            own = loopguard_fingerprint(5000, data, length);
            data[i] = 1;
            assert_int_not_equal(loopguard_fingerprint(5000, data, length), own);
            data[i] = 0;
        }
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_listed_ports_added_ports_and_port_0_are_refused),
        TEST(a_ttl_tells_replies_up_to_40_hops_away_from_all_other_senders),
        TEST(a_fast_loop_of_one_datagram_ends_within_two_seconds),
        TEST(loops_of_many_datagrams_and_long_round_trips_end),
        TEST(a_client_whose_datagrams_differ_is_never_refused),
        TEST(a_client_that_repeats_itself_at_the_allowed_rate_is_never_refused),
        TEST(a_client_that_repeats_itself_fast_loses_less_than_one_percent),
        TEST(equal_datagrams_that_arrive_together_are_no_rounds),
        TEST(with_odds_of_1_each_allowance_of_rounds_costs_one_datagram),
        TEST(fingerprints_tell_ports_lengths_and_contents_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
