/* SPDX-License-Identifier: ISC */
#include "tools/thresholds.h"

#include <stdio.h>

#include "unit/unit.h"

#define MILLISECOND UINT64_C(1000000)

static void thresholds_are_milliseconds_and_percent(void **state)
{
    static const struct {
        const char *text;
        uint64_t rta;
        unsigned loss;
    } cases[] = {{"100.0,20%", 100 * MILLISECOND, 2000},
                 {"100,20", 100 * MILLISECOND, 2000},
                 {"0,0%", 0, 0},
                 {".5,.25%", MILLISECOND / 2, 25},
                 {"0.000001,0.01%", 1, 1},
                 {"3600000,100%", THRESHOLD_MAX_RTA, THRESHOLD_ALL_LOST}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct threshold threshold;

        assert_true(threshold_parse(cases[i].text, &threshold));
        assert_int_equal(threshold.rta, cases[i].rta);
        assert_int_equal(threshold.loss, cases[i].loss);
    }
}

static void other_thresholds_are_refused(void **state)
{
    static const char *const bad[] = {"",          ",",           "100",
                                      "100,",      ",20%",        "100,%",
                                      "100%,20",   "100;20%",     "100,20%%",
                                      "100,20% ",  " 100,20%",    "-1,20%",
                                      "100,-1%",   "100,100.01%", "3600000.1,1",
                                      "100ms,20%", "100,20%,x",   "1e2,20%",
                                      "100, 20%",  "100,20x",     "99999999999999999999,1"};
    struct threshold threshold;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(threshold_parse(bad[i], &threshold));
}

static const struct threshold warning = {.rta = 100 * MILLISECOND, .loss = 2000};
static const struct threshold critical = {.rta = 200 * MILLISECOND, .loss = 4000};

static void states_begin_at_their_thresholds(void **state)
{
    static const struct {
        double ms;
        double loss;
        enum threshold_state expected;
    } cases[] = {{0, 0, STATE_OK},        {99.9, 19.9, STATE_OK},       {100, 0, STATE_WARNING},
                 {0, 20, STATE_WARNING},  {199.9, 39.9, STATE_WARNING}, {200, 0, STATE_CRITICAL},
                 {0, 40, STATE_CRITICAL}, {100, 40, STATE_CRITICAL},    {200, 20, STATE_CRITICAL}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct threshold_result result = {.rta = cases[i].ms * MILLISECOND,
                                                .sent = 1000,
                                                .lost = (uint64_t)(10 * cases[i].loss + 0.5)};

        assert_int_equal(threshold_judge(&result, &warning, &critical), cases[i].expected);
    }
}

static void nothing_at_all_is_critical(void **state)
{
    const struct threshold never = {.rta = THRESHOLD_MAX_RTA, .loss = THRESHOLD_ALL_LOST};
    const struct threshold_result nothing = {.rta = -1, .sent = 1};

    (void)state;
    assert_int_equal(threshold_judge(&nothing, &never, &never), STATE_CRITICAL);
}

static void states_have_their_names_and_statuses(void **state)
{
    (void)state;
    assert_string_equal(threshold_state_name(0), "OK");
    assert_string_equal(threshold_state_name(1), "WARNING");
    assert_string_equal(threshold_state_name(2), "CRITICAL");
    assert_string_equal(threshold_state_name(3), "UNKNOWN");
    assert_int_equal(STATE_UNKNOWN, 3);
}

static void assert_performance(double rta, uint64_t sent, uint64_t lost,
                               const struct threshold *from, const char *expected)
{
    const struct threshold_result result = {.rta = rta, .sent = sent, .lost = lost};
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);

    assert_non_null(out);
    threshold_performance(out, &result, from, &critical);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void performance_data_is_that_of_check_icmp(void **state)
{
    const struct threshold fine = {.rta = 1500, .loss = 25};

    (void)state;
    assert_performance(9000, 5, 0, &warning, "rta=0.009ms;100.000;200.000;0; pl=0%;20;40;0;100");
    assert_performance(12345678, 3, 1, &warning,
                       "rta=12.346ms;100.000;200.000;0; pl=33.33%;20;40;0;100");
    assert_performance(0, 5, 1, &fine, "rta=0.000ms;0.002;200.000;0; pl=20%;0.25;40;0;100");
    assert_performance(-1, 0, 0, &warning, "rta=U;100.000;200.000;0; pl=100%;20;40;0;100");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_milliseconds_and_percent),
        cmocka_unit_test(other_thresholds_are_refused),
        cmocka_unit_test(states_begin_at_their_thresholds),
        cmocka_unit_test(nothing_at_all_is_critical),
        cmocka_unit_test(states_have_their_names_and_statuses),
        cmocka_unit_test(performance_data_is_that_of_check_icmp),
    };

    return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
