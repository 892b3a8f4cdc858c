/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_LOG_H
#define ECHOD_COMMON_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* The log: each message is one line, sent to one target. All functions preserve errno. Once
 * log_open() has returned, any thread may call them. */

enum log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_NOTICE, LEVEL_INFO, LEVEL_DEBUG };

enum log_target {
    TARGET_AUTO,    /* stderr; with sd-daemon(3) priority prefixes if the journal reads stderr */
    TARGET_STDERR,  /* stderr, plain */
    TARGET_JOURNAL, /* systemd-journald.service(8), facility daemon */
    TARGET_SYSLOG   /* the socket of syslog(3), facility daemon */
};

/* Takes a finished message, without newline or prefix. */
typedef void log_sink(enum log_level level, const char *message);

/* Choose the target, and the least severe level to log; may be called again at any time. syslog
 * needs the local time zone: call tzset(3) before. If the target has stopped reading, lines are
 * lost rather than delay the caller. */
void log_open(enum log_target target, enum log_level threshold);

/* What begins each line on standard error, "echod: " at first; before log_open(). The pointer is
 * kept. */
void log_set_prefix(const char *prefix);

/* Close the sockets of the targets; later messages go to stderr. No other thread may log now. */
void log_close(void);

/* Send messages to `sink` instead of the target; NULL: to the target again. For tests. */
void log_set_sink(log_sink *sink);

/* True if a message of this level would be logged. Saves composing a message that would not. */
bool log_enabled(enum log_level level);

void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_at(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_at(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_at(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LEVEL_DEBUG, __VA_ARGS__)

/* Write an error to standard error, whatever target, threshold and sink are; async-signal-safe. */
void log_last_words(const char *message);

/* The names in the configuration: "error", "warning", ... and "auto", "stderr", ... Parsing returns
 * -1 if there is no such name. */
int log_level_parse(const char *name, enum log_level *level);
int log_target_parse(const char *name, enum log_target *target);
const char *log_level_name(enum log_level level);
const char *log_target_name(enum log_target target);

/* A rate limit for messages that a stranger can trigger: one message, then none for LOG_LIMIT_NS,
 * but those held back are counted. Several threads may share it. */
#define LOG_LIMIT_NS UINT64_C(30000000000) /* nanoseconds */
struct log_limit {
    _Atomic uint64_t quiet_until; /* CLOCK_MONOTONIC, nanoseconds */
    _Atomic uint64_t suppressed;  /* messages since the last one that was logged */
};

/* True if the caller should log now; *suppressed is then how many messages were held back since the
 * last one. */
bool log_limit_pass(struct log_limit *limit, uint64_t now, uint64_t *suppressed);

#endif
