/* SPDX-License-Identifier: ISC */
#include "tools/cli.h"

#include <stdio.h>

#include "unit/unit.h"

/* exit(3) comes back here, with its status. */
static jmp_buf left;
static int status;

_Noreturn void __wrap_exit(int value);
_Noreturn void __wrap_exit(int value)
{
    status = value;
    longjmp(left, 1);
}

static const struct cli cli = {.prefix = "program: ", .hint = "Try it.\n", .status = 42};

/* What was said on standard error while `call` was made, which must have left with the status;
 * NULL: it came back. */
static char said[1000];
#define REFUSAL(call) (begin(), setjmp(left) == 0 ? ((void)(call), finish(false)) : finish(true))

static FILE *real_stderr;
static char *text;
static size_t text_size;

static void begin(void)
{
    status = -1;
    real_stderr = stderr;
    stderr = open_memstream(&text, &text_size);
    assert_non_null(stderr);
}

static const char *finish(bool exited)
{
    fclose(stderr);
    stderr = real_stderr;
    snprintf(said, sizeof said, "%s", text);
    free(text);
    if (!exited)
        return NULL;
    assert_int_equal(status, 42);
    return said;
}

static void whole_numbers_are_taken_within_their_limits(void **state)
{
    (void)state;
    assert_int_equal(cli_number(&cli, "-c", "1", 1, 10), 1);
    assert_int_equal(cli_number(&cli, "-c", "10", 1, 10), 10);
    assert_int_equal(cli_number(&cli, "-c", "007", 1, 10), 7);
    assert_int_equal(cli_number(&cli, "-c", "0", 0, 10), 0);
    assert_int_equal(cli_number(&cli, "-c", "4294967295", 1, UINT32_MAX), UINT32_MAX);
}

static void other_numbers_are_refused_by_name(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "0x1",
                                      "1.0",
                                      "0",
                                      "11",
                                      "a",
                                      "1a",
                                      "1e1",
                                      "99999999999999999999999999"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char expected[200];

        snprintf(expected, sizeof expected,
                 "program: -c '%s': a whole number from 1 to 10 is allowed\nTry it.\n", bad[i]);
        assert_non_null(REFUSAL(cli_number(&cli, "-c", bad[i], 1, 10)));
        assert_string_equal(said, expected);
    }
}

static uint64_t seconds(const char *value)
{
    return cli_seconds(&cli, "-i", value, 1000000, 100000000 * SECOND);
}

static void seconds_are_decimal(void **state)
{
    (void)state;
    assert_int_equal(seconds("1"), SECOND);
    assert_int_equal(seconds("1."), SECOND);
    assert_int_equal(seconds(".5"), SECOND / 2);
    assert_int_equal(seconds("0.25"), SECOND / 4);
    assert_int_equal(seconds("0.001"), 1000000);
    assert_int_equal(seconds("2.000000001"), 2 * SECOND + 1);
    assert_int_equal(seconds("2.0000000019"), 2 * SECOND + 1);
    assert_int_equal(seconds("100000000"), 100000000 * SECOND);
}

static void other_seconds_are_refused_by_name(void **state)
{
    static const char *const bad[] = {
        "",    ".",   "0",    "-1",        "+1",  " 1",
        "1,5", "1 s", "1e-3", "0.0009999", "inf", "100000000.000000001",
        "0x1", "1..", "nan",  "100000001", "1s",  "18446744073709551616"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char expected[200];

        snprintf(expected, sizeof expected,
                 "program: -i '%s': seconds from 0.001 to 100000000 are allowed, as in 0.5\n"
                 "Try it.\n",
                 bad[i]);
        assert_non_null(REFUSAL(seconds(bad[i])));
        assert_string_equal(said, expected);
    }
}

