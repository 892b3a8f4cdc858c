/* SPDX-License-Identifier: ISC */
#include "common/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/decimal.h"
#include "common/mask.h"
#include "common/util.h"

/* getopt_long(3) returns the index in the table plus this for each long name. */
#define FIRST_LONG 256

#define MAX_OPTIONS 64

/* Columns that the names of an option take in the help. */
#define HELP_NAMES 34

/* ---- refusing ---- */

void cli_refuse(const struct cli *cli, const char *format, ...)
{
    va_list args;
    char *message;
    int length;

    va_start(args, format);
    length = vasprintf(&message, format, args);
    va_end(args);
    fputs(cli->prefix, stderr);
    if (length >= 0) {
        print_masked(stderr, message, (size_t)length, cli->masked ? cli->masked : "");
        free(message);
    }
    fprintf(stderr, "\n%s", cli->hint);
    exit(cli->refused);
}

void cli_refuse_value(const struct cli *cli, const char *name, const char *value,
                      const char *allowed)
{
    cli_refuse(cli, "%s '%s': %s", name, value, allowed);
}

const char *cli_option_name(const struct cli_option *option, char name[static CLI_NAME])
{
    if (option->letter != '\0')
        snprintf(name, CLI_NAME, "-%c", option->letter);
    else
        snprintf(name, CLI_NAME, "--%s", option->name);
    return name;
}

/* ---- values ---- */

uint64_t cli_number(const struct cli *cli, const char *name, const char *value, uint64_t min,
                    uint64_t max)
{
    char allowed[80];
    uint64_t number;

    if (parse_number(value, max, &number) && number >= min)
        return number;
    snprintf(allowed, sizeof allowed, "a whole number from %llu to %llu is allowed",
             (unsigned long long)min, (unsigned long long)max);
    cli_refuse_value(cli, name, value, allowed);
}

static void store(const struct cli_option *option, uint64_t number, void *target)
{
    switch (option->size) {
    case sizeof(uint8_t):
        *(uint8_t *)target = (uint8_t)number;
        break;
    case sizeof(uint16_t):
        *(uint16_t *)target = (uint16_t)number;
        break;
    case sizeof(uint32_t):
        *(uint32_t *)target = (uint32_t)number;
        break;
    default:
        *(uint64_t *)target = number;
        break;
    }
}

void cli_take_constant(const struct cli *cli, const struct cli_option *option, const char *value,
                       void *target)
{
    (void)cli;
    (void)value;
    store(option, option->min, target);
}

void cli_take_text(const struct cli *cli, const struct cli_option *option, const char *value,
                   void *target)
{
    (void)cli;
    (void)option;
    *(const char **)target = value;
}

void cli_take_number(const struct cli *cli, const struct cli_option *option, const char *value,
                     void *target)
{
    char name[CLI_NAME];

    store(option, cli_number(cli, cli_option_name(option, name), value, option->min, option->max),
          target);
}

void cli_take_seconds(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target)
{
    char name[CLI_NAME];
    char allowed[80];
    uint64_t number;
    const char *end = parse_decimal(value, SECOND, option->max, &number);
    int places = 0;

    if (end && *end == '\0' && number >= option->min && number <= option->max) {
        store(option, number, target);
        return;
    }
    for (uint64_t unit = SECOND; option->min % unit != 0; unit /= 10)
        places++;
    snprintf(allowed, sizeof allowed, "seconds from %.*f to %.0f are allowed, as in 0.5", places,
             (double)option->min / (double)SECOND, (double)option->max / (double)SECOND);
    cli_refuse_value(cli, cli_option_name(option, name), value, allowed);
}

/* ---- help and version ---- */

static _Noreturn void exit_informed(const struct cli *cli)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        exit(cli->informed);
    fprintf(stderr, "%scannot write to standard output: %s\n", cli->prefix, strerror(errno));
    exit(cli->unwritten);
}

/* "  -c, --count N": returns its length. */
static int print_names(const struct cli_option *option, char *text, size_t size)
{
    char letter[] = {'-', option->letter, '\0'};

    return snprintf(text, size, "  %2s%s%s%s%s%s", option->letter != '\0' ? letter : "",
                    option->letter != '\0' && option->name ? ", "
                    : option->name                         ? "  "
                                                           : "",
                    option->name ? "--" : "", option->name ? option->name : "",
                    option->argument ? " " : "", option->argument ? option->argument : "");
}

