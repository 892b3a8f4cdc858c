/* SPDX-License-Identifier: ISC */
#include "unit/unit.h"

#include "daemon/conf/conf.h"

#include <confuse.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- wrapped functions ---- */

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP_FAILING(char *, strdup, NULL, (const char *text), (text))
WRAP_FAILING(int, fstatat, -1, (int fd, const char *name, struct stat *st, int flags),
             (fd, name, st, flags))
WRAP_FAILING(FILE *, open_memstream, NULL, (char **text, size_t *size), (text, size))
WRAP_FAILING(void *, reallocarray, NULL, (void *old, size_t count, size_t size), (old, count, size))
WRAP_FAILING(cfg_t *, cfg_init, NULL, (cfg_opt_t * options, cfg_flag_t flags), (options, flags))
WRAP_FAILING(char *, cfg_getnstr, NULL, (cfg_t * cfg, const char *name, unsigned at),
             (cfg, name, at))

WRAP(int, fclose, FILE *file)
{
    int result = __real_fclose(file);

    return script_fails(&fclose_script) ? EOF : result;
}

static size_t scanned; /* octets that libConfuse was given last */

/* Fails as libConfuse does, error message and all. */
WRAP(int, cfg_parse_buf, cfg_t *cfg, const char *text)
{
    scanned = strlen(text);
    return __real_cfg_parse_buf(cfg, script_fails(&cfg_parse_buf_script) ? "tcp" : text);
}

/* A number limits how much is read. */
WRAP(ssize_t, read, int fd, void *buf, size_t length)
{
    int step = script_next(&read_script);

    if (step < 0) {
        errno = -step;
        return -1;
    }
    return __real_read(fd, buf, (size_t)step < length ? (size_t)step : length);
}

/* ---- a folder, a file in it, and what is said of it ---- */

static char dir[] = "/tmp/test_conf.XXXXXX";
static char path[64];

static struct {
    size_t count;
    char text[64][1024];
} said;

static void note(void *context, const char *message)
{
    assert_ptr_equal(context, &said);
    assert_true(said.count < COUNT(said.text));
    assert_true(strlen(message) < sizeof said.text[0]);
    strcpy(said.text[said.count++], message);
}

static struct conf *load_file(const char *file, const struct conf_overrides *overrides)
{
    unsigned descriptors = open_descriptors();
    struct conf *conf;

    said.count = 0;
    conf = conf_load(file, overrides, note, &said);
    assert_int_equal(conf == NULL, said.count > 0);
    assert_int_equal(open_descriptors(), descriptors);
    return conf;
}

