/* SPDX-License-Identifier: ISC */
#include "common/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>

#include "unit/unit.h"

/* ---- text ---- */

static const char *parsed(const char *text)
{
    static char buf[ADDR_STRLEN];
    struct addr addr;

    return addr_parse(text, 7, &addr) < 0 ? "" : addr_print(&addr, buf);
}

static void addresses_parse_with_and_without_port(void **state)
{
    static const char *const cases[][2] = {
        {"192.0.2.1", "192.0.2.1:7"},
        {"192.0.2.1:7007", "192.0.2.1:7007"},
        {"0.0.0.0", "0.0.0.0:7"},
        {"255.255.255.255:65535", "255.255.255.255:65535"},
        {"2001:db8::1", "[2001:db8::1]:7"},
        {"2001:DB8:0:0:0:0:0:1", "[2001:db8::1]:7"},
        {"[2001:db8::1]", "[2001:db8::1]:7"},
        {"[2001:db8::1]:7007", "[2001:db8::1]:7007"},
        {"::", "[::]:7"},
        {"[::]:1", "[::]:1"},
        {"::ffff:192.0.2.1", "[::ffff:192.0.2.1]:7"},
        {"1:2:3:4:5:6:7:8", "[1:2:3:4:5:6:7:8]:7"},
        {"192.0.2.1:00007", "192.0.2.1:7"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        assert_string_equal(parsed(cases[i][0]), cases[i][1]);
}

static void text_that_is_no_address_is_einval(void **state)
{
    static const char *const wrong[] = {
        "",
        " ",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.1 ",
        " 192.0.2.1",
        "192.0.2.1:",
        "192.0.2.1:x",
        "192.0.2.1:7x",
        "192.0.2.1:-7",
        "192.0.2.1:+7",
        "192.0.2.1: 7",
        ":7",
        "7",
        ":",
        "[]",
        "[]:7",
        "[::1",
        "[::1]7",
        "[::1]:",
        "[::1]:7:7",
        "[::1]x:7",
        "::1]:7",
        "[192.0.2.1]",
        "[192.0.2.1]:7",
        "[[::1]]:7",
        "1:2:3:4:5:6:7:8:9",
        "2001:db8::g",
        "::1/64",
        "1111111111111111111111111111111111111111111111111111111111111111111111111111111111111",
    };

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct addr addr;

        errno = 0;
        if (addr_parse(wrong[i], 7, &addr) == 0)
            fail_msg("'%s' was taken for an address", wrong[i]);
        assert_int_equal(errno, EINVAL);
    }
}

static void ports_are_1_to_65535(void **state)
{
    static const char *const wrong[] = {"192.0.2.1:0",     "192.0.2.1:65536",
                                        "192.0.2.1:99999", "[::1]:0",
                                        "[::1]:1000000",   "192.0.2.1:18446744073709551623"};
    struct addr addr;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        errno = 0;
        assert_int_equal(addr_parse(wrong[i], 7, &addr), -1);
        assert_int_equal(errno, ERANGE);
    }
    assert_int_equal(addr_parse("192.0.2.1:65535", 7, &addr), 0);
    assert_int_equal(addr_port(&addr), 65535);
}

static void a_zone_is_an_interface(void **state)
{
    struct addr addr;
    char name[IF_NAMESIZE];
    char text[64];
    char buf[ADDR_STRLEN];

    (void)state;
    if (!if_indextoname(1, name))
        skip_because("no network interface");
    snprintf(text, sizeof text, "fe80::1%%%s", name);
    assert_int_equal(addr_parse(text, 7, &addr), 0);
    assert_int_equal(addr.in6.sin6_scope_id, 1);
    assert_string_equal(addr_print_host(&addr, buf), text);
    snprintf(text, sizeof text, "[fe80::1%%%s]:7007", name);
    assert_int_equal(addr_parse(text, 7, &addr), 0);
    assert_string_equal(addr_print(&addr, buf), text);
}

static void addresses_of_two_zones_do_not_overlap(void **state)
{
    struct addr addr, any, other;
    char name[IF_NAMESIZE], text[64], buf[ADDR_STRLEN];

    (void)state;
    if (!if_indextoname(1, name))
        skip_because("no network interface");
    snprintf(text, sizeof text, "192.0.2.1%%%s:7007", name);
    assert_int_equal(addr_parse(text, 7, &addr), 0);
    assert_int_equal(addr_zone(&addr), 1);
    assert_string_equal(addr_print(&addr, buf), text);
    any = address("192.0.2.1", 7007);
    assert_false(addr_equal(&addr, &any));
    assert_true(addr_overlap(&addr, &any));
    other = address("::", 7);
    any = address("::", 7);
    other.in6.sin6_scope_id = 2;
    any.in6.sin6_scope_id = 1;
    assert_false(addr_overlap(&any, &other));
    any.in6.sin6_scope_id = 0;
    assert_true(addr_overlap(&any, &other));
}

