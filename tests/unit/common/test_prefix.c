/* SPDX-License-Identifier: ISC */
#include "common/prefix.h"

#include <stdio.h>

#include "unit/unit.h"

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, reallocarray, NULL, (void *old, size_t count, size_t size), (old, count, size))

static struct prefix parsed(const char *text)
{
    struct prefix prefix;

    assert_int_equal(prefix_parse(text, &prefix), 0);
    return prefix;
}

static void a_prefix_reads_as_it_prints(void **state)
{
    static const struct {
        const char *text, *printed;
    } cases[] = {
        {"192.0.2.0/24", "192.0.2.0/24"},
        {"192.0.2.1", "192.0.2.1"},
        {"192.0.2.1/32", "192.0.2.1"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"128.0.0.0/1", "128.0.0.0/1"},
        {"2001:db8::/32", "2001:db8::/32"},
        {"2001:DB8:0:0::1", "2001:db8::1"},
        {"2001:db8::1/128", "2001:db8::1"},
        {"2001:db8:0:0:8000::/65", "2001:db8:0:0:8000::/65"},
        {"2001:db8:0:1::/64", "2001:db8:0:1::/64"},
        {"::/0", "::/0"},
        {"::", "::"},
        {"::ffff:192.0.2.0/120", "192.0.2.0/24"},
        {"::ffff:192.0.2.7", "192.0.2.7"},
        {"::ffff:0.0.0.0/96", "0.0.0.0/0"},
        {"::/90", "::/90"},
    };
    char buf[PREFIX_STRLEN];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct prefix prefix = parsed(cases[i].text);

        assert_ptr_equal(prefix_print(&prefix, buf), buf);
        assert_string_equal(buf, cases[i].printed);
    }
}

static void text_that_is_no_prefix_is_einval(void **state)
{
    static const char *const bad[] = {
        "",
        "/",
        "/24",
        "192.0.2.0/",
        "192.0.2.0/ 24",
        "192.0.2.0/-1",
        "192.0.2.0/+24",
        "192.0.2.0/024",
        "192.0.2.0/24x",
        "192.0.2.0/24/24",
        "192.0.2.0/0x18",
        "192.0.2/24",
        "192.0.2.0.0/24",
        "192.0.2.256",
        " 192.0.2.0/24",
        "192.0.2.0:7/24",
        "[2001:db8::]/32",
        "fe80::1%lo",
        "fe80::%lo/64",
        "2001:db8/32",
        "localhost",
        "1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234:1234",
    };
    struct prefix prefix;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        errno = 0;
        assert_int_equal(prefix_parse(bad[i], &prefix), -1);
        assert_int_equal(errno, EINVAL);
    }
}

static void a_length_that_is_too_large_is_erange(void **state)
{
    static const char *const bad[] = {"192.0.2.0/33", "::/129", "192.0.2.0/128", "::/4294967296",
                                      "192.0.2.0/99999999999999999999"};
    struct prefix prefix;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(prefix_parse(bad[i], &prefix), -1);
        assert_int_equal(errno, ERANGE);
    }
}

static void bits_beyond_the_length_are_edom_with_the_prefix_that_was_meant(void **state)
{
    static const struct {
        const char *text, *meant;
    } cases[] = {
        {"192.0.2.1/24", "192.0.2.0/24"},
        {"192.0.2.1/0", "0.0.0.0/0"},
        {"192.0.2.1/31", "192.0.2.0/31"},
        {"2001:db8::1/32", "2001:db8::/32"},
        {"2001:db8::1/127", "2001:db8::/127"},
        {"2001:db8:0:1:1::/64", "2001:db8:0:1::/64"},
        {"::1/0", "::/0"},
        {"::ffff:192.0.2.1/120", "192.0.2.0/24"},
        {"::ffff:192.0.2.1/64", "::/64"},
    };
    char buf[PREFIX_STRLEN];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct prefix prefix;

        assert_int_equal(prefix_parse(cases[i].text, &prefix), -1);
        assert_int_equal(errno, EDOM);
        assert_string_equal(prefix_print(&prefix, buf), cases[i].meant);
    }
}

