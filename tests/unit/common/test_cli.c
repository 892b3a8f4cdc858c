/* SPDX-License-Identifier: ISC */
#include "common/cli.h"

#include <getopt.h>
#include <stdio.h>

#include "common/clock.h"
#include "unit/unit.h"

struct values {
    uint64_t count;
    uint64_t wait;
    const char *text;
    uint32_t links;
    uint16_t port;
    bool quiet;
};

static void take_even(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target)
{
    char name[CLI_NAME];

    if ((value[0] - '0') % 2 != 0)
        cli_refuse_value(cli, cli_option_name(option, name), value, option->text);
    *(uint64_t *)target = 2;
}

static const struct cli_option table[] = {
    {'c', "count", "N", "stop after N", CLI_NUMBER(struct values, count, 1, 10)},
    {'i', NULL, "SEC", "seconds\nbetween two",
     CLI_SECONDS(struct values, wait, MILLISECOND, 100 * SECOND)},
    {'\0', "text", "TEXT", "a text", CLI_TEXT(struct values, text)},
    {'\0', "links", "N", "32 bits", CLI_NUMBER(struct values, links, 0, UINT32_MAX)},
    {'\0', "port", "PORT", "16 bits", CLI_NUMBER(struct values, port, 1, 65535)},
    {'q', "quiet", NULL, "say little", CLI_FLAG(struct values, quiet)},
    {'e', "even", "N", NULL, .take = take_even, .text = "an even number is allowed",
     CLI_MEMBER(struct values, count)},
    {'V', "version", NULL, "print the version", .take = cli_take_version},
    {'h', "help", NULL, "print this", .take = cli_take_help},
};

static const struct cli cli = {
    .prefix = "program: ",
    .hint = "Try it.\n",
    .version = "program 1",
    .usage = "Usage: program\n\n",
    .footer = "\nSee program(1).\n",
    .refused = 42,
    .informed = 43,
    .unwritten = 44,
    .options = table,
    .count = COUNT(table),
};

/* ---- a command line, and what it comes to ---- */

/* exit(3) comes back here. */
static jmp_buf left;
static int status;

_Noreturn void __wrap_exit(int value);
_Noreturn void __wrap_exit(int value)
{
    status = value;
    longjmp(left, 1);
}

/* A refusal ends the program, so cli.c frees nothing before it. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static struct values values;
static char said[2000];

/* A function of its own: longjmp() may spoil the variables of the function that calls setjmp(). */
static void parse_words(int argc, char *argv[], FILE *output)
{
    if (setjmp(left) == 0) {
        int operand = cli_parse(&cli, argc, argv, &values);

        fputs(operand < argc ? argv[operand] : "", output);
    }
}

/* Parse a line of words. Returns the exit status, with standard output and error in `said`, or -1
 * if it is accepted: then `values` is set, and `said` is the first operand. */
static int parse(const char *line)
{
    static char words[500];
    char *argv[20] = {(char *)"program"};
    volatile int argc = 1; /* volatile: gcc 16 warns that longjmp(3) may clobber it */
    FILE *streams[] = {stdout, stderr};
    FILE *memory = fmemopen(said, sizeof said, "w");

    snprintf(words, sizeof words, "%s", line);
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " "))
        argv[argc++] = strcmp(word, "''") == 0 ? (char *)"" : word;
    memset(said, 0, sizeof said);
    values = (struct values){0};
    status = -1;
    optind = 0;
    assert_non_null(memory);
    stdout = stderr = memory;
    parse_words(argc, argv, memory);
    stdout = streams[0];
    stderr = streams[1];
    fclose(memory);
    return status;
}

/* ---- tests ---- */

