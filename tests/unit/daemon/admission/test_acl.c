/* SPDX-License-Identifier: ISC */
#include "daemon/admission/acl.h"

#include "unit/unit.h"

static bool allows(const struct acl *access, const char *host)
{
    struct addr source = address(host, 5000);

    return acl_allows(access, &source);
}

static void list(struct prefix_set *set, const char *text, uint8_t value)
{
    struct prefix prefix;

    assert_int_equal(prefix_parse(text, &prefix), 0);
    assert_int_equal(prefix_set_add(set, &prefix, value), 0);
}

static void an_empty_list_allows_everybody(void **state)
{
    struct acl access = {0};

    (void)state;
    assert_true(allows(&access, "192.0.2.1"));
    assert_true(allows(&access, "2001:db8::1"));
}

static void the_longest_prefix_that_matches_allows_or_denies(void **state)
{
    struct prefix_set *set = prefix_set_new();
    struct acl access = {.set = set};

    (void)state;
    list(set, "192.0.2.0/24", ACL_DENY);
    list(set, "192.0.2.128/25", ACL_ALLOW);
    list(set, "192.0.2.129", ACL_ALLOW);
    list(set, "192.0.2.129", ACL_DENY);
    for (unsigned only_listed = 0; only_listed < 2; only_listed++) {
        access.only_listed = only_listed;
        assert_false(allows(&access, "192.0.2.1"));
        assert_false(allows(&access, "::ffff:192.0.2.1"));
        assert_true(allows(&access, "192.0.2.128"));
        assert_true(allows(&access, "::ffff:192.0.2.128"));
        assert_false(allows(&access, "192.0.2.129"));
        assert_int_equal(allows(&access, "192.0.3.1"), !only_listed);
        assert_int_equal(allows(&access, "2001:db8::1"), !only_listed);
    }
    prefix_set_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_list_allows_everybody),
        cmocka_unit_test(the_longest_prefix_that_matches_allows_or_denies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
