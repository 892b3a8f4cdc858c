/* SPDX-License-Identifier: ISC */
#include "probe.h"

#include <signal.h>

#include "unit.h"

#define MS UINT64_C(1000000)
#define S  PROBE_SECOND

/* When most tests begin. */
#define T0 (100 * S)

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP_FAILING(int, ppoll, -1,
             (struct pollfd * fds, nfds_t n, const struct timespec *timeout, const sigset_t *mask),
             (fds, n, timeout, mask))
WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t len, unsigned flags), (buf, len, flags))
WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))

/* ---- a link that remembers what it was asked to send, and a listener that remembers events ----
 */

static struct {
    bool cannot_open;
    unsigned open;
    uint64_t sent; /* the last one */
    int send_error;
    int fd[2]; /* what is written to one end makes the other readable */
    unsigned ready;
    uint64_t stop_after; /* raise SIGINT when this one is sent */
} fake;

static struct {
    struct probe_event events[64];
    unsigned count;
    bool refuse;
} heard;

static struct net_addr peer;
static unsigned descriptors;

static struct probe_link *fake_open(struct probe *probe, const struct net_addr *to);

static void fake_send(struct probe_link *link, uint64_t seq)
{
    fake.sent = seq;
    if (fake.send_error)
        probe_error(link->probe, seq, fake.send_error, NULL, probe_now());
    if (seq == fake.stop_after)
        raise(SIGINT);
}

/* Answers every probe that has been sent. */
static void fake_ready(struct probe_link *link, short revents)
{
    char octet;

    assert_true(revents & POLLIN);
    assert_int_equal(read(fake.fd[0], &octet, 1), 1);
    fake.ready++;
    probe_reply(link->probe, &(struct payload_identity){.seq = fake.sent}, 56, &peer, probe_now());
}

static void fake_close(struct probe_link *link)
{
    fake.open--;
    free(link);
}

static const struct probe_ops fake_ops = {.name = "fake",
                                          .type = SOCK_DGRAM,
                                          .open = fake_open,
                                          .send = fake_send,
                                          .ready = fake_ready,
                                          .close = fake_close};

static struct probe_link *fake_open(struct probe *probe, const struct net_addr *to)
{
    struct probe_link *link;

    if (fake.cannot_open) {
        probe_failed(probe, to, ENETUNREACH, 2);
        return NULL;
    }
    link = malloc(sizeof *link);
    assert_non_null(link);
    *link = (struct probe_link){&fake_ops, probe, *to, fake.fd[0], POLLIN};
    fake.open++;
    return link;
}

static bool listen_to(void *context, const struct probe_event *event)
{
    assert_ptr_equal(context, &heard);
    assert_true(heard.count < COUNT(heard.events));
    heard.events[heard.count++] = *event;
    return !heard.refuse;
}

static const struct probe_event *last(void)
{
    assert_true(heard.count > 0);
    return &heard.events[heard.count - 1];
}

static int set_up(void **state)
{
    struct probe *probe = test_calloc(1, sizeof *probe);

    probe->signals = -1;
    memset(&fake, 0, sizeof fake);
    memset(&heard, 0, sizeof heard);
    assert_int_equal(pipe(fake.fd), 0);
    peer = address("127.0.0.1", 7);
    descriptors = open_descriptors();
    script_clear(&signalfd_script);
    script_clear(&ppoll_script);
    script_clear(&getrandom_script);
    script_clear(&calloc_script);
    *state = probe;
    return 0;
}

static int tear_down(void **state)
{
    struct probe *probe = *state;
    sigset_t mask;

    probe_fini(probe);
    assert_int_equal(fake.open, 0);
    assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
    assert_false(sigismember(&mask, SIGINT));
    assert_int_equal(open_descriptors(), descriptors);
    close(fake.fd[0]);
    close(fake.fd[1]);
    test_free(probe);
    return 0;
}

static void start(struct probe *probe, struct probe_settings settings)
{
    if (settings.interval == 0)
        settings.interval = S;
    settings.size = 56;
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), 0);
    if (probe->deadline != 0)
        probe->deadline = T0 + settings.deadline;
}

#define START(probe, ...) start((probe), (struct probe_settings){__VA_ARGS__})

