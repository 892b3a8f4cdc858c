/* SPDX-License-Identifier: ISC */
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* Headers of UDP and IP, for the size on the wire. */
#define HEADERS_IPV4 28
#define HEADERS_IPV6 48

static double milliseconds(double ns)
{
    return ns / 1e6;
}

/* Three significant digits are what a round trip is good for. */
static void put_time(FILE *out, uint64_t ns)
{
    double ms = milliseconds((double)ns);
    int digits = ms < 0.9995 ? 3 : ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0;

    fprintf(out, "%.*f ms", digits, ms);
}

/* "localhost (127.0.0.1)", or the address alone for anybody but the peer and where names are not
 * wanted. */
static void put_source(const struct report *report, const struct net_addr *from)
{
    char address[NET_STRLEN];
    char peer[NET_STRLEN];

    net_print_host(from, address);
    if (report->name[0] != '\0' && strcmp(address, net_print_host(report->peer, peer)) == 0)
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

/* What to do about an errno of the network. */
static const char *hint_for(int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "nothing listens on that port; is the echo service running there?";
    case ETIMEDOUT:
        return "a firewall may drop it or the host may be down; -W waits longer";
    case ENETUNREACH:
        return "this host has no route there; see 'ip route' and 'ip -6 route'";
    case EHOSTUNREACH:
        return "the host is down or a router or firewall turns it away";
    case EACCES:
        return "broadcast addresses are not probed, and a local policy may forbid others";
    case EPERM:
        return "a firewall on this host forbids it";
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return "this host lacks an address of that family; try -4 or -6";
    case EINVAL:
        return "a link-local IPv6 address needs its zone, as in fe80::1%eth0";
    case EMSGSIZE:
        return "a smaller -s may pass";
    case EAGAIN:
    case ENOBUFS:
        return "sent faster than the network takes it; a longer -i helps";
    default:
        return "";
    }
}

/* "Connection refused: nothing listens ..." */
static void put_error(FILE *out, int error)
{
    const char *hint = hint_for(error);

    fprintf(out, "%s%s%s\n", strerror(error), hint[0] != '\0' ? ": " : "", hint);
}

/* To be asked right after writing, while errno still tells why. */
static bool writable(struct report *report)
{
    if (ferror(report->out) && report->error == 0)
        report->error = errno;
    return report->error == 0;
}

