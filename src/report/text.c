/* SPDX-License-Identifier: ISC */
#include "report/text.h"

#include <inttypes.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/time.h>

#include "common/decimal.h"
#include "common/mask.h"
#include "common/util.h"
#include "report/chart.h"

/* Headers of UDP and IP, for the size on the wire. */
#define HEADERS_IPV4 28
#define HEADERS_IPV6 48

/* Source ports to name in the summary. */
#define WORST 5

#define HISTOGRAM_ROWS 20

/* Three significant digits are what a round trip is good for. */
static void put_time(FILE *out, uint64_t ns)
{
    double ms = (double)ns / MILLISECOND;
    unsigned decimals = ms < 0.9995 ? 3 : ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0;
    char text[DECIMAL_SIZE];

    fprintf(out, "%s ms", print_decimal(ms, decimals, text));
}

/* "0.022/0.054 ms" */
static void put_times_of(FILE *out, const double times[], unsigned count)
{
    char text[DECIMAL_SIZE];

    for (unsigned i = 0; i < count; i++)
        fprintf(out, "%s%s", i > 0 ? "/" : "", print_milliseconds(times[i], text));
    fputs(" ms", out);
}

/* "localhost (127.0.0.1)"; the address alone if it is not the peer's, or names are not wanted. */
static void put_source(const struct report *report, const struct addr *from)
{
    char address[ADDR_STRLEN];
    char peer[ADDR_STRLEN];

    addr_print_host(from, address);
    if (report->name[0] != '\0' && strcmp(address, addr_print_host(report->peer, peer)) == 0)
        fprintf(report->out, "%s (%s)", report->name, address);
    else
        fputs(address, report->out);
}

static void put_seq(const struct report *report, uint64_t seq)
{
    fprintf(report->out, " %s_seq=", report->ops->name);
    if (seq != 0)
        fprintf(report->out, "%" PRIu64, seq);
    else
        fputc('?', report->out);
}

/* The time of day, as ping(8) -D writes it. */
static void put_date(const struct report *report)
{
    struct timeval now;

    if (!report->dates)
        return;
    gettimeofday(&now, NULL);
    fprintf(report->out, "[%lld.%06ld] ", (long long)now.tv_sec, (long)now.tv_usec);
}

static void text_start(struct report *report)
{
    char address[ADDR_STRLEN];
    size_t size = report->probe->settings.size;

    fputs("PROBE ", report->out);
    print_masked_text(report->out, report->host);
    fprintf(report->out, " (%s) port %u %s %zu", addr_print_host(report->peer, address),
            (unsigned)addr_port(report->peer), report->ops->name, size);
    if (report->ops->type == SOCK_DGRAM)
        fprintf(report->out, "(%zu)",
                size + (report->peer->sa.sa_family == AF_INET ? HEADERS_IPV4 : HEADERS_IPV6));
    fputs(" bytes of data.\n", report->out);
}

/* ---- events ---- */

static void put_verdict(const struct report *report, const struct probe_event *event)
{
    switch (event->kind) {
    case PROBE_RECEIVED:
        if (event->reordered)
            fputs(" (out of order)", report->out);
        break;
    case PROBE_DUPLICATE:
        fputs(" (DUP!)", report->out);
        break;
    case PROBE_LATE:
        fputs(" (LATE!)", report->out);
        break;
    case PROBE_TRUNCATED:
        fprintf(report->out, " (TRUNCATED! %zu bytes sent)", report->probe->settings.size);
        break;
    case PROBE_CORRUPT:
        fprintf(report->out, " (CORRUPT! first wrong byte at offset %zu)", event->wrong);
        break;
    case PROBE_WRONG_SOURCE:
        fputs(" (WRONG SOURCE!)", report->out);
        break;
    default:
        break;
    }
}

static void put_message(FILE *out, const uint8_t *octets, size_t size)
{
    fputs(" \"", out);
    if (octets)
        print_masked(out, octets, size, "\"\\");
    fputc('"', out);
}