static void an_unknown_zone_is_enodev(void **state)
{
    static const char *const wrong[] = {"fe80::1%none0", "[fe80::1%none0]:7", "fe80::1%",
                                        "192.0.2.1%none0"};
    struct addr addr;

    (void)state;
    for (size_t i = 0; i < COUNT(wrong); i++) {
        errno = 0;
        assert_int_equal(addr_parse(wrong[i], 7, &addr), -1);
        assert_int_equal(errno, ENODEV);
    }
}

/* The interface of a zone may be gone; the longest text must fit. */
static void any_address_can_be_printed(void **state)
{
    struct addr addr = address("fe80::1", 65535);
    struct addr none = {.len = 0};
    char buf[ADDR_STRLEN];

    (void)state;
    addr.in6.sin6_scope_id = 0xfffffff0;
    assert_string_equal(addr_print(&addr, buf), "[fe80::1%4294967280]:65535");
    assert_string_equal(addr_print_host(&addr, buf), "fe80::1%4294967280");
    addr = address("1111:2222:3333:4444:5555:6666:7777:8888", 65535);
    addr.in6.sin6_scope_id = 0xfffffff0;
    assert_string_equal(addr_print(&addr, buf),
                        "[1111:2222:3333:4444:5555:6666:7777:8888%4294967280]:65535");
    assert_ptr_equal(addr_print_host(&none, buf), buf);
    assert_string_equal(buf, "unknown");
    addr = address("192.0.2.1", 7);
    assert_string_equal(addr_print_host(&addr, buf), "192.0.2.1");
}

/* ---- comparing ---- */

static bool equal(const char *a, const char *b)
{
    struct addr one = address("::", 0);
    struct addr two = address("::", 0);

    assert_int_equal(addr_parse(a, 7, &one), 0);
    assert_int_equal(addr_parse(b, 7, &two), 0);
    assert_int_equal(addr_equal(&one, &two), addr_equal(&two, &one));
    return addr_equal(&one, &two);
}

static bool overlap(const char *a, const char *b)
{
    struct addr one = address("::", 0);
    struct addr two = address("::", 0);

    assert_int_equal(addr_parse(a, 7, &one), 0);
    assert_int_equal(addr_parse(b, 7, &two), 0);
    assert_int_equal(addr_overlap(&one, &two), addr_overlap(&two, &one));
    return addr_overlap(&one, &two);
}

static void equal_addresses_are_the_same_in_every_part(void **state)
{
    struct addr a = address("fe80::1", 7);
    struct addr b = a;

    (void)state;
    assert_true(equal("192.0.2.1", "192.0.2.1:7"));
    assert_true(equal("::1", "[0:0::1]:7"));
    assert_false(equal("192.0.2.1", "192.0.2.1:8"));
    assert_false(equal("192.0.2.1", "192.0.2.2"));
    assert_false(equal("::1", "::2"));
    assert_false(equal("::1", "[::1]:8"));
    assert_false(equal("0.0.0.0", "::"));
    assert_false(equal("192.0.2.1", "::ffff:192.0.2.1"));
    assert_true(addr_equal(&a, &b));
    b.in6.sin6_scope_id = 1;
    assert_false(addr_equal(&a, &b));
}

static void wildcards_overlap_their_family_and_port(void **state)
{
    struct addr a = address("fe80::1", 7);
    struct addr b = a;

    (void)state;
    assert_true(overlap("192.0.2.1", "192.0.2.1"));
    assert_true(overlap("192.0.2.1", "0.0.0.0"));
    assert_true(overlap("::", "2001:db8::1"));
    assert_true(overlap("::", "::"));
    assert_false(overlap("192.0.2.1", "192.0.2.2"));
    assert_false(overlap("192.0.2.1", "0.0.0.0:8"));
    assert_false(overlap("0.0.0.0", "::"));
    assert_false(overlap("::1", "::2"));
    a.in6.sin6_scope_id = 2;
    b.in6.sin6_scope_id = 1;
    assert_false(addr_overlap(&a, &b));
}

static void ports_are_in_host_order(void **state)
{
    static const char *const hosts[] = {"192.0.2.1", "::1"};

    (void)state;
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct addr addr = address(hosts[i], 1);

        addr_set_port(&addr, 0x1234);
        assert_int_equal(addr_port(&addr), 0x1234);
        assert_int_equal(ntohs(i == 0 ? addr.in.sin_port : addr.in6.sin6_port), 0x1234);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_parse_with_and_without_port),
        cmocka_unit_test(text_that_is_no_address_is_einval),
        cmocka_unit_test(ports_are_1_to_65535),
        cmocka_unit_test(a_zone_is_an_interface),
        cmocka_unit_test(addresses_of_two_zones_do_not_overlap),
        cmocka_unit_test(an_unknown_zone_is_enodev),
        cmocka_unit_test(any_address_can_be_printed),
        cmocka_unit_test(equal_addresses_are_the_same_in_every_part),
        cmocka_unit_test(wildcards_overlap_their_family_and_port),
        cmocka_unit_test(ports_are_in_host_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
