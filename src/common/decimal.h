/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_DECIMAL_H
#define ECHOD_COMMON_DECIMAL_H

#include <stdint.h>

/* Decimal fractions in texts: always with a point, never with an exponent. A program that uses this
 * does not call setlocale(3). */

/* Read the decimal number that a text begins with, in units of 1/scale (a power of ten). Finer
 * digits are dropped; a number above max is read as max + 1. Returns what follows the number, or
 * NULL if the text does not begin with one. */
const char *parse_decimal(const char *text, uint64_t scale, uint64_t max, uint64_t *value);

/* These write into `text` and return it. What is not 0 is never written as 0: then it gets as many
 * more decimals as that takes, to 18 at most. */
#define DECIMAL_SIZE 48

/* With this number of decimals. */
const char *print_decimal(double value, unsigned decimals, char text[static DECIMAL_SIZE]);

/* Nanoseconds as milliseconds, with three decimals: "0.022". */
const char *print_milliseconds(double ns, char text[static DECIMAL_SIZE]);

/* Nanoseconds as seconds, with the decimals that they need: "10", "0.25". */
const char *print_seconds(uint64_t ns, char text[static DECIMAL_SIZE]);

/* `part` of `whole` (not 0) as percent, with this number of significant digits but without zeros at
 * the end: "33.3333". "0" only for none and "100" only for all: a value near 100 gets more digits.
 */
const char *print_percent(uint64_t part, uint64_t whole, unsigned digits,
                          char text[static DECIMAL_SIZE]);

#endif
