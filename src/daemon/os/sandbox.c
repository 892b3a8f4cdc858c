/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "daemon/os/sandbox.h"

#include <errno.h>
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

int sandbox_restrict_access(struct sandbox *sandbox, const char *config)
{
    int abi;

    *sandbox = (struct sandbox){0};
    if (!POSSIBLE)
        return 0;
    seccomp_filter_prepare();
    abi = landlock_abi();
    if (abi < 0) {
        log_notice("files stay readable, and TCP connections possible: no Landlock: %s",
                   strerror(errno));
        return 0;
    }
    if (landlock_restrict(abi, config) < 0)
        return -1;
    if (abi < LANDLOCK_ABI_TCP)
        log_notice("TCP connections stay possible: Landlock of this kernel (ABI %d, %d is needed) "
                   "cannot forbid them",
                   abi, LANDLOCK_ABI_TCP);
    sandbox->landlock = abi;
    return 0;
}

int sandbox_restrict_calls(struct sandbox *sandbox)
{
    if (!POSSIBLE)
        return 0;
    sandbox->calls = seccomp_filter_install();
    return sandbox->calls < 0 ? -1 : 0;
}

const char *sandbox_describe(const struct sandbox *sandbox, char buf[static SANDBOX_STRLEN])
{
    char calls[32] = "no seccomp";
    char landlock[32] = "no Landlock";

    if (!sandbox || !POSSIBLE) {
        snprintf(buf, SANDBOX_STRLEN, sandbox ? "none, instrumented build" : "none");
        return buf;
    }
    if (sandbox->calls > 0)
        snprintf(calls, sizeof calls, "seccomp (%d calls)", sandbox->calls);
    if (sandbox->landlock > 0)
        snprintf(landlock, sizeof landlock, "Landlock ABI %d", sandbox->landlock);
    snprintf(buf, SANDBOX_STRLEN, "%s, %s", calls, landlock);
    return buf;
}