static void an_address_has_the_prefix_of_its_family(void **state)
{
    static const struct {
        const char *host, *prefix;
    } cases[] = {{"192.0.2.129", "192.0.2.128/25"},
                 {"::ffff:192.0.2.129", "192.0.2.128/25"},
                 {"2001:db8:1:2:3:4:5:6", "2001:db8:1::/48"},
                 {"::1", "::/48"}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct addr addr = address(cases[i].host, 7);
        struct prefix expected = parsed(cases[i].prefix);
        struct prefix prefix = prefix_of(&addr, 25, 48);

        assert_true(prefix_equal(&prefix, &expected));
    }
}

/* ---- sets ---- */

static struct prefix_set *new_set(void)
{
    struct prefix_set *set = prefix_set_new();

    assert_non_null(set);
    return set;
}

static void add(struct prefix_set *set, const char *text, uint8_t value)
{
    struct prefix prefix = parsed(text);

    assert_int_equal(prefix_set_add(set, &prefix, value), 0);
}

static unsigned find(const struct prefix_set *set, const char *host)
{
    struct addr addr = address(host, 7);

    return prefix_set_find(set, &addr);
}

static void an_empty_set_finds_nothing(void **state)
{
    struct prefix_set *set = new_set();

    (void)state;
    assert_int_equal(find(set, "0.0.0.0"), 0);
    assert_int_equal(find(set, "::"), 0);
    prefix_set_free(set);
    prefix_set_free(NULL);
}

static void the_longest_match_decides(void **state)
{
    struct prefix_set *set = new_set();

    (void)state;
    add(set, "10.0.0.0/8", 1);
    add(set, "10.1.2.3", 2);
    add(set, "10.1.0.0/16", 3);
    add(set, "2001:db8::/32", 4);
    add(set, "2001:db8::/64", 5);
    assert_int_equal(find(set, "10.1.2.3"), 2);
    assert_int_equal(find(set, "10.1.2.2"), 3);
    assert_int_equal(find(set, "10.2.2.3"), 1);
    assert_int_equal(find(set, "11.1.2.3"), 0);
    assert_int_equal(find(set, "2001:db8::1"), 5);
    assert_int_equal(find(set, "2001:db8:0:1::1"), 4);
    assert_int_equal(find(set, "2001:db9::"), 0);
    prefix_set_free(set);
}

static void the_greatest_value_wins_a_tie(void **state)
{
    struct prefix_set *set = new_set();

    (void)state;
    add(set, "10.0.0.0/8", 2);
    add(set, "10.0.0.0/8", 1);
    add(set, "::/0", 1);
    add(set, "::/0", 2);
    assert_int_equal(find(set, "10.0.0.1"), 2);
    assert_int_equal(find(set, "::1"), 2);
    prefix_set_free(set);
}

static void families_do_not_mix_but_for_mapped_addresses(void **state)
{
    struct prefix_set *set = new_set();

    (void)state;
    add(set, "::/0", 1);
    add(set, "a00::/8", 2);
    assert_int_equal(find(set, "10.0.0.1"), 0);
    assert_int_equal(find(set, "::ffff:10.0.0.1"), 0);
    add(set, "::ffff:10.0.0.0/104", 3);
    assert_int_equal(find(set, "10.0.0.1"), 3);
    assert_int_equal(find(set, "::ffff:10.255.0.1"), 3);
    assert_int_equal(find(set, "a00::1"), 2);
    assert_int_equal(find(set, "::fffe:10.0.0.1"), 1);
    prefix_set_free(set);
}

