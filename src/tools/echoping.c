/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "probe/probe.h"
#include "probe/resolve.h"
#include "report/report.h"
#include "tools/cli.h"

/* Each round trip is remembered for the median. */
#define MAX_NUMBER  100000
#define MAX_SECONDS (UINT64_C(100000000) * SECOND)

static const char help[] =
    "Usage: echoping [options] HOST[:PORT]\n"
    "Time an echo service (RFC 862) over TCP, a connection for each test, or over UDP.\n"
    "This is echoping(1) in so far as it is about echo, with the same options and output.\n"
    "\n"
    "  -u, --udp                  UDP instead of TCP\n"
    "  -n, --number N             tests (1)\n"
    "  -w, --wait SEC             from the beginning of one test to that of the next (1)\n"
    "  -t, --timeout SEC          how long a test may take, connecting included (10)\n"
    "  -s, --size SIZE            octets to send (256)\n"
    "  -f, --fill CHAR            fill what is sent after its first 16 octets\n"
    "  -P, --type-of-service TOS  0 to 255, or 0x0 to 0xff\n"
    "  -p, --priority N           accepted, without effect\n"
    "      --port PORT            a number or a service name, as after HOST: (7)\n"
    "  -4, --ipv4                 IPv4 only\n"
    "  -6, --ipv6                 IPv6 only\n"
    "  -v, --verbose              tell each step\n"
    "  -V, --version              print the version and exit\n"
    "      --help                 print this help and exit\n"
    "\n"
    "Exit status: 0 at least one test succeeded, 1 none did, or any other error.\n"
    "See echoping(1), and echo-probe(1) for more than this.\n";

static const struct cli cli = {
    .prefix = "echoping: ", .hint = "Try 'echoping --help'.\n", .status = EXIT_FAILURE};

struct options {
    struct probe_settings settings;
    const struct probe_ops *ops;
    const char *size; /* as it was written */
    const char *fill; /* NULL: none */
    char *host;
    const char *port;
    int family;
    bool verbose;
};

struct tests {
    const struct options *options;
    struct probe probe;
    struct rtt rtt;  /* of the tests that succeeded, connecting included */
    uint64_t *times; /* the same, in the order they came */
};

/* ---- the command line ---- */

/* What echoping knows beyond echo: the option, what it is, and what does it today. */
static const struct {
    char letter;
    const char *text;
} foreign[] = {{'c', "the chargen service"},
               {'d', "the discard service"},
               {'h', "HTTP"},
               {'i', "ICP"},
               {'m', "plugins"},
               {'r', "T/TCP"},
               {'R', "HTTP"},
               {'S', "SMTP"},
               {'C', "SSL"},
               {'A', "HTTP through a cache"},
               {'a', "HTTP through a cache"}};

static _Noreturn void refuse_foreign(int option)
{
    for (size_t i = 0; i < COUNT(foreign); i++)
        if (foreign[i].letter == option)
            cli_refuse(&cli, "-%c (%s): only echo over TCP and, with -u, UDP is supported", option,
                       foreign[i].text);
    cli_refuse_option(&cli);
}

enum { OPTION_PORT = 256, OPTION_HELP };

static void parse_option(struct options *options, int option)
{
    struct probe_settings *settings = &options->settings;

    switch (option) {
    case 'u':
        options->ops = &probe_udp_ops;
        break;
    case 'n':
        settings->count = cli_number(&cli, "-n", optarg, 1, MAX_NUMBER);
        break;
    case 'w':
        settings->interval = cli_seconds(&cli, "-w", optarg, MILLISECOND, MAX_SECONDS);
        break;
    case 't':
        settings->timeout = cli_seconds(&cli, "-t", optarg, MILLISECOND, MAX_SECONDS);
        break;
    case 's':
        options->size = optarg;
        break;
    case 'f':
        if (strlen(optarg) != 1)
            cli_refuse_value(&cli, "-f", optarg, "one character of one octet is allowed");
        options->fill = optarg;
        break;
    case 'P':
        settings->socket.tos = cli_tos(&cli, "-P", optarg);
        break;
    case 'p':
        cli_number(&cli, "-p", optarg, 0, INT32_MAX);
        break;
    case OPTION_PORT:
        options->port = optarg;
        break;
    case '4':
        options->family = AF_INET;
        break;
    case '6':
        options->family = AF_INET6;
        break;
    case 'v':
        options->verbose = true;
        break;
    case 'V':
        cli_print(&cli, "echoping (" PACKAGE_NAME ") " PACKAGE_VERSION "\n");
    case OPTION_HELP:
        cli_print(&cli, help);
    default:
        refuse_foreign(option);
    }
}

