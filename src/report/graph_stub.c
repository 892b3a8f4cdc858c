/* SPDX-License-Identifier: ISC */
#include "report/graph.h"

#include <unistd.h>

#include "report/text.h"

/* In place of graph.c where there is no ncurses: plain lines. */

static void stub_start(struct report *report)
{
    if (isatty(fileno(report->out)))
        fputs("echo-probe: built without ncurses, so there is no --graph but only text\n",
              report->err);
    report->kind = &report_text;
    report_text.start(report);
}

static void stub_event(struct report *report, const struct probe_event *event)
{
    report->kind = &report_text;
    report_text.event(report, event);
}

static void stub_summary(struct report *report, uint64_t elapsed)
{
    report->kind = &report_text;
    report_text.summary(report, elapsed);
}

static void stub_finish(struct report *report)
{
    report->kind = &report_text;
    report_text.finish(report);
}

const struct report_kind report_graph = {
    .name = "graph",
    .start = stub_start,
    .event = stub_event,
    .summary = stub_summary,
    .finish = stub_finish,
};