static void reply(struct probe *probe, enum payload_verdict verdict, uint64_t seq, uint64_t now)
{
    struct payload_identity identity = {verdict, seq, 0};

    probe_reply(probe, &identity, 56, &peer, now);
}

#define GOOD(probe, seq, now) reply((probe), PAYLOAD_GOOD, (seq), (now))

/* ---- the schedule ---- */

static void the_first_probe_is_sent_at_once_and_the_others_on_time(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 200 * MS);
    assert_int_equal(probe_turn(probe, T0), T0 + 200 * MS);
    assert_int_equal(fake.sent, 1);
    assert_int_equal(probe_turn(probe, T0 + 199 * MS), T0 + 200 * MS);
    assert_int_equal(fake.sent, 1);
    /* One that is late does not put off the next. */
    assert_int_equal(probe_turn(probe, T0 + 350 * MS), T0 + 400 * MS);
    assert_int_equal(fake.sent, 2);
    /* Two that are due are sent one a turn. */
    assert_int_equal(probe_turn(probe, T0 + 650 * MS), T0 + 600 * MS);
    assert_int_equal(probe_turn(probe, T0 + 650 * MS), T0 + 800 * MS);
    assert_int_equal(fake.sent, 4);
    assert_false(probe_finished(probe, T0 + 650 * MS));
}

static void a_long_stop_is_not_made_up_for(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 100 * MS);
    probe_turn(probe, T0);
    assert_int_equal(probe_turn(probe, T0 + 60 * S), T0 + 60 * S);
    assert_int_equal(probe_turn(probe, T0 + 60 * S), T0 + 60 * S + 100 * MS);
    assert_int_equal(fake.sent, 3);
}

static void count_ends_as_soon_as_all_are_answered(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    probe_turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    assert_false(probe_finished(probe, T0 + MS));
    probe_turn(probe, T0 + S);
    probe_turn(probe, T0 + 3 * S);
    assert_int_equal(fake.sent, 2);
    GOOD(probe, 2, T0 + S + MS);
    assert_true(probe_finished(probe, T0 + S + MS));
    assert_int_equal(probe_status(probe), 0);
}

static void without_any_reply_the_last_is_waited_for_ten_seconds(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    assert_int_equal(probe_turn(probe, T0), T0 + 10 * S);
    assert_false(probe_finished(probe, T0 + 10 * S - 1));
    assert_true(probe_finished(probe, T0 + 10 * S));
    assert_int_equal(probe_status(probe), 1);
}

static void after_a_reply_the_last_is_waited_for_two_round_trips(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    probe_turn(probe, T0);
    GOOD(probe, 1, T0 + 800 * MS);
    assert_int_equal(probe_turn(probe, T0 + S), T0 + S + 1600 * MS);
    assert_false(probe_finished(probe, T0 + S + 1600 * MS - 1));
    assert_true(probe_finished(probe, T0 + S + 1600 * MS));
    assert_int_equal(probe_status(probe), 0);
}

static void waiting_for_the_last_takes_an_interval_at_least_and_ten_seconds_at_most(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    probe_turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    assert_int_equal(probe_turn(probe, T0 + S), T0 + 2 * S);
    probe->rtt.max = 9 * S;
    assert_int_equal(probe_turn(probe, T0 + S), T0 + S + 10 * S);
}

static void timeout_is_for_the_last_too(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1, .timeout = 300 * MS);
    assert_int_equal(probe_turn(probe, T0), T0 + 300 * MS);
    assert_true(probe_finished(probe, T0 + 300 * MS));
}

static void deadline_ends_whatever_was_answered(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 1500 * MS);
    assert_int_equal(probe_turn(probe, T0), T0 + S);
    GOOD(probe, 1, T0 + MS);
    assert_int_equal(probe_turn(probe, T0 + S), T0 + 1500 * MS);
    assert_false(probe_finished(probe, T0 + 1500 * MS - 1));
    assert_true(probe_finished(probe, T0 + 1500 * MS));
    assert_int_equal(probe_status(probe), 0);
}

