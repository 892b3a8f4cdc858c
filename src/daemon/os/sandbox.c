/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "daemon/os/sandbox.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "daemon/os/landlock.h"
#include "daemon/os/seccomp.h"

/* Sanitizers and coverage write files and make many more system calls. */
#ifndef __has_feature
#define __has_feature(feature) 0
#endif
#if defined INSTRUMENTED || defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ ||         \
    __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) ||                         \
    __has_feature(memory_sanitizer)
#define POSSIBLE false
#else
#define POSSIBLE true
#endif

__attribute__((format(printf, 2, 3))) static void add_missing(struct sandbox *sandbox,
                                                              const char *format, ...)
{
    size_t used = strlen(sandbox->missing);
    va_list args;

    if (used > 0 && used + 2 < sizeof sandbox->missing)
        used = (size_t)(stpcpy(sandbox->missing + used, "; ") - sandbox->missing);
    va_start(args, format);
    vsnprintf(sandbox->missing + used, sizeof sandbox->missing - used, format, args);
    va_end(args);
}

int sandbox_restrict_access(struct sandbox *sandbox, const char *config)
{
    int abi;

    *sandbox = (struct sandbox){.mptcp = sandbox->mptcp};
    if (!POSSIBLE) {
        add_missing(sandbox, "this build is instrumented: everything stays possible");
        return 0;
    }
    seccomp_filter_prepare();
    abi = landlock_abi();
    if (abi < 0) {
        add_missing(sandbox, "no Landlock (%s): files stay readable, TCP connections possible",
                    strerror(errno));
        return 0;
    }
    if (landlock_restrict(abi, config) < 0)
        return -1;
    if (abi < LANDLOCK_ABI_TCP)
        add_missing(sandbox, "Landlock ABI %d, not %d: TCP connections stay possible", abi,
                    LANDLOCK_ABI_TCP);
    sandbox->landlock = abi;
    return 0;
}

int sandbox_restrict_calls(struct sandbox *sandbox)
{
    const char *unchecked = seccomp_filter_unchecked();

    if (!POSSIBLE)
        return 0;
    if (sandbox->mptcp)
        seccomp_filter_allow_mptcp();
    sandbox->calls = seccomp_filter_install();
    if (sandbox->calls < 0 && errno != ENOSYS)
        return -1;
    if (sandbox->calls < 0) {
        add_missing(sandbox, "no seccomp (%s): all system calls stay possible", strerror(errno));
        sandbox->calls = 0;
    } else if (unchecked) {
        add_missing(sandbox, "arguments unchecked on this architecture: %s", unchecked);
    }
    return 0;
}

const char *sandbox_describe(const struct sandbox *sandbox, char buf[static SANDBOX_STRLEN])
{
    const char *unchecked = seccomp_filter_unchecked();
    char calls[80] = "no seccomp";
    char landlock[32] = "no Landlock";

    if (!sandbox || !POSSIBLE) {
        snprintf(buf, SANDBOX_STRLEN, sandbox ? "none, instrumented build" : "none");
        return buf;
    }
    if (sandbox->calls > 0)
        snprintf(calls, sizeof calls, "seccomp (%d calls%s%s)", sandbox->calls,
                 unchecked ? ", unchecked: " : "", unchecked ? unchecked : "");
    if (sandbox->landlock > 0)
        snprintf(landlock, sizeof landlock, "Landlock ABI %d", sandbox->landlock);
    snprintf(buf, SANDBOX_STRLEN, "%s, %s", calls, landlock);
    return buf;
}

unsigned long sandbox_refused(void)
{
    return seccomp_filter_refused();
}

void sandbox_log_refused(struct sandbox *sandbox)
{
    char call[SECCOMP_CALL_STRLEN];

    for (; seccomp_filter_refused_call(sandbox->told, call); sandbox->told++)
        log_warning("the sandbox made the system call %s fail: a library made it, not echod itself "
                    "(sandbox = false allows it)",
                    call);
}
