/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_CLI_H
#define ECHOD_COMMON_CLI_H

#include <stddef.h>
#include <stdint.h>

/* Command lines. A program describes its options in a table, from which it is parsed and from which
 * its help is printed. A value that is not allowed ends the program, with a message that names the
 * option, the value and what is allowed. */

struct cli;
struct cli_option;

/* Check the value of an option and store it. `target` is the member that the option's row names,
 * `value` is NULL where the option has no argument. */
typedef void cli_take(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target);

struct cli_option {
    char letter;          /* '\0': it has only a long name */
    const char *name;     /* long name; NULL: it has only a letter */
    const char *argument; /* as the help calls it; NULL: it takes none */
    const char *help;     /* "\n" in it begins another line; NULL: the help leaves the option out */
    cli_take *take;
    size_t offset;    /* of the member in the struct that cli_parse() is given */
    size_t size;      /* of the member: 1, 2, 4 or 8 octets for a number */
    uint64_t min;     /* smallest number allowed; what cli_take_constant() stores */
    uint64_t max;     /* largest number allowed */
    const char *text; /* for a program's own functions */
};

/* The rest of a row, for a member of a struct `type`. */
#define CLI_MEMBER(type, member)                                                                   \
    .offset = offsetof(type, member), .size = sizeof(((type *)NULL)->member)
#define CLI_CONSTANT(type, member, value)                                                          \
    .take = cli_take_constant, .min = (value), CLI_MEMBER(type, member)
#define CLI_FLAG(type, member) CLI_CONSTANT(type, member, 1)
#define CLI_TEXT(type, member) .take = cli_take_text, CLI_MEMBER(type, member)
#define CLI_NUMBER(type, member, least, most)                                                      \
    .take = cli_take_number, .min = (least), .max = (most), CLI_MEMBER(type, member)
#define CLI_SECONDS(type, member, least, most)                                                     \
    .take = cli_take_seconds, .min = (least), .max = (most), CLI_MEMBER(type, member)

struct cli {
    const char *prefix;  /* begins each message: "echo-probe: " */
    const char *masked;  /* characters that messages must not have, see mask.h; NULL: none */
    const char *hint;    /* the lines after it: "Try 'echo-probe --help'.\n" */
    const char *version; /* without the end of the line */
    const char *usage;   /* the help before the options */
    const char *footer;  /* the help after the options */
    int refused;         /* exit status after a message */
    int informed;        /* exit status after the help or the version */
    int unwritten;       /* exit status where these cannot be written */
    const struct cli_option *options;
    size_t count; /* of options */
};

/* Call each option's function with its member of `target`. Returns the index in argv of the first
 * operand: all of them are moved behind the options. */
int cli_parse(const struct cli *cli, int argc, char *argv[], void *target);

/* Functions for the table. */
cli_take cli_take_constant; /* store `min`: true, or another number */
cli_take cli_take_text;     /* store the pointer */
cli_take cli_take_number;   /* a whole decimal number from min to max */
cli_take cli_take_seconds;  /* decimal seconds; min, max and what is stored are nanoseconds */
cli_take cli_take_help;     /* print the help and exit */
cli_take cli_take_version;  /* print the version and exit */

/* Say this on standard error, with all that could steer a terminal masked, then the hint, and exit.
 */
__attribute__((format(printf, 2, 3))) _Noreturn void cli_refuse(const struct cli *cli,
                                                                const char *format, ...);

/* The value of an option or of an operand, as `name` says, is not what is allowed. */
_Noreturn void cli_refuse_value(const struct cli *cli, const char *name, const char *value,
                                const char *allowed);

/* "-c", or "--mtu" where there is no letter. */
#define CLI_NAME 40
const char *cli_option_name(const struct cli_option *option, char name[static CLI_NAME]);

/* A whole decimal number from min to max. */
uint64_t cli_number(const struct cli *cli, const char *name, const char *value, uint64_t min,
                    uint64_t max);

#endif
