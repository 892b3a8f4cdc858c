/* SPDX-License-Identifier: ISC */
#include "daemon/stats/refusals.h"

#include "unit/unit.h"

static void each_reason_is_logged_at_most_once_per_interval_with_its_count(void **state)
{
    struct refusals refusals = {0};
    struct stats_sum sum = {.udp_denied = 3, .udp_over_budget = 5, .udp_echoes = 7};
    uint64_t now = 5;

    (void)state;
    logbook_open(LEVEL_INFO);
    refusals_tell(&refusals, &sum, now);
    assert_int_equal(logbook.count, 2);
    assert_int_equal(logged(LEVEL_NOTICE, "3 UDP datagrams refused: denied by access"), 1);
    assert_int_equal(logged(LEVEL_NOTICE, "5 UDP datagrams refused: udp-rate"), 1);
    refusals_tell(&refusals, &sum, now);
    sum.udp_denied = 10;
    sum.udp_looped = 1;
    now += LOG_LIMIT_NS - 1;
    refusals_tell(&refusals, &sum, now);
    assert_int_equal(logbook.count, 3);
    assert_int_equal(logged(LEVEL_NOTICE, "1 UDP datagrams refused: in a loop"), 1);
    refusals_tell(&refusals, &sum, now + 1);
    assert_int_equal(logbook.count, 4);
    assert_int_equal(logged(LEVEL_NOTICE, "7 UDP datagrams refused: denied by access"), 1);
    refusals_tell(&refusals, &sum, now + 10 * LOG_LIMIT_NS);
    assert_int_equal(logbook.count, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_reason_is_logged_at_most_once_per_interval_with_its_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
