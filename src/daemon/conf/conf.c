/* SPDX-License-Identifier: ISC */
#include "daemon/conf/conf.h"

#include "common/util.h"
#include "daemon/conf/conf_text.h"
#include "daemon/conf/conf_value.h"

#include <confuse.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A file goes through three steps. text_survey() finds what libConfuse does not tell, and leaves a
 * text that libConfuse parses without complaint into strings. take_values() turns those, and the
 * defaults of keys not named, into the values of struct conf. Values that are wrong are noted with
 * the line that the survey found, so that every error of a file is reported at once. */

#define MANY 1000000
#define DAY  86400

#define CHANGE_MAX 200 /* octets of a value that is told of a change */

struct key {
    struct text_key text;
    enum value_kind kind;
    size_t offset; /* in struct conf */
    unsigned min, max;
    bool needs_restart;
    const char *defaults[3]; /* a NULL ends the list */
};

#define AT(member) offsetof(struct conf, member)

/* The values are taken in this order, so a port precedes the addresses that it completes. */
/* clang-format off */
static const struct key keys[] = {
    {{"user", TOP, 0}, USER, AT(user), 0, 0, true, {"nobody"}},
    {{"group", TOP, 0}, GROUP, AT(group), 0, 0, true, {NULL}},
    {{"workers", TOP, 0}, NUMBER, AT(workers), 0, 256, true, {"0"}},
    {{"busy-poll", TOP, 0}, NUMBER, AT(busy_poll), 0, MANY, false, {"0"}},
    {{"sandbox", TOP, 0}, BOOLEAN, AT(sandbox), 0, 0, true, {"true"}},
    {{"drain-timeout", TOP, 0}, NUMBER, AT(drain_timeout), 0, DAY, false, {"30"}},
    {{"log.target", LOG, 0}, TARGET, AT(log_target), 0, 0, false, {"auto"}},
    {{"log.level", LOG, 0}, LEVEL, AT(log_level), 0, 0, false, {"info"}},
    {{"tcp.enabled", TCP, 0}, BOOLEAN, AT(tcp.enabled), 0, 0, false, {"true"}},
    {{"tcp.port", TCP, 0}, NUMBER, AT(tcp.port), 1, 65535, false, {"7"}},
    {{"tcp.listen", TCP, TEXT_LIST_MAX}, LISTEN, AT(tcp.listen), 0, 0, false, {"0.0.0.0", "::"}},
    {{"tcp.backlog", TCP, 0}, NUMBER, AT(tcp.backlog), 1, 65535, false, {"4096"}},
    {{"tcp.max-connections", TCP, 0}, NUMBER, AT(tcp.max_connections), 0, MANY, false, {"0"}},
    {{"tcp.max-connections-per-source", TCP, 0}, NUMBER, AT(tcp.max_connections_per_source),
     0, MANY, false, {"0"}},
    {{"tcp.idle-timeout", TCP, 0}, NUMBER, AT(tcp.idle_timeout), 0, DAY, false, {"600"}},
    {{"udp.enabled", UDP, 0}, BOOLEAN, AT(udp.enabled), 0, 0, false, {"true"}},
    {{"udp.port", UDP, 0}, NUMBER, AT(udp.port), 1, 65535, false, {"7"}},
    {{"udp.listen", UDP, TEXT_LIST_MAX}, LISTEN, AT(udp.listen), 0, 0, false, {"0.0.0.0", "::"}},
    {{"udp.reflect-tos", UDP, 0}, BOOLEAN, AT(udp.reflect_tos), 0, 0, false, {"true"}},
    {{"udp.answer-broadcast", UDP, 0}, BOOLEAN, AT(udp.answer_broadcast), 0, 0, false, {"false"}},
    {{"udp.refuse-source-ports", UDP, TEXT_LIST_MAX}, PORTS, AT(udp.refuse_source_ports), 0, 0, false, {"0-1023"}},
    {{"access.allow", ACCESS, TEXT_LONG_MAX}, PREFIXES, AT(access.allow), 0, 0, false, {NULL}},
    {{"access.deny", ACCESS, TEXT_LONG_MAX}, PREFIXES, AT(access.deny), 0, 0, false, {NULL}},
    {{"limits.udp-rate", LIMITS, 0}, NUMBER, AT(limits.udp_rate), 0, MANY, false, {"5000"}},
    {{"limits.udp-burst", LIMITS, 0}, NUMBER, AT(limits.udp_burst), 0, MANY, false, {"10000"}},
    {{"limits.ipv4-prefix", LIMITS, 0}, NUMBER, AT(limits.ipv4_prefix), 1, 32, false, {"32"}},
    {{"limits.ipv6-prefix", LIMITS, 0}, NUMBER, AT(limits.ipv6_prefix), 1, 128, false, {"64"}},
    {{"limits.table-size", LIMITS, 0}, NUMBER, AT(limits.table_size), 1024, 16777216, false, {"65536"}},
    {{"limits.exempt", LIMITS, TEXT_LONG_MAX}, PREFIXES, AT(limits.exempt), 0, 0, false, {"127.0.0.0/8", "::1"}},
};
/* clang-format on */

