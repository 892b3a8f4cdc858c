/* SPDX-License-Identifier: ISC */
/* Any lines as prefixes: each is refused, or what prefix_print() makes of it parses to the same
 * prefix. A set of them finds what a plain search finds. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/prefix.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

#define LIST_MAX 64

static struct prefix list[LIST_MAX];
static size_t count;

static void check_print(const struct prefix *prefix)
{
    char printed[PREFIX_STRLEN];
    struct prefix again;

    MUST(prefix_print(prefix, printed) == printed && strlen(printed) < PREFIX_STRLEN);
    MUST(prefix_parse(printed, &again) == 0 && prefix_equal(prefix, &again));
}

static void check_line(const char *text)
{
    struct prefix prefix;

    if (prefix_parse(text, &prefix) < 0) {
        MUST(errno == EINVAL || errno == ERANGE || errno == EDOM);
        if (errno == EDOM)
            check_print(&prefix);
        return;
    }
    check_print(&prefix);
    if (count < LIST_MAX)
        list[count++] = prefix;
}

/* The first address of a prefix. */
static struct addr address_in(const struct prefix *prefix)
{
    struct addr addr;
    char text[PREFIX_STRLEN];

    prefix_print(prefix, text);
    text[strcspn(text, "/")] = '\0';
    MUST(addr_parse(text, 7, &addr) == 0);
    return addr;
}

/* The value of each prefix in the set is its length plus 1. */
static void check_find(const struct prefix_set *set, const struct addr *addr)
{
    unsigned longest = 0;

    for (size_t i = 0; i < count; i++) {
        struct prefix own = prefix_of(addr, 32, 128);

        if (own.is_v4 != list[i].is_v4)
            continue;
        own = prefix_cut(&own, list[i].length);
        if (prefix_equal(&own, &list[i]) && own.length + 1U > longest)
            longest = own.length + 1U;
    }
    MUST(prefix_set_find(set, addr) == longest);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *rest = text, *line;
    struct prefix_set *set = prefix_set_new();

    MUST(text && set);
    memcpy(text, data, size);
    text[size] = '\0';
    count = 0;
    while ((line = strsep(&rest, "\n")) != NULL)
        check_line(line);
    for (size_t i = 0; i < count; i++)
        MUST(prefix_set_add(set, &list[i], (uint8_t)(list[i].length + 1)) == 0);
    for (size_t i = 0; i < count; i++) {
        struct addr addr = address_in(&list[i]);

        check_find(set, &addr);
    }
    prefix_set_free(set);
    free(text);
    return 0;
}
