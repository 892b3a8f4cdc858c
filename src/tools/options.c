/* SPDX-License-Identifier: ISC */
#include "tools/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util.h"
#include "config.h"
#include "probe/inflight.h"
#include "probe/link_connect.h"
#include "probe/link_tcp.h"
#include "probe/link_udp.h"
#include "report/formats.h"
#include "report/text.h"
#include "tools/client.h"

#define LONGEST (UINT64_C(100000000) * SECOND)

/* How long a flood, or an adaptive run, waits for a reply before it sends the next probe anyway. */
#define FLOOD_INTERVAL (10 * MILLISECOND)

/* PID_MAX_LIMIT of Linux. */
#define HIGHEST_PID (1 << 22)

/* ---- values ---- */

/* Other programs take a port with -p. */
static bool looks_like_port(const char *value)
{
    uint64_t port;

    return value[0] != '0' && parse_number(value, UINT16_MAX, &port);
}

/* Pairs of hexadecimal digits, as ping(8). */
static void take_pattern(const struct cli *cli, const struct cli_option *option, const char *value,
                         void *target)
{
    struct options *options = target;
    const char *hint = looks_like_port(value) ? "; a port is given after HOST" : "";
    char allowed[120];
    size_t digits = strspn(value, "0123456789abcdefABCDEF");

    (void)option;
    snprintf(allowed, sizeof allowed,
             "1 to 16 octets of two hexadecimal digits each are allowed, as in 00ff%s", hint);
    if (digits == 0 || value[digits] != '\0' || digits % 2 != 0 ||
        digits / 2 > sizeof options->pattern)
        cli_refuse_value(cli, "-p", value, allowed);
    options->pattern_text = value;
    options->pattern_size = digits / 2;
    for (size_t i = 0; i < options->pattern_size; i++) {
        const char octet[] = {value[2 * i], value[2 * i + 1], '\0'};

        options->pattern[i] = (uint8_t)strtoul(octet, NULL, 16);
    }
}

static void take_source(const struct cli *cli, const struct cli_option *option, const char *value,
                        void *target)
{
    struct probe_socket *socket = target;

    (void)option;
    if (addr_parse(value, 0, &socket->source) == 0) {
        addr_unmap(&socket->source);
        return;
    }
    socket->source.len = 0;
    if (strlen(value) == 0 || strlen(value) >= sizeof socket->device)
        cli_refuse_value(cli, "-I", value,
                         "an address of this host or the name of an interface is allowed");
    strcpy(socket->device, value);
}

static void take_pmtu(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target)
{
    static const struct {
        const char *name;
        int value;
    } choices[] = {{"do", IP_PMTUDISC_DO},
                   {"want", IP_PMTUDISC_WANT},
                   {"dont", IP_PMTUDISC_DONT},
                   {"probe", IP_PMTUDISC_PROBE}};

    (void)option;
    for (size_t i = 0; i < COUNT(choices); i++)
        if (strcmp(value, choices[i].name) == 0) {
            *(int *)target = choices[i].value;
            return;
        }
    cli_refuse_value(cli, "-M", value, "do, want, dont or probe is allowed");
}

static void take_timestamps(const struct cli *cli, const struct cli_option *option,
                            const char *value, void *target)
{
    bool kernel = strcmp(value, "kernel") == 0;

    (void)option;
    if (!kernel && strcmp(value, "user") != 0)
        cli_refuse_value(cli, "--timestamps", value, "kernel or user is allowed");
    *(enum timestamps *)target = kernel ? TIMESTAMPS_KERNEL : TIMESTAMPS_USER;
}

static void take_kind(const struct cli *cli, const struct cli_option *option, const char *value,
                      void *target)
{
    const struct report_kind **kind = target;
    const struct report_kind *chosen = report_format(option->name);

    (void)value;
    if (*kind != &report_text && *kind != chosen)
        cli_refuse(cli, "only one of --graph, --json and --json-lines can be had");
    if (!chosen)
        cli_refuse(cli, "this echo-probe was built without jansson, so there is no JSON");
    *kind = chosen;
}

/* ---- options ---- */

#define FLAG(member)                CLI_FLAG(struct options, member)
#define TEXT(member)                CLI_TEXT(struct options, member)
#define NUMBER(member, least, most) CLI_NUMBER(struct options, member, least, most)
#define SECONDS(member, least)      CLI_SECONDS(struct options, member, least, LONGEST)
#define MEMBER(member)              CLI_MEMBER(struct options, member)