/* "HOST:PORT", "[HOST]:PORT"; what has more colons is an IPv6 address without a port. */
static void split_port(struct options *options)
{
    char *colon = strrchr(options->host, ':');
    bool bracketed = options->host[0] == '[';

    if (!colon || (bracketed ? colon[-1] != ']' : strchr(options->host, ':') != colon))
        return;
    *colon = '\0';
    options->port = colon + 1;
}

static void parse_arguments(struct options *options, int argc, char *argv[])
{
    static const struct option long_options[] = {{"udp", no_argument, NULL, 'u'},
                                                 {"number", required_argument, NULL, 'n'},
                                                 {"wait", required_argument, NULL, 'w'},
                                                 {"timeout", required_argument, NULL, 't'},
                                                 {"size", required_argument, NULL, 's'},
                                                 {"fill", required_argument, NULL, 'f'},
                                                 {"type-of-service", required_argument, NULL, 'P'},
                                                 {"priority", required_argument, NULL, 'p'},
                                                 {"port", required_argument, NULL, OPTION_PORT},
                                                 {"ipv4", no_argument, NULL, '4'},
                                                 {"ipv6", no_argument, NULL, '6'},
                                                 {"verbose", no_argument, NULL, 'v'},
                                                 {"version", no_argument, NULL, 'V'},
                                                 {"help", no_argument, NULL, OPTION_HELP},
                                                 {NULL, 0, NULL, 0}};
    int option;

    while ((option =
                getopt_long(argc, argv, "un:w:t:s:f:P:p:46vVcdhimrRSCAa", long_options, NULL)) >= 0)
        parse_option(options, option);
    if (argc - optind != 1)
        cli_refuse(&cli, argc == optind ? "HOST must be given"
                                        : "too many arguments: one HOST is allowed");
    options->host = argv[optind];
    split_port(options);
}

static void check_size(struct options *options, int family)
{
    if (options->size)
        options->settings.size = cli_size(&cli, "-s", options->size, options->ops, family);
}

/* ---- the tests ---- */

static void put_seconds(const char *what, uint64_t ns)
{
    printf("%s: %" PRIu64 ".%06" PRIu64 " seconds", what, ns / SECOND, ns % SECOND / MICROSECOND);
}

static void put_test(struct tests *tests, const struct probe_event *event)
{
    uint64_t time = event->connect + event->time;

    if (tests->options->verbose) {
        if (event->connect != 0) {
            put_seconds("TCP Latency", event->connect);
            putchar('\n');
        }
        printf("%zu bytes read from server.\nChecked\n", event->size);
    }
    put_seconds("Elapsed time", time);
    putchar('\n');
    tests->times[tests->rtt.count] = time;
    rtt_add(&tests->rtt, time);
}

static void put_trouble(const struct probe_event *event)
{
    switch (event->kind) {
    case PROBE_CORRUPT:
        fprintf(stderr, "echoping: Strange server: octet %zu of %zu that came back is wrong\n",
                event->wrong, event->size);
        break;
    case PROBE_TRUNCATED:
        fprintf(stderr, "echoping: Strange server: only %zu octets came back\n", event->size);
        break;
    default:
        fprintf(stderr, "echoping: Strange server: the reply came from another address\n");
        break;
    }
}

static void put_target(const struct options *options)
{
    fprintf(stderr, "echoping: %s port %s: ", options->host, options->port);
}

static bool on_event(void *context, const struct probe_event *event)
{
    struct tests *tests = context;

    switch (event->kind) {
    case PROBE_RECEIVED:
        put_test(tests, event);
        break;
    case PROBE_CORRUPT:
    case PROBE_TRUNCATED:
    case PROBE_WRONG_SOURCE:
        put_trouble(event);
        break;
    case PROBE_ERROR:
    case PROBE_FAILURE:
    case PROBE_CLOSED:
        put_target(tests->options);
        report_error(stderr, &tests->probe, event->link ? &event->link->peer : event->from,
                     event->error);
        break;
    default:
        break;
    }
    return fflush(stdout) == 0;
}

/* ---- the end ---- */

