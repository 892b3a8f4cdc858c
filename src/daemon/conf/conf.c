/* SPDX-License-Identifier: ISC */
#include "daemon/conf/conf.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

#include "common/conf_parse.h"
#include "common/util.h"

#define LIST_MAX     256    /* values of a list */
#define PREFIXES_MAX 250000 /* values of a list of prefixes */
#define AT(member)   offsetof(struct conf, member)

/* clang-format off */
const struct conf_key conf_keys[] = {
    {"user", CONF_USER, AT(user), true, 0, 0, {NULL}},
    {"group", CONF_GROUP, AT(group), true, 0, 0, {NULL}},
    {"workers", CONF_NUMBER, AT(workers), true, 0, 256, {"0"}},
    {"busy-poll", CONF_NUMBER, AT(busy_poll), false, 0, 1000000, {"0"}},
    {"sandbox", CONF_BOOLEAN, AT(sandbox), true, 0, 0, {"true"}},
    {"sandbox-required", CONF_BOOLEAN, AT(sandbox_required), true, 0, 0, {"false"}},
    {"freebind", CONF_BOOLEAN, AT(freebind), false, 0, 0, {"false"}},
    {"drain-timeout", CONF_NUMBER, AT(drain_timeout), false, 0, 86400, {"30"}},
    {"log.target", CONF_TARGET, AT(log_target), false, 0, 0, {"auto"}},
    {"log.level", CONF_LEVEL, AT(log_level), false, 0, 0, {"info"}},
    {"tcp.enabled", CONF_BOOLEAN, AT(tcp.enabled), false, 0, 0, {"true"}},
    {"tcp.port", CONF_NUMBER, AT(tcp.port), false, 1, 65535, {"7"}},
    {"tcp.listen", CONF_LISTEN, AT(tcp.listen), false, 0, 0, {"0.0.0.0", "::"}},
    {"tcp.mptcp", CONF_BOOLEAN, AT(tcp.mptcp), true, 0, 0, {"false"}},
    {"tcp.backlog", CONF_NUMBER, AT(tcp.backlog), false, 1, 65535, {"4096"}},
    {"tcp.max-connections", CONF_NUMBER, AT(tcp.max_connections), false, 0, 1000000, {"0"}},
    {"tcp.max-connections-per-source", CONF_NUMBER, AT(tcp.max_connections_per_source), false, 0, 1000000, {"0"}},
    {"tcp.idle-timeout", CONF_NUMBER, AT(tcp.idle_timeout), false, 0, 86400, {"600"}},
    {"udp.enabled", CONF_BOOLEAN, AT(udp.enabled), false, 0, 0, {"true"}},
    {"udp.port", CONF_NUMBER, AT(udp.port), false, 1, 65535, {"7"}},
    {"udp.listen", CONF_LISTEN, AT(udp.listen), false, 0, 0, {"0.0.0.0", "::"}},
    {"udp.reflect-tos", CONF_BOOLEAN, AT(udp.reflect_tos), false, 0, 0, {"true"}},
    {"udp.answer-broadcast", CONF_BOOLEAN, AT(udp.answer_broadcast), false, 0, 0, {"false"}},
    {"udp.refuse-source-ports", CONF_PORTS, AT(udp.refuse_source_ports), false, 0, 0, {"0-1023"}},
    {"access.allow", CONF_PREFIXES, AT(access.allow), false, 0, 0, {NULL}},
    {"access.deny", CONF_PREFIXES, AT(access.deny), false, 0, 0, {NULL}},
    {"limits.udp-rate", CONF_NUMBER, AT(limits.udp_rate), false, 0, 1000000, {"5000"}},
    {"limits.udp-burst", CONF_NUMBER, AT(limits.udp_burst), false, 0, 1000000, {"10000"}},
    {"limits.ipv4-prefix", CONF_NUMBER, AT(limits.ipv4_prefix), false, 1, 32, {"32"}},
    {"limits.ipv6-prefix", CONF_NUMBER, AT(limits.ipv6_prefix), false, 1, 128, {"64"}},
    {"limits.table-size", CONF_NUMBER, AT(limits.table_size), false, 1024, 16777216, {"65536"}},
    {"limits.exempt", CONF_PREFIXES, AT(limits.exempt), false, 0, 0, {"127.0.0.0/8", "::1"}},
    {"metrics.listen", CONF_PATH, AT(metrics.listen), true, 0, 0, {""}},
    {"metrics.group", CONF_GROUP, AT(metrics.group), true, 0, 0, {""}},
};
/* clang-format on */
const size_t conf_key_count = COUNT(conf_keys);