static void with_count_and_deadline_so_many_replies_are_wanted(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2, .deadline = 10 * S);
    probe_turn(probe, T0);
    probe_turn(probe, T0 + S);
    GOOD(probe, 2, T0 + S + MS);
    assert_false(probe_finished(probe, T0 + S + MS));
    assert_int_equal(probe_status(probe), 1);
    probe_turn(probe, T0 + 2 * S);
    assert_int_equal(fake.sent, 3);
    GOOD(probe, 3, T0 + 2 * S + MS);
    assert_true(probe_finished(probe, T0 + 2 * S + MS));
    assert_int_equal(probe_status(probe), 0);
}

static void with_a_deadline_an_error_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 10 * S);
    probe_turn(probe, T0);
    assert_false(probe_finished(probe, T0));
    probe_error(probe, 1, ECONNREFUSED, &peer, T0 + MS);
    assert_true(probe_finished(probe, T0 + MS));
    probe_error(probe, 1, EHOSTUNREACH, &peer, T0 + MS);
    assert_true(probe_finished(probe, T0 + MS));
    assert_int_equal(probe_status(probe), 1);
}

/* ---- replies ---- */

static void a_good_reply_counts_once(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 5);
    probe_turn(probe, T0);
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
        probe_turn(probe, T0 + i * MS);
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

static void late_replies_are_not_received(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 3, .timeout = 500 * MS);
    probe_turn(probe, T0);
    probe_turn(probe, T0 + S);
    GOOD(probe, 1, T0 + S);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(last()->time, S);
    GOOD(probe, 1, T0 + S);
    assert_int_equal(last()->kind, PROBE_DUPLICATE);
    /* In time to the nanosecond, and just not, before anybody noticed. */
    GOOD(probe, 2, T0 + S + 500 * MS - 1);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    probe_turn(probe, T0 + 2 * S);
    GOOD(probe, 3, T0 + 2 * S + 500 * MS);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(probe->counters.late, 2);
    assert_int_equal(probe->counters.received, 1);
}

static void bad_replies_settle_their_probe_but_are_not_received(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2, .interval = MS);
    probe_turn(probe, T0);
    probe_turn(probe, T0 + MS);
    reply(probe, PAYLOAD_CORRUPT, 1, T0 + 2 * MS);
    assert_int_equal(last()->kind, PROBE_CORRUPT);
    assert_false(probe_finished(probe, T0 + 2 * MS));
    reply(probe, PAYLOAD_TRUNCATED, 2, T0 + 2 * MS);
    assert_int_equal(last()->kind, PROBE_TRUNCATED);
    assert_true(probe_finished(probe, T0 + 2 * MS));
    assert_int_equal(probe->counters.corrupt, 1);
    assert_int_equal(probe->counters.truncated, 1);
    assert_int_equal(probe->counters.received, 0);
    assert_int_equal(probe_status(probe), 1);
    /* A good one may still come. */
    GOOD(probe, 1, T0 + 3 * MS);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
}

static void a_reply_to_nothing_settles_nothing(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    probe_turn(probe, T0);
    reply(probe, PAYLOAD_FOREIGN, 0, T0 + MS);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    reply(probe, PAYLOAD_CORRUPT, 0, T0 + MS);
    assert_int_equal(last()->kind, PROBE_CORRUPT);
    assert_int_equal(last()->time, 0);
    assert_int_equal(probe->counters.foreign, 1);
    assert_int_equal(probe->counters.corrupt, 1);
    assert_false(probe_finished(probe, T0 + MS));
}

static void a_wrong_source_is_counted_apart(void **state)
{
    struct probe *probe = *state;
    struct net_addr other = address("127.0.0.2", 7);
    struct net_addr port = address("127.0.0.1", 8);
    struct payload_identity identity = {PAYLOAD_GOOD, 1, 0};

    START(probe, .count = 1);
    probe_turn(probe, T0);
    /* Too short to prove that who sent it has seen ours. */
    probe_reply(probe, &identity, PAYLOAD_HEADER - 1, &other, T0 + MS);
    assert_int_equal(last()->kind, PROBE_WRONG_SOURCE);
    assert_false(probe_finished(probe, T0 + MS));
    probe_reply(probe, &identity, PAYLOAD_HEADER, &port, T0 + MS);
    assert_int_equal(last()->kind, PROBE_WRONG_SOURCE);
    assert_true(probe_finished(probe, T0 + MS));
    identity.verdict = PAYLOAD_FOREIGN;
    probe_reply(probe, &identity, 56, &other, T0 + MS);
    assert_int_equal(last()->kind, PROBE_FOREIGN);
    assert_int_equal(probe->counters.wrong_source, 2);
    assert_int_equal(probe->counters.received, 0);
}

