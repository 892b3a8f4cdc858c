/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_LOG_H
#define ECHOD_COMMON_LOG_H

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* One line a message, to one target. Every function here leaves errno as it found it, so that a
 * caller may log between a failure and its own report of it. Safe to call from any thread once
 * log_open() has returned. */

enum log_level { LEVEL_ERROR, LEVEL_WARNING, LEVEL_NOTICE, LEVEL_INFO, LEVEL_DEBUG };

enum log_target {
    TARGET_AUTO,    /* stderr, with sd-daemon(3) priority prefixes where stderr is the journal's */
    TARGET_STDERR,  /* stderr, plain */
    TARGET_JOURNAL, /* systemd-journald.service(8), facility daemon */
    TARGET_SYSLOG   /* syslog(3)'s socket, facility daemon */
};

/* A sink takes over a finished message, without newline or prefix. */
typedef void log_sink(enum log_level level, const char *message);

/* Choose target and threshold; may be called again at any time. Time stamps for syslog are local
 * time as of the caller's last tzset(3). A target that has stopped reading costs lines, no time. */
void log_open(enum log_target target, enum log_level threshold);

/* At the end, when no other thread logs any more: close what targets have opened. What is logged
 * after that goes to stderr. */
void log_close(void);

/* Send everything to `sink` instead of the target; NULL goes back to the target. */
void log_set_sink(log_sink *sink);

/* True if a message of this level would be written: to save the cost of composing it. */
bool log_enabled(enum log_level level);

void log_at(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...)   log_at(LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...)  log_at(LEVEL_NOTICE, __VA_ARGS__)
#define log_info(...)    log_at(LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LEVEL_DEBUG, __VA_ARGS__)

/* An error to standard error, whatever the target, level and sink; async-signal-safe. */
void log_last_words(const char *message);

/* The names users write: "error", "warning", ... and "auto", "stderr", ...; -1 where the name is
 * none. */
int log_level_parse(const char *name, enum log_level *level);
int log_target_parse(const char *name, enum log_target *target);
const char *log_level_name(enum log_level level);
const char *log_target_name(enum log_target target);

/* A brake for what a stranger can trigger: one message, then silence for LOG_LIMIT_NS while they
 * are counted. Several threads may share one. */
#define LOG_LIMIT_NS UINT64_C(30000000000)
struct log_limit {
    _Atomic uint64_t quiet_until; /* CLOCK_MONOTONIC, nanoseconds */
    _Atomic uint64_t suppressed;
};

/* True if the caller should log now; *suppressed is then the number of messages held back since the
 * last one. */
bool log_limit_pass(struct log_limit *limit, uint64_t now, uint64_t *suppressed);

#endif
