/* SPDX-License-Identifier: ISC */
#include "daemon/stats/metrics.h"

#include <stdio.h>
#include <sys/stat.h>

#include "common/clock.h"
#include "unit/unit.h"

WRAP_FAILING(int, socket, -1, (int family, int type, int protocol), (family, type, protocol))
WRAP_FAILING(int, listen, -1, (int fd, int backlog), (fd, backlog))
WRAP_FAILING(int, accept4, -1, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
             (fd, addr, len, flags))
WRAP_FAILING(FILE *, fmemopen, NULL, (void *buf, size_t size, const char *mode), (buf, size, mode))

static struct script *const scripts[] = {&socket_script, &listen_script, &accept4_script,
                                         &fmemopen_script};

static char folder[] = "/tmp/echod-metrics-XXXXXX";
static char path[64];
static struct loop loop;
static struct metrics metrics;
static struct stats workers[2];
static const struct stats *const counters[] = {&workers[0], &workers[1]};

static void collect(struct metrics *of, struct metrics_facts *facts)
{
    assert_ptr_equal(of, &metrics);
    *facts = (struct metrics_facts){.workers = counters,
                                    .worker_count = COUNT(counters),
                                    .connections = 3,
                                    .connection_limit = 40,
                                    .descriptors = 512};
}

static int set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(scripts); i++)
        script_clear(scripts[i]);
    memset(workers, 0, sizeof workers);
    metrics_init(&metrics);
    return loop_init(&loop);
}

static int tear_down(void **state)
{
    (void)state;
    metrics_close(&metrics);
    loop_fini(&loop);
    unsetenv("RUNTIME_DIRECTORY");
    unlink(path);
    return 0;
}

static void serve(void)
{
    assert_int_equal(metrics_open(&metrics, path), 0);
    assert_int_equal(metrics_start(&metrics, &loop, collect), 0);
}

