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

/* Which values of a figure reach a state. */
enum threshold_kind {
    THRESHOLD_NONE,    /* no value does */
    THRESHOLD_MIN,     /* `low` and more, as check_ping has it */
    THRESHOLD_OUTSIDE, /* less than `low` and more than `high`: the guidelines' "10:20" */
    THRESHOLD_INSIDE   /* from `low` to `high`: the guidelines' "@10:20" */
};

struct threshold_range {
    enum threshold_kind kind;
    uint64_t low;
    uint64_t high; /* UINT64_MAX: no limit */
};

#define THRESHOLD_FROM(value)                                                                      \
    {                                                                                              \
        .kind = THRESHOLD_MIN, .low = (value)                                                      \
    }

struct threshold {
    struct threshold_range rta;  /* average round trip, nanoseconds */
    struct threshold_range loss; /* hundredths of a percent */
};

#define THRESHOLD_MAX_RTA  UINT64_C(3600000000000)
#define THRESHOLD_ALL_LOST 10000

/* "100.0,20%": milliseconds up to THRESHOLD_MAX_RTA and percent. Each may be a range instead:
 * "10:20", "10:", "~:20", "@10:20". The comma and the loss may be left out, and the percent sign.
 * False if it is not that. */
bool threshold_parse(const char *text, struct threshold *threshold);

/* The same text, with three decimals or more for the time. */
#define THRESHOLD_TEXT 120
const char *threshold_print(const struct threshold *threshold, char text[static THRESHOLD_TEXT]);

/* Whether a warning would begin later than what is critical, where both are single values. */
bool threshold_contradict(const struct threshold *warning, const struct threshold *critical);

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
