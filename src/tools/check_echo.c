/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/mask.h"
#include "common/util.h"
#include "probe/link_tcp.h"
#include "probe/link_udp.h"
#include "probe/resolve.h"
#include "probe/run.h"
#include "report/icmp_text.h"
#include "report/report.h"
#include "tools/client.h"
#include "tools/thresholds.h"

/* From one packet to the next; less if -t leaves less time. */
#define INTERVAL (80 * MILLISECOND)

#define MAX_PACKETS 1000
#define MAX_LIMIT   (3600 * SECOND)

struct check_options {
    struct probe_settings settings;
    const struct probe_ops *ops;
    const char *host;
    const char *port;
    const char *size; /* as it was written; NULL: not given */
    struct threshold warning;
    struct threshold critical;
    uint64_t limit; /* nanoseconds for everything */
    int family;
    bool verbose;
};

struct check {
    const struct check_options *options;
    struct runner runner;
    struct probe probe;
    uint64_t end;           /* when to have finished */
    int untried;            /* addresses that were not tried yet */
    int error;              /* errno that the network reported last; 0: none */
    bool reported;          /* ICMP told of `error` */
    struct probe_icmp icmp; /* what ICMP said, if reported */
    bool failed;            /* no link could be opened, or the engine could not go on */
    bool closed;            /* the peer ended the connection */
    bool interrupted;       /* by a signal */
    struct addr address;    /* the address that was tried last */
    char peer[ADDR_STRLEN]; /* the same as text */
};

/* ---- the command line ---- */

static void take_threshold(const struct cli *cli, const struct cli_option *option,
                           const char *value, void *target)
{
    char name[CLI_NAME];

    if (!threshold_parse(value, target))
        cli_refuse_value(cli, cli_option_name(option, name), value,
                         "milliseconds to 3600000, a comma, and percent to 100 are allowed, as in "
                         "100.0,20%, or ranges, as in @10:20 for the time alone");
}

static void take_protocol(const struct cli *cli, const struct cli_option *option, const char *value,
                          void *target)
{
    (void)cli;
    (void)value;
    *(const struct probe_ops **)target =
        strcmp(option->name, "tcp") == 0 ? &probe_tcp_ops : &probe_udp_ops;
}

#define MEMBER(member) CLI_MEMBER(struct check_options, member)
#define TEXT(member)   CLI_TEXT(struct check_options, member)
#define FAMILY(value)  CLI_CONSTANT(struct check_options, family, value)

static const struct cli_option table[] = {
    {'H', "hostname", "HOST", "a name or an address", TEXT(host)},
    {'p', "port", "PORT", "a number or a service name (7)", TEXT(port)},
    {'w', "warning", "RTA,PL%",
     "warn from this average round trip in ms on,\nor from this loss on (100.0,10%)",
     .take = take_threshold, MEMBER(warning)},
    {'c', "critical", "RTA,PL%", "the same for critical (500.0,50%)", .take = take_threshold,
     MEMBER(critical)},
    {'n', "packets", "N", "packets to send (5)",
     CLI_NUMBER(struct check_options, settings.count, 1, MAX_PACKETS)},
    {'t', "timeout", "SECONDS", "for everything (10)",
     CLI_SECONDS(struct check_options, limit, SECOND / 10, MAX_LIMIT)},
    {'s', "size", "SIZE", "octets of payload (56)", TEXT(size)},
    {'4', "use-ipv4", NULL, "IPv4 only", FAMILY(AF_INET)},
    {'6', "use-ipv6", NULL, "IPv6 only", FAMILY(AF_INET6)},
    {'\0', "tcp", NULL, "through one TCP connection", .take = take_protocol, MEMBER(ops)},
    {'\0', "udp", NULL, "as UDP datagrams (this is the default)", .take = take_protocol,
     MEMBER(ops)},
    {'v', "verbose", NULL, "more lines with all figures", CLI_FLAG(struct check_options, verbose)},
    {'V', "version", NULL, "print the version and exit", .take = cli_take_version},
    {'h', "help", NULL, "print this help and exit", .take = cli_take_help},
};

/* A monitor takes what is behind a bar for performance data. */
#define MASKED "|"

