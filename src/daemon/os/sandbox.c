/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "daemon/os/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "daemon/os/seccomp.h"

/* Sanitizers and coverage read and write files of their own and make many more system calls. */
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

/* ---- Landlock, see landlock(7) ---- */

/* linux/landlock.h and the C library of older systems know less than newer kernels can. The numbers
 * are those of every architecture but Alpha. */
#define CREATE_RULESET 444
#define ADD_RULE       445
#define RESTRICT_SELF  446

struct ruleset {
    uint64_t files, net, scope;
};

struct path_rule {
    uint64_t allowed;
    int32_t folder;
} __attribute__((packed));

#define ASK_VERSION  1u /* flag of CREATE_RULESET */
#define PATH_BENEATH 1  /* type of rule */

#define READ_FILE      (UINT64_C(1) << 2)
#define READ_DIR       (UINT64_C(1) << 3)
#define CONNECT_TCP    (UINT64_C(1) << 1)
#define ABSTRACT_UNIX  (UINT64_C(1) << 0)
#define SIGNALS        (UINT64_C(1) << 1)
#define UP_TO_BIT(bit) ((UINT64_C(2) << (bit)) - 1)

/* All that an ABI can restrict, except to bind: a reload may want any port. */
static struct ruleset restrictions(int abi)
{
    struct ruleset ruleset = {.files = UP_TO_BIT(12)};

    if (abi >= 2)
        ruleset.files = UP_TO_BIT(13);
    if (abi >= 3)
        ruleset.files = UP_TO_BIT(14);
    if (abi >= 4)
        ruleset.net = CONNECT_TCP;
    if (abi >= 5)
        ruleset.files = UP_TO_BIT(15);
    if (abi >= 6)
        ruleset.scope = ABSTRACT_UNIX | SIGNALS;
    return ruleset;
}

/* A folder that is not there has nothing to read. To open a folder is allowed so that a
 * configuration that is one gets the right error; no system call that reads it is. */
static int allow_to_read(int ruleset, const char *folder)
{
    struct path_rule rule = {.allowed = READ_FILE | READ_DIR};
    long status;
    int saved;

    rule.folder = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (rule.folder < 0)
        return errno == ENOENT || errno == ENOTDIR || errno == EACCES ? 0 : -1;
    status = syscall(ADD_RULE, ruleset, PATH_BENEATH, &rule, 0);
    saved = errno;
    close(rule.folder);
    errno = saved;
    return (int)status;
}

/* The file may be replaced by another of its name at any time, so its folder is what can be
 * allowed; where it is a symbolic link, that of its target too. */
static int allow_configuration(int ruleset, const char *config)
{
    char *name = strdup(config);
    char target[PATH_MAX];
    int status = name ? allow_to_read(ruleset, dirname(name)) : -1;

    if (status == 0 && realpath(config, target))
        status = allow_to_read(ruleset, dirname(target));
    free(name);
    return status;
}

static int restrict_self(int abi, const char *config)
{
    const struct ruleset attributes = restrictions(abi);
    int ruleset = (int)syscall(CREATE_RULESET, &attributes, sizeof attributes, 0);
    int status = -1;
    int saved;

    if (ruleset < 0)
        return -1;
    if (allow_configuration(ruleset, config) == 0)
        status = (int)syscall(RESTRICT_SELF, ruleset, 0);
    saved = errno;
    close(ruleset);
    errno = saved;
    return status;
}

/* ---- */

int sandbox_restrict_access(struct sandbox *sandbox, const char *config)
{
    int abi;

    *sandbox = (struct sandbox){0};
    if (!POSSIBLE)
        return 0;
    seccomp_filter_prepare();
    abi = (int)syscall(CREATE_RULESET, NULL, 0, ASK_VERSION);
    if (abi < 1) {
        log_notice("files stay readable, and TCP connections possible: no Landlock: %s",
                   strerror(errno));
        return 0;
    }
    if (restrict_self(abi, config) < 0)
        return -1;
    if (abi < 4)
        log_notice("TCP connections stay possible: Landlock of this kernel (ABI %d, 4 is needed) "
                   "cannot forbid them",
                   abi);
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
