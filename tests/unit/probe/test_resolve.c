/* SPDX-License-Identifier: ISC */
#include "probe/resolve.h"

#include <stdio.h>

#include "unit/unit.h"

/* The name service: a step is what getaddrinfo(3) returns for a name; with 0 or none it finds as
 * many addresses as told to, of which the last octet counts up. Addresses are looked up by the real
 * one. */
static struct addrinfo found[2 * RESOLVE_MAX];
static struct sockaddr_in found_at[2 * RESOLVE_MAX];
static unsigned to_find;

static void find(const char *port, const struct addrinfo *hints)
{
    for (unsigned i = 0; i < to_find; i++) {
        found_at[i] = (struct sockaddr_in){.sin_family = AF_INET,
                                           .sin_port = htons((uint16_t)strtoul(port, NULL, 10)),
                                           .sin_addr.s_addr = htonl(0x7f000001 + i)};
        found[i] = (struct addrinfo){.ai_family = AF_INET,
                                     .ai_socktype = hints->ai_socktype,
                                     .ai_addr = (struct sockaddr *)&found_at[i],
                                     .ai_addrlen = sizeof found_at[i],
                                     .ai_next = i + 1 < to_find ? &found[i + 1] : NULL};
    }
}

WRAP(int, getaddrinfo, const char *name, const char *port, const struct addrinfo *hints,
     struct addrinfo **list)
{
    int step;

    if (hints->ai_flags & AI_NUMERICHOST)
        return __real_getaddrinfo(name, port, hints, list);
    step = script_next(&getaddrinfo_script);
    if (step != PASS && step != 0)
        return step;
    find(port, hints);
    *list = found;
    return 0;
}

WRAP(void, freeaddrinfo, struct addrinfo *list)
{
    script_next(&freeaddrinfo_script);
    if (list != found)
        __real_freeaddrinfo(list);
}

static const char *name_found;
WRAP(int, getnameinfo, const struct sockaddr *sa, socklen_t sa_len, char *host, socklen_t host_len,
     char *service, socklen_t service_len, int flags)
{
    (void)sa;
    (void)sa_len;
    (void)service;
    (void)service_len;
    assert_true(flags & NI_NAMEREQD);
    if (script_next(&getnameinfo_script) != PASS)
        return EAI_NONAME;
    snprintf(host, host_len, "%s", name_found);
    return 0;
}

static char why[RESOLVE_WHY];
static struct addr list[RESOLVE_MAX];
static bool numeric;

static int set_up(void **state)
{
    (void)state;
    script_clear(&getaddrinfo_script);
    script_clear(&freeaddrinfo_script);
    to_find = 1;
    memset(why, 0, sizeof why);
    memset(list, 0, sizeof list);
    return 0;
}

static int udp(const char *host, const char *port, int family)
{
    return resolve(host, port, family, SOCK_DGRAM, list, &numeric, why);
}

static void assert_address(const char *host, const char *expected)
{
    char text[ADDR_STRLEN];

    assert_int_equal(udp(host, "7007", AF_UNSPEC), 1);
    assert_string_equal(addr_print(&list[0], text), expected);
    assert_true(numeric);
}

static void addresses_need_no_name_service(void **state)
{
    (void)state;
    script_always(&getaddrinfo_script, EAI_FAIL);
    assert_address("127.0.0.1", "127.0.0.1:7007");
    assert_address("::1", "[::1]:7007");
    assert_address("[::1]", "[::1]:7007");
    assert_address("fe80::1%lo", "[fe80::1%lo]:7007");
    assert_address("[fe80::1%lo]", "[fe80::1%lo]:7007");
}

static void names_are_resolved(void **state)
{
    (void)state;
    assert_int_equal(udp("echo.example", "7", AF_INET), 1);
    assert_false(numeric);
    assert_int_equal(list[0].in.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    assert_int_equal(addr_port(&list[0]), 7);
    assert_int_equal(freeaddrinfo_script.calls, 1);
}

static void the_first_addresses_of_many_are_taken_in_order(void **state)
{
    (void)state;
    to_find = 3;
    assert_int_equal(udp("echo.example", "7", AF_UNSPEC), 3);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(list[i].in.sin_addr.s_addr, htonl(0x7f000001 + i));
    to_find = 2 * RESOLVE_MAX;
    assert_int_equal(udp("echo.example", "7", AF_UNSPEC), RESOLVE_MAX);
}

static void services_have_names(void **state)
{
    (void)state;
    if (!getservbyname("echo", "udp"))
        skip_because("no services(5) here");
    assert_int_equal(udp("127.0.0.1", "echo", AF_UNSPEC), 1);
    assert_int_equal(addr_port(&list[0]), 7);
    assert_int_equal(udp("127.0.0.1", "no-such", AF_UNSPEC), -1);
    assert_memory_equal(why, "port 'no-such': ", 16);
    assert_non_null(strstr(why, "/etc/services"));
}

static void what_is_not_all_digits_is_a_name(void **state)
{
    static const char *const names[] = {"x", "7x", "7 ", "-7"};

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(udp("127.0.0.1", names[i], AF_UNSPEC), -1);
        assert_non_null(strstr(why, "/etc/services"));
    }
}

