/* SPDX-License-Identifier: ISC */
#include "report/json.h"

/* In place of json.c where there is no jansson. */
const struct report_kind report_json = {.name = "json"};
const struct report_kind report_json_lines = {.name = "json-lines"};