/* A configuration on its way from text to struct. */
struct loader {
    struct text text;
    struct text_key names[COUNT(keys)];
    struct conf *conf;
    bool any_account;
};

_Static_assert(COUNT(keys) <= TEXT_KEYS_MAX, "struct text has room for every key");

static void *member(const struct conf *conf, const struct key *key)
{
    return (char *)conf + key->offset;
}

/* ---- values ---- */

struct item {
    const struct key *key;
    unsigned line; /* 0: a default */
    const char *value;
    void *at; /* the member of struct conf */
};

static void refuse(struct loader *loader, const struct item *item, const char *allowed)
{
    char buf[TEXT_SHOW_MAX + 4];

    text_fail(&loader->text, item->line, "%s: value \"%s\": %s", item->key->text.name,
              text_show(buf, item->value, strlen(item->value)), allowed);
}

/* Decimal digits only: no sign, space or fraction, and no leading zero, which C reads as octal. */
static bool parse_digits(const char *text, size_t length, unsigned max, unsigned *number)
{
    unsigned long value = 0;

    if (length == 0 || length > 9 || (text[0] == '0' && length > 1))
        return false;
    for (size_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        value = value * 10 + (unsigned long)(text[i] - '0');
    }
    *number = (unsigned)value;
    return value <= max;
}

static void take_boolean(struct loader *loader, const struct item *item)
{
    int value = cfg_parse_boolean(item->value);

    *(bool *)item->at = value != cfg_false;
    if (value != cfg_true && value != cfg_false)
        refuse(loader, item, "must be true or false (or yes or no, on or off)");
}

static void take_number(struct loader *loader, const struct item *item)
{
    unsigned *number = item->at;
    char allowed[TEXT_SHOW_MAX * 2];

    if (parse_digits(item->value, strlen(item->value), item->key->max, number) &&
        *number >= item->key->min)
        return;
    /* Something valid, so that addresses are still checked when their port is wrong. */
    *number = item->key->min;
    snprintf(allowed, sizeof allowed, "must be a decimal number from %u to %u%s", item->key->min,
             item->key->max, item->value[0] == '0' ? ", without leading zeros" : "");
    refuse(loader, item, allowed);
}

/* The default account may be missing: that matters only to a daemon that root starts. */
static void take_account(struct loader *loader, const struct item *item)
{
    char **name = item->at;
    bool check = item->line && !loader->any_account;

    if (check && item->key->kind == USER && !getpwnam(item->value))
        refuse(loader, item, "no such user: must be the name of one in passwd(5)");
    if (check && item->key->kind == GROUP && !getgrnam(item->value))
        refuse(loader, item, "no such group: must be the name of one in group(5)");
    *name = strdup(item->value);
    if (!*name)
        text_fail(&loader->text, item->line, "%s: out of memory", item->key->text.name);
}

static void take_address(struct loader *loader, const struct item *item)
{
    struct conf_listen *listen = item->at, grown = *listen;
    unsigned port =
        item->key->text.section == TCP ? loader->conf->tcp.port : loader->conf->udp.port;
    struct addr addr;

    if (addr_parse(item->value, (uint16_t)port, &addr) < 0) {
        refuse(loader, item,
               errno == ENODEV   ? "there is no such network interface on this host"
               : errno == ERANGE ? "the port must be a number from 1 to 65535"
                                 : "must be an IPv4 or IPv6 address, with a port or without, as in "
                                   "\"192.0.2.1\", \"[2001:db8::1]:7007\", \"fe80::1%eth0\"");
        return;
    }
    /* Only bind(2) would tell, with EINVAL. */
    if (addr.sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr.in6.sin6_addr) &&
        addr.in6.sin6_scope_id == 0) {
        refuse(loader, item,
               "a link-local address must name its interface, as in \"fe80::1%eth0\"");
        return;
    }
    if (addr.sa.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&addr.in6.sin6_addr)) {
        refuse(loader, item, "an IPv4 address in IPv6 clothes: write it as IPv4");
        return;
    }
    for (size_t i = 0; i < listen->count; i++) {
        if (addr_overlap(&listen->addr[i], &addr)) {
            refuse(loader, item, "must not repeat or overlap another address of the list");
            return;
        }
    }
    grown.addr = realloc(listen->addr, (listen->count + 1) * sizeof addr);
    if (!grown.addr) {
        text_fail(&loader->text, item->line, "%s: out of memory", item->key->text.name);
        return;
    }
    grown.addr[grown.count++] = addr;
    *listen = grown;
}