static void values_of_every_type_reach_their_members(void **state)
{
    (void)state;
    assert_int_equal(parse("-c 007 HOST -i .25 --text=x --links 4294967295 --po 65535 -q"), -1);
    assert_string_equal(said, "HOST");
    assert_int_equal(values.count, 7);
    assert_int_equal(values.wait, SECOND / 4);
    assert_string_equal(values.text, "x");
    assert_int_equal(values.links, UINT32_MAX);
    assert_int_equal(values.port, 65535);
    assert_true(values.quiet);
    assert_int_equal(parse("-e 2 -- -c"), -1);
    assert_string_equal(said, "-c");
    assert_int_equal(values.count, 2);
}

static void an_error_names_option_and_value_and_what_is_allowed(void **state)
{
    static const char number[] = "a whole number from 1 to 10 is allowed";
    static const char seconds[] = "seconds from 0.001 to 100 are allowed, as in 0.5";
    static const struct {
        const char *line;
        const char *name;
        const char *value;
        const char *allowed;
    } cases[] = {
        {"-c ''", "-c", "", number},
        {"-c -1", "-c", "-1", number},
        {"-c +1", "-c", "+1", number},
        {"-c 0", "-c", "0", number},
        {"-c 11", "-c", "11", number},
        {"--count 0x1", "-c", "0x1", number},
        {"--count=1.0", "-c", "1.0", number},
        {"-c1e1", "-c", "1e1", number},
        {"-c 99999999999999999999999999", "-c", "99999999999999999999999999", number},
        {"--port=0", "--port", "0", "a whole number from 1 to 65535 is allowed"},
        {"-i ''", "-i", "", seconds},
        {"-i 1,5", "-i", "1,5", seconds},
        {"-i 1e-3", "-i", "1e-3", seconds},
        {"-i 0.0009999", "-i", "0.0009999", seconds},
        {"-i 100.000000001", "-i", "100.000000001", seconds},
        {"-i 18446744073709551616", "-i", "18446744073709551616", seconds},
        {"-i inf", "-i", "inf", seconds},
        {"-e 3", "-e", "3", "an even number is allowed"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char expected[300];

        snprintf(expected, sizeof expected, "program: %s '%s': %s\nTry it.\n", cases[i].name,
                 cases[i].value, cases[i].allowed);
        assert_int_equal(parse(cases[i].line), 42);
        assert_string_equal(said, expected);
    }
}

static void errors_of_the_options_themselves_are_those_of_getopt(void **state)
{
    static const struct {
        const char *line;
        const char *said;
    } cases[] = {
        {"-qx", "invalid option -- 'x'"},
        {"--frobnicate=1", "unrecognized option '--frobnicate=1'"},
        {"-c", "option requires an argument -- 'c'"},
        {"--count", "option '--count' requires an argument"},
        {"--quiet=1", "option '--quiet' doesn't allow an argument"},
        {"--t", "option '--text' requires an argument"},
        {"--", NULL},
    };

    (void)state;
    for (size_t i = 0; cases[i].said; i++) {
        char expected[200];

        snprintf(expected, sizeof expected, "program: %s\nTry it.\n", cases[i].said);
        assert_int_equal(parse(cases[i].line), 42);
        assert_string_equal(said, expected);
    }
}

static void help_is_made_from_the_table(void **state)
{
    (void)state;
    assert_int_equal(parse("-h"), 43);
    assert_string_equal(said, "Usage: program\n\n"
                              "  -c, --count N    stop after N\n"
                              "  -i SEC           seconds\n"
                              "                   between two\n"
                              "      --text TEXT  a text\n"
                              "      --links N    32 bits\n"
                              "      --port PORT  16 bits\n"
                              "  -q, --quiet      say little\n"
                              "  -V, --version    print the version\n"
                              "  -h, --help       print this\n"
                              "\nSee program(1).\n");
    assert_int_equal(parse("--version"), 43);
    assert_string_equal(said, "program 1\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_of_every_type_reach_their_members),
        cmocka_unit_test(an_error_names_option_and_value_and_what_is_allowed),
        cmocka_unit_test(errors_of_the_options_themselves_are_those_of_getopt),
        cmocka_unit_test(help_is_made_from_the_table),
    };

    return cmocka_run_group_tests_name("cli", tests, NULL, NULL);
}
