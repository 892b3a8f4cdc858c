/* SPDX-License-Identifier: ISC */
#include "common/decimal.h"

#include <stddef.h>

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
