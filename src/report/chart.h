/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_CHART_H
#define ECHOD_REPORT_CHART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "probe/engine.h"

/* Pictures in plain characters, and the figures that they are made of. */

/* A time with three digits in a unit that suits it: "45.1 us". */
#define CHART_TIME 32
const char *chart_time(uint64_t ns, char text[static CHART_TIME]);

/* The round number that is next above a value, or the highest that is not. */
uint64_t chart_bound(uint64_t value, bool above);

/* How many probes were answered or given up. */
uint64_t chart_decided(const struct probe *probe);

/* The distribution of round trips in at most `rows` bars of a total width of at most `columns`. */
void chart_histogram(FILE *out, const struct rtt *rtt, unsigned rows, unsigned columns);

/* One line without an end: how far the run is, its rate, loss, and what is left of it. At most
 * `columns` wide. */
void chart_progress(FILE *out, const struct probe *probe, uint64_t now, unsigned columns);

#endif
