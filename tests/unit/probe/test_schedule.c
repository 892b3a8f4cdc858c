/* SPDX-License-Identifier: ISC */
#include "unit/fake_link.h"

/* ---- the schedule ---- */

static void the_first_probe_is_sent_at_once_and_the_others_on_time(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 200 * MS);
    assert_int_equal(turn(probe, T0), T0 + 200 * MS);
    assert_int_equal(fake.sent, 1);
    assert_int_equal(turn(probe, T0 + 199 * MS), T0 + 200 * MS);
    assert_int_equal(fake.sent, 1);
    /* One that is late does not put off the next. */
    assert_int_equal(turn(probe, T0 + 350 * MS), T0 + 400 * MS);
    assert_int_equal(fake.sent, 2);
    /* All that are due are sent. */
    assert_int_equal(turn(probe, T0 + 650 * MS), T0 + 800 * MS);
    assert_int_equal(fake.sent, 4);
    assert_false(schedule_finished(probe, T0 + 650 * MS));
}

static void a_long_stop_is_not_made_up_for(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 100 * MS);
    turn(probe, T0);
    /* One that is far too late, and one that takes its time from there. */
    assert_int_equal(turn(probe, T0 + 60 * S), T0 + 60 * S + 100 * MS);
    assert_int_equal(fake.sent, 3);
    assert_int_equal(probe->counters.delayed, 0);
}

static void what_was_missed_for_less_than_a_second_is_made_up_for(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 100 * MS);
    turn(probe, T0);
    assert_int_equal(turn(probe, T0 + S), T0 + S + 100 * MS);
    assert_int_equal(fake.sent, 11);
    /* The last was in time. */
    assert_int_equal(probe->counters.delayed, 9);
}

static void a_turn_sends_a_bounded_number(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MS);
    turn(probe, T0);
    assert_int_equal(turn(probe, T0 + 500 * MS), T0 + 500 * MS);
    assert_int_equal(fake.sent, 65);
    turn(probe, T0 + 500 * MS);
    assert_int_equal(fake.sent, 129);
}

static void time_passes_while_probes_are_sent(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MS);
    fake.takes = 400000;
    turn(probe, T0);
    /* Two are due at first; 0.8 ms later a third is. */
    turn(probe, T0 + 2 * MS + 300000);
    assert_int_equal(fake.sent, 4);
    assert_int_equal(inflight_find(probe, 4)->sent_at, T0 + 3 * MS + 100000);
}

static void round_trips_of_late_probes_count_from_when_they_were_due(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 100 * MS);
    turn(probe, T0);
    /* Every wake-up is a little late. */
    turn(probe, T0 + 101 * MS);
    assert_int_equal(probe->counters.delayed, 0);
    GOOD(probe, 2, T0 + 104 * MS);
    assert_int_equal(last()->time, 3 * MS);
    turn(probe, T0 + 201 * MS + 1);
    assert_int_equal(probe->counters.delayed, 1);
    GOOD(probe, 3, T0 + 204 * MS + 1);
    assert_int_equal(last()->time, 4 * MS + 1);
}

static void a_short_interval_tolerates_less(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MICROSECOND, .timeout = S);
    turn(probe, T0);
    turn(probe, T0 + 2000);
    assert_int_equal(probe->counters.delayed, 0);
    assert_int_equal(fake.sent, 3);
    turn(probe, T0 + 4001);
    assert_int_equal(fake.sent, 5);
    assert_int_equal(probe->counters.delayed, 1);
}

static void the_preload_is_sent_at_once(void **state)
{
    struct probe *probe = *state;

    START(probe, .preload = 5);
    assert_int_equal(turn(probe, T0), T0 + S);
    assert_int_equal(fake.sent, 5);
    assert_int_equal(turn(probe, T0 + S), T0 + 2 * S);
    assert_int_equal(fake.sent, 6);
    assert_int_equal(probe->counters.delayed, 0);
}

static void duration_ends_sending(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 400 * MS, .duration = S);
    assert_int_equal(turn(probe, T0), T0 + 400 * MS);
    turn(probe, T0 + 400 * MS);
    assert_int_equal(turn(probe, T0 + 800 * MS), T0 + S);
    assert_int_equal(fake.sent, 3);
    turn(probe, T0 + 1200 * MS);
    assert_int_equal(fake.sent, 3);
    assert_false(schedule_finished(probe, T0 + 1200 * MS));
    for (unsigned seq = 1; seq <= 3; seq++)
        GOOD(probe, seq, T0 + 1200 * MS);
    assert_true(schedule_finished(probe, T0 + 1200 * MS));
}