#define USAGE                                                                                      \
    "Usage: check_echo -H HOST [-p PORT] [-w RTA,PL%] [-c RTA,PL%] [-n PACKETS]\n"                 \
    "           [-t SECONDS] [-s SIZE] [-4] [-6] [--tcp] [--udp] [-v] [-V] [-h]\n"

static const struct cli cli = {
    .prefix = "ECHO UNKNOWN - ",
    .masked = MASKED,
    .hint = USAGE,
    .version = "check_echo (" PACKAGE_NAME ") " PACKAGE_VERSION,
    .usage = USAGE "Check an echo service (RFC 862), every octet that comes back included.\n\n",
    .footer = "\nExit status: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN (and for -V and -h).\n"
              "See check_echo(1).\n",
    .refused = STATE_UNKNOWN,
    /* A plugin that is asked for help instead of a check must not look like a good state. */
    .informed = STATE_UNKNOWN,
    .unwritten = STATE_UNKNOWN,
    .options = table,
    .count = COUNT(table),
};

static _Noreturn void refuse_order(const struct check_options *options)
{
    char warning[THRESHOLD_TEXT];
    char critical[THRESHOLD_TEXT];

    cli_refuse(&cli, "-w %s must not be more than -c %s",
               threshold_print(&options->warning, warning),
               threshold_print(&options->critical, critical));
}

static void parse_arguments(struct check_options *options, int argc, char *argv[])
{
    int operands = cli_parse(&cli, argc, argv, options);

    if (operands < argc)
        cli_refuse(&cli, "argument '%s': only options are allowed, -H before the host",
                   argv[operands]);
    if (!options->host)
        cli_refuse(&cli, "-H HOST must be given");
    if (threshold_contradict(&options->warning, &options->critical))
        refuse_order(options);
}

static void check_size(struct check_options *options, int family)
{
    if (options->size)
        options->settings.size = client_size(&cli, options->size, options->ops, family);
}

static void put_masked(const char *text)
{
    print_masked(stdout, text, strlen(text), MASKED);
}

/* ---- the time limit while names are resolved ---- */

/* The line that the signal handler writes. It is made before the signal can come. */
#define LONGEST_HOST 100
static char too_late[4 * LONGEST_HOST + 100];
static size_t too_late_size;

static void give_up(int signal)
{
    (void)signal;
    /* A failure cannot be told to anybody. */
    if (write(STDOUT_FILENO, too_late, too_late_size) < 0)
        _exit(STATE_UNKNOWN);
    _exit(STATE_UNKNOWN);
}

static void limit_time(uint64_t ns)
{
    const struct itimerval timer = {.it_value = {.tv_sec = (time_t)(ns / SECOND),
                                                 .tv_usec = (suseconds_t)(ns % SECOND / 1000)}};

    setitimer(ITIMER_REAL, &timer, NULL);
}

static void write_too_late(const struct check_options *options)
{
    FILE *out = fmemopen(too_late, sizeof too_late, "w");
    char text[DECIMAL_SIZE];

    if (!out)
        return;
    fputs(cli.prefix, out);
    print_masked(out, options->host, strnlen(options->host, LONGEST_HOST), MASKED);
    fprintf(out, ": the name service has not answered within %s s\n",
            print_seconds(options->limit, text));
    fclose(out);
    too_late_size = strlen(too_late);
}

/* Whether the check can tell something of the host that is meant. */
static void refuse_placeholder(const struct check_options *options, const struct addr list[],
                               int count)
{
    if (!client_is_placeholder(list, count))
        return;
    fputs(cli.prefix, stdout);
    put_masked(options->host);
    puts(" stands for every address of this host: give the address of the host to check");
    exit(STATE_UNKNOWN);
}

/* The name service may take longer than the whole check may. */
static int resolve_in_time(const struct check_options *options, struct addr list[RESOLVE_MAX])
{
    char why[RESOLVE_WHY];
    bool numeric;
    int count;

    write_too_late(options);
    signal(SIGALRM, give_up);
    limit_time(options->limit);
    count = resolve(options->host, options->port, options->family, options->ops->type, list,
                    &numeric, why);
    limit_time(0);
    if (count < 0) {
        fputs(cli.prefix, stdout);
        put_masked(why);
        putchar('\n');
        exit(STATE_UNKNOWN);
    }
    return count;
}

