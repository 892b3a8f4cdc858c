/* SPDX-License-Identifier: ISC */
#include "report/formats.h"

#include <stddef.h>
#include <string.h>

#include "report/graph.h"
#include "report/json.h"
#include "report/text.h"

const struct report_kind *const report_formats[] = {
    &report_text, &report_graph, &report_json, &report_json_lines, NULL,
};

const struct report_kind *report_format(const char *name)
{
    for (size_t i = 0; report_formats[i]; i++)
        if (strcmp(report_formats[i]->name, name) == 0)
            return report_formats[i]->start ? report_formats[i] : NULL;
    return NULL;
}