static const struct cli_option table[] = {
    {'c', "count", "N", "stop after N probes", NUMBER(settings.count, 1, UINT32_MAX)},
    {'i', "interval", "SEC", "from one probe to the next (1)", SECONDS(interval, MICROSECOND)},
    {'w', "deadline", "SEC", "stop after this time", SECONDS(settings.deadline, MILLISECOND)},
    {'W', "timeout", "SEC", "how long a reply may take (10)",
     SECONDS(settings.timeout, MILLISECOND)},
    {'s', "size", "SIZE", "octets of payload (56)", TEXT(size)},
    {'p', "pattern", "HEX", "octets to fill the payload with", .take = take_pattern},
    {'m', "message", "TEXT",
     "send TEXT and show the echo; with -m - send standard\n"
     "input and write the echo to standard output",
     TEXT(message)},
    {'l', "preload", "N", "N probes at once, or under way with -f and -A",
     NUMBER(settings.preload, 1, PROBE_MAX_PRELOAD)},
    {'f', "flood", NULL, "send as fast as echoes come", FLAG(flood)},
    {'A', "adaptive", NULL, "send one probe a round trip", FLAG(adaptive)},
    {'q', "quiet", NULL, "print only the summary", FLAG(quiet)},
    {'v', "verbose", NULL, "print source ports", FLAG(verbose)},
    {'D', NULL, NULL, "begin lines with the time of day", FLAG(dates)},
    {'O', NULL, NULL, "tell of replies that are overdue", FLAG(settings.overdue)},
    {'n', "numeric", NULL, "do not look up names of addresses", FLAG(numeric)},
    {'4', NULL, NULL, "IPv4 only", CLI_CONSTANT(struct options, family, AF_INET)},
    {'6', NULL, NULL, "IPv6 only", CLI_CONSTANT(struct options, family, AF_INET6)},
    {'I', NULL, "ADDR", "source address, or interface", .take = take_source,
     MEMBER(settings.socket)},
    {'Q', NULL, "TOS", "type of service, 0 to 255 or 0x0 to 0xff", .take = client_take_tos,
     MEMBER(settings.socket.tos)},
    {'t', NULL, "TTL", "time to live, hop limit", NUMBER(settings.socket.ttl, 1, 255)},
    {'M', NULL, "HOW", "fragmentation: do, want, dont or probe", .take = take_pmtu,
     MEMBER(settings.socket.pmtu)},
    {'\0', "mark", "N", "mark packets for routing and firewalls", NUMBER(mark, 1, UINT32_MAX)},
    {'\0', "connect", NULL, "TCP: a new connection for each probe", FLAG(connect)},
    {'\0', "source-port", "PORT", "send from this port",
     NUMBER(settings.socket.port, 1, UINT16_MAX)},
    {'\0', "sources", "N", "N source ports in turn, each with its figures",
     NUMBER(sources, 1, PROBE_MAX_LINKS)},
    {'\0', "connections", "N", "N connections or sockets in turn",
     NUMBER(connections, 1, PROBE_MAX_LINKS)},
    {'\0', "duration", "SEC", "send for this time", SECONDS(settings.duration, MILLISECOND)},
    {'\0', "pid", "PID", "report the CPU time of process PID an echo", NUMBER(pid, 1, HIGHEST_PID)},
    {'\0', "histogram", NULL, "draw the distribution at the end", FLAG(histogram)},
    {'\0', "graph", NULL, "draw a live picture", .take = take_kind, MEMBER(kind)},
    {'\0', "json", NULL, "print one JSON document", .take = take_kind, MEMBER(kind)},
    {'\0', "json-lines", NULL, "print a JSON object for each reply", .take = take_kind,
     MEMBER(kind)},
    {'\0', "timestamps", "WHERE", "where times are taken: kernel or user", .take = take_timestamps,
     MEMBER(timestamps)},
    {'\0', "wait-up", NULL, "go on through refusals until an echo comes", FLAG(wait_up)},
    {'\0', "mtu", NULL, "find the largest datagram that is not fragmented", FLAG(mtu)},
    {'V', "version", NULL, "print the version and exit", .take = cli_take_version},
    {'h', "help", NULL, "print this help and exit", .take = cli_take_help},
};

const struct cli options_cli = {
    .prefix = "echo-probe: ",
    .hint = "Try 'echo-probe --help'.\n",
    .version = "echo-probe (" PACKAGE_NAME ") " PACKAGE_VERSION,
    .usage = "Usage: echo-probe [options] tcp|udp HOST [PORT]\n"
             "Probe an echo service (RFC 862, port 7): verify and time every echo.\n\n",
    .footer = "\nExit status: 0 echoes came, 1 none or too few, 2 other errors.\n"
              "See echo-probe(1).\n",
    .refused = 2,
    .unwritten = 2,
    .options = table,
    .count = COUNT(table),
};

/* ---- what options mean together ---- */

static void refuse_both(bool both, const char *one, const char *other)
{
    if (both)
        cli_refuse(&options_cli, "%s and %s cannot be had together", one, other);
}

/* With -m - standard input says what to send, and when. */
static void check_stream(const struct options *options)
{
    const struct probe_settings *settings = &options->settings;

    refuse_both(settings->count != 0, "-m -", "-c");
    refuse_both(options->flood || options->adaptive, "-m -", "-f or -A");
    refuse_both(options->wait_up, "-m -", "--wait-up");
    refuse_both(options->connect || options->sources > 1 || options->connections > 1, "-m -",
                "--connect, --connections or --sources");
    refuse_both(options->kind != &report_text || options->histogram, "-m -",
                "--json, --json-lines, --graph or --histogram");
}

