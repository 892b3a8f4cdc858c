/* SPDX-License-Identifier: ISC */
#include "common/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "common/util.h"

static int read_port(const char *text, uint16_t *port)
{
    uint64_t value;

    if (parse_number(text, 65535, &value) && value > 0) {
        *port = (uint16_t)value;
        return 0;
    }
    errno = text[0] != '\0' && text[strspn(text, "0123456789")] == '\0' ? ERANGE : EINVAL;
    return -1;
}

void addr_set_zone(struct addr *addr, unsigned zone)
{
    if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_scope_id = zone;
    else
        memcpy(addr->in.sin_zero, &zone, sizeof zone);
}

unsigned addr_zone(const struct addr *addr)
{
    unsigned zone = 0;

    if (addr->sa.sa_family == AF_INET6)
        return addr->in6.sin6_scope_id;
    if (addr->sa.sa_family == AF_INET)
        memcpy(&zone, addr->in.sin_zero, sizeof zone);
    return zone;
}

/* In brackets only an IPv6 address may stand. */
static int parse_host(const char *host, bool in_brackets, struct addr *addr)
{
    if (!in_brackets && inet_pton(AF_INET, host, &addr->in.sin_addr) == 1) {
        addr->in.sin_family = AF_INET;
        addr->len = sizeof addr->in;
    } else if (inet_pton(AF_INET6, host, &addr->in6.sin6_addr) == 1) {
        addr->in6.sin6_family = AF_INET6;
        addr->len = sizeof addr->in6;
    } else {
        errno = EINVAL;
        return -1;
    }
    return 0;
}

static int parse_zone(const char *name, struct addr *addr)
{
    unsigned zone = if_nametoindex(name);

    if (zone == 0) {
        errno = ENODEV;
        return -1;
    }
    addr_set_zone(addr, zone);
    return 0;
}

int addr_parse(const char *text, uint16_t port, struct addr *addr)
{
    char host[ADDR_STRLEN];
    size_t length = strlen(text);
    const char *colon = strchr(text, ':');
    const char *port_text = NULL;
    char *zone;

    errno = EINVAL;
    if (length >= sizeof host)
        return -1;
    memset(addr, 0, sizeof *addr);
    if (text[0] == '[') {
        const char *end = strchr(text, ']');

        if (!end || (end[1] != '\0' && end[1] != ':'))
            return -1;
        if (end[1] == ':')
            port_text = end + 2;
        length = (size_t)(end - text - 1);
        memcpy(host, text + 1, length);
    } else {
        /* A single colon is before a port. More colons are an IPv6 address without a port. */
        if (colon && !strchr(colon + 1, ':')) {
            port_text = colon + 1;
            length = (size_t)(colon - text);
        }
        memcpy(host, text, length);
    }
    host[length] = '\0';
    if (port_text && read_port(port_text, &port) < 0)
        return -1;
    zone = strchr(host, '%');
    if (zone)
        *zone++ = '\0';
    if (parse_host(host, text[0] == '[', addr) < 0 || (zone && parse_zone(zone, addr) < 0))
        return -1;
    addr_set_port(addr, port);
    return 0;
}

const char *addr_print_host(const struct addr *addr, char buf[static ADDR_STRLEN])
{
    char name[IF_NAMESIZE];
    unsigned zone = addr_zone(addr);
    size_t used;

    if (addr->sa.sa_family == AF_INET)
        inet_ntop(AF_INET, &addr->in.sin_addr, buf, ADDR_STRLEN);
    else if (addr->sa.sa_family == AF_INET6)
        inet_ntop(AF_INET6, &addr->in6.sin6_addr, buf, ADDR_STRLEN);
    else
        snprintf(buf, ADDR_STRLEN, "unknown");
    if (zone == 0)
        return buf;
    if (!if_indextoname(zone, name))
        snprintf(name, sizeof name, "%u", zone);
    used = strlen(buf);
    snprintf(buf + used, ADDR_STRLEN - used, "%%%s", name);
    return buf;
}

const char *addr_print(const struct addr *addr, char buf[static ADDR_STRLEN])
{
    char host[ADDR_STRLEN];
    bool v6 = addr->sa.sa_family == AF_INET6;

    addr_print_host(addr, host);
    /* ADDR_STRLEN has room for the port; the precision proves it to the compiler. */
    snprintf(buf, ADDR_STRLEN, "%s%.*s%s:%u", v6 ? "[" : "", ADDR_STRLEN - 9, host, v6 ? "]" : "",
             (unsigned)addr_port(addr));
    return buf;
}

static bool same_host(const struct addr *a, const struct addr *b)
{
    if (a->sa.sa_family == AF_INET)
        return a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
    return memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0;
}

void addr_unmap(struct addr *addr)
{
    struct addr v4 = {.in.sin_family = AF_INET, .len = sizeof v4.in};

    if (addr->sa.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&addr->in6.sin6_addr))
        return;
    memcpy(&v4.in.sin_addr, &addr->in6.sin6_addr.s6_addr[12], sizeof v4.in.sin_addr);
    v4.in.sin_port = addr->in6.sin6_port;
    *addr = v4;
}

bool addr_is_wildcard(const struct addr *addr)
{
    if (addr->sa.sa_family == AF_INET)
        return addr->in.sin_addr.s_addr == htonl(INADDR_ANY);
    return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
    return a->sa.sa_family == b->sa.sa_family && addr_port(a) == addr_port(b) && same_host(a, b) &&
           addr_zone(a) == addr_zone(b);
}

bool addr_overlap(const struct addr *a, const struct addr *b)
{
    return a->sa.sa_family == b->sa.sa_family && addr_port(a) == addr_port(b) &&
           (same_host(a, b) || addr_is_wildcard(a) || addr_is_wildcard(b)) &&
           (addr_zone(a) == addr_zone(b) || addr_zone(a) == 0 || addr_zone(b) == 0);
}

uint16_t addr_port(const struct addr *addr)
{
    return ntohs(addr->sa.sa_family == AF_INET6 ? addr->in6.sin6_port : addr->in.sin_port);
}

void addr_set_port(struct addr *addr, uint16_t port)
{
    if (addr->sa.sa_family == AF_INET6)
        addr->in6.sin6_port = htons(port);
    else
        addr->in.sin_port = htons(port);
}
