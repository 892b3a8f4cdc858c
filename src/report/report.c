/* SPDX-License-Identifier: ISC */
#include "report/report.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/mask.h"
#include "common/util.h"
#include "probe/datagram.h"
#include "report/icmp_text.h"

/* ---- the formats ---- */

/* Call this right after writing, while errno still tells why. */
static bool writable(struct report *report)
{
    if (ferror(report->out) && report->error == 0)
        report->error = errno;
    return report->error == 0;
}

bool report_start(struct report *report)
{
    report->kind->start(report);
    return writable(report);
}

bool report_event(void *context, const struct probe_event *event)
{
    struct report *report = context;

    report->kind->event(report, event);
    return writable(report);
}

void report_summary(struct report *report, uint64_t elapsed)
{
    report->kind->summary(report, elapsed);
}

int report_finish(struct report *report)
{
    report->kind->finish(report);
    fflush(report->out);
    if (writable(report))
        return 0;
    fprintf(report->err, "echo-probe: cannot write to standard output: %s\n",
            strerror(report->error));
    return -1;
}

/* ---- figures ---- */

double report_loss(uint64_t sent, uint64_t received)
{
    return sent == 0 ? 0 : 100.0 * (double)(sent - received) / (double)sent;
}

const char *report_loss_text(uint64_t sent, uint64_t received, unsigned digits,
                             char text[static DECIMAL_SIZE])
{
    return print_percent(sent - received, sent > 0 ? sent : 1, digits, text);
}

unsigned report_counters(const struct probe *probe, struct report_counter list[REPORT_COUNTERS])
{
    const struct probe_counters *counters = &probe->counters;
    uint64_t unsent = probe->closed && probe->settings.count > counters->sent
                          ? probe->settings.count - counters->sent
                          : 0;
    const struct report_counter all[] = {
        {"out of order", "out_of_order", counters->reordered},
        {"duplicates", "duplicate", counters->duplicate},
        {"late", "late", counters->late},
        {"corrupt", "corrupt", counters->corrupt},
        {"truncated", "truncated", counters->truncated},
        {"from a wrong source", "wrong_source", counters->wrong_source},
        {"foreign", "foreign", counters->foreign},
        {"refused", "refused", counters->refused},
        {"errors", "errors", counters->errors},
        {"delayed", "delayed", counters->delayed},
        {"not sent", "not_sent", unsent},
    };

    static_assert(COUNT(all) == REPORT_COUNTERS, "the list has no element without a value");
    memcpy(list, all, sizeof all);
    return COUNT(all);
}

void report_times(FILE *out, const struct rtt *rtt)
{
    char min[DECIMAL_SIZE];
    char avg[DECIMAL_SIZE];
    char max[DECIMAL_SIZE];

    /* mdev, like jitter, is a difference of times: nothing below a microsecond matters in it. */
    fprintf(out, "min/avg/max/mdev = %s/%s/%s/%.3f ms", print_milliseconds((double)rtt->min, min),
            print_milliseconds(rtt_mean(rtt), avg), print_milliseconds((double)rtt->max, max),
            rtt_mdev(rtt) / MILLISECOND);
}

void report_status(const struct report *report)
{
    const struct probe *probe = report->probe;
    char text[DECIMAL_SIZE];

    fprintf(report->err, "%" PRIu64 "/%" PRIu64 " packets, %s%% loss", probe->counters.received,
            probe->counters.sent,
            report_loss_text(probe->counters.sent, probe->counters.received, 2, text));
    if (probe->rtt.count > 0) {
        fputs(", ", report->err);
        report_times(report->err, &probe->rtt);
    }
    fputc('\n', report->err);
}

/* ---- trouble ---- */

static bool lacks_zone(const struct addr *addr)
{
    return addr && addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr) &&
           addr->in6.sin6_scope_id == 0;
}

/* Whether the kernel objects to the address or interface of -I. */
static bool is_about_source(const struct probe_socket *how, const struct addr *peer, int error)
{
    if (error == ENODEV)
        return how->device[0] != '\0';
    if (how->source.len == 0 || !peer)
        return false;
    return error == EADDRNOTAVAIL || (error == EINVAL && lacks_zone(&how->source)) ||
           (error == EAFNOSUPPORT && how->source.sa.sa_family != peer->sa.sa_family);
}

static bool privileged_port(const struct probe *probe)
{
    return probe->settings.socket.port != 0 && probe->settings.socket.port < 1024;
}

