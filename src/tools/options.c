/* SPDX-License-Identifier: ISC */
#include "tools/options.h"

#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

#define MICROSECOND UINT64_C(1000)
#define MILLISECOND UINT64_C(1000000)
#define LONGEST     (UINT64_C(100000000) * SECOND)

/* How long a flood waits for a reply before it sends another probe all the same, and an adaptive
 * run. */
#define FLOOD_INTERVAL (10 * MILLISECOND)

/* PID_MAX_LIMIT of Linux. */
#define HIGHEST_PID (1 << 22)

const struct cli options_cli = {"echo-probe: ", "Try 'echo-probe --help'.\n", 2};

static const char help[] =
    "Usage: echo-probe [options] tcp|udp HOST [PORT]\n"
    "Probe an echo service (RFC 862, port 7): verify and time every echo.\n"
    " -c N      stop after N probes             -q        only the summary\n"
    " -i SEC    from one probe to the next (1)  -v        with source ports\n"
    " -w SEC    stop after so long              -D        with the time of day\n"
    " -W SEC    a reply may take so long (10)   -O        tell of replies overdue\n"
    " -s SIZE   octets of payload (56)          -n        no names for addresses\n"
    " -p HEX    octets to fill it with          -4, -6    IPv4 or IPv6 only\n"
    " -m TEXT   send TEXT and show the echo     -I ADDR   source, or interface\n"
    " -m -      standard input to output        -Q TOS    type of service\n"
    " -l N      N probes at once, or under way  -t TTL    time to live, hop limit\n"
    " -f        flood: as fast as echoes come   -M do|want|dont|probe  fragmentation\n"
    " -A        adapt: one probe a round trip   -V, -h    version, help\n"
    " --connect          a connection a probe   --histogram    draw the distribution\n"
    " --source-port PORT                        --graph        a live picture\n"
    " --sources N        N source ports, each   --json         one document\n"
    "                    with its figures       --json-lines   one object a reply\n"
    " --connections N    N connections          --timestamps kernel|user\n"
    " --duration SEC     send for so long       --mtu          largest datagram\n"
    " --pid PID          with its CPU an echo                 that is not fragmented\n"
    "Long forms: --count --interval --deadline --timeout --size --pattern --message\n"
    "--preload --flood --adaptive --quiet --verbose --numeric --help --version\n"
    "Exit status: 0 echoes came, 1 none or too few, 2 other errors. echo-probe(1).\n";

enum {
    OPTION_CONNECT = CHAR_MAX + 1,
    OPTION_CONNECTIONS,
    OPTION_DURATION,
    OPTION_GRAPH,
    OPTION_HISTOGRAM,
    OPTION_JSON,
    OPTION_JSON_LINES,
    OPTION_MTU,
    OPTION_PID,
    OPTION_SOURCE_PORT,
    OPTION_SOURCES,
    OPTION_TIMESTAMPS,
};

