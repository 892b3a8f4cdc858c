/* SPDX-License-Identifier: ISC */
#include "exporter/snapshot.h"

#include <stdio.h>

#include "unit/unit.h"

/* What tests/functional/exporter.py cannot do to the real program: memory is used up. */

WRAP_FAILING(FILE *, open_memstream, NULL, (char **text, size_t *length), (text, length))
WRAP_FAILING(int, socket, -1, (int family, int type, int protocol), (family, type, protocol))

static void without_memory_there_is_no_snapshot(void **state)
{
    size_t length;

    (void)state;
    SCRIPT(open_memstream_script, -ENOMEM);
    assert_null(snapshot_read("/nowhere", &length));
}

static void without_a_descriptor_echod_is_down(void **state)
{
    size_t length;
    char *text;

    (void)state;
    SCRIPT(socket_script, -EMFILE);
    text = snapshot_read("/nowhere", &length);
    assert_non_null(text);
    assert_int_equal(length, strlen(text));
    assert_non_null(strstr(text, "\nechod_up 0\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_memory_there_is_no_snapshot),
        cmocka_unit_test(without_a_descriptor_echod_is_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
