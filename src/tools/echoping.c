/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/decimal.h"
#include "common/mask.h"
#include "common/util.h"
#include "probe/link_connect.h"
#include "probe/link_udp.h"
#include "probe/resolve.h"
#include "probe/run.h"
#include "report/report.h"
#include "tools/client.h"

/* Each round trip is remembered for the median. */
#define MAX_NUMBER  100000
#define MAX_SECONDS (UINT64_C(100000000) * SECOND)

struct test_options {
    struct probe_settings settings;
    const struct probe_ops *ops;
    const char *size; /* as it was written; NULL: not given */
    const char *fill; /* NULL: none */
    char *host;
    const char *port;
    uint64_t priority; /* of no effect */
    int family;
    bool verbose;
};

struct tests {
    const struct test_options *options;
    struct runner runner;
    struct probe probe;
    struct rtt rtt;  /* of the tests that succeeded, connecting included */
    uint64_t *times; /* the same, in the order they came */
};

/* ---- the command line ---- */

static void take_udp(const struct cli *cli, const struct cli_option *option, const char *value,
                     void *target)
{
    (void)cli;
    (void)option;
    (void)value;
    *(const struct probe_ops **)target = &probe_udp_ops;
}

static void take_fill(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target)
{
    (void)option;
    if (strlen(value) != 1)
        cli_refuse_value(cli, "-f", value, "one character of one octet is allowed");
    *(const char **)target = value;
}

/* The option of the echoping that also knows other services. */
static void refuse_foreign(const struct cli *cli, const struct cli_option *option,
                           const char *value, void *target)
{
    (void)value;
    (void)target;
    cli_refuse(cli, "-%c (%s): only echo over TCP and, with -u, UDP is supported", option->letter,
               option->text);
}

#define MEMBER(member)   CLI_MEMBER(struct test_options, member)
#define TEXT(member)     CLI_TEXT(struct test_options, member)
#define FAMILY(value)    CLI_CONSTANT(struct test_options, family, value)
#define SECONDS(member)  CLI_SECONDS(struct test_options, member, MILLISECOND, MAX_SECONDS)
#define FOREIGN(service) .take = refuse_foreign, .text = (service)

static const struct cli_option table[] = {
    {'u', "udp", NULL, "UDP instead of TCP", .take = take_udp, MEMBER(ops)},
    {'n', "number", "N", "tests (1)",
     CLI_NUMBER(struct test_options, settings.count, 1, MAX_NUMBER)},
    {'w', "wait", "SEC", "from the beginning of one test to that of the next (1)",
     SECONDS(settings.interval)},
    {'t', "timeout", "SEC", "how long a test may take, connecting included (10)",
     SECONDS(settings.timeout)},
    {'s', "size", "SIZE", "octets to send (256)", TEXT(size)},
    {'f', "fill", "CHAR", "fill what is sent after its first 16 octets", .take = take_fill,
     MEMBER(fill)},
    {'P', "type-of-service", "TOS", "0 to 255, or 0x0 to 0xff", .take = client_take_tos,
     MEMBER(settings.socket.tos)},
    {'p', "priority", "N", "accepted, without effect",
     CLI_NUMBER(struct test_options, priority, 0, INT32_MAX)},
    {'\0', "port", "PORT", "a number or a service name, as after HOST: (7)", TEXT(port)},
    {'4', "ipv4", NULL, "IPv4 only", FAMILY(AF_INET)},
    {'6', "ipv6", NULL, "IPv6 only", FAMILY(AF_INET6)},
    {'v', "verbose", NULL, "tell each step", CLI_FLAG(struct test_options, verbose)},
    {'V', "version", NULL, "print the version and exit", .take = cli_take_version},
    {'\0', "help", NULL, "print this help and exit", .take = cli_take_help},
    {'c', NULL, NULL, NULL, FOREIGN("the chargen service")},
    {'d', NULL, NULL, NULL, FOREIGN("the discard service")},
    {'h', NULL, NULL, NULL, FOREIGN("HTTP")},
    {'i', NULL, NULL, NULL, FOREIGN("ICP")},
    {'m', NULL, NULL, NULL, FOREIGN("plugins")},
    {'r', NULL, NULL, NULL, FOREIGN("T/TCP")},
    {'R', NULL, NULL, NULL, FOREIGN("HTTP")},
    {'S', NULL, NULL, NULL, FOREIGN("SMTP")},
    {'C', NULL, NULL, NULL, FOREIGN("SSL")},
    {'A', NULL, NULL, NULL, FOREIGN("HTTP through a cache")},
    {'a', NULL, NULL, NULL, FOREIGN("HTTP through a cache")},
};