/* ---- the check ---- */

static uint64_t time_left(const struct check *check)
{
    uint64_t now = clock_now();

    return now < check->end ? check->end - now : 1;
}

static bool on_event(void *context, const struct probe_event *event)
{
    struct check *check = context;

    if (event->kind == PROBE_ERROR || event->kind == PROBE_FAILURE || event->kind == PROBE_CLOSED) {
        check->reported = event->icmp != NULL;
        if (event->icmp)
            check->icmp = *event->icmp;
    }
    switch (event->kind) {
    case PROBE_ERROR:
        check->error = event->error;
        break;
    case PROBE_FAILURE:
        check->error = event->error;
        check->failed = true;
        break;
    case PROBE_CLOSED:
        check->error = event->error;
        check->closed = true;
        break;
    default:
        break;
    }
    /* PROBE_TICK checks the time even if nothing else happens. */
    return clock_now() < check->end;
}

/* Each address gets its share of the time that is left. */
static bool announce(void *context, const struct addr *peer)
{
    struct check *check = context;

    check->address = *peer;
    addr_print(peer, check->peer);
    check->probe.settings.timeout = time_left(check) / (uint64_t)check->untried--;
    return clock_now() < check->end;
}

static void run_check(struct check *check, const struct addr list[], int count)
{
    struct probe *probe = &check->probe;

    check->untried = check->options->ops->type == SOCK_DGRAM ? 1 : count;
    if (client_open(probe, check->options->ops, list, count, announce, check) < 0) {
        check->failed = true;
    } else {
        check->failed = false;
        probe->settings.timeout = time_left(check);
        probe_run(probe);
    }
    check->interrupted = probe->stopped && !check->failed && clock_now() < check->end;
}

/* ---- the result ---- */

static bool is_wrong(const struct probe_counters *counters)
{
    return counters->corrupt + counters->truncated + counters->wrong_source > 0;
}

/* Why nothing came back. */
static const char *reason(const struct check *check)
{
    if (check->error == ECONNREFUSED)
        return "connection refused";
    if (check->closed && check->error == 0)
        return "connection closed by the peer";
    if (check->error == ECONNRESET || check->error == EPIPE)
        return "connection reset by the peer";
    if (check->error != 0)
        return strerror(check->error);
    return check->failed ? "no connection in time" : "no reply";
}

/* The port alone is unreachable, and the peer itself says so. */
static bool is_refused_by_peer(const struct check *check)
{
    struct addr from = check->icmp.from;

    addr_set_port(&from, addr_port(&check->address));
    return check->error == ECONNREFUSED && addr_equal(&from, &check->address);
}

static void put_reason(const struct check *check)
{
    char text[ICMP_TEXT];

    if (check->reported && !is_refused_by_peer(check))
        printf("%s: %s, ", strerror(check->error), icmp_print(&check->icmp, text));
    else
        printf("%s, ", reason(check));
}

static enum threshold_state judge(const struct check *check, const struct threshold_result *result)
{
    const struct probe_counters *counters = &check->probe.counters;

    if (check->interrupted)
        return STATE_UNKNOWN;
    if (check->failed || check->closed || counters->refused > 0 || is_wrong(counters))
        return STATE_CRITICAL;
    return threshold_judge(result, &check->options->warning, &check->options->critical);
}

static void put_count(uint64_t count, const char *what)
{
    if (count > 0)
        printf(", %" PRIu64 " %s", count, what);
}

static void put_text(const struct check *check, const struct threshold_result *result)
{
    const struct probe_counters *counters = &check->probe.counters;
    char text[DECIMAL_SIZE];

    if (check->interrupted)
        printf("interrupted, ");
    else if (check->failed || check->closed || (counters->received == 0 && !is_wrong(counters)))
        put_reason(check);
    if (result->rta >= 0)
        printf("rta %sms, ", print_milliseconds(result->rta, text));
    printf("lost %s%%", threshold_loss(result, 4, text));
    put_count(counters->corrupt, "corrupt");
    put_count(counters->truncated, "truncated");
    put_count(counters->wrong_source, "from a wrong source");
    if (counters->received > 0)
        put_count(counters->refused, "refused");
}