bool report_start(struct report *report)
{
    char address[NET_STRLEN];
    size_t size = report->probe->settings.size;

    fprintf(report->out, "PROBE %s (%s) port %u %s %zu", report->host,
            net_print_host(report->peer, address), (unsigned)net_port(report->peer),
            report->ops->name, size);
    if (report->ops->type == SOCK_DGRAM)
        fprintf(report->out, "(%zu)",
                size + (report->peer->sa.sa_family == AF_INET ? HEADERS_IPV4 : HEADERS_IPV6));
    fputs(" bytes of data.\n", report->out);
    return writable(report);
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

static void put_reply(const struct report *report, const struct probe_event *event)
{
    fprintf(report->out, "%zu bytes from ", event->size);
    put_source(report, event->from);
    if (event->kind == PROBE_WRONG_SOURCE)
        fprintf(report->out, " port %u", (unsigned)net_port(event->from));
    fputc(':', report->out);
    if (event->kind == PROBE_FOREIGN) {
        fputs(" not a reply to any probe of this run", report->out);
    } else {
        put_seq(report, event->seq);
        if (event->time != 0) {
            fputs(" time=", report->out);
            put_time(report->out, event->time);
        }
    }
    put_verdict(report, event);
    fputc('\n', report->out);
}

static void put_probe_error(const struct report *report, const struct probe_event *event)
{
    fputs("From ", report->out);
    if (event->from)
        put_source(report, event->from);
    else
        fputs("this host", report->out);
    fputc(':', report->out);
    put_seq(report, event->seq);
    fputc(' ', report->out);
    put_error(report->out, event->error);
}

static void put_connected(const struct report *report, const struct probe_event *event)
{
    fputs("Connected to ", report->out);
    put_source(report, event->from);
    fprintf(report->out, " port %u: time=", (unsigned)net_port(event->from));
    put_time(report->out, event->time);
    fputc('\n', report->out);
}

static void put_closed(const struct report *report, const struct probe_event *event)
{
    const struct probe_counters *counters = &report->probe->counters;
    char address[NET_STRLEN];

    net_print(event->from, address);
    if (event->error == 0)
        fprintf(report->err, "echo-probe: %s closed the connection (end of file)", address);
    else if (event->error == ECONNRESET || event->error == EPIPE)
        fprintf(report->err, "echo-probe: %s reset the connection", address);
    else
        fprintf(report->err, "echo-probe: the connection to %s failed: %s", address,
                strerror(event->error));
    fprintf(report->err, " after %" PRIu64 " replies to %" PRIu64 " probes; its log may tell why\n",
            counters->received, counters->sent);
}

static void put_failure(const struct report *report, const struct probe_event *event)
{
    if (event->from) {
        char address[NET_STRLEN];

        fprintf(report->err, "echo-probe: cannot %s %s %s: ",
                report->ops->type == SOCK_STREAM ? "connect to" : "send to", report->ops->name,
                net_print(event->from, address));
    } else {
        fputs("echo-probe: cannot wait for the network: ", report->err);
    }
    put_error(report->err, event->error);
}

static double loss(const struct probe_counters *counters)
{
    return counters->sent == 0
               ? 0
               : 100.0 * (double)(counters->sent - counters->received) / (double)counters->sent;
}

static void put_rtt(FILE *out, const struct rtt *rtt)
{
    fprintf(out, "min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms", milliseconds((double)rtt->min),
            milliseconds(rtt_mean(rtt)), milliseconds((double)rtt->max),
            milliseconds(rtt_mdev(rtt)));
}

/* On the terminal and out of the way of what is piped. */
static void put_status(const struct report *report)
{
    const struct probe *probe = report->probe;

    fprintf(report->err, "%" PRIu64 "/%" PRIu64 " packets, %.0f%% loss", probe->counters.received,
            probe->counters.sent, loss(&probe->counters));
    if (probe->rtt.count > 0) {
        fputs(", ", report->err);
        put_rtt(report->err, &probe->rtt);
    }
    fputc('\n', report->err);
}

bool report_event(void *context, const struct probe_event *event)
{
    struct report *report = context;

    switch (event->kind) {
    case PROBE_CONNECTED:
        if (!report->quiet)
            put_connected(report, event);
        break;
    case PROBE_ERROR:
        if (!report->quiet)
            put_probe_error(report, event);
        break;
    case PROBE_CLOSED:
        put_closed(report, event);
        break;
    case PROBE_FAILURE:
        put_failure(report, event);
        break;
    case PROBE_STATUS:
        put_status(report);
        break;
    default:
        if (!report->quiet)
            put_reply(report, event);
        break;
    }
    return writable(report);
}

/* ---- the end ---- */

static void put_extra(FILE *out, uint64_t count, const char *what)
{
    if (count > 0)
        fprintf(out, ", +%" PRIu64 " %s", count, what);
}

void report_summary(struct report *report, uint64_t elapsed)
{
    const struct probe *probe = report->probe;
    const struct probe_counters *counters = &probe->counters;
    FILE *out = report->out;

    fprintf(out, "\n--- %s echo-probe statistics ---\n", report->host);
    fprintf(out, "%" PRIu64 " packets transmitted, %" PRIu64 " received", counters->sent,
            counters->received);
    put_extra(out, counters->reordered, "out of order");
    put_extra(out, counters->duplicate, "duplicates");
    put_extra(out, counters->late, "late");
    put_extra(out, counters->corrupt, "corrupt");
    put_extra(out, counters->truncated, "truncated");
    put_extra(out, counters->wrong_source, "from a wrong source");
    put_extra(out, counters->foreign, "not ours");
    put_extra(out, counters->refused, "refused");
    put_extra(out, counters->errors, "errors");
    if (probe->closed && probe->settings.count > counters->sent)
        put_extra(out, probe->settings.count - counters->sent, "not sent");
    fprintf(out, ", %g%% packet loss, time %" PRIu64 "ms\n", loss(counters), elapsed / 1000000);
    if (probe->rtt.count > 0) {
        fputs("rtt ", out);
        put_rtt(out, &probe->rtt);
        fputs(probe->connect_time != 0 ? ", " : "\n", out);
    }
    if (probe->connect_time != 0)
        fprintf(out, "connect %.3f ms\n", milliseconds((double)probe->connect_time));
}

int report_finish(struct report *report)
{
    fflush(report->out);
    if (writable(report))
        return 0;
    fprintf(report->err, "echo-probe: cannot write to standard output: %s\n",
            strerror(report->error));
    return -1;
}