static void the_duration_may_end_before_the_deadline(void **state)
{
    struct probe *probe = *state;

    START(probe, .duration = S, .deadline = 100 * S);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    assert_false(schedule_finished(probe, T0 + S - 1));
    assert_true(schedule_finished(probe, T0 + S));
}

static void ticks_are_regular(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S, .tick = 250 * MS);
    assert_int_equal(turn(probe, T0), T0 + 250 * MS);
    assert_int_equal(heard_of(PROBE_TICK), 1);
    turn(probe, T0 + 249 * MS);
    assert_int_equal(heard_of(PROBE_TICK), 1);
    assert_int_equal(turn(probe, T0 + 260 * MS), T0 + 510 * MS);
    assert_int_equal(heard_of(PROBE_TICK), 2);
    assert_int_equal(turn(probe, T0 + 900 * MS), T0 + S);
    assert_int_equal(heard_of(PROBE_TICK), 3);
}

static void an_overdue_probe_is_told_of_when_the_next_is_sent(void **state)
{
    struct probe *probe = *state;

    START(probe, .overdue = true);
    turn(probe, T0);
    assert_int_equal(heard.count, 0);
    turn(probe, T0 + S);
    assert_int_equal(last()->kind, PROBE_OVERDUE);
    assert_int_equal(last()->seq, 1);
    GOOD(probe, 2, T0 + S + MS);
    turn(probe, T0 + 2 * S);
    assert_int_equal(heard_of(PROBE_OVERDUE), 1);
}

static void count_ends_as_soon_as_all_are_answered(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    assert_false(schedule_finished(probe, T0 + MS));
    turn(probe, T0 + S);
    turn(probe, T0 + 3 * S);
    assert_int_equal(fake.sent, 2);
    GOOD(probe, 2, T0 + S + MS);
    assert_true(schedule_finished(probe, T0 + S + MS));
    assert_int_equal(probe_status(probe), 0);
}

static void without_any_reply_the_last_is_waited_for_ten_seconds(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    assert_int_equal(turn(probe, T0), T0 + 10 * S);
    assert_false(schedule_finished(probe, T0 + 10 * S - 1));
    assert_true(schedule_finished(probe, T0 + 10 * S));
    assert_int_equal(probe_status(probe), 1);
}

static void after_a_reply_the_last_is_waited_for_two_round_trips(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    turn(probe, T0);
    GOOD(probe, 1, T0 + 800 * MS);
    assert_int_equal(turn(probe, T0 + S), T0 + S + 1600 * MS);
    assert_false(schedule_finished(probe, T0 + S + 1600 * MS - 1));
    assert_true(schedule_finished(probe, T0 + S + 1600 * MS));
    assert_int_equal(probe_status(probe), 0);
}

static void waiting_for_the_last_takes_an_interval_at_least_and_ten_seconds_at_most(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 3);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    turn(probe, T0 + S);
    assert_int_equal(turn(probe, T0 + 2 * S), T0 + 3 * S);
    GOOD(probe, 2, T0 + 10 * S); /* 9 s */
    assert_int_equal(turn(probe, T0 + 2 * S), T0 + 12 * S);
}

static void timeout_is_for_the_last_too(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1, .timeout = 300 * MS);
    assert_int_equal(turn(probe, T0), T0 + 300 * MS);
    assert_true(schedule_finished(probe, T0 + 300 * MS));
}

static void deadline_ends_whatever_was_answered(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 1500 * MS);
    assert_int_equal(turn(probe, T0), T0 + S);
    GOOD(probe, 1, T0 + MS);
    assert_int_equal(turn(probe, T0 + S), T0 + 1500 * MS);
    assert_false(schedule_finished(probe, T0 + 1500 * MS - 1));
    assert_true(schedule_finished(probe, T0 + 1500 * MS));
    assert_int_equal(probe_status(probe), 0);
}