static void put_statistic(const char *what, uint64_t ns, size_t size)
{
    put_seconds(what, ns);
    printf(" (%.0f bytes per sec.)\n", ns > 0 ? (double)size * (double)SECOND / (double)ns : 0.0);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static uint64_t median(uint64_t *times, size_t count)
{
    qsort(times, count, sizeof *times, compare);
    return count % 2 == 1 ? times[count / 2] : (times[count / 2 - 1] + times[count / 2]) / 2;
}

static void put_statistics(struct tests *tests)
{
    const struct probe_counters *counters = &tests->probe.counters;
    size_t size = tests->options->settings.size;
    uint64_t lost = counters->sent - counters->received;

    puts("---");
    if (lost > 0)
        printf("Warning: %" PRIu64 " message(s) lost (%" PRIu64 " %%)\n", lost,
               100 * lost / counters->sent);
    put_statistic("Minimum time", tests->rtt.min, size);
    put_statistic("Maximum time", tests->rtt.max, size);
    put_statistic("Average time", (uint64_t)rtt_mean(&tests->rtt), size);
    printf("Standard deviation: %.6f\n", rtt_mdev(&tests->rtt) / (double)SECOND);
    put_statistic("Median time", median(tests->times, tests->rtt.count), size);
}

/* Those of which nothing was said so far. */
static void put_timeouts(const struct tests *tests)
{
    const struct probe_counters *counters = &tests->probe.counters;
    uint64_t known = counters->received + counters->refused + counters->errors + counters->corrupt +
                     counters->truncated + counters->wrong_source;

    if (counters->sent <= known)
        return;
    put_target(tests->options);
    fprintf(stderr, "Timeout: %" PRIu64 " of %" PRIu64 " tests had no echo after %g s\n",
            counters->sent - known, counters->sent,
            (double)tests->options->settings.timeout / (double)SECOND);
}

static int finish(struct tests *tests)
{
    if (tests->probe.stopped && !ferror(stdout))
        puts("Interrupted by user");
    else
        put_timeouts(tests);
    if (tests->rtt.count > 1)
        put_statistics(tests);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "echoping: cannot write to standard output: %s\n", strerror(errno));
        return EXIT_FAILURE;
    }
    return tests->rtt.count > 0 && !tests->probe.stopped ? EXIT_SUCCESS : EXIT_FAILURE;
}

static bool announce(void *context, const struct addr *peer)
{
    struct tests *tests = context;
    char address[ADDR_STRLEN];

    if (tests->options->verbose)
        printf("Trying to send %zu bytes to internet address %s by %s...\n",
               tests->options->settings.size, addr_print(peer, address), tests->options->ops->name);
    return fflush(stdout) == 0;
}

static int run(const struct options *options, const struct addr list[], int count)
{
    struct tests tests = {.options = options};
    int status = EXIT_FAILURE;

    tests.times = calloc(options->settings.count, sizeof *tests.times);
    if (!tests.times || probe_init(&tests.probe, &options->settings, on_event, &tests) < 0) {
        fprintf(stderr, "echoping: cannot start: %s\n", strerror(errno));
        free(tests.times);
        return EXIT_FAILURE;
    }
    tests.probe.payload.fill = (const uint8_t *)options->fill;
    tests.probe.payload.fill_size = 1;
    rtt_init(&tests.rtt);
    if (cli_open(&tests.probe, options->ops, list, count, announce, &tests) == 0) {
        probe_run(&tests.probe);
        status = finish(&tests);
    }
    rtt_fini(&tests.rtt);
    probe_fini(&tests.probe);
    free(tests.times);
    return status;
}

int main(int argc, char *argv[])
{
    struct options options = {
        .settings = probe_defaults, .ops = &probe_connect_ops, .port = "7", .family = AF_UNSPEC};
    struct addr list[RESOLVE_MAX];
    char why[RESOLVE_WHY];
    bool numeric;
    int count;

    signal(SIGPIPE, SIG_IGN);
    options.settings.count = 1;
    options.settings.size = 256;
    options.settings.timeout = PROBE_TIMEOUT;
    parse_arguments(&options, argc, argv);
    check_size(&options, options.family);
    count =
        resolve(options.host, options.port, options.family, options.ops->type, list, &numeric, why);
    if (count < 0) {
        fprintf(stderr, "echoping: %s\n", why);
        return EXIT_FAILURE;
    }
    check_size(&options, list[0].sa.sa_family);
    return run(&options, list, count);
}