static void errors_settle_the_probe_they_name_or_else_the_oldest(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 3, .interval = MS);
    for (unsigned i = 0; i < 3; i++)
        probe_turn(probe, T0 + i * MS);
    probe_error(probe, 2, ECONNREFUSED, &peer, T0 + 5 * MS);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->seq, 2);
    assert_int_equal(last()->time, 4 * MS);
    probe_error(probe, 0, EHOSTUNREACH, NULL, T0 + 5 * MS);
    assert_int_equal(last()->seq, 1);
    assert_null(last()->from);
    assert_int_equal(probe_oldest_waiting(probe), 3);
    probe_error(probe, 0, ECONNREFUSED, &peer, T0 + 5 * MS);
    assert_int_equal(last()->seq, 3);
    assert_int_equal(probe_oldest_waiting(probe), 0);
    probe_error(probe, 0, ECONNREFUSED, &peer, T0 + 5 * MS);
    assert_int_equal(last()->seq, 0);
    assert_int_equal(probe->counters.refused, 3);
    assert_int_equal(probe->counters.errors, 1);
    assert_true(probe_finished(probe, T0 + 5 * MS));
}

static void a_probe_that_cannot_be_sent_is_an_error_of_its_own(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    fake.send_error = EPERM;
    probe_turn(probe, T0);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->seq, 1);
    assert_int_equal(probe->counters.sent, 1);
    assert_true(probe_finished(probe, T0));
}

static void only_so_many_probes_are_remembered(void **state)
{
    struct probe *probe = *state;
    uint64_t now = T0;

    START(probe, .interval = 1);
    for (uint64_t i = 0; i < PROBE_MEMORY + 1; i++)
        probe_turn(probe, now++);
    assert_int_equal(probe->waiting, PROBE_MEMORY);
    assert_int_equal(probe_oldest_waiting(probe), 2);
    GOOD(probe, 1, now);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(last()->time, 0);
    GOOD(probe, 2, now);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    GOOD(probe, PROBE_MEMORY + 2, now);
    assert_int_equal(last()->kind, PROBE_LATE);
    assert_int_equal(probe->waiting, PROBE_MEMORY - 1);
}

static void those_that_wait_too_long_are_given_up_in_order(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = 100 * MS, .timeout = 250 * MS);
    for (unsigned i = 0; i < 3; i++)
        probe_turn(probe, T0 + i * 100 * MS);
    assert_int_equal(probe->waiting, 3);
    assert_int_equal(probe_turn(probe, T0 + 240 * MS), T0 + 250 * MS);
    probe_turn(probe, T0 + 250 * MS);
    assert_int_equal(probe->waiting, 2);
    assert_int_equal(probe_oldest_waiting(probe), 2);
    probe_turn(probe, T0 + 1000 * MS);
    assert_int_equal(probe->waiting, 1);
    assert_int_equal(probe_oldest_waiting(probe), 4);
}

/* ---- the connection ---- */

static void a_connection_that_ends_early_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 2);
    probe_connected(probe, &peer, 7);
    assert_int_equal(last()->kind, PROBE_CONNECTED);
    assert_int_equal(last()->time, 7);
    assert_int_equal(probe->connect_time, 7);
    probe_turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    probe_closed(probe, ECONNRESET);
    assert_int_equal(last()->kind, PROBE_CLOSED);
    assert_int_equal(last()->error, ECONNRESET);
    assert_true(probe_finished(probe, T0 + MS));
    assert_int_equal(probe_status(probe), 1);
}

static void a_connection_that_ends_after_the_last_reply_is_fine(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    probe_turn(probe, T0);
    GOOD(probe, 1, T0 + MS);
    probe_closed(probe, 0);
    assert_int_equal(last()->kind, PROBE_RECEIVED);
    assert_int_equal(probe_status(probe), 0);
}

