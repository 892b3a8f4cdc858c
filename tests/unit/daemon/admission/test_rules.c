/* SPDX-License-Identifier: ISC */
#include "common/hash.h"
#include "daemon/admission/rules.h"

#include <sys/mman.h>
#include <sys/random.h>

#include "unit/unit.h"

WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))
WRAP_FAILING(void *, reallocarray, NULL, (void *old, size_t count, size_t size), (old, count, size))
WRAP_FAILING(void *, mmap, MAP_FAILED, (void *at, size_t n, int prot, int flags, int fd, off_t off),
             (at, n, prot, flags, fd, off))
WRAP_FAILING(ssize_t, getrandom, -1, (void *buf, size_t size, unsigned flags), (buf, size, flags))

static struct prefix allowed[1], denied[1], exempted[1];

static struct conf example(void)
{
    struct conf conf = {.limits = {.udp_rate = 10,
                                   .udp_burst = 5,
                                   .ipv4_prefix = 32,
                                   .ipv6_prefix = 64,
                                   .table_size = 1024,
                                   .exempt = {exempted, 1}},
                        .access = {.allow = {allowed, 1}, .deny = {denied, 1}}};

    assert_int_equal(prefix_parse("192.0.2.0/24", &allowed[0]), 0);
    assert_int_equal(prefix_parse("192.0.2.1", &denied[0]), 0);
    assert_int_equal(prefix_parse("192.0.2.2", &exempted[0]), 0);
    return conf;
}

static uint64_t key[2] = {1, 2};

static bool allows(const struct rules *rules, const char *host)
{
    struct addr addr = address(host, 5000);

    return acl_allows(&rules->access, &addr);
}

static unsigned answered(struct ratelimit *limit, const char *host)
{
    struct addr addr = address(host, 5000);
    unsigned count = 0;

    for (uint32_t fingerprint = 0; fingerprint < 100; fingerprint++)
        count += ratelimit_charge(limit, &addr, fingerprint, 1000000000) == VERDICT_ANSWER;
    return count;
}

static void a_configuration_is_put_into_force(void **state)
{
    struct conf conf = example();
    uint64_t before = key[1];
    struct rules *rules = rules_new(&conf, 2, key);

    (void)state;
    assert_non_null(rules);
    assert_int_equal(key[1], before + 2); /* a key for each table */
    assert_true(allows(rules, "192.0.2.2"));
    assert_false(allows(rules, "192.0.2.1"));
    assert_false(allows(rules, "192.0.3.1"));
    for (size_t worker = 0; worker < 2; worker++) {
        assert_int_equal(answered(rules_ratelimit(rules, worker), "192.0.2.3"), 5);
        assert_int_equal(answered(rules_ratelimit(rules, worker), "192.0.2.2"), 100);
    }
    assert_ptr_not_equal(rules_ratelimit(rules, 0), rules_ratelimit(rules, 1));
    rules_free(rules);
    rules_free(NULL);
}

static void without_a_rate_or_burst_there_is_no_limit(void **state)
{
    struct conf conf = example();
    struct rules *rules;

    (void)state;
    conf.limits.udp_rate = 0;
    rules = rules_new(&conf, 2, key);
    assert_non_null(rules);
    assert_null(rules_ratelimit(rules, 1));
    rules_free(rules);
    conf.limits.udp_rate = 1;
    conf.limits.udp_burst = 0;
    rules = rules_new(&conf, 2, key);
    assert_non_null(rules);
    assert_null(rules_ratelimit(rules, 1));
    rules_free(rules);
}

static void empty_lists_allow_everybody_and_exempt_nobody(void **state)
{
    struct conf conf = example();
    struct rules *rules;

    (void)state;
    conf.access.allow.count = conf.access.deny.count = conf.limits.exempt.count = 0;
    rules = rules_new(&conf, 1, key);
    assert_non_null(rules);
    assert_true(allows(rules, "192.0.3.1"));
    assert_int_equal(answered(rules_ratelimit(rules, 0), "192.0.2.2"), 5);
    rules_free(rules);
}

static void a_kernel_without_randomness_is_no_obstacle(void **state)
{
    uint64_t random[2][2] = {{0}}, other[2] = {0};

    (void)state;
    for (int i = 0; i < 2; i++)
        hash_choose_key(random[i]);
    assert_memory_not_equal(random[0], random[1], sizeof random[0]);
    SCRIPT(getrandom_script, -EAGAIN);
    hash_choose_key(other);
    assert_true(other[0] != 0 && other[1] != 0);
}

static void want_of_memory_is_an_error(void **state)
{
    struct conf conf = example();
    struct rules *rules;

    (void)state;
    for (unsigned n = 0;; n++) {
        script_fail_after(&calloc_script, n, ENOMEM);
        rules = rules_new(&conf, 2, key);
        if (rules)
            break;
        assert_int_equal(errno, ENOMEM);
    }
    assert_true(calloc_script.calls >= 8);
    rules_free(rules);
    script_clear(&calloc_script);
    for (unsigned n = 0; n < 2; n++) {
        script_fail_after(&mmap_script, n, ENOMEM);
        assert_null(rules_new(&conf, 2, key));
        script_clear(&mmap_script);
        script_fail_after(&reallocarray_script, n, ENOMEM);
        assert_null(rules_new(&conf, 2, key));
        script_clear(&reallocarray_script);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_configuration_is_put_into_force),
        cmocka_unit_test(without_a_rate_or_burst_there_is_no_limit),
        cmocka_unit_test(empty_lists_allow_everybody_and_exempt_nobody),
        cmocka_unit_test(a_kernel_without_randomness_is_no_obstacle),
        cmocka_unit_test(want_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
