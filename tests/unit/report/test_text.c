/* SPDX-License-Identifier: ISC */
#include "report/text.h"

#include "probe/link_connect.h"
#include "probe/link_tcp.h"
#include "probe/link_udp.h"
#include "unit/unit.h"

#define MS UINT64_C(1000000)

struct fixture {
    struct probe probe;
    struct addr peer;
    struct report report;
    struct probe_link links[7];
    struct probe_link *list[7];
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
    f->probe.settings = (struct probe_settings){.size = 56};
    rtt_init(&f->probe.rtt);
    rtt_init(&f->probe.connect);
    f->probe.links = f->list;
    for (unsigned i = 0; i < COUNT(f->links); i++) {
        f->list[i] = &f->links[i];
        f->links[i].port = (uint16_t)(5000 + i);
        rtt_init(&f->links[i].rtt);
    }
    f->report = (struct report){.kind = &report_text,
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

    rtt_fini(&f->probe.rtt);
    rtt_fini(&f->probe.connect);
    for (unsigned i = 0; i < COUNT(f->links); i++)
        rtt_fini(&f->links[i].rtt);
    fclose(f->report.out);
    fclose(f->report.err);
    free(f->out);
    free(f->err);
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

#define ASSERT_OUT(f, text) assert_string_equal(text_of((f)->report.out, &(f)->out), text)
#define ASSERT_ERR(f, text) assert_string_equal(text_of((f)->report.err, &(f)->err), text)

#define EVENT_FROM(f, source, ...)                                                                 \
    assert_true(report_event(&(f)->report, &(struct probe_event){.from = (source), __VA_ARGS__}))
#define EVENT(f, ...) EVENT_FROM(f, &(f)->peer, __VA_ARGS__)

static void replies_show_three_digits_of_their_time(void **state)
{
    static const struct {
        uint64_t ns;
        const char *line;
    } cases[] = {
        {45123, "56 bytes from 127.0.0.1: udp_seq=1 time=0.045 ms\n"},
        {999400, "56 bytes from 127.0.0.1: udp_seq=1 time=0.999 ms\n"},
        {999600, "56 bytes from 127.0.0.1: udp_seq=1 time=1.00 ms\n"},
        {9994000, "56 bytes from 127.0.0.1: udp_seq=1 time=9.99 ms\n"},
        {9996000, "56 bytes from 127.0.0.1: udp_seq=1 time=10.0 ms\n"},
        {99940000, "56 bytes from 127.0.0.1: udp_seq=1 time=99.9 ms\n"},
        {99960000, "56 bytes from 127.0.0.1: udp_seq=1 time=100 ms\n"},
        {1234567890, "56 bytes from 127.0.0.1: udp_seq=1 time=1235 ms\n"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        EVENT(f, .kind = PROBE_RECEIVED, .seq = 1, .size = 56, .time = cases[i].ns);
        ASSERT_OUT(f, cases[i].line);
    }
}

static void errors_come_with_advice(void **state)
{
    static const int errors[] = {ECONNREFUSED, ETIMEDOUT, ENETUNREACH, EHOSTUNREACH,  EACCES,
                                 EPERM,        EINVAL,    EMSGSIZE,    EADDRNOTAVAIL, EAFNOSUPPORT,
                                 EAGAIN,       ENOBUFS,   ENODATA,     EADDRINUSE,    ENODEV};
    struct fixture *f = *state;

    EVENT(f, .kind = PROBE_ERROR, .seq = 1, .error = ECONNREFUSED);
    ASSERT_OUT(f, "From 127.0.0.1: udp_seq=1 Connection refused: nothing listens on that port; "
                  "is the echo service running there?\n");
    EVENT_FROM(f, NULL, .kind = PROBE_ERROR, .error = EIO);
    ASSERT_OUT(f, "From this host: udp_seq=? Input/output error\n");
    for (size_t i = 0; i < COUNT(errors); i++) {
        char start[100];
        const char *line;

        EVENT(f, .kind = PROBE_ERROR, .seq = 9, .error = errors[i]);
        snprintf(start, sizeof start, "From 127.0.0.1: udp_seq=9 %s: ", strerror(errors[i]));
        line = text_of(f->report.out, &f->out);
        assert_memory_equal(line, start, strlen(start));
        assert_true(strlen(line) > strlen(start) + 10);
    }
}

static void failures_name_what_was_tried(void **state)
{
    struct fixture *f = *state;

    EVENT(f, .kind = PROBE_FAILURE, .error = ENETUNREACH);
    ASSERT_ERR(f, "echo-probe: cannot send to udp 127.0.0.1:7: Network is unreachable: this host "
                  "has no route there; see 'ip route' and 'ip -6 route'\n");
    f->report.ops = &probe_tcp_ops;
    EVENT(f, .kind = PROBE_FAILURE, .error = EMFILE);
    ASSERT_ERR(f, "echo-probe: cannot connect to tcp 127.0.0.1:7: Too many open files: fewer "
                  "connections at once may do, or a higher limit: see 'ulimit -n'\n");
    EVENT_FROM(f, NULL, .kind = PROBE_FAILURE, .error = ENOMEM);
    ASSERT_ERR(f, "echo-probe: cannot wait for the network: Cannot allocate memory\n");
    f->probe.counters = (struct probe_counters){.sent = 3, .received = 2};
    EVENT(f, .kind = PROBE_CLOSED, .error = ETIMEDOUT);
    ASSERT_ERR(f, "echo-probe: the connection to 127.0.0.1:7 failed: Connection timed out after 2 "
                  "replies to 3 probes; its log may tell why\n");
    ASSERT_OUT(f, "");
}

static void summary_of_a_clean_run(void **state)
{
    struct fixture *f = *state;

    f->probe.counters = (struct probe_counters){.sent = 2, .received = 2};
    rtt_add(&f->probe.rtt, 22000);
    rtt_add(&f->probe.rtt, 54000);
    rtt_add_pair(&f->probe.rtt, 22000, 54000);
    report_summary(&f->report, 1001 * MS + 999999);
    ASSERT_OUT(f,
               "\n--- localhost echo-probe statistics ---\n"
               "2 packets transmitted, 2 received, 0% packet loss, time 1001ms\n"
               "rtt min/avg/max/mdev = 0.022/0.038/0.054/0.016 ms\n"
               "p50/p90/p99/p99.9 = 0.022/0.054/0.054/0.054 ms, jitter 0.002 ms, ipdv 0.032 ms\n");
    rtt_add(&f->probe.connect, 81000);
    report_summary(&f->report, 1001 * MS);
    ASSERT_OUT(f,
               "\n--- localhost echo-probe statistics ---\n"
               "2 packets transmitted, 2 received, 0% packet loss, time 1001ms\n"
               "rtt min/avg/max/mdev = 0.022/0.038/0.054/0.016 ms, connect 0.081 ms\n"
               "p50/p90/p99/p99.9 = 0.022/0.054/0.054/0.054 ms, jitter 0.002 ms, ipdv 0.032 ms\n");
}

static void loss_is_0_or_100_percent_only_if_all_or_none_came_back(void **state)
{
    static const struct {
        uint64_t sent;
        uint64_t received;
        const char *summary;
        const char *status;
    } cases[] = {
        {1200000, 1199999, "0.0000833333", "0.000083"},
        {1200000, 1, "99.99992", "99.99992"},
        {3, 1, "66.6667", "67"},
        {20000000, 1, "99.999995", "99.999995"},
        {4, 3, "25", "25"},
        {7, 0, "100", "100"},
        {7, 7, "0", "0"},
    };
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        char line[200];

        f->probe.counters =
            (struct probe_counters){.sent = cases[i].sent, .received = cases[i].received};
        report_summary(&f->report, 0);
        snprintf(line, sizeof line, " received, %s%% packet loss, ", cases[i].summary);
        assert_non_null(strstr(text_of(f->report.out, &f->out), line));
        EVENT(f, .kind = PROBE_STATUS);
        snprintf(line, sizeof line, " packets, %s%% loss", cases[i].status);
        assert_non_null(strstr(text_of(f->report.err, &f->err), line));
    }
}

static void a_time_that_is_not_zero_is_not_printed_as_zero(void **state)
{
    struct fixture *f = *state;

    rtt_add(&f->probe.rtt, 400);
    EVENT(f, .kind = PROBE_RECEIVED, .seq = 1, .size = 56, .time = 40);
    ASSERT_OUT(f, "56 bytes from 127.0.0.1: udp_seq=1 time=0.00004 ms\n");
    EVENT(f, .kind = PROBE_STATUS);
    ASSERT_ERR(f, "0/0 packets, 0% loss, min/avg/max/mdev = 0.0004/0.0004/0.0004/0.000 ms\n");
}

static void summary_names_every_trouble(void **state)
{
    struct fixture *f = *state;

    f->probe.counters = (struct probe_counters){.sent = 30,
                                                .received = 20,
                                                .reordered = 1,
                                                .duplicate = 2,
                                                .late = 3,
                                                .corrupt = 4,
                                                .truncated = 5,
                                                .wrong_source = 6,
                                                .foreign = 7,
                                                .refused = 8,
                                                .errors = 9,
                                                .delayed = 10};
    f->probe.settings.count = 41;
    f->probe.closed = true;
    report_summary(&f->report, 0);
    ASSERT_OUT(f, "\n--- localhost echo-probe statistics ---\n"
                  "30 packets transmitted, 20 received, +1 out of order, +2 duplicates, +3 late, "
                  "+4 corrupt, +5 truncated, +6 from a wrong source, +7 foreign, +8 refused, "
                  "+9 errors, +10 delayed, +11 not sent, 33.3333% packet loss, time 0ms\n");
}

static void summary_of_nothing_does_not_divide_by_zero(void **state)
{
    struct fixture *f = *state;

    report_summary(&f->report, 0);
    ASSERT_OUT(f, "\n--- localhost echo-probe statistics ---\n"
                  "0 packets transmitted, 0 received, 0% packet loss, time 0ms\n");
}

/* ---- what options add ---- */

static void progress_is_a_line_that_gives_way(void **state)
{
    struct fixture *f = *state;
    const char *line;

    EVENT_FROM(f, NULL, .kind = PROBE_TICK);
    ASSERT_ERR(f, "");
    f->report.progress = true;
    f->report.quiet = true;
    EVENT_FROM(f, NULL, .kind = PROBE_TICK);
    line = text_of(f->report.err, &f->err);
    assert_int_equal(line[0], '\r');
    assert_null(strchr(line, '\n'));
    assert_in_range(strlen(line), 1 + 3, 1 + 79 + 3);
    assert_string_equal(line + strlen(line) - 3, "\033[K");
    EVENT_FROM(f, NULL, .kind = PROBE_STATUS);
    ASSERT_ERR(f, "\r\033[K0/0 packets, 0% loss\n");
    EVENT_FROM(f, NULL, .kind = PROBE_FAILURE, .text = "it rains");
    ASSERT_ERR(f, "\r\033[Kecho-probe: it rains\n");
    EVENT(f, .kind = PROBE_CLOSED, .error = EPIPE);
    assert_memory_equal(text_of(f->report.err, &f->err), "\r\033[Kecho-probe: 127", 19);
    report_summary(&f->report, 0);
    ASSERT_ERR(f, "\r\033[K");
    assert_int_equal(report_finish(&f->report), 0);
    ASSERT_ERR(f, "\r\033[K");
}

/* Without the three lines that every summary has here. */
static const char *summary_beyond_counters(struct fixture *f, uint64_t elapsed)
{
    const char *text;

    report_summary(&f->report, elapsed);
    text = text_of(f->report.out, &f->out);
    for (unsigned line = 0; line < 3; line++)
        text = strchr(text, '\n') + 1;
    return text;
}

static void the_cpu_time_of_a_process_is_told(void **state)
{
    struct fixture *f = *state;

    f->report.pid = 4711;
    f->report.cpu = 2.345;
    assert_string_equal(summary_beyond_counters(f, 0),
                        "2.35 us of CPU time an echo in process 4711\n");
}

static void set_link(struct fixture *f, unsigned i, uint64_t sent, uint64_t received, uint64_t time)
{
    f->links[i].sent = sent;
    f->links[i].received = received;
    for (uint64_t n = 0; n < received; n++)
        rtt_add(&f->links[i].rtt, time);
    f->probe.opened = i + 1;
}

/* By loss, and where that is the same by time; the others are left out. */
static void the_worst_source_ports_are_named(void **state)
{
    struct fixture *f = *state;
    const char *text;

    f->report.sources = true;
    set_link(f, 0, 4, 4, 1 * MS);
    set_link(f, 1, 4, 3, 1 * MS);
    set_link(f, 2, 4, 4, 3 * MS);
    set_link(f, 3, 4, 2, 1 * MS);
    set_link(f, 4, 4, 4, 2 * MS);
    set_link(f, 5, 4, 3, 5 * MS);
    set_link(f, 6, 4, 4, 4 * MS);
    text = strstr(summary_beyond_counters(f, 0), "worst");
    assert_non_null(text);
    assert_string_equal(text, "worst source ports: 5003 (50% loss, p99 1.000 ms), "
                              "5005 (25% loss, p99 5.000 ms), 5001 (25% loss, p99 1.000 ms), "
                              "5006 (0% loss, p99 4.000 ms), 5002 (0% loss, p99 3.000 ms)\n");
}

/* ---- writing ---- */

static void a_full_disk_is_noticed_at_once(void **state)
{
    struct fixture *f = *state;
    FILE *memory = f->report.out;

    f->report.out = fopen("/dev/full", "w");
    assert_non_null(f->report.out);
    setvbuf(f->report.out, NULL, _IOLBF, 0);
    assert_false(report_start(&f->report));
    errno = 0;
    assert_false(report_event(&f->report, &(struct probe_event){.kind = PROBE_STATUS}));
    assert_int_equal(report_finish(&f->report), -1);
    fclose(f->report.out);
    f->report.out = memory;
    ASSERT_ERR(f, "0/0 packets, 0% loss\n"
                  "echo-probe: cannot write to standard output: No space left on device\n");
}

static void what_is_still_buffered_is_written_at_the_end(void **state)
{
    struct fixture *f = *state;
    FILE *memory = f->report.out;

    assert_int_equal(report_finish(&f->report), 0);
    f->report.out = fopen("/dev/full", "w");
    assert_non_null(f->report.out);
    assert_true(report_start(&f->report));
    assert_int_equal(report_finish(&f->report), -1);
    fclose(f->report.out);
    f->report.out = memory;
    ASSERT_ERR(f, "echo-probe: cannot write to standard output: No space left on device\n");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(replies_show_three_digits_of_their_time),
        TEST(errors_come_with_advice),
        TEST(failures_name_what_was_tried),
        TEST(summary_of_a_clean_run),
        TEST(loss_is_0_or_100_percent_only_if_all_or_none_came_back),
        TEST(a_time_that_is_not_zero_is_not_printed_as_zero),
        TEST(summary_names_every_trouble),
        TEST(summary_of_nothing_does_not_divide_by_zero),
        TEST(progress_is_a_line_that_gives_way),
        TEST(the_cpu_time_of_a_process_is_told),
        TEST(the_worst_source_ports_are_named),
        TEST(a_full_disk_is_noticed_at_once),
        TEST(what_is_still_buffered_is_written_at_the_end),
    };

    return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
