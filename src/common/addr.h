/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_ADDR_H
#define ECHOD_COMMON_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Addresses of both families in one type. Functions that can fail return -1 with errno set. */

/* An IPv4 or IPv6 address with its port. */
struct addr {
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    socklen_t len;
};

/* Room for "[address%zone]:port" and its end. */
#define ADDR_STRLEN (INET6_ADDRSTRLEN + 1 + 16 + 2 + 6)

/* Numeric address, optionally with a port: "192.0.2.1", "192.0.2.1:7007", "2001:db8::1",
 * "[2001:db8::1]:7007", "fe80::1%eth0", "[fe80::1%eth0]:7". `port` (host order) stands where the
 * text names none. The whole text must match. EINVAL: no such form; ERANGE: port not 1 to 65535;
 * ENODEV: no such zone on this host. */
int addr_parse(const char *text, uint16_t port, struct addr *addr);

/* "192.0.2.1:7", "[2001:db8::1]:7", "[fe80::1%eth0]:7". Returns buf. */
const char *addr_print(const struct addr *addr, char buf[static ADDR_STRLEN]);

/* The same without brackets and port. Returns buf. */
const char *addr_print_host(const struct addr *addr, char buf[static ADDR_STRLEN]);

/* Same family, address, zone and port. */
bool addr_equal(const struct addr *a, const struct addr *b);

/* True if both cannot be bound at once without sharing: same family and port, and the same address
 * or a wildcard. */
bool addr_overlap(const struct addr *a, const struct addr *b);

/* 0.0.0.0 or ::, whatever the port. */
bool addr_is_wildcard(const struct addr *addr);

/* Host order. */
uint16_t addr_port(const struct addr *addr);
void addr_set_port(struct addr *addr, uint16_t port);

#endif
