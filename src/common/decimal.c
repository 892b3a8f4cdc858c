/* SPDX-License-Identifier: ISC */
#include "common/decimal.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"

/* The digits that `text` begins with, at most max + 1. Returns what follows. */
static const char *parse_whole(const char *text, uint64_t max, uint64_t *value)
{
    for (*value = 0; *text >= '0' && *text <= '9'; text++) {
        unsigned digit = (unsigned)(*text - '0');

        *value = *value > max / 10 || digit > max - *value * 10 ? max + 1 : *value * 10 + digit;
    }
    return text;
}

const char *parse_decimal(const char *text, uint64_t scale, uint64_t max, uint64_t *value)
{
    uint64_t whole;
    uint64_t part = 0;
    const char *end = parse_whole(text, max / scale, &whole);
    size_t digits = (size_t)(end - text);

    if (*end == '.') {
        const char *first = ++end;

        for (uint64_t unit = scale; *end >= '0' && *end <= '9'; end++) {
            unit /= 10;
            part += unit * (uint64_t)(*end - '0');
        }
        digits += (size_t)(end - first);
    }
    *value = whole > max / scale || part > max - whole * scale ? max + 1 : whole * scale + part;
    return digits > 0 ? end : NULL;
}

/* A double has no more digits than these after the point, unless it is tiny. */
#define MAX_DECIMALS 18

/* How many decimals show so many significant digits of a value above 0. */
static unsigned decimals_of(double value, unsigned digits)
{
    unsigned decimals = digits - 1;

    while (value >= 10 && decimals > 0) {
        value /= 10;
        decimals--;
    }
    while (value < 1 && decimals < MAX_DECIMALS) {
        value *= 10;
        decimals++;
    }
    return decimals;
}

static void drop_zeros(char *text)
{
    char *end = text + strlen(text);

    if (!strchr(text, '.'))
        return;
    while (end[-1] == '0')
        end--;
    if (end[-1] == '.')
        end--;
    *end = '\0';
}

const char *print_decimal(double value, unsigned decimals, char text[static DECIMAL_SIZE])
{
    snprintf(text, DECIMAL_SIZE, "%.*f", (int)decimals, value);
    if (value > 0 && text[strspn(text, "0.")] == '\0') {
        snprintf(text, DECIMAL_SIZE, "%.*f", (int)decimals_of(value, 1), value);
        /* An i387 computes with more digits than a double has. It may find a decimal too many. */
        drop_zeros(text);
    }
    return text;
}

const char *print_milliseconds(double ns, char text[static DECIMAL_SIZE])
{
    return print_decimal(ns / MILLISECOND, 3, text);
}

const char *print_seconds(uint64_t ns, char text[static DECIMAL_SIZE])
{
    snprintf(text, DECIMAL_SIZE, "%" PRIu64 ".%09" PRIu64, ns / SECOND, ns % SECOND);
    drop_zeros(text);
    return text;
}

const char *print_percent(uint64_t part, uint64_t whole, unsigned digits,
                          char text[static DECIMAL_SIZE])
{
    double value = 100.0 * (double)part / (double)whole;
    double rest = 100.0 * (double)(whole - part) / (double)whole;
    unsigned decimals = part > 0 ? decimals_of(value, digits) : 0;

    if (part > 0 && rest > 0 && rest < 1 && decimals_of(rest, 1) > decimals)
        decimals = decimals_of(rest, 1);
    snprintf(text, DECIMAL_SIZE, "%.*f", (int)decimals, value);
    drop_zeros(text);
    return text;
}
