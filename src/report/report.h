/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_REPORT_REPORT_H
#define ECHOD_REPORT_REPORT_H

#include <stdio.h>

#include "common/decimal.h"
#include "probe/engine.h"

/* What users and programs see of a run: results on `out`, troubles on `err`. Numbers come from the
 * engine, which is only read. There is one table of functions for each format. */

struct report;

/* One for each format, in a module of its own; formats.c lists them. Every member but `tick` must
 * be there. A format that this build lacks has only its name. */
struct report_kind {
    const char *name; /* the option that chooses it, without "--" */
    uint64_t tick;    /* how often it takes PROBE_TICK, in nanoseconds; 0: it does not need that */

    /* An address is about to be tried: report->peer and report->name. */
    void (*start)(struct report *report);

    void (*event)(struct report *report, const struct probe_event *event);

    /* The statistics of a run that took `elapsed` nanoseconds. */
    void (*summary)(struct report *report, uint64_t elapsed);

    /* Free what the format allocated. It may come without start and summary before. */
    void (*finish)(struct report *report);
};

struct report {
    const struct report_kind *kind;
    FILE *out;
    FILE *err;
    const struct probe *probe;
    const struct probe_ops *ops;
    const char *host;        /* as the user wrote it */
    const struct addr *peer; /* being probed */
    const char *name;        /* of the peer's address; "": show only the address */
    bool quiet;              /* no line for each reply */
    bool verbose;            /* also what is not a reply to this run */
    bool dates;              /* begin each line with the time of day */
    bool progress;           /* PROBE_TICK rewrites a line on `err`, a terminal */
    bool histogram;          /* the distribution is drawn at the end */
    bool message;            /* show the octets that came back */
    bool sources;            /* figures of each source port */
    double cpu;              /* microseconds that a process used for an echo; < 0: not asked */
    long pid;                /* of that process */
    int error;               /* errno of writing to `out`; 0: none */
    void *state;             /* the format's own */
};

/* These call the format's functions; false, or -1, once `out` cannot be written, which
 * report_finish() says on `err`. report_event is a probe_listener with the report as context. */
bool report_start(struct report *report);
bool report_event(void *report, const struct probe_event *event);
void report_summary(struct report *report, uint64_t elapsed);
int report_finish(struct report *report);

/* ---- shared by the formats ---- */

/* Percent of the probes sent that were not received. */
double report_loss(uint64_t sent, uint64_t received);

/* The same as text, see print_percent(). */
const char *report_loss_text(uint64_t sent, uint64_t received, unsigned digits,
                             char text[static DECIMAL_SIZE]);

/* Counters that users may want to know, in the order of the summary. */
struct report_counter {
    const char *text; /* "out of order" */
    const char *key;  /* "out_of_order" */
    uint64_t value;
};
#define REPORT_COUNTERS 11
/* Those beyond sent and received, also where they are 0. Returns how many there are. */
unsigned report_counters(const struct probe *probe, struct report_counter list[REPORT_COUNTERS]);

/* "min/avg/max/mdev = 0.022/0.039/0.054/0.013 ms" */
void report_times(FILE *out, const struct rtt *rtt);

/* The figures so far, as a line on `err`: on the terminal, and out of the way of what is piped. */
void report_status(const struct report *report);

/* What an errno of the network is, and what to do about it: "Connection refused: nothing listens
 * ...". `peer` is who was probed (NULL: nobody). */
void report_error(FILE *out, const struct probe *probe, const struct addr *peer, int error);

/* The same of PROBE_ERROR and PROBE_FAILURE. What somebody on the way says by ICMP stands there
 * without advice. A port that the peer itself calls unreachable is a plain refusal. */
void report_event_error(FILE *out, const struct report *report, const struct probe_event *event);

/* PROBE_CLOSED and PROBE_FAILURE as a sentence on `err`. */
void report_closed(const struct report *report, const struct probe_event *event);
void report_failure(const struct report *report, const struct probe_event *event);

#endif
