/* SPDX-License-Identifier: ISC */
#include "report/chart.h"

#include "unit/unit.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)

struct fixture {
    struct rtt rtt;
    struct probe probe;
    char *text;
    size_t size;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    assert_non_null(f);
    rtt_init(&f->rtt);
    assert_non_null(f->rtt.histogram);
    f->probe.started = f->probe.due = 1000 * SECOND;
    f->probe.settings.interval = SECOND;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    rtt_fini(&f->rtt);
    free(f->text);
    free(f);
    return 0;
}

static void add(struct fixture *f, uint64_t ns, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        rtt_add(&f->rtt, ns);
}

static const char *histogram_text(struct fixture *f, unsigned rows, unsigned columns)
{
    FILE *out;

    free(f->text);
    out = open_memstream(&f->text, &f->size);
    assert_non_null(out);
    chart_histogram(out, &f->rtt, rows, columns);
    fclose(out);
    return f->text;
}

static const char *progress_text(struct fixture *f, uint64_t elapsed, unsigned columns)
{
    FILE *out;

    free(f->text);
    out = open_memstream(&f->text, &f->size);
    assert_non_null(out);
    chart_progress(out, &f->probe, f->probe.started + elapsed, columns);
    fclose(out);
    return f->text;
}

/* ---- times ---- */

static void times_have_three_digits_and_a_unit(void **state)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {
        {0, "0 ns"},
        {7, "7 ns"},
        {999, "999 ns"},
        {1000, "1 us"},
        {45123, "45.1 us"},
        {999499, "999 us"},
        {999500, "1 ms"},
        {1250000, "1.25 ms"},
        {999500000, "1 s"},
        {12 * SECOND, "12 s"},
        {1234 * SECOND, "1234 s"},
        {UINT64_MAX, "18446744074 s"},
    };
    char text[CHART_TIME];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(chart_time(cases[i].ns, text), cases[i].text);
}

static void bounds_are_round_and_enclose_the_value(void **state)
{
    (void)state;
    assert_int_equal(chart_bound(45123, false), 40000);
    assert_int_equal(chart_bound(45123, true), 50000);
    assert_int_equal(chart_bound(50000, false), 50000);
    assert_int_equal(chart_bound(50000, true), 60000);
    assert_int_equal(chart_bound(99, true), 100);
    assert_int_equal(chart_bound(0, false), 0);
    assert_int_equal(chart_bound(0, true), 1);
    assert_true(chart_bound(UINT64_MAX, true) == UINT64_MAX);
    assert_true(chart_bound(UINT64_MAX, false) < UINT64_MAX);
}

/* ---- the distribution ---- */

static void nothing_gives_no_picture(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(histogram_text(f, 20, 80), "");
    add(f, 45 * US, 1);
    assert_string_equal(histogram_text(f, 0, 80), "");
    rtt_fini(&f->rtt);
    assert_string_equal(histogram_text(f, 20, 80), "");
}

static void values_within_a_factor_of_two_are_in_ranges_of_equal_width(void **state)
{
    struct fixture *f = *state;

    for (unsigned i = 0; i < 4; i++)
        add(f, 45 * US + i * 10 * US, 10 * (i + 1));
    assert_string_equal(histogram_text(f, 5, 60),
                        "  40 us -   50 us  #######                       10   10.00%\n"
                        "  50 us -   60 us  ###############               20   20.00%\n"
                        "  60 us -   70 us  ######################        30   30.00%\n"
                        "  70 us -   80 us  ############################# 40   40.00%\n");
}

static void others_are_in_ranges_that_grow_and_gaps_are_seen(void **state)
{
    struct fixture *f = *state;

    add(f, 15 * US, 4);
    add(f, 30 * US, 8);
    add(f, 150 * US, 2);
    assert_string_equal(histogram_text(f, 5, 50),
                        "  10 us -   20 us  ##########           4   28.57%\n"
                        "  20 us -   50 us  #################### 8   57.14%\n"
                        "  50 us -  100 us                       0    0.00%\n"
                        " 100 us -  200 us  #####                2   14.29%\n");
}