static void connecting_may_take_as_long_as_a_reply_but_not_beyond_the_deadline(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 5 * S);
    assert_int_equal(probe_connect_until(probe, T0), T0 + 5 * S);
    probe->settings.timeout = 2 * S;
    assert_int_equal(probe_connect_until(probe, T0), T0 + 2 * S);
    probe->settings.timeout = 0;
    probe->deadline = 0;
    assert_int_equal(probe_connect_until(probe, T0), T0 + 10 * S);
}

static void another_peer_may_be_tried(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.count = 1, .interval = S};

    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    fake.cannot_open = true;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ENETUNREACH);
    assert_int_equal(probe_status(probe), 2);
    fake.cannot_open = false;
    assert_int_equal(probe_open(probe, &fake_ops, &peer), 0);
    assert_int_equal(probe_status(probe), 1);
}

/* ---- running ---- */

static void run_sends_waits_and_receives(void **state)
{
    struct probe *probe = *state;
    uint64_t elapsed;

    START(probe, .count = 3, .interval = MS);
    assert_int_equal(write(fake.fd[1], "abc", 3), 3);
    elapsed = probe_run(probe);
    assert_int_equal(fake.ready, 3);
    assert_int_equal(probe->counters.sent, 3);
    assert_in_range(elapsed, 2 * MS, PATIENCE_MS * MS);
    assert_int_equal(probe_status(probe), probe->counters.received == 0);
}

static void run_does_not_wait_for_a_probe_that_could_not_be_sent(void **state)
{
    struct probe *probe = *state;

    START(probe, .count = 1);
    fake.send_error = EPERM;
    probe_run(probe);
    assert_int_equal(ppoll_script.calls, 0);
    assert_int_equal(probe->counters.errors, 1);
}

static void a_deadline_in_the_past_sends_nothing(void **state)
{
    struct probe *probe = *state;

    START(probe, .deadline = 1);
    probe->deadline = 1;
    assert_int_equal(probe_run(probe), 0);
    assert_int_equal(fake.sent, 0);
}

static void deadline_counts_from_the_first_attempt_to_open(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.deadline = S, .interval = S};
    uint64_t deadline;

    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    fake.cannot_open = true;
    probe_open(probe, &fake_ops, &peer);
    deadline = probe->deadline;
    assert_true(deadline > probe_now());
    probe_open(probe, &fake_ops, &peer);
    assert_int_equal(probe->deadline, deadline);
}

static void interrupt_ends_and_quit_asks(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    fake.stop_after = 1;
    raise(SIGQUIT);
    probe_run(probe);
    assert_int_equal(fake.sent, 1);
    assert_int_equal(last()->kind, PROBE_STATUS);
    assert_true(probe->stopped);
    assert_int_equal(probe_status(probe), 1);
    GOOD(probe, 1, probe_now());
    assert_int_equal(probe_status(probe), 0);
}

static void terminate_ends_too(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    raise(SIGTERM);
    probe_run(probe);
    assert_true(probe->stopped);
}

static void a_listener_that_cannot_go_on_ends_the_run(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = S);
    probe_turn(probe, T0);
    heard.refuse = true;
    GOOD(probe, 1, T0 + MS);
    assert_true(probe_finished(probe, T0 + MS));
    assert_int_equal(probe_status(probe), 2);
}

static void an_interrupted_wait_goes_on_and_a_failed_one_ends(void **state)
{
    struct probe *probe = *state;

    START(probe, .interval = MS);
    SCRIPT(ppoll_script, -EINTR, -EINTR, -ENOMEM);
    probe_run(probe);
    assert_true(script_done(&ppoll_script));
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ENOMEM);
    assert_int_equal(probe_status(probe), 2);
}

static void what_is_missing_at_the_start_is_told(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.count = 1, .interval = S};

    SCRIPT(getrandom_script, -ENOSYS);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), -1);
    assert_int_equal(errno, ENOSYS);
    probe_fini(probe);
    SCRIPT(calloc_script, -ENOMEM);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), -1);
    assert_int_equal(errno, ENOMEM);
    probe_fini(probe);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    SCRIPT(signalfd_script, -EMFILE);
    assert_int_equal(probe_open(probe, &fake_ops, &peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, EMFILE);
    assert_int_equal(probe_status(probe), 2);
}

