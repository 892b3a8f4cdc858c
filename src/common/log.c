/* SPDX-License-Identifier: ISC */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "common/unix_dgram.h"
#include "common/util.h"

/* The order is that of enum log_level and enum log_target. */
static const char *const level_names[] = {"error", "warning", "notice", "info", "debug"};
static const char *const target_names[] = {"auto", "stderr", "journal", "syslog"};
static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};

/* Octets of a message; a longer one is cut. */
#define MESSAGE_MAX 1900

/* Octets of a datagram for syslog or the journal: a message and its header. */
#define DATAGRAM_MAX (MESSAGE_MAX + 128)

static void write_stderr(enum log_level level, const char *message);

static _Atomic(enum log_level) threshold = LEVEL_INFO;
static _Atomic(log_sink *) target = write_stderr;
static _Atomic(log_sink *) override;

/* Opened at first use and closed by log_close() only: while one thread changes the target, another
 * may still write to the old one. */
static struct unix_dgram syslog_socket = {.fd = -1};
static struct unix_dgram journal_socket = {.fd = -1};

/* Set by the first log_open(): the sandbox does not allow getpid(2). */
static pid_t process;

/* If standard error is a terminal: opened anew and nonblocking, because poll(2) reports a terminal
 * writable when there is room for one octet only. Setting O_NONBLOCK on standard error itself would
 * set it for the shell, too. Else, or if it cannot be opened, -1. */
static int terminal = -1;

/* If the reader of standard error has stopped reading, we lose the line rather than block. A pipe
 * that polls writable has room for PIPE_BUF octets (pipe(7)), which is more than a line. */
static bool is_writable(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLOUT};

    return poll(&pollfd, 1, 0) > 0 && pollfd.revents & POLLOUT;
}

/* One write(2) a message, so that messages of several threads do not mix. */
static void write_message(const char *line, size_t length)
{
    int fd = terminal < 0 ? STDERR_FILENO : terminal;

    if (!is_writable(fd))
        return;
    /* There is nowhere to report that logging fails. */
    ssize_t written = write(fd, line, length);
    (void)written;
}

static const char *name_prefix = "echod: ";

void log_set_prefix(const char *prefix)
{
    name_prefix = prefix;
}

static void write_line(const char *prefix, const char *message)
{
    char line[MESSAGE_MAX + 16];
    int length = snprintf(line, sizeof line, "%s%s\n", prefix, message);

    write_message(line, (size_t)length);
}

static void write_stderr(enum log_level level, const char *message)
{
    (void)level;
    write_line(name_prefix, message);
}

static void write_prefixed(enum log_level level, const char *message)
{
    char prefix[] = "<0>";

    prefix[1] = (char)('0' + priorities[level]);
    write_line(prefix, message);
}

/* snprintf(3) returns the length of the whole text, even if it was cut. */
static size_t cut_length(int length)
{
    return length < DATAGRAM_MAX ? (size_t)length : DATAGRAM_MAX - 1;
}

/* If the service does not exist, the message goes to standard error. */
static void send_line(const struct unix_dgram *service, const char *datagram, int length,
                      const char *message)
{
    if (!unix_dgram_send(service, datagram, cut_length(length), false) && errno != EAGAIN)
        write_line(name_prefix, message);
}

/* In the format of syslog(3). syslog(3) itself would block if the reader has stopped reading. */
static void write_syslog(enum log_level level, const char *message)
{
    char datagram[DATAGRAM_MAX];
    char stamp[32] = "";
    struct timespec now;
    struct tm tm;
    int length;

    clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &tm))
        strftime(stamp, sizeof stamp, "%b %e %T ", &tm);
    length = snprintf(datagram, sizeof datagram, "<%d>%sechod[%ld]: %s",
                      LOG_DAEMON | priorities[level], stamp, (long)process, message);
    send_line(&syslog_socket, datagram, length, message);
}

/* In the format of https://systemd.io/JOURNAL_NATIVE_PROTOCOL, where a value ends at a newline.
 * sd_journal_send(3) would block if the reader has stopped reading. */
static void write_journal(enum log_level level, const char *message)
{
    char datagram[DATAGRAM_MAX];
    int length =
        snprintf(datagram, sizeof datagram,
                 "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=echod\nMESSAGE=%.*s\n",
                 priorities[level], LOG_FAC(LOG_DAEMON), (int)strcspn(message, "\n"), message);

    send_line(&journal_socket, datagram, length, message);
}

static log_sink *open_service(struct unix_dgram *sock, const char *path, log_sink *sink)
{
    return sock->fd >= 0 || unix_dgram_open(sock, path) == 0 ? sink : NULL;
}

/* The environment variable JOURNAL_STREAM is the device and inode of the stream that systemd
 * connected to standard error (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    char expected[64];
    struct stat st;

    if (!stream || fstatat(STDERR_FILENO, "", &st, AT_EMPTY_PATH) < 0)
        return false;
    snprintf(expected, sizeof expected, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(stream, expected) == 0;
}

/* Falls back to standard error if no socket can be opened. */
static log_sink *choose_sink(enum log_target wanted)
{
    log_sink *sink = NULL;

    if (wanted == TARGET_STDERR)
        return write_stderr;
    if (wanted == TARGET_SYSLOG)
        sink = open_service(&syslog_socket, _PATH_LOG, write_syslog);
    else if (wanted == TARGET_JOURNAL)
        sink = open_service(&journal_socket, "/run/systemd/journal/socket", write_journal);
    if (sink)
        return sink;
    return stderr_is_journal() ? write_prefixed : write_stderr;
}

void log_open(enum log_target wanted, enum log_level level)
{
    int saved = errno;

    if (process == 0) {
        process = getpid();
        if (isatty(STDERR_FILENO))
            terminal = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    }
    atomic_store(&target, choose_sink(wanted));
    atomic_store(&threshold, level);
    errno = saved;
}

void log_close(void)
{
    atomic_store(&target, write_stderr);
    unix_dgram_close(&syslog_socket);
    unix_dgram_close(&journal_socket);
}

void log_set_sink(log_sink *sink)
{
    atomic_store(&override, sink);
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

void log_last_words(const char *message)
{
    char line[MESSAGE_MAX + 16];
    char *end = stpcpy(line, atomic_load(&target) == write_prefixed ? "<3>" : name_prefix);

    end = stpncpy(end, message, MESSAGE_MAX);
    *end++ = '\n';
    write_message(line, (size_t)(end - line));
}

static int find_name(const char *const names[], size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i], name) == 0)
            return (int)i;
    return -1;
}

int log_level_parse(const char *name, enum log_level *level)
{
    int i = find_name(level_names, COUNT(level_names), name);

    if (i < 0)
        return -1;
    *level = (enum log_level)i;
    return 0;
}

int log_target_parse(const char *name, enum log_target *wanted)
{
    int i = find_name(target_names, COUNT(target_names), name);

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
