/* SPDX-License-Identifier: ISC */
#include "report/mtu_text.h"

#include <string.h>

static const char *source(const struct addr *from, char text[static ADDR_STRLEN])
{
    return from->len != 0 ? addr_print_host(from, text) : "this host";
}

void mtu_print_probe(FILE *out, const struct mtu_probe *probe)
{
    char from[ADDR_STRLEN];

    fprintf(out, "%zu bytes: ", probe->size);
    switch (probe->outcome) {
    case MTU_WHOLE:
        fputs("came back", out);
        break;
    case MTU_FRAGMENTED:
        fprintf(out, "came back in fragments of up to %zu bytes", probe->fragment);
        break;
    case MTU_TRUNCATED:
        fprintf(out, "the server sent back only %zu bytes", probe->len);
        break;
    case MTU_SILENT:
        fprintf(out, "no reply, and no error, in %u tries", probe->tries);
        break;
    case MTU_REPORTED:
        fprintf(out, "too big, says %s", source(&probe->from, from));
        break;
    case MTU_INTERFACE:
        fputs("too big for the interface of this host", out);
        break;
    case MTU_ERROR:
        fprintf(out, "%s, says %s", strerror(probe->error), source(&probe->from, from));
        break;
    }
    if (probe->mtu != 0)
        fprintf(out, " (MTU %zu)", probe->mtu);
    fputc('\n', out);
}

static void print_nothing_found(FILE *out, const struct mtu_result *result)
{
    char peer[ADDR_STRLEN];

    if (result->limit.size == 0) {
        fprintf(out, "path MTU to %s: not found: %s\n", addr_print(&result->peer, peer),
                result->error != 0 ? strerror(result->error) : "ended before anything came back");
        return;
    }
    fprintf(out, "path MTU to %s: not found, not even the smallest datagram comes back: ",
            addr_print(&result->peer, peer));
    if (result->limit.outcome == MTU_SILENT)
        fputs("there is no echo service, or something filters its datagrams; ", out);
    mtu_print_probe(out, &result->limit);
}

static void print_limit(FILE *out, const struct mtu_probe *limit)
{
    if (limit->size == 0) {
        fputs("limit: nothing larger was to be tried\n", out);
        return;
    }
    fputs(limit->outcome == MTU_SILENT ? "limit: black hole, larger datagrams vanish: " : "limit: ",
          out);
    mtu_print_probe(out, limit);
}

/* Whether no size was seen to be too big for the path: then the path MTU may be larger. */
static bool is_lower_bound(const struct mtu_result *result)
{
    return !result->complete || result->limit.size == 0 || result->limit.outcome == MTU_TRUNCATED;
}

void mtu_print(FILE *out, const struct mtu_result *result)
{
    char peer[ADDR_STRLEN];

    if (!result->found) {
        print_nothing_found(out, result);
        return;
    }
    fprintf(out, "path MTU to %s: %s%zu, for %zu bytes of payload\n",
            addr_print(&result->peer, peer), is_lower_bound(result) ? "at least " : "", result->mtu,
            result->largest);
    if (!result->complete) {
        fputs("limit: not found, it was ended before\n", out);
        return;
    }
    print_limit(out, &result->limit);
    if (result->fragment != 0)
        fprintf(out,
                "way back: comes in fragments of up to %zu bytes; up to %zu bytes of payload come "
                "back in one piece\n",
                result->fragment, result->whole);
}
