/* SPDX-License-Identifier: ISC */
#include "exporter/conf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "common/util.h"

#define DEFAULT_PORT 9862

struct loader {
    struct parser parser;
    struct exporter_conf *config;
};

static const char *take_listen(struct exporter_conf *config, const char *value)
{
    if (addr_parse(value, DEFAULT_PORT, &config->listen) == 0)
        return NULL;
    return errno == ENODEV ? "this host has no interface of that zone"
                           : "must be an IPv4 or IPv6 address, with or without a port: "
                             "127.0.0.1:9862 or [::1]:9862";
}

static const char *take_metrics(struct exporter_conf *config, const char *value)
{
    char *copy;

    if (value[0] != '/' || strlen(value) >= sizeof((struct sockaddr_un){0}.sun_path))
        return "must be an absolute path of at most 107 octets";
    copy = strdup(value);
    if (!copy)
        return "out of memory";
    free(config->metrics);
    config->metrics = copy;
    return NULL;
}

static const struct {
    const char *name;
    const char *(*take)(struct exporter_conf *config, const char *value);
    const char *initial;
} keys[] = {
    {"listen", take_listen, "127.0.0.1"},
    {"echod.metrics", take_metrics, "/run/echod/metrics"},
};

/* cppcheck-suppress constParameter ; the type is parser->take's */
static const char *take(struct parser *parser, struct setting *setting, const char *value)
{
    struct loader *loader = container_of(parser, struct loader, parser);

    return value ? keys[setting - parser->settings].take(loader->config, value) : NULL;
}

struct exporter_conf *exporter_conf_load(const char *path, parse_report *report, void *context)
{
    struct setting settings[COUNT(keys)] = {0};
    struct loader *loader = calloc(1, sizeof *loader);
    struct exporter_conf *config = calloc(1, sizeof *config);

    if (!loader || !config) {
        report(context, "out of memory to read the configuration");
        free(loader);
        free(config);
        return NULL;
    }
    loader->config = config;
    loader->parser = (struct parser){
        .path = path, .settings = settings, .setting_count = COUNT(keys), .take = take};
    for (size_t i = 0; i < COUNT(keys); i++) {
        const char *wrong;

        settings[i].name = keys[i].name;
        wrong = keys[i].take(config, keys[i].initial);
        if (wrong)
            parse_fail_value(&loader->parser, &settings[i], keys[i].initial, wrong);
    }
    if (path)
        parse_file(&loader->parser);
    parse_report_errors(&loader->parser, report, context);
    if (loader->parser.errors) {
        exporter_conf_free(config);
        config = NULL;
    }
    free(loader);
    return config;
}

void exporter_conf_free(struct exporter_conf *config)
{
    if (!config)
        return;
    free(config->metrics);
    free(config);
}
