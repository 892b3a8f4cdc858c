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

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(decimals_are_read_in_units_of_their_scale),
        cmocka_unit_test(the_highest_number_is_the_maximum_itself),
    };

    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