/* What to do about an errno of the network. */
static const char *hint_for(const struct probe *probe, const struct addr *peer, bool source,
                            int error)
{
    switch (error) {
    case ECONNREFUSED:
        return "nothing listens on that port; is the echo service running there?";
    case ETIMEDOUT:
        return "a firewall may drop it or the host may be down; -W waits longer";
    case ENETUNREACH:
        return "this host has no route there; see 'ip route' and 'ip -6 route'";
    case EHOSTUNREACH:
        return "the host is down, or a route of this host or somebody on the way turns it away";
    case EACCES:
        return privileged_port(probe)
                   ? "source ports below 1024 take root"
                   : "broadcast addresses are not probed, and a local policy or a route may forbid "
                     "more";
    case EPERM:
        return probe->settings.socket.mark != 0
                   ? "--mark takes CAP_NET_ADMIN (or CAP_NET_RAW), and a firewall of this host may "
                     "forbid it"
                   : "a firewall of this host or another local policy forbids it";
    case EADDRNOTAVAIL:
        return "this host has no such address (see 'ip address', or try -4 or -6), or a connection "
               "from that source port was there a moment ago";
    case EAFNOSUPPORT:
        return source ? "it is not of the family of the address that is probed; try -4 or -6"
                      : "this host lacks an address of that family; try -4 or -6";
    case EINVAL:
        return source || lacks_zone(peer)
                   ? "a link-local IPv6 address needs its zone, as in fe80::1%eth0"
                   : "the route there is a blackhole, or does not begin at the address of -I; see "
                     "'ip route get'";
    case EMSGSIZE:
        return "a smaller -s may pass";
    case EAGAIN:
        return "this host lacks a free source port or memory for it at the moment";
    case ENOBUFS:
        return "sent faster than the network takes it; a longer -i helps";
    case ENODATA:
        return "the server closed the connection before the whole echo had come";
    case EADDRINUSE:
        return peer && datagram_answers_itself(probe, peer)
                   ? "that source port is the port of this host that is probed, and a probe from "
                     "there would answer itself; choose another --source-port"
                   : "another program uses that source port";
    case EMFILE:
        return "fewer connections at once may do, or a higher limit: see 'ulimit -n'";
    case ENODEV:
        return "there is no such interface; see 'ip link'";
    default:
        return "";
    }
}

void report_error(FILE *out, const struct probe *probe, const struct addr *peer, int error)
{
    const struct probe_socket *how = &probe->settings.socket;
    bool source = is_about_source(how, peer, error);
    const char *hint = hint_for(probe, peer, source, error);
    char address[ADDR_STRLEN];

    fputs(strerror(error), out);
    if (source) {
        fputs(": -I ", out);
        print_masked_text(out, how->source.len != 0 ? addr_print_host(&how->source, address)
                                                    : how->device);
    }
    fprintf(out, "%s%s\n", hint[0] != '\0' ? ": " : "", hint);
}

static bool same_host(const struct addr *a, const struct addr *b)
{
    struct addr as_b = *a;

    addr_set_port(&as_b, addr_port(b));
    return addr_equal(&as_b, b);
}

void report_event_error(FILE *out, const struct report *report, const struct probe_event *event)
{
    const struct addr *peer = event->kind == PROBE_FAILURE ? event->from : report->peer;
    char text[ICMP_TEXT];

    if (!event->icmp ||
        (event->error == ECONNREFUSED && peer && same_host(&event->icmp->from, peer)))
        report_error(out, report->probe, peer, event->error);
    else
        fprintf(out, "%s: %s\n", strerror(event->error), icmp_print(event->icmp, text));
}

void report_closed(const struct report *report, const struct probe_event *event)
{
    const struct probe_counters *counters = &report->probe->counters;
    char address[ADDR_STRLEN];

    addr_print(event->from, address);
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

void report_failure(const struct report *report, const struct probe_event *event)
{
    if (event->text) {
        fputs("echo-probe: ", report->err);
        print_masked_text(report->err, event->text);
        fputc('\n', report->err);
        return;
    }
    if (event->from) {
        char address[ADDR_STRLEN];

        fprintf(report->err, "echo-probe: cannot %s %s %s: ",
                report->ops->type == SOCK_STREAM ? "connect to" : "send to", report->ops->name,
                addr_print(event->from, address));
    } else {
        fputs("echo-probe: cannot wait for the network: ", report->err);
    }
    report_event_error(report->err, report, event);
}
