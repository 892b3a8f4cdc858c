/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/cli.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/unix_dgram.h"
#include "common/util.h"
#include "exporter/conf.h"
#include "exporter/http.h"
#include "exporter/snapshot.h"
#include "exporter/textfile.h"
#include "net/loop.h"
#include "net/signals.h"
#include "net/socket.h"

#define DEFAULT_CONFIG SYSCONFDIR "/echo-exporter.conf"

#define BACKLOG 64

/* The first socket that a service manager hands over, see sd_listen_fds(3). */
#define HANDED_FD 3

struct arguments {
    const char *config;   /* NULL: the default */
    const char *textfile; /* NULL: serve HTTP */
    uint64_t interval;    /* nanoseconds from one writing of the file to the next; 0: write once */
    bool test;
};

struct exporter {
    const struct arguments *arguments;
    struct exporter_conf *config;
    struct loop loop;
    struct signals signals;
    struct loop_timer write_timer;
    struct http *http;
    int fd;         /* listening; -1: none */
    bool handed;    /* fd was handed over, and `listen` does not count */
    bool unwritten; /* the last writing of the file failed */
};

/* ---- the command line ---- */

static const struct cli_option table[] = {
    {'f', "config", "FILE", "configuration (" DEFAULT_CONFIG ")",
     CLI_TEXT(struct arguments, config)},
    {'t', "test", NULL, "check the configuration and exit", CLI_FLAG(struct arguments, test)},
    {'\0', "textfile", "FILE", "write the metrics to FILE, for node_exporter, and exit",
     CLI_TEXT(struct arguments, textfile)},
    {'\0', "interval", "SECONDS", "with --textfile: write it again and again",
     CLI_SECONDS(struct arguments, interval, SECOND / 10, 86400 * SECOND)},
    {'V', "version", NULL, "print the version and exit", .take = cli_take_version},
    {'h', "help", NULL, "print this help and exit", .take = cli_take_help},
};

static const struct cli cli = {
    .prefix = "echo-exporter: ",
    .hint = "Try 'echo-exporter --help'.\n",
    .version = "echo-exporter (" PACKAGE_NAME ") " PACKAGE_VERSION,
    .usage = "Usage: echo-exporter [options]\n"
             "Serve the metrics of echod over HTTP, for Prometheus.\n\n",
    .footer = "\nSignals: HUP reloads, TERM and INT stop.\n"
              "Exit status: 0 stopped as asked, 1 failure, 64 usage, 77 no permission, 78 "
              "configuration.\n"
              "See echo-exporter(8) and echod(8).\n",
    .refused = EX_USAGE,
    .unwritten = EXIT_FAILURE,
    .options = table,
    .count = COUNT(table),
};

/* ---- configuration ---- */

static const char *config_name(const struct arguments *arguments)
{
    return arguments->config ? arguments->config : DEFAULT_CONFIG;
}

static void log_report(void *context, const char *message)
{
    (void)context;
    log_error("%s", message);
}

static void print_report(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "%s\n", message);
}

/* Only the default file may be missing. */
static struct exporter_conf *load(const struct arguments *arguments, parse_report *report)
{
    const char *file = config_name(arguments);

    if (!arguments->config && access(file, F_OK) < 0 && errno == ENOENT) {
        log_notice("%s does not exist; using the built-in defaults", file);
        file = NULL;
    }
    return exporter_conf_load(file, report, NULL);
}

static int test_config(const struct arguments *arguments)
{
    struct exporter_conf *config = load(arguments, print_report);

    if (!config)
        return EX_CONFIG;
    exporter_conf_free(config);
    if (printf("%s: configuration OK\n", config_name(arguments)) >= 0 && fflush(stdout) == 0)
        return EXIT_SUCCESS;
    log_error("cannot write to standard output: %s", strerror(errno));
    return EXIT_FAILURE;
}

/* ---- HTTP ---- */

/* -1: none was handed over. */
static int handed_socket(void)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    uint64_t number;

    if (!pid || !count || !parse_number(pid, INT32_MAX, &number) || (pid_t)number != getpid() ||
        !parse_number(count, INT32_MAX, &number) || number == 0)
        return -1;
    return HANDED_FD;
}

/* A listening socket at that address; -1 with errno, and the log says why. */
static int open_socket(const struct addr *listen)
{
    const struct socket_wish wish = {.type = SOCK_STREAM, .backlog = BACKLOG};
    char text[ADDR_STRLEN];
    int fd;

    if (socket_open(&wish, listen, 1, &fd) == 0)
        return fd;
    log_error("cannot listen at %s: %s", addr_print(listen, text), strerror(errno));
    return -1;
}