static void check_combinations(const struct options *options)
{
    const struct probe_settings *settings = &options->settings;
    unsigned links = options->sources + options->connections;

    refuse_both(options->message && options->size, "-m", "-s");
    refuse_both(options->message && options->pattern_size > 0, "-m", "-p");
    refuse_both(options->adaptive && options->flood, "-A", "-f");
    refuse_both(options->sources > 0 && options->connections > 0, "--sources", "--connections");
    refuse_both(options->connect && links > 1, "--connect", "--sources or --connections");
    refuse_both(options->connect && settings->socket.port != 0, "--connect", "--source-port");
    refuse_both(options->wait_up && options->mtu, "--wait-up", "--mtu");
    refuse_both(options->wait_up && (options->flood || options->adaptive), "--wait-up", "-f or -A");
    refuse_both(options->wait_up && settings->duration != 0, "--wait-up", "--duration");
    refuse_both(options->wait_up && options->ops == &probe_tcp_ops &&
                    (links > 1 || settings->socket.port != 0),
                "--wait-up for tcp", "--connections, --sources or --source-port");
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
    if (settings->socket.port != 0 && links > 0 && settings->socket.port + links - 1 > UINT16_MAX)
        cli_refuse(&options_cli, "--source-port %u leaves no room for %u source ports up to 65535",
                   (unsigned)settings->socket.port, links);
}

static void combine(struct options *options)
{
    struct probe_settings *settings = &options->settings;
    bool paced = options->interval != 0;

    settings->socket.mark = (uint32_t)options->mark;
    /* A connection that was refused must be tried again. */
    if (options->connect || (options->wait_up && options->ops == &probe_tcp_ops))
        options->ops = &probe_connect_ops;
    if (options->wait_up) {
        settings->persist = true;
        settings->count = settings->count != 0 ? settings->count : 1;
    }
    if (options->sources > 0 || options->connections > 0)
        settings->links = options->sources + options->connections;
    if (options->adaptive || (options->flood && !paced))
        settings->window = settings->preload;
    if (paced)
        settings->interval = options->interval;
    else if (options->flood)
        settings->interval = FLOOD_INTERVAL;
    if (options->flood)
        options->quiet = true;
    /* For each datagram sent the kernel delivers a timestamp, which costs as much as a reply. */
    if (options->timestamps == TIMESTAMPS_USER || (options->flood && !options->timestamps))
        settings->kernel_stamps = false;
}

static void check_memory(const struct options *options)
{
    uint64_t most = inflight_most(&options->settings);

    if (most > INFLIGHT_MAX)
        cli_refuse(&options_cli,
                   "%" PRIu64 " probes could wait for their replies at once, at most %" PRIu64
                   " are remembered: send more slowly (-i), wait less (-W), or fewer in all (-c)",
                   most, INFLIGHT_MAX);
}

static const struct probe_ops *find_protocol(const char *name)
{
    if (strcmp(name, probe_tcp_ops.name) == 0)
        return &probe_tcp_ops;
    if (strcmp(name, probe_udp_ops.name) == 0)
        return &probe_udp_ops;
    cli_refuse_value(&options_cli, "protocol", name, "tcp or udp is allowed, before HOST");
}

/* "127.0.0.1:7007", "[::1]:7007", "localhost:7007". Names and IPv4 addresses have no colon, and
 * IPv6 addresses have several. */
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
    options->ops = find_protocol(argv[0]);
    options->host = argv[1];
    if (has_port(options->host))
        cli_refuse_value(&options_cli, "HOST", options->host,
                         "PORT is an argument of its own, after HOST");
    if (argc == 3)
        options->port = argv[2];
    /* Patterns of two digits are common; four are more often a port. */
    else if (options->pattern_size == 2 && looks_like_port(options->pattern_text))
        fprintf(stderr,
                "echo-probe: -p %s fills the payload, and port 7 is probed; for port %s give it "
                "after HOST\n",
                options->pattern_text, options->pattern_text);
}

void options_parse(struct options *options, int argc, char *argv[])
{
    int operands;

    *options = (struct options){
        .settings = probe_defaults, .kind = &report_text, .port = "7", .family = AF_UNSPEC};
    operands = cli_parse(&options_cli, argc, argv, options);
    parse_operands(options, argc - operands, argv + operands);
    check_combinations(options);
    combine(options);
    check_memory(options);
}

void options_size(struct options *options, int family)
{
    if (options->size)
        options->settings.size = client_size(&options_cli, options->size, options->ops, family);
    if (options->message && strcmp(options->message, "-") != 0) {
        options->settings.size = strlen(options->message);
        if (options->settings.size < probe_min_size(options->ops) ||
            options->settings.size > probe_max_size(options->ops, family))
            cli_refuse(&options_cli, "-m: a message of %zu octets cannot be sent over %s",
                       options->settings.size, options->ops->name);
    }
}
