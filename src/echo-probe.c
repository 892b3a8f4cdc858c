/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "probe.h"
#include "report.h"
#include "resolve.h"

#define STATUS_ERROR 2

/* What -i, -w and -W take. */
#define MIN_SECONDS_NS UINT64_C(1000000)
#define MAX_SECONDS    UINT64_C(100000000)

static const char help[] =
    "Usage: echo-probe [options] tcp|udp HOST [PORT]\n"
    "Send probes to an echo service (RFC 862), verify every octet that comes back, and time it.\n"
    "HOST is a name or an address; PORT is a number or a service name (7).\n"
    "\n"
    "  -c, --count N       stop after N probes; with -w, after N replies\n"
    "  -i, --interval SEC  seconds from one probe to the next (1)\n"
    "  -s, --size SIZE     octets of payload (56)\n"
    "  -w, --deadline SEC  stop after so many seconds, whatever was sent and received\n"
    "  -W, --timeout SEC   how long a reply, or the connection, may take (10)\n"
    "  -q, --quiet         only the first line and the summary\n"
    "  -n, --numeric       do not look up the name of the address\n"
    "  -4, -6              IPv4 or IPv6 only\n"
    "  -h, --help          print this help and exit\n"
    "  -V, --version       print the version and exit\n"
    "\n"
    "Signals: INT (Ctrl-C) and TERM end with the summary, QUIT (Ctrl-\\) prints the figures so "
    "far.\n"
    "Exit status: 0 at least one reply (with -c and -w: all), 1 none or too few, 2 any other "
    "error.\n"
    "See echo-probe(1).\n";

struct options {
    struct probe_settings settings;
    const struct probe_ops *ops;
    const char *host;
    const char *port;
    const char *size; /* as it was written */
    int family;
    bool quiet;
    bool numeric;
};

static _Noreturn void usage_error(const char *what, const char *value, const char *allowed)
{
    fprintf(stderr, "echo-probe: %s '%s': %s\nTry 'echo-probe --help'.\n", what, value, allowed);
    exit(STATUS_ERROR);
}

static _Noreturn void print_and_exit(const char *text)
{
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
        exit(EXIT_SUCCESS);
    perror("echo-probe: cannot write to standard output");
    exit(STATUS_ERROR);
}

static uint64_t parse_number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char allowed[80];
    uint64_t value = 0;
    size_t i;

    for (i = 0; text[i] >= '0' && text[i] <= '9' && value <= max; i++)
        value = value * 10 + (uint64_t)(text[i] - '0');
    if (i > 0 && text[i] == '\0' && value >= min && value <= max)
        return value;
    snprintf(allowed, sizeof allowed, "a whole number from %llu to %llu is allowed",
             (unsigned long long)min, (unsigned long long)max);
    usage_error(option, text, allowed);
}

/* Decimal seconds to nanoseconds, whatever the locale; digits beyond those are dropped. */
static uint64_t parse_seconds(const char *option, const char *text)
{
    const char *p = text;
    uint64_t unit = PROBE_SECOND;
    uint64_t value = 0;

    for (; *p >= '0' && *p <= '9' && value <= MAX_SECONDS; p++)
        value = value * 10 + (uint64_t)(*p - '0');
    value *= PROBE_SECOND;
    if (*p == '.')
        for (p++; *p >= '0' && *p <= '9'; p++) {
            unit /= 10;
            value += unit * (uint64_t)(*p - '0');
        }
    if (*p != '\0' || value < MIN_SECONDS_NS || value > MAX_SECONDS * PROBE_SECOND)
        usage_error(option, text, "seconds from 0.001 to 100000000 are allowed, as in 0.5");
    return value;
}

static const struct probe_ops *parse_protocol(const char *text)
{
    if (strcmp(text, probe_tcp_ops.name) == 0)
        return &probe_tcp_ops;
    if (strcmp(text, probe_udp_ops.name) == 0)
        return &probe_udp_ops;
    usage_error("protocol", text, "tcp or udp is allowed, before HOST");
}

