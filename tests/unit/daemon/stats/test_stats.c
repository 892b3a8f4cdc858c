/* SPDX-License-Identifier: ISC */
#include "daemon/stats/stats.h"

#include <stdio.h>

#include "unit/unit.h"

static void a_sum_adds_every_counter_of_every_worker(void **state)
{
    struct stats one = {0};
    struct stats two = {0};
    struct stats_sum sum = {0};

    (void)state;
    for (size_t i = 0; i < STATS_COUNT; i++) {
        stats_add(&one.all[i], i);
        stats_add(&two.all[i], 1000);
    }
    stats_sum(&sum, &one);
    stats_sum(&sum, &two);
    for (size_t i = 0; i < STATS_COUNT; i++)
        assert_int_equal(sum.all[i], i + 1000);
}

static void adding_to_one_counter_leaves_the_others_alone(void **state)
{
    struct stats stats = {0};
    struct stats_sum sum = {0};

    (void)state;
    stats_add(&stats.udp_octets, UINT64_C(0x100000000));
    stats_add(&stats.udp_octets, 5);
    stats_sum(&sum, &stats);
    assert_int_equal(sum.udp_octets, UINT64_C(0x100000005));
    sum.udp_octets = 0;
    assert_memory_equal(&sum, &(struct stats_sum){0}, sizeof sum);
}

static void open_connections_are_those_accepted_and_not_closed(void **state)
{
    (void)state;
    assert_int_equal(
        stats_open_connections(&(struct stats_sum){.tcp_accepted = 9, .tcp_closed = 2}), 7);
    assert_int_equal(
        stats_open_connections(&(struct stats_sum){.tcp_accepted = 2, .tcp_closed = 2}), 0);
}

static void a_close_counted_before_its_accept_is_no_negative_number(void **state)
{
    (void)state;
    assert_int_equal(
        stats_open_connections(&(struct stats_sum){.tcp_accepted = 2, .tcp_closed = 3}), 0);
}

static void refused_are_those_of_every_reason(void **state)
{
    struct stats_sum sum = {.tcp_refused_source = 1,
                            .udp_refused_port = 10,
                            .udp_refused_group = 100,
                            .udp_refused_other = 1000,
                            .tcp_denied = 10000,
                            .udp_denied = 20000,
                            .udp_over_budget = 300000,
                            .udp_looped = 400000,
                            .udp_leaked = 1000000,
                            .tcp_evicted = 1000000,
                            .udp_failed = 50000,
                            .tcp_full = 70000};

    (void)state;
    assert_int_equal(stats_refused(&sum), 731111);
}

static void the_status_line_reads_as_documented(void **state)
{
    struct stats_sum sum = {.tcp_accepted = 5,
                            .tcp_closed = 3,
                            .tcp_echoes = 11,
                            .tcp_octets = 12,
                            .udp_echoes = 13,
                            .udp_octets = UINT64_MAX,
                            .tcp_denied = 1,
                            .udp_refused_port = 3};
    char line[512];

    (void)state;
    assert_ptr_equal(stats_status(&sum, line, sizeof line), line);
    assert_string_equal(line,
                        "2 connections open; TCP 5 connections, 11 echoes, 12 octets; "
                        "UDP 13 echoes, 18446744073709551615 octets; 4 refused: tcp_denied 1, "
                        "udp_refused_port 3");
    sum.udp_dropped = 7;
    assert_non_null(strstr(stats_status(&sum, line, sizeof line), "; udp_dropped 7"));
    sum.udp_dropped = 0;
    sum.tcp_denied = sum.udp_refused_port = 0;
    stats_status(&sum, line, sizeof line);
    assert_string_equal(line + strlen(line) - 11, "; 0 refused");
}

static void the_detail_names_every_counter_with_its_value(void **state)
{
    struct stats_sum sum;
    char line[2048], *rest = line, *word;

    (void)state;
    for (size_t i = 0; i < STATS_COUNT; i++)
        sum.all[i] = i + 100;
    assert_ptr_equal(stats_detail(&sum, line, sizeof line), line);
    for (size_t i = 0; i < STATS_COUNT; i++) {
        char expected[64];

        snprintf(expected, sizeof expected, "%s=%zu", stats_counters[i].name, i + 100);
        word = strsep(&rest, " ");
        assert_non_null(word);
        assert_string_equal(word, expected);
    }
    assert_null(rest);
}

static void a_refusal_has_a_reason_and_its_help_says_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < STATS_COUNT; i++) {
        const struct stats_counter *counter = &stats_counters[i];

        assert_true(strlen(counter->help) > 10);
        assert_true(!counter->reason == !counter->why && !counter->reason == !counter->what);
        if (counter->reason)
            assert_non_null(strstr(counter->help, counter->why));
    }
}

static void lines_are_cut_to_fit(void **state)
{
    struct stats_sum sum = {.tcp_accepted = 123};
    char whole[2048];
    char line[64];

    (void)state;
    stats_detail(&sum, whole, sizeof whole);
    for (size_t size = 1; size < sizeof line - 1; size++) {
        memset(line, '#', sizeof line);
        stats_detail(&sum, line, size);
        assert_int_equal(strlen(line), size - 1);
        assert_memory_equal(line, whole, size - 1);
        assert_int_equal(line[size], '#');
    }
    stats_status(&sum, whole, sizeof whole);
    stats_status(&sum, line, 10);
    assert_int_equal(strlen(line), 9);
    assert_memory_equal(line, whole, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sum_adds_every_counter_of_every_worker),
        cmocka_unit_test(adding_to_one_counter_leaves_the_others_alone),
        cmocka_unit_test(open_connections_are_those_accepted_and_not_closed),
        cmocka_unit_test(a_close_counted_before_its_accept_is_no_negative_number),
        cmocka_unit_test(refused_are_those_of_every_reason),
        cmocka_unit_test(the_status_line_reads_as_documented),
        cmocka_unit_test(the_detail_names_every_counter_with_its_value),
        cmocka_unit_test(a_refusal_has_a_reason_and_its_help_says_it),
        cmocka_unit_test(lines_are_cut_to_fit),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