/* A configuration while it is read. */
struct loader {
    struct parser parser;
    struct setting settings[COUNT(conf_keys)]; /* of each key */
    struct conf *conf;
    bool any_account;            /* see struct conf_overrides */
    unsigned lines[2][LIST_MAX]; /* of the addresses of tcp.listen and udp.listen */
    char allowed[256];
};

/* ---- values ---- */

/* Each of these takes a value into `at`, a member of struct conf. They return NULL, or what is
 * wrong with the value. */

#define NO_MEMORY "out of memory"

static const char *take_boolean(struct loader *loader, const struct conf_key *key,
                                const char *value, void *at)
{
    static const char *const words[] = {"true", "yes", "on", "false", "no", "off"};

    (void)loader, (void)key;
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcasecmp(value, words[i]) == 0) {
            *(bool *)at = i < 3;
            return NULL;
        }
    }
    return "must be true or false (or yes or no, on or off)";
}

/* A leading zero, which means octal to many programs, is refused. */
static bool parse_decimal(const char *text, unsigned min, unsigned max, unsigned *number)
{
    uint64_t value;

    if ((text[0] == '0' && text[1] != '\0') || !parse_number(text, max, &value) || value < min)
        return false;
    *number = (unsigned)value;
    return true;
}

static const char *take_number(struct loader *loader, const struct conf_key *key, const char *value,
                               void *at)
{
    if (parse_decimal(value, key->min, key->max, at))
        return NULL;
    snprintf(loader->allowed, sizeof loader->allowed, "must be a decimal number from %u to %u%s",
             key->min, key->max, value[0] == '0' && value[1] ? ", without leading zeros" : "");
    return loader->allowed;
}

/* The default account may be missing: only a daemon that root starts needs it. A number needs no
 * account: see privileges_find(). */
static const char *take_account(struct loader *loader, const struct conf_key *key,
                                const char *value, void *at)
{
    char **name = at;
    unsigned id;

    /* Where the default is "", that stands for no group of its own. */
    if (loader->parser.line && !loader->any_account && (value[0] || !key->defaults[0]) &&
        !parse_decimal(value, 0, UINT32_MAX - 1, &id)) {
        if (key->kind == CONF_USER && !getpwnam(value))
            return "no such user: must be a number or the name of one in passwd(5)";
        if (key->kind == CONF_GROUP && !getgrnam(value))
            return "no such group: must be a number or the name of one in group(5)";
    }
    free(*name);
    *name = strdup(value);
    return *name ? NULL : NO_MEMORY;
}

static const char *take_path(struct loader *loader, const struct conf_key *key, const char *value,
                             void *at)
{
    char **path = at;

    (void)loader, (void)key;
    if (value[0] && (value[0] != '/' || strlen(value) >= sizeof((struct sockaddr_un){0}.sun_path)))
        return "must be an absolute path of at most 107 octets, or empty";
    free(*path);
    *path = strdup(value);
    return *path ? NULL : NO_MEMORY;
}

static const char *take_target(struct loader *loader, const struct conf_key *key, const char *value,
                               void *at)
{
    (void)loader, (void)key;
    return log_target_parse(value, at) == 0 ? NULL : "must be auto, stderr, journal or syslog";
}

static const char *take_level(struct loader *loader, const struct conf_key *key, const char *value,
                              void *at)
{
    (void)loader, (void)key;
    return log_level_parse(value, at) == 0 ? NULL : "must be error, warning, notice, info or debug";
}

/* Port 0 stands for the protocol's port, which may come later in the file. */
static const char *take_address(struct loader *loader, const struct conf_key *key,
                                const char *value, void *at)
{
    struct conf_listen *listen = at;
    struct addr addr, *grown;

    (void)key;
    if (addr_parse(value, 0, &addr) < 0)
        return errno == ENODEV   ? "there is no such network interface on this host"
               : errno == ERANGE ? "the port must be a number from 1 to 65535"
                                 : "must be an IPv4 or IPv6 address, with a port or without, as in "
                                   "\"192.0.2.1\", \"[2001:db8::1]:7007\", \"fe80::1%eth0\"";
    if (addr.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr.in6.sin6_addr) &&
        addr.in6.sin6_scope_id == 0)
        return "a link-local address must name its interface, as in \"fe80::1%eth0\"";
    if (addr.sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr.in6.sin6_addr))
        return "is an IPv4 address in IPv6 form: write it as IPv4";
    grown = reallocarray(listen->addr, listen->count + 1, sizeof addr);
    if (!grown)
        return NO_MEMORY;
    loader->lines[listen == &loader->conf->udp.listen][listen->count] = loader->parser.line;
    grown[listen->count++] = addr;
    listen->addr = grown;
    return NULL;
}

