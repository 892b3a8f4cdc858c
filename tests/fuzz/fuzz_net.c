/* SPDX-License-Identifier: ISC */
/* Any text as an address: refused, or an address that its own print gives back. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "net.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), printed[NET_STRLEN], host[NET_STRLEN];
    struct net_addr addr, again;

    MUST(text);
    memcpy(text, data, size);
    text[size] = '\0';
    if (net_parse(text, 7007, &addr) < 0) {
        MUST(errno == EINVAL || errno == ERANGE || errno == ENODEV);
    } else {
        MUST(net_port(&addr) != 0 && net_overlap(&addr, &addr));
        MUST(net_print(&addr, printed) == printed && strlen(printed) < NET_STRLEN);
        MUST(net_parse(printed, 1, &again) == 0 && net_equal(&addr, &again));
        MUST(net_parse(net_print_host(&addr, host), net_port(&addr), &again) == 0 &&
             net_equal(&addr, &again));
    }
    free(text);
    return 0;
}
