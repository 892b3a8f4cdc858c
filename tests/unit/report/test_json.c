/* SPDX-License-Identifier: ISC */
#include <jansson.h>

#include "report/json.h"

#include "probe/link_connect.h"
#include "probe/link_udp.h"
#include "unit/unit.h"

#define MS UINT64_C(1000000)

/* U+FFFD */
#define UNKNOWN "\xef\xbf\xbd"

struct fixture {
    struct probe probe;
    struct probe_link link;
    struct addr peer;
    struct report report;
    json_t *parsed[64]; /* given back at the end */
    unsigned count;
    char *out;
    char *err;
    size_t out_size;
    size_t err_size;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    f->peer = address("127.0.0.1", 7);
    f->link.port = 50000;
    f->probe.settings = probe_defaults;
    f->probe.settings.size = 56;
    rtt_init(&f->probe.rtt);
    f->report = (struct report){.kind = &report_json_lines,
                                .out = open_memstream(&f->out, &f->out_size),
                                .err = open_memstream(&f->err, &f->err_size),
                                .probe = &f->probe,
                                .ops = &probe_udp_ops,
                                .host = "localhost",
                                .peer = &f->peer,
                                .name = "",
                                .cpu = -1};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    report_finish(&f->report);
    for (unsigned i = 0; i < f->count; i++)
        json_decref(f->parsed[i]);
    fclose(f->report.out);
    fclose(f->report.err);
    free(f->out);
    free(f->err);
    rtt_fini(&f->probe.rtt);
    free(f);
    return 0;
}

/* What was written since the last look. */
static const char *text_of(FILE *file, char **text)
{
    fputc('\0', file);
    fflush(file);
    rewind(file);
    return *text;
}

#define OUT(f) text_of((f)->report.out, &(f)->out)
#define ERR(f) text_of((f)->report.err, &(f)->err)

/* The one object that was written since the last look. */
static json_t *parsed(struct fixture *f)
{
    const char *text = OUT(f);
    json_error_t error;
    json_t *value = json_loads(text, JSON_REJECT_DUPLICATES, &error);

    if (!value)
        fail_msg("%s in: %s", error.text, text);
    assert_true(json_is_object(value));
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_true(f->count < COUNT(f->parsed));
    f->parsed[f->count++] = value;
    return value;
}

/* ... which must be a line. */
static json_t *line(struct fixture *f)
{
    json_t *value = parsed(f);

    assert_ptr_equal(strchr(f->out, '\n'), f->out + strlen(f->out) - 1);
    return value;
}

static json_t *document(struct fixture *f)
{
    f->report.kind = &report_json;
    report_summary(&f->report, 1001 * MS);
    return parsed(f);
}

static json_int_t whole(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_integer(value))
        fail_msg("no integer '%s'", key);
    return json_integer_value(value);
}

static const char *text(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    if (!json_is_string(value))
        fail_msg("no string '%s'", key);
    return json_string_value(value);
}

#define EVENT_FROM(f, source, ...)                                                                 \
    assert_true(report_event(                                                                      \
        &(f)->report, &(struct probe_event){.from = (source), .link = &(f)->link, __VA_ARGS__}))
#define EVENT(f, ...) EVENT_FROM(f, &(f)->peer, __VA_ARGS__)

/* ---- lines ---- */

static void a_reply_is_a_line_of_integers(void **state)
{
    struct fixture *f = *state;

    EVENT(f, .kind = PROBE_RECEIVED, .seq = 1, .size = 56, .time = 45123);
    line(f);
    assert_string_equal(f->out, "{\"event\":\"reply\",\"seq\":1,\"time_ns\":45123,\"size\":56,"
                                "\"from\":\"127.0.0.1\",\"port\":7,\"source_port\":50000}\n");
    EVENT(f, .kind = PROBE_RECEIVED, .seq = 2, .size = 56, .connect = 81, .reordered = true);
    assert_int_equal(whole(line(f), "time_ns"), 0);
    assert_string_equal(f->out, "{\"event\":\"reply\",\"seq\":2,\"connect_ns\":81,\"time_ns\":0,"
                                "\"size\":56,\"from\":\"127.0.0.1\",\"port\":7,"
                                "\"source_port\":50000,\"out_of_order\":true}\n");
}

