/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_EXPORTER_CONF_H
#define ECHOD_EXPORTER_CONF_H

#include "common/addr.h"
#include "common/conf_parse.h"

/* The configuration of echo-exporter. Constant once it is loaded. */
struct exporter_conf {
    struct addr listen; /* where HTTP is served, unless a socket was handed over */
    char *metrics;      /* path of the socket of echod's metrics */
};

/* Read and check the file; NULL stands for an empty one. Each error is reported as "FILE:LINE:
 * message". Returns NULL if there was any. */
struct exporter_conf *exporter_conf_load(const char *path, parse_report *report, void *context);

/* NULL is allowed. */
void exporter_conf_free(struct exporter_conf *config);

#endif
