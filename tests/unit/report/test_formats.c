/* SPDX-License-Identifier: ISC */
#include "report/formats.h"

#include "unit/unit.h"

static void every_format_that_is_built_has_every_function(void **state)
{
    (void)state;
    for (size_t i = 0; report_formats[i]; i++) {
        const struct report_kind *kind = report_formats[i];

        assert_non_null(kind->name);
        if (report_format(kind->name) == NULL)
            continue;
        assert_ptr_equal(report_format(kind->name), kind);
        assert_non_null(kind->start);
        assert_non_null(kind->event);
        assert_non_null(kind->summary);
        assert_non_null(kind->finish);
    }
}

static void text_and_graph_are_always_built_and_other_names_are_no_formats(void **state)
{
    (void)state;
    assert_non_null(report_format("text"));
    assert_non_null(report_format("graph"));
    assert_null(report_format("csv"));
    assert_null(report_format(""));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_that_is_built_has_every_function),
        cmocka_unit_test(text_and_graph_are_always_built_and_other_names_are_no_formats),
    };

    return cmocka_run_group_tests_name("formats", tests, NULL, NULL);
}