static void with_count_and_deadline_so_many_replies_are_wanted(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2, .deadline = 10 * S);
    turn(probe, T0);
    turn(probe, T0 + S);
    GOOD(probe, 2, T0 + S + MS);
    assert_false(schedule_finished(probe, T0 + S + MS));
    assert_int_equal(probe_status(probe), 1);
    turn(probe, T0 + 2 * S);
    assert_int_equal(fake.sent, 3);
    GOOD(probe, 3, T0 + 2 * S + MS);
    assert_true(schedule_finished(probe, T0 + 2 * S + MS));
    assert_int_equal(probe_status(probe), 0);
}

/* ---- windows ---- */

static void a_full_window_waits_and_a_reply_makes_room(void **state)
{
    struct probe *probe = *state;

    START(probe, .window = 3);
    assert_int_equal(turn(probe, T0), T0);
    assert_int_equal(fake.sent, 3);
    assert_int_equal(fake.calls, 1);
    assert_int_equal(turn(probe, T0 + MS), T0 + S);
    assert_int_equal(fake.sent, 3);
    GOOD(probe, 2, T0 + 2 * MS);
    turn(probe, T0 + 2 * MS);
    assert_int_equal(fake.sent, 4);
    /* Any answer will do. */
    reply(probe, PAYLOAD_CORRUPT, 1, T0 + 3 * MS);
    inflight_error(probe->links[0], 3, ECONNREFUSED, &peer, T0 + 3 * MS);
    turn(probe, T0 + 3 * MS);
    assert_int_equal(fake.sent, 6);
    assert_int_equal(probe->links[0]->unanswered, 3);
    assert_int_equal(probe->counters.delayed, 0);
}

static void a_duplicate_makes_no_room(void **state)
{
    struct probe *probe = *state;

    START(probe, .window = 2);
    turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    GOOD(probe, 1, T0 + MS);
    turn(probe, T0 + MS);
    assert_int_equal(fake.sent, 3);
    assert_int_equal(probe->links[0]->unanswered, 2);
}

static void an_unanswered_probe_makes_room_after_the_interval(void **state)
{
    struct probe *probe = *state;

    START(probe, .window = 2, .interval = 10 * MS);
    turn(probe, T0);
    assert_int_equal(turn(probe, T0 + MS), T0 + 10 * MS);
    assert_int_equal(turn(probe, T0 + 10 * MS), T0 + 10 * MS);
    assert_int_equal(fake.sent, 4);
    assert_int_equal(probe->waiting, 4);
    /* Its reply may come yet, and makes no room a second time. */
    GOOD(probe, 1, T0 + 11 * MS);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(probe->links[0]->unanswered, 2);
}

static void a_large_window_is_filled_in_batches(void **state)
{
    struct probe *probe = *state;

    START(probe, .window = 100);
    assert_int_equal(turn(probe, T0), T0);
    assert_int_equal(fake.sent, 64);
    turn(probe, T0);
    assert_int_equal(fake.sent, 100);
    assert_int_equal(turn(probe, T0), T0 + S);
}

static void each_link_has_a_window(void **state)
{
    struct probe *probe = *state;

    START(probe, .window = 2, .links = 3);
    turn(probe, T0);
    assert_int_equal(fake.sent, 6);
    GOOD(probe, 3, T0 + MS); /* of the second link */
    turn(probe, T0 + MS);
    assert_int_equal(fake.by[0], 2);
    assert_int_equal(fake.by[1], 3);
    assert_int_equal(fake.by[2], 2);
}

static void windows_of_links_that_take_nothing_stay_empty(void **state)
{
    struct probe *probe = *state;

    START(probe, .window = 2, .links = 3);
    fake.full[0] = true;
    peer_ends(probe, 1, true);
    turn(probe, T0);
    assert_int_equal(fake.by[2], 2);
    assert_int_equal(fake.sent, 2);
    assert_int_equal(probe->counters.sent, 2);
    assert_int_equal(probe->links[0]->unanswered, 0);
    assert_int_equal(probe->waiting, 2);
    assert_int_equal(turn(probe, T0), T0 + S);
    peer_ends(probe, 0, true);
    peer_ends(probe, 2, true);
    assert_true(schedule_finished(probe, T0));
    assert_int_equal(turn(probe, T0 + 2 * S), T0 + PROBE_TIMEOUT);
}

/* ---- several links ---- */

