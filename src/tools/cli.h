/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_CLI_H
#define ECHOD_TOOLS_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "probe/probe.h"

/* Command lines of the programs that probe. Each option value is either returned as it is meant or
 * refused by its name with what is allowed, and refusing ends the program. */

/* How a program refuses its command line, on standard error. */
struct cli {
    const char *prefix; /* begins the message: "echo-probe: " */
    const char *hint;   /* the lines after it: "Try 'echo-probe --help'.\n" */
    int status;         /* to exit with */
};

/* Say this, and exit. */
__attribute__((format(printf, 2, 3))) _Noreturn void cli_refuse(const struct cli *cli,
                                                                const char *format, ...);

/* The value of an option, or of an argument, is not what is allowed. */
_Noreturn void cli_refuse_value(const struct cli *cli, const char *option, const char *value,
                                const char *allowed);

/* getopt_long(3) has said what is wrong. */
_Noreturn void cli_refuse_option(const struct cli *cli);

/* Help, or a version: print it on standard output, and exit with 0. */
_Noreturn void cli_print(const struct cli *cli, const char *text);

/* A whole decimal number. */
uint64_t cli_number(const struct cli *cli, const char *option, const char *text, uint64_t min,
                    uint64_t max);

/* Decimal seconds, whatever the locale, in nanoseconds as min and max are; finer digits are
 * dropped. */
uint64_t cli_seconds(const struct cli *cli, const char *option, const char *text, uint64_t min,
                     uint64_t max);

/* The octet of type of service or traffic class: 0 to 255, or 0x0 to 0xff. */
int cli_tos(const struct cli *cli, const char *option, const char *text);

/* Octets of payload that the protocol can carry over the family (AF_UNSPEC: over either). */
size_t cli_size(const struct cli *cli, const char *option, const char *text,
                const struct probe_ops *ops, int family);

/* The part of a text that is a decimal number, in units of 1/scale (a power of ten); finer digits
 * are dropped, and what is larger than max comes out as max + 1. Returns what follows the number,
 * or NULL if there is none. */
const char *cli_decimal(const char *text, uint64_t scale, uint64_t max, uint64_t *value);

/* Open all links to the first address of a list that can be reached. A datagram reaches any, so
 * only one is tried. `announce` (NULL: nothing) is told each address before, and false from it ends
 * that. -1: the probe's listener was told why. */
int cli_open(struct probe *probe, const struct probe_ops *ops, const struct addr list[], int count,
             bool (*announce)(void *context, const struct addr *peer), void *context);

#endif