static void parse_option(struct options *options, int option)
{
    struct probe_settings *settings = &options->settings;

    switch (option) {
    case 'c':
        settings->count = parse_number("-c", optarg, 1, UINT32_MAX);
        break;
    case 'i':
        settings->interval = parse_seconds("-i", optarg);
        break;
    case 's':
        options->size = optarg;
        break;
    case 'w':
        settings->deadline = parse_seconds("-w", optarg);
        break;
    case 'W':
        settings->timeout = parse_seconds("-W", optarg);
        break;
    case 'q':
        options->quiet = true;
        break;
    case 'n':
        options->numeric = true;
        break;
    case '4':
        options->family = AF_INET;
        break;
    case '6':
        options->family = AF_INET6;
        break;
    case 'V':
        print_and_exit("echo-probe (" PACKAGE_NAME ") " PACKAGE_VERSION "\n");
    case 'h':
        print_and_exit(help);
    default:
        fputs("Try 'echo-probe --help'.\n", stderr);
        exit(STATUS_ERROR);
    }
}

static void parse_arguments(struct options *options, int argc, char *argv[])
{
    static const struct option long_options[] = {
        {"count", required_argument, NULL, 'c'},   {"interval", required_argument, NULL, 'i'},
        {"size", required_argument, NULL, 's'},    {"deadline", required_argument, NULL, 'w'},
        {"timeout", required_argument, NULL, 'W'}, {"quiet", no_argument, NULL, 'q'},
        {"numeric", no_argument, NULL, 'n'},       {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0}};
    int option;

    while ((option = getopt_long(argc, argv, "c:i:s:w:W:qn46Vh", long_options, NULL)) >= 0)
        parse_option(options, option);
    if (argc - optind < 2 || argc - optind > 3) {
        fprintf(stderr, "echo-probe: %s\nTry 'echo-probe --help'.\n",
                argc - optind > 3 ? "too many arguments: only tcp or udp, HOST and PORT are needed"
                                  : "tcp or udp, and then HOST, must be given");
        exit(STATUS_ERROR);
    }
    options->ops = parse_protocol(argv[optind]);
    options->host = argv[optind + 1];
    if (argc - optind == 3)
        options->port = argv[optind + 2];
}

/* What the chosen protocol can carry over an address family. */
static void check_size(struct options *options, int family)
{
    const struct probe_ops *ops = options->ops;
    char name[32];

    if (!options->size)
        return;
    snprintf(name, sizeof name, "-s for %s%s", ops->name,
             ops->type != SOCK_DGRAM || family == AF_UNSPEC ? ""
             : family == AF_INET                            ? " over IPv4"
                                                            : " over IPv6");
    options->settings.size =
        (size_t)parse_number(name, options->size, probe_min_size(ops), probe_max_size(ops, family));
}

/* Open a link to the first address that can be reached. A datagram reaches any, so only one is
 * tried. */
static int open_first(struct probe *probe, struct report *report, const struct net_addr list[],
                      int count, bool names, char name[static NI_MAXHOST])
{
    if (report->ops->type == SOCK_DGRAM)
        count = 1;
    for (int i = 0; i < count && !probe->stopped; i++) {
        report->peer = &list[i];
        report->name = names ? resolve_name(&list[i], name) : "";
        if (!report_start(report))
            return -1;
        if (probe_open(probe, report->ops, &list[i]) == 0)
            return 0;
    }
    return -1;
}

static int run(struct options *options, const struct net_addr list[], int count, bool names)
{
    struct probe probe;
    struct report report = {.out = stdout,
                            .err = stderr,
                            .probe = &probe,
                            .ops = options->ops,
                            .host = options->host,
                            .quiet = options->quiet};
    char name[NI_MAXHOST];
    int status;

    if (probe_init(&probe, &options->settings, report_event, &report) < 0) {
        perror("echo-probe: cannot start");
        return STATUS_ERROR;
    }
    if (open_first(&probe, &report, list, count, names, name) == 0) {
        uint64_t elapsed = probe_run(&probe);

        report_summary(&report, elapsed);
    }
    status = probe_status(&probe);
    if (report_finish(&report) < 0)
        status = STATUS_ERROR;
    probe_fini(&probe);
    return status;
}

int main(int argc, char *argv[])
{
    struct options options = {
        .settings = {.interval = PROBE_SECOND, .size = 56}, .port = "7", .family = AF_UNSPEC};
    struct net_addr list[RESOLVE_MAX];
    char why[RESOLVE_WHY];
    bool numeric;
    int count;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    parse_arguments(&options, argc, argv);
    check_size(&options, options.family);
    count =
        resolve(options.host, options.port, options.family, options.ops->type, list, &numeric, why);
    if (count < 0) {
        fprintf(stderr, "echo-probe: %s\n", why);
        return STATUS_ERROR;
    }
    check_size(&options, list[0].sa.sa_family);
    return run(&options, list, count, !numeric && !options.numeric);
}