static const char *take_ports(struct loader *loader, const struct conf_key *key, const char *value,
                              void *at)
{
    struct conf_ports *ports = at;
    size_t length = strcspn(value, "-");
    char first[6] = "";
    unsigned low, high;

    (void)loader, (void)key;
    memcpy(first, value, length < sizeof first ? length : 0);
    if (!parse_decimal(first, 0, 65535, &low) ||
        !parse_decimal(value[length] ? value + length + 1 : first, low, 65535, &high))
        return "must be a port or a rising range from 0 to 65535, as in \"7\", \"0-1023\"";
    for (unsigned port = low; port <= high; port++)
        ports->bits[port / 8] |= (uint8_t)(1U << port % 8);
    return NULL;
}

static const char *take_prefix(struct loader *loader, const struct conf_key *key, const char *value,
                               void *at)
{
    struct conf_prefixes *prefixes = at;
    size_t count = prefixes->count;
    char meant[PREFIX_STRLEN];
    struct prefix prefix;
    int error = prefix_parse(value, &prefix) < 0 ? errno : 0;

    (void)key;
    if (error == EDOM) {
        snprintf(loader->allowed, sizeof loader->allowed,
                 "the address has bits set beyond the prefix: \"%s\" contains it",
                 prefix_print(&prefix, meant));
        return loader->allowed;
    }
    if (error != 0)
        return error == ERANGE ? "a prefix has at most 32 bits of an IPv4 address and 128 of an "
                                 "IPv6 address"
                               : "must be an address or a prefix, as in \"192.0.2.1\", "
                                 "\"192.0.2.0/24\", \"2001:db8::/32\"";
    /* The room doubles whenever the count is a power of two. */
    if ((count & (count - 1)) == 0) {
        struct prefix *grown = reallocarray(prefixes->list, count ? 2 * count : 1, sizeof prefix);

        if (!grown)
            return NO_MEMORY;
        prefixes->list = grown;
    }
    prefixes->list[prefixes->count++] = prefix;
    return NULL;
}

static const char *(*const takers[])(struct loader *, const struct conf_key *, const char *,
                                     void *) = {
    [CONF_BOOLEAN] = take_boolean, [CONF_NUMBER] = take_number,  [CONF_USER] = take_account,
    [CONF_GROUP] = take_account,   [CONF_PATH] = take_path,      [CONF_TARGET] = take_target,
    [CONF_LEVEL] = take_level,     [CONF_LISTEN] = take_address, [CONF_PORTS] = take_ports,
    [CONF_PREFIXES] = take_prefix};

static const unsigned list_max[] = {
    [CONF_LISTEN] = LIST_MAX, [CONF_PORTS] = LIST_MAX, [CONF_PREFIXES] = PREFIXES_MAX};

/* The list in the file replaces the default. */
static void empty_list(enum conf_kind kind, void *at)
{
    struct conf_listen *listen = at;
    struct conf_prefixes *prefixes = at;

    if (kind == CONF_LISTEN) {
        free(listen->addr);
        *listen = (struct conf_listen){0};
    } else if (kind == CONF_PREFIXES) {
        free(prefixes->list);
        *prefixes = (struct conf_prefixes){0};
    } else if (kind == CONF_PORTS) {
        *(struct conf_ports *)at = (struct conf_ports){0};
    }
}

static const char *take_value(struct parser *parser, struct setting *setting, const char *value)
{
    struct loader *loader = container_of(parser, struct loader, parser);
    const struct conf_key *key = &conf_keys[setting - loader->settings];
    void *at = (char *)loader->conf + key->offset;

    if (value)
        return takers[key->kind](loader, key, value, at);
    empty_list(key->kind, at);
    return NULL;
}

/* ---- the whole ---- */

/* The setting whose value is that member of struct conf. */
static struct setting *setting_at(struct loader *loader, size_t offset)
{
    size_t i = 0;

    while (conf_keys[i].offset != offset)
        i++;
    return &loader->settings[i];
}

/* Give addresses their ports. `port`, unless 0, goes to all of them, and those that it makes equal
 * become one. */