static void ports_are_from_1_to_65535(void **state)
{
    static const char *const bad[] = {"",       "0",     "00",         "65536",
                                      "655350", "70000", "4294967303", "99999999999999999999999"};

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        char expected[RESOLVE_WHY];

        assert_int_equal(udp("127.0.0.1", bad[i], AF_UNSPEC), -1);
        snprintf(expected, sizeof expected,
                 "port '%s': 1 to 65535 or the name of a service is allowed", bad[i]);
        assert_string_equal(why, expected);
    }
    assert_int_equal(udp("127.0.0.1", "1", AF_UNSPEC), 1);
    assert_int_equal(udp("127.0.0.1", "65535", AF_UNSPEC), 1);
    assert_int_equal(addr_port(&list[0]), 65535);
}

static void hosts_that_are_none_are_refused(void **state)
{
    char endless[2000];

    (void)state;
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    assert_int_equal(udp("", "7", AF_UNSPEC), -1);
    assert_string_equal(why, "host '': a name or an address is needed");
    assert_int_equal(udp(endless, "7", AF_UNSPEC), -1);
    assert_non_null(strstr(why, "a name or an address is needed"));
    endless[NI_MAXHOST] = '\0';
    assert_int_equal(udp(endless, "7", AF_UNSPEC), -1);
    endless[NI_MAXHOST - 1] = '\0';
    assert_int_equal(udp(endless, "7", AF_UNSPEC), 1);
    /* In brackets there is nothing but an address. */
    script_always(&getaddrinfo_script, EAI_NONAME);
    assert_int_equal(udp("[localhost]", "7", AF_UNSPEC), -1);
    assert_int_equal(getaddrinfo_script.calls, 0);
    assert_int_equal(udp("[]", "7", AF_UNSPEC), -1);
    assert_int_equal(udp("[fe80::1%nosuch0]", "7", AF_UNSPEC), -1);
    assert_non_null(strstr(why, "zone"));
}

static void failures_name_the_host_and_what_to_do(void **state)
{
    static const struct {
        int rc;
        int family;
        const char *advice;
    } cases[] = {
        {EAI_NONAME, AF_UNSPEC, "check the name"},  {EAI_NODATA, AF_INET, "leave out -4"},
        {EAI_ADDRFAMILY, AF_INET6, "leave out -6"}, {EAI_AGAIN, AF_UNSPEC, "/etc/resolv.conf"},
        {EAI_FAIL, AF_UNSPEC, "give an address"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        script_always(&getaddrinfo_script, cases[i].rc);
        assert_int_equal(udp("echo.example", "7", cases[i].family), -1);
        assert_memory_equal(why, "host 'echo.example': ", 21);
        assert_non_null(strstr(why, gai_strerror(cases[i].rc)));
        assert_non_null(strstr(why, cases[i].advice));
    }
    script_always(&getaddrinfo_script, EAI_SYSTEM);
    errno = EMFILE;
    assert_int_equal(udp("echo.example", "7", AF_UNSPEC), -1);
    assert_non_null(strstr(why, strerror(EMFILE)));
}

static void an_address_of_the_other_family_is_refused(void **state)
{
    (void)state;
    assert_int_equal(udp("::1", "7", AF_INET), -1);
    assert_non_null(strstr(why, "leave out -4"));
}

static void names_with_anything_unusual_are_not_shown(void **state)
{
    struct addr addr = address("127.0.0.1", 7);
    char name[NI_MAXHOST];

    (void)state;
    name_found = "echo-1.example";
    assert_string_equal(resolve_name(&addr, name), "echo-1.example");
    name_found = "\033[2Jecho.example";
    assert_string_equal(resolve_name(&addr, name), "");
    SCRIPT(getnameinfo_script, EAI_NONAME);
    assert_string_equal(resolve_name(&addr, name), "");
}

#define TEST(function) cmocka_unit_test_setup(function, set_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(addresses_need_no_name_service),
        TEST(names_are_resolved),
        TEST(the_first_addresses_of_many_are_taken_in_order),
        TEST(services_have_names),
        TEST(what_is_not_all_digits_is_a_name),
        TEST(ports_are_from_1_to_65535),
        TEST(hosts_that_are_none_are_refused),
        TEST(failures_name_the_host_and_what_to_do),
        TEST(an_address_of_the_other_family_is_refused),
        TEST(names_with_anything_unusual_are_not_shown),
    };

    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