static void put_option(const struct cli_option *option, int column)
{
    char names[2 * HELP_NAMES];
    const char *line = option->help;

    print_names(option, names, sizeof names);
    while (line) {
        const char *end = strchr(line, '\n');

        printf("%-*s%.*s\n", column, line == option->help ? names : "",
               end ? (int)(end - line) : (int)strlen(line), line);
        line = end ? end + 1 : NULL;
    }
}

void cli_take_help(const struct cli *cli, const struct cli_option *option, const char *value,
                   void *target)
{
    int column = 0;

    (void)option;
    (void)value;
    (void)target;
    for (size_t i = 0; i < cli->count; i++) {
        char names[2 * HELP_NAMES];
        int length = print_names(&cli->options[i], names, sizeof names);

        if (cli->options[i].help && length + 2 > column)
            column = length + 2;
    }
    fputs(cli->usage, stdout);
    for (size_t i = 0; i < cli->count; i++)
        put_option(&cli->options[i], column);
    fputs(cli->footer, stdout);
    exit_informed(cli);
}

void cli_take_version(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target)
{
    (void)option;
    (void)value;
    (void)target;
    puts(cli->version);
    exit_informed(cli);
}

/* ---- parsing ---- */

/* What getopt_long(3) takes, made from the table. */
struct forms {
    char letters[2 * MAX_OPTIONS + 2];
    struct option names[MAX_OPTIONS + 1];
};

static void make_forms(const struct cli *cli, struct forms *forms)
{
    char *letter = forms->letters;
    struct option *name = forms->names;
    size_t names = 0;

    /* To be told of an argument that is missing. */
    *letter++ = ':';
    for (size_t i = 0; i < cli->count; i++) {
        const struct cli_option *option = &cli->options[i];

        if (option->letter != '\0')
            *letter++ = option->letter;
        if (option->letter != '\0' && option->argument)
            *letter++ = ':';
        if (option->name)
            name[names++] =
                (struct option){.name = option->name,
                                .has_arg = option->argument ? required_argument : no_argument,
                                .val = FIRST_LONG + (int)i};
    }
}

static const struct cli_option *find_option(const struct cli *cli, int found)
{
    if (found >= FIRST_LONG)
        return &cli->options[found - FIRST_LONG];
    for (size_t i = 0; i < cli->count; i++)
        if (cli->options[i].letter == found)
            return &cli->options[i];
    return NULL;
}

static _Noreturn void refuse_name(const struct cli *cli, const char *given)
{
    char candidates[400] = "";
    size_t length = strcspn(given, "=");
    size_t used = 0;

    for (size_t i = 0; i < cli->count; i++)
        if (cli->options[i].name && strncmp(cli->options[i].name, given + 2, length - 2) == 0 &&
            used < sizeof candidates)
            used += (size_t)snprintf(candidates + used, sizeof candidates - used, " '--%s'",
                                     cli->options[i].name);
    if (used > 0)
        cli_refuse(cli, "option '%s' is ambiguous; possibilities:%s", given, candidates);
    cli_refuse(cli, "unrecognized option '%s'", given);
}

/* In the words of getopt_long(3), which does not say them itself as they would escape us. */
static _Noreturn void refuse_option(const struct cli *cli, int why, const char *given)
{
    if (optopt == 0)
        refuse_name(cli, given);
    if (optopt >= FIRST_LONG)
        cli_refuse(cli,
                   why == ':' ? "option '--%s' requires an argument"
                              : "option '--%s' doesn't allow an argument",
                   cli->options[optopt - FIRST_LONG].name);
    cli_refuse(cli, why == ':' ? "option requires an argument -- '%c'" : "invalid option -- '%c'",
               optopt);
}

int cli_parse(const struct cli *cli, int argc, char *argv[], void *target)
{
    struct forms forms = {0};
    int found;

    make_forms(cli, &forms);
    opterr = 0;
    while ((found = getopt_long(argc, argv, forms.letters, forms.names, NULL)) >= 0) {
        const struct cli_option *option = find_option(cli, found);

        if (found == ':' || found == '?')
            refuse_option(cli, found, argv[optind - 1]);
        option->take(cli, option, optarg, (char *)target + option->offset);
    }
    return optind;
}
