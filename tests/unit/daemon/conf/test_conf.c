/* SPDX-License-Identifier: ISC */
#include "unit/unit.h"

#include "daemon/conf/compare.h"

#include <confuse.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>

/* ---- wrapped functions ---- */

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(void *, realloc, NULL, (void *old, size_t size), (old, size))
WRAP_FAILING(char *, strdup, NULL, (const char *text), (text))
#ifdef _STAT_VER /* glibc 2.32 and older */
#define fstatat_script __fxstatat_script
WRAP_FAILING(int, __fxstatat, -1,
             (int version, int fd, const char *name, struct stat *st, int flags),
             (version, fd, name, st, flags))
#else
WRAP_FAILING(int, fstatat, -1, (int fd, const char *name, struct stat *st, int flags),
             (fd, name, st, flags))
#endif
WRAP_FAILING(void *, reallocarray, NULL, (void *old, size_t count, size_t size), (old, count, size))
WRAP_FAILING(cfg_t *, cfg_init, NULL, (cfg_opt_t * options, cfg_flag_t flags), (options, flags))
WRAP_FAILING(int, cfg_parse_buf, CFG_PARSE_ERROR, (cfg_t * cfg, const char *text), (cfg, text))

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

/* ---- a folder, a file in it, and the errors that were reported ---- */

static char dir[] = "/tmp/test_conf.XXXXXX";
static char path[64];

static struct {
    size_t count;
    char text[128][1024];
} said;

