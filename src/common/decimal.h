/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_DECIMAL_H
#define ECHOD_COMMON_DECIMAL_H

#include <stdint.h>

/* Decimal fractions in texts, whatever the locale. */

/* Read the decimal number that a text begins with, in units of 1/scale (a power of ten). Finer
 * digits are dropped; a number above max is read as max + 1. Returns what follows the number, or
 * NULL if the text does not begin with one. */
const char *parse_decimal(const char *text, uint64_t scale, uint64_t max, uint64_t *value);

#endif
