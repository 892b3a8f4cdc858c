/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_ADDR_H
#define ECHOD_COMMON_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* One type for IPv4 and IPv6 addresses: parse, print, compare. */

/* An IPv4 or IPv6 address with its port and zone. The zone is the index of an interface, 0: any. An
 * IPv6 address has it in sin6_scope_id, an IPv4 address in sin_zero, which the kernel ignores. */
struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    socklen_t len;
};

/* The index of the interface; 0: any. */
unsigned addr_zone(const struct addr *addr);
void addr_set_zone(struct addr *addr, unsigned zone);

/* Enough for "[address%zone]:port" and its NUL. */
#define ADDR_STRLEN (INET6_ADDRSTRLEN + 1 + 16 + 2 + 6)

/* Parse a numeric address with or without a port: "192.0.2.1", "192.0.2.1:7007", "2001:db8::1",
 * "[2001:db8::1]:7007", "fe80::1%eth0", "[fe80::1%eth0]:7", "192.0.2.1%eth0:7". `port` (host order)
 * is used if the text has no port. Returns -1 with errno: EINVAL if the text is not of these forms,
 * ERANGE if the port is not 1 to 65535, ENODEV if this host has no interface of that zone. */
int addr_parse(const char *text, uint16_t port, struct addr *addr);

/* "192.0.2.1:7", "[2001:db8::1]:7", "[fe80::1%eth0]:7". Returns buf. */
const char *addr_print(const struct addr *addr, char buf[static ADDR_STRLEN]);

/* "192.0.2.1", "2001:db8::1", "fe80::1%eth0". Returns buf. */
const char *addr_print_host(const struct addr *addr, char buf[static ADDR_STRLEN]);

/* True if family, address, zone and port are the same. */
bool addr_equal(const struct addr *a, const struct addr *b);

/* True if two sockets cannot be bound to them without SO_REUSEPORT: the family and the port are the
 * same, the addresses are the same or one is a wildcard, and so it is with the zones. */
bool addr_overlap(const struct addr *a, const struct addr *b);

/* Turn an IPv4-mapped IPv6 address (::ffff:192.0.2.1, RFC 4291 2.5.5.2) into the IPv4 address that
 * it stands for. Other addresses stay. */
void addr_unmap(struct addr *addr);

/* True for 0.0.0.0 and ::, with any port. */
bool addr_is_wildcard(const struct addr *addr);

/* Ports are in host order. */
uint16_t addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, uint16_t port);

#endif