static const struct option long_options[] = {
    {"adaptive", no_argument, NULL, 'A'},
    {"connect", no_argument, NULL, OPTION_CONNECT},
    {"connections", required_argument, NULL, OPTION_CONNECTIONS},
    {"count", required_argument, NULL, 'c'},
    {"deadline", required_argument, NULL, 'w'},
    {"duration", required_argument, NULL, OPTION_DURATION},
    {"flood", no_argument, NULL, 'f'},
    {"graph", no_argument, NULL, OPTION_GRAPH},
    {"help", no_argument, NULL, 'h'},
    {"histogram", no_argument, NULL, OPTION_HISTOGRAM},
    {"interval", required_argument, NULL, 'i'},
    {"json", no_argument, NULL, OPTION_JSON},
    {"json-lines", no_argument, NULL, OPTION_JSON_LINES},
    {"message", required_argument, NULL, 'm'},
    {"mtu", no_argument, NULL, OPTION_MTU},
    {"numeric", no_argument, NULL, 'n'},
    {"pattern", required_argument, NULL, 'p'},
    {"pid", required_argument, NULL, OPTION_PID},
    {"preload", required_argument, NULL, 'l'},
    {"quiet", no_argument, NULL, 'q'},
    {"size", required_argument, NULL, 's'},
    {"source-port", required_argument, NULL, OPTION_SOURCE_PORT},
    {"sources", required_argument, NULL, OPTION_SOURCES},
    {"timeout", required_argument, NULL, 'W'},
    {"timestamps", required_argument, NULL, OPTION_TIMESTAMPS},
    {"verbose", no_argument, NULL, 'v'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* ---- values ---- */

static uint64_t number(const char *option, uint64_t min, uint64_t max)
{
    return cli_number(&options_cli, option, optarg, min, max);
}

static uint64_t seconds(const char *option, uint64_t min)
{
    return cli_seconds(&options_cli, option, optarg, min, LONGEST);
}

/* Pairs of hexadecimal digits, as ping(8). */
static void parse_pattern(struct options *options)
{
    size_t digits = strspn(optarg, "0123456789abcdefABCDEF");

    if (digits == 0 || optarg[digits] != '\0' || digits % 2 != 0 ||
        digits / 2 > sizeof options->pattern)
        cli_refuse_value(&options_cli, "-p", optarg,
                         "1 to 16 octets of two hexadecimal digits each are allowed, as in 00ff");
    options->pattern_size = digits / 2;
    for (size_t i = 0; i < options->pattern_size; i++) {
        const char octet[] = {optarg[2 * i], optarg[2 * i + 1], '\0'};

        options->pattern[i] = (uint8_t)strtoul(octet, NULL, 16);
    }
}

static void parse_source(struct probe_socket *socket)
{
    if (addr_parse(optarg, 0, &socket->source) == 0)
        return;
    socket->source.len = 0;
    if (strlen(optarg) == 0 || strlen(optarg) >= sizeof socket->device)
        cli_refuse_value(&options_cli, "-I", optarg,
                         "an address of this host or the name of an interface is allowed");
    strcpy(socket->device, optarg);
}

static int parse_choice(const char *option, const char *const names[], const char *allowed)
{
    for (int i = 0; names[i]; i++)
        if (strcmp(optarg, names[i]) == 0)
            return i;
    cli_refuse_value(&options_cli, option, optarg, allowed);
}

static int parse_pmtu(void)
{
    static const char *const names[] = {"dont", "want", "do", "probe", NULL};
    static const int values[] = {IP_PMTUDISC_DONT, IP_PMTUDISC_WANT, IP_PMTUDISC_DO,
                                 IP_PMTUDISC_PROBE};

    return values[parse_choice("-M", names, "do, want, dont or probe is allowed")];
}

static bool parse_timestamps(void)
{
    static const char *const names[] = {"user", "kernel", NULL};

    return parse_choice("--timestamps", names, "kernel or user is allowed") == 1;
}

static const struct probe_ops *parse_protocol(const char *text)
{
    if (strcmp(text, probe_tcp_ops.name) == 0)
        return &probe_tcp_ops;
    if (strcmp(text, probe_udp_ops.name) == 0)
        return &probe_udp_ops;
    cli_refuse_value(&options_cli, "protocol", text, "tcp or udp is allowed, before HOST");
}

static void choose_kind(struct options *options, const struct report_kind *kind)
{
    if (options->kind != &report_text && options->kind != kind)
        cli_refuse(&options_cli, "only one of --graph, --json and --json-lines can be had");
    if (kind != &report_graph && !report_has_json)
        cli_refuse(&options_cli, "this echo-probe was built without jansson, so there is no JSON");
    options->kind = kind;
}

/* ---- options ---- */

/* What was given, where the value does not tell. */
struct given {
    bool connections;
    bool interval;
    bool timestamps;
};

static bool parse_socket_option(struct options *options, struct given *given, int option)
{
    struct probe_socket *socket = &options->settings.socket;

    switch (option) {
    case '4':
        options->family = AF_INET;
        return true;
    case '6':
        options->family = AF_INET6;
        return true;
    case 'I':
        parse_source(socket);
        return true;
    case 'M':
        socket->pmtu = parse_pmtu();
        return true;
    case 'Q':
        socket->tos = cli_tos(&options_cli, "-Q", optarg);
        return true;
    case 't':
        socket->ttl = (int)number("-t", 1, 255);
        return true;
    case OPTION_SOURCE_PORT:
        socket->port = (uint16_t)number("--source-port", 1, 65535);
        return true;
    case OPTION_SOURCES:
        options->settings.links = (unsigned)number("--sources", 1, PROBE_MAX_LINKS);
        options->sources = true;
        return true;
    case OPTION_CONNECTIONS:
        options->settings.links = (unsigned)number("--connections", 1, PROBE_MAX_LINKS);
        given->connections = true;
        return true;
    case OPTION_CONNECT:
        options->connect = true;
        return true;
    default:
        return false;
    }
}

static bool parse_schedule_option(struct options *options, struct given *given, int option)
{
    struct probe_settings *settings = &options->settings;

    switch (option) {
    case 'A':
        options->adaptive = true;
        return true;
    case 'c':
        settings->count = number("-c", 1, UINT32_MAX);
        return true;
    case 'f':
        options->flood = true;
        return true;
    case 'i':
        settings->interval = seconds("-i", MICROSECOND);
        given->interval = true;
        return true;
    case 'l':
        settings->preload = (unsigned)number("-l", 1, PROBE_MEMORY / 2);
        return true;
    case 'O':
        settings->overdue = true;
        return true;
    case 'w':
        settings->deadline = seconds("-w", MILLISECOND);
        return true;
    case 'W':
        settings->timeout = seconds("-W", MILLISECOND);
        return true;
    case OPTION_DURATION:
        settings->duration = seconds("--duration", MILLISECOND);
        return true;
    case OPTION_TIMESTAMPS:
        settings->kernel_stamps = parse_timestamps();
        given->timestamps = true;
        return true;
    default:
        return false;
    }
}

static bool parse_payload_option(struct options *options, int option)
{
    switch (option) {
    case 'm':
        options->message = optarg;
        return true;
    case 'p':
        parse_pattern(options);
        return true;
    case 's':
        options->size = optarg;
        return true;
    case OPTION_MTU:
        options->mtu = true;
        return true;
    default:
        return false;
    }
}

static bool parse_output_option(struct options *options, int option)
{
    switch (option) {
    case 'D':
        options->dates = true;
        return true;
    case 'n':
        options->numeric = true;
        return true;
    case 'q':
        options->quiet = true;
        return true;
    case 'v':
        options->verbose = true;
        return true;
    case OPTION_GRAPH:
        choose_kind(options, &report_graph);
        return true;
    case OPTION_HISTOGRAM:
        options->histogram = true;
        return true;
    case OPTION_JSON:
        choose_kind(options, &report_json);
        return true;
    case OPTION_JSON_LINES:
        choose_kind(options, &report_json_lines);
        return true;
    case OPTION_PID:
        options->pid = (pid_t)number("--pid", 1, HIGHEST_PID);
        return true;
    default:
        return false;
    }
}

/* ---- what options mean together ---- */

static void refuse_both(bool both, const char *one, const char *other)
{
    if (both)
        cli_refuse(&options_cli, "%s and %s cannot be had together", one, other);
}

/* What makes no sense where standard input says what to send. */
static void check_stream(const struct options *options)
{
    const struct probe_settings *settings = &options->settings;

    refuse_both(settings->count != 0, "-m -", "-c");
    refuse_both(options->flood || options->adaptive, "-m -", "-f or -A");
    refuse_both(options->connect || settings->links > 1, "-m -",
                "--connect, --connections or --sources");
    refuse_both(options->kind != &report_text || options->histogram, "-m -",
                "--json, --json-lines, --graph or --histogram");
}

static void check_combinations(const struct options *options, const struct given *given)
{
    const struct probe_settings *settings = &options->settings;
    bool many = settings->links > 1;

    refuse_both(options->message && options->size, "-m", "-s");
    refuse_both(options->message && options->pattern_size > 0, "-m", "-p");
    refuse_both(options->adaptive && options->flood, "-A", "-f");
    refuse_both(options->sources && given->connections, "--sources", "--connections");
    refuse_both(options->connect && many, "--connect", "--sources or --connections");
    refuse_both(options->connect && settings->socket.port != 0, "--connect", "--source-port");
    refuse_both(options->mtu && options->message, "--mtu", "-m");
    refuse_both(options->mtu && options->kind != &report_text, "--mtu",
                "--json, --json-lines or --graph");
    if (options->message && strcmp(options->message, "-") == 0)
        check_stream(options);
    if ((options->connect || options->mtu) &&
        options->ops != (options->mtu ? &probe_udp_ops : &probe_tcp_ops))
        cli_refuse(&options_cli, options->mtu
                                     ? "--mtu is for udp only: TCP sends no datagrams"
                                     : "--connect is for tcp only: UDP has no connections");
    if (settings->socket.port != 0 && settings->socket.port + settings->links - 1 > 65535)
        cli_refuse(&options_cli, "--source-port %u leaves no room for %u source ports up to 65535",
                   (unsigned)settings->socket.port, settings->links);
}

static void combine(struct options *options, const struct given *given)
{
    struct probe_settings *settings = &options->settings;

    if (options->connect)
        options->ops = &probe_connect_ops;
    if (options->adaptive || (options->flood && !given->interval)) {
        settings->window = settings->preload;
        if (!given->interval && options->flood)
            settings->interval = FLOOD_INTERVAL;
    }
    if (options->flood)
        options->quiet = true;
    /* The kernel tells of every datagram sent, which costs as much as receiving one. */
    if (options->flood && !given->timestamps)
        settings->kernel_stamps = false;
}

/* "127.0.0.1:7007", "[::1]:7007", "localhost:7007": no name and no address has just one colon, or
 * one after a bracket. */
static bool has_port(const char *host)
{
    const char *colon = strrchr(host, ':');

    return colon && colon > host &&
           (host[0] == '[' ? colon[-1] == ']' : strchr(host, ':') == colon);
}

static void parse_operands(struct options *options, int argc, char *argv[])
{
    if (argc < 2)
        cli_refuse(&options_cli, "tcp or udp, and then HOST, must be given");
    if (argc > 3)
        cli_refuse(&options_cli, "too many arguments: only tcp or udp, HOST and PORT are needed");
    options->ops = parse_protocol(argv[0]);
    options->host = argv[1];
    if (has_port(options->host))
        cli_refuse_value(&options_cli, "HOST", options->host,
                         "PORT is an argument of its own, after HOST");
    if (argc == 3)
        options->port = argv[2];
}

void options_parse(struct options *options, int argc, char *argv[])
{
    struct given given = {0};
    int option;

    *options = (struct options){
        .settings = probe_defaults, .kind = &report_text, .port = "7", .family = AF_UNSPEC};
    while ((option = getopt_long(argc, argv, "46Ac:DfhI:i:l:M:m:nOp:Q:qs:t:VvW:w:", long_options,
                                 NULL)) >= 0) {
        if (option == 'h')
            cli_print(&options_cli, help);
        if (option == 'V')
            cli_print(&options_cli, "echo-probe (" PACKAGE_NAME ") " PACKAGE_VERSION "\n");
        if (!parse_socket_option(options, &given, option) &&
            !parse_schedule_option(options, &given, option) &&
            !parse_payload_option(options, option) && !parse_output_option(options, option))
            cli_refuse_option(&options_cli);
    }
    parse_operands(options, argc - optind, argv + optind);
    check_combinations(options, &given);
    combine(options, &given);
}

void options_size(struct options *options, int family)
{
    if (options->size)
        options->settings.size = cli_size(&options_cli, "-s", options->size, options->ops, family);
    if (options->message && strcmp(options->message, "-") != 0) {
        options->settings.size = strlen(options->message);
        if (options->settings.size < probe_min_size(options->ops) ||
            options->settings.size > probe_max_size(options->ops, family))
            cli_refuse(&options_cli, "-m: a message of %zu octets cannot be sent over %s",
                       options->settings.size, options->ops->name);
    }
}
