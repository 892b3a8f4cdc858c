/* SPDX-License-Identifier: ISC */
#include "probe/rtt.h"

#include "unit/unit.h"

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))

static int set_up(void **state)
{
    struct rtt *rtt = test_malloc(sizeof *rtt);

    script_clear(&calloc_script);
    rtt_init(rtt);
    assert_non_null(rtt->histogram);
    *state = rtt;
    return 0;
}

static int tear_down(void **state)
{
    rtt_fini(*state);
    test_free(*state);
    return 0;
}

#define ADD(rtt, ...)                                                                              \
    add_all((rtt), (const uint64_t[]){__VA_ARGS__}, COUNT(((const uint64_t[]){__VA_ARGS__})))

static void add_all(struct rtt *rtt, const uint64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        rtt_add(rtt, values[i]);
}

static void assert_near(double value, double expected)
{
    assert_true(value > expected - 0.001 && value < expected + 0.001);
}

static void empty_is_all_zero(void **state)
{
    struct rtt *rtt = *state;

    assert_near(rtt_mean(rtt), 0);
    assert_near(rtt_mdev(rtt), 0);
    assert_near(rtt_jitter(rtt), 0);
    assert_near(rtt_ipdv(rtt), 0);
    assert_int_equal(rtt_quantile(rtt, 0), 0);
    assert_int_equal(rtt_quantile(rtt, 0.5), 0);
    assert_int_equal(rtt_quantile(rtt, 1), 0);
}

static void one_value_does_not_deviate(void **state)
{
    struct rtt *rtt = *state;

    ADD(rtt, 1000003);
    assert_int_equal(rtt->count, 1);
    assert_int_equal(rtt->min, 1000003);
    assert_int_equal(rtt->max, 1000003);
    assert_int_equal(rtt->latest, 1000003);
    assert_near(rtt_mean(rtt), 1000003);
    assert_near(rtt_mdev(rtt), 0);
    assert_near(rtt_jitter(rtt), 0);
    assert_near(rtt_ipdv(rtt), 0);
    assert_int_equal(rtt_quantile(rtt, 0.5), 1000003);
}

static void mdev_is_that_of_the_whole_population(void **state)
{
    struct rtt *rtt = *state;

    ADD(rtt, 2, 4, 4, 4, 5, 5, 7, 9);
    assert_int_equal(rtt->min, 2);
    assert_int_equal(rtt->max, 9);
    assert_near(rtt_mean(rtt), 5);
    assert_near(rtt_mdev(rtt), 2);
}

static void a_minimum_of_zero_stays(void **state)
{
    struct rtt *rtt = *state;

    ADD(rtt, 0, 5);
    assert_int_equal(rtt->min, 0);
}

/* A sum of squares would have lost these digits: 10^12 squared leaves no room for them in a double.
 */
static void long_times_that_differ_little_keep_their_digits(void **state)
{
    struct rtt *rtt = *state;

    for (uint64_t i = 0; i < 1000000; i++)
        rtt_add(rtt, UINT64_C(1000000000000) + i % 2 * 2);
    assert_true(rtt_mean(rtt) > 1e12 && rtt_mean(rtt) < 1e12 + 2);
    assert_true(rtt_mdev(rtt) > 0.99 && rtt_mdev(rtt) < 1.01);
}

static void jitter_moves_by_a_16th_of_the_difference(void **state)
{
    struct rtt *rtt = *state;

    ADD(rtt, 1000, 1160, 1000);
    /* |D| is 160 both times: 160/16, and then (160 - 10)/16 more. */
    assert_near(rtt_jitter(rtt), 10 + 150 / 16.0);
    for (uint64_t i = 0; i < 1000; i++)
        rtt_add(rtt, 1000);
    assert_near(rtt_jitter(rtt), 0);
}