static void finish_listen(struct loader *loader, bool is_udp, unsigned port)
{
    struct conf *conf = loader->conf;
    struct conf_listen *listen = is_udp ? &conf->udp.listen : &conf->tcp.listen;
    struct setting *list = setting_at(loader, is_udp ? AT(udp.listen) : AT(tcp.listen));
    struct setting *default_port = setting_at(loader, is_udp ? AT(udp.port) : AT(tcp.port));
    unsigned own_port = is_udp ? conf->udp.port : conf->tcp.port;
    size_t kept = 0;
    char buf[ADDR_STRLEN];

    listen->line = list->line ? list->line : default_port->line;
    listen->is_default = !list->line;
    loader->parser.line = list->line;
    if (list->line && list->count == 0 && (is_udp ? conf->udp.enabled : conf->tcp.enabled))
        parse_fail_value(&loader->parser, list, PARSE_EMPTY,
                         "an enabled protocol must have an address at least");
    for (size_t i = 0; i < listen->count; i++) {
        struct addr addr = listen->addr[i];
        bool equal = false, overlap = false;

        if (port || addr_port(&addr) == 0)
            addr_set_port(&addr, (uint16_t)(port ? port : own_port));
        for (size_t j = 0; j < kept; j++) {
            equal |= addr_equal(&listen->addr[j], &addr);
            overlap |= addr_overlap(&listen->addr[j], &addr);
        }
        loader->parser.line = loader->lines[is_udp][i];
        if (overlap && !(port && equal))
            parse_fail_value(&loader->parser, list, addr_print(&addr, buf),
                             "must not repeat or overlap another address of the list");
        else if (!overlap)
            listen->addr[kept++] = addr;
    }
    listen->count = kept;
}

static void finish_conf(struct loader *loader, const struct conf_overrides *overrides)
{
    struct conf *conf = loader->conf;
    struct setting *tcp = setting_at(loader, AT(tcp.enabled));
    struct setting *udp = setting_at(loader, AT(udp.enabled));
    struct setting *last = tcp->line > udp->line ? tcp : udp;
    struct setting *required = setting_at(loader, AT(sandbox_required));

    loader->parser.line = last->line;
    if (!conf->tcp.enabled && !conf->udp.enabled)
        parse_fail_value(&loader->parser, last, "false",
                         "tcp is off and udp is off, and one must be on");
    loader->parser.line = required->line;
    if (conf->sandbox_required && !conf->sandbox)
        parse_fail_value(&loader->parser, required, "true", "sandbox is false");
    finish_listen(loader, false, overrides ? overrides->port : 0);
    finish_listen(loader, true, overrides ? overrides->port : 0);
    if (overrides && overrides->port)
        conf->tcp.port = conf->udp.port = overrides->port;
    if (overrides && overrides->log_level >= 0)
        conf->log_level = (enum log_level)overrides->log_level;
}

static void load(struct loader *loader, const struct conf_overrides *overrides)
{
    struct parser *parser = &loader->parser;

    parser->settings = loader->settings;
    parser->setting_count = COUNT(conf_keys);
    parser->take = take_value;
    for (size_t i = 0; i < COUNT(conf_keys); i++) {
        struct setting *setting = &loader->settings[i];
        const char *wrong;

        setting->name = conf_keys[i].name;
        setting->list_max = conf_keys[i].kind < COUNT(list_max) ? list_max[conf_keys[i].kind] : 0;
        for (const char *const *value = conf_keys[i].defaults; *value; value++) {
            wrong = take_value(parser, setting, *value);
            if (wrong)
                parse_fail_value(parser, setting, *value, wrong);
        }
    }
    if (parser->path)
        parse_file(parser);
    finish_conf(loader, overrides);
}

struct conf *conf_load(const char *path, const struct conf_overrides *overrides,
                       parse_report *report, void *context)
{
    struct loader *loader = calloc(1, sizeof *loader);
    struct conf *conf = calloc(1, sizeof *conf);

    if (!loader || !conf) {
        report(context, "out of memory to read the configuration");
        free(loader);
        free(conf);
        return NULL;
    }
    loader->parser.path = path;
    loader->conf = conf;
    loader->any_account = overrides && overrides->any_account;
    load(loader, overrides);
    parse_report_errors(&loader->parser, report, context);
    if (loader->parser.errors) {
        conf_free(conf);
        conf = NULL;
    }
    free(loader);
    return conf;
}

static void free_value(enum conf_kind kind, void *at)
{
    if (kind == CONF_USER || kind == CONF_GROUP || kind == CONF_PATH)
        free(*(char **)at);
    else
        empty_list(kind, at);
}

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    for (size_t i = 0; i < conf_key_count; i++)
        free_value(conf_keys[i].kind, (char *)conf + conf_keys[i].offset);
    free(conf);
}

bool conf_ports_has(const struct conf_ports *ports, uint16_t port)
{
    return ports->bits[port / 8] >> port % 8 & 1;
}