/* Deterministic, so that a failure can be looked at again. */
static uint64_t random_state = 88172645463325252;
static uint64_t random_number(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Few different bits, so that prefixes lie within one another and addresses within them. */
static struct addr random_address(void)
{
    struct addr addr = {.len = sizeof addr.in6};
    uint64_t kind = random_number() % 4;
    uint8_t octets[16];

    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = random_number() % 3 ? 0 : (uint8_t)(1U << random_number() % 8);
    if (kind == 0) {
        addr.in.sin_family = AF_INET;
        memcpy(&addr.in.sin_addr, octets, sizeof addr.in.sin_addr);
        return addr;
    }
    addr.in6.sin6_family = AF_INET6;
    if (kind == 1)
        memcpy(octets, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    memcpy(&addr.in6.sin6_addr, octets, sizeof octets);
    return addr;
}

struct listed {
    struct prefix prefix;
    uint8_t value;
};

static uint8_t find_naively(const struct listed *list, size_t count, const struct addr *addr)
{
    uint8_t value = 0;
    int longest = -1;

    for (size_t i = 0; i < count; i++) {
        struct prefix own = prefix_of(addr, 32, 128);

        if (own.is_v4 != list[i].prefix.is_v4)
            continue;
        own = prefix_cut(&own, list[i].prefix.length);
        if (!prefix_equal(&own, &list[i].prefix) || own.length < longest)
            continue;
        if (own.length > longest || list[i].value > value)
            value = list[i].value;
        longest = own.length;
    }
    return value;
}

static void a_set_finds_what_a_list_finds(void **state)
{
    enum { ROUNDS = 60, PREFIXES = 200, SEARCHES = 500 };
    struct listed list[PREFIXES];
    unsigned found = 0;

    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct prefix_set *set = new_set();
        size_t count = 1 + (size_t)(random_number() % PREFIXES);

        for (size_t i = 0; i < count; i++) {
            struct addr addr = random_address();

            list[i].prefix = prefix_of(&addr, (unsigned)(random_number() % 33),
                                       (unsigned)(random_number() % 129));
            list[i].value = (uint8_t)(1 + random_number() % 3);
            assert_int_equal(prefix_set_add(set, &list[i].prefix, list[i].value), 0);
        }
        for (unsigned i = 0; i < SEARCHES; i++) {
            struct addr addr = random_address();
            uint8_t expected = find_naively(list, count, &addr);

            assert_int_equal(prefix_set_find(set, &addr), expected);
            found += expected != 0;
        }
        prefix_set_free(set);
    }
    assert_in_range(found, 1000, ROUNDS * SEARCHES - 1000);
}

static void without_memory_the_set_stays_as_it_was(void **state)
{
    struct prefix prefix = parsed("10.0.0.0/8");
    struct prefix_set *set;

    (void)state;
    for (unsigned n = 0; n < 2; n++) {
        script_fail_after(&calloc_script, n, ENOMEM);
        assert_null(prefix_set_new());
    }
    set = new_set();
    SCRIPT(reallocarray_script, -ENOMEM);
    assert_int_equal(prefix_set_add(set, &prefix, 1), -1);
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(find(set, "10.0.0.1"), 0);
    assert_int_equal(prefix_set_add(set, &prefix, 1), 0);
    assert_int_equal(find(set, "10.0.0.1"), 1);
    prefix_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_reads_as_it_prints),
        cmocka_unit_test(text_that_is_no_prefix_is_einval),
        cmocka_unit_test(a_length_that_is_too_large_is_erange),
        cmocka_unit_test(bits_beyond_the_length_are_edom_with_the_prefix_that_was_meant),
        cmocka_unit_test(an_address_has_the_prefix_of_its_family),
        cmocka_unit_test(an_empty_set_finds_nothing),
        cmocka_unit_test(the_longest_match_decides),
        cmocka_unit_test(the_greatest_value_wins_a_tie),
        cmocka_unit_test(families_do_not_mix_but_for_mapped_addresses),
        cmocka_unit_test(a_set_finds_what_a_list_finds),
        cmocka_unit_test(without_memory_the_set_stays_as_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
