/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_UNIT_H
#define ECHOD_TESTS_UNIT_H

/* What the unit tests share: cmocka, scripts that tell wrapped functions what to do, a record of
 * the messages that were logged, and loopback sockets on ports that the kernel chooses. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

/* Needs the four above. */
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/addr.h"
#include "common/log.h"
#include "common/util.h"
#include "unit/wide.h"

/* cmocka 2 has deprecated assert_in_range; cmocka 1 has no other name for it. The macro stop() of
 * cmocka 2 takes a name that tests use. */
#ifdef assert_uint_in_range
#undef stop
#undef assert_in_range
#define assert_in_range(value, minimum, maximum)                                                   \
    _assert_uint_in_range((uintmax_t)(value), (uintmax_t)(minimum), (uintmax_t)(maximum),          \
                          __FILE__, __LINE__)
#endif

/* The longest wait, in milliseconds. Only a failure reaches it. */
#define PATIENCE_MS 10000

/* ---- wrapped functions ---- */

/* Each call of a wrapped function takes the next step of its script. The step is an errno, negated:
 * the call fails with that error; or PASS: the real function is called; or another number, whose
 * meaning the wrapper defines, such as a limit or a result. After the last step every call passes,
 * or takes the last step again if `repeat` is set. */
#define PASS         INT_MAX
#define SCRIPT_STEPS 64
struct script {
    int steps[SCRIPT_STEPS];
    _Atomic unsigned at;
    _Atomic unsigned count;
    _Atomic bool repeat;
    _Atomic unsigned calls; /* number of calls since the script was set */
};

static inline void script_set(struct script *script, const int *steps, size_t count)
{
    assert_in_range(count, 0, SCRIPT_STEPS);
    script->count = 0;
    script->at = 0;
    script->calls = 0;
    script->repeat = false;
    memcpy(script->steps, steps, count * sizeof *steps);
    script->count = (unsigned)count;
}

#define SCRIPT(script, ...)                                                                        \
    script_set(&(script), (const int[]){__VA_ARGS__}, COUNT(((const int[]){__VA_ARGS__})))

static inline void script_clear(struct script *script)
{
    script_set(script, (const int[]){PASS}, 0);
}

static inline void script_always(struct script *script, int step)
{
    script_set(script, &step, 1);
    script->repeat = true;
}

/* Let `n` calls pass, fail the next call with the errno `error`, let all others pass. */
static inline void script_fail_after(struct script *script, unsigned n, int error)
{
    int steps[SCRIPT_STEPS];

    assert_in_range(n, 0, SCRIPT_STEPS - 1);
    for (unsigned i = 0; i < n; i++)
        steps[i] = PASS;
    steps[n] = -error;
    script_set(script, steps, n + 1);
}

static inline bool script_done(const struct script *script)
{
    return script->at >= script->count;
}

static inline int script_next(struct script *script)
{
    unsigned at = script->at;

    script->calls++;
    if (at >= script->count)
        return PASS;
    if (!script->repeat || at + 1 < script->count)
        script->at = at + 1;
    return script->steps[at];
}

/* Take the next step of a function that only fails or passes. True, with errno set, if it fails. */
static inline bool script_fails(struct script *script)
{
    int step = script_next(script);

    if (step < 0)
        errno = -step;
    return step < 0;
}

/* Define a wrapper; the body follows. It calls script_next() or script_fails(). */
#define WRAP(type, name, ...)                                                                      \
    static struct script name##_script;                                                            \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

/* Define a wrapper that returns `failure` or calls the real function, as its script says. */
#define WRAP_FAILING(type, name, failure, params, args)                                            \
    static struct script name##_script;                                                            \
    type __real_##name params;                                                                     \
    type __wrap_##name params;                                                                     \
    type __wrap_##name params                                                                      \
    {                                                                                              \
        return script_fails(&name##_script) ? (failure) : __real_##name args;                      \
    }

/* ---- descriptors ---- */

static inline unsigned open_descriptors(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 512; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static inline bool readable(int fd, int timeout_ms)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};

    return poll(&pollfd, 1, timeout_ms) == 1;
}

