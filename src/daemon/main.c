/* SPDX-License-Identifier: ISC */
#include "config.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/cli.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/server.h"

struct arguments {
    struct server_options server;
    bool test;
};

static void store_level(const struct cli *cli, const struct cli_option *option, const char *value,
                        void *target)
{
    enum log_level level;

    (void)option;
    if (log_level_parse(value, &level) < 0)
        cli_refuse_value(cli, "-l", value, "error, warning, notice, info or debug is allowed");
    *(int *)target = (int)level;
}

static const struct cli_option table[] = {
    {'f', "config", "FILE", "configuration (" SYSCONFDIR "/echod.conf)",
     CLI_TEXT(struct arguments, server.config)},
    {'p', "port", "PORT", "both protocols on PORT, over the configuration",
     CLI_NUMBER(struct arguments, server.overrides.port, 1, 65535)},
    {'l', "log-level", "LEVEL", "error, warning, notice, info or debug, over the configuration",
     .take = store_level, CLI_MEMBER(struct arguments, server.overrides.log_level)},
    {'t', "test", NULL, "check the configuration and exit", CLI_FLAG(struct arguments, test)},
    {'V', "version", NULL, "print the version and exit", .take = cli_take_version},
    {'h', "help", NULL, "print this help and exit", .take = cli_take_help},
};

static const struct cli cli = {
    .prefix = "echod: ",
    .hint = "Try 'echod --help'.\n",
    .version = PACKAGE_STRING,
    .usage = "Usage: echod [options]\n"
             "Echo TCP and UDP (RFC 862) in the foreground.\n\n",
    .footer = "\nSignals: HUP reloads, TERM and INT drain and stop (twice: at once), USR1 logs the "
              "counters.\n"
              "Exit status: 0 stopped as asked, 1 failure, 64 usage, 77 no permission, 78 "
              "configuration.\n"
              "See echod(8), echod.conf(5) and echo-probe(1).\n",
    .refused = EX_USAGE,
    .unwritten = EXIT_FAILURE,
    .options = table,
    .count = COUNT(table),
};

/* Started with standard error closed, we would log into the first socket that we open. */
static void open_standard_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            exit(EXIT_FAILURE);
}

int main(int argc, char *argv[])
{
    struct arguments arguments = {.server.overrides.log_level = -1};
    int operands;

    open_standard_streams();
    operands = cli_parse(&cli, argc, argv, &arguments);
    if (operands < argc)
        cli_refuse(&cli, "'%s' is one argument too many: echod takes options only", argv[operands]);
    return arguments.test ? server_test(&arguments.server) : server_run(&arguments.server);
}