static void write_octets(const void *text, size_t length)
{
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

static struct conf *load_over(const char *text, const struct conf_overrides *overrides)
{
    write_octets(text, strlen(text));
    return load_file(path, overrides);
}

static struct conf *load(const char *text)
{
    return load_over(text, NULL);
}

/* What is said begins with the file's name and this. */
static void check_said(size_t at, const char *expected)
{
    char wanted[1024], got[1024];

    assert_true(at < said.count);
    snprintf(wanted, sizeof wanted, "%s%s", path, expected);
    strcpy(got, said.text[at]);
    got[strnlen(got, strlen(wanted))] = '\0';
    assert_string_equal(got, wanted);
}

static void check_all_said(const char *const *expected)
{
    size_t count = 0;

    for (; expected[count]; count++)
        check_said(count, expected[count]);
    if (said.count > count)
        print_error("also: %s\n", said.text[count]);
    assert_int_equal(said.count, count);
}

/* The text is refused, and exactly this is said. */
#define REFUSED(text, ...)                                                                         \
    do {                                                                                           \
        assert_null(load(text));                                                                   \
        check_all_said((const char *const[]){__VA_ARGS__, NULL});                                  \
    } while (0)

static void accepted(const char *text)
{
    struct conf *conf = load(text);

    if (!conf)
        print_error("%s\n", said.text[0]);
    assert_non_null(conf);
    conf_free(conf);
}

static void check_listen(const struct conf_listen *listen, const char *const *expected)
{
    char buf[ADDR_STRLEN];
    size_t count = 0;

    for (; expected[count]; count++) {
        assert_true(count < listen->count);
        assert_string_equal(addr_print(&listen->addr[count], buf), expected[count]);
    }
    assert_int_equal(listen->count, count);
}
#define LISTENS(listen, ...) check_listen(&(listen), (const char *const[]){__VA_ARGS__, NULL})

/* Which ports are in the set: the first and last of each run. */
static void check_ports(const struct conf_ports *ports, const unsigned *runs)
{
    size_t at = 0;

    for (unsigned port = 0; port <= 65535; port++) {
        while (runs[at] != UINT_MAX && port > runs[at + 1])
            at += 2;
        assert_int_equal(conf_ports_has(ports, (uint16_t)port),
                         runs[at] != UINT_MAX && port >= runs[at]);
    }
}
#define PORTS(ports, ...)                                                                          \
    check_ports(&(ports), (const unsigned[]){__VA_ARGS__ __VA_OPT__(, ) UINT_MAX, UINT_MAX})

static int set_up(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(dir));
    assert_int_equal(chmod(dir, 0755), 0);
    snprintf(path, sizeof path, "%s/echod.conf", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(dir);
}

/* Whatever hangs must not hang for good. */
static int fresh(void **state)
{
    (void)state;
    alarm(600);
    unlink(path);
    return 0;
}

/* ---- what is accepted ---- */

static void test_defaults(void **state)
{
    struct conf *conf = load_file(NULL, NULL);

    (void)state;
    assert_non_null(conf);
    assert_string_equal(conf->user, "nobody");
    assert_null(conf->group);
    assert_int_equal(conf->workers, 0);
    assert_int_equal(conf->busy_poll, 0);
    assert_int_equal(conf->drain_timeout, 30);
    assert_int_equal(conf->log_target, TARGET_AUTO);
    assert_int_equal(conf->log_level, LEVEL_INFO);
    assert_true(conf->tcp.enabled);
    LISTENS(conf->tcp.listen, "0.0.0.0:7", "[::]:7");
    assert_true(conf->tcp.listen.is_default);
    assert_int_equal(conf->tcp.port, 7);
    assert_int_equal(conf->tcp.backlog, 4096);
    assert_int_equal(conf->tcp.max_connections, 0);
    assert_int_equal(conf->tcp.max_connections_per_source, 0);
    assert_int_equal(conf->tcp.idle_timeout, 600);
    assert_true(conf->udp.enabled);
    LISTENS(conf->udp.listen, "0.0.0.0:7", "[::]:7");
    assert_true(conf->udp.listen.is_default);
    assert_int_equal(conf->udp.port, 7);
    assert_true(conf->udp.reflect_tos);
    assert_false(conf->udp.answer_broadcast);
    PORTS(conf->udp.refuse_source_ports, 0, 1023);
    conf_free(conf);
}

static void test_every_key(void **state)
{
    struct conf *conf = load("user = \"root\"\n"
                             "group = \"root\"\n"
                             "workers = 256\n"
                             "busy-poll = 1000000\n"
                             "drain-timeout = 86400\n"
                             "log { target = \"syslog\" level = \"debug\" }\n"
                             "tcp {\n"
                             "    enabled = true\n"
                             "    listen = { \"192.0.2.1\", \"[2001:db8::1]:7007\" }\n"
                             "    port = 65535\n"
                             "    backlog = 1\n"
                             "    max-connections = 1000000\n"
                             "    max-connections-per-source = 3\n"
                             "    idle-timeout = 0\n"
                             "}\n"
                             "udp {\n"
                             "    enabled = false\n"
                             "    listen = { \"fe80::1%lo\", \"192.0.2.1:1\" }\n"
                             "    port = 9\n"
                             "    reflect-tos = false\n"
                             "    answer-broadcast = true\n"
                             "    refuse-source-ports = { \"7\", \"65000-65535\", \"9-11\" }\n"
                             "}\n"
                             "access { allow = \"10.0.0.0/8\" deny = { \"10.1.0.0/16\", ::1 } }\n"
                             "limits {\n"
                             "    udp-rate = 1\n"
                             "    udp-burst = 2\n"
                             "    ipv4-prefix = 24\n"
                             "    ipv6-prefix = 56\n"
                             "    table-size = 1024\n"
                             "    exempt = {}\n"
                             "}\n");

    (void)state;
    assert_non_null(conf);
    assert_string_equal(conf->user, "root");
    assert_string_equal(conf->group, "root");
    assert_int_equal(conf->access.allow.count, 1);
    assert_int_equal(conf->access.allow.list[0].hi, UINT64_C(0x0a00000000000000));
    assert_int_equal(conf->access.allow.list[0].length, 8);
    assert_int_equal(conf->access.deny.count, 2);
    assert_int_equal(conf->access.deny.list[1].lo, 1);
    assert_int_equal(conf->limits.udp_rate, 1);
    assert_int_equal(conf->limits.udp_burst, 2);
    assert_int_equal(conf->limits.ipv4_prefix, 24);
    assert_int_equal(conf->limits.ipv6_prefix, 56);
    assert_int_equal(conf->limits.table_size, 1024);
    assert_int_equal(conf->limits.exempt.count, 0);
    assert_int_equal(conf->workers, 256);
    assert_int_equal(conf->busy_poll, 1000000);
    assert_int_equal(conf->drain_timeout, 86400);
    assert_int_equal(conf->log_target, TARGET_SYSLOG);
    assert_int_equal(conf->log_level, LEVEL_DEBUG);
    assert_true(conf->tcp.enabled);
    LISTENS(conf->tcp.listen, "192.0.2.1:65535", "[2001:db8::1]:7007");
    assert_false(conf->tcp.listen.is_default);
    assert_int_equal(conf->tcp.port, 65535);
    assert_int_equal(conf->tcp.backlog, 1);
    assert_int_equal(conf->tcp.max_connections, 1000000);
    assert_int_equal(conf->tcp.max_connections_per_source, 3);
    assert_int_equal(conf->tcp.idle_timeout, 0);
    assert_false(conf->udp.enabled);
    LISTENS(conf->udp.listen, "[fe80::1%lo]:9", "192.0.2.1:1");
    assert_false(conf->udp.listen.is_default);
    assert_int_equal(conf->udp.port, 9);
    assert_false(conf->udp.reflect_tos);
    assert_true(conf->udp.answer_broadcast);
    PORTS(conf->udp.refuse_source_ports, 7, 7, 9, 11, 65000, 65535);
    conf_free(conf);
}

static void test_empty_files(void **state)
{
    (void)state;
    accepted("");
    accepted("\n");
    accepted(" \t\r\n");
    accepted("tcp{}udp { } log {\n}");
    accepted("tcp { max-connections = 0 }");
}

static void test_list_forms(void **state)
{
    struct conf *conf = load("tcp { listen = 127.0.0.1 }\n"
                             "udp { listen = { ::1, '127.0.0.1', } refuse-source-ports = {} }");

    (void)state;
    assert_non_null(conf);
    LISTENS(conf->tcp.listen, "127.0.0.1:7");
    LISTENS(conf->udp.listen, "[::1]:7", "127.0.0.1:7");
    PORTS(conf->udp.refuse_source_ports);
    conf_free(conf);
    accepted("udp { enabled = false listen = {} }");
    accepted("tcp { listen = {\n\"127.0.0.1\"\n,\n\"::1\"\n}\n}");
}

static void test_booleans(void **state)
{
    static const struct {
        const char *text;
        bool value;
    } cases[] = {{"true", true}, {"yes", true},  {"on", true},   {"TRUE", true},   {"false", false},
                 {"no", false},  {"off", false}, {"Off", false}, {"\"on\"", true}, {"'no'", false}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[64];
        struct conf *conf;

        snprintf(text, sizeof text, "udp { reflect-tos = %s answer-broadcast = %s }", cases[i].text,
                 cases[i].text);
        conf = load(text);
        assert_non_null(conf);
        assert_int_equal(conf->udp.reflect_tos, cases[i].value);
        assert_int_equal(conf->udp.answer_broadcast, cases[i].value);
        conf_free(conf);
    }
}

static void test_names(void **state)
{
    static const char *const targets[] = {"auto", "stderr", "journal", "syslog"};
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
    char text[64];

    (void)state;
    for (unsigned i = 0; i < COUNT(targets); i++) {
        struct conf *conf;

        snprintf(text, sizeof text, "log { target = %s }", targets[i]);
        conf = load(text);
        assert_non_null(conf);
        assert_int_equal(conf->log_target, i);
        conf_free(conf);
    }
    for (unsigned i = 0; i < COUNT(levels); i++) {
        struct conf *conf;

        snprintf(text, sizeof text, "log { level = %s }", levels[i]);
        conf = load(text);
        assert_non_null(conf);
        assert_int_equal(conf->log_level, i);
        conf_free(conf);
    }
}

/* Comments hide everything, and lines are counted through them. */
static void test_comments(void **state)
{
    (void)state;
    accepted("#\n#\n// }\n/* { \" ' */ workers /* = 9 */ = /* ${HOME} */ 1 // workers = 2\n# \"");
    accepted("//include(\"x\")\nworkers=1#workers=2\n##########\n//////////\n/**/ /***/ /*/ */");
    accepted("# exactly thirty-two octets of it\nworkers = 1");
    REFUSED("/* one\n two\n three */ workers /* four\n */ = 999 # five", ":4: workers: value ");
    REFUSED("# one\r\nworkers = x\r\n", ":2: workers: value \"x\"");
}

static void test_quotes_keep_what_is_special_outside(void **state)
{
    (void)state;
    REFUSED("user = \"a # b // c /* {\" group = 'a ${HOME} = \"'",
            ":1: user: value \"a # b // c /* {\": no such user",
            ":1: group: value \"a ${HOME} = \"\": no such group");
}

/* ---- values that are refused ---- */

static void test_numbers_are_strict(void **state)
{
    static const char *const bad[] = {"-1",   "256.0", "0x10",        "1e2", "7 ",   " 7",
                                      "\t7",  "",      "seven",       "7;",  "+7",   "2 2",
                                      "9999", "257",   "99999999999", "--1", "1_000"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[64], wanted[128];

        snprintf(text, sizeof text, "\nworkers = \"%s\"", bad[i]);
        snprintf(wanted, sizeof wanted, ":2: workers: value \"%s\": must be a decimal number",
                 bad[i][0] == '\t' ? "?7" : bad[i]);
        REFUSED(text, wanted);
    }
    REFUSED("workers = /1~", ":1: workers: value \"/1~\": must be a decimal number");
    REFUSED("workers = -1", ":1: workers: value \"-1\": must be a decimal number from 0 to 256");
}

static void test_numbers_are_not_octal(void **state)
{
    (void)state;
    REFUSED("workers = 010",
            ":1: workers: value \"010\": must be a decimal number from 0 to 256, without leading "
            "zeros");
    REFUSED("workers = 00", ":1: workers: value \"00\": ");
    accepted("workers = 0");
}

static void test_numbers_do_not_wrap(void **state)
{
    (void)state;
    REFUSED("tcp { port = 65543 }", ":1: tcp.port: value \"65543\"");
    REFUSED("tcp { port = 4294967303 }", ":1: tcp.port: value \"4294967303\"");
    REFUSED("tcp { port = 18446744073709551623 }", ":1: tcp.port: value \"18446744073709551623\"");
    REFUSED("tcp { port = 340282366920938463463374607431768211463 }",
            ":1: tcp.port: value \"340282366920938463463374607431768211463\"");
}

static void test_every_number_has_a_range(void **state)
{
    REFUSED(
        "workers = 257\n"
        "drain-timeout = 86401\n"
        "tcp {\n"
        "port = 0\n"
        "backlog = 0\n"
        "max-connections = 1000001\n"
        "max-connections-per-source = 1000001\n"
        "idle-timeout = 86401\n"
        "}\n"
        "udp { port = 65536\n"
        "}",
        ":1: workers: value \"257\": must be a decimal number from 0 to 256",
        ":2: drain-timeout: value \"86401\": must be a decimal number from 0 to 86400",
        ":4: tcp.port: value \"0\": must be a decimal number from 1 to 65535",
        ":5: tcp.backlog: value \"0\": must be a decimal number from 1 to 65535",
        ":6: tcp.max-connections: value \"1000001\": must be a decimal number from 0 to 1000000",
        ":7: tcp.max-connections-per-source: value \"1000001\": must be a decimal number from 0",
        ":8: tcp.idle-timeout: value \"86401\": must be a decimal number from 0 to 86400",
        ":10: udp.port: value \"65536\": must be a decimal number from 1 to 65535");
    REFUSED("busy-poll = 1000001", ":1: busy-poll: value \"1000001\": must be a decimal number");
    REFUSED("tcp { backlog = 65536 }", ":1: tcp.backlog: value \"65536\"");
    REFUSED(
        "limits {\nudp-rate = 1000001\nudp-burst = 1000001\nipv4-prefix = 33\n"
        "ipv6-prefix = 129\ntable-size = 1023\n}",
        ":2: limits.udp-rate: value \"1000001\": must be a decimal number from 0 to 1000000",
        ":3: limits.udp-burst: value \"1000001\": must be a decimal number from 0 to 1000000",
        ":4: limits.ipv4-prefix: value \"33\": must be a decimal number from 1 to 32",
        ":5: limits.ipv6-prefix: value \"129\": must be a decimal number from 1 to 128",
        ":6: limits.table-size: value \"1023\": must be a decimal number from 1024 to 16777216");
    (void)state;
}

static void test_names_are_known(void **state)
{
    (void)state;
    REFUSED("log { target = file\nlevel = verbose }\nudp { reflect-tos = 1\nenabled = \"\" }",
            ":1: log.target: value \"file\": must be auto, stderr, journal or syslog",
            ":2: log.level: value \"verbose\": must be error, warning, notice, info or debug",
            ":3: udp.reflect-tos: value \"1\": must be true or false",
            ":4: udp.enabled: value \"\": must be true or false");
}

static void test_accounts_exist(void **state)
{
    (void)state;
    REFUSED("user = no-such-user\ngroup = no-such-group",
            ":1: user: value \"no-such-user\": no such user",
            ":2: group: value \"no-such-group\": no such group");
    REFUSED("user = 0\ngroup = 0", ":1: user: value \"0\"", ":2: group: value \"0\"");
    REFUSED("user = \"\"", ":1: user: value \"\"");
}

static void test_addresses_are_well_formed(void **state)
{
    REFUSED("tcp {\n"
            "  listen = {\n"
            "    \"localhost\",\n"
            "    \"1.2.3\",\n"
            "\n"
            "    \"1.2.3.4:0\", \"1.2.3.4:65536\",\n"
            "    \"fe80::1%no-such-zone\",\n"
            "    \"fe80::1\", \"\",\n"
            "    \"127.0.0.1\",\n"
            "    \"::g\"\n"
            "  }\n"
            "}",
            ":3: tcp.listen: value \"localhost\": must be an IPv4 or IPv6 address",
            ":4: tcp.listen: value \"1.2.3\": must be an IPv4",
            ":6: tcp.listen: value \"1.2.3.4:0\": the port must be a number from 1 to 65535",
            ":6: tcp.listen: value \"1.2.3.4:65536\": the port must be a number from 1 to 65535",
            ":7: tcp.listen: value \"fe80::1%no-such-zone\": there is no such network interface",
            ":8: tcp.listen: value \"fe80::1\": a link-local address must name its interface",
            ":8: tcp.listen: value \"\": must be an IPv4",
            ":10: tcp.listen: value \"::g\": must be an IPv4");
    (void)state;
}

static void test_addresses_do_not_overlap(void **state)
{
    (void)state;
    REFUSED("tcp { port = 9 listen = { 127.0.0.1,\n127.0.0.1:9 } }",
            ":2: tcp.listen: value \"127.0.0.1:9\": must not repeat or overlap");
    REFUSED("udp { listen = { ::1, '::1' } }", ":1: udp.listen: value \"::1\": must not repeat");
    REFUSED("udp { listen = { 127.0.0.1, 0.0.0.0 } }", ":1: udp.listen: value \"0.0.0.0\": ");
    REFUSED("udp { listen = { \"::\", \"::1\" } }", ":1: udp.listen: value \"::1\": ");
    accepted("tcp { listen = { \"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.2:1\" } }\n"
             "udp { listen = { \"127.0.0.1:1\", \"0.0.0.0\", \"::\" } }");
}

/* A port that is wrong does not hide what is wrong with the addresses. */
static void test_addresses_are_checked_without_a_port(void **state)
{
    (void)state;
    REFUSED("tcp { listen = { 127.0.0.1,\njunk }\nport = 0 }", ":2: tcp.listen: value \"junk\"",
            ":3: tcp.port: value \"0\"");
}

static void test_port_ranges_are_well_formed(void **state)
{
    static const char *const bad[] = {"65536", "-1",   "1-",    "-",       "",       "2-1",
                                      "1-2-3", "x",    "1-y",   "0-65536", "01-2",   "1-02",
                                      "1 - 2", "1,,2", "0x1-2", "1..2",    "0-01023"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[64], wanted[128];

        snprintf(text, sizeof text, "udp { refuse-source-ports = { \"5\",\n\"%s\" } }", bad[i]);
        snprintf(wanted, sizeof wanted,
                 ":2: udp.refuse-source-ports: value \"%s\": must be a port or a rising range",
                 bad[i]);
        REFUSED(text, wanted);
    }
    accepted("udp { refuse-source-ports = { 0-65535, 0-65535, 0, 65535, 5-5 } }");
}

static void test_one_protocol_is_enabled(void **state)
{
    (void)state;
    REFUSED("udp { enabled = no }\ntcp {\nenabled = no }",
            ":3: tcp.enabled: value \"false\": tcp is off and udp is off");
    REFUSED("tcp { enabled = no }\nudp {\nenabled = no }",
            ":3: udp.enabled: value \"false\": tcp is off and udp is off");
    accepted("tcp { enabled = no }");
    accepted("udp { enabled = no }");
}

static void test_an_enabled_protocol_has_addresses(void **state)
{
    (void)state;
    REFUSED("tcp {\nlisten = {} }\n\nudp { listen = { } }",
            ":2: tcp.listen: value {}: at least one address must be given while tcp is enabled",
            ":4: udp.listen: value {}: at least one address must be given while udp is enabled");
    accepted("tcp { enabled = false listen = {} }");
}

static void test_values_are_short(void **state)
{
    char text[1024], wanted[256];

    (void)state;
    snprintf(text, sizeof text, "\nuser = \"%0500d\"", 0);
    snprintf(wanted, sizeof wanted, ":2: user: value \"%063d...: at most 255 octets are allowed",
             0);
    REFUSED(text, wanted);
    snprintf(text, sizeof text, "udp { refuse-source-ports = { %0300d, 1 } }", 0);
    REFUSED(text, ":1: udp.refuse-source-ports: value { 0000");
    assert_non_null(strstr(said.text[0], "at most 255 octets are allowed"));
    snprintf(text, sizeof text, "user = %0255d", 0);
    REFUSED(text, ":1: user: value \"0000");
    snprintf(text, sizeof text, "user = \"%0255d\"", 0);
    REFUSED(text, ":1: user: value \"0000");
    assert_null(strstr(said.text[0], "255 octets"));
    snprintf(text, sizeof text, "user = '%0256d'", 0);
    REFUSED(text, ":1: user: value '0000");
    assert_non_null(strstr(said.text[0], "at most 255 octets are allowed"));
}

static void test_blanks_are_not_what_takes_time(void **state)
{
    static char text[1 << 20];

    (void)state;
    snprintf(text, sizeof text, "workers =%*s2 user=\"a%*sb\"\ntcp {}", 100000, "", 253, "");
    REFUSED(text, ":1: user: value \"a       ");
    assert_null(strstr(said.text[0], "255 octets"));
    assert_in_range(scanned, 253, 300);
    memset(text, '#', sizeof text - 1);
    accepted(text);
    assert_int_equal(scanned, 1);
    memset(text, ' ', sizeof text - 1);
    memcpy(text, "a='", 3);
    text[sizeof text - 2] = '\'';
    REFUSED(text, ":1: a: unknown key");
    assert_int_equal(scanned, 1);
}

static void test_lists_are_short(void **state)
{
    char text[8192] = "udp {\nrefuse-source-ports = {";

    (void)state;
    for (unsigned i = 0; i < 256; i++)
        sprintf(strchr(text, '\0'), "%u,", i);
    strcat(text, "} }");
    accepted(text);
    strcpy(strrchr(text, '}') - 2, "256 } }");
    REFUSED(text, ":2: udp.refuse-source-ports: value {0,1,2,");
    assert_non_null(strstr(said.text[0], "...: 257 values, and at most 256 are allowed"));
}

static void note_length(void *context, const char *key, const char *before, const char *after,
                        bool needs_restart)
{
    (void)context;
    assert_string_equal(key, "access.deny");
    assert_string_equal(before, "{ 10.0.0.0/8 }");
    assert_int_equal(strlen(after), 200);
    assert_string_equal(after + 197, "...");
    assert_false(needs_restart);
}

static void test_lists_of_prefixes_are_long(void **state)
{
    /* More would take long where realloc(3) copies each time, as under valgrind. */
    enum { MANY = 10000 };
    char *text = malloc(MANY * 20 + 100), *at = text;
    struct conf *conf;

    (void)state;
    assert_non_null(text);
    at += sprintf(at, "access { deny = {\n");
    for (unsigned i = 0; i < MANY; i++)
        at += sprintf(at, "%u.%u.%u.0/24,\n", 1 + i / 65536, i / 256 % 256, i % 256);
    sprintf(at, "} }");
    conf = load(text);
    assert_non_null(conf);
    assert_int_equal(conf->access.deny.count, MANY);
    assert_int_equal(conf->access.deny.list[MANY - 1].hi >> 40,
                     (1 + (MANY - 1) / 65536) << 16 | ((MANY - 1) & 65535));
    conf_free(conf);
    sprintf(at, "192.0.2.1/24 } }");
    REFUSED(text, ":10002: access.deny: value \"192.0.2.1/24\"");
    free(text);
}

static void test_prefixes_are_well_formed(void **state)
{
    (void)state;
    REFUSED(
        "access { allow = { \"192.0.2.1/24\",\n\"2001:db8::1/32\" }\ndeny = \"192.0.2.0/33\" }\n"
        "limits { exempt = { localhost,\n \"fe80::1%lo\" } }",
        ":1: access.allow: value \"192.0.2.1/24\": the address has bits set beyond the prefix: "
        "\"192.0.2.0/24\" contains it",
        ":2: access.allow: value \"2001:db8::1/32\": the address has bits set beyond the prefix: "
        "\"2001:db8::/32\" contains it",
        ":3: access.deny: value \"192.0.2.0/33\": a prefix has at most 32 bits of an IPv4 "
        "address and 128 of an IPv6 address",
        ":4: limits.exempt: value \"localhost\": must be an address or a prefix, as in "
        "\"192.0.2.1\", \"192.0.2.0/24\", \"2001:db8::/32\"",
        ":5: limits.exempt: value \"fe80::1%lo\": must be an address");
}

static void test_a_long_change_is_cut_short(void **state)
{
    struct conf *before = load("access { deny = \"10.0.0.0/8\" }");
    char text[2000] = "access { deny = { ";
    struct conf *after;

    (void)state;
    for (unsigned i = 0; i < 60; i++)
        sprintf(strchr(text, '\0'), "10.0.%u.0/24, ", i);
    strcat(text, "} }");
    after = load(text);
    assert_int_equal(conf_compare(before, after, note_length, NULL), 1);
    conf_free(before);
    conf_free(after);
}

/* A message is one line of printable ASCII, whatever the file holds. */
static void test_messages_are_harmless(void **state)
{
    static const char text[] = "\033]0;x\007 = 1\n"
                               "user = \"\033[31m\xff\x01\"\n"
                               "tcp { enabled = true } \177\n";

    (void)state;
    assert_null(load(text));
    assert_int_equal(said.count, 3);
    for (size_t i = 0; i < said.count; i++)
        for (const char *c = said.text[i]; *c; c++)
            assert_in_range(*c, ' ', '~');
}

/* ---- statements that are refused ---- */

static void test_unknown_keys(void **state)
{
    REFUSED("sandpit = true\n"
            "tcp {\n"
            "  echo-plus = { \"a\",\n \"b\" }\n"
            "  prt = 7\n"
            "  port = 70000\n"
            "}\n"
            "metrics { listen = \"\" a { b { } } }\n"
            "udp { acl { allow = {} } port = x }\n"
            "port = 7\n"
            "tcp.port = 7 tcp|port = 7",
            ":1: sandpit: unknown key, value true; known here: user, group, workers, busy-poll, "
            "sandbox, "
            "drain-timeout, log { }, tcp { }, udp { }, access { }, limits { }",
            ":3: tcp.echo-plus: unknown key, value { \"a\",? \"b\" }; known here: enabled, port, ",
            ":5: tcp.prt: unknown key, value 7; known here: enabled, port, listen, backlog, "
            "max-connections, max-connections-per-source, idle-timeout; did you mean \"port\"?",
            ":6: tcp.port: value \"70000\"", ":8: metrics: unknown section; known here: user, ",
            ":9: udp.acl: unknown section; known here: enabled, ", ":9: udp.port: value \"x\"",
            ":10: port: unknown key, value 7; known here: user, ", ":11: tcp.port: unknown key",
            ":11: tcp|port: unknown key");
    (void)state;
}

static void test_misspelt_names_are_guessed(void **state)
{
    static const struct {
        const char *text, *guess;
    } cases[] = {{"usr = a", "\"user\"?"},
                 {"groups = a", "\"group\"?"},
                 {"wrokers = 1", "\"workers\"?"},
                 {"drain_timeout = 1", "\"drain-timeout\"?"},
                 {"User = a", "\"user\"?"},
                 {"tpc { }", "\"tcp\"?"},
                 {"tcp { max-connection = 1 }", "\"max-connections\"?"},
                 {"udp { reflect-dscp = on }", NULL},
                 {"x = 1", NULL},
                 {"worke = 1", "\"workers\"?"},
                 {"work = 1", NULL},
                 {"workersab = 1", "\"workers\"?"},
                 {"workersabc = 1", NULL},
                 {"completely-different = 1", NULL}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        assert_null(load(cases[i].text));
        assert_int_equal(said.count, 1);
        if (cases[i].guess)
            assert_non_null(strstr(said.text[0], cases[i].guess));
        else
            assert_null(strstr(said.text[0], "did you mean"));
    }
}

static void test_long_names(void **state)
{
    char text[400], wanted[256];

    (void)state;
    snprintf(text, sizeof text, "%0300d = 1", 0);
    snprintf(wanted, sizeof wanted, ":1: %064d...: unknown key, value 1; known here: user, ", 0);
    REFUSED(text, wanted);
}

static void test_repeats(void **state)
{
    REFUSED("workers = 1\n"
            "tcp { port = 1\n"
            "port = 2\n"
            "listen = 127.0.0.1\n"
            "listen = { ::1 }\n"
            "}\n"
            "workers = 1\n"
            "tcp { port = 3 backlog = 0 }\n"
            "tcp { }\n"
            "udp { listen = {}\n"
            "listen = {} enabled = no }",
            ":3: tcp.port: value 2: already set on line 2, and allowed once",
            ":5: tcp.listen: value { ::1 }: already set on line 4, and allowed once",
            ":7: workers: value 1: already set on line 1, and allowed once",
            ":8: tcp: this section began on line 2 already, and is allowed once",
            ":8: tcp.port: value 3: already set on line 2", ":8: tcp.backlog: value \"0\"",
            ":9: tcp: this section began on line 8 already, and is allowed once",
            ":11: udp.listen: value {}: already set on line 10");
    (void)state;
}

static void test_appending(void **state)
{
    (void)state;
    REFUSED("tcp {\nlisten += { ::1 } }\nworkers += 1",
            ":2: tcp.listen: value { ::1 }: \"+=\" is not allowed",
            ":3: workers: value 1: \"+=\" is not allowed");
}

static void test_includes_are_off(void **state)
{
    (void)state;
    REFUSED("include(\"/etc/passwd\")\nworkers = x",
            ":1: include: functions, include among them, are not supported",
            ":2: workers: value \"x\"");
    REFUSED("tcp { include(a, (b),\nc) port = 0 }", ":1: include: functions",
            ":2: tcp.port: value \"0\"");
    REFUSED("include = \"/etc/passwd\"", ":1: include: unknown key");
}

static void test_the_environment_is_not_expanded(void **state)
{
    assert_int_equal(setenv("ECHOD_TEST_WORKERS", "3", 1), 0);
    REFUSED("\nworkers = ${ECHOD_TEST_WORKERS}",
            ":2: workers: value ${ECHOD_TEST_WORKERS}: environment variables are not expanded");
    REFUSED("workers = \"${ECHOD_TEST_WORKERS}\"",
            ":1: workers: value \"${ECHOD_TEST_WORKERS}\": environment variables are not");
    REFUSED("workers = \"${ECHOD_TEST_NONE:-3}\"", ":1: workers: value \"${ECHOD_TEST_NONE:-3}\"");
    REFUSED("workers = a${ECHOD_TEST_WORKERS}b${X}c", ":1: workers: value a${ECHOD_TEST_WORKERS}b");
    REFUSED("workers = ${ECHOD_TEST_WORKERS\nuser = no-such-user",
            ":1: workers: value ${ECHOD_TEST_WORKERS: environment",
            ":2: user: value \"no-such-user\"");
    REFUSED("udp { refuse-source-ports = { 1,\n${X} } }", ":1: udp.refuse-source-ports: value {");
    REFUSED("${X} = 1", ":1: ${X}: unknown key, value 1");
    REFUSED("workers = '${ECHOD_TEST_WORKERS}'",
            ":1: workers: value \"${ECHOD_TEST_WORKERS}\": must be a decimal number");
    REFUSED("workers = $ECHOD_TEST_WORKERS", ":1: workers: value \"$ECHOD_TEST_WORKERS\": must be");
    (void)state;
}

static void test_keys_and_sections_are_told_apart(void **state)
{
    (void)state;
    REFUSED("tcp = 7\nworkers { }\nworkers = { 1 }\nudp { port { 7 } }\nlog { udp { port = 0 } }",
            ":1: tcp: value 7: a section is allowed: write tcp { ... }",
            ":2: workers: a value is allowed, not a section: write workers = ...",
            ":3: workers: value { 1 }: one value is allowed, not a list",
            ":4: udp.port: a value is allowed, not a section: write port = ...",
            ":5: udp: a section within log { }, which began on line 5: is its \"}\" missing?");
}

static void test_only_lists_take_lists(void **state)
{
    static const char *const scalars[] = {"user",
                                          "group",
                                          "workers",
                                          "busy-poll",
                                          "drain-timeout",
                                          "log.target",
                                          "log.level",
                                          "tcp.enabled",
                                          "tcp.port",
                                          "tcp.backlog",
                                          "udp.enabled",
                                          "tcp.max-connections",
                                          "tcp.max-connections-per-source",
                                          "udp.port",
                                          "udp.reflect-tos",
                                          "udp.answer-broadcast",
                                          "tcp.idle-timeout"};

    (void)state;
    for (size_t i = 0; i < COUNT(scalars); i++) {
        const char *dot = strchr(scalars[i], '.');
        char text[64], wanted[128];

        if (dot)
            snprintf(text, sizeof text, "%.3s { %s = { a } }", scalars[i], dot + 1);
        else
            snprintf(text, sizeof text, "%s = { a }", scalars[i]);
        snprintf(wanted, sizeof wanted, ":1: %s: value { a }: one value is allowed, not a list",
                 scalars[i]);
        REFUSED(text, wanted);
    }
}

/* ---- syntax ---- */

static void test_syntax_errors(void **state)
{
    static const struct {
        const char *text, *said;
    } cases[] = {
        {"\nworkers", ":2: workers: neither \"=\" nor \"{\" follows"},
        {"workers\n= 1\nuser", ":3: user: neither"},
        {"workers 1", ":1: workers: neither"},
        {"\nworkers =", ":2: the file ends where a value is expected"},
        {"workers = =", ":1: unexpected = where a value is expected"},
        {"workers = }", ":1: unexpected } where a value is expected"},
        {"}", ":1: unexpected } where a key is expected"},
        {"\n\ntcp { }\n}", ":4: unexpected } where a key is expected"},
        {"{", ":1: unexpected { where a key is expected"},
        {"= 1", ":1: unexpected = where a key is expected"},
        {"\"workers\" = 1", ":1: unexpected \"workers\" where a key is expected"},
        {"tcp { = }", ":1: unexpected = where a key or \"}\" is expected"},
        {"tcp title { }", ":1: tcp: neither"},
        {"\ntcp {\nport = 7\n", ":2: tcp: the section is not closed: its \"}\" is missing"},
        {"tcp { listen = { a b } }", ":1: unexpected b where \",\" or \"}\" is expected"},
        {"tcp { listen = { , } }", ":1: unexpected , where a value or \"}\" is expected"},
        {"tcp { listen = { ::1,, } }", ":1: unexpected , where a value or \"}\" is expected"},
        {"tcp { listen = { ::1\n", ":2: the file ends where \",\" or \"}\" is expected"},
        {"tcp { listen = {\n", ":2: the file ends where a value or \"}\" is expected"},
        {"user = \"x\nuser", ":1: a string is not closed: its second quote is missing"},
        {"user = 'x", ":1: a string is not closed"},
        {"user = \"root\\\"", ":1: a backslash in a string: there are no escapes"},
        {"user = 'ro\\'ot'", ":1: a backslash in a string"},
        {"workers\n\"", ":2: a string is not closed"},
        {"\"", ":1: a string is not closed"},
        {"workers = 1\n/* never\nclosed", ":2: a comment is not closed: its \"*/\" is missing"},
        {"workers = *1", ":1: unexpected \"*\""},
        {"workers = +1", ":1: unexpected \"+\""},
        {"workers + 1", ":1: unexpected \"+\""},
        {"workers = (1)", ":1: unexpected ( where a value is expected"},
        {"workers, user = 1", ":1: workers: neither"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        REFUSED(cases[i].text, cases[i].said);
}

static void test_what_precedes_a_syntax_error_is_checked(void **state)
{
    (void)state;
    REFUSED("workers = x\ntcp { port = 0 what = 1\nbacklog = 0\nidle-timeout \nport = 0",
            ":1: workers: value \"x\"", ":2: tcp.what: unknown key", ":2: tcp.port: value \"0\"",
            ":3: tcp.backlog: value \"0\"", ":4: idle-timeout: neither");
    REFUSED("workers = x\ntcp { port = 0", ":1: workers: value \"x\"",
            ":2: tcp: the section is not closed", ":2: tcp.port: value \"0\"");
    REFUSED("nothing {", ":1: nothing: unknown section",
            ":1: the file ends where \"}\" is expected");
    REFUSED("nothing { \"", ":1: nothing: unknown section", ":1: a string is not closed");
    REFUSED("include(\n", ":1: include: functions", ":2: the file ends where \")\" is expected");
    REFUSED("workers = x }", ":1: unexpected } where a key", ":1: workers: value \"x\"");
}

static void test_deep_nesting(void **state)
{
    enum { DEPTH = 20000 };
    static char text[6 * DEPTH + 1];

    (void)state;
    for (size_t i = 0; i < DEPTH; i++) {
        memcpy(text + 4 * i, "a { ", 4);
        memcpy(text + 4 * DEPTH + 2 * i, "} ", 2);
    }
    REFUSED(text, ":1: a: unknown section");
    text[4 * DEPTH] = ' ';
    REFUSED(text, ":1: a: unknown section", ":1: the file ends where \"}\" is expected");
    memset(text, '{', 6 * DEPTH);
    memcpy(text, "tcp", 3);
    REFUSED(text, ":1: unexpected { where a key or \"}\" is expected");
}

/* ---- many errors ---- */

static void test_every_error_is_reported_in_order(void **state)
{
    REFUSED("log {\n"
            "    level = loud\n"
            "}\n"
            "colour = red\n"
            "workers = 010\n"
            "udp {\n"
            "    refuse-source-ports = { \"0-1023\",\n"
            "                            \"70000\" }\n"
            "    enabled = perhaps\n"
            "    port = 7\n"
            "    port = 8\n"
            "}\n"
            "tcp {\n"
            "    backlog = \"${BACKLOG}\"\n"
            "    listen = { \"nowhere\", \"::1\", \"::1\" }\n"
            "}\n"
            "drain-timeout = -1\n"
            "user = \"root\n",
            ":2: log.level: ", ":4: colour: ", ":5: workers: ",
            ":8: udp.refuse-source-ports: value \"70000\"", ":9: udp.enabled: ", ":11: udp.port: ",
            ":14: tcp.backlog: ", ":15: tcp.listen: value \"nowhere\"",
            ":15: tcp.listen: value \"::1\"", ":17: drain-timeout: ", ":18: a string");
    (void)state;
}

static void test_very_many_errors_are_counted(void **state)
{
    char text[8192] = "";

    (void)state;
    for (unsigned i = 1; i <= 60; i++)
        sprintf(strchr(text, '\0'), "x%u = %u\n", i, i);
    strcpy(strstr(text, "x51"), "");
    assert_null(load(text));
    assert_int_equal(said.count, 50);
    check_said(49, ":50: x50: unknown key, value 50;");
    for (unsigned i = 51; i <= 60; i++)
        sprintf(strchr(text, '\0'), "x%u = %u\n", i, i);
    strcat(text, "workers = x\n");
    assert_null(load(text));
    assert_int_equal(said.count, 51);
    check_said(0, ":1: x1: unknown key, value 1;");
    check_said(49, ":50: x50: unknown key, value 50;");
    check_said(50, ": and 11 more errors");

    /* An error found late that stands early displaces the last. */
    memmove(text + 12, text, strlen(text) + 1);
    memcpy(text, "user = no-u\n", 12);
    assert_null(load(text));
    assert_int_equal(said.count, 51);
    check_said(0, ":1: user: value \"no-u\"");
    check_said(49, ":50: x49: unknown key, value 49;");
    check_said(50, ": and 12 more errors");
}

/* ---- files ---- */

static void refused_file(const char *file, const char *reason)
{
    char wanted[256];

    assert_null(load_file(file, NULL));
    assert_int_equal(said.count, 1);
    snprintf(wanted, sizeof wanted, "%s: %s", file, reason);
    assert_memory_equal(said.text[0], wanted, strlen(wanted));
}

static void test_missing_file(void **state)
{
    (void)state;
    refused_file("/no/such/file", "cannot be opened: No such file or directory");
    refused_file("", "cannot be opened: No such file or directory");
    refused_file("/etc/passwd/x", "cannot be opened: Not a directory");
}

static void test_directory(void **state)
{
    (void)state;
    refused_file(dir, "is a directory");
}

static void test_fifo(void **state)
{
    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    refused_file(path, "is not a regular file");
}

static void test_devices(void **state)
{
    (void)state;
    refused_file("/dev/zero", "is not a regular file");
    refused_file("/dev/null", "is not a regular file");
}

static void test_socket(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)state;
    strcpy(addr.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    refused_file(path, "cannot be opened: No such device or address");
    close(fd);
}

static void test_unreadable_file(void **state)
{
    bool root = geteuid() == 0;

    (void)state;
    write_octets("workers = 1\n", 12);
    assert_int_equal(chmod(path, 0), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    refused_file(path, "cannot be opened: Permission denied: let the user ");
    if (root)
        assert_int_equal(seteuid(0), 0);
}

static void test_sizes(void **state)
{
    size_t size = 16 * 1024 * 1024;
    char *text = malloc(size + 1);

    (void)state;
    memset(text, '\n', size + 1);
    memcpy(text + size - 1, "x", 1);
    write_octets(text, size);
    assert_null(load_file(path, NULL));
    check_said(0, ":16777216: x: neither");
    text[size - 1] = '\n';
    write_octets(text, size);
    conf_free(load_file(path, NULL));
    assert_int_equal(said.count, 0);
    write_octets(text, size + 1);
    refused_file(path, "larger than 16777216 octets");
    free(text);
}

static void test_huge_file(void **state)
{
    (void)state;
    write_octets("", 0);
    assert_int_equal(truncate(path, 100 * 1000 * 1000), 0);
    refused_file(path, "larger than 16777216 octets");
}

static void test_nul_octets(void **state)
{
    static const char text[] = "workers = 1\nuser = \"root\0junk\"\n";

    (void)state;
    write_octets(text, sizeof text - 1);
    assert_null(load_file(path, NULL));
    assert_int_equal(said.count, 1);
    check_said(0, ":2: contains a NUL octet");
    write_octets("", 1);
    assert_null(load_file(path, NULL));
    check_said(0, ":1: contains a NUL octet");
}

static void test_reading_in_pieces(void **state)
{
    struct conf *conf;

    (void)state;
    SCRIPT(read_script, 3, -EINTR, 1, 5, -EINTR);
    conf = load("workers = 7 drain-timeout = 8");
    assert_non_null(conf);
    assert_true(script_done(&read_script));
    assert_int_equal(conf->workers, 7);
    assert_int_equal(conf->drain_timeout, 8);
    conf_free(conf);
}

static void test_reading_fails(void **state)
{
    (void)state;
    write_octets("workers = 1", 11);
    SCRIPT(read_script, 4, -EIO);
    refused_file(path, "cannot be read: Input/output error");
    SCRIPT(fstatat_script, -EIO);
    refused_file(path, "cannot be read: Input/output error");
}

/* ---- memory ---- */

static const char allocating[] = "user = root group = root tcp { listen = { 127.0.0.1,\n::1 } }";

static void test_no_memory(void **state)
{
    struct conf *conf;

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        static const char *const keys[] = {"access.allow", "access.deny", "limits.exempt"};
        char wanted[64];

        script_fail_after(&calloc_script, 2 + i, ENOMEM);
        snprintf(wanted, sizeof wanted, ": %s: out of memory", keys[i]);
        REFUSED("", wanted);
    }
    for (unsigned i = 0; i < 2; i++) {
        script_fail_after(&calloc_script, i, ENOMEM);
        assert_null(load(allocating));
        assert_int_equal(said.count, 1);
        assert_string_equal(said.text[0], "out of memory to read the configuration");
    }
    script_clear(&calloc_script);
    write_octets(allocating, strlen(allocating));
    SCRIPT(realloc_script, -ENOMEM);
    refused_file(path, "cannot be read: Cannot allocate memory");
    SCRIPT(reallocarray_script, -ENOMEM);
    REFUSED(allocating, ":1: out of memory");
    SCRIPT(reallocarray_script, PASS, PASS, PASS, -ENOMEM);
    REFUSED(allocating, ":2: out of memory");
    SCRIPT(strdup_script, -ENOMEM);
    REFUSED(allocating, ":1: user: out of memory");
    SCRIPT(strdup_script, PASS, -ENOMEM);
    REFUSED(allocating, ":1: group: out of memory");
    SCRIPT(realloc_script, PASS, -ENOMEM);
    REFUSED(allocating, ":1: tcp.listen: out of memory");
    SCRIPT(realloc_script, PASS, PASS, -ENOMEM);
    REFUSED(allocating, ":2: tcp.listen: out of memory");
    SCRIPT(realloc_script, PASS, PASS, PASS, -ENOMEM);
    REFUSED(allocating, ": udp.listen: out of memory");
    SCRIPT(realloc_script, -ENOMEM);
    assert_null(load_file(NULL, NULL));
    assert_string_equal(said.text[0], "built-in defaults: tcp.listen: out of memory");

    conf = load(allocating);
    assert_non_null(conf);
    conf_free(conf);
    conf_free(NULL);
}

/* It would write to standard error by itself. */
static void test_libconfuse_fails(void **state)
{
    int saved = dup(STDERR_FILENO), file = memfd_create("stderr", 0);

    (void)state;
    assert_true(saved >= 0 && file >= 0);
    dup2(file, STDERR_FILENO);
    SCRIPT(cfg_init_script, -ENOMEM);
    REFUSED(allocating, ": libConfuse cannot parse it");
    SCRIPT(cfg_parse_buf_script, -ENOMEM);
    REFUSED(allocating, ": libConfuse cannot parse it");
    SCRIPT(cfg_getnstr_script, PASS, PASS, PASS, -EINVAL);
    REFUSED(allocating, ":2: tcp.listen: libConfuse lost a value");
    dup2(saved, STDERR_FILENO);
    assert_int_equal(lseek(file, 0, SEEK_END), 0);
    close(saved);
    close(file);
}

/* ---- what the command line says ---- */

static void test_port_override(void **state)
{
    const struct conf_overrides overrides = {.port = 7007, .log_level = -1};
    struct conf *conf = load_over("tcp { port = 9 listen = { 127.0.0.1, \"127.0.0.2:10\", ::1 } }\n"
                                  "log { level = error }",
                                  &overrides);

    (void)state;
    assert_non_null(conf);
    LISTENS(conf->tcp.listen, "127.0.0.1:7007", "127.0.0.2:7007", "[::1]:7007");
    LISTENS(conf->udp.listen, "0.0.0.0:7007", "[::]:7007");
    assert_true(conf->udp.listen.is_default);
    assert_int_equal(conf->tcp.port, 7007);
    assert_int_equal(conf->udp.port, 7007);
    assert_int_equal(conf->log_level, LEVEL_ERROR);
    conf_free(conf);
}

static void test_port_override_merges_addresses(void **state)
{
    const struct conf_overrides overrides = {.port = 7007, .log_level = -1};
    struct conf *conf;

    (void)state;
    conf = load_over("udp { listen = { \"127.0.0.1:1\", ::1, \"127.0.0.1:2\", 127.0.0.2 } }",
                     &overrides);
    assert_non_null(conf);
    LISTENS(conf->udp.listen, "127.0.0.1:7007", "[::1]:7007", "127.0.0.2:7007");
    conf_free(conf);
    assert_null(load_over("\nudp {\nlisten = { \"127.0.0.1:1\", \"0.0.0.0:2\" } }", &overrides));
    assert_int_equal(said.count, 1);
    check_said(0, ":3: udp.listen: addresses overlap once all have port 7007");
}

static void test_level_override(void **state)
{
    const struct conf_overrides debug = {.port = 0, .log_level = LEVEL_DEBUG};
    const struct conf_overrides error = {.port = 0, .log_level = LEVEL_ERROR};
    struct conf *conf = load_over("log { level = warning }", &debug);

    (void)state;
    assert_non_null(conf);
    assert_int_equal(conf->log_level, LEVEL_DEBUG);
    assert_int_equal(conf->tcp.port, 7);
    conf_free(conf);
    conf = load_file(NULL, &error);
    assert_int_equal(conf->log_level, LEVEL_ERROR);
    conf_free(conf);
}

/* What the command line replaces must be right all the same. */
static void test_overrides_hide_no_errors(void **state)
{
    const struct conf_overrides overrides = {.port = 7007, .log_level = LEVEL_DEBUG};

    (void)state;
    assert_null(load_over("tcp { port = 0 }\nlog { level = x }", &overrides));
    check_all_said((const char *const[]){":1: tcp.port: ", ":2: log.level: ", NULL});
}

/* ---- comparing ---- */

static struct {
    size_t count;
    char text[32][512];
} changes;

static void note_change(void *context, const char *key, const char *before, const char *after,
                        bool needs_restart)
{
    assert_ptr_equal(context, &changes);
    assert_true(changes.count < COUNT(changes.text));
    snprintf(changes.text[changes.count++], sizeof changes.text[0], "%s: %s -> %s%s", key, before,
             after, needs_restart ? " (restart)" : "");
}

static size_t compare(const struct conf *before, const struct conf *after)
{
    size_t count;

    changes.count = 0;
    count = conf_compare(before, after, note_change, &changes);
    assert_int_equal(count, changes.count);
    for (size_t i = 0; i < count; i++)
        print_message("# %s\n", changes.text[i]);
    return count;
}

static void test_compare_equal(void **state)
{
    struct conf *defaults = load_file(NULL, NULL);
    struct conf *same = load("tcp { listen = { 0.0.0.0, \"[::]:7\" } } workers = 0\n"
                             "udp { refuse-source-ports = { 512-1023, 0-511 } }");

    (void)state;
    assert_int_equal(compare(defaults, defaults), 0);
    assert_int_equal(compare(defaults, same), 0);
    conf_free(same);
    conf_free(defaults);
}

static void test_compare_every_key(void **state)
{
    static const char *const expected[] = {
        "user: nobody -> root (restart)",
        "group: the user's own -> root (restart)",
        "workers: 0 -> 2 (restart)",
        "busy-poll: 0 -> 7",
        "drain-timeout: 30 -> 5",
        "log.target: auto -> stderr",
        "log.level: info -> error",
        "tcp.enabled: true -> false",
        "tcp.port: 7 -> 8",
        "tcp.listen: { 0.0.0.0:7, [::]:7 } -> { 127.0.0.1:8 }",
        "tcp.backlog: 4096 -> 1",
        "tcp.max-connections: 0 -> 10",
        "tcp.max-connections-per-source: 0 -> 3",
        "tcp.idle-timeout: 600 -> 60",
        "udp.port: 7 -> 9",
        "udp.listen: { 0.0.0.0:7, [::]:7 } -> { [::1]:9 }",
        "udp.reflect-tos: true -> false",
        "udp.answer-broadcast: false -> true",
        "udp.refuse-source-ports: { 0-1023 } -> { 0, 7-8, 65535 }",
        "access.allow: { } -> { 192.0.2.0/24, ::1 }",
        "access.deny: { } -> { 192.0.2.1 }",
        "limits.udp-rate: 5000 -> 1",
        "limits.udp-burst: 10000 -> 2",
        "limits.ipv4-prefix: 32 -> 24",
        "limits.ipv6-prefix: 64 -> 48",
        "limits.table-size: 65536 -> 2000",
        "limits.exempt: { 127.0.0.0/8, ::1 } -> { }",
    };
    struct conf *defaults = load_file(NULL, NULL);
    struct conf *other =
        load("user = root group = root workers = 2 busy-poll = 7 drain-timeout = 5\n"
             "log { target = stderr level = error }\n"
             "tcp { enabled = no port = 8 listen = 127.0.0.1 backlog = 1\n"
             "max-connections = 10 max-connections-per-source = 3\n"
             "idle-timeout = 60 }\n"
             "udp { port = 9 listen = ::1 reflect-tos = no\n"
             "answer-broadcast = yes refuse-source-ports = { 7-8, 65535, 0 } }\n"
             "access { allow = { \"192.0.2.0/24\", ::1 } deny = 192.0.2.1 }\n"
             "limits { udp-rate = 1 udp-burst = 2 ipv4-prefix = 24\n"
             "ipv6-prefix = 48 table-size = 2000 exempt = {} }");
    struct conf *empty = load("udp { refuse-source-ports = {} enabled = no listen = {} }");

    (void)state;
    assert_int_equal(compare(defaults, other), COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++)
        assert_string_equal(changes.text[i], expected[i]);
    assert_int_equal(compare(defaults, empty), 3);
    assert_string_equal(changes.text[0], "udp.enabled: true -> false");
    assert_string_equal(changes.text[1], "udp.listen: { 0.0.0.0:7, [::]:7 } -> { }");
    assert_string_equal(changes.text[2], "udp.refuse-source-ports: { 0-1023 } -> { }");
    conf_free(empty);
    conf_free(other);
    conf_free(defaults);
}

/* Without memory every key counts as changed: better than to miss a change. */
static void test_compare_without_memory(void **state)
{
    struct conf *conf = load_file(NULL, NULL);

    (void)state;
    SCRIPT(open_memstream_script, PASS, -ENOMEM, -ENOMEM);
    assert_int_equal(compare(conf, conf), 2);
    assert_string_equal(changes.text[0], "user: nobody -> ? (restart)");
    assert_string_equal(changes.text[1], "group: ? -> the user's own (restart)");
    SCRIPT(fclose_script, -ENOSPC);
    assert_int_equal(compare(conf, conf), 1);
    assert_string_equal(changes.text[0], "user: ? -> nobody (restart)");
    conf_free(conf);
}

/* ---- the file that is installed ---- */

static void read_sample(char *text, size_t size)
{
    const char *top = getenv("SRCDIR");
    char sample[4096];
    FILE *file;
    size_t length;

    snprintf(sample, sizeof sample, "%s/etc/echod.conf", top ? top : ".");
    file = fopen(sample, "r");
    if (!file)
        skip_because("etc/echod.conf is not here: set SRCDIR");
    length = fread(text, 1, size - 1, file);
    text[length] = '\0';
    fclose(file);
}

static void test_sample_is_the_defaults(void **state)
{
    static char text[65536];
    struct conf *defaults = load_file(NULL, NULL), *sample;

    (void)state;
    read_sample(text, sizeof text);
    assert_non_null(strstr(text, "echod.conf(5)"));
    sample = load(text);
    assert_non_null(sample);
    assert_int_equal(compare(defaults, sample), 0);
    conf_free(sample);
    conf_free(defaults);
}

/* "#key = value" shows a default, "# text" explains. Only the group has none that could be shown,
 * and on some systems it has another name. */
static void test_sample_shows_every_default(void **state)
{
    static const char *const expected[] = {"user",
                                           "workers",
                                           "busy-poll",
                                           "drain-timeout",
                                           "target",
                                           "level",
                                           "enabled",
                                           "listen",
                                           "port",
                                           "backlog",
                                           "max-connections",
                                           "idle-timeout",
                                           "max-connections-per-source",
                                           "reflect-tos",
                                           "answer-broadcast",
                                           "refuse-source-ports",
                                           "allow",
                                           "deny",
                                           "udp-rate",
                                           "udp-burst",
                                           "ipv4-prefix",
                                           "ipv6-prefix",
                                           "table-size",
                                           "exempt"};
    static char text[65536];
    struct conf *defaults = load_file(NULL, NULL), *sample;

    (void)state;
    read_sample(text, sizeof text);
    for (char *hash = strchr(text, '#'); hash; hash = strchr(hash + 1, '#'))
        if (hash[1] >= 'a' && hash[1] <= 'z' && strncmp(hash, "#group", 6) != 0)
            *hash = ' ';
    for (size_t i = 0; i < COUNT(expected); i++) {
        char assignment[64];

        snprintf(assignment, sizeof assignment, " %s = ", expected[i]);
        assert_non_null(strstr(text, assignment));
    }
    sample = load(text);
    assert_non_null(sample);
    assert_false(sample->tcp.listen.is_default);
    assert_false(sample->udp.listen.is_default);
    assert_int_equal(compare(defaults, sample), 0);
    conf_free(sample);
    conf_free(defaults);
}

#define TEST(function) cmocka_unit_test_setup(function, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_defaults),
        TEST(test_every_key),
        TEST(test_empty_files),
        TEST(test_list_forms),
        TEST(test_booleans),
        TEST(test_names),
        TEST(test_comments),
        TEST(test_quotes_keep_what_is_special_outside),
        TEST(test_numbers_are_strict),
        TEST(test_numbers_are_not_octal),
        TEST(test_numbers_do_not_wrap),
        TEST(test_every_number_has_a_range),
        TEST(test_names_are_known),
        TEST(test_accounts_exist),
        TEST(test_addresses_are_well_formed),
        TEST(test_addresses_do_not_overlap),
        TEST(test_addresses_are_checked_without_a_port),
        TEST(test_port_ranges_are_well_formed),
        TEST(test_one_protocol_is_enabled),
        TEST(test_an_enabled_protocol_has_addresses),
        TEST(test_values_are_short),
        TEST(test_blanks_are_not_what_takes_time),
        TEST(test_lists_are_short),
        TEST(test_lists_of_prefixes_are_long),
        TEST(test_prefixes_are_well_formed),
        TEST(test_a_long_change_is_cut_short),
        TEST(test_messages_are_harmless),
        TEST(test_unknown_keys),
        TEST(test_misspelt_names_are_guessed),
        TEST(test_long_names),
        TEST(test_repeats),
        TEST(test_appending),
        TEST(test_includes_are_off),
        TEST(test_the_environment_is_not_expanded),
        TEST(test_keys_and_sections_are_told_apart),
        TEST(test_only_lists_take_lists),
        TEST(test_syntax_errors),
        TEST(test_what_precedes_a_syntax_error_is_checked),
        TEST(test_deep_nesting),
        TEST(test_every_error_is_reported_in_order),
        TEST(test_very_many_errors_are_counted),
        TEST(test_missing_file),
        TEST(test_directory),
        TEST(test_fifo),
        TEST(test_devices),
        TEST(test_socket),
        TEST(test_unreadable_file),
        TEST(test_sizes),
        TEST(test_huge_file),
        TEST(test_nul_octets),
        TEST(test_reading_in_pieces),
        TEST(test_reading_fails),
        TEST(test_no_memory),
        TEST(test_libconfuse_fails),
        TEST(test_port_override),
        TEST(test_port_override_merges_addresses),
        TEST(test_level_override),
        TEST(test_overrides_hide_no_errors),
        TEST(test_compare_equal),
        TEST(test_compare_every_key),
        TEST(test_compare_without_memory),
        TEST(test_sample_is_the_defaults),
        TEST(test_sample_shows_every_default),
    };

    return cmocka_run_group_tests_name("conf", tests, set_up, tear_down);
}