static void nothing_of_an_earlier_use_is_left(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.size = 56};

    memset(probe, 0xa5, sizeof *probe);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_int_equal(probe->counters.sent, 0);
    assert_int_equal(probe->rtt.count, 0);
    assert_int_equal(probe->payload.size, 56);
    probe_fini(probe);
    probe_fini(probe);
    START(probe, .count = 1);
    probe_fini(probe);
    probe_fini(probe);
}

static void time_is_monotonic_and_in_nanoseconds(void **state)
{
    struct timespec ts;
    uint64_t before;
    uint64_t now;

    (void)state;
    before = probe_now();
    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = (uint64_t)ts.tv_sec * S + (uint64_t)ts.tv_nsec;
    assert_in_range(now, before, probe_now());
}

static void runs_differ_in_their_nonce(void **state)
{
    struct probe *probe = *state;
    struct probe_settings settings = {.size = 56};
    uint64_t nonce;

    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    nonce = probe->payload.nonce;
    probe_fini(probe);
    assert_int_equal(probe_init(probe, &settings, listen_to, &heard), 0);
    assert_true(probe->payload.nonce != nonce);
}

static void sizes_are_what_the_protocols_carry(void **state)
{
    (void)state;
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_INET), 65507);
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_INET6), 65527);
    assert_int_equal(probe_max_size(&probe_udp_ops, AF_UNSPEC), 65527);
    assert_int_equal(probe_max_size(&probe_tcp_ops, AF_INET), 16777216);
    assert_int_equal(probe_min_size(&probe_udp_ops), 0);
    assert_int_equal(probe_min_size(&probe_tcp_ops), 1);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_probe_is_sent_at_once_and_the_others_on_time),
        TEST(a_long_stop_is_not_made_up_for),
        TEST(count_ends_as_soon_as_all_are_answered),
        TEST(without_any_reply_the_last_is_waited_for_ten_seconds),
        TEST(after_a_reply_the_last_is_waited_for_two_round_trips),
        TEST(waiting_for_the_last_takes_an_interval_at_least_and_ten_seconds_at_most),
        TEST(timeout_is_for_the_last_too),
        TEST(deadline_ends_whatever_was_answered),
        TEST(with_count_and_deadline_so_many_replies_are_wanted),
        TEST(with_a_deadline_an_error_ends_the_run),
        TEST(a_good_reply_counts_once),
        TEST(order_is_noticed),
        TEST(late_replies_are_not_received),
        TEST(bad_replies_settle_their_probe_but_are_not_received),
        TEST(a_reply_to_nothing_settles_nothing),
        TEST(a_wrong_source_is_counted_apart),
        TEST(errors_settle_the_probe_they_name_or_else_the_oldest),
        TEST(a_probe_that_cannot_be_sent_is_an_error_of_its_own),
        TEST(only_so_many_probes_are_remembered),
        TEST(those_that_wait_too_long_are_given_up_in_order),
        TEST(a_connection_that_ends_early_ends_the_run),
        TEST(a_connection_that_ends_after_the_last_reply_is_fine),
        TEST(connecting_may_take_as_long_as_a_reply_but_not_beyond_the_deadline),
        TEST(another_peer_may_be_tried),
        TEST(run_sends_waits_and_receives),
        TEST(run_does_not_wait_for_a_probe_that_could_not_be_sent),
        TEST(a_deadline_in_the_past_sends_nothing),
        TEST(deadline_counts_from_the_first_attempt_to_open),
        TEST(interrupt_ends_and_quit_asks),
        TEST(terminate_ends_too),
        TEST(a_listener_that_cannot_go_on_ends_the_run),
        TEST(an_interrupted_wait_goes_on_and_a_failed_one_ends),
        TEST(what_is_missing_at_the_start_is_told),
        TEST(nothing_of_an_earlier_use_is_left),
        TEST(time_is_monotonic_and_in_nanoseconds),
        TEST(runs_differ_in_their_nonce),
        TEST(sizes_are_what_the_protocols_carry),
    };

    return cmocka_run_group_tests_name("probe", tests, NULL, NULL);
}
