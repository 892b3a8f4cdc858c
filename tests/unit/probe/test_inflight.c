/* SPDX-License-Identifier: ISC */
#include "unit/fake_link.h"

/* ---- replies ---- */

static void a_good_reply_counts_once(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 5);
    turn(probe, T0);
    GOOD(probe, 1, T0 + 3 * MS);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(last()->seq, 1);
    assert_int_equal(last()->time, 3 * MS);
    assert_int_equal(last()->size, 56);
    assert_false(last()->reordered);
    GOOD(probe, 1, T0 + 4 * MS);
    assert_int_equal(last()->kind, PROBE_DUPLICATE);
    assert_int_equal(last()->time, 4 * MS);
    assert_int_equal(probe->counters.received, 1);
    assert_int_equal(probe->counters.duplicate, 1);
    assert_int_equal(probe->rtt.count, 1);
    assert_int_equal(probe->rtt.max, 3 * MS);
}

static void order_is_noticed(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MS);
    for (unsigned i = 0; i < 4; i++)
        turn(probe, T0 + i * MS);
    GOOD(probe, 1, T0 + 10 * MS);
    GOOD(probe, 3, T0 + 10 * MS);
    assert_false(last()->reordered);
    GOOD(probe, 2, T0 + 10 * MS);
    assert_true(last()->reordered);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    GOOD(probe, 4, T0 + 10 * MS);
    assert_false(last()->reordered);
    assert_int_equal(probe->counters.received, 4);
    assert_int_equal(probe->counters.reordered, 1);
}

/* The differences of round trips of 1 and 2, 2 and 3, 3 and 4, each once, in whatever order the
 * replies come and however often. */
static void ipdv_is_of_successive_probes_also_out_of_order(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MS);
    for (unsigned i = 0; i < 4; i++)
        turn(probe, T0 + i * MS);
    GOOD(probe, 2, T0 + 10 * MS); /* 9 ms */
    assert_int_equal(probe->rtt.variations, 0);
    GOOD(probe, 1, T0 + 12 * MS); /* 12 ms */
    GOOD(probe, 4, T0 + 23 * MS); /* 20 ms */
    GOOD(probe, 3, T0 + 42 * MS); /* 40 ms */
    GOOD(probe, 3, T0 + 43 * MS);
    assert_int_equal(probe->rtt.variations, 3);
    assert_int_equal((uint64_t)rtt_ipdv(&probe->rtt), (3 + 31 + 20) * MS / 3);
}

static void ipdv_skips_what_was_lost_or_late(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 10 * MS, .timeout = 100 * MS);
    for (unsigned i = 0; i < 5; i++)
        turn(probe, T0 + i * 10 * MS);
    GOOD(probe, 1, T0 + 50 * MS);
    GOOD(probe, 3, T0 + 50 * MS);
    GOOD(probe, 5, T0 + 50 * MS);
    GOOD(probe, 4, T0 + 500 * MS);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(probe->rtt.variations, 0);
}

static void late_replies_are_not_received(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 3, .timeout = 500 * MS);
    turn(probe, T0);
    turn(probe, T0 + S);
    GOOD(probe, 1, T0 + S);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(last()->time, S);
    GOOD(probe, 1, T0 + S);
    assert_int_equal(last()->kind, PROBE_DUPLICATE);
    /* In time to the nanosecond, and just not, before anybody noticed. */
    GOOD(probe, 2, T0 + S + 500 * MS - 1);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    turn(probe, T0 + 2 * S);
    GOOD(probe, 3, T0 + 2 * S + 500 * MS);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(probe->counters.late, 2);
    assert_int_equal(probe->counters.received, 1);
}

static void bad_replies_complete_their_probe_but_are_not_received(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2, .interval = MS);
    turn(probe, T0);
    turn(probe, T0 + MS);
    reply(probe, PAYLOAD_CORRUPT, 1, T0 + 2 * MS);
    assert_int_equal(last()->kind, PROBE_CORRUPT);
    assert_false(schedule_finished(probe, T0 + 2 * MS));
    reply(probe, PAYLOAD_TRUNCATED, 2, T0 + 2 * MS);
    assert_int_equal(last()->kind, PROBE_TRUNCATED);
    assert_true(schedule_finished(probe, T0 + 2 * MS));
    assert_int_equal(probe->counters.corrupt, 1);
    assert_int_equal(probe->counters.truncated, 1);
    assert_int_equal(probe->counters.received, 0);
    assert_int_equal(probe_status(probe), 1);
    /* A good one may still come. */
    GOOD(probe, 1, T0 + 3 * MS);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

