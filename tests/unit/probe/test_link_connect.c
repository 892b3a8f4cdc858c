/* SPDX-License-Identifier: ISC */
#include "probe/link_connect.h"
#include "unit/tcp_unit.h"

WRAP_FAILING(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(int, connect, -1, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len))

static int set_up(void **state)
{
    script_clear(&calloc_script);
    script_clear(&malloc_script);
    script_clear(&connect_script);
    *state = new_fixture();
    return 0;
}

static int tear_down(void **state)
{
    end_fixture(*state);
    return 0;
}

static void start(struct fixture *f)
{
    prepare(&f->probe, 56);
    assert_int_equal(probe_open(&f->probe, &probe_connect_ops, &f->peer), 0);
    assert_int_equal(heard.count, 0);
}

/* Send one, and let its payload arrive at the server. */
static void probe_once(struct fixture *f, uint8_t octets[static 56])
{
    send_one(&f->probe);
    pump();
    f->server = accept_one(f);
    read_all(f->server, octets, 56);
}

/* The probe has ended its connection. */
static void assert_ended(struct fixture *f)
{
    char octet;

    assert_true(readable(f->server, PATIENCE_MS));
    assert_true(read(f->server, &octet, 1) <= 0);
    hang_up(f);
}

static void each_probe_has_its_connection(void **state)
{
    struct fixture *f = *state;
    uint8_t octets[56];

    start(f);
    for (unsigned seq = 1; seq <= 3; seq++) {
        probe_once(f, octets);
        assert_int_equal(payload_compare(&f->probe.payload, seq, 0, octets, 56), 56);
        give(f, octets, sizeof octets);
        await_events(seq);
        assert_int_equal(last()->kind, PROBE_RECEIVED);
        assert_int_equal(last()->seq, seq);
        assert_int_equal(last()->size, 56);
        assert_true(last()->connect > 0);
        assert_true(addr_equal(&heard.from[seq - 1], &f->peer));
        assert_ended(f);
    }
    assert_int_equal(f->probe.connect.count, 3);
    assert_int_equal(probe_status(&f->probe), 0);
}

/* Connections have no order among them. */
static void many_may_be_under_way(void **state)
{
    struct fixture *f = *state;
    int servers[30];
    uint8_t octets[56];

    start(f);
    send_many(&f->probe, COUNT(servers));
    for (unsigned i = 0; i < COUNT(servers); i++) {
        while (!readable(f->listener, 0))
            pump();
        servers[i] = accept_one(f);
    }
    while (f->probe.connect.count < COUNT(servers))
        pump();
    for (unsigned i = COUNT(servers); i-- > 0;) {
        read_all(servers[i], octets, sizeof octets);
        f->server = servers[i];
        give(f, octets, sizeof octets);
        await_events(COUNT(servers) - i);
        assert_int_equal(last()->kind, PROBE_RECEIVED);
        hang_up(f);
    }
    assert_int_equal(f->probe.counters.received, COUNT(servers));
    assert_int_equal(f->probe.counters.reordered, 0);
}

static void giving_up_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    struct probe_link *link;
    uint8_t octets[56];
    unsigned before;
    int other;

    start(f);
    link = f->probe.links[0];
    probe_once(f, octets);
    other = f->server;
    before = open_descriptors();
    probe_once(f, octets);
    probe_connect_ops.give_up(link, 7);
    assert_int_equal(open_descriptors(), before + 2);
    probe_connect_ops.give_up(link, 1);
    assert_int_equal(open_descriptors(), before + 1);
    /* The other is not touched. */
    give(f, octets, 56);
    await_events(1);
    assert_int_equal(last()->seq, 2);
    hang_up(f);
    f->server = other;
    assert_ended(f);
}

static void what_is_under_way_at_the_end_is_closed(void **state)
{
    struct fixture *f = *state;

    start(f);
    send_many(&f->probe, 5);
    probe_fini(&f->probe); /* the end of the test counts descriptors */
}

static void assert_cannot_send(struct fixture *f, int error)
{
    unsigned before = open_descriptors();

    heard.count = 0;
    send_one(&f->probe);
    assert_int_equal(heard.count, 1);
    assert_int_equal(last()->kind, PROBE_ERROR);
    assert_int_equal(last()->error, error);
    assert_null(last()->from);
    assert_int_equal(open_descriptors(), before);
    assert_int_equal(f->probe.waiting, 0);
}

static void each_step_of_sending_may_fail(void **state)
{
    struct fixture *f = *state;

    start(f);
    SCRIPT(calloc_script, -ENOMEM);
    assert_cannot_send(f, ENOMEM);
    SCRIPT(malloc_script, -ENOMEM);
    assert_cannot_send(f, ENOMEM);
    SCRIPT(connect_script, -ENETUNREACH);
    assert_cannot_send(f, ENETUNREACH);
}

static void opening_takes_memory(void **state)
{
    struct fixture *f = *state;

    prepare(&f->probe, 56);
    SCRIPT(calloc_script, -ENOMEM);
    assert_int_equal(probe_open(&f->probe, &probe_connect_ops, &f->peer), -1);
    assert_int_equal(last()->kind, PROBE_FAILURE);
    assert_int_equal(last()->error, ENOMEM);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_probe_has_its_connection), TEST(many_may_be_under_way),
        TEST(giving_up_ends_the_connection), TEST(what_is_under_way_at_the_end_is_closed),
        TEST(each_step_of_sending_may_fail), TEST(opening_takes_memory),
    };

    return cmocka_run_group_tests_name("link_connect", tests, NULL, NULL);
}
