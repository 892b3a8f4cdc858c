/* SPDX-License-Identifier: ISC */
#include "probe/resolve.h"

#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#define DIGITS "0123456789"

static int check_port(const char *port, char why[static RESOLVE_WHY])
{
    size_t len = strspn(port, DIGITS);
    unsigned value = 0;

    if (port[len] != '\0')
        return 0;
    for (size_t i = 0; i < len && value <= 65535; i++)
        value = value * 10 + (unsigned)(port[i] - '0');
    if (value >= 1 && value <= 65535)
        return 0;
    snprintf(why, RESOLVE_WHY, "port '%s': 1 to 65535 or the name of a service is allowed", port);
    return -1;
}

/* Strip the brackets of "[2001:db8::1]". */
static int strip(const char *host, char name[static NI_MAXHOST], bool *bracketed)
{
    size_t len = strlen(host);

    *bracketed = len > 2 && host[0] == '[' && host[len - 1] == ']';
    if (len == 0 || len >= NI_MAXHOST)
        return -1;
    if (*bracketed)
        snprintf(name, NI_MAXHOST, "%.*s", (int)len - 2, host + 1);
    else
        memcpy(name, host, len + 1);
    return 0;
}

static const char *advice(int rc, int family)
{
    switch (rc) {
    case EAI_AGAIN:
        return "the name servers do not answer: try later, see /etc/resolv.conf, or give an "
               "address";
    case EAI_SERVICE:
        return "give a number, or a name of /etc/services";
    case EAI_NODATA:
    case EAI_ADDRFAMILY:
    case EAI_NONAME:
        if (family != AF_UNSPEC)
            return family == AF_INET
                       ? "it may have no IPv4 address: check the name, or leave out -4"
                       : "it may have no IPv6 address: check the name, or leave out -6";
        return "check the name, or give an address; a zone must be an interface of this host";
    default:
        return "give an address instead of a name";
    }
}

/* musl's getaddrinfo(3) knows no other form of names than the one that it is given. */
#ifndef AI_IDN
#define AI_IDN 0
#endif

static bool is_ascii(const char *name)
{
    while (*name > 0 && *name < 127)
        name++;
    return *name == '\0';
}

/* A name with other letters is taken as UTF-8, and looked up in its ASCII form (RFC 5891). */
static int lookup(const char *name, const char *port, const struct addrinfo *wanted, bool *numeric,
                  struct addrinfo **found)
{
    struct addrinfo hints = *wanted;
    locale_t utf8;
    locale_t before;
    int rc;

    hints.ai_flags |= AI_NUMERICHOST;
    rc = getaddrinfo(name, port, &hints, found);
    *numeric = rc == 0;
    if (rc != EAI_NONAME || wanted->ai_flags != 0)
        return rc;
    hints.ai_flags = is_ascii(name) ? 0 : AI_IDN;
    utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
    before = utf8 ? uselocale(utf8) : NULL;
    rc = getaddrinfo(name, port, &hints, found);
    if (utf8) {
        uselocale(before);
        freelocale(utf8);
    }
    return rc;
}

int resolve(const char *host, const char *port, int family, int type, struct addr list[RESOLVE_MAX],
            bool *numeric, char why[static RESOLVE_WHY])
{
    struct addrinfo wanted = {.ai_family = family, .ai_socktype = type};
    struct addrinfo *found = NULL;
    char name[NI_MAXHOST];
    bool bracketed;
    int count = 0;
    int rc;

    if (check_port(port, why) < 0)
        return -1;
    if (strip(host, name, &bracketed) < 0) {
        snprintf(why, RESOLVE_WHY, "host '%.100s': a name or an address is needed", host);
        return -1;
    }
    if (bracketed)
        wanted.ai_flags = AI_NUMERICHOST;
    rc = lookup(name, port, &wanted, numeric, &found);
    if (rc != 0) {
        snprintf(why, RESOLVE_WHY, "%s '%.100s': %s: %s", rc == EAI_SERVICE ? "port" : "host",
                 rc == EAI_SERVICE ? port : host,
                 rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc), advice(rc, family));
        return -1;
    }
    for (const struct addrinfo *ai = found; ai && count < RESOLVE_MAX; ai = ai->ai_next) {
        memcpy(&list[count].sa, ai->ai_addr, ai->ai_addrlen);
        list[count].len = ai->ai_addrlen;
        addr_unmap(&list[count++]);
    }
    freeaddrinfo(found);
    if (family == AF_INET6 && list[0].sa.sa_family == AF_INET) {
        snprintf(why, RESOLVE_WHY, "host '%.100s': an IPv4 address: leave out -6", host);
        return -1;
    }
    return count;
}

const char *resolve_name(const struct addr *addr, char name[static NI_MAXHOST])
{
    /* The owner of the reverse zone chooses these octets; they must not steer a terminal. */
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._:%" DIGITS;

    if (getnameinfo(&addr->sa, addr->len, name, NI_MAXHOST, NULL, 0, NI_NAMEREQD) != 0 ||
        name[strspn(name, allowed)] != '\0')
        name[0] = '\0';
    return name;
}