static void a_reply_to_nothing_completes_nothing(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    turn(probe, T0);
    reply(probe, PAYLOAD_FOREIGN, 0, T0 + MS);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    reply(probe, PAYLOAD_CORRUPT, 0, T0 + MS);
    assert_int_equal(last()->kind, PROBE_CORRUPT);
    assert_int_equal(last()->time, 0);
    assert_int_equal(probe->counters.foreign, 1);
    assert_int_equal(probe->counters.corrupt, 1);
    assert_false(schedule_finished(probe, T0 + MS));
}

static void a_wrong_source_is_counted_apart(void **state)
{
    struct probe *probe = *state;
    struct addr other = address("127.0.0.2", 7);
    struct addr port = address("127.0.0.1", 8);
    struct payload_identity identity = {PAYLOAD_GOOD, 1, 0};
    struct probe_arrival arrival = {.from = &other, .size = PAYLOAD_HEADER - 1, .now = T0 + MS};

    START(probe, .count = 1);
    turn(probe, T0);
    /* Too short to prove that who sent it has seen ours. */
    inflight_reply(probe->links[0], &identity, &arrival);
    assert_int_equal(last()->kind, PROBE_WRONG_SOURCE);
    assert_false(schedule_finished(probe, T0 + MS));
    arrival.from = &port;
    arrival.size = PAYLOAD_HEADER;
    inflight_reply(probe->links[0], &identity, &arrival);
    assert_int_equal(last()->kind, PROBE_WRONG_SOURCE);
    assert_true(schedule_finished(probe, T0 + MS));
    arrival.from = &other;
    identity.verdict = PAYLOAD_FOREIGN;
    inflight_reply(probe->links[0], &identity, &arrival);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    assert_int_equal(probe->counters.wrong_source, 2);
    assert_int_equal(probe->counters.received, 0);
}

static void errors_complete_the_probe_they_name_or_else_the_oldest(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 3, .interval = MS);
    for (unsigned i = 0; i < 3; i++)
        turn(probe, T0 + i * MS);
    inflight_error(probe->links[0], 2, ECONNREFUSED, &peer, T0 + 5 * MS);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->seq, 2);
    assert_int_equal(last()->time, 4 * MS);
    inflight_error(probe->links[0], 0, EHOSTUNREACH, NULL, T0 + 5 * MS);
    assert_int_equal(last()->seq, 1);
    assert_null(last()->from);
    assert_int_equal(inflight_oldest(probe), 3);
    inflight_error(probe->links[0], 0, ECONNREFUSED, &peer, T0 + 5 * MS);
    assert_int_equal(last()->seq, 3);
    assert_int_equal(inflight_oldest(probe), 0);
    inflight_error(probe->links[0], 0, ECONNREFUSED, &peer, T0 + 5 * MS);
    assert_int_equal(last()->seq, 0);
    assert_int_equal(probe->counters.refused, 3);
    assert_int_equal(probe->counters.errors, 1);
    assert_true(schedule_finished(probe, T0 + 5 * MS));
}

static void a_probe_that_cannot_be_sent_is_an_error_of_its_own(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    fake.send_error = EPERM;
    turn(probe, T0);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->seq, 1);
    assert_int_equal(probe->counters.sent, 1);
    assert_true(schedule_finished(probe, T0));
}

/* One that waits is remembered as long as -W says, however many are sent meanwhile. */
static void as_many_are_remembered_as_the_timeout_needs(void **state)
{
    static const struct {
        uint64_t interval;
        uint64_t timeout;
    } cases[] = {{MS, 10 * S}, {60 * MICROSECOND, 30 * S}, {S, S}};
    struct probe *probe = *state;

    for (unsigned i = 0; i < COUNT(cases); i++) {
        uint64_t count = cases[i].timeout / cases[i].interval;
        uint64_t now = T0;

        START(probe, .interval = cases[i].interval, .timeout = cases[i].timeout);
        for (uint64_t seq = 1; seq <= count; seq++, now += cases[i].interval)
            turn(probe, now);
        assert_int_equal(probe->waiting, count);
        assert_int_equal(inflight_oldest(probe), 1);
        GOOD(probe, 1, T0 + cases[i].timeout - 1);
        assert_int_equal(last()->kind, PROBE_RECEIVED);
        assert_int_equal(last()->time, cases[i].timeout - 1);
        probe_fini(probe);
    }
}

