/* SPDX-License-Identifier: ISC */
#include "common/metrics_text.h"

#include <stdio.h>

#include "unit/unit.h"

static char text[1024];
static FILE *out;

static int set_up(void **state)
{
    (void)state;
    memset(text, 0, sizeof text);
    out = fmemopen(text, sizeof text, "w");
    return out ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    return fclose(out);
}

static void a_family_is_two_lines_and_then_its_samples(void **state)
{
    const struct metrics_label labels[] = {{"protocol", "udp"}, {"worker", "0"}};

    (void)state;
    metrics_family(out, "echod_echoes_total", "counter", "Echoes.");
    metrics_sample(out, "echod_echoes_total", NULL, 0, 7);
    metrics_sample(out, "echod_echoes_total", labels, 1, 0);
    metrics_sample(out, "echod_echoes_total", labels, 2, 1);
    fflush(out);
    assert_string_equal(text, "# HELP echod_echoes_total Echoes.\n"
                              "# TYPE echod_echoes_total counter\n"
                              "echod_echoes_total 7\n"
                              "echod_echoes_total{protocol=\"udp\"} 0\n"
                              "echod_echoes_total{protocol=\"udp\",worker=\"0\"} 1\n");
}

static void what_the_format_reserves_is_escaped(void **state)
{
    const struct metrics_label label = {"name", "a\\b \"c\"\nd"};

    (void)state;
    metrics_family(out, "m", "gauge", "a\\b \"c\"\nd");
    metrics_sample(out, "m", &label, 1, 1);
    fflush(out);
    assert_string_equal(text, "# HELP m a\\\\b \"c\"\\nd\n"
                              "# TYPE m gauge\n"
                              "m{name=\"a\\\\b \\\"c\\\"\\nd\"} 1\n");
}

static void whole_numbers_are_exact_and_fractions_are_near(void **state)
{
    (void)state;
    metrics_sample(out, "m", NULL, 0, 9007199254740992.0);
    metrics_sample(out, "m", NULL, 0, 0.00005);
    metrics_sample(out, "m", NULL, 0, -1.5);
    fflush(out);
    assert_string_equal(text, "m 9007199254740992\nm 5e-05\nm -1.5\n");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_family_is_two_lines_and_then_its_samples),
        TEST(what_the_format_reserves_is_escaped),
        TEST(whole_numbers_are_exact_and_fractions_are_near),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