static void the_slowest_thousandth_shares_the_last_bar(void **state)
{
    struct fixture *f = *state;

    add(f, 15 * US, 6000);
    add(f, 30 * US, 3995);
    add(f, 300 * MS, 4);
    add(f, 3 * SECOND, 1);
    assert_string_equal(histogram_text(f, 3, 50),
                        "  10 us -   20 us  ################# 6000   60.00%\n"
                        "  20 us -   50 us  ###########       3995   39.95%\n"
                        "  50 us or more    #                    5    0.05%\n");
}

static void too_few_rows_leave_more_to_the_last_bar(void **state)
{
    struct fixture *f = *state;

    add(f, 15, 1);
    add(f, 1500, 2);
    add(f, 15 * MS, 4);
    assert_string_equal(histogram_text(f, 2, 50),
                        "  10 ns -  100 ns  ###                  1   14.29%\n"
                        " 100 ns or more    #################### 6   85.71%\n");
    assert_string_equal(histogram_text(f, 1, 50),
                        "  10 ns or more    #################### 7  100.00%\n");
}

/* Ranges of 5 us, of which some begin in 9 buckets and some in 10. */
static void evenly_spread_values_give_even_bars(void **state)
{
    struct fixture *f = *state;

    for (uint64_t ns = 60 * US; ns < 110 * US; ns++)
        rtt_add(&f->rtt, ns);
    assert_string_equal(histogram_text(f, 10, 50),
                        "  60 us -   65 us  ################# 5000   10.00%\n"
                        "  65 us -   70 us  ################# 5000   10.00%\n"
                        "  70 us -   75 us  ################# 5000   10.00%\n"
                        "  75 us -   80 us  ################# 5000   10.00%\n"
                        "  80 us -   85 us  ################# 5000   10.00%\n"
                        "  85 us -   90 us  ################# 5000   10.00%\n"
                        "  90 us -   95 us  ################# 5000   10.00%\n"
                        "  95 us -  100 us  ################# 5000   10.00%\n"
                        " 100 us -  105 us  ################# 5000   10.00%\n"
                        " 105 us -  110 us  ################# 5000   10.00%\n");
}

/* All in one bucket, of which they take less than half. */
static void minimum_and_maximum_tell_more_than_the_bucket(void **state)
{
    struct fixture *f = *state;

    for (uint64_t ns = 49900; ns < 50100; ns++)
        rtt_add(&f->rtt, ns);
    assert_string_equal(histogram_text(f, 10, 50),
                        "  49 us -   50 us  ################## 100   50.00%\n"
                        "  50 us -   51 us  ################## 100   50.00%\n");
}

static void one_among_billions_is_seen(void **state)
{
    struct fixture *f = *state;

    add(f, 45 * US, 1);
    add(f, 300 * US, 1);
    f->rtt.histogram->buckets[histogram_bucket(45 * US)] = UINT64_C(8999999999);
    f->rtt.histogram->count = f->rtt.count = UINT64_C(9000000000);
    assert_string_equal(histogram_text(f, 20, 60),
                        "  45 us -   46 us  ##################### 8999999999  >99.99%\n"
                        "  46 us or more    #                              1   <0.01%\n");
}

static void a_narrow_picture_gives_up_percents_then_the_bar(void **state)
{
    struct fixture *f = *state;

    add(f, 45 * US, 1000);
    assert_string_equal(histogram_text(f, 20, 41), "  45 us -   46 us  ######## 1000  100.00%\n");
    assert_string_equal(histogram_text(f, 20, 40), "  45 us -   46 us  ################ 1000\n");
    assert_string_equal(histogram_text(f, 20, 24), "  45 us -   46 us   1000\n");
    assert_string_equal(histogram_text(f, 20, 3), "  4\n");
    assert_string_equal(histogram_text(f, 20, 0), "\n");
}