static void what_was_long_ago_is_late(void **state)
{
    struct probe *probe = *state;
    uint64_t now = T0;

    START(probe, .interval = MS, .timeout = MS);
    for (unsigned i = 0; i < 10000; i++)
        turn(probe, now += MS);
    GOOD(probe, 1, now);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(last()->time, 0);
    GOOD(probe, 10001, now);
    assert_int_equal(last()->kind, PROBE_LATE);
}

static void more_than_memory_is_stated_for_is_an_error(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.interval = MICROSECOND, .links = 1, .preload = 1};

    assert_int_equal(probe_init(probe, &runner, &settings, listen_to, NULL), -1);
    assert_int_equal(errno, EOVERFLOW);
    probe_fini(probe);
    settings.count = 1000;
    assert_int_equal(probe_init(probe, &runner, &settings, listen_to, NULL), 0);
    probe_fini(probe);
    settings.deadline = S; /* so the count is that of replies */
    assert_int_equal(probe_init(probe, &runner, &settings, listen_to, NULL), -1);
    assert_int_equal(errno, EOVERFLOW);
}

static void those_that_wait_too_long_are_given_up_in_order(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 100 * MS, .timeout = 250 * MS);
    for (unsigned i = 0; i < 3; i++)
        turn(probe, T0 + i * 100 * MS);
    assert_int_equal(probe->waiting, 3);
    assert_int_equal(turn(probe, T0 + 240 * MS), T0 + 250 * MS);
    turn(probe, T0 + 250 * MS);
    assert_int_equal(probe->waiting, 2);
    assert_int_equal(inflight_oldest(probe), 2);
    turn(probe, T0 + 1000 * MS);
    assert_int_equal(probe->waiting, 8);
    assert_int_equal(inflight_oldest(probe), 4);
}

static void a_reply_through_another_link_is_from_a_wrong_source(void **state)
{
    struct probe *probe = *state;
    struct payload_identity identity = {PAYLOAD_GOOD, 1, 0};
    struct probe_arrival arrival = {.from = &peer, .size = 56, .now = T0 + MS};

    START(probe, .links = 2);
    turn(probe, T0);
    inflight_reply(probe->links[1], &identity, &arrival);
    assert_int_equal(last()->kind, PROBE_WRONG_SOURCE);
    assert_int_equal(probe->links[1]->received, 0);
}

static void order_is_that_of_a_link(void **state)
{
    struct probe *probe = *state;

    START(probe, .links = 2);
    for (unsigned i = 0; i < 4; i++)
        turn(probe, T0 + i * S);
    GOOD(probe, 2, T0 + 4 * S);
    GOOD(probe, 1, T0 + 4 * S);
    assert_false(last()->reordered);
    GOOD(probe, 4, T0 + 4 * S);
    GOOD(probe, 3, T0 + 4 * S);
    assert_int_equal(probe->counters.reordered, 0);
    assert_int_equal(probe->counters.received, 4);
}

static void what_is_given_up_is_told_to_its_link(void **state)
{
    struct probe *probe = *state;

    START(probe, .timeout = 500 * MS);
    turn(probe, T0);
    turn(probe, T0 + S);
    assert_int_equal(fake.given_up, 1);
    assert_int_equal(probe->waiting, 1);
}

static void how_long_connections_of_probes_took_is_told_with_the_reply(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    turn(probe, T0);
    frozen = T0 + 5 * MS;
    inflight_connected(probe->links[0], 1, 4 * MS);
    assert_int_equal(heard.count, 0);
    GOOD(probe, 1, T0 + 7 * MS);
    assert_int_equal(last()->connect, 4 * MS);
    assert_int_equal(last()->time, 2 * MS);
    assert_int_equal(probe->connect.max, 4 * MS);
}

/* ---- the kernel's time stamps ---- */

static void reply_stamped(struct probe *probe, uint64_t seq, uint64_t now, uint64_t stamp)
{
    struct payload_identity identity = {PAYLOAD_GOOD, seq, 0};
    struct probe_arrival arrival = {.from = &peer, .size = 56, .now = now, .stamp = stamp};

    inflight_reply(probe->links[0], &identity, &arrival);
}

/* Stamps are of another clock. */
#define REAL (1700000000 * S)

