/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_METRICS_TEXT_H
#define ECHOD_COMMON_METRICS_TEXT_H

#include <stddef.h>
#include <stdio.h>

/* The text format of Prometheus, version 0.0.4: families of samples, each family begun by a line of
 * help and a line of its type. */

struct metrics_label {
    const char *name;
    const char *value; /* any text; what the format reserves is escaped */
};

/* Begin a family. `type` is "counter", "gauge" or "histogram". */
void metrics_family(FILE *out, const char *name, const char *type, const char *help);

/* One sample of the family that was begun last. Whole numbers up to 2^53 are printed exactly. */
void metrics_sample(FILE *out, const char *name, const struct metrics_label labels[], size_t count,
                    double value);

#endif
