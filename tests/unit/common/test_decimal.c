/* SPDX-License-Identifier: ISC */
#include "common/decimal.h"

#include "unit/unit.h"

static void decimals_are_read_in_units_of_their_scale(void **state)
{
    static const struct {
        const char *text;
        const char *rest; /* NULL: it is no number */
        uint64_t value;   /* hundredths, at most 10000 */
    } cases[] = {
        {"1", "", 100},        {"1.", "", 100},       {".5", "", 50},
        {"12.34%", "%", 1234}, {"0.019", "", 1},      {"5,6", ",6", 500},
        {"100.00", "", 10000}, {"100.01", "", 10001}, {"99999999999999999999.9", "", 10001},
        {"1..2", ".2", 100},   {"%", NULL, 0},        {"", NULL, 0},
        {".", NULL, 0},        {"-1", NULL, 0},       {" 1", NULL, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t value;
        const char *rest = parse_decimal(cases[i].text, 100, 10000, &value);

        if (!cases[i].rest) {
            assert_null(rest);
            continue;
        }
        assert_string_equal(rest, cases[i].rest);
        assert_int_equal(value, cases[i].value);
    }
}

static void the_highest_number_is_the_maximum_itself(void **state)
{
    uint64_t value;

    (void)state;
    assert_non_null(parse_decimal("100.5", 100, 10049, &value));
    assert_int_equal(value, 10050);
}

static void a_percentage_is_0_or_100_only_if_exact(void **state)
{
    static const struct {
        uint64_t part;
        uint64_t whole;
        unsigned digits;
        const char *text;
    } cases[] = {
        {0, 7, 6, "0"},
        {7, 7, 6, "100"},
        {1, 2, 6, "50"},
        {2, 3, 6, "66.6667"},
        {2, 3, 3, "66.7"},
        {1, 1200000, 6, "0.0000833333"},
        {1199999, 1200000, 6, "99.99992"},
        {999, 1000, 2, "99.9"},
        {9999, 10000, 1, "99.99"},
        {1, UINT64_C(10000000000000), 6, "0.00000000001"},
        {UINT64_C(9999999999999), UINT64_C(10000000000000), 6, "99.99999999999"},
        {9, 100, 1, "9"},
        {10, 100, 2, "10"},
    };
    char text[DECIMAL_SIZE];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(print_percent(cases[i].part, cases[i].whole, cases[i].digits, text),
                            cases[i].text);
}

static void times_are_plain_decimals_at_any_magnitude(void **state)
{
    char text[DECIMAL_SIZE];

    (void)state;
    assert_string_equal(print_milliseconds(0, text), "0.000");
    assert_string_equal(print_milliseconds(1, text), "0.000001");
    assert_string_equal(print_milliseconds(400, text), "0.0004");
    assert_string_equal(print_milliseconds(500.5, text), "0.001");
    assert_string_equal(print_milliseconds(22000, text), "0.022");
    assert_string_equal(print_milliseconds(1e17, text), "100000000000.000");
    assert_string_equal(print_seconds(10000000000, text), "10");
    assert_string_equal(print_seconds(250000000, text), "0.25");
    assert_string_equal(print_seconds(UINT64_C(100000000000000001), text), "100000000.000000001");
    assert_string_equal(print_decimal(2.345, 2, text), "2.35");
    assert_string_equal(print_decimal(0.004, 2, text), "0.004");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_read_in_units_of_their_scale),
        cmocka_unit_test(a_percentage_is_0_or_100_only_if_exact),
        cmocka_unit_test(times_are_plain_decimals_at_any_magnitude),
        cmocka_unit_test(the_highest_number_is_the_maximum_itself),
    };

    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