static void put_reply(const struct report *report, const struct probe_event *event)
{
    FILE *out = report->out;

    put_date(report);
    fprintf(out, "%zu bytes from ", event->size);
    put_source(report, event->from);
    if (event->kind == PROBE_WRONG_SOURCE)
        fprintf(out, " port %u", (unsigned)addr_port(event->from));
    fputc(':', out);
    if (event->kind == PROBE_FOREIGN) {
        fputs(" not a reply to any probe of this run", out);
    } else {
        put_seq(report, event->seq);
        if ((report->verbose || report->sources) && event->link->port != 0)
            fprintf(out, " source_port=%u", (unsigned)event->link->port);
        if (event->connect != 0) {
            fputs(" connect=", out);
            put_time(out, event->connect);
        }
        if (event->time != 0) {
            fputs(" time=", out);
            put_time(out, event->time);
        }
    }
    put_verdict(report, event);
    if (report->message)
        put_message(out, event->octets, event->size);
    fputc('\n', out);
}

static void put_probe_error(const struct report *report, const struct probe_event *event)
{
    put_date(report);
    fputs("From ", report->out);
    if (event->from)
        put_source(report, event->from);
    else
        fputs("this host", report->out);
    fputc(':', report->out);
    put_seq(report, event->seq);
    fputc(' ', report->out);
    report_event_error(report->out, report, event);
}

static void put_connected(const struct report *report, const struct probe_event *event)
{
    put_date(report);
    fputs("Connected to ", report->out);
    put_source(report, event->from);
    fprintf(report->out, " port %u: time=", (unsigned)addr_port(event->from));
    put_time(report->out, event->time);
    fputc('\n', report->out);
}

static void put_overdue(const struct report *report, const struct probe_event *event)
{
    put_date(report);
    fputs("no answer yet for", report->out);
    put_seq(report, event->seq);
    fputc('\n', report->out);
}

/* Remove the line of progress before anything else is written. */
static void clear_progress(const struct report *report)
{
    if (report->progress)
        fputs("\r\033[K", report->err);
}

static void put_progress(const struct report *report)
{
    struct winsize window = {.ws_col = 80};

    if (!report->progress)
        return;
    ioctl(fileno(report->err), TIOCGWINSZ, &window);
    fputc('\r', report->err);
    chart_progress(report->err, report->probe, clock_now(),
                   window.ws_col ? window.ws_col - 1u : 79u);
    fputs("\033[K", report->err);
}

static void text_event(struct report *report, const struct probe_event *event)
{
    switch (event->kind) {
    case PROBE_TICK:
        put_progress(report);
        return;
    case PROBE_CLOSED:
        clear_progress(report);
        report_closed(report, event);
        return;
    case PROBE_FAILURE:
        clear_progress(report);
        report_failure(report, event);
        return;
    case PROBE_STATUS:
        clear_progress(report);
        report_status(report);
        return;
    case PROBE_CONNECTED:
        if (!report->quiet)
            put_connected(report, event);
        return;
    case PROBE_ERROR:
        if (!report->quiet)
            put_probe_error(report, event);
        return;
    case PROBE_OVERDUE:
        if (!report->quiet)
            put_overdue(report, event);
        return;
    default:
        if (!report->quiet)
            put_reply(report, event);
        return;
    }
}

/* ---- the end ---- */

static void put_counters(const struct report *report, uint64_t elapsed)
{
    const struct probe *probe = report->probe;
    const struct probe_counters *counters = &probe->counters;
    struct report_counter list[REPORT_COUNTERS];
    unsigned count = report_counters(probe, list);
    FILE *out = report->out;
    char text[DECIMAL_SIZE];

    fprintf(out, "%" PRIu64 " packets transmitted, %" PRIu64 " received", counters->sent,
            counters->received);
    for (unsigned i = 0; i < count; i++)
        if (list[i].value > 0)
            fprintf(out, ", +%" PRIu64 " %s", list[i].value, list[i].text);
    fprintf(out, ", %s%% packet loss, time %" PRIu64 "ms\n",
            report_loss_text(counters->sent, counters->received, 6, text), elapsed / MILLISECOND);
}

static void put_times(const struct report *report)
{
    const struct rtt *rtt = &report->probe->rtt;
    const struct rtt *connect = &report->probe->connect;
    FILE *out = report->out;
    char text[DECIMAL_SIZE];

    if (rtt->count > 0) {
        fputs("rtt ", out);
        report_times(out, rtt);
        fputs(connect->count == 1 ? ", " : "\n", out);
    }
    if (connect->count == 1) {
        fprintf(out, "connect %s ms\n", print_milliseconds((double)connect->min, text));
    } else if (connect->count > 1) {
        fputs("connect ", out);
        report_times(out, connect);
        fputc('\n', out);
    }
    if (rtt->count > 1) {
        const double times[] = {(double)rtt_quantile(rtt, 0.5), (double)rtt_quantile(rtt, 0.9),
                                (double)rtt_quantile(rtt, 0.99), (double)rtt_quantile(rtt, 0.999)};

        fputs("p50/p90/p99/p99.9 = ", out);
        put_times_of(out, times, COUNT(times));
        fprintf(out, ", jitter %.3f ms", rtt_jitter(rtt) / MILLISECOND);
        if (rtt->variations > 0)
            fprintf(out, ", ipdv %.3f ms", rtt_ipdv(rtt) / MILLISECOND);
        fputc('\n', out);
    }
}

