/* SPDX-License-Identifier: ISC */
#include "report/icmp_text.h"

#include <stdio.h>

#include "common/util.h"

struct message {
    uint8_t type;
    uint8_t code;
    const char *text;
};

static const struct message v4[] = {
    {3, 0, "network unreachable"},
    {3, 1, "host unreachable"},
    {3, 2, "protocol unreachable"},
    {3, 3, "port unreachable"},
    {3, 4, "fragmentation needed"},
    {3, 5, "source route failed"},
    {3, 6, "network unknown"},
    {3, 7, "host unknown"},
    {3, 9, "network administratively prohibited"},
    {3, 10, "host administratively prohibited"},
    {3, 11, "network unreachable for this type of service"},
    {3, 12, "host unreachable for this type of service"},
    {3, 13, "communication administratively prohibited"},
    {11, 0, "time to live exceeded"},
    {11, 1, "fragment reassembly time exceeded"},
    {12, 0, "parameter problem"},
};

static const struct message v6[] = {
    {1, 0, "no route to destination"},
    {1, 1, "communication administratively prohibited"},
    {1, 2, "beyond scope of source address"},
    {1, 3, "address unreachable"},
    {1, 4, "port unreachable"},
    {1, 5, "source address failed policy"},
    {1, 6, "route to destination rejected"},
    {2, 0, "packet too big"},
    {3, 0, "hop limit exceeded"},
    {3, 1, "fragment reassembly time exceeded"},
    {4, 0, "erroneous header field"},
    {4, 1, "unrecognized next header"},
    {4, 2, "unrecognized option"},
};

static const char *find(const struct message list[], size_t count, const struct probe_icmp *icmp)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].type == icmp->type && list[i].code == icmp->code)
            return list[i].text;
    return "an error";
}

const char *icmp_print(const struct probe_icmp *icmp, char buf[static ICMP_TEXT])
{
    const char *text = icmp->v6 ? find(v6, COUNT(v6), icmp) : find(v4, COUNT(v4), icmp);
    char from[ADDR_STRLEN];

    snprintf(buf, ICMP_TEXT, "%s reports %s (%s type %u, code %u)",
             addr_print_host(&icmp->from, from), text, icmp->v6 ? "ICMPv6" : "ICMP",
             (unsigned)icmp->type, (unsigned)icmp->code);
    return buf;
}
