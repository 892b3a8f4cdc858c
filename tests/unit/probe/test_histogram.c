/* SPDX-License-Identifier: ISC */
#include "probe/histogram.h"

#include <math.h>

#include "unit/unit.h"

static struct histogram histogram;

static int set_up(void **state)
{
    (void)state;
    memset(&histogram, 0, sizeof histogram);
    return 0;
}

static void small_values_have_a_bucket_each(void **state)
{
    (void)state;
    for (unsigned value = 0; value < 128; value++) {
        assert_int_equal(histogram_bucket(value), value);
        assert_int_equal(histogram_low(value), value);
    }
}

static void buckets_follow_each_other_without_gap_or_overlap(void **state)
{
    (void)state;
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t low = histogram_low(bucket);
        uint64_t next = histogram_low(bucket + 1);

        assert_true(next > low);
        assert_int_equal(histogram_bucket(low), bucket);
        assert_int_equal(histogram_bucket(next - 1), bucket);
    }
}

static void no_bucket_is_wider_than_a_64th_of_its_values(void **state)
{
    (void)state;
    for (unsigned bucket = 128; bucket < HISTOGRAM_BUCKETS; bucket++) {
        uint64_t low = histogram_low(bucket);

        assert_true((histogram_low(bucket + 1) - low) * 64 <= low);
    }
}

static void everything_from_2_to_the_42_on_is_in_the_last_bucket(void **state)
{
    (void)state;
    assert_true(histogram_low(HISTOGRAM_BUCKETS) == UINT64_C(1) << 42);
    assert_int_equal(histogram_bucket((UINT64_C(1) << 42) - 1), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(UINT64_C(1) << 42), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(UINT64_C(1) << 63), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1);
}

static void every_value_is_counted_once(void **state)
{
    static const uint64_t values[] = {0, 0, 127, 128, 129, 1000000, UINT64_MAX};
    uint64_t sum = 0;

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        histogram_add(&histogram, values[i]);
    for (unsigned bucket = 0; bucket < HISTOGRAM_BUCKETS; bucket++)
        sum += histogram.buckets[bucket];
    assert_int_equal(sum, COUNT(values));
    assert_int_equal(histogram.count, COUNT(values));
    assert_int_equal(histogram.buckets[0], 2);
    assert_int_equal(histogram.buckets[127], 1);
    assert_int_equal(histogram.buckets[128], 2);
    assert_int_equal(histogram.buckets[HISTOGRAM_BUCKETS - 1], 1);
}

static void an_empty_one_has_quantile_0(void **state)
{
    (void)state;
    assert_int_equal(histogram_quantile(&histogram, 0.5), 0);
    assert_int_equal(histogram_quantile(&histogram, 1), 0);
}

/* The examples by which the definition is usually explained. */
static void quantiles_are_by_nearest_rank(void **state)
{
    static const uint64_t values[] = {15, 20, 35, 40, 50};

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        histogram_add(&histogram, values[i]);
    assert_int_equal(histogram_quantile(&histogram, 0), 15);
    assert_int_equal(histogram_quantile(&histogram, 0.05), 15);
    assert_int_equal(histogram_quantile(&histogram, 0.2), 15);
    assert_int_equal(histogram_quantile(&histogram, 0.3), 20);
    assert_int_equal(histogram_quantile(&histogram, 0.4), 20);
    assert_int_equal(histogram_quantile(&histogram, 0.5), 35);
    assert_int_equal(histogram_quantile(&histogram, 1), 50);
}

/* The doubles nearest to 0.07, 0.14 and 0.28 are larger than these, and ceil() sees it. */
static void percents_of_100_values_are_exact(void **state)
{
    (void)state;
    for (unsigned value = 1; value <= 100; value++)
        histogram_add(&histogram, value);
    for (unsigned percent = 1; percent <= 100; percent++)
        assert_int_equal(histogram_quantile(&histogram, percent / 100.0), percent);
    assert_int_equal(histogram_quantile(&histogram, 0.071), 8);
}

static void a_quantile_beyond_0_to_1_is_the_nearest_of_them(void **state)
{
    (void)state;
    histogram_add(&histogram, 3);
    histogram_add(&histogram, 9);
    assert_int_equal(histogram_quantile(&histogram, -1), 3);
    assert_int_equal(histogram_quantile(&histogram, (double)NAN), 3);
    assert_int_equal(histogram_quantile(&histogram, 2), 9);
}

static void a_quantile_is_the_middle_of_its_bucket(void **state)
{
    (void)state;
    histogram_add(&histogram, 1000000);
    /* 2^13 times 122, and 8192 values from there. */
    assert_int_equal(histogram_quantile(&histogram, 0.5), 122 * 8192 + 4095);
    memset(&histogram, 0, sizeof histogram);
    histogram_add(&histogram, UINT64_MAX);
    assert_true(histogram_quantile(&histogram, 1) < UINT64_C(1) << 42);
}

static void counts_may_be_as_large_as_they_can(void **state)
{
    (void)state;
    histogram.count = UINT64_MAX;
    histogram.buckets[5] = UINT64_MAX - 1;
    histogram.buckets[7] = 1;
    assert_int_equal(histogram_quantile(&histogram, 0.999), 5);
    assert_int_equal(histogram_quantile(&histogram, 1), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_values_have_a_bucket_each),
        cmocka_unit_test(buckets_follow_each_other_without_gap_or_overlap),
        cmocka_unit_test(no_bucket_is_wider_than_a_64th_of_its_values),
        cmocka_unit_test(everything_from_2_to_the_42_on_is_in_the_last_bucket),
        cmocka_unit_test_setup(every_value_is_counted_once, set_up),
        cmocka_unit_test_setup(an_empty_one_has_quantile_0, set_up),
        cmocka_unit_test_setup(quantiles_are_by_nearest_rank, set_up),
        cmocka_unit_test_setup(percents_of_100_values_are_exact, set_up),
        cmocka_unit_test_setup(a_quantile_beyond_0_to_1_is_the_nearest_of_them, set_up),
        cmocka_unit_test_setup(a_quantile_is_the_middle_of_its_bucket, set_up),
        cmocka_unit_test_setup(counts_may_be_as_large_as_they_can, set_up),
    };

    return cmocka_run_group_tests_name("histogram", tests, NULL, NULL);
}
