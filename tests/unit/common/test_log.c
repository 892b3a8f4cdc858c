/* SPDX-License-Identifier: ISC */
#include "common/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>

#include "unit/unit.h"

/* Sockets of the test take the place of the services of this host. */
static struct service {
    const char *path;
    int fd;
    struct sockaddr_un addr;
    socklen_t len;
} services[] = {{.path = "/dev/log"}, {.path = "/run/systemd/journal/socket"}};

int __real_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len);
int __wrap_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
    const struct sockaddr_un *un = (const void *)addr;

    (void)len;
    for (size_t i = 0; i < COUNT(services); i++)
        if (strcmp(un->sun_path, services[i].path) == 0)
            return __real_connect(fd, (const void *)&services[i].addr, services[i].len);
    fail_msg("connects to %s", un->sun_path);
    return -1;
}

static void open_service(struct service *service)
{
    service->addr.sun_family = AF_UNIX;
    service->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_true(service->fd >= 0);
    /* An abstract address of the kernel's choice: unix(7). */
    assert_int_equal(bind(service->fd, (void *)&service->addr, sizeof(sa_family_t)), 0);
    service->len = sizeof service->addr;
    assert_int_equal(getsockname(service->fd, (void *)&service->addr, &service->len), 0);
}

/* The next datagram that a service received; empty if there is none. */
static const char *served(const struct service *service)
{
    static char text[4096];
    ssize_t n = recv(service->fd, text, sizeof text - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

#define SYSLOG  (&services[0])
#define JOURNAL (&services[1])

WRAP_FAILING(ssize_t, write, -1, (int fd, const void *data, size_t length), (fd, data, length))

/* ---- standard error as a pipe ---- */

static int saved_stderr = -1;
static int errors; /* the pipe's other end */

static int capture_stderr(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    saved_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    assert_true(saved_stderr >= 0);
    assert_int_equal(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    close(fds[1]);
    errors = fds[0];
    log_set_sink(NULL);
    for (size_t i = 0; i < COUNT(services); i++)
        close(services[i].fd);
    unsetenv("JOURNAL_STREAM");
    script_clear(&write_script);
    for (size_t i = 0; i < COUNT(services); i++)
        open_service(&services[i]);
    return 0;
}

static int release_stderr(void **state)
{
    (void)state;
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    close(errors);
    unsetenv("JOURNAL_STREAM");
    log_set_sink(NULL);
    log_close();
    return 0;
}

static void assert_stderr(const char *text)
{
    char back[4096] = {0};
    ssize_t n = read(errors, back, sizeof back - 1);

    assert_int_equal(n < 0 ? 0 : n, strlen(text));
    assert_string_equal(back, text);
}

static void name_stderr_in_journal_stream(const char *suffix)
{
    struct stat st;
    char value[96];

    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(value, sizeof value, "%ju:%ju%s", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino, suffix);
    assert_int_equal(setenv("JOURNAL_STREAM", value, 1), 0);
}

/* ---- targets ---- */

static void stderr_gets_plain_lines(void **state)
{
    (void)state;
    log_open(TARGET_STDERR, LEVEL_DEBUG);
    name_stderr_in_journal_stream("");
    log_error("one %d", 1);
    log_debug("two");
    assert_stderr("echod: one 1\nechod: two\n");
}

static void a_message_is_one_write(void **state)
{
    (void)state;
    log_open(TARGET_STDERR, LEVEL_INFO);
    SCRIPT(write_script, PASS);
    log_info("%s and %s", "one", "two");
    assert_int_equal(write_script.calls, 1);
    assert_stderr("echod: one and two\n");
}

static void lines_are_lost_while_the_reader_of_stderr_has_stopped_reading(void **state)
{
    char octets[4096];
    size_t filled = 0;
    ssize_t n;

    (void)state;
    memset(octets, 'x', sizeof octets);
    while ((n = write(STDERR_FILENO, octets, sizeof octets)) > 0)
        filled += (size_t)n;
    assert_int_equal(errno, EAGAIN);
    /* From here on a write would wait for the reader. */
    assert_int_equal(fcntl(STDERR_FILENO, F_SETFL, 0), 0);
    log_open(TARGET_STDERR, LEVEL_INFO);
    script_clear(&write_script);
    alarm(PATIENCE_MS / 1000);
    errno = ERANGE;
    log_info("lost");
    assert_int_equal(errno, ERANGE);
    alarm(0);
    assert_int_equal(write_script.calls, 0);
    while (filled > 0) {
        n = read(errors, octets, sizeof octets);
        assert_true(n > 0);
        filled -= (size_t)n;
    }
    log_info("found again");
    assert_stderr("echod: found again\n");
}

static void auto_is_plain_unless_the_journal_reads_stderr(void **state)
{
    (void)state;
    log_open(TARGET_AUTO, LEVEL_INFO);
    log_info("x");
    assert_stderr("echod: x\n");
    setenv("JOURNAL_STREAM", "1:1", 1);
    log_open(TARGET_AUTO, LEVEL_INFO);
    log_info("x");
    assert_stderr("echod: x\n");
    setenv("JOURNAL_STREAM", "nonsense", 1);
    log_open(TARGET_AUTO, LEVEL_INFO);
    log_info("x");
    assert_stderr("echod: x\n");
}

/* An inode number alone does not tell two file systems apart. */
static void auto_is_plain_unless_both_device_and_inode_are_the_journals(void **state)
{
    struct stat st;
    char value[96];

    (void)state;
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    snprintf(value, sizeof value, "%ju:%ju", (uintmax_t)st.st_dev + 1, (uintmax_t)st.st_ino);
    setenv("JOURNAL_STREAM", value, 1);
    log_open(TARGET_AUTO, LEVEL_INFO);
    log_info("x");
    assert_stderr("echod: x\n");
    snprintf(value, sizeof value, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + 1);
    setenv("JOURNAL_STREAM", value, 1);
    log_open(TARGET_AUTO, LEVEL_INFO);
    log_info("x");
    assert_stderr("echod: x\n");
}

static void auto_prefixes_priorities_if_the_journal_reads_stderr(void **state)
{
    (void)state;
    name_stderr_in_journal_stream("");
    log_open(TARGET_AUTO, LEVEL_DEBUG);
    log_error("a");
    log_warning("b");
    log_notice("c");
    log_info("d");
    log_debug("e");
    assert_stderr("<3>a\n<4>b\n<5>c\n<6>d\n<7>e\n");
}

/* As systemd connects it: a stream socket. */
static void auto_recognises_a_socket_of_the_journal(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    dup2(fds[0], errors);
    close(fds[0]);
    name_stderr_in_journal_stream("");
    log_open(TARGET_AUTO, LEVEL_INFO);
    log_notice("here");
    assert_stderr("<5>here\n");
}

static void the_journal_gets_priority_and_name(void **state)
{
    (void)state;
    log_open(TARGET_JOURNAL, LEVEL_DEBUG);
    log_error("it %s broke", "%s");
    assert_string_equal(served(JOURNAL), "PRIORITY=3\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=echod\n"
                                         "MESSAGE=it %s broke\n");
    log_debug("two\nPRIORITY=0");
    assert_string_equal(served(JOURNAL), "PRIORITY=7\nSYSLOG_FACILITY=3\nSYSLOG_IDENTIFIER=echod\n"
                                         "MESSAGE=two\n");
    assert_string_equal(served(JOURNAL), "");
    assert_stderr("");
}

/* RFC 3164 4.1, as syslog(3) sends it. */
static void syslog_gets_facility_priority_time_and_name(void **state)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};

    (void)state;
    log_open(TARGET_SYSLOG, LEVEL_DEBUG);
    for (int level = LEVEL_ERROR; level <= LEVEL_DEBUG; level++) {
        const char *line;
        int priority = 0, pid = 0, at = 0, day, hour, minute, second;
        char month[4];

        log_at((enum log_level)level, "100%% of %s", "it");
        line = served(SYSLOG);
        sscanf(line, "<%d>%3s %d %d:%d:%d echod[%d]: %n", &priority, month, &day, &hour, &minute,
               &second, &pid, &at);
        assert_int_equal(priority, LOG_DAEMON | priorities[level]);
        assert_int_equal(pid, getpid());
        assert_string_equal(line + at, "100% of it");
    }
    assert_string_equal(served(SYSLOG), "");
    assert_stderr("");
}

static void a_service_that_was_restarted_gets_messages_again(void **state)
{
    static const enum log_target targets[] = {TARGET_SYSLOG, TARGET_JOURNAL};

    (void)state;
    for (size_t i = 0; i < COUNT(targets); i++) {
        log_open(targets[i], LEVEL_INFO);
        log_info("one");
        close(services[i].fd);
        log_info("two");
        assert_stderr("echod: two\n");
        open_service(&services[i]);
        log_info("three");
        assert_non_null(strstr(served(&services[i]), "three"));
        assert_stderr("");
    }
}

/* ---- sink, threshold, errno ---- */

static void a_sink_takes_over_the_bare_message(void **state)
{
    (void)state;
    logbook_open(LEVEL_INFO);
    log_notice("for the %s", "sink");
    assert_int_equal(logbook.count, 1);
    assert_int_equal(logbook.lines[0].level, LEVEL_NOTICE);
    assert_string_equal(logbook.lines[0].text, "for the sink");
    assert_stderr("");
    log_set_sink(NULL);
    log_notice("for the target");
    assert_int_equal(logbook.count, 1);
    assert_stderr("echod: for the target\n");
}

static void only_messages_at_or_above_the_threshold_pass(void **state)
{
    (void)state;
    for (int threshold = LEVEL_ERROR; threshold <= LEVEL_DEBUG; threshold++) {
        logbook_open((enum log_level)threshold);
        for (int level = LEVEL_ERROR; level <= LEVEL_DEBUG; level++) {
            assert_int_equal(log_enabled((enum log_level)level), level <= threshold);
            log_at((enum log_level)level, "x");
        }
        assert_int_equal(logbook.count, threshold + 1);
    }
}

static void logging_leaves_errno_alone(void **state)
{
    static const enum log_target targets[] = {TARGET_AUTO, TARGET_STDERR, TARGET_JOURNAL,
                                              TARGET_SYSLOG};

    (void)state;
    script_always(&write_script, -EPIPE);
    for (size_t i = 0; i < COUNT(targets); i++) {
        setenv("JOURNAL_STREAM", "nonsense", 1);
        errno = ERANGE;
        log_open(targets[i], LEVEL_INFO);
        assert_int_equal(errno, ERANGE);
        log_error("%s", strerror(EDOM));
        assert_int_equal(errno, ERANGE);
        log_debug("not written");
        assert_int_equal(errno, ERANGE);
    }
    assert_int_equal(write_script.calls, 2);
}

static void last_words_ignore_target_threshold_and_sink(void **state)
{
    char text[5000];
    char back[8192] = {0};

    (void)state;
    logbook_open(LEVEL_ERROR);
    log_open(TARGET_SYSLOG, LEVEL_ERROR);
    log_last_words("farewell");
    assert_stderr("echod: farewell\n");
    name_stderr_in_journal_stream("");
    log_open(TARGET_AUTO, LEVEL_ERROR);
    log_last_words("farewell");
    assert_stderr("<3>farewell\n");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_last_words(text);
    assert_in_range(read(errors, back, sizeof back - 1), 1000, 2000);
    assert_non_null(strchr(back, '\n'));
}

static void a_long_message_is_cut_and_still_one_line(void **state)
{
    char text[5000];
    char back[8192] = {0};
    ssize_t n;

    (void)state;
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    log_open(TARGET_STDERR, LEVEL_INFO);
    for (size_t length = 1880; length < 2100; length++) {
        log_info("%.*s", (int)length, text);
        n = read(errors, back, sizeof back - 1);
        assert_in_range(n, 1800, 2048);
        assert_int_equal(back[n - 1], '\n');
        assert_ptr_equal(memchr(back, '\n', (size_t)n), back + n - 1);
        assert_null(memchr(back, '\0', (size_t)n));
    }
    log_info("%s", text);
    n = read(errors, back, sizeof back - 1);
    assert_in_range(n, 1800, 2048);
    assert_int_equal(back[n - 1], '\n');
}

/* ---- names ---- */

static void level_names_parse_and_print(void **state)
{
    static const char *const names[] = {"error", "warning", "notice", "info", "debug"};
    enum log_level level = LEVEL_NOTICE;

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(log_level_parse(names[i], &level), 0);
        assert_int_equal(level, i);
        assert_string_equal(log_level_name(level), names[i]);
    }
    level = LEVEL_NOTICE;
    assert_int_equal(log_level_parse("Error", &level), -1);
    assert_int_equal(log_level_parse("err", &level), -1);
    assert_int_equal(log_level_parse("", &level), -1);
    assert_int_equal(log_level_parse("0", &level), -1);
    assert_int_equal(level, LEVEL_NOTICE);
}

