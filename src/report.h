/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_H
#define ECHOD_REPORT_H

#include <stdio.h>

#include "probe.h"

/* What users see, in ping(8)'s words: results on `out`, troubles on `err`. Numbers come from the
 * engine, which is only read. */
struct report {
    FILE *out;
    FILE *err;
    const struct probe *probe;
    const struct probe_ops *ops;
    const char *host;            /* as the user wrote it */
    const struct net_addr *peer; /* being probed */
    const char *name;            /* of the peer's address; "": show only the address */
    bool quiet;                  /* no line for each reply */
    int error;                   /* errno of writing to `out`; 0: none */
};

/* "PROBE localhost (127.0.0.1) port 7 udp 56(84) bytes of data." False if `out` cannot be written.
 */
bool report_start(struct report *report);

/* One event, if it is to be shown; a probe_listener with the report as context. False once `out`
 * cannot be written. */
bool report_event(void *report, const struct probe_event *event);

/* The statistics of a run that took `elapsed` nanoseconds. */
void report_summary(struct report *report, uint64_t elapsed);

/* Write what is buffered. 0, or -1 after saying on `err` why `out` cannot be written. */
int report_finish(struct report *report);
#endif
