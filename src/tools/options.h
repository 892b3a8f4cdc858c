/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_OPTIONS_H
#define ECHOD_TOOLS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cli.h"
#include "report/report.h"

enum timestamps { TIMESTAMPS_DEFAULT, TIMESTAMPS_KERNEL, TIMESTAMPS_USER };

/* echo-probe's command line. */
struct options {
    struct probe_settings settings;
    const struct probe_ops *ops;
    const struct report_kind *kind;
    const char *host;
    const char *port;
    const char *size;         /* as it was written; NULL: not given */
    const char *message;      /* the payload, or "-"; NULL: not given */
    uint64_t interval;        /* nanoseconds; 0: not given */
    const char *pattern_text; /* -p as it was written; NULL: not given */
    uint8_t pattern[16];      /* to fill the payload with */
    size_t pattern_size;      /* octets; 0: not given */
    pid_t pid;                /* the process whose CPU time is reported; 0: none */
    unsigned sources;         /* source ports; 0: not given */
    unsigned connections;     /* 0: not given */
    enum timestamps timestamps;
    int family;
    bool adaptive;
    bool connect;
    bool flood;
    bool mtu;
    bool numeric;
    bool quiet;
    bool verbose;
    bool dates;
    bool histogram;
    bool wait_up;
    uint64_t mark; /* 0: none */
};

extern const struct cli options_cli;

/* Read the command line. An error in it ends the program, and so do -h and -V. */
void options_parse(struct options *options, int argc, char *argv[]);

/* Once the family is known: the size of the payload that is to be sent over it. */
void options_size(struct options *options, int family);

#endif
