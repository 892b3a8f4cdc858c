/* SPDX-License-Identifier: ISC */
/* Any text as an address: it is refused, or what addr_print() makes of it parses to the same
 * address. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/addr.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), printed[ADDR_STRLEN], host[ADDR_STRLEN];
    struct addr addr, again;

    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    if (addr_parse(text, 7007, &addr) < 0) {
        MUST(errno == EINVAL || errno == ERANGE || errno == ENODEV);
    } else {
        MUST(addr_port(&addr) != 0 && addr_overlap(&addr, &addr));
        MUST(addr_print(&addr, printed) == printed && strlen(printed) < ADDR_STRLEN);
        MUST(addr_parse(printed, 1, &again) == 0 && addr_equal(&addr, &again));
        MUST(addr_parse(addr_print_host(&addr, host), addr_port(&addr), &again) == 0 &&
             addr_equal(&addr, &again));
    }
    free(text);
    return 0;
}
