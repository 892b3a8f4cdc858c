/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_THRESHOLDS_H
#define ECHOD_TOOLS_THRESHOLDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/decimal.h"

/* What the monitoring-plugins guidelines ask of a check of round trips: states, thresholds and
 * performance data. */

/* These are exit statuses. */
enum threshold_state { STATE_OK, STATE_WARNING, STATE_CRITICAL, STATE_UNKNOWN };

const char *threshold_state_name(enum threshold_state state);

/* From where on a state is reached. */
struct threshold {
    uint64_t rta;  /* average round trip, nanoseconds */
    unsigned loss; /* hundredths of a percent */
};

#define THRESHOLD_MAX_RTA  UINT64_C(3600000000000)
#define THRESHOLD_ALL_LOST 10000

/* "100.0,20%": milliseconds up to THRESHOLD_MAX_RTA and percent; that sign may be left out. False
 * if it is not that. */
bool threshold_parse(const char *text, struct threshold *threshold);

/* What was measured. */
struct threshold_result {
    double rta;    /* nanoseconds; < 0: nothing came back */
    uint64_t sent; /* probes */
    uint64_t lost; /* of those; all, if none could be sent */
};

/* The loss in percent, see print_percent(). */
const char *threshold_loss(const struct threshold_result *result, unsigned digits,
                           char text[static DECIMAL_SIZE]);

enum threshold_state threshold_judge(const struct threshold_result *result,
                                     const struct threshold *warning,
                                     const struct threshold *critical);

/* "rta=0.009ms;100.000;200.000;0; pl=0%;10;20;0;100", as check_icmp has it. */
void threshold_performance(FILE *out, const struct threshold_result *result,
                           const struct threshold *warning, const struct threshold *critical);

#endif
