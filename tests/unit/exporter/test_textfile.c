/* SPDX-License-Identifier: ISC */
#include "exporter/textfile.h"

#include <dirent.h>
#include <stdio.h>

#include "unit/unit.h"

/* What tests/functional/exporter.py cannot do to the real program: the disk is full. */

WRAP_FAILING(int, fchmod, -1, (int fd, mode_t mode), (fd, mode))

/* A step that is not negative is how many octets are written. */
WRAP(ssize_t, write, int fd, const void *data, size_t length)
{
    int step = script_next(&write_script);

    if (step < 0)
        errno = -step;
    return step < 0 ? -1 : __real_write(fd, data, step < (int)length ? (size_t)step : length);
}

static char folder[] = "/tmp/echod-textfile-XXXXXX";
static char path[64];

static unsigned files(void)
{
    DIR *dir = opendir(folder);
    unsigned count = 0;

    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void check_text(const char *wanted)
{
    char text[64];
    FILE *file = fopen(path, "r");

    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    assert_string_equal(text, wanted);
}

static void pieces_and_interruptions_make_a_whole_file(void **state)
{
    (void)state;
    SCRIPT(write_script, 2, -EINTR, 1);
    assert_int_equal(textfile_write(path, "metrics\n", 8), 0);
    check_text("metrics\n");
}

static void an_error_leaves_the_old_file_and_no_other(void **state)
{
    (void)state;
    SCRIPT(write_script, 3, -ENOSPC);
    assert_int_equal(textfile_write(path, "other\n", 6), -1);
    assert_int_equal(errno, ENOSPC);
    SCRIPT(fchmod_script, -EPERM);
    assert_int_equal(textfile_write(path, "other\n", 6), -1);
    assert_int_equal(errno, EPERM);
    check_text("metrics\n");
    assert_int_equal(files(), 1);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char longest[PATH_MAX];

    (void)state;
    memset(longest, 'a', sizeof longest);
    longest[PATH_MAX - 1] = '\0';
    assert_int_equal(textfile_write(longest, "", 0), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_and_interruptions_make_a_whole_file),
        cmocka_unit_test(an_error_leaves_the_old_file_and_no_other),
        cmocka_unit_test(a_path_that_is_too_long_is_refused),
    };
    int failed;

    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/echod.prom", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