static void note(void *context, const char *message)
{
    assert_ptr_equal(context, &said);
    assert_true(said.count < COUNT(said.text));
    assert_true(strlen(message) < sizeof said.text[0]);
    for (const char *c = message; *c; c++)
        assert_in_range(*c, ' ', '~');
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

/* An error begins with the file's name and this. */
static void check_said(size_t at, const char *expected)
{
    char wanted[1024], got[1024];

    if (at >= said.count)
        fail_msg("nothing is said of %s", expected);
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

/* The text is refused with exactly these errors. */
#define REFUSED(text, ...)                                                                         \
    do {                                                                                           \
        assert_null(load(text));                                                                   \
        check_all_said((const char *const[]){__VA_ARGS__, NULL});                                  \
    } while (0)

static struct conf *accepted(const char *text)
{
    struct conf *conf = load(text);

    if (!conf)
        print_error("%s: %s\n", text, said.text[0]);
    assert_non_null(conf);
    return conf;
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

/* A test that hangs ends. */
static int fresh(void **state)
{
    (void)state;
    alarm(600);
    unlink(path);
    return 0;
}

/* ---- what is accepted ---- */

static void no_change(void *context, const char *key, const char *before, const char *after,
                      bool needs_restart)
{
    (void)context, (void)needs_restart;
    fail_msg("%s: %s -> %s", key, before, after);
}

/* Values of keys are checked where they are printed: see test_compare.c. */
static void same(const char *text, const char *other)
{
    struct conf *conf = accepted(text), *wanted = accepted(other);

    assert_int_equal(conf_compare(wanted, conf, no_change, NULL), 0);
    conf_free(conf);
    conf_free(wanted);
}

static void test_without_a_file_every_key_has_its_default(void **state)
{
    struct conf *conf = load_file(NULL, NULL);

    (void)state;
    assert_non_null(conf);
    assert_null(conf->user);
    assert_null(conf->group);
    LISTENS(conf->tcp.listen, "0.0.0.0:7", "[::]:7");
    assert_true(conf->tcp.listen.is_default && conf->udp.listen.is_default);
    assert_int_equal(conf->tcp.listen.line, 0);
    conf_free(conf);
    same("", "workers = 0");
}

static void test_addresses_without_a_port_have_that_of_their_section(void **state)
{
    struct conf *conf = accepted("tcp { listen = { 127.0.0.1, \"[2001:db8::1]:7007\" }\n"
                                 "port = 65535 }\n"
                                 "udp { listen = \"fe80::1%lo\" }");

    (void)state;
    LISTENS(conf->tcp.listen, "127.0.0.1:65535", "[2001:db8::1]:7007");
    LISTENS(conf->udp.listen, "[fe80::1%lo]:7");
    assert_false(conf->tcp.listen.is_default);
    assert_int_equal(conf->tcp.listen.line, 1);
    assert_int_equal(conf->udp.listen.line, 3);
    conf_free(conf);
    conf = accepted("\ntcp { port = 9 }");
    assert_true(conf->tcp.listen.is_default);
    assert_int_equal(conf->tcp.listen.line, 2);
    conf_free(conf);
}

static void test_ways_to_write_the_same(void **state)
{
    static const char *const pairs[][2] = {
        {" \t\r\n", ""},
        {"tcp{}udp { } log {\n}", ""},
        {"\xef\xbb\xbfworkers = 3", "workers = 3"},
        {"workers=3#workers=2\n##########\n//////////\n/**/ /***/ /*/ */", "workers = 3"},
        {"#\n#\n// }\n/* { \" ' */ workers /* = 9 */ = /* ${HOME} \\ */ 3 // x\n# \"",
         "workers = 3"},
        {"# exactly thirty-two octets of it\nworkers = 3", "workers = 3"},
        {"workers = '3'\r\n", "workers = \"3\""},
        {"tcp { listen = 127.0.0.1 }", "tcp { listen = { \"127.0.0.1\" } }"},
        {"tcp { listen = {\n::1\n,\n'127.0.0.1' # one\n, } }",
         "tcp { listen = { \"::1\", \"127.0.0.1\" } }"},
        {"udp { enabled = false listen = {} }", "udp { listen = { /* */ } enabled = no }"},
        {"udp { refuse-source-ports = { 0-65535, 0-65535, 0, 65535, 5-5 } }",
         "udp { refuse-source-ports = 0-65535 }"},
        {"udp { reflect-tos = yes answer-broadcast = no }", ""},
        {"udp { reflect-tos = on answer-broadcast = OFF }", ""},
        {"udp { reflect-tos = TRUE answer-broadcast = \"false\" }", ""},
        {"tcp { listen = { \"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.2:1\" } }\n"
         "udp { listen = { \"127.0.0.1:1\", \"0.0.0.0\", \"::\" } }",
         "udp { listen = { \"127.0.0.1:1\", \"0.0.0.0:7\", \"[::]:7\" } }\n"
         "tcp { listen = { \"127.0.0.1:1\", \"127.0.0.1:2\", \"127.0.0.2:1\" } }"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++)
        same(pairs[i][0], pairs[i][1]);
}

static void test_names_of_log_targets_and_levels(void **state)
{
    static const char *const targets[] = {"auto", "stderr", "journal", "syslog"};
    static const char *const levels[] = {"error", "warning", "notice", "info", "debug"};
    char text[64];

    (void)state;
    for (unsigned i = 0; i < COUNT(levels); i++) {
        struct conf *conf;

        snprintf(text, sizeof text, "log { target = %s level = %s }", targets[i % COUNT(targets)],
                 levels[i]);
        conf = accepted(text);
        assert_int_equal(conf->log_target, i % COUNT(targets));
        assert_int_equal(conf->log_level, i);
        conf_free(conf);
    }
}

/* ---- values that are refused ---- */

/* A text, and how each error of it begins. */
struct refused {
    const char *text;
    const char *said[8];
};

static void check_refused(const struct refused *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_null(load(cases[i].text));
        check_all_said(cases[i].said);
    }
}

static void test_values_that_are_refused(void **state)
{
    static const struct refused cases[] = {
        {"workers = -1", {":1: workers: value \"-1\": must be a decimal number from 0 to 256"}},
        {"workers = /1~", {":1: workers: value \"/1~\": must be a decimal number"}},
        {"workers = 010",
         {":1: workers: value \"010\": must be a decimal number from 0 to 256, without leading"}},
        {"tcp { port = 4294967303 }", {":1: tcp.port: value \"4294967303\""}},
        {"tcp { port = 18446744073709551623 }", {":1: tcp.port: value \"18446744073709551623\""}},
        {"/* one\n two\n three */ workers /* four\n */ = 999 # five", {":4: workers: value "}},
        {"# one\r\nworkers = x\r\n", {":2: workers: value \"x\""}},
        {"log { target = file\nlevel = verbose }\nudp { reflect-tos = 1\nenabled = \"\" }",
         {":1: log.target: value \"file\": must be auto, stderr, journal or syslog",
          ":2: log.level: value \"verbose\": must be error, warning, notice, info or debug",
          ":3: udp.reflect-tos: value \"1\": must be true or false",
          ":4: udp.enabled: value \"\": must be true or false"}},
        {"user = no-such-user\ngroup = no-such-group",
         {":1: user: value \"no-such-user\": no such user",
          ":2: group: value \"no-such-group\": no such group"}},
        {"metrics { listen = run/metrics\ngroup = no-such-group }",
         {":1: metrics.listen: value \"run/metrics\": must be an absolute path of at most 107 "
          "octets, "
          "or empty",
          ":2: metrics.group: value \"no-such-group\": no such group"}},
        {"user = \"a # b // c /* {\" group = 'a ${HOME} = \"'",
         {":1: user: value \"a # b // c /* {\": no such user",
          ":1: group: value \"a ${HOME} = \"\": no such group"}},
        {"tcp { listen = {\n\"localhost\",\n\"1.2.3\",\n\n\"1.2.3.4:0\", \"1.2.3.4:65536\",\n"
         "\"fe80::1%no-such-zone\",\n\"fe80::1\", \"127.0.0.1\",\n\"::ffff:1.2.3.4\"} }",
         {":2: tcp.listen: value \"localhost\": must be an IPv4 or IPv6 address",
          ":3: tcp.listen: value \"1.2.3\": must be an IPv4",
          ":5: tcp.listen: value \"1.2.3.4:0\": the port must be a number from 1 to 65535",
          ":5: tcp.listen: value \"1.2.3.4:65536\": the port must be a number from 1 to 65535",
          ":6: tcp.listen: value \"fe80::1%no-such-zone\": there is no such network interface",
          ":7: tcp.listen: value \"fe80::1\": a link-local address must name its interface",
          ":8: tcp.listen: value \"::ffff:1.2.3.4\": is an IPv4 address in IPv6 form"}},
        {"tcp { port = 9 listen = { 127.0.0.1,\n127.0.0.1:9 } }",
         {":2: tcp.listen: value \"127.0.0.1:9\": must not repeat or overlap"}},
        {"udp { listen = { 127.0.0.1, 0.0.0.0 } }", {":1: udp.listen: value \"0.0.0.0:7\": must"}},
        {"tcp { listen = { 127.0.0.1,\njunk }\nport = 0 }",
         {":2: tcp.listen: value \"junk\"", ":3: tcp.port: value \"0\""}},
        {"udp { enabled = no }\ntcp {\nenabled = no }",
         {":3: tcp.enabled: value \"false\": tcp is off and udp is off"}},
        {"tcp { enabled = no }\nudp {\nenabled = no }",
         {":3: udp.enabled: value \"false\": tcp is off and udp is off"}},
        {"sandbox = no\nsandbox-required = yes",
         {":2: sandbox-required: value \"true\": sandbox is false"}},
        {"tcp {\nlisten = {} }\n\nudp { listen = { } }",
         {":2: tcp.listen: value \"{}\": an enabled protocol must have an address",
          ":4: udp.listen: value \"{}\": an enabled protocol must have an address"}},
        {"access { allow = { \"192.0.2.1/24\",\n\"2001:db8::1/32\" }\ndeny = \"192.0.2.0/33\" }\n"
         "limits { exempt = { localhost,\n \"fe80::1%lo\" } }",
         {":1: access.allow: value \"192.0.2.1/24\": the address has bits set beyond the prefix: "
          "\"192.0.2.0/24\" contains it",
          ":2: access.allow: value \"2001:db8::1/32\": the address has bits set beyond the prefix: "
          "\"2001:db8::/32\" contains it",
          ":3: access.deny: value \"192.0.2.0/33\": a prefix has at most 32 bits of an IPv4 "
          "address and 128 of an IPv6 address",
          ":4: limits.exempt: value \"localhost\": must be an address or a prefix",
          ":5: limits.exempt: value \"fe80::1%lo\": must be an address"}},
        {"\033]0;x\007 = 1\nuser = \"\033[31m\xff\x01\"\ntcp { enabled = true } \177",
         {":1: ?]0;x?: value \"1\": unknown key", ":2: user: value \"?[31m??\": no such user",
          ":3: ?: unknown section or key"}},
        {"workers = \1", {":1: workers: value \"?\": must be a decimal number"}},
    };

    (void)state;
    check_refused(cases, COUNT(cases));
}

static void test_numbers_are_decimal_digits_and_nothing_else(void **state)
{
    static const char *const bad[] = {"256.0",       "0x10", "1e2",   "7 ", " 7",
                                      "\t7",         "",     "seven", "7;", "+7",
                                      "99999999999", "--1",  "1_000", "00", "2 2"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[64], wanted[128];

        snprintf(text, sizeof text, "\nworkers = \"%s\"", bad[i]);
        snprintf(wanted, sizeof wanted, ":2: workers: value \"%s\": must be a decimal number",
                 bad[i][0] == '\t' ? "?7" : bad[i]);
        REFUSED(text, wanted);
    }
}

/* Writes "SECTION { LEAF = VALUE }", or without the section. Returns buf. */
static const char *statement(char buf[static 128], const struct conf_key *key, const char *value)
{
    const char *dot = strchr(key->name, '.');

    if (dot)
        snprintf(buf, 128, "%.*s { %s = %s }", (int)(dot - key->name), key->name, dot + 1, value);
    else
        snprintf(buf, 128, "%s = %s", key->name, value);
    return buf;
}

static void test_every_number_has_a_range(void **state)
{
    char text[128], value[16], wanted[128];

    (void)state;
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *key = &conf_keys[i];

        if (key->kind != CONF_NUMBER)
            continue;
        for (unsigned j = 0; j < 4; j++) {
            unsigned number[] = {key->min, key->max, key->min - 1, key->max + 1};

            if (number[j] == UINT_MAX)
                continue;
            snprintf(value, sizeof value, "%u", number[j]);
            if (j < 2) {
                conf_free(accepted(statement(text, key, value)));
                continue;
            }
            snprintf(wanted, sizeof wanted,
                     ":1: %s: value \"%u\": must be a decimal number from %u to %u", key->name,
                     number[j], key->min, key->max);
            REFUSED(statement(text, key, value), wanted);
        }
    }
}

static void test_a_key_with_one_value_takes_no_list(void **state)
{
    char text[128], wanted[128];

    (void)state;
    for (size_t i = 0; i < conf_key_count; i++) {
        const struct conf_key *key = &conf_keys[i];

        if (key->kind >= CONF_LISTEN)
            continue;
        REFUSED(statement(text, key, "{ a }"), ":1: unexpected token '{'");
        snprintf(wanted, sizeof wanted, ":1: %s: value \"{}\": one value is allowed, not a list",
                 key->name);
        REFUSED(statement(text, key, "{}"), wanted);
    }
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
}

/* ---- limits of size ---- */

static void test_a_value_has_at_most_255_octets(void **state)
{
    static const char *const forms[] = {"user = %0*d", "user = \"%0*d\"", "user = '%0*d'"};
    char text[1024], wanted[256];

    (void)state;
    snprintf(wanted, sizeof wanted, ":1: user: value \"%064d...\": ", 0);
    for (size_t i = 0; i < COUNT(forms); i++) {
        for (int length = 255; length < 600; length += length == 256 ? 300 : 1) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(text, sizeof text, forms[i], length, 0);
#pragma GCC diagnostic pop
            REFUSED(text, wanted);
            assert_non_null(
                strstr(said.text[0], length > 255 ? "at most 255 octets" : "no such user"));
        }
    }
    snprintf(text, sizeof text, "%0300d = 1", 0);
    snprintf(wanted, sizeof wanted, ":1: %064d...: value \"1\": unknown key; known here: user, ",
             0);
    REFUSED(text, wanted);
}

static void test_a_list_has_at_most_256_values_and_one_of_prefixes_250000(void **state)
{
    enum { MANY = 250000 };
    char *text = malloc(MANY * 20), *at = text;
    struct conf *conf;

    (void)state;
    assert_non_null(text);
    at += sprintf(at, "udp {\nrefuse-source-ports = {");
    for (unsigned i = 0; i < 256; i++)
        at += sprintf(at, "%u,", i);
    strcpy(at, "} }");
    conf_free(accepted(text));
    strcpy(at, "\n256, 257 } }");
    REFUSED(text, ":3: udp.refuse-source-ports: value \"256\": the list is too long: at most 256");

    at = text + sprintf(text, "access { deny = {\n");
    for (unsigned i = 0; i < MANY; i++)
        at += sprintf(at, "%u.%u.%u.0/24,\n", 1 + i / 65536, i / 256 % 256, i % 256);
    strcpy(at, "} }");
    conf = accepted(text);
    assert_int_equal(conf->access.deny.count, MANY);
    assert_int_equal(conf->access.deny.list[MANY - 1].hi >> 40,
                     (1 + (MANY - 1) / 65536) << 16 | ((MANY - 1) & 65535));
    conf_free(conf);
    strcpy(at, "::1 } }");
    REFUSED(text, ":250002: access.deny: value \"::1\": the list is too long: at most 250000");
    free(text);
}

/* libConfuse would take minutes, or memory beyond measure. */
static void test_a_file_of_16_mib_is_read_quickly_whatever_is_in_it(void **state)
{
    static const struct {
        const char *begin, *repeated, *end;
        const char *said;
    } cases[] = {
        {"workers =", " ", "x", ":1: workers: value \"x\""},
        {"workers =", "x", "", ":1: workers: value \"xxx"},
        {"user='", "x", "'", ":1: user: value \"xxx"},
        {"#", "x", "\nworkers = x", ":2: workers: value \"x\""},
        {"/*", "x\n", "*/", NULL},
        {"", "#\n", "", NULL},
        {"", "a{", "", ":1: \"{\" is not closed"},
        {"tcp{", "{", "", ":1: \"{\" is not closed"},
        {"a={", "b,", "}", ":1: a: value \"b\": unknown key"},
        {"", "a=1\nb=2\n", "", ":1: a: value \"1\": unknown key"},
    };
    size_t size = 16 * 1024 * 1024;
    char *text = malloc(size + 1);

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t unit = strlen(cases[i].repeated), used = strlen(cases[i].begin);
        struct conf *conf;

        strcpy(text, cases[i].begin);
        for (; used + unit + strlen(cases[i].end) <= size; used += unit)
            memcpy(text + used, cases[i].repeated, unit);
        strcpy(text + used, cases[i].end);
        alarm(300);
        conf = load(text);
        if (cases[i].said)
            check_said(0, cases[i].said);
        else
            assert_non_null(conf);
        conf_free(conf);
    }
    free(text);
}

