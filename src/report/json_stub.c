/* SPDX-License-Identifier: ISC */
#include "report/report.h"

/* Without jansson: the command line refuses what needs it. */
const bool report_has_json = false;
const struct report_kind report_json;
const struct report_kind report_json_lines;
