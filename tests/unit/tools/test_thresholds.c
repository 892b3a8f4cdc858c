/* SPDX-License-Identifier: ISC */
#include "tools/thresholds.h"

#include <stdio.h>

#include "common/clock.h"
#include "unit/unit.h"

static void thresholds_are_milliseconds_and_percent_or_ranges_of_them(void **state)
{
    static const struct {
        const char *text;
        const char *printed;
    } cases[] = {
        {"100.0,20%", "100.000,20%"},         {"100,20", "100.000,20%"},
        {".5,.25%", "0.500,0.25%"},           {"0.000001,0.01%", "0.000001,0.01%"},
        {"3600000,100%", "3600000.000,100%"}, {"100", "100.000"},
        {"100:200", "100.000:200.000"},       {"100:", "100.000:"},
        {"~:0.0015", "0.000:0.0015"},         {"@10:20,@1%:2%", "@10.000:20.000,@1:2%"},
        {"@10,5:", "@0.000:10.000,5:%"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct threshold threshold;
        char text[THRESHOLD_TEXT];

        assert_true(threshold_parse(cases[i].text, &threshold));
        assert_string_equal(threshold_print(&threshold, text), cases[i].printed);
    }
}

static void other_thresholds_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      ",",
                                      "100,",
                                      ",20%",
                                      "100,%",
                                      "100%,20",
                                      "100;20%",
                                      "100,20%%",
                                      "100,20% ",
                                      " 100,20%",
                                      "-1,20%",
                                      "100,-1%",
                                      "100,100.01%",
                                      "3600000.1,1",
                                      "100ms,20%",
                                      "100,20%,x",
                                      "1e2,20%",
                                      "100, 20%",
                                      "100,20x",
                                      "20:10",
                                      "@20:10",
                                      "~",
                                      "@",
                                      ":",
                                      "1:2:3",
                                      "1,~",
                                      "1:~",
                                      "1:3600000.1",
                                      "99999999999999999999,1"};
    struct threshold threshold;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++)
        if (threshold_parse(bad[i], &threshold))
            fail_msg("'%s' is accepted", bad[i]);
}

static struct threshold parsed(const char *text)
{
    struct threshold threshold;

    assert_true(threshold_parse(text, &threshold));
    return threshold;
}

static void states_begin_at_their_thresholds(void **state)
{
    static const struct {
        const char *warning;
        const char *critical;
        double ms;
        unsigned lost; /* of 1000 */
        enum threshold_state expected;
    } cases[] = {
        {"100,20", "200,40", 0, 0, STATE_OK},
        {"100,20", "200,40", 99.9, 199, STATE_OK},
        {"100,20", "200,40", 100, 0, STATE_WARNING},
        {"100,20", "200,40", 0, 200, STATE_WARNING},
        {"100,20", "200,40", 199.9, 399, STATE_WARNING},
        {"100,20", "200,40", 200, 0, STATE_CRITICAL},
        {"100,20", "200,40", 100, 400, STATE_CRITICAL},
        {"100", "200", 0, 999, STATE_OK},
        {"10:20", "200", 10, 0, STATE_OK},
        {"10:20", "200", 20, 0, STATE_OK},
        {"10:20", "200", 9.9, 0, STATE_WARNING},
        {"10:20", "200", 20.1, 0, STATE_WARNING},
        {"10:", "200", 1e6, 0, STATE_CRITICAL},
        {"@10:20", "200", 9.9, 0, STATE_OK},
        {"@10:20", "200", 10, 0, STATE_WARNING},
        {"@10:20", "200", 20, 0, STATE_WARNING},
        {"@10:20", "200", 20.1, 0, STATE_OK},
        {"100,@5:10", "200,50:", 0, 500, STATE_OK},
        {"100,@5:10", "200,~:50", 0, 501, STATE_CRITICAL},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct threshold warning = parsed(cases[i].warning);
        const struct threshold critical = parsed(cases[i].critical);
        const struct threshold_result result = {
            .rta = cases[i].ms * MILLISECOND, .sent = 1000, .lost = cases[i].lost};

        assert_int_equal(threshold_judge(&result, &warning, &critical), cases[i].expected);
    }
}

static void a_warning_later_than_critical_is_a_contradiction(void **state)
{
    static const struct {
        const char *warning;
        const char *critical;
        bool contradict;
    } cases[] = {{"100,20", "200,40", false}, {"100,20", "100,20", false},
                 {"201,20", "200,40", true},  {"100,41", "200,40", true},
                 {"300:400", "200", false},   {"300", "200:", false},
                 {"300", "400,1", false}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct threshold warning = parsed(cases[i].warning);
        const struct threshold critical = parsed(cases[i].critical);

        assert_int_equal(threshold_contradict(&warning, &critical), cases[i].contradict);
    }
}

static void nothing_at_all_is_critical(void **state)
{
    const struct threshold never = parsed("3600000,100%");
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

static void performance_data_is_that_of_check_icmp(void **state)
{
    static const struct {
        struct threshold_result result;
        const char *warning;
        const char *expected;
    } cases[] = {
        {{9000, 5, 0}, "100,20", "rta=0.009ms;100.000;200.000;0; pl=0%;20;40;0;100"},
        {{12345678, 3, 1}, "100,20", "rta=12.346ms;100.000;200.000;0; pl=33.33%;20;40;0;100"},
        {{0, 5, 1}, "0.0015,0.25", "rta=0.000ms;0.0015;200.000;0; pl=20%;0.25;40;0;100"},
        {{-1, 0, 0}, "100", "rta=U;100.000;200.000;0; pl=100%;;40;0;100"},
        {{9000, 30000, 1},
         "1:2,@0:5",
         "rta=0.009ms;1.000:2.000;200.000;0; pl=0.003333%;@0:5;40;0;100"},
    };
    const struct threshold critical = parsed("200,40");

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        const struct threshold warning = parsed(cases[i].warning);
        char text[200] = "";
        FILE *out = fmemopen(text, sizeof text, "w");

        assert_non_null(out);
        threshold_performance(out, &cases[i].result, &warning, &critical);
        fclose(out);
        assert_string_equal(text, cases[i].expected);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(thresholds_are_milliseconds_and_percent_or_ranges_of_them),
        cmocka_unit_test(other_thresholds_are_refused),
        cmocka_unit_test(states_begin_at_their_thresholds),
        cmocka_unit_test(a_warning_later_than_critical_is_a_contradiction),
        cmocka_unit_test(nothing_at_all_is_critical),
        cmocka_unit_test(states_have_their_names_and_statuses),
        cmocka_unit_test(performance_data_is_that_of_check_icmp),
    };

    return cmocka_run_group_tests_name("plugin", tests, NULL, NULL);
}