static void decimals_say_what_follows(void **state)
{
    const char *const number = "12.34%";
    uint64_t value;

    (void)state;
    assert_ptr_equal(cli_decimal(number, 100, 100000, &value), number + 5);
    assert_int_equal(value, 1234);
    assert_int_equal(*cli_decimal("5,6", 1000, 100000, &value), ',');
    assert_int_equal(value, 5000);
    assert_null(cli_decimal("%", 100, 100000, &value));
    assert_null(cli_decimal("", 100, 100000, &value));
    assert_null(cli_decimal(".", 100, 100000, &value));
}

static void large_decimals_are_more_than_the_maximum(void **state)
{
    uint64_t value;

    (void)state;
    assert_non_null(cli_decimal("100.00", 100, 10000, &value));
    assert_int_equal(value, 10000);
    assert_non_null(cli_decimal("100.01", 100, 10000, &value));
    assert_int_equal(value, 10001);
    assert_non_null(cli_decimal("99999999999999999999999999.9", 100, 10000, &value));
    assert_int_equal(value, 10001);
    assert_non_null(cli_decimal("100.5", 100, 10049, &value));
    assert_int_equal(value, 10050);
}

static void types_of_service_are_decimal_or_hexadecimal(void **state)
{
    static const char *const bad[] = {"", "256", "0x100", "0x", "x10", "-1", "1.0", "0xg0"};

    (void)state;
    assert_int_equal(cli_tos(&cli, "-Q", "0"), 0);
    assert_int_equal(cli_tos(&cli, "-Q", "255"), 255);
    assert_int_equal(cli_tos(&cli, "-Q", "0xB8"), 0xb8);
    assert_int_equal(cli_tos(&cli, "-Q", "0Xff"), 0xff);
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_non_null(REFUSAL(cli_tos(&cli, "-Q", bad[i])));
    assert_string_equal(said,
                        "program: -Q '0xg0': 0 to 255, or 0x0 to 0xff, is allowed\nTry it.\n");
}

static const struct probe_ops stream = {.name = "tcp", .type = SOCK_STREAM};
static const struct probe_ops datagram = {.name = "udp", .type = SOCK_DGRAM};

static void sizes_are_those_of_the_protocol(void **state)
{
    (void)state;
    assert_int_equal(cli_size(&cli, "-s", "0", &datagram, AF_UNSPEC), 0);
    assert_int_equal(cli_size(&cli, "-s", "65507", &datagram, AF_INET), 65507);
    assert_int_equal(cli_size(&cli, "-s", "65527", &datagram, AF_INET6), 65527);
    assert_non_null(REFUSAL(cli_size(&cli, "-s", "65508", &datagram, AF_INET)));
    assert_non_null(strstr(said, "-s for udp over IPv4 '65508'"));
    assert_non_null(REFUSAL(cli_size(&cli, "-s", "65528", &datagram, AF_INET6)));
    assert_non_null(strstr(said, "-s for udp over IPv6 '65528'"));
    assert_non_null(REFUSAL(cli_size(&cli, "-s", "65528", &datagram, AF_UNSPEC)));
    assert_non_null(strstr(said, "-s for udp '65528'"));
    assert_non_null(REFUSAL(cli_size(&cli, "-s", "0", &stream, AF_INET)));
    assert_non_null(strstr(said, "-s for tcp '0'"));
}

static void refusals_end_with_the_hint(void **state)
{
    (void)state;
    assert_non_null(REFUSAL(cli_refuse(&cli, "%d of %s", 1, "2")));
    assert_string_equal(said, "program: 1 of 2\nTry it.\n");
    assert_non_null(REFUSAL(cli_refuse_option(&cli)));
    assert_string_equal(said, "Try it.\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_numbers_are_taken_within_their_limits),
        cmocka_unit_test(other_numbers_are_refused_by_name),
        cmocka_unit_test(seconds_are_decimal),
        cmocka_unit_test(other_seconds_are_refused_by_name),
        cmocka_unit_test(decimals_say_what_follows),
        cmocka_unit_test(large_decimals_are_more_than_the_maximum),
        cmocka_unit_test(types_of_service_are_decimal_or_hexadecimal),
        cmocka_unit_test(sizes_are_those_of_the_protocol),
        cmocka_unit_test(refusals_end_with_the_hint),
    };

    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
