/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_SERVER_H
#define ECHOD_DAEMON_SERVER_H

#include "daemon/conf/conf.h"

/* The daemon as a whole: start, reload, drain, stop. */

struct server_options {
    const char *config; /* NULL: the default file, which may be missing */
    struct conf_overrides overrides;
};

/* Serve until told to stop. Returns the exit status: 0 stopped as asked, 1 run-time failure,
 * EX_NOPERM, EX_CONFIG (sysexits.h). */
int server_run(const struct server_options *options);

/* Only check the configuration: print "FILE: configuration OK" on stdout, or every error on stderr.
 * Returns the exit status: 0, EX_CONFIG, or 1 if stdout cannot be written. */
int server_test(const struct server_options *options);

#endif
