/* SPDX-License-Identifier: ISC */
#include "daemon/conf/conf_value.h"

#include <stdio.h>
#include <stdlib.h>

#include "daemon/conf/conf.h"

bool conf_ports_has(const struct conf_ports *ports, uint16_t port)
{
    return ports->bits[port / 8] >> port % 8 & 1;
}

static void print_ports(FILE *out, const struct conf_ports *ports)
{
    const char *separator = "";

    for (unsigned first = 0; first <= 65535; first++) {
        unsigned last = first;

        if (!conf_ports_has(ports, (uint16_t)first))
            continue;
        while (last < 65535 && conf_ports_has(ports, (uint16_t)(last + 1)))
            last++;
        fprintf(out, "%s %u", separator, first);
        if (last > first)
            fprintf(out, "-%u", last);
        separator = ",";
        first = last;
    }
}

static void print_listen(FILE *out, const struct conf_listen *listen)
{
    char buf[ADDR_STRLEN];

    for (size_t i = 0; i < listen->count; i++)
        fprintf(out, "%s %s", i ? "," : "", addr_print(&listen->addr[i], buf));
}

static void print_prefixes(FILE *out, const struct conf_prefixes *prefixes)
{
    char buf[PREFIX_STRLEN];

    for (size_t i = 0; i < prefixes->count; i++)
        fprintf(out, "%s %s", i ? "," : "", prefix_print(&prefixes->list[i], buf));
}

char *value_print(enum value_kind kind, const void *at)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    switch (kind) {
    case BOOLEAN:
        fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case NUMBER:
        fprintf(out, "%u", *(const unsigned *)at);
        break;
    case USER:
    case GROUP:
        fputs(*(char *const *)at ? *(char *const *)at : "the user's own", out);
        break;
    case TARGET:
        fputs(log_target_name(*(const enum log_target *)at), out);
        break;
    case LEVEL:
        fputs(log_level_name(*(const enum log_level *)at), out);
        break;
    case LISTEN:
        fputs("{", out);
        print_listen(out, at);
        fputs(" }", out);
        break;
    case PORTS:
        fputs("{", out);
        print_ports(out, at);
        fputs(" }", out);
        break;
    case PREFIXES:
        fputs("{", out);
        print_prefixes(out, at);
        fputs(" }", out);
        break;
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