static void take_ports(struct loader *loader, const struct item *item)
{
    struct conf_ports *ports = item->at;
    size_t first_length = strcspn(item->value, "-");
    const char *dash = item->value[first_length] == '-' ? item->value + first_length : NULL;
    unsigned first = 0, last;
    bool ok = parse_digits(item->value, first_length, 65535, &first);

    last = first;
    if (ok && dash)
        ok = parse_digits(dash + 1, strlen(dash + 1), 65535, &last) && first <= last;
    if (!ok) {
        refuse(loader, item,
               "must be a port or a rising range from 0 to 65535, as in \"7\", \"0-1023\"");
        return;
    }
    for (unsigned port = first; port <= last; port++)
        ports->bits[port / 8] |= (uint8_t)(1U << port % 8);
}

static void take_prefix(struct loader *loader, const struct item *item)
{
    struct conf_prefixes *prefixes = item->at;
    char allowed[TEXT_SHOW_MAX * 2], meant[PREFIX_STRLEN];
    struct prefix prefix;

    if (prefix_parse(item->value, &prefix) == 0) {
        prefixes->list[prefixes->count++] = prefix;
    } else if (errno == EDOM) {
        snprintf(allowed, sizeof allowed,
                 "the address has bits set beyond the prefix: \"%s\" contains it",
                 prefix_print(&prefix, meant));
        refuse(loader, item, allowed);
    } else {
        refuse(loader, item,
               errno == ERANGE ? "a prefix has at most 32 bits of an IPv4 address and 128 of an "
                                 "IPv6 address"
                               : "must be an address or a prefix, as in \"192.0.2.1\", "
                                 "\"192.0.2.0/24\", \"2001:db8::/32\"");
    }
}

/* False without memory, which has been reported. */
static bool reserve_prefixes(struct loader *loader, const struct item *item, size_t count)
{
    struct conf_prefixes *prefixes = item->at;

    prefixes->list = calloc(count ? count : 1, sizeof *prefixes->list);
    if (!prefixes->list)
        text_fail(&loader->text, item->line, "%s: out of memory", item->key->text.name);
    return prefixes->list != NULL;
}

static void take_value(struct loader *loader, const struct item *item)
{
    switch (item->key->kind) {
    case BOOLEAN:
        take_boolean(loader, item);
        break;
    case NUMBER:
        take_number(loader, item);
        break;
    case USER:
    case GROUP:
        take_account(loader, item);
        break;
    case TARGET:
        if (log_target_parse(item->value, item->at) < 0)
            refuse(loader, item, "must be auto, stderr, journal or syslog");
        break;
    case LEVEL:
        if (log_level_parse(item->value, item->at) < 0)
            refuse(loader, item, "must be error, warning, notice, info or debug");
        break;
    case LISTEN:
        take_address(loader, item);
        break;
    case PORTS:
        take_ports(loader, item);
        break;
    case PREFIXES:
        take_prefix(loader, item);
        break;
    }
}

static void take_defaults(struct loader *loader, struct item *item)
{
    for (size_t i = 0; item->key->defaults[i]; i++) {
        item->value = item->key->defaults[i];
        take_value(loader, item);
    }
}

static void take_found(struct loader *loader, struct item *item, const struct text_found *found,
                       cfg_t *section)
{
    for (size_t i = 0; i < found->count; i++) {
        item->line = found->lines[i];
        item->value = cfg_getnstr(section, text_leaf(&item->key->text), (unsigned)i);
        if (item->value)
            take_value(loader, item);
        else
            text_fail(&loader->text, item->line, "%s: libConfuse lost a value",
                      item->key->text.name);
    }
}