/* The sum of the counts, if the picture is wide enough to show them. */
static uint64_t check_lines(const char *text, unsigned rows, unsigned columns)
{
    uint64_t sum = 0;

    for (unsigned lines = 0; *text != '\0'; lines++) {
        size_t length = strcspn(text, "\n");
        const char *count = text + length - 9;

        assert_true(text[length] == '\n');
        assert_true(length <= columns);
        assert_true(lines < rows);
        if (columns >= 80) {
            while (count > text && count[-1] != ' ')
                count--;
            sum += strtoull(count, NULL, 10);
        }
        text += length + 1;
    }
    return sum;
}

static void check_sizes(struct fixture *f, bool counts)
{
    for (unsigned rows = 0; rows < 70; rows += 1 + rows / 5)
        for (unsigned columns = 0; columns < 700; columns += 1 + columns / 5) {
            uint64_t sum = check_lines(histogram_text(f, rows, columns), rows, columns);

            if (counts && columns >= 80 && rows > 0)
                assert_int_equal(sum, f->rtt.count);
        }
}

static void no_picture_is_larger_than_it_may_be_or_loses_a_value(void **state)
{
    static const uint64_t spreads[] = {1, 2, 10, 1000, 1000000, UINT64_C(1) << 40};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(spreads); i++)
        for (uint64_t base = 1; base < UINT64_C(1) << 50; base *= 1000) {
            uint64_t random = 1;

            rtt_fini(&f->rtt);
            rtt_init(&f->rtt);
            for (unsigned n = 0; n < 2000; n++) {
                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                add(f, base + (random >> 20) % spreads[i] / (1 + random % 64), 1);
            }
            check_sizes(f, true);
        }
}

static void the_largest_and_smallest_times_are_drawn(void **state)
{
    struct fixture *f = *state;

    add(f, UINT64_MAX, 1);
    check_sizes(f, false);
    add(f, UINT64_MAX - 1, 2);
    check_sizes(f, false);
    add(f, 0, 3);
    check_sizes(f, false);
    rtt_fini(&f->rtt);
    rtt_init(&f->rtt);
    add(f, 0, 1);
    assert_string_equal(histogram_text(f, 20, 50),
                        "   0 ns -    1 ns  #################### 1  100.00%\n");
}

/* ---- progress ---- */

static void progress_of_a_flood(void **state)
{
    struct fixture *f = *state;

    f->probe.counters.sent = 541200;
    f->probe.counters.received = 541000;
    f->probe.waiting = 100;
    f->probe.settings.window = 100;
    f->probe.settings.count = 541200 + 140800;
    rtt_add(&f->probe.rtt, 45123);
    assert_string_equal(
        progress_text(f, 12300 * MS, 80),
        "12.3 s  541200 sent  44000/s  0.0185% lost  rtt 0.045 ms  remaining 3.2 s");
}

static void progress_is_cut_between_its_parts(void **state)
{
    static const char whole[] = "12.3 s  541200 sent  44000/s  0% lost";
    struct fixture *f = *state;

    f->probe.counters.sent = f->probe.counters.received = 541200;
    assert_string_equal(progress_text(f, 12300 * MS, 37), whole);
    assert_string_equal(progress_text(f, 12300 * MS, 36), "12.3 s  541200 sent  44000/s");
    assert_string_equal(progress_text(f, 12300 * MS, 28), "12.3 s  541200 sent  44000/s");
    assert_string_equal(progress_text(f, 12300 * MS, 27), "12.3 s  541200 sent");
    assert_string_equal(progress_text(f, 12300 * MS, 6), "12.3 s");
    assert_string_equal(progress_text(f, 12300 * MS, 5), "");
    assert_string_equal(progress_text(f, 12300 * MS, 0), "");
}

