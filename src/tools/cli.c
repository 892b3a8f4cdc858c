/* SPDX-License-Identifier: ISC */
#include "tools/cli.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- refusing and printing ---- */

void cli_refuse_option(const struct cli *cli)
{
    fputs(cli->hint, stderr);
    exit(cli->status);
}

void cli_refuse(const struct cli *cli, const char *format, ...)
{
    va_list args;

    fputs(cli->prefix, stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    cli_refuse_option(cli);
}

void cli_refuse_value(const struct cli *cli, const char *option, const char *value,
                      const char *allowed)
{
    cli_refuse(cli, "%s '%s': %s", option, value, allowed);
}

void cli_print(const struct cli *cli, const char *text)
{
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
        exit(EXIT_SUCCESS);
    fprintf(stderr, "%scannot write to standard output: %s\n", cli->prefix, strerror(errno));
    exit(cli->status);
}

/* ---- values ---- */

/* Digits of a base up to 16; more than max comes out as max + 1. Returns what follows, or NULL if
 * there are no digits. */
static const char *digits(const char *text, unsigned base, uint64_t max, uint64_t *value)
{
    static const char all[] = "0123456789abcdef0123456789ABCDEF";
    const char *p = text;
    const char *digit;

    *value = 0;
    for (; *p != '\0' && (digit = strchr(all, *p)) != NULL; p++) {
        uint64_t figure = (uint64_t)(digit - all) % 16;

        if (figure >= base)
            break;
        *value = *value > max || *value > (max - figure) / base || figure > max
                     ? max + 1
                     : *value * base + figure;
    }
    return p > text ? p : NULL;
}

uint64_t cli_number(const struct cli *cli, const char *option, const char *text, uint64_t min,
                    uint64_t max)
{
    char allowed[80];
    uint64_t value;
    const char *end = digits(text, 10, max, &value);

    if (end && *end == '\0' && value >= min && value <= max)
        return value;
    snprintf(allowed, sizeof allowed, "a whole number from %llu to %llu is allowed",
             (unsigned long long)min, (unsigned long long)max);
    cli_refuse_value(cli, option, text, allowed);
}

const char *cli_decimal(const char *text, uint64_t scale, uint64_t max, uint64_t *value)
{
    uint64_t whole;
    uint64_t part = 0;
    const char *p = digits(text, 10, max / scale, &whole);
    bool any = p != NULL;

    if (!p)
        p = text;
    if (*p == '.') {
        const char *first = ++p;
        uint64_t unit = scale;

        for (; *p >= '0' && *p <= '9'; p++) {
            unit /= 10;
            part += unit * (uint64_t)(*p - '0');
        }
        any = any || p > first;
    }
    *value = whole > max / scale || part > max - whole * scale ? max + 1 : whole * scale + part;
    return any ? p : NULL;
}

uint64_t cli_seconds(const struct cli *cli, const char *option, const char *text, uint64_t min,
                     uint64_t max)
{
    char allowed[80];
    uint64_t value;
    const char *end = cli_decimal(text, SECOND, max, &value);
    int places = 0;

    if (end && *end == '\0' && value >= min && value <= max)
        return value;
    for (uint64_t unit = SECOND; min % unit != 0; unit /= 10)
        places++;
    snprintf(allowed, sizeof allowed, "seconds from %.*f to %.0f are allowed, as in 0.5", places,
             (double)min / (double)SECOND, (double)max / (double)SECOND);
    cli_refuse_value(cli, option, text, allowed);
}

int cli_tos(const struct cli *cli, const char *option, const char *text)
{
    bool hexadecimal = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    uint64_t value;
    const char *end =
        hexadecimal ? digits(text + 2, 16, 255, &value) : digits(text, 10, 255, &value);

    if (!end || *end != '\0' || value > 255)
        cli_refuse_value(cli, option, text, "0 to 255, or 0x0 to 0xff, is allowed");
    return (int)value;
}

size_t cli_size(const struct cli *cli, const char *option, const char *text,
                const struct probe_ops *ops, int family)
{
    char name[64];

    snprintf(name, sizeof name, "%s for %s%s", option, ops->name,
             ops->type != SOCK_DGRAM || family == AF_UNSPEC ? ""
             : family == AF_INET                            ? " over IPv4"
                                                            : " over IPv6");
    return (size_t)cli_number(cli, name, text, probe_min_size(ops), probe_max_size(ops, family));
}

/* ---- addresses ---- */

int cli_open(struct probe *probe, const struct probe_ops *ops, const struct addr list[], int count,
             bool (*announce)(void *context, const struct addr *peer), void *context)
{
    if (ops->type == SOCK_DGRAM)
        count = 1;
    for (int i = 0; i < count && !probe->stopped; i++) {
        if (announce && !announce(context, &list[i]))
            return -1;
        if (probe_open(probe, ops, &list[i]) == 0)
            return 0;
    }
    return -1;
}
