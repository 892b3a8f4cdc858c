/* SPDX-License-Identifier: ISC */
#include "rtt.h"

#include "unit.h"

static void assert_near(double value, double expected)
{
    assert_true(value > expected - 0.001 && value < expected + 0.001);
}

static void empty_is_all_zero(void **state)
{
    struct rtt rtt = {0};

    (void)state;
    assert_near(rtt_mean(&rtt), 0);
    assert_near(rtt_mdev(&rtt), 0);
}

static void one_value_does_not_deviate(void **state)
{
    struct rtt rtt = {0};

    (void)state;
    rtt_add(&rtt, 7);
    assert_int_equal(rtt.count, 1);
    assert_int_equal(rtt.min, 7);
    assert_int_equal(rtt.max, 7);
    assert_near(rtt_mean(&rtt), 7);
    assert_near(rtt_mdev(&rtt), 0);
}

static void mdev_is_that_of_the_whole_population(void **state)
{
    static const uint64_t values[] = {2, 4, 4, 4, 5, 5, 7, 9};
    struct rtt rtt = {0};

    (void)state;
    for (size_t i = 0; i < COUNT(values); i++)
        rtt_add(&rtt, values[i]);
    assert_int_equal(rtt.min, 2);
    assert_int_equal(rtt.max, 9);
    assert_near(rtt_mean(&rtt), 5);
    assert_near(rtt_mdev(&rtt), 2);
}

static void a_minimum_of_zero_stays(void **state)
{
    struct rtt rtt = {0};

    (void)state;
    rtt_add(&rtt, 0);
    rtt_add(&rtt, 5);
    assert_int_equal(rtt.min, 0);
}

/* A sum of squares would have lost these digits: 10^12 squared leaves no room for them in a double.
 */
static void long_times_that_differ_little_keep_their_digits(void **state)
{
    struct rtt rtt = {0};

    (void)state;
    for (uint64_t i = 0; i < 1000000; i++)
        rtt_add(&rtt, UINT64_C(1000000000000) + i % 2 * 2);
    assert_true(rtt_mean(&rtt) > 1e12 && rtt_mean(&rtt) < 1e12 + 2);
    assert_true(rtt_mdev(&rtt) > 0.99 && rtt_mdev(&rtt) < 1.01);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_all_zero),
        cmocka_unit_test(one_value_does_not_deviate),
        cmocka_unit_test(mdev_is_that_of_the_whole_population),
        cmocka_unit_test(a_minimum_of_zero_stays),
        cmocka_unit_test(long_times_that_differ_little_keep_their_digits),
    };

    return cmocka_run_group_tests_name("rtt", tests, NULL, NULL);
}