static void every_event_has_its_name(void **state)
{
    static const struct {
        enum probe_event_kind kind;
        const char *name;
    } cases[] = {
        {PROBE_CONNECTED, "connected"},
        {PROBE_RECEIVED, "reply"},
        {PROBE_DUPLICATE, "duplicate"},
        {PROBE_LATE, "late"},
        {PROBE_CORRUPT, "corrupt"},
        {PROBE_TRUNCATED, "truncated"},
        {PROBE_WRONG_SOURCE, "wrong_source"},
        {PROBE_FOREIGN, "foreign"},
        {PROBE_OVERDUE, "overdue"},
        {PROBE_ERROR, "error"},
        {PROBE_CLOSED, "closed"},
        {PROBE_FAILURE, "failure"},
        {PROBE_STATUS, "status"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        EVENT(f, .kind = cases[i].kind);
        assert_string_equal(text(line(f), "event"), cases[i].name);
    }
    EVENT(f, .kind = PROBE_TICK);
    assert_string_equal(OUT(f), "");
}

static void what_is_not_known_is_left_out(void **state)
{
    struct fixture *f = *state;

    f->link.port = 0;
    EVENT(f, .kind = PROBE_CORRUPT, .size = 9, .wrong = 0);
    line(f);
    assert_string_equal(f->out, "{\"event\":\"corrupt\",\"size\":9,\"from\":\"127.0.0.1\","
                                "\"port\":7,\"offset\":0}\n");
    assert_true(report_event(&f->report,
                             &(struct probe_event){.kind = PROBE_ERROR, .error = ECONNREFUSED}));
    line(f);
    assert_string_equal(
        f->out,
        "{\"event\":\"error\",\"errno\":\"ECONNREFUSED\",\"message\":\"Connection refused\"}\n");
    EVENT_FROM(f, NULL, .kind = PROBE_ERROR, .seq = 3, .error = 9999);
    assert_null(json_object_get(line(f), "errno"));
}

static void running_figures_are_a_line_too(void **state)
{
    struct fixture *f = *state;

    f->report.quiet = true;
    f->probe.counters = (struct probe_counters){.sent = 3, .received = 2};
    EVENT(f, .kind = PROBE_STATUS);
    assert_int_equal(whole(json_object_get(line(f), "counters"), "received"), 2);
}

static struct {
    unsigned calls;
    char last;
} written;

static ssize_t count_write(void *cookie, const char *buffer, size_t size)
{
    (void)cookie;
    written.calls++;
    written.last = buffer[size - 1];
    return (ssize_t)size;
}

static void a_line_is_written_at_once_and_whole(void **state)
{
    struct fixture *f = *state;
    FILE *memory = f->report.out;

    f->report.out = fopencookie(NULL, "w", (cookie_io_functions_t){.write = count_write});
    assert_non_null(f->report.out);
    setvbuf(f->report.out, NULL, _IOLBF, 0);
    written.calls = 0;
    for (unsigned i = 1; i <= 10; i++) {
        EVENT(f, .kind = PROBE_RECEIVED, .seq = i, .size = 56, .time = MS);
        assert_int_equal(written.calls, i);
        assert_int_equal(written.last, '\n');
    }
    /* Also the document, although it has many lines. */
    f->report.kind = &report_json;
    report_summary(&f->report, 0);
    assert_in_range(written.calls, 11, 13);
    fclose(f->report.out);
    f->report.out = memory;
}

/* ---- the document ---- */

static void times_are_rounded_to_nanoseconds(void **state)
{
    struct fixture *f = *state;
    const json_t *times;
    json_t *found;

    rtt_add(&f->probe.rtt, 20000);
    rtt_add(&f->probe.rtt, 20001);
    rtt_add(&f->probe.rtt, 20001);
    rtt_add_pair(&f->probe.rtt, 20000, 20001);
    rtt_add_pair(&f->probe.rtt, 20001, 20001);
    found = document(f);
    times = json_object_get(found, "rtt_ns");
    assert_int_equal(json_object_size(times), 10);
    assert_int_equal(whole(times, "min"), 20000);
    assert_int_equal(whole(times, "mean"), 20001);
    assert_int_equal(whole(times, "max"), 20001);
    assert_int_equal(whole(times, "mdev"), 0);
    assert_int_equal(whole(times, "ipdv"), 1);
    assert_in_range(whole(times, "p50"), 20000, 20001);
    assert_in_range(whole(times, "p99_9"), 20000, 20001);
    assert_true(json_is_null(json_object_get(found, "connect_ns")));
    assert_int_equal(whole(found, "elapsed_ns"), 1001 * MS);
}

static void only_buckets_with_something_in_them_are_listed(void **state)
{
    struct fixture *f = *state;
    const json_t *buckets;

    rtt_add(&f->probe.rtt, 100);
    rtt_add(&f->probe.rtt, 45123);
    rtt_add(&f->probe.rtt, 45123);
    buckets = json_object_get(json_object_get(document(f), "histogram"), "buckets");
    assert_int_equal(json_array_size(buckets), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *bucket = json_array_get(buckets, i);
        json_int_t value = i == 0 ? 100 : 45123;

        assert_int_equal(json_array_size(bucket), 3);
        assert_true(json_integer_value(json_array_get(bucket, 0)) <= value);
        assert_true(json_integer_value(json_array_get(bucket, 1)) > value);
        assert_int_equal(json_integer_value(json_array_get(bucket, 2)), i + 1);
    }
}

static void settings_are_repeated(void **state)
{
    struct fixture *f = *state;
    const json_t *found;

    f->probe.settings.kernel_stamps = true;
    f->probe.settings.interval = 5 * MS;
    found = json_object_get(document(f), "configuration");
    assert_string_equal(text(found, "address"), "127.0.0.1");
    assert_int_equal(whole(found, "port"), 7);
    assert_int_equal(whole(found, "interval_ns"), 5 * MS);
    assert_string_equal(text(found, "timestamps"), "kernel");
    assert_true(json_is_false(json_object_get(found, "connect")));
    f->report.ops = &probe_connect_ops;
    found = json_object_get(document(f), "configuration");
    assert_string_equal(text(found, "timestamps"), "user");
    assert_string_equal(text(found, "protocol"), "tcp");
    assert_true(json_is_true(json_object_get(found, "connect")));
}

static void each_source_port_and_cpu_time_where_asked_for(void **state)
{
    struct fixture *f = *state;
    struct probe_link other = {.port = 50001, .sent = 4, .received = 3};
    struct probe_link *links[] = {&f->link, &other};
    const json_t *sources;
    json_t *found;

    rtt_init(&other.rtt);
    rtt_add(&other.rtt, MS);
    f->probe.links = links;
    f->probe.opened = 2;
    f->report.sources = true;
    f->report.cpu = 1.25;
    found = document(f);
    sources = json_object_get(found, "sources");
    assert_int_equal(json_array_size(sources), 2);
    assert_true(json_is_null(json_object_get(json_array_get(sources, 0), "rtt_ns")));
    sources = json_array_get(sources, 1);
    assert_int_equal(whole(sources, "port"), 50001);
    assert_int_equal(whole(sources, "sent"), 4);
    assert_int_equal(whole(sources, "received"), 3);
    assert_float_equal(json_real_value(json_object_get(sources, "loss_percent")), 25, 1e-9);
    assert_int_equal(whole(json_object_get(sources, "rtt_ns"), "max"), MS);
    assert_true(json_is_null(json_object_get(json_object_get(sources, "rtt_ns"), "ipdv")));
    assert_float_equal(json_real_value(json_object_get(found, "cpu_us_per_echo")), 1.25, 1e-9);
    rtt_fini(&other.rtt);
}

static void troubles_are_told_at_once_and_at_the_end(void **state)
{
    struct fixture *f = *state;
    const json_t *troubles;

    f->report.kind = &report_json;
    assert_true(report_start(&f->report));
    EVENT(f, .kind = PROBE_RECEIVED, .seq = 1, .size = 56, .time = MS);
    EVENT(f, .kind = PROBE_FAILURE, .error = ENETUNREACH);
    assert_non_null(strstr(ERR(f), "Network is unreachable"));
    EVENT(f, .kind = PROBE_CLOSED);
    assert_non_null(strstr(ERR(f), "end of file"));
    assert_string_equal(OUT(f), "");
    troubles = json_object_get(document(f), "troubles");
    assert_int_equal(json_array_size(troubles), 2);
    assert_string_equal(text(json_array_get(troubles, 0), "event"), "failure");
    assert_string_equal(text(json_array_get(troubles, 0), "errno"), "ENETUNREACH");
    assert_string_equal(text(json_array_get(troubles, 1), "event"), "closed");
    assert_null(json_object_get(json_array_get(troubles, 1), "errno"));
}

static void what_is_not_utf8_does_not_break_it(void **state)
{
    static const struct {
        const char *host;
        const char *shown;
    } cases[] = {
        {"b\xc3\xbc"
         "cher",
         "b\xc3\xbc"
         "cher"},
        {"a\xff\xfe"
         "b",
         "a" UNKNOWN UNKNOWN "b"},
        {"\xc3", UNKNOWN},                         /* ends too early */
        {"\xe2\x82", UNKNOWN UNKNOWN},             /* the same */
        {"\xc0\xaf", UNKNOWN UNKNOWN},             /* longer than need be */
        {"\xed\xa0\x80", UNKNOWN UNKNOWN UNKNOWN}, /* half a pair of UTF-16 */
        {"\xff\xf0\x9f\x98\x80", UNKNOWN "\xf0\x9f\x98\x80"},
        {"\xff\"\\\n\x1b", UNKNOWN "\"\\\n\x1b"},
        {"", ""},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        f->report.host = cases[i].host;
        assert_string_equal(text(json_object_get(document(f), "configuration"), "host"),
                            cases[i].shown);
        assert_null(strchr(f->out, '\x1b'));
    }
}

static void a_full_disk_is_noticed(void **state)
{
    struct fixture *f = *state;
    FILE *memory = f->report.out;

    f->report.out = fopen("/dev/full", "w");
    assert_non_null(f->report.out);
    setvbuf(f->report.out, NULL, _IOLBF, 0);
    assert_false(report_event(&f->report, &(struct probe_event){.kind = PROBE_OVERDUE, .seq = 1}));
    assert_int_equal(report_finish(&f->report), -1);
    fclose(f->report.out);
    f->report.out = memory;
    assert_non_null(strstr(ERR(f), "cannot write to standard output: No space left on device"));
    f->report.error = 0;
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reply_is_a_line_of_integers),
        TEST(every_event_has_its_name),
        TEST(what_is_not_known_is_left_out),
        TEST(running_figures_are_a_line_too),
        TEST(a_line_is_written_at_once_and_whole),
        TEST(times_are_rounded_to_nanoseconds),
        TEST(only_buckets_with_something_in_them_are_listed),
        TEST(settings_are_repeated),
        TEST(each_source_port_and_cpu_time_where_asked_for),
        TEST(troubles_are_told_at_once_and_at_the_end),
        TEST(what_is_not_utf8_does_not_break_it),
        TEST(a_full_disk_is_noticed),
    };

    return cmocka_run_group_tests_name("report_json", tests, NULL, NULL);
}
