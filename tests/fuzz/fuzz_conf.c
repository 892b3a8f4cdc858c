/* SPDX-License-Identifier: ISC */
/* Reads any text as a configuration. It must be accepted without errors or refused with errors of
 * one printable line each, without a crash or a leak. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/conf/compare.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

static char path[64];

static void count_error(void *context, const char *message)
{
    size_t *errors = context;

    ++*errors;
    MUST(strncmp(message, path, strlen(path)) == 0 && message[strlen(path)] == ':');
    for (const char *c = message; *c; c++)
        MUST(*c >= ' ' && *c <= '~');
}

static void no_change(void *context, const char *key, const char *before, const char *after,
                      bool needs_restart)
{
    (void)context, (void)key, (void)before, (void)after, (void)needs_restart;
    abort();
}

static void check_listen(const struct conf_listen *listen)
{
    for (size_t i = 0; i < listen->count; i++)
        MUST(addr_port(&listen->addr[i]) != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct conf_overrides overrides = {.log_level = -1};
    size_t errors = 0, changes;
    struct conf *conf;
    int fd = memfd_create("conf", MFD_CLOEXEC);

    MUST(fd >= 0 && write(fd, data, size) == (ssize_t)size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    conf = conf_load(path, &overrides, count_error, &errors);
    MUST(!conf == (errors > 0));
    if (conf) {
        MUST(conf->log_level >= LEVEL_ERROR && conf->log_level <= LEVEL_DEBUG);
        check_listen(&conf->tcp.listen);
        check_listen(&conf->udp.listen);
        changes = conf_compare(conf, conf, no_change, NULL);
        MUST(changes == 0);
        conf_free(conf);
    }
    close(fd);
    return 0;
}