/* Returns an exit status; 0: go on. */
static int start_http(struct exporter *exporter)
{
    char text[ADDR_STRLEN];

    exporter->fd = handed_socket();
    exporter->handed = exporter->fd >= 0;
    if (!exporter->handed)
        exporter->fd = open_socket(&exporter->config->listen);
    if (exporter->fd < 0)
        return errno == EACCES ? EX_NOPERM : EXIT_FAILURE;
    exporter->http = http_start(exporter->fd, exporter->config->metrics);
    if (!exporter->http) {
        log_error("cannot serve HTTP: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    log_notice("echo-exporter %s ready: http://%s/metrics", PACKAGE_VERSION,
               socket_print_own(exporter->fd, text));
    return 0;
}

/* False, and nothing has changed, if that is not possible. */
static bool apply(struct exporter *exporter, const struct exporter_conf *config)
{
    struct http *http;
    int fd;

    if (exporter->handed || addr_equal(&config->listen, &exporter->config->listen))
        return http_set_source(exporter->http, config->metrics) == 0;
    fd = open_socket(&config->listen);
    if (fd < 0)
        return false;
    http = http_start(fd, config->metrics);
    if (!http) {
        log_error("cannot serve HTTP: %s", strerror(errno));
        close(fd);
        return false;
    }
    http_stop(exporter->http);
    close(exporter->fd);
    exporter->http = http;
    exporter->fd = fd;
    return true;
}

/* ---- the file ---- */

/* Returns an exit status. */
static int write_textfile(struct exporter *exporter)
{
    const char *file = exporter->arguments->textfile;
    size_t length;
    char *text = snapshot_read(exporter->config->metrics, &length);
    bool ok = text && textfile_write(file, text, length) == 0;

    /* An error that lasts is told once. */
    if (!ok && !exporter->unwritten)
        log_error("cannot write %s: %s", file, strerror(errno));
    exporter->unwritten = !ok;
    free(text);
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void write_again(struct loop_timer *timer)
{
    struct exporter *exporter = container_of(timer, struct exporter, write_timer);

    write_textfile(exporter);
    loop_timer_set(&exporter->loop, timer,
                   loop_now(&exporter->loop) + exporter->arguments->interval);
}

/* ---- signals ---- */

static void reload(struct exporter *exporter)
{
    const char *file = config_name(exporter->arguments);
    struct exporter_conf *config = exporter_conf_load(file, log_report, NULL);

    if (!config || (exporter->http && !apply(exporter, config))) {
        exporter_conf_free(config);
        log_error("%s was not reloaded: the configuration in force stays as it was", file);
        return;
    }
    exporter_conf_free(exporter->config);
    exporter->config = config;
    log_notice("reloaded %s", file);
}

static void take_signal(struct signals *signals, int number)
{
    struct exporter *exporter = container_of(signals, struct exporter, signals);

    if (number == SIGHUP)
        reload(exporter);
    else
        loop_stop(&exporter->loop);
}

/* ---- the whole ---- */

/* Tell the service manager that SIGHUP reloads from now on, see sd_notify(3). */
static void notify_ready(void)
{
    static const char ready[] = "READY=1";
    const char *path = getenv("NOTIFY_SOCKET");
    struct unix_dgram manager;

    if (path && unix_dgram_open(&manager, path) == 0) {
        unix_dgram_send(&manager, ready, sizeof ready - 1, true);
        unix_dgram_close(&manager);
    }
}

static int serve(struct exporter *exporter)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT};
    int status = 0;

    signal(SIGPIPE, SIG_IGN);
    if (loop_init(&exporter->loop) < 0 || signals_init(&exporter->signals, &exporter->loop, numbers,
                                                       COUNT(numbers), take_signal) < 0) {
        log_error("cannot start: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    loop_timer_init(&exporter->loop, &exporter->write_timer, write_again);
    if (exporter->arguments->textfile)
        loop_timer_set(&exporter->loop, &exporter->write_timer, 1);
    else
        status = start_http(exporter);
    if (status == 0) {
        notify_ready();
        loop_run(&exporter->loop);
    }
    http_stop(exporter->http);
    if (exporter->fd >= 0)
        close(exporter->fd);
    loop_timer_fini(&exporter->loop, &exporter->write_timer);
    return status;
}

static int run(const struct arguments *arguments)
{
    struct exporter exporter = {.arguments = arguments, .fd = -1};
    int status;

    exporter.config = load(arguments, log_report);
    if (!exporter.config)
        return EX_CONFIG;
    if (arguments->textfile && arguments->interval == 0)
        status = write_textfile(&exporter);
    else
        status = serve(&exporter);
    exporter_conf_free(exporter.config);
    return status;
}

int main(int argc, char *argv[])
{
    struct arguments arguments = {0};
    int operands = cli_parse(&cli, argc, argv, &arguments);

    if (operands < argc)
        cli_refuse(&cli, "'%s' is one argument too many: echo-exporter takes options only",
                   argv[operands]);
    if (arguments.interval && !arguments.textfile)
        cli_refuse(&cli, "--interval needs --textfile");
    log_set_prefix("echo-exporter: ");
    log_open(TARGET_AUTO, LEVEL_INFO);
    return arguments.test ? test_config(&arguments) : run(&arguments);
}