/* Otherwise it would begin with all that is under way counted as lost. */
static void what_is_under_way_is_not_lost(void **state)
{
    struct fixture *f = *state;

    f->probe.counters.sent = f->probe.waiting = 3;
    assert_int_equal(chart_decided(&f->probe), 0);
    assert_string_equal(progress_text(f, MS, 80), "0.0 s  3 sent  3000/s");
    f->probe.counters.received = 1;
    f->probe.waiting = 1;
    assert_int_equal(chart_decided(&f->probe), 2);
    assert_string_equal(progress_text(f, SECOND, 80), "1.0 s  3 sent  3.0/s  50% lost");
}

static void remaining_is_what_ends_first(void **state)
{
    struct fixture *f = *state;
    struct probe_settings *settings = &f->probe.settings;

    f->probe.counters.sent = f->probe.counters.received = 10;
    settings->count = 100;
#define REMAINING(text)                                                                            \
    assert_string_equal(progress_text(f, 10 * SECOND, 80),                                         \
                        "10.0 s  10 sent  1.0/s  0% lost  remaining " text)
    REMAINING("1m30s");
    settings->duration = 70 * SECOND;
    REMAINING("1m00s");
    settings->deadline = 40 * SECOND;
    f->probe.deadline = f->probe.started + settings->deadline;
    REMAINING("30.0 s");
    settings->duration = 20 * SECOND;
    REMAINING("10.0 s");
    settings->duration = 5 * SECOND;
    REMAINING("0.0 s");
    settings->duration = 0;
    settings->count = 3;
    REMAINING("0.0 s");
    settings->count = 0;
    f->probe.deadline = f->probe.started;
    REMAINING("0.0 s");
#undef REMAINING
}

static void with_a_deadline_replies_are_counted(void **state)
{
    struct fixture *f = *state;

    f->probe.settings.count = 10;
    f->probe.settings.deadline = f->probe.deadline = UINT64_C(1) << 62;
    f->probe.counters.sent = 8;
    f->probe.counters.received = 4;
    assert_string_equal(progress_text(f, 8 * SECOND, 80),
                        "8.0 s  8 sent  1.0/s  50% lost  remaining 6.0 s");
}

static void long_spans_are_in_minutes_and_hours(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(progress_text(f, 59999 * MS, 6), "59.9 s");
    assert_string_equal(progress_text(f, 60 * SECOND, 6), "1m00s");
    assert_string_equal(progress_text(f, 3599 * SECOND, 6), "59m59s");
    assert_string_equal(progress_text(f, 3600 * SECOND, 6), "1h00m");
    assert_string_equal(progress_text(f, 360059 * SECOND, 8), "100h00m");
}

/* ---- */

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(times_have_three_digits_and_a_unit),
        TEST(bounds_are_round_and_enclose_the_value),
        TEST(nothing_gives_no_picture),
        TEST(values_within_a_factor_of_two_are_in_ranges_of_equal_width),
        TEST(others_are_in_ranges_that_grow_and_gaps_are_seen),
        TEST(the_slowest_thousandth_shares_the_last_bar),
        TEST(too_few_rows_leave_more_to_the_last_bar),
        TEST(evenly_spread_values_give_even_bars),
        TEST(minimum_and_maximum_tell_more_than_the_bucket),
        TEST(one_among_billions_is_seen),
        TEST(a_narrow_picture_gives_up_percents_then_the_bar),
        TEST(no_picture_is_larger_than_it_may_be_or_loses_a_value),
        TEST(the_largest_and_smallest_times_are_drawn),
        TEST(progress_of_a_flood),
        TEST(progress_is_cut_between_its_parts),
        TEST(what_is_under_way_is_not_lost),
        TEST(remaining_is_what_ends_first),
        TEST(with_a_deadline_replies_are_counted),
        TEST(long_spans_are_in_minutes_and_hours),
    };
#undef TEST

    return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