static void links_take_turns(void **state)
{
    struct probe *probe = *state;

    START(probe, .links = 3);
    for (unsigned i = 0; i < 7; i++)
        turn(probe, T0 + i * S);
    assert_int_equal(fake.by[0], 3);
    assert_int_equal(fake.by[1], 2);
    assert_int_equal(fake.by[2], 2);
    assert_int_equal(probe->links[0]->sent, 3);
    GOOD(probe, 5, T0 + 6 * S);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_ptr_equal(last()->link, probe->links[1]);
    assert_int_equal(probe->links[1]->received, 1);
    assert_int_equal(probe->links[1]->rtt.count, 1);
    assert_int_equal(probe->links[0]->rtt.count, 0);
}

static void closed_and_blocked_links_are_left_out(void **state)
{
    struct probe *probe = *state;

    START(probe, .links = 3, .count = 100);
    peer_ends(probe, 1, false);
    assert_int_equal(last()->kind, PROBE_CLOSED);
    assert_false(probe->closed);
    fake.full[0] = true;
    for (unsigned i = 0; i < 3; i++)
        turn(probe, T0 + i * S);
    assert_int_equal(fake.by[2], 3);
    assert_int_equal(probe->counters.sent, 3);
    assert_int_equal(fake.calls, 4);
    fake.full[0] = false;
    probe->links[0]->blocked = false;
    turn(probe, T0 + 3 * S);
    turn(probe, T0 + 4 * S);
    assert_int_equal(fake.by[0], 1);
    assert_int_equal(fake.by[2], 4);
}

static void with_all_links_blocked_it_waits(void **state)
{
    struct probe *probe = *state;

    START(probe, .links = 2);
    turn(probe, T0);
    fake.full[0] = fake.full[1] = true;
    assert_int_equal(turn(probe, T0 + S), T0 + PROBE_TIMEOUT);
    assert_int_equal(turn(probe, T0 + S + 500 * MS), T0 + PROBE_TIMEOUT);
    assert_int_equal(probe->counters.sent, 1);
    assert_int_equal(probe->waiting, 1);
    /* And what was due meanwhile is late. */
    fake.full[0] = fake.full[1] = false;
    probe->links[0]->blocked = probe->links[1]->blocked = false;
    turn(probe, T0 + S + 600 * MS);
    assert_int_equal(fake.sent, 2);
    assert_int_equal(probe->counters.delayed, 1);
}

static void the_last_link_that_closes_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .links = 2);
    turn(probe, T0);
    peer_ends(probe, 0, true);
    assert_false(schedule_finished(probe, T0));
    peer_ends(probe, 1, true);
    assert_true(schedule_finished(probe, T0));
    assert_int_equal(heard_of(PROBE_CLOSED), 2);
    assert_int_equal(probe_status(probe), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_probe_is_sent_at_once_and_the_others_on_time),
        TEST(a_long_stop_is_not_made_up_for),
        TEST(what_was_missed_for_less_than_a_second_is_made_up_for),
        TEST(a_turn_sends_a_bounded_number),
        TEST(time_passes_while_probes_are_sent),
        TEST(round_trips_of_late_probes_count_from_when_they_were_due),
        TEST(a_short_interval_tolerates_less),
        TEST(the_preload_is_sent_at_once),
        TEST(duration_ends_sending),
        TEST(the_duration_may_end_before_the_deadline),
        TEST(ticks_are_regular),
        TEST(an_overdue_probe_is_told_of_when_the_next_is_sent),
        TEST(count_ends_as_soon_as_all_are_answered),
        TEST(without_any_reply_the_last_is_waited_for_ten_seconds),
        TEST(after_a_reply_the_last_is_waited_for_two_round_trips),
        TEST(waiting_for_the_last_takes_an_interval_at_least_and_ten_seconds_at_most),
        TEST(timeout_is_for_the_last_too),
        TEST(deadline_ends_whatever_was_answered),
        TEST(with_count_and_deadline_so_many_replies_are_wanted),
        TEST(a_full_window_waits_and_a_reply_makes_room),
        TEST(a_duplicate_makes_no_room),
        TEST(an_unanswered_probe_makes_room_after_the_interval),
        TEST(a_large_window_is_filled_in_batches),
        TEST(each_link_has_a_window),
        TEST(windows_of_links_that_take_nothing_stay_empty),
        TEST(links_take_turns),
        TEST(closed_and_blocked_links_are_left_out),
        TEST(with_all_links_blocked_it_waits),
        TEST(the_last_link_that_closes_ends_the_run),
    };

    return cmocka_run_group_tests_name("schedule", tests, NULL, NULL);
}
