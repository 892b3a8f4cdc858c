/* SPDX-License-Identifier: ISC */
#include "daemon/admission/loopguard.h"

#include "unit/unit.h"

static const uint8_t no_ports[65536 / 8];

static enum loopguard_verdict judge(const struct loopguard *guard, const char *host, uint16_t port)
{
    struct addr source = address(host, port);

    return loopguard_judge(guard, &source);
}

static void only_the_ports_of_the_set_and_port_0_are_refused(void **state)
{
    uint8_t ports[65536 / 8] = {0};
    struct loopguard guard;

    (void)state;
    ports[7 / 8] |= 1U << 7 % 8;
    ports[65535 / 8] |= 1U << 65535 % 8;
    loopguard_init(&guard, ports);
    for (unsigned port = 0; port < 65536; port++) {
        bool refused = port == 0 || port == 7 || port == 65535;

        assert_int_equal(judge(&guard, "192.0.2.1", (uint16_t)port),
                         refused ? LOOPGUARD_REFUSE_PORT : LOOPGUARD_ANSWER);
    }
}

static void port_0_is_refused_where_nothing_else_is(void **state)
{
    struct loopguard guard;

    (void)state;
    loopguard_init(&guard, no_ports);
    assert_int_equal(judge(&guard, "192.0.2.1", 0), LOOPGUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "2001:db8::1", 0), LOOPGUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "2001:db8::1", 1), LOOPGUARD_ANSWER);
}

static void one_more_port_can_be_refused_for_both_families(void **state)
{
    struct loopguard guard;

    (void)state;
    loopguard_init(&guard, no_ports);
    loopguard_refuse_port(&guard, 7007);
    assert_int_equal(judge(&guard, "192.0.2.1", 7007), LOOPGUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "2001:db8::1", 7007), LOOPGUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "::ffff:192.0.2.1", 7007), LOOPGUARD_REFUSE_PORT);
    assert_int_equal(judge(&guard, "192.0.2.1", 7006), LOOPGUARD_ANSWER);
    assert_int_equal(judge(&guard, "192.0.2.1", 7008), LOOPGUARD_ANSWER);
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
    struct loopguard guard;

    (void)state;
    loopguard_init(&guard, no_ports);
    for (size_t i = 0; i < COUNT(refused); i++)
        assert_int_equal(judge(&guard, refused[i], 5000), LOOPGUARD_REFUSE_ADDRESS);
    for (size_t i = 0; i < COUNT(answered); i++)
        assert_int_equal(judge(&guard, answered[i], 5000), LOOPGUARD_ANSWER);
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
        struct addr addr = address(cases[i].host, 1);

        assert_int_equal(loopguard_is_group(&addr), cases[i].group);
    }
}

/* ---- hops ---- */

static void no_client_counts_as_a_reply_of_ours(void **state)
{
    static const int initial[] = {30, 32, 60, 64, 128, 255};

    (void)state;
    assert_false(loopguard_has_reply_ttl(0));
    for (size_t i = 0; i < COUNT(initial); i++)
        for (int away = 0; away < 60 && away < initial[i]; away++)
            assert_false(loopguard_has_reply_ttl(initial[i] - away));
    for (int away = 0; away < 40; away++)
        assert_true(loopguard_has_reply_ttl(LOOPGUARD_TTL - away));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_ports_of_the_set_and_port_0_are_refused),
        cmocka_unit_test(port_0_is_refused_where_nothing_else_is),
        cmocka_unit_test(one_more_port_can_be_refused_for_both_families),
        cmocka_unit_test(addresses_that_no_reply_can_go_to_are_refused),
        cmocka_unit_test(groups_are_multicast_and_the_limited_broadcast),
        cmocka_unit_test(no_client_counts_as_a_reply_of_ours),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
