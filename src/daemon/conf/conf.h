/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_CONF_CONF_H
#define ECHOD_DAEMON_CONF_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/addr.h"
#include "common/conf_parse.h"
#include "common/log.h"
#include "common/prefix.h"

/* The configuration: a file's text in, one immutable struct out. */

/* A set of ports: bit (port % 8) of octet (port / 8). */
struct conf_ports {
    uint8_t bits[65536 / 8];
};

/* Where one protocol is served. */
struct conf_listen {
    struct addr *addr; /* with their ports; no two of them overlap */
    size_t count;
    unsigned line; /* of the list in the file, else of the port, else 0: for an error of bind(2) */
    bool is_default; /* the file names no address: a family that this host lacks is no error */
};

struct conf_prefixes {
    struct prefix *list;
    size_t count;
};

struct conf_tcp {
    bool enabled;
    struct conf_listen listen;
    unsigned port;
    bool mptcp;
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

struct conf_access {
    struct conf_prefixes allow;
    struct conf_prefixes deny;
};

/* Limits of one source. */
struct conf_limits {
    unsigned udp_rate;  /* datagrams a second; 0: no limit */
    unsigned udp_burst; /* datagrams at once; 0: no limit */
    unsigned ipv4_prefix;
    unsigned ipv6_prefix;
    unsigned table_size; /* sources that are remembered */
    struct conf_prefixes exempt;
};

/* Who may read the metrics, and where. */
struct conf_metrics {
    char *listen; /* path of a Unix socket; "": none */
    char *group;  /* of the socket; "": the daemon's own */
};

struct conf {
    char *user;         /* NULL: the default, see privileges_find() */
    char *group;        /* NULL: the user's own */
    unsigned workers;   /* 0: one for each usable CPU */
    unsigned busy_poll; /* microseconds */
    bool sandbox;
    bool sandbox_required;  /* do not serve if the sandbox lacks anything */
    bool freebind;          /* bind addresses that do not exist yet */
    unsigned drain_timeout; /* seconds */
    enum log_target log_target;
    enum log_level log_level;
    struct conf_tcp tcp;
    struct conf_udp udp;
    struct conf_access access;
    struct conf_limits limits;
    struct conf_metrics metrics;
};

enum conf_kind {
    CONF_BOOLEAN,
    CONF_NUMBER,
    CONF_USER,
    CONF_GROUP,
    CONF_PATH,
    CONF_TARGET,
    CONF_LEVEL,
    CONF_LISTEN,
    CONF_PORTS,
    CONF_PREFIXES
};

struct conf_key {
    const char *name; /* with its section, as in "tcp.port" */
    enum conf_kind kind;
    size_t offset; /* of the value in struct conf */
    bool needs_restart;
    unsigned min, max;       /* of a number */
    const char *defaults[3]; /* values as a file has them; NULL ends them */
};

/* Every key. */
extern const struct conf_key conf_keys[];
extern const size_t conf_key_count;

/* What the command line sets, whatever the file says. */
struct conf_overrides {
    unsigned port;    /* of every address of both protocols; 0: as the file says */
    int log_level;    /* -1: as the file says */
    bool any_account; /* do not look up user and group: the sandbox does not let us */
};

/* Read and check a configuration; a key that is not in the file has its default. Returns NULL if
 * there was an error. Errors are reported in the order of lines; beyond the first hundred only
 * their number is. `path` NULL stands for an empty file, `overrides` NULL for none. The caller
 * frees the result with conf_free(). */
struct conf *conf_load(const char *path, const struct conf_overrides *overrides,
                       parse_report *report, void *context);

/* NULL is allowed. */
void conf_free(struct conf *conf);

bool conf_ports_has(const struct conf_ports *ports, uint16_t port);

#endif
