/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_TEXT_H
#define ECHOD_REPORT_TEXT_H

#include "report/report.h"

/* ping(8)'s lines, and what they become with other options. */
extern const struct report_kind report_text;

#endif