static void test_a_file_has_at_most_16_mib(void **state)
{
    size_t size = 16 * 1024 * 1024;
    char *text = malloc(size + 1);

    (void)state;
    memset(text, '\n', size + 1);
    memcpy(text + size - 1, "x", 1);
    write_octets(text, size);
    assert_null(load_file(path, NULL));
    check_said(0, ":16777216: x: unknown section or key");
    write_octets(text, size + 1);
    assert_null(load_file(path, NULL));
    check_said(0, ": larger than 16777216 octets");
    assert_int_equal(truncate(path, 100 * 1000 * 1000), 0);
    assert_null(load_file(path, NULL));
    check_said(0, ": larger than 16777216 octets");
    free(text);
}

/* ---- statements that are refused ---- */

static void test_statements_that_are_refused(void **state)
{
    static const struct refused cases[] = {
        {"sandpit = true\n"
         "tcp { echo-plus = { \"a\",\n \"b\" }\n"
         "  prt = 7\n"
         "  port = 70000 }\n"
         "port = {}\n"
         "udp { port = x }\n"
         "statistics { listen = \"\" a { b { } } }\n"
         "workers = x",
         {":1: sandpit: value \"true\": unknown key; known here: user, group, ",
          ":2: tcp.echo-plus: value \"a\": unknown key; known here: enabled, port, listen, ",
          ":4: tcp.prt: value \"7\": unknown key; known here: enabled, port, ",
          ":5: tcp.port: value \"70000\"", ":6: port: value \"{}\": unknown key",
          ":7: udp.port: value \"x\"",
          ":8: statistics: unknown section or key; known here: user, "}},
        {"tcp.port = 7 tcp|x = 7",
         {":1: tcp.port: value \"7\": unknown key", ":1: tcp|x: value \"7\": unknown key"}},
        {"foo|bar = 7 b = 8",
         {":1: foo|bar: value \"7\": unknown key",
          ":1: b: value \"8\": unknown key; known here: user, "}},
        {"tcp {\n\"\" = 1 \"\" = {} }",
         {":2: tcp.: value \"1\": unknown key", ":2: tcp.: value \"{}\": unknown key"}},
        {"tcp|port = 7\naccess|allow = {}",
         {":1: tcp.port: value \"7\": must stand within tcp { }",
          ":2: access.allow: value \"{}\": must stand within access { }"}},
        {"workers = 1\n"
         "tcp { port = 1\n"
         "port = 2\n"
         "listen = { 127.0.0.1,\n127.0.0.2 }\n"
         "listen = { ::1, x }\n"
         "}\n"
         "workers = 1\n"
         "tcp { port = 3 backlog = 0 }\n"
         "tcp { }",
         {":3: tcp.port: value \"2\": already set on line 2, and allowed once",
          ":6: tcp.listen: value \"::1\": already set on line 4, and allowed once",
          ":8: workers: value \"1\": already set on line 1, and allowed once",
          ":9: tcp.port: value \"3\": already set on line 2", ":9: tcp.backlog: value \"0\"",
          ":9: tcp: the section that ends here is one too many: the first ends on line 7",
          ":10: tcp: the section that ends here is one too many: the first ends on line 7"}},
        {"udp { listen = {}\nlisten = {}\nlisten = ::1 enabled = no }",
         {":2: udp.listen: value \"{}\": already set on line 1",
          ":3: udp.listen: value \"::1\": already set on line 1"}},
        {"tcp { listen += { ::1, x }\nlisten += {}\nlisten = 1 }\nworkers += 1",
         {":1: tcp.listen: value \"::1\": \"+=\" is not allowed: give the whole list after \"=\"",
          ":2: tcp.listen: value \"{}\": \"+=\" is not allowed",
          ":3: tcp.listen: value \"1\": must be an IPv4",
          ":4: attempt to append to non-list option 'workers'"}},
        {"tcp { listen = ::1 listen += { ::1 } }",
         {":1: tcp.listen: value \"::1\": \"+=\" is not allowed"}},
        {"include(\"/etc/passwd\")", {":1: include: unknown section or key"}},
        {"include = \"/etc/passwd\"", {":1: include: value \"/etc/passwd\": unknown key"}},
        {"workers = '${HOME}'", {":1: workers: value \"${HOME}\": must be a decimal number"}},
        {"workers = $HOME", {":1: workers: value \"$HOME\": must be a decimal number"}},
        {"workers = x\nuser = ${USER}",
         {":1: workers: value \"x\"", ":2: \"${\": environment variables are not expanded"}},
        {"user = \"a${USER:-x}\"", {":1: \"${\": environment variables are not expanded"}},
        {"user = \"root\\\"", {":1: a backslash in a string: there are no escapes"}},
        {"user = 'ro\\'ot'", {":1: a backslash in a string"}},
    };

    (void)state;
    check_refused(cases, COUNT(cases));
    assert_null(load(cases[0].text));
    assert_non_null(strstr(said.text[0], ", sandbox, "));
    assert_non_null(strstr(said.text[0], ", log { }, "));
    assert_null(strstr(said.text[0], "did you mean"));
}

