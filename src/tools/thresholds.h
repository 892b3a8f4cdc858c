/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_THRESHOLDS_H
#define ECHOD_TOOLS_THRESHOLDS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What the monitoring-plugins guidelines ask of a check of round trips: states, thresholds and
 * performance data. */

/* These are exit statuses. */
enum plugin_state { PLUGIN_OK, PLUGIN_WARNING, PLUGIN_CRITICAL, PLUGIN_UNKNOWN };

const char *plugin_name(enum plugin_state state);

/* From where on a state is reached. */
struct plugin_threshold {
    uint64_t rta;  /* average round trip, nanoseconds */
    unsigned loss; /* hundredths of a percent */
};

#define PLUGIN_MAX_RTA  UINT64_C(3600000000000)
#define PLUGIN_ALL_LOST 10000

/* "100.0,20%": milliseconds up to PLUGIN_MAX_RTA and percent; that sign may be left out. False if
 * it is not that. */
bool plugin_parse(const char *text, struct plugin_threshold *threshold);

/* What was measured. */
struct plugin_result {
    double rta;  /* nanoseconds; < 0: nothing came back */
    double loss; /* percent */
};

enum plugin_state plugin_judge(const struct plugin_result *result,
                               const struct plugin_threshold *warning,
                               const struct plugin_threshold *critical);

/* "rta=0.009ms;100.000;200.000;0; pl=0%;10;20;0;100", as check_icmp has it. */
void plugin_performance(FILE *out, const struct plugin_result *result,
                        const struct plugin_threshold *warning,
                        const struct plugin_threshold *critical);

#endif
