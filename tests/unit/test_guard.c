/* SPDX-License-Identifier: ISC */
#include "guard.h"

#include "unit.h"

static const uint8_t no_ports[65536 / 8];

static enum guard_verdict judge(const struct guard *guard, const char *host, uint16_t port)
{
    struct net_addr source = address(host, port);

    return guard_judge(guard, &source);
}

static void only_the_ports_of_the_set_and_port_0_are_refused(void **state)
{
    uint8_t ports[65536 / 8] = {0};
    struct guard guard;

    (void)state;
    ports[7 / 8] |= 1U << 7 % 8;
    ports[65535 / 8] |= 1U << 65535 % 8;
    guard_init(&guard, ports);
    for (unsigned port = 0; port < 65536; port++) {
        bool refused = port == 0 || port == 7 || port == 65535;

        assert_int_equal(judge(&guard, "192.0.2.1", (uint16_t)port),
                         refused ? GUARD_REFUSE_PORT : GUARD_ANSWER);
    }
}

static void port_0_is_refused_where_nothing_else_is(void **state)
{
    struct guard guard;

    (void)state;
    guard_init(&guard, no_ports);
    assert_int_equal(judge(&guard, "192.0.2.1", 0), GUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "2001:db8::1", 0), GUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "2001:db8::1", 1), GUARD_ANSWER);
}

static void one_more_port_can_be_refused_for_both_families(void **state)
{
    struct guard guard;

    (void)state;
    guard_init(&guard, no_ports);
    guard_refuse_port(&guard, 7007);
    assert_int_equal(judge(&guard, "192.0.2.1", 7007), GUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "2001:db8::1", 7007), GUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "::ffff:192.0.2.1", 7007), GUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "192.0.2.1", 7006), GUARD_ANSWER);
    assert_int_equal(judge(&guard, "192.0.2.1", 7008), GUARD_ANSWER);
}

static void addresses_that_no_reply_can_go_to_are_refused(void **state)
{
    static const char *const refused[] = {
        "0.0.0.0",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "::",
        "ff02::1",
        "ff0e::1",
        "::ffff:224.0.0.1",
        "::ffff:0.0.0.0",
        "::ffff:239.1.2.3",
        "::ffff:255.255.255.255",
    };
    static const char *const answered[] = {
        "0.0.0.1", "127.0.0.1", "223.255.255.255", "240.0.0.1",       "::1",
        "fe80::1", "fec0::1",   "::ffff:10.0.0.1", "::ffff:127.0.0.1"};
    struct guard guard;

    (void)state;
    guard_init(&guard, no_ports);
    for (size_t i = 0; i < COUNT(refused); i++)
        assert_int_equal(judge(&guard, refused[i], 5000), GUARD_REFUSE_ADDRESS);
    for (size_t i = 0; i < COUNT(answered); i++)
        assert_int_equal(judge(&guard, answered[i], 5000), GUARD_ANSWER);
}

static void groups_are_multicast_and_the_limited_broadcast(void **state)
{
    static const struct {
        const char *host;
        bool group;
    } cases[] = {{"224.0.0.0", true},
                 {"239.255.255.255", true},
                 {"223.255.255.255", false},
                 {"240.0.0.0", false},
                 {"255.255.255.255", true},
                 {"255.255.255.254", false},
                 {"0.0.0.0", false},
                 {"ff00::", true},
                 {"ff02::1", true},
                 {"fe80::1", false},
                 {"::", false},
                 {"::ffff:224.0.0.1", true},
                 {"::ffff:10.0.0.1", false},
                 {"::ffff:255.255.255.255", true},
                 {"::ffff:0.0.0.0", false}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct net_addr addr = address(cases[i].host, 1);

        assert_int_equal(guard_is_group(&addr), cases[i].group);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_ports_of_the_set_and_port_0_are_refused),
        cmocka_unit_test(port_0_is_refused_where_nothing_else_is),
        cmocka_unit_test(one_more_port_can_be_refused_for_both_families),
        cmocka_unit_test(addresses_that_no_reply_can_go_to_are_refused),
        cmocka_unit_test(groups_are_multicast_and_the_limited_broadcast),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
