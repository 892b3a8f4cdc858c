/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_JSON_H
#define ECHOD_REPORT_JSON_H

#include "report/report.h"

/* One document, at the end. */
extern const struct report_kind report_json;

/* An object for each reply, then the summary. */
extern const struct report_kind report_json_lines;

#endif