static void take_values(struct loader *loader, cfg_t *cfg)
{
    for (size_t i = 0; i < COUNT(keys); i++) {
        const struct key *key = &keys[i];
        const struct text_found *found = &loader->text.found[i];
        cfg_t *section =
            key->text.section == TOP ? cfg : cfg_getsec(cfg, section_names[key->text.section]);
        struct item item = {.key = key, .line = found->line, .at = member(loader->conf, key)};

        if (key->kind == LISTEN)
            ((struct conf_listen *)item.at)->is_default = !found->line;
        if (key->kind == PREFIXES &&
            !reserve_prefixes(loader, &item, found->line ? found->count : COUNT(key->defaults)))
            continue;
        if (found->line)
            take_found(loader, &item, found, section);
        else
            take_defaults(loader, &item);
    }
}

/* ---- the whole ---- */

/* text_survey() has said what there is to say. */
static void be_quiet(cfg_t *cfg, const char *format, va_list args)
{
    (void)cfg;
    (void)format;
    (void)args;
}

/* Every value is a string to libConfuse: its numbers are octal after a 0, and wrap. */
static cfg_t *parse(const char *text)
{
    cfg_opt_t options[SECTION_COUNT][COUNT(keys) + SECTION_COUNT];
    size_t used[SECTION_COUNT] = {0};
    cfg_t *cfg;

    for (size_t i = 0; i < COUNT(keys); i++) {
        cfg_opt_t scalar = CFG_STR(text_leaf(&keys[i].text), NULL, CFGF_NODEFAULT);
        cfg_opt_t list = CFG_STR_LIST(text_leaf(&keys[i].text), NULL, CFGF_NODEFAULT);
        enum section s = keys[i].text.section;

        options[s][used[s]++] = keys[i].text.list_max > 0 ? list : scalar;
    }
    for (enum section s = LOG; s < SECTION_COUNT; s++) {
        options[s][used[s]] = (cfg_opt_t)CFG_END();
        options[TOP][used[TOP]++] = (cfg_opt_t)CFG_SEC(section_names[s], options[s], CFGF_NONE);
    }
    options[TOP][used[TOP]] = (cfg_opt_t)CFG_END();
    cfg = cfg_init(options[TOP], CFGF_NONE);
    if (!cfg)
        return NULL;
    cfg_set_error_function(cfg, be_quiet);
    if (cfg_parse_buf(cfg, text) != CFG_SUCCESS) {
        cfg_free(cfg);
        return NULL;
    }
    return cfg;
}

/* Where the file names the key whose value is the member at `at`. */
static const struct text_found *found_at(const struct loader *loader, size_t at)
{
    size_t i = 0;

    while (keys[i].offset != at)
        i++;
    return &loader->text.found[i];
}

/* With a port from the command line, addresses that differed by nothing else become one. */
static void finish_listen(struct loader *loader, enum section section, struct conf_listen *listen,
                          bool enabled, unsigned port)
{
    const struct text_found *found =
        found_at(loader, section == TCP ? AT(tcp.listen) : AT(udp.listen));
    const struct text_found *found_port =
        found_at(loader, section == TCP ? AT(tcp.port) : AT(udp.port));
    size_t kept = 0;

    listen->line = found->line ? found->line : found_port->line;
    if (enabled && found->line && found->count == 0)
        text_fail(&loader->text, found->line,
                  "%s.listen: value {}: at least one address must be given while %s is enabled",
                  section_names[section], section_names[section]);
    for (size_t i = 0; port && i < listen->count; i++) {
        struct addr addr = listen->addr[i];
        bool repeated = false;

        addr_set_port(&addr, (uint16_t)port);
        for (size_t j = 0; j < kept; j++) {
            if (addr_equal(&listen->addr[j], &addr)) {
                repeated = true;
            } else if (addr_overlap(&listen->addr[j], &addr)) {
                text_fail(&loader->text, found->line,
                          "%s.listen: addresses overlap once all have port %u",
                          section_names[section], port);
            }
        }
        if (!repeated)
            listen->addr[kept++] = addr;
    }
    if (port)
        listen->count = kept;
}

static void finish(struct loader *loader, const struct conf_overrides *overrides)
{
    struct conf *conf = loader->conf;
    unsigned port = overrides ? overrides->port : 0;

    if (!conf->tcp.enabled && !conf->udp.enabled) {
        unsigned tcp = found_at(loader, AT(tcp.enabled))->line;
        unsigned udp = found_at(loader, AT(udp.enabled))->line;

        text_fail(&loader->text, tcp > udp ? tcp : udp,
                  "%s.enabled: value \"false\": tcp is off and udp is off, and one must be on",
                  section_names[tcp > udp ? TCP : UDP]);
    }
    finish_listen(loader, TCP, &conf->tcp.listen, conf->tcp.enabled, port);
    finish_listen(loader, UDP, &conf->udp.listen, conf->udp.enabled, port);
    if (port)
        conf->tcp.port = conf->udp.port = port;
    if (overrides && overrides->log_level >= 0)
        conf->log_level = (enum log_level)overrides->log_level;
}