/* The guidelines allow further lines after the first. */
static void put_details(const struct check *check)
{
    const struct probe *probe = &check->probe;
    const struct rtt *rtt = &probe->rtt;
    struct report_counter list[REPORT_COUNTERS];
    unsigned count = report_counters(probe, list);

    printf("%s to ", check->options->ops->name);
    put_masked(check->peer);
    putchar('\n');
    printf("%" PRIu64 " sent, %" PRIu64 " received", probe->counters.sent,
           probe->counters.received);
    for (unsigned i = 0; i < count; i++)
        put_count(list[i].value, list[i].text);
    putchar('\n');
    if (rtt->count > 0) {
        fputs("rtt ", stdout);
        report_times(stdout, rtt);
        printf(", jitter %.3f ms\n", rtt_jitter(rtt) / MILLISECOND);
    }
}

static enum threshold_state put_result(const struct check *check)
{
    const struct check_options *options = check->options;
    const struct probe *probe = &check->probe;
    const struct threshold_result result = {
        .rta = probe->counters.received > 0 ? rtt_mean(&probe->rtt) : -1,
        .sent = probe->counters.sent,
        .lost = probe->counters.sent - probe->counters.received};
    enum threshold_state state = judge(check, &result);

    printf("ECHO %s - ", threshold_state_name(state));
    put_masked(options->host);
    fputs(": ", stdout);
    put_text(check, &result);
    putchar('|');
    threshold_performance(stdout, &result, &options->warning, &options->critical);
    putchar('\n');
    if (options->verbose)
        put_details(check);
    return fflush(stdout) == 0 ? state : STATE_UNKNOWN;
}

/* ---- standard output and error ---- */

static int real_stderr; /* before it became standard output */

static void check_output(void)
{
    if (fflush(stdout) != 0 || ferror(stdout) || ferror(stderr))
        dprintf(real_stderr, "check_echo: cannot write to standard output: %s\n", strerror(errno));
}

/* Monitors read standard output only, but cli.h writes messages to standard error. */
static void redirect_errors(void)
{
    real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    dup2(STDOUT_FILENO, STDERR_FILENO);
    atexit(check_output);
}

int main(int argc, char *argv[])
{
    struct check_options options = {
        .settings = probe_defaults,
        .ops = &probe_udp_ops,
        .port = "7",
        .warning = {.rta = THRESHOLD_FROM(100 * MILLISECOND), .loss = THRESHOLD_FROM(1000)},
        .critical = {.rta = THRESHOLD_FROM(500 * MILLISECOND), .loss = THRESHOLD_FROM(5000)},
        .limit = 10 * SECOND,
        .family = AF_UNSPEC};
    struct check check = {.options = &options};
    struct addr list[RESOLVE_MAX];
    uint64_t started = clock_now();
    enum threshold_state state;
    int count;

    redirect_errors();
    signal(SIGPIPE, SIG_IGN);
    options.settings.count = 5;
    parse_arguments(&options, argc, argv);
    check_size(&options, options.family);
    count = resolve_in_time(&options, list);
    refuse_placeholder(&options, list, count);
    check_size(&options, list[0].sa.sa_family);

    /* Keep a hundredth of the time for printing the result. */
    check.end = started + options.limit - options.limit / 100;
    options.settings.interval = options.limit / (2 * options.settings.count);
    if (options.settings.interval > INTERVAL)
        options.settings.interval = INTERVAL;
    options.settings.tick = 20 * MILLISECOND;
    if (runner_init(&check.runner) < 0 ||
        probe_init(&check.probe, &check.runner, &options.settings, on_event, &check) < 0) {
        printf("%scannot start: %s\n", cli.prefix, strerror(errno));
        return STATE_UNKNOWN;
    }
    run_check(&check, list, count);
    state = put_result(&check);
    probe_fini(&check.probe);
    runner_fini(&check.runner);
    return (int)state;
}
