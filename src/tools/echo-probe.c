/* SPDX-License-Identifier: ISC */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "probe/datagram.h"
#include "probe/link_tcp.h"
#include "probe/mtu.h"
#include "probe/resolve.h"
#include "probe/run.h"
#include "report/mtu_text.h"
#include "report/text.h"
#include "tools/client.h"
#include "tools/options.h"
#include "tools/stream/stream_tcp.h"
#include "tools/stream/stream_udp.h"

/* How often the line of progress is drawn. */
#define PROGRESS (SECOND / 4)

/* All that a run needs. */
struct run {
    struct options options;
    struct addr list[RESOLVE_MAX]; /* addresses of the host, which the report refers to */
    struct runner runner;
    struct probe probe;
    struct report report;
    bool names;
    char name[NI_MAXHOST];
};

static bool announce(void *context, const struct addr *peer)
{
    struct run *run = context;

    run->report.peer = peer;
    run->report.name = run->names ? resolve_name(peer, run->name) : "";
    return report_start(&run->report);
}

/* Nanoseconds of CPU time that a process has used so far; 0: there is no such process. */
static uint64_t cpu_time(pid_t pid)
{
    struct timespec ts;
    clockid_t clock;

    if (pid == 0 || clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
        return 0;
    return (uint64_t)ts.tv_sec * SECOND + (uint64_t)ts.tv_nsec;
}

static void set_payload(struct payload *payload, const struct options *options)
{
    if (options->message && payload->size > 0) {
        payload->fill = (const uint8_t *)options->message;
        payload->fill_size = payload->size;
        payload->bare = true;
    } else if (options->pattern_size > 0) {
        payload->fill = options->pattern;
        payload->fill_size = options->pattern_size;
    }
}

static void go(struct run *run)
{
    uint64_t before = cpu_time(run->options.pid);
    uint64_t elapsed = probe_run(&run->probe);
    uint64_t after = cpu_time(run->options.pid);

    /* The CPU time of a process that has ended cannot be read any more. */
    if (run->options.pid != 0 && run->probe.counters.received > 0 && after >= before)
        run->report.cpu = (double)(after - before) / 1e3 / (double)run->probe.counters.received;
    report_summary(&run->report, elapsed);
}

/* Whether it is a terminal that knows escape sequences. */
static bool takes_escapes(int fd)
{
    const char *term = getenv("TERM");

    return isatty(fd) && term && term[0] != '\0' && strcmp(term, "dumb") != 0;
}

static void set_up_report(struct run *run)
{
    const struct options *options = &run->options;

    run->report = (struct report){.kind = options->kind,
                                  .out = stdout,
                                  .err = stderr,
                                  .probe = &run->probe,
                                  .ops = options->ops,
                                  .host = options->host,
                                  .quiet = options->quiet,
                                  .verbose = options->verbose,
                                  .dates = options->dates,
                                  .histogram = options->histogram,
                                  .sources = options->sources > 0,
                                  .message = options->message != NULL,
                                  .cpu = -1,
                                  .pid = options->pid};
    run->report.progress =
        options->quiet && options->kind == &report_text && takes_escapes(STDERR_FILENO);
    run->options.settings.tick = run->report.progress ? PROGRESS : options->kind->tick;
}

/* ---- streams and the path MTU ---- */

static int stream_over(const struct run *run, int fd, const struct addr *peer)
{
    const struct options *options = &run->options;
    uint64_t timeout = options->settings.timeout;
    bool tcp = options->ops->type == SOCK_STREAM;
    struct stream stream = {.in = STDIN_FILENO,
                            .out = STDOUT_FILENO,
                            .err = stderr,
                            .quiet = options->quiet,
                            .peer = *peer,
                            .timeout = timeout ? timeout
                                       : tcp   ? PROBE_TIMEOUT
                                               : SECOND,
                            .deadline = options->settings.deadline};

    return tcp ? stream_tcp(fd, &stream) : stream_udp(fd, &stream);
}

static void show_size(void *context, const struct mtu_probe *probe)
{
    mtu_print_probe(context, probe);
}

static int mtu_over(const struct run *run, int fd, const struct addr *peer)
{
    const struct options *options = &run->options;
    struct mtu_settings settings = mtu_defaults;
    struct mtu_result result;
    int status;

    if (options->settings.timeout != 0)
        settings.timeout = options->settings.timeout;
    settings.deadline = options->settings.deadline;
    settings.max = options->size ? options->settings.size : 0;
    settings.progress = options->quiet ? NULL : show_size;
    settings.context = stdout;
    status = mtu_find(fd, peer, &settings, &result);
    mtu_print(stdout, &result);
    return status;
}

static int no_route(struct run *run, const struct addr *peer)
{
    const struct mtu_result result = {.peer = *peer, .error = errno};

    if (run->options.mtu)
        mtu_print(stdout, &result);
    else
        probe_failed(&run->probe, peer, errno, 2);
    return 2;
}

static int over_datagrams(struct run *run, struct addr *peer)
{
    int status;
    int fd;

    if (datagram_route(&run->probe, peer, 0) < 0)
        return no_route(run, peer);
    fd = datagram_open(&run->probe, peer, 0);
    if (fd < 0) {
        probe_failed(&run->probe, peer, errno, 2);
        return 2;
    }
    status = run->options.mtu ? mtu_over(run, fd, peer) : stream_over(run, fd, peer);
    close(fd);
    return status;
}

static int over_connection(struct run *run, int count)
{
    const struct probe_link *link;

    run->report.quiet = true; /* standard output is for what comes back */
    if (client_open(&run->probe, &probe_tcp_ops, run->list, count, NULL, NULL) < 0)
        return probe_status(&run->probe);
    link = run->probe.links[0];
    return stream_over(run, link->watch.fd, &link->peer);
}

/* ---- a host ---- */

/* With --wait-up, this host may get its address or its route later. */
static bool open_links(struct run *run, int count)
{
    struct probe *probe = &run->probe;
    const struct options *options = &run->options;
    uint64_t due = clock_now();

    if (client_open(probe, options->ops, run->list, count, announce, run) == 0)
        return true;
    while (options->wait_up && probe_pause(probe, due += options->settings.interval))
        if (client_open(probe, options->ops, run->list, count, NULL, NULL) == 0)
            return true;
    return false;
}

/* Returns what to exit with. */
static int probe_host(struct run *run)
{
    struct options *options = &run->options;
    bool stream = options->message && strcmp(options->message, "-") == 0;
    char why[RESOLVE_WHY];
    bool numeric;
    int count = resolve(options->host, options->port, options->family, options->ops->type,
                        run->list, &numeric, why);

    if (count < 0) {
        report_event(&run->report, &(struct probe_event){.kind = PROBE_FAILURE, .text = why});
        return 2;
    }
    client_warn_of_placeholder(&options_cli, options->host, run->list, count);
    options_size(options, run->list[0].sa.sa_family);
    run->names = !numeric && !options->numeric;
    if (stream && options->ops->type == SOCK_STREAM)
        return over_connection(run, count);
    if (stream || options->mtu)
        return over_datagrams(run, &run->list[0]);
    if (open_links(run, count))
        go(run);
    return probe_status(&run->probe);
}

/* If a standard stream is closed, the next socket would get its number, and our output. */
static void occupy_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_PATH);
}

int main(int argc, char *argv[])
{
    static struct run run;
    int status;

    occupy_standard_descriptors();
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    options_parse(&run.options, argc, argv);
    options_size(&run.options, run.options.family);
    if (run.options.pid != 0 && cpu_time(run.options.pid) == 0)
        cli_refuse(&options_cli, "--pid '%ld': there is no such process", (long)run.options.pid);
    set_up_report(&run);
    if (runner_init(&run.runner) < 0 ||
        probe_init(&run.probe, &run.runner, &run.options.settings, report_event, &run.report) < 0) {
        perror("echo-probe: cannot start");
        return 2;
    }
    set_payload(&run.probe.payload, &run.options);
    status = probe_host(&run);
    if (report_finish(&run.report) < 0)
        status = 2;
    probe_fini(&run.probe);
    runner_fini(&run.runner);
    return status;
}