static const struct cli cli = {
    .prefix = "echoping: ",
    .hint = "Try 'echoping --help'.\n",
    .version = "echoping (" PACKAGE_NAME ") " PACKAGE_VERSION,
    .usage = "Usage: echoping [options] HOST[:PORT]\n"
             "Time an echo service (RFC 862) over TCP, a connection for each test, or over UDP.\n"
             "This is echoping(1) in so far as it is about echo, with the same options and "
             "output.\n\n",
    .footer = "\nExit status: 0 at least one test succeeded, 1 none did, or any other error.\n"
              "See echoping(1), and echo-probe(1) for more than this.\n",
    .refused = EXIT_FAILURE,
    .unwritten = EXIT_FAILURE,
    .options = table,
    .count = COUNT(table),
};

/* "HOST:PORT", "[HOST]:PORT"; what has more colons is an IPv6 address without a port. */
static void split_port(struct test_options *options)
{
    char *colon = strrchr(options->host, ':');
    bool bracketed = options->host[0] == '[';

    if (!colon || (bracketed ? colon[-1] != ']' : strchr(options->host, ':') != colon))
        return;
    *colon = '\0';
    options->port = colon + 1;
}

static void parse_arguments(struct test_options *options, int argc, char *argv[])
{
    int operands = cli_parse(&cli, argc, argv, options);

    if (argc - operands != 1)
        cli_refuse(&cli, argc == operands ? "HOST must be given"
                                          : "too many arguments: one HOST is allowed");
    options->host = argv[operands];
    split_port(options);
}

static void check_size(struct test_options *options, int family)
{
    if (options->size)
        options->settings.size = client_size(&cli, options->size, options->ops, family);
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

static void put_target(const struct test_options *options)
{
    fputs("echoping: ", stderr);
    print_masked_text(stderr, options->host);
    fputs(" port ", stderr);
    print_masked_text(stderr, options->port);
    fputs(": ", stderr);
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
    char text[DECIMAL_SIZE];

    puts("---");
    if (lost > 0)
        printf("Warning: %" PRIu64 " message(s) lost (%s %%)\n", lost,
               print_percent(lost, counters->sent, 2, text));
    put_statistic("Minimum time", tests->rtt.min, size);
    put_statistic("Maximum time", tests->rtt.max, size);
    put_statistic("Average time", (uint64_t)rtt_mean(&tests->rtt), size);
    printf("Standard deviation: %.6f\n", rtt_mdev(&tests->rtt) / (double)SECOND);
    put_statistic("Median time", median(tests->times, (size_t)tests->rtt.count), size);
}

/* Tests that neither succeeded nor failed with a message. */
static void put_timeouts(const struct tests *tests)
{
    const struct probe_counters *counters = &tests->probe.counters;
    uint64_t known = counters->received + counters->refused + counters->errors + counters->corrupt +
                     counters->truncated + counters->wrong_source;

    char text[DECIMAL_SIZE];

    if (counters->sent <= known)
        return;
    put_target(tests->options);
    fprintf(stderr, "Timeout: %" PRIu64 " of %" PRIu64 " tests had no echo after %s s\n",
            counters->sent - known, counters->sent,
            print_seconds(tests->options->settings.timeout, text));
}

static int finish_run(struct tests *tests)
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

static int run_probes(const struct test_options *options, const struct addr list[], int count)
{
    struct tests tests = {.options = options};
    int status = EXIT_FAILURE;

    tests.times = calloc((size_t)options->settings.count, sizeof *tests.times);
    if (!tests.times || runner_init(&tests.runner) < 0 ||
        probe_init(&tests.probe, &tests.runner, &options->settings, on_event, &tests) < 0) {
        fprintf(stderr, "echoping: cannot start: %s\n", strerror(errno));
        free(tests.times);
        return EXIT_FAILURE;
    }
    tests.probe.payload.fill = (const uint8_t *)options->fill;
    tests.probe.payload.fill_size = 1;
    rtt_init(&tests.rtt);
    if (client_open(&tests.probe, options->ops, list, count, announce, &tests) == 0) {
        probe_run(&tests.probe);
        status = finish_run(&tests);
    }
    rtt_fini(&tests.rtt);
    probe_fini(&tests.probe);
    runner_fini(&tests.runner);
    free(tests.times);
    return status;
}

int main(int argc, char *argv[])
{
    struct test_options options = {
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
        fputs("echoping: ", stderr);
        print_masked_text(stderr, why);
        fputc('\n', stderr);
        return EXIT_FAILURE;
    }
    client_warn_of_placeholder(&cli, options.host, list, count);
    check_size(&options, list[0].sa.sa_family);
    return run_probes(&options, list, count);
}
