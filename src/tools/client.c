/* SPDX-License-Identifier: ISC */
#include "tools/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/mask.h"

void client_take_tos(const struct cli *cli, const struct cli_option *option, const char *value,
                     void *target)
{
    bool hexadecimal = value[0] == '0' && (value[1] == 'x' || value[1] == 'X');
    const char *digits = hexadecimal ? value + 2 : value;
    const char *all = hexadecimal ? "0123456789abcdefABCDEF" : "0123456789";
    unsigned long tos = strtoul(digits, NULL, hexadecimal ? 16 : 10);
    char name[CLI_NAME];

    if (*digits == '\0' || digits[strspn(digits, all)] != '\0' || tos > 255)
        cli_refuse_value(cli, cli_option_name(option, name), value,
                         "0 to 255, or 0x0 to 0xff, is allowed");
    *(int *)target = (int)tos;
}

size_t client_size(const struct cli *cli, const char *text, const struct probe_ops *ops, int family)
{
    char name[64];

    snprintf(name, sizeof name, "-s for %s%s", ops->name,
             ops->type != SOCK_DGRAM || family == AF_UNSPEC ? ""
             : family == AF_INET                            ? " over IPv4"
                                                            : " over IPv6");
    return (size_t)cli_number(cli, name, text, probe_min_size(ops), probe_max_size(ops, family));
}

bool client_is_placeholder(const struct addr list[], int count)
{
    static const uint8_t any[4];

    for (int i = 0; i < count; i++) {
        const struct in6_addr *v6 = &list[i].in6.sin6_addr;

        if (addr_is_wildcard(&list[i]) ||
            (list[i].sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6) &&
             memcmp(&v6->s6_addr[12], any, sizeof any) == 0))
            return true;
    }
    return false;
}

void client_warn_of_placeholder(const struct cli *cli, const char *host, const struct addr list[],
                                int count)
{
    if (!client_is_placeholder(list, count))
        return;
    fputs(cli->prefix, stderr);
    print_masked_text(stderr, host);
    fputs(" stands for every address of this host: this host itself is probed\n", stderr);
}

int client_open(struct probe *probe, const struct probe_ops *ops, const struct addr list[],
                int count, bool (*announce)(void *context, const struct addr *peer), void *context)
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
