/* SPDX-License-Identifier: ISC */
#include "log.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

/* The order is that of enum log_level and enum log_target. */
static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};
static const char *const target_names[] = {"auto", "stderr", "journal", "syslog"};
static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};

/* Octets of a message; what is longer is cut. */
#define MESSAGE_MAX 1900

#define COUNT(array) (sizeof(array) / sizeof *(array))

static void write_stderr(enum log_level level, const char *message);

static _Atomic(enum log_level) threshold = LEVEL_INFO;
static _Atomic(log_sink *) target = write_stderr;
static _Atomic(log_sink *) journal;
static _Atomic(log_sink *) override;

/* A reader that has stopped reading must not stop us: rather lose a line. A pipe that polls
 * writable has room for PIPE_BUF octets (pipe(7)), more than a line, so the write does not block.
 * O_NONBLOCK would be the shell's too that shares our standard error. */
static bool has_room(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

    return poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLOUT;
}

/* One write(2) a message, so that those of several threads do not mix. */
static void write_line(const char *prefix, const char *message)
{
    char line[MESSAGE_MAX + 16];
    int length = snprintf(line, sizeof line, "%s%s\n", prefix, message);

    if (!has_room(STDERR_FILENO))
        return;
    /* There is nowhere left to report that reporting fails. */
    ssize_t written = write(STDERR_FILENO, line, (size_t)length);
    (void)written;
}

static void write_stderr(enum log_level level, const char *message)
{
    (void)level;
    write_line("echod: ", message);
}

static void write_prefixed(enum log_level level, const char *message)
{
    char prefix[] = "<0>";

    prefix[1] = (char)('0' + priorities[level]);
    write_line(prefix, message);
}

static void write_syslog(enum log_level level, const char *message)
{
    syslog(priorities[level], "%s", message);
}

/* systemd.exec(5), JOURNAL_STREAM: device and inode of the stream that it connected, for telling
 * whether a descriptor still is that one. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char expected[64];
    struct stat st;

    if (!stream || fstat(STDERR_FILENO, &st) < 0)
        return false;
    snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, expected) == 0;
}

static log_sink *choose(enum log_target wanted)
{
    switch (wanted) {
    case TARGET_SYSLOG:
        openlog("echod", LOG_PID | LOG_NDELAY, LOG_DAEMON);
        return write_syslog;
    case TARGET_JOURNAL:
        if (atomic_load(&journal))
            return atomic_load(&journal);
        break;
    case TARGET_STDERR:
        return write_stderr;
    case TARGET_AUTO:
        break;
    }
    return stderr_is_journal() ? write_prefixed : write_stderr;
}

void log_open(enum log_target wanted, enum log_level level)
{
    int saved = errno;

    atomic_store(&target, choose(wanted));
    atomic_store(&threshold, level);
    errno = saved;
}

void log_set_sink(log_sink *sink)
{
    atomic_store(&override, sink);
}

void log_set_journal(log_sink *sink)
{
    atomic_store(&journal, sink);
}

bool log_enabled(enum log_level level)
{
    return level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

void log_at(enum log_level level, const char *format, ...)
{
    int saved = errno;
    char message[MESSAGE_MAX];
    va_list args;
    log_sink *sink = atomic_load(&override);

    if (!log_enabled(level))
        return;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (!sink)
        sink = atomic_load(&target);
    sink(level, message);
    errno = saved;
}

static int find(const char *const names[], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

int log_level_parse(const char *name, enum log_level *level)
{
    int i = find(level_names, COUNT(level_names), name);

    if (i < 0)
        return -1;
    *level = (enum log_level)i;
    return 0;
}

int log_target_parse(const char *name, enum log_target *wanted)
{
    int i = find(target_names, COUNT(target_names), name);

    if (i < 0)
        return -1;
    *wanted = (enum log_target)i;
    return 0;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

const char *log_target_name(enum log_target wanted)
{
    return target_names[wanted];
}

bool log_limit_pass(struct log_limit *limit, uint64_t now, uint64_t *suppressed)
{
    uint64_t until = atomic_load(&limit->quiet_until);

    if (now < until ||
        !atomic_compare_exchange_strong(&limit->quiet_until, &until, now + LOG_LIMIT_NS)) {
        atomic_fetch_add(&limit->suppressed, 1);
        return false;
    }
    *suppressed = atomic_exchange(&limit->suppressed, 0);
    return true;
}
