/* SPDX-License-Identifier: ISC */
#include "daemon/conf/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 200 /* octets of a value that are shown */

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

static void print_account(FILE *out, enum conf_kind kind, const char *name)
{
    fputs(name && name[0] ? name : kind == CONF_USER ? "the default" : "the user's own", out);
}

static void print_value(FILE *out, enum conf_kind kind, const void *at)
{
    switch (kind) {
    case CONF_BOOLEAN:
        fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case CONF_NUMBER:
        fprintf(out, "%u", *(const unsigned *)at);
        break;
    case CONF_USER:
    case CONF_GROUP:
        print_account(out, kind, *(char *const *)at);
        break;
    case CONF_PATH:
        fprintf(out, "\"%s\"", *(char *const *)at);
        break;
    case CONF_TARGET:
        fputs(log_target_name(*(const enum log_target *)at), out);
        break;
    case CONF_LEVEL:
        fputs(log_level_name(*(const enum log_level *)at), out);
        break;
    case CONF_LISTEN:
    case CONF_PORTS:
    case CONF_PREFIXES:
        fputs("{", out);
        if (kind == CONF_LISTEN)
            print_listen(out, at);
        else if (kind == CONF_PORTS)
            print_ports(out, at);
        else
            print_prefixes(out, at);
        fputs(" }", out);
        break;
    }
}

/* Returns allocated text, NULL without memory. */
static char *value_text(const struct conf *conf, const struct conf_key *key)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);

    if (!out)
        return NULL;
    print_value(out, key->kind, (const char *)conf + key->offset);
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static const char *shorten(char *text)
{
    if (!text)
        return "?";
    if (strlen(text) > TEXT_MAX)
        strcpy(text + TEXT_MAX - 3, "...");
    return text;
}

size_t conf_compare(const struct conf *before, const struct conf *after, conf_change *each,
                    void *context)
{
    size_t changes = 0;

    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *key = &conf_keys[i];
        char *old = value_text(before, key), *new = value_text(after, key);

        if (!old || !new || strcmp(old, new) != 0) {
            changes++;
            each(context, key->name, shorten(old), shorten(new), key->needs_restart);
        }
        free(old);
        free(new);
    }
    return changes;
}