static void target_names_parse_and_print(void **state)
{
    static const char *const names[] = {"auto", "stderr", "journal", "syslog"};
    enum log_target target = TARGET_AUTO;

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(log_target_parse(names[i], &target), 0);
        assert_int_equal(target, i);
        assert_string_equal(log_target_name(target), names[i]);
    }
    assert_int_equal(log_target_parse("file", &target), -1);
    assert_int_equal(log_target_parse("", &target), -1);
    assert_int_equal(target, TARGET_SYSLOG);
}

/* ---- the rate limit ---- */

static void a_limit_passes_one_message_and_counts_the_others(void **state)
{
    struct log_limit limit = {0};
    uint64_t suppressed = 99;
    uint64_t now = 5;

    (void)state;
    assert_true(log_limit_pass(&limit, now, &suppressed));
    assert_int_equal(suppressed, 0);
    for (int i = 0; i < 1000; i++)
        assert_false(log_limit_pass(&limit, now + (uint64_t)i, &suppressed));
    assert_false(log_limit_pass(&limit, now + LOG_LIMIT_NS - 1, &suppressed));
    assert_true(log_limit_pass(&limit, now + LOG_LIMIT_NS, &suppressed));
    assert_int_equal(suppressed, 1001);
    assert_false(log_limit_pass(&limit, now + LOG_LIMIT_NS + 1, &suppressed));
    assert_true(log_limit_pass(&limit, now + 3 * LOG_LIMIT_NS, &suppressed));
    assert_int_equal(suppressed, 1);
    assert_true(log_limit_pass(&limit, now + 5 * LOG_LIMIT_NS, &suppressed));
    assert_int_equal(suppressed, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, capture_stderr, release_stderr)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(stderr_gets_plain_lines),
        TEST(a_message_is_one_write),
        TEST(lines_are_lost_while_the_reader_of_stderr_has_stopped_reading),
        TEST(auto_is_plain_unless_the_journal_reads_stderr),
        TEST(auto_is_plain_unless_both_device_and_inode_are_the_journals),
        TEST(auto_prefixes_priorities_if_the_journal_reads_stderr),
        TEST(auto_recognises_a_socket_of_the_journal),
        TEST(the_journal_gets_priority_and_name),
        TEST(syslog_gets_facility_priority_time_and_name),
        TEST(a_service_that_was_restarted_gets_messages_again),
        TEST(last_words_ignore_target_threshold_and_sink),
        TEST(a_sink_takes_over_the_bare_message),
        TEST(only_messages_at_or_above_the_threshold_pass),
        TEST(logging_leaves_errno_alone),
        TEST(a_long_message_is_cut_and_still_one_line),
        cmocka_unit_test(level_names_parse_and_print),
        cmocka_unit_test(target_names_parse_and_print),
        cmocka_unit_test(a_limit_passes_one_message_and_counts_the_others),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
