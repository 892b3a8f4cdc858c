/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_CONF_CONF_H
#define ECHOD_DAEMON_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/log.h"
#include "common/prefix.h"

/* The configuration: text in, one immutable struct out. The only user of libConfuse. */

/* A set of ports: bit (port % 8) of octet (port / 8). */
struct conf_ports {
    uint8_t bits[65536 / 8];
};

/* Where one protocol is served. */
struct conf_listen {
    struct addr *addr; /* ports filled in; no two of them overlap */
    size_t count;
    unsigned line;   /* of the file, for an error when a socket is opened: the list's, else the
                        port's, else 0 */
    bool is_default; /* not named by the file: an address family this host lacks is no error */
};

struct conf_prefixes {
    struct prefix *list;
    size_t count;
};

struct conf_tcp {
    bool enabled;
    struct conf_listen listen;
    unsigned port;
    unsigned backlog;
    unsigned max_connections;            /* 0: as many as descriptors allow */
    unsigned max_connections_per_source; /* 0: no limit */
    unsigned idle_timeout;               /* seconds; 0: never */
};

struct conf_udp {
    bool enabled;
    struct conf_listen listen;
    unsigned port;
    bool reflect_tos;
    bool answer_broadcast;
    struct conf_ports refuse_source_ports;
};

/* Who may be served. */
struct conf_access {
    struct conf_prefixes allow;
    struct conf_prefixes deny;
};

/* How much one source may have. */
struct conf_limits {
    unsigned udp_rate;  /* datagrams a second; 0, here and below: no limit */
    unsigned udp_burst; /* and at once */
    unsigned ipv4_prefix;
    unsigned ipv6_prefix;
    unsigned table_size;
    struct conf_prefixes exempt;
};

struct conf {
    char *user;
    char *group;        /* NULL: the user's own */
    unsigned workers;   /* 0: one for each usable CPU */
    unsigned busy_poll; /* microseconds */
    bool sandbox;
    unsigned drain_timeout; /* seconds */
    enum log_target log_target;
    enum log_level log_level;
    struct conf_tcp tcp;
    struct conf_udp udp;
    struct conf_access access;
    struct conf_limits limits;
};

/* What the command line says over the file. */
struct conf_overrides {
    unsigned port;    /* 0: none; else every address of both protocols is served on it */
    int log_level;    /* -1: none */
    bool any_account; /* do not look up user and group: the sandbox keeps us from it */
};

/* Told of each error in turn: "FILE:LINE: message", or "FILE: message" where no line is to blame;
 * ready to print, without newline. */
typedef void conf_report(void *context, const char *message);

/* Read, check and return a configuration, with defaults for what it does not name; NULL if there
 * was any error, every one of which has been reported in the order of lines (beyond the first few
 * dozen only their number). `path` NULL stands for an empty file, `overrides` NULL for none. The
 * caller ends it with conf_free(). */
struct conf *conf_load(const char *path, const struct conf_overrides *overrides,
                       conf_report *report, void *context);

/* NULL is allowed. */
void conf_free(struct conf *conf);

/* Told of a key that differs, with both values as text, cut short, and whether it takes effect only
 * at a restart. */
typedef void conf_change(void *context, const char *key, const char *before, const char *after,
                         bool needs_restart);

/* Compare two configurations key by key. Returns how many differ. */
size_t conf_compare(const struct conf *before, const struct conf *after, conf_change *each,
                    void *context);

bool conf_ports_has(const struct conf_ports *ports, uint16_t port);

#endif
