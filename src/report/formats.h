/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_FORMATS_H
#define ECHOD_REPORT_FORMATS_H

#include "report/report.h"

/* Every format that echo-probe knows, those that this build lacks included; NULL at the end. */
extern const struct report_kind *const report_formats[];

/* The format by its name; NULL: there is none, or this build lacks it. */
const struct report_kind *report_format(const char *name);

#endif