/* A client that has connected, or -1. */
static int client(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = __real_socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strcpy(addr.sun_path, path);
    if (connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    close(fd);
    return -1;
}

/* What a client gets up to the end. */
static const char *snapshot(void)
{
    static char text[65536];
    size_t length = 0;
    ssize_t got;
    int fd = client();

    assert_true(fd >= 0);
    TURN_UNTIL(&loop, readable(fd, 0));
    while ((got = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)got;
    assert_int_equal(got, 0);
    close(fd);
    text[length] = '\0';
    return text;
}

static void every_counter_is_in_the_snapshot_summed_over_the_workers(void **state)
{
    const char *text;

    (void)state;
    for (size_t i = 0; i < STATS_COUNT; i++) {
        stats_add(&workers[0].all[i], 1000 + i);
        stats_add(&workers[1].all[i], 1000);
    }
    serve();
    text = snapshot();
    for (size_t i = 0; i < STATS_COUNT; i++) {
        const struct stats_counter *counter = &stats_counters[i];
        const char *name = counter->reason ? "reason" : "protocol";
        const char *value = counter->reason ? counter->reason : counter->protocol;
        char line[256];

        if (value)
            snprintf(line, sizeof line, "\n%s{%s=\"%s\"} %zu\n", counter->metric, name, value,
                     2000 + i);
        else
            snprintf(line, sizeof line, "\n%s %zu\n", counter->metric, 2000 + i);
        if (!strstr(text, line))
            fail_msg("no line%s", line);
    }
}

static void the_samples_of_a_family_stand_together_below_one_help(void **state)
{
    const char *text;

    (void)state;
    serve();
    text = snapshot();
    for (const char *help = strstr(text, "# HELP "); help; help = strstr(help + 1, "# HELP ")) {
        char family[128], begin[160];

        assert_int_equal(sscanf(help, "# HELP %127s", family), 1);
        snprintf(begin, sizeof begin, "# HELP %s ", family);
        if (strstr(help + 1, begin))
            fail_msg("two helps of %s", family);
        snprintf(begin, sizeof begin, "\n# TYPE %s ", family);
        assert_non_null(strstr(help, begin));
    }
}

static void facts_beside_the_counters_are_in_the_snapshot(void **state)
{
    const char *text;

    (void)state;
    stats_add(&workers[1].udp_echoes, 5);
    serve();
    text = snapshot();
    assert_non_null(strstr(text, "\nechod_tcp_connections 3\n"));
    assert_non_null(strstr(text, "\nechod_tcp_connections_limit 40\n"));
    assert_non_null(strstr(text, "\nprocess_max_fds 512\n"));
    assert_non_null(strstr(text, "\nechod_worker_echoes_total{worker=\"1\",protocol=\"udp\"} 5\n"));
    assert_non_null(strstr(text, "\nechod_config_last_reload_successful 1\n"));
    metrics_note_load(&metrics, false);
    assert_non_null(strstr(snapshot(), "\nechod_config_last_reload_successful 0\n"));
    metrics_note_load(&metrics, true);
    assert_non_null(strstr(snapshot(), "\nechod_config_last_reload_successful 1\n"));
}

static void the_socket_belongs_to_owner_and_group_only(void **state)
{
    struct stat info;

    (void)state;
    assert_int_equal(metrics_open(&metrics, path), 0);
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 07777, 0660);
    assert_int_equal(metrics_chown(&metrics, (uid_t)-1, getgid()), 0);
}

static void without_a_path_and_without_a_units_folder_nothing_is_opened(void **state)
{
    unsigned before = open_descriptors();

    (void)state;
    assert_int_equal(metrics_open(&metrics, ""), 0);
    assert_int_equal(metrics_start(&metrics, &loop, collect), 0);
    assert_int_equal(metrics_chown(&metrics, 0, 0), 0);
    setenv("RUNTIME_DIRECTORY", "relative", 1);
    assert_int_equal(metrics_open(&metrics, ""), 0);
    assert_int_equal(open_descriptors(), before);
}

static void the_first_folder_of_the_unit_is_the_default(void **state)
{
    char folders[128], wanted[64];

    (void)state;
    snprintf(folders, sizeof folders, "%s:/nowhere", folder);
    snprintf(wanted, sizeof wanted, "%s/metrics", folder);
    setenv("RUNTIME_DIRECTORY", folders, 1);
    assert_int_equal(metrics_open(&metrics, ""), 0);
    assert_string_equal(metrics_path(&metrics), wanted);
}

static void a_path_that_is_too_long_is_refused(void **state)
{
    char longest[200];

    (void)state;
    memset(longest, '/', sizeof longest);
    longest[108] = '\0';
    assert_int_equal(metrics_open(&metrics, longest), -1);
    assert_int_equal(errno, ENAMETOOLONG);
}

static void a_stale_socket_is_replaced_and_nothing_else(void **state)
{
    struct metrics other;

    (void)state;
    metrics_init(&other);
    assert_int_equal(metrics_open(&other, path), 0);
    assert_int_equal(metrics_open(&metrics, path), -1);
    assert_int_equal(errno, EADDRINUSE);
    metrics_close(&other);
    assert_int_equal(metrics_open(&metrics, path), 0);
    metrics_close(&metrics);
    unlink(path);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    assert_int_equal(metrics_open(&metrics, path), -1);
    assert_int_equal(errno, EEXIST);
}

static void a_start_that_fails_leaves_nothing_open(void **state)
{
    unsigned before = open_descriptors();

    (void)state;
    SCRIPT(socket_script, -EMFILE);
    assert_int_equal(metrics_open(&metrics, path), -1);
    assert_int_equal(errno, EMFILE);
    SCRIPT(listen_script, -ENOBUFS);
    assert_int_equal(metrics_open(&metrics, path), -1);
    assert_int_equal(errno, ENOBUFS);
    assert_int_equal(open_descriptors(), before);
    SCRIPT(socket_script, -ENFILE);
    assert_int_equal(metrics_open(&metrics, path), -1);
    assert_int_equal(errno, ENFILE);
    assert_int_equal(metrics_open(&metrics, "/nowhere/metrics"), -1);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(open_descriptors(), before);
}

static void clients_that_do_not_read_cost_no_descriptor(void **state)
{
    unsigned before;
    int fds[16];

    (void)state;
    serve();
    before = open_descriptors();
    for (size_t i = 0; i < COUNT(fds); i++)
        assert_true((fds[i] = client()) >= 0);
    TURN_UNTIL(&loop, readable(fds[COUNT(fds) - 1], 0));
    assert_int_equal(open_descriptors(), before + COUNT(fds));
    for (size_t i = 0; i < COUNT(fds); i++)
        close(fds[i]);
}

static void without_a_descriptor_the_socket_rests_and_then_serves(void **state)
{
    int fd;

    (void)state;
    serve();
    SCRIPT(accept4_script, -ECONNABORTED, -EMFILE);
    fd = client();
    TURN_UNTIL(&loop, script_done(&accept4_script));
    loop_turn(&loop, 0);
    assert_int_equal(accept4_script.calls, 2);
    assert_false(readable(fd, 0));
    TURN_UNTIL(&loop, readable(fd, 0));
    close(fd);
}

static void without_memory_the_client_gets_nothing(void **state)
{
    (void)state;
    serve();
    SCRIPT(fmemopen_script, -ENOMEM);
    assert_string_equal(snapshot(), "");
    assert_non_null(strstr(snapshot(), "echod_build_info"));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_counter_is_in_the_snapshot_summed_over_the_workers),
        TEST(the_samples_of_a_family_stand_together_below_one_help),
        TEST(facts_beside_the_counters_are_in_the_snapshot),
        TEST(the_socket_belongs_to_owner_and_group_only),
        TEST(without_a_path_and_without_a_units_folder_nothing_is_opened),
        TEST(the_first_folder_of_the_unit_is_the_default),
        TEST(a_path_that_is_too_long_is_refused),
        TEST(a_stale_socket_is_replaced_and_nothing_else),
        TEST(a_start_that_fails_leaves_nothing_open),
        TEST(clients_that_do_not_read_cost_no_descriptor),
        TEST(without_a_descriptor_the_socket_rests_and_then_serves),
        TEST(without_memory_the_client_gets_nothing),
    };
    int failed;

    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/metrics", folder);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(folder);
    return failed;
}