/* Read exactly `length` octets, within PATIENCE_MS each. */
static inline void read_all(int fd, void *buf, size_t length)
{
    for (size_t done = 0; done < length;) {
        ssize_t n;

        assert_true(readable(fd, PATIENCE_MS));
        n = read(fd, (char *)buf + done, length - done);
        assert_true(n > 0);
        done += (size_t)n;
    }
}

/* ---- messages that were logged ---- */

#define LOGBOOK_LINES 64
struct logbook {
    pthread_mutex_t lock;
    unsigned count;
    struct {
        enum log_level level;
        char text[512];
    } lines[LOGBOOK_LINES];
};
static struct logbook logbook = {.lock = PTHREAD_MUTEX_INITIALIZER};

static inline void logbook_sink(enum log_level level, const char *message)
{
    pthread_mutex_lock(&logbook.lock);
    if (logbook.count < LOGBOOK_LINES) {
        logbook.lines[logbook.count].level = level;
        strncpy(logbook.lines[logbook.count].text, message, sizeof logbook.lines[0].text - 1);
    }
    logbook.count++;
    pthread_mutex_unlock(&logbook.lock);
}

/* From now on record messages of this level and above in an empty logbook, and write none. */
static inline void logbook_open(enum log_level threshold)
{
    memset(logbook.lines, 0, sizeof logbook.lines);
    logbook.count = 0;
    log_set_sink(logbook_sink);
    log_open(TARGET_STDERR, threshold);
}

/* The number of messages of that level that contain the text. */
static inline unsigned logged(enum log_level level, const char *text)
{
    unsigned count = 0;

    pthread_mutex_lock(&logbook.lock);
    for (unsigned i = 0; i < logbook.count && i < LOGBOOK_LINES; i++)
        count += logbook.lines[i].level == level && strstr(logbook.lines[i].text, text) != NULL;
    pthread_mutex_unlock(&logbook.lock);
    return count;
}

/* ---- loopback ---- */

static inline struct addr address(const char *text, uint16_t port)
{
    struct addr addr;

    assert_int_equal(addr_parse(text, 1, &addr), 0);
    addr_set_port(&addr, port);
    return addr;
}

static inline struct addr local_address(int fd)
{
    struct addr addr = {.len = sizeof addr.in6};

    assert_int_equal(getsockname(fd, &addr.sa, &addr.len), 0);
    return addr;
}

/* Bind a socket to the address, on a port of the kernel's choice. Returns its descriptor, which the
 * caller closes; -1 if this host has no such address. */
static inline int bound_socket(int type, const char *text)
{
    struct addr addr = address(text, 0);
    int fd = socket(addr.sa.sa_family, type | SOCK_CLOEXEC, 0);

    if (fd >= 0 && bind(fd, &addr.sa, addr.len) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static inline bool have_address(const char *text)
{
    int fd = bound_socket(SOCK_DGRAM, text);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

/* Print the reason why this test cannot run here, and end it. */
static inline void skip_because(const char *reason)
{
    print_message("# skipped: %s\n", reason);
    skip();
}

/* Wait until the condition holds, which another thread, another process or the kernel brings about.
 */
#define WAIT_UNTIL(condition)                                                                      \
    do {                                                                                           \
        bool met_ = (condition);                                                                   \
                                                                                                   \
        for (int waits_ = 0; waits_ < PATIENCE_MS && !met_; waits_++) {                            \
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);                               \
            met_ = (condition);                                                                    \
        }                                                                                          \
        _assert_true(met_, #condition, __FILE__, __LINE__);                                        \
    } while (0)

/* Let the loop turn until the condition holds. */
#define TURN_UNTIL(loop, condition)                                                                \
    do {                                                                                           \
        bool met_ = (condition);                                                                   \
                                                                                                   \
        for (int turns_ = 0; turns_ < PATIENCE_MS / 10 && !met_; turns_++) {                       \
            loop_turn((loop), 10);                                                                 \
            met_ = (condition);                                                                    \
        }                                                                                          \
        _assert_true(met_, #condition, __FILE__, __LINE__);                                        \
    } while (0)

#endif