static void test_a_name_is_guessed_only_if_it_is_near(void **state)
{
    static const struct {
        const char *text, *guess;
    } cases[] = {{"usr = a", "\"user\"?"},
                 {"groups = a", "\"group\"?"},
                 {"wrokers = 1", "\"workers\"?"},
                 {"drain_timeout = 1", "\"drain-timeout\"?"},
                 {"User = a", "\"user\"?"},
                 {"tpc { }", "\"tcp\"?"},
                 {"UDP { }", "\"udp\"?"},
                 {"tcp { prt = 1 }", "\"port\"?"},
                 {"tcp { max-connection = 1 }", "\"max-connections\"?"},
                 {"worke = 1", "\"workers\"?"},
                 {"workersab = 1", "\"workers\"?"},
                 {"workersabc = 1", NULL},
                 {"work = 1", NULL},
                 {"foo = 1", NULL},
                 {"x = 1", NULL},
                 {"udp { reflect-dscp = on }", NULL},
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

static void test_errors_of_syntax(void **state)
{
    static const struct refused cases[] = {
        {"\nworkers", {":2: premature end of file"}},
        {"workers\n= 1\nuser", {":3: premature end of file"}},
        {"workers 1", {":1: missing equal sign after option 'workers'"}},
        {"\nworkers { }", {":2: missing equal sign after option 'workers'"}},
        {"tcp = 7", {":1: missing opening brace for section 'tcp'"}},
        {"\nworkers =", {":2: premature end of file"}},
        {"workers = =", {":1: unexpected token '='"}},
        {"\n\ntcp { }\n}", {":4: unexpected closing brace"}},
        {"= 1", {":1: unexpected token '='"}},
        {"tcp { listen = { ::1 ::1 } }", {":1: unexpected token '::1'"}},
        {"tcp { listen = { , } }", {":1: unexpected token ','"}},
        {"tcp { listen = { ::1,, } }", {":1: unexpected token ','"}},
        {"\ntcp {\nport = 7\n", {":2: \"{\" is not closed: its \"}\" is missing"}},
        {"\ntcp { listen =\n{ ::1\n", {":2: \"{\" is not closed"}},
        {"log { udp { port = 0 } }", {":1: log.udp: unknown section or key"}},
        {"user = \"x\nuser", {":1: a string is not closed: its second quote is missing"}},
        {"user = 'x", {":1: a string is not closed"}},
        {"workers\n\"", {":2: a string is not closed"}},
        {"workers = 1\n/* never\nclosed", {":2: a comment is not closed: its \"*/\" is missing"}},
        {"workers = *1", {":1: unexpected \"*\""}},
        {"workers = +1", {":1: unexpected \"+\""}},
        /* What precedes the error is checked. */
        {"workers = x\ntcp { port = 0 what = 1\nbacklog = 0\nidle-timeout \nport = 0 }",
         {":1: workers: value \"x\"", ":2: tcp.port: value \"0\"", ":2: tcp.what: value \"1\"",
          ":3: tcp.backlog: value \"0\"", ":5: missing equal sign after option 'idle-timeout'"}},
        {"workers = x\ntcp { port = 0",
         {":1: workers: value \"x\"", ":2: \"{\" is not closed", ":2: tcp.port: value \"0\""}},
        {"nothing { \"", {":1: a string is not closed", ":1: nothing: unknown section"}},
    };

    (void)state;
    check_refused(cases, COUNT(cases));
    /* Nothing of an unfinished text stays in libConfuse's scanner. */
    conf_free(accepted("workers = 1"));
}

static void test_errors_beyond_a_hundred_are_counted(void **state)
{
    char text[8192] = "udp { listen = { 127.0.0.1, 127.0.0.1 } }\n";

    (void)state;
    for (unsigned i = 2; i <= 120; i++)
        sprintf(strchr(text, '\0'), "x%u = %u\n", i, i);
    assert_null(load(text));
    assert_int_equal(said.count, 101);
    check_said(0, ":2: x2: value \"2\": unknown key;");
    check_said(99, ":101: x101: value \"101\": unknown key;");
    check_said(100, ": and 20 more errors");
    strcpy(strstr(text, "x101"), "");
    assert_null(load(text));
    assert_int_equal(said.count, 100);
    check_said(0, ":1: udp.listen: value \"127.0.0.1:7\": must not repeat");
    check_said(99, ":100: x100: value");
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

static void test_only_a_regular_file_is_read(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    bool root = geteuid() == 0;

    (void)state;
    refused_file("/no/such/file", "cannot be opened: No such file or directory");
    refused_file("", "cannot be opened: No such file or directory");
    refused_file("/etc/passwd/x", "cannot be opened: Not a directory");
    refused_file(dir, "is a directory");
    refused_file("/dev/zero", "is not a regular file");
    assert_int_equal(mkfifo(path, 0600), 0);
    refused_file(path, "is not a regular file");
    unlink(path);
    strcpy(addr.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    refused_file(path, "cannot be opened: No such device or address");
    close(fd);
    unlink(path);
    write_octets("workers = 1\n", 12);
    assert_int_equal(chmod(path, 0), 0);
    if (root)
        assert_int_equal(seteuid(65534), 0);
    refused_file(path, "cannot be opened: Permission denied: let the user ");
    if (root)
        assert_int_equal(seteuid(0), 0);
}

static void test_nul_octets_are_refused(void **state)
{
    static const char text[] = "workers = 1\nuser = \"root\0junk\"\n";

    (void)state;
    write_octets(text, sizeof text - 1);
    assert_null(load_file(path, NULL));
    assert_int_equal(said.count, 1);
    check_said(0, ":2: contains a NUL octet");
}

static void test_reading_goes_on_after_a_signal_and_reports_a_failure(void **state)
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
    SCRIPT(read_script, 4, -EIO);
    refused_file(path, "cannot be read: Input/output error");
    SCRIPT(fstatat_script, -EIO);
    refused_file(path, "cannot be read: Input/output error");
}

static void test_without_memory_an_error_says_so(void **state)
{
    static const char text[] = "user = root tcp { listen = 127.0.0.1 }\naccess { deny = ::1 }";
    unsigned errors = 0;

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        script_fail_after(&calloc_script, i, ENOMEM);
        assert_null(load(text));
        assert_string_equal(said.text[0], "out of memory to read the configuration");
    }
    script_clear(&calloc_script);
    write_octets(text, strlen(text));
    SCRIPT(realloc_script, -ENOMEM);
    refused_file(path, "cannot be read: Cannot allocate memory");
    SCRIPT(malloc_script, -ENOMEM);
    refused_file(path, "out of memory");
    SCRIPT(cfg_init_script, -ENOMEM);
    refused_file(path, "out of memory");
    SCRIPT(cfg_parse_buf_script, -ENOMEM);
    refused_file(path, "libConfuse cannot parse it");
    /* After the defaults of metrics { }. */
    script_fail_after(&strdup_script, 2, ENOMEM);
    assert_null(load("user = nobody\n"));
    check_said(0, ":1: user: value \"nobody\": out of memory");
    write_octets(text, strlen(text));
    /* Four default addresses, two default prefixes, the address and the prefix of the file. */
    for (unsigned i = 0; i < 20; i++) {
        struct conf *conf;

        script_fail_after(&reallocarray_script, i, ENOMEM);
        conf = load_file(path, NULL);
        errors += !conf;
        conf_free(conf);
        if (said.count > 0)
            assert_non_null(strstr(said.text[0], ": out of memory"));
    }
    assert_int_equal(errors, 8);
    script_clear(&reallocarray_script);
    conf_free(accepted(text));
    conf_free(NULL);
}

/* ---- the command line ---- */

static void test_a_port_of_the_command_line_is_that_of_every_address(void **state)
{
    const struct conf_overrides overrides = {.port = 7007, .log_level = -1};
    struct conf *conf = load_over("tcp { port = 9 listen = { \"127.0.0.1:1\", \"127.0.0.2:10\", "
                                  "\"127.0.0.1:2\", ::1 } }\nlog { level = error }",
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
    assert_null(load_over("\nudp {\nlisten = { \"127.0.0.1:1\", \"0.0.0.0:2\" } }", &overrides));
    assert_int_equal(said.count, 1);
    check_said(0, ":3: udp.listen: value \"0.0.0.0:7007\": must not repeat or overlap");
}

static void test_a_level_of_the_command_line_is_that_of_the_log(void **state)
{
    const struct conf_overrides debug = {.port = 0, .log_level = LEVEL_DEBUG};
    const struct conf_overrides both = {.port = 7007, .log_level = LEVEL_ERROR};
    struct conf *conf = load_over("log { level = warning }", &debug);

    (void)state;
    assert_non_null(conf);
    assert_int_equal(conf->log_level, LEVEL_DEBUG);
    assert_int_equal(conf->tcp.port, 7);
    conf_free(conf);
    /* The file must be right all the same. */
    assert_null(load_over("tcp { port = 0 }\nlog { level = x }", &both));
    check_all_said((const char *const[]){":1: tcp.port: ", ":2: log.level: ", NULL});
}

static void test_an_account_may_be_a_number(void **state)
{
    struct conf *conf = accepted("user = 54321 group = \"54322\"");

    (void)state;
    assert_string_equal(conf->user, "54321");
    assert_string_equal(conf->group, "54322");
    conf_free(conf);
    REFUSED("user = 4294967295\ngroup = -1", ":1: user: value \"4294967295\": no such user",
            ":2: group: value \"-1\": no such group");
}

static void test_accounts_are_not_looked_up_in_a_sandbox(void **state)
{
    const struct conf_overrides overrides = {.log_level = -1, .any_account = true};
    struct conf *conf = load_over("user = no-such-user group = no-such-group", &overrides);

    (void)state;
    assert_non_null(conf);
    assert_string_equal(conf->user, "no-such-user");
    assert_string_equal(conf->group, "no-such-group");
    conf_free(conf);
}

/* ---- what lists the keys elsewhere ---- */

/* A file of the source tree. */
static char *source(const char *name)
{
    static char text[65536];
    const char *top = getenv("SRCDIR");
    char file_name[4096];
    FILE *file;

    snprintf(file_name, sizeof file_name, "%s/%s", top ? top : ".", name);
    file = fopen(file_name, "r");
    if (!file)
        skip_because("the source is not here: set SRCDIR");
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

/* True if `words` stand in the text between `begin` and the next `end`. */
static bool stands_between(const char *text, const char *begin, const char *words, const char *end)
{
    const char *from = strstr(text, begin), *to, *at;

    if (!from)
        return false;
    to = strstr(from + 1, end);
    at = strstr(from, words);
    return at && (!to || at < to);
}

/* A key's section, or "" for none, and its name within that. Returns the name. */
static const char *split(const struct conf_key *key, char section[static 32])
{
    const char *dot = strchr(key->name, '.');

    snprintf(section, 32, "%.*s", dot ? (int)(dot - key->name) : 0, key->name);
    return dot ? dot + 1 : key->name;
}

static void test_the_sample_shows_every_key_with_its_default(void **state)
{
    char *text = source("etc/echod.conf"), section[32], begin[64], words[64];

    (void)state;
    assert_non_null(strstr(text, "echod.conf(5)"));
    for (size_t i = 0; i < conf_key_count; i++) {
        snprintf(words, sizeof words, "#%s = ", split(&conf_keys[i], section));
        snprintf(begin, sizeof begin, section[0] ? "\n%s {\n" : "#%s", section);
        if (!stands_between(text, begin, words, "\n}"))
            fail_msg("the sample does not show %s", conf_keys[i].name);
    }
    same(text, "");
    /* "#key = value" shows a default, "# text" explains. The default user and group have no value.
     */
    for (char *hash = strchr(text, '#'); hash; hash = strchr(hash + 1, '#'))
        if (hash[1] >= 'a' && hash[1] <= 'z' && strncmp(hash, "#user = ", 8) != 0 &&
            strncmp(hash, "#group = ", 9) != 0)
            *hash = ' ';
    same(text, "");
}

static void test_the_manual_describes_every_key(void **state)
{
    const char *text = source("man/echod.conf.5");
    char section[32], begin[64], words[64];

    (void)state;
    for (size_t i = 0; i < conf_key_count; i++) {
        snprintf(words, sizeof words, "\n.It Cm %s No =", split(&conf_keys[i], section));
        snprintf(begin, sizeof begin, "\n.Ss %s\n", section[0] ? section : "Process");
        if (!stands_between(text, begin, words, "\n.Ss "))
            fail_msg("echod.conf(5) does not describe %s", conf_keys[i].name);
    }
}

static void test_the_fuzzer_knows_every_key(void **state)
{
    const char *text = source("tests/fuzz/conf.dict");

    (void)state;
    for (size_t i = 0; i < conf_key_count; i++) {
        char section[32], words[64];

        snprintf(words, sizeof words, "\n\"%s\"\n", split(&conf_keys[i], section));
        if (!strstr(text, words))
            fail_msg("tests/fuzz/conf.dict has no %s", conf_keys[i].name);
    }
}

#define TEST(function) cmocka_unit_test_setup(function, fresh)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_without_a_file_every_key_has_its_default),
        TEST(test_addresses_without_a_port_have_that_of_their_section),
        TEST(test_ways_to_write_the_same),
        TEST(test_names_of_log_targets_and_levels),
        TEST(test_values_that_are_refused),
        TEST(test_numbers_are_decimal_digits_and_nothing_else),
        TEST(test_every_number_has_a_range),
        TEST(test_a_key_with_one_value_takes_no_list),
        TEST(test_port_ranges_are_well_formed),
        TEST(test_a_value_has_at_most_255_octets),
        TEST(test_a_list_has_at_most_256_values_and_one_of_prefixes_250000),
        TEST(test_a_file_of_16_mib_is_read_quickly_whatever_is_in_it),
        TEST(test_a_file_has_at_most_16_mib),
        TEST(test_statements_that_are_refused),
        TEST(test_a_name_is_guessed_only_if_it_is_near),
        TEST(test_errors_of_syntax),
        TEST(test_errors_beyond_a_hundred_are_counted),
        TEST(test_only_a_regular_file_is_read),
        TEST(test_nul_octets_are_refused),
        TEST(test_reading_goes_on_after_a_signal_and_reports_a_failure),
        TEST(test_without_memory_an_error_says_so),
        TEST(test_a_port_of_the_command_line_is_that_of_every_address),
        TEST(test_a_level_of_the_command_line_is_that_of_the_log),
        TEST(test_an_account_may_be_a_number),
        TEST(test_accounts_are_not_looked_up_in_a_sandbox),
        TEST(test_the_sample_shows_every_key_with_its_default),
        TEST(test_the_manual_describes_every_key),
        TEST(test_the_fuzzer_knows_every_key),
    };

    return cmocka_run_group_tests_name("conf", tests, set_up, tear_down);
}
