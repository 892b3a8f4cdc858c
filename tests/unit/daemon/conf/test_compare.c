/* SPDX-License-Identifier: ISC */
#include "unit/unit.h"

#include "daemon/conf/compare.h"

#include <stdio.h>

WRAP_FAILING(FILE *, open_memstream, NULL, (char **text, size_t *size), (text, size))

WRAP(int, fclose, FILE *file)
{
    int result = __real_fclose(file);

    return script_fails(&fclose_script) ? EOF : result;
}

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
    return count;
}

static void no_error(void *context, const char *message)
{
    (void)context;
    fail_msg("%s", message);
}

static struct conf *defaults(void)
{
    return conf_load(NULL, NULL, no_error, NULL);
}

static struct conf *load(const char *text)
{
    char path[] = "/tmp/test_compare.XXXXXX";
    int fd = mkstemp(path);
    struct conf *conf;

    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    conf = conf_load(path, NULL, no_error, NULL);
    unlink(path);
    return conf;
}

static void test_the_same_values_written_differently_are_no_change(void **state)
{
    struct conf *before = defaults();
    struct conf *after = load("tcp { listen = { 0.0.0.0, \"[::]:7\" } } workers = 0\n"
                              "udp { refuse-source-ports = { 512-1023, 0-511 } }");

    (void)state;
    assert_int_equal(compare(before, before), 0);
    assert_int_equal(compare(before, after), 0);
    conf_free(before);
    conf_free(after);
}

static void test_every_key_is_compared(void **state)
{
    static const char *const expected[] = {
        "user: the default -> root (restart)",
        "group: the user's own -> root (restart)",
        "workers: 0 -> 2 (restart)",
        "busy-poll: 0 -> 7",
        "sandbox: true -> false (restart)",
        "freebind: false -> true",
        "drain-timeout: 30 -> 5",
        "log.target: auto -> stderr",
        "log.level: info -> error",
        "tcp.enabled: true -> false",
        "tcp.port: 7 -> 8",
        "tcp.listen: { 0.0.0.0:7, [::]:7 } -> { 127.0.0.1:8 }",
        "tcp.mptcp: false -> true (restart)",
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
        "metrics.listen: \"\" -> \"/run/m\" (restart)",
        "metrics.group: the user's own -> root (restart)",
    };
    struct conf *before = defaults();
    struct conf *after =
        load("user = root group = root workers = 2 busy-poll = 7 sandbox = off drain-timeout = 5\n"
             "freebind = on\n"
             "log { target = stderr level = error }\n"
             "tcp { enabled = no port = 8 listen = 127.0.0.1 mptcp = yes backlog = 1\n"
             "max-connections = 10 max-connections-per-source = 3 idle-timeout = 60 }\n"
             "udp { port = 9 listen = ::1 reflect-tos = no\n"
             "answer-broadcast = yes refuse-source-ports = { 7-8, 65535, 0 } }\n"
             "access { allow = { \"192.0.2.0/24\", ::1 } deny = 192.0.2.1 }\n"
             "limits { udp-rate = 1 udp-burst = 2 ipv4-prefix = 24\n"
             "ipv6-prefix = 48 table-size = 2000 exempt = {} }\n"
             "metrics { listen = '/run/m' group = root }");

    (void)state;
    assert_int_equal(compare(before, after), COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++)
        assert_string_equal(changes.text[i], expected[i]);
    /* All but two: one protocol must be enabled, and no sandbox cannot be required. */
    assert_int_equal(COUNT(expected) + 2, conf_key_count);
    conf_free(after);
    after = load("udp { enabled = no }");
    assert_int_equal(compare(before, after), 1);
    assert_string_equal(changes.text[0], "udp.enabled: true -> false");
    conf_free(after);
    after = load("sandbox-required = yes");
    assert_int_equal(compare(before, after), 1);
    assert_string_equal(changes.text[0], "sandbox-required: false -> true (restart)");
    conf_free(after);
    conf_free(before);
}

static void test_a_long_value_is_cut_short(void **state)
{
    struct conf *before = defaults(), *after;
    char text[2000] = "access { deny = { ";

    (void)state;
    for (unsigned i = 0; i < 60; i++)
        sprintf(strchr(text, '\0'), "10.0.%u.0/24, ", i);
    strcat(text, "} }");
    after = load(text);
    assert_int_equal(compare(before, after), 1);
    assert_int_equal(strlen(changes.text[0]), strlen("access.deny: { } -> ") + 200);
    assert_string_equal(strchr(changes.text[0], '\0') - 3, "...");
    conf_free(before);
    conf_free(after);
}

static void test_without_memory_a_key_counts_as_changed(void **state)
{
    struct conf *conf = defaults();

    (void)state;
    SCRIPT(open_memstream_script, PASS, -ENOMEM, -ENOMEM);
    assert_int_equal(compare(conf, conf), 2);
    assert_string_equal(changes.text[0], "user: the default -> ? (restart)");
    assert_string_equal(changes.text[1], "group: ? -> the user's own (restart)");
    SCRIPT(fclose_script, -ENOSPC);
    assert_int_equal(compare(conf, conf), 1);
    assert_string_equal(changes.text[0], "user: ? -> the default (restart)");
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_same_values_written_differently_are_no_change),
        cmocka_unit_test(test_every_key_is_compared),
        cmocka_unit_test(test_a_long_value_is_cut_short),
        cmocka_unit_test(test_without_memory_a_key_counts_as_changed),
    };

    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
