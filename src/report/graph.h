/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_GRAPH_H
#define ECHOD_REPORT_GRAPH_H

#include "report/report.h"

/* A live picture; lines of text where there is no terminal. */
extern const struct report_kind report_graph;

#endif
