/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/util.h"
#include "daemon/server.h"

static const char help[] =
    "Usage: echod [options]\n"
    "Echo TCP and UDP (RFC 862) in the foreground.\n"
    "\n"
    "  -f, --config FILE      configuration (" SYSCONFDIR "/echod.conf)\n"
    "  -p, --port PORT        both protocols on PORT, over the configuration\n"
    "  -l, --log-level LEVEL  error, warning, notice, info or debug, over the configuration\n"
    "  -t, --test             check the configuration and exit\n"
    "  -V, --version          print the version and exit\n"
    "  -h, --help             print this help and exit\n"
    "\n"
    "Signals: HUP reloads, TERM and INT drain and stop (twice: at once), USR1 logs the counters.\n"
    "Exit status: 0 stopped as asked, 1 failure, 64 usage, 77 no permission, 78 configuration.\n"
    "See echod(8), echod.conf(5) and echo-probe(1).\n";

__attribute__((format(printf, 1, 2))) static _Noreturn void usage_error(const char *format, ...)
{
    va_list args;

    fputs("echod: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputs("\nTry 'echod --help'.\n", stderr);
    exit(EX_USAGE);
}

static _Noreturn void print_and_exit(const char *text)
{
    if (fputs(text, stdout) >= 0 && fflush(stdout) == 0)
        exit(EXIT_SUCCESS);
    fprintf(stderr, "echod: cannot write to standard output: %s\n", strerror(errno));
    exit(EXIT_FAILURE);
}

static unsigned parse_port(const char *text)
{
    uint64_t port;

    if (!parse_number(text, 65535, &port) || port == 0)
        usage_error("'%s' is no port: 1 to 65535 is allowed", text);
    return (unsigned)port;
}

static int parse_level(const char *text)
{
    enum log_level level;

    if (log_level_parse(text, &level) < 0)
        usage_error("'%s' is no log level: error, warning, notice, info or debug is allowed", text);
    return (int)level;
}

/* Started with standard error closed, we would log into the first socket that we open. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            exit(EXIT_FAILURE);
}

int main(int argc, char *argv[])
{
    static const struct option long_options[] = {{"config", required_argument, NULL, 'f'},
                                                 {"port", required_argument, NULL, 'p'},
                                                 {"log-level", required_argument, NULL, 'l'},
                                                 {"test", no_argument, NULL, 't'},
                                                 {"version", no_argument, NULL, 'V'},
                                                 {"help", no_argument, NULL, 'h'},
                                                 {NULL, 0, NULL, 0}};
    struct server_options options = {.overrides = {.log_level = -1}};
    bool test = false;
    int option;

    open_standard_streams();
    while ((option = getopt_long(argc, argv, "f:p:l:tVh", long_options, NULL)) >= 0)
        switch (option) {
        case 'f':
            options.config = optarg;
            break;
        case 'p':
            options.overrides.port = parse_port(optarg);
            break;
        case 'l':
            options.overrides.log_level = parse_level(optarg);
            break;
        case 't':
            test = true;
            break;
        case 'V':
            print_and_exit(PACKAGE_STRING "\n");
        case 'h':
            print_and_exit(help);
        default:
            fputs("Try 'echod --help'.\n", stderr);
            return EX_USAGE;
        }
    if (optind < argc)
        usage_error("'%s' is one argument too many: echod takes options only", argv[optind]);
    return test ? server_test(&options) : server_run(&options);
}