static void put_source_port(FILE *out, const struct probe_link *link)
{
    char text[DECIMAL_SIZE];

    fprintf(out, "source port %u: %" PRIu64 " sent, %" PRIu64 " received, %s%% loss",
            (unsigned)link->port, link->sent, link->received,
            report_loss_text(link->sent, link->received, 6, text));
    if (link->rtt.count > 0) {
        const double times[] = {(double)link->rtt.min, (double)rtt_quantile(&link->rtt, 0.5),
                                (double)rtt_quantile(&link->rtt, 0.9),
                                (double)rtt_quantile(&link->rtt, 0.99), (double)link->rtt.max};

        fputs(", min/p50/p90/p99/max = ", out);
        put_times_of(out, times, COUNT(times));
    }
    fputc('\n', out);
}

/* By loss, and then by how long the slower replies took. */
static bool worse(const struct probe_link *a, const struct probe_link *b)
{
    double loss_a = report_loss(a->sent, a->received);
    double loss_b = report_loss(b->sent, b->received);

    if (loss_a < loss_b || loss_a > loss_b)
        return loss_a > loss_b;
    return rtt_quantile(&a->rtt, 0.99) > rtt_quantile(&b->rtt, 0.99);
}

static void put_worst(FILE *out, const struct probe *probe)
{
    const struct probe_link *worst[WORST];
    unsigned count = 0;

    for (unsigned i = 0; i < probe->opened; i++) {
        const struct probe_link *link = probe->links[i];
        unsigned at = count < WORST ? count++ : WORST;

        for (; at > 0 && worse(link, worst[at - 1]); at--)
            if (at < WORST)
                worst[at] = worst[at - 1];
        if (at < WORST)
            worst[at] = link;
    }
    fputs("worst source ports:", out);
    for (unsigned i = 0; i < count; i++) {
        char text[DECIMAL_SIZE];

        fprintf(out, "%s %u (%s%% loss", i > 0 ? "," : "", (unsigned)worst[i]->port,
                report_loss_text(worst[i]->sent, worst[i]->received, 6, text));
        if (worst[i]->rtt.count > 0)
            fprintf(out, ", p99 %s ms",
                    print_milliseconds((double)rtt_quantile(&worst[i]->rtt, 0.99), text));
        fputc(')', out);
    }
    fputc('\n', out);
}

static void put_sources(const struct report *report)
{
    const struct probe *probe = report->probe;

    for (unsigned i = 0; i < probe->opened; i++)
        put_source_port(report->out, probe->links[i]);
    put_worst(report->out, probe);
}

static void text_summary(struct report *report, uint64_t elapsed)
{
    const struct probe *probe = report->probe;
    FILE *out = report->out;
    char text[DECIMAL_SIZE];

    clear_progress(report);
    fputs("\n--- ", out);
    print_masked_text(out, report->host);
    fputs(" echo-probe statistics ---\n", out);
    put_counters(report, elapsed);
    put_times(report);
    if (probe->settings.window > 0 && elapsed > 0)
        fprintf(
            out, "%s echoes/s\n",
            print_decimal((double)probe->counters.received * SECOND / (double)elapsed, 0, text));
    if (report->cpu >= 0)
        fprintf(out, "%s us of CPU time an echo in process %ld\n",
                print_decimal(report->cpu, 2, text), report->pid);
    if (report->sources)
        put_sources(report);
    if (report->histogram) {
        fputc('\n', out);
        chart_histogram(out, &probe->rtt, HISTOGRAM_ROWS, 80);
    }
}

static void text_finish(struct report *report)
{
    clear_progress(report);
}

const struct report_kind report_text = {
    .name = "text",
    .start = text_start,
    .event = text_event,
    .summary = text_summary,
    .finish = text_finish,
};
