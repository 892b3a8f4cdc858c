/* SPDX-License-Identifier: ISC */
#include "common/mask.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/util.h"

/* Octets of the sequence that this one begins; 0: it begins none (RFC 3629). */
static size_t sequence_size(uint8_t first)
{
    if (first < 0x80)
        return 1;
    if (first >= 0xc2 && first < 0xe0)
        return 2;
    if (first >= 0xe0 && first < 0xf0)
        return 3;
    return first >= 0xf0 && first < 0xf5 ? 4 : 0;
}

/* The octets of the character that begins here; 0: these are none. */
static size_t decode(const uint8_t *octets, size_t size, uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = sequence_size(octets[0]);

    if (length == 0 || length > size)
        return 0;
    *character = length == 1 ? octets[0] : octets[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((octets[i] & 0xc0) != 0x80)
            return 0;
        *character = *character << 6 | (octets[i] & 0x3f);
    }
    return *character >= least[length] && *character <= 0x10ffff ? length : 0;
}

static bool is_harmless(uint32_t character)
{
    static const struct {
        uint32_t first;
        uint32_t last;
    } harmful[] = {
        {0x00, 0x1f},     {0x7f, 0x9f},     {0x061c, 0x061c}, {0x200e, 0x200f}, {0x2028, 0x202e},
        {0x2066, 0x2069}, {0xd800, 0xdfff}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe0fff},
    };

    for (size_t i = 0; i < COUNT(harmful); i++)
        if (character >= harmful[i].first && character <= harmful[i].last)
            return false;
    return (character & 0xfffe) != 0xfffe;
}

void print_masked(FILE *out, const void *octets, size_t size, const char *also)
{
    const uint8_t *next = octets;

    while (size > 0) {
        uint32_t character = 0;
        size_t length = decode(next, size, &character);

        if (length > 0 && is_harmless(character) && (length > 1 || !strchr(also, (int)character))) {
            fwrite(next, 1, length, out);
        } else {
            length = 1;
            fprintf(out, "\\x%02x", *next);
        }
        next += length;
        size -= length;
    }
}

void print_masked_text(FILE *out, const char *text)
{
    print_masked(out, text, strlen(text), "");
}