/* libConfuse 3.3 and its scanner crash or end the process for want of memory. Much the most that
 * they take is for lists, the shortest value of which, `"",`, comes to a hundred octets; nobody
 * else here takes any meanwhile. */
static bool has_memory_for(const char *text)
{
    void *memory = malloc((1 << 20) + strlen(text) * 32);

    free(memory);
    return memory != NULL;
}

static void load(struct loader *loader, const struct conf_overrides *overrides)
{
    const char *text;
    char nothing[] = "";
    cfg_t *cfg;

    for (size_t i = 0; i < COUNT(keys); i++)
        loader->names[i] = keys[i].text;
    loader->text.keys = loader->names;
    loader->text.key_count = COUNT(keys);
    if (loader->text.path)
        text_read(&loader->text);
    if (loader->text.errors)
        return;
    if (loader->text.path)
        text_survey(&loader->text);
    text = loader->text.path ? loader->text.chars : nothing;
    if (!has_memory_for(text)) {
        text_fail(&loader->text, 0, "out of memory");
        return;
    }
    cfg = parse(text);
    if (!cfg) {
        text_fail(&loader->text, 0, "libConfuse cannot parse it");
        return;
    }
    take_values(loader, cfg);
    finish(loader, overrides);
    cfg_free(cfg);
}

static void report_errors(const struct text *text, conf_report *report, void *context)
{
    const char *path = text->path ? text->path : "built-in defaults";
    char line[4096 + TEXT_MESSAGE_MAX];

    for (size_t i = 0; i < text->errors && i < TEXT_ERRORS_MAX; i++) {
        const struct text_error *error = &text->error[i];

        if (error->line)
            snprintf(line, sizeof line, "%s:%u: %s", path, error->line, error->message);
        else
            snprintf(line, sizeof line, "%s: %s", path, error->message);
        report(context, line);
    }
    if (text->errors > TEXT_ERRORS_MAX) {
        snprintf(line, sizeof line, "%s: and %zu more errors", path,
                 text->errors - TEXT_ERRORS_MAX);
        report(context, line);
    }
}

struct conf *conf_load(const char *path, const struct conf_overrides *overrides,
                       conf_report *report, void *context)
{
    struct loader *loader = calloc(1, sizeof *loader);
    struct conf *conf = calloc(1, sizeof *conf);

    if (!loader || !conf) {
        report(context, "out of memory to read the configuration");
        free(loader);
        free(conf);
        return NULL;
    }
    loader->text.path = path;
    loader->conf = conf;
    loader->any_account = overrides && overrides->any_account;
    load(loader, overrides);
    report_errors(&loader->text, report, context);
    if (loader->text.errors) {
        conf_free(conf);
        conf = NULL;
    }
    text_free(&loader->text);
    free(loader);
    return conf;
}

void conf_free(struct conf *conf)
{
    if (!conf)
        return;
    free(conf->user);
    free(conf->group);
    free(conf->tcp.listen.addr);
    free(conf->udp.listen.addr);
    free(conf->access.allow.list);
    free(conf->access.deny.list);
    free(conf->limits.exempt.list);
    free(conf);
}

/* ---- comparing ---- */

/* A list may be of any length, and what a line of a log shows of it is not. */
static const char *shorten(char *text)
{
    if (!text)
        return "?";
    if (strlen(text) > CHANGE_MAX)
        strcpy(text + CHANGE_MAX - 3, "...");
    return text;
}

size_t conf_compare(const struct conf *before, const struct conf *after, conf_change *each,
                    void *context)
{
    size_t changes = 0;

    for (size_t i = 0; i < COUNT(keys); i++) {
        char *old = value_print(keys[i].kind, member(before, &keys[i]));
        char *new = value_print(keys[i].kind, member(after, &keys[i]));

        /* Without memory for the text, a change that may be none is the lesser evil. */
        if (!old || !new || strcmp(old, new) != 0) {
            changes++;
            each(context, keys[i].text.name, shorten(old), shorten(new), keys[i].needs_restart);
        }
        free(old);
        free(new);
    }
    return changes;
}