static void stamps_tell_the_round_trip_where_they_make_sense(void **state)
{
    static const struct {
        uint64_t sent;
        uint64_t received;
        uint64_t time;
    } cases[] = {
        {REAL, REAL + 2 * MS, 2 * MS},     /* between our own two */
        {REAL, REAL + 5 * MS, 5 * MS},     /* just so */
        {REAL, REAL, 0},                   /* no time at all */
        {REAL, REAL + 5 * MS + 1, 5 * MS}, /* the clock was put forward */
        {REAL, REAL - 1, 5 * MS},          /* ... or back */
        {0, REAL, 5 * MS},                 /* not known when it was sent */
        {REAL, 0, 5 * MS},                 /* ... or received */
    };
    struct probe *probe = *state;

    START(probe, .kernel_stamps = true);
    for (unsigned i = 0; i < COUNT(cases); i++) {
        turn(probe, T0 + i * S);
        inflight_stamp(probe, i + 1, cases[i].sent);
        reply_stamped(probe, i + 1, T0 + i * S + 5 * MS, cases[i].received);
        assert_int_equal(last()->kind, PROBE_RECEIVED);
        assert_int_equal(last()->time, cases[i].time);
    }
    assert_int_equal(probe->counters.stamped, 3);
    inflight_stamp(probe, 0, REAL);
    inflight_stamp(probe, 1000, REAL);
}

static void stamps_tell_that_a_delay_was_our_own(void **state)
{
    struct probe *probe = *state;

    START(probe, .kernel_stamps = true);
    turn(probe, T0);
    turn(probe, T0 + S + 30 * MS);
    inflight_stamp(probe, 2, REAL);
    reply_stamped(probe, 2, T0 + S + 35 * MS, REAL + MS);
    assert_int_equal(last()->time, MS);
    assert_int_equal(probe->counters.stamped, 1);
    assert_int_equal(probe->counters.delayed, 1);
}

static void stamps_do_not_hide_that_the_network_took_nothing(void **state)
{
    struct probe *probe = *state;

    START(probe, .kernel_stamps = true);
    turn(probe, T0);
    probe->links[0]->blocked = true;
    turn(probe, T0 + S);
    probe->links[0]->blocked = false;
    turn(probe, T0 + S + 30 * MS);
    inflight_stamp(probe, 2, REAL);
    reply_stamped(probe, 2, T0 + S + 35 * MS, REAL + MS);
    assert_int_equal(last()->time, 31 * MS);
    /* The next one is late for want of a wake-up again. */
    turn(probe, T0 + S + 40 * MS);
    turn(probe, T0 + 2 * S + 50 * MS);
    inflight_stamp(probe, 3, REAL);
    reply_stamped(probe, 3, T0 + 2 * S + 55 * MS, REAL + MS);
    assert_int_equal(last()->time, MS);
}

static void stamps_are_not_used_where_they_are_not_wanted(void **state)
{
    struct probe *probe = *state;

    START(probe, .kernel_stamps = false);
    turn(probe, T0);
    inflight_stamp(probe, 1, REAL);
    reply_stamped(probe, 1, T0 + 5 * MS, REAL + MS);
    assert_int_equal(last()->time, 5 * MS);
    assert_int_equal(probe->counters.stamped, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_good_reply_counts_once),
        TEST(order_is_noticed),
        TEST(ipdv_is_of_successive_probes_also_out_of_order),
        TEST(ipdv_skips_what_was_lost_or_late),
        TEST(late_replies_are_not_received),
        TEST(bad_replies_complete_their_probe_but_are_not_received),
        TEST(a_reply_to_nothing_completes_nothing),
        TEST(a_wrong_source_is_counted_apart),
        TEST(errors_complete_the_probe_they_name_or_else_the_oldest),
        TEST(a_probe_that_cannot_be_sent_is_an_error_of_its_own),
        TEST(as_many_are_remembered_as_the_timeout_needs),
        TEST(what_was_long_ago_is_late),
        TEST(more_than_memory_is_stated_for_is_an_error),
        TEST(those_that_wait_too_long_are_given_up_in_order),
        TEST(a_reply_through_another_link_is_from_a_wrong_source),
        TEST(order_is_that_of_a_link),
        TEST(what_is_given_up_is_told_to_its_link),
        TEST(how_long_connections_of_probes_took_is_told_with_the_reply),
        TEST(stamps_tell_the_round_trip_where_they_make_sense),
        TEST(stamps_tell_that_a_delay_was_our_own),
        TEST(stamps_do_not_hide_that_the_network_took_nothing),
        TEST(stamps_are_not_used_where_they_are_not_wanted),
    };

    return cmocka_run_group_tests_name("inflight", tests, NULL, NULL);
}