static void ipdv_is_the_mean_difference_of_pairs(void **state)
{
    struct rtt *rtt = *state;

    rtt_add_pair(rtt, 100, 130);
    rtt_add_pair(rtt, 200, 190);
    assert_int_equal(rtt->variations, 2);
    assert_near(rtt_ipdv(rtt), (30 + 10) / 2.0);
    assert_near(rtt_jitter(rtt), 0);
}

static void quantiles_stay_between_minimum_and_maximum(void **state)
{
    struct rtt *rtt = *state;

    /* All in one bucket, whose middle is 122 * 8192 + 4095 = 1003519. */
    ADD(rtt, 1000001, 1000002, 1000003);
    assert_int_equal(rtt_quantile(rtt, 0), 1000001);
    assert_int_equal(rtt_quantile(rtt, 0.5), 1000003);
    assert_int_equal(rtt_quantile(rtt, 1), 1000003);
    ADD(rtt, 1007000);
    assert_int_equal(rtt_quantile(rtt, 0.5), 1003519);
    assert_int_equal(rtt_quantile(rtt, 1), 1007000);
    rtt_fini(rtt);
    rtt_init(rtt);
    ADD(rtt, 1004000, 1005000);
    assert_int_equal(rtt_quantile(rtt, 0), 1004000);
    assert_int_equal(rtt_quantile(rtt, 0.5), 1004000);
}

static void quantiles_are_within_a_64th(void **state)
{
    struct rtt *rtt = *state;

    for (uint64_t i = 1; i <= 100000; i++)
        rtt_add(rtt, i * 1000);
    for (unsigned permille = 1; permille <= 1000; permille++) {
        uint64_t value = rtt_quantile(rtt, permille / 1000.0);
        uint64_t exact = permille * UINT64_C(100000);

        assert_in_range(value, exact - exact / 64, exact + exact / 64);
    }
}

static void the_largest_times_overflow_nothing(void **state)
{
    struct rtt *rtt = *state;

    ADD(rtt, UINT64_MAX, 0, UINT64_MAX, UINT64_MAX);
    rtt_add_pair(rtt, UINT64_MAX, 0);
    rtt_add_pair(rtt, 0, UINT64_MAX);
    assert_true(rtt->max == UINT64_MAX);
    assert_int_equal(rtt->min, 0);
    assert_true(rtt_jitter(rtt) > 0 && rtt_jitter(rtt) < 0x1p64);
    assert_true(rtt_ipdv(rtt) > 1e19 && rtt_ipdv(rtt) <= 0x1p64);
    assert_true(rtt_mdev(rtt) > 0 && rtt_mdev(rtt) < 0x1p64);
    assert_true(rtt_quantile(rtt, 1) == UINT64_MAX);
}

static void without_memory_only_the_quantiles_are_missing(void **state)
{
    struct rtt rtt;

    (void)state;
    SCRIPT(calloc_script, -ENOMEM);
    rtt_init(&rtt);
    assert_null(rtt.histogram);
    ADD(&rtt, 10, 30);
    assert_near(rtt_mean(&rtt), 20);
    assert_int_equal(rtt.max, 30);
    assert_int_equal(rtt_quantile(&rtt, 0.5), 0);
    rtt_fini(&rtt);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(empty_is_all_zero),
        TEST(one_value_does_not_deviate),
        TEST(mdev_is_that_of_the_whole_population),
        TEST(a_minimum_of_zero_stays),
        TEST(long_times_that_differ_little_keep_their_digits),
        TEST(jitter_moves_by_a_16th_of_the_difference),
        TEST(ipdv_is_the_mean_difference_of_pairs),
        TEST(quantiles_stay_between_minimum_and_maximum),
        TEST(quantiles_are_within_a_64th),
        TEST(the_largest_times_overflow_nothing),
        TEST(without_memory_only_the_quantiles_are_missing),
    };
#undef TEST

    return cmocka_run_group_tests_name("rtt", tests, NULL, NULL);
}
