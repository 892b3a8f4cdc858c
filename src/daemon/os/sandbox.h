/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SANDBOX_H
#define ECHOD_DAEMON_OS_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

/* Limits the harm of an attacker who controls the daemon: Landlock takes away files and TCP
 * connections (landlock.h), seccomp every system call that an echo does not need (seccomp.h).
 * Privileges are dropped before, see privileges.h. The sandbox takes what kernel, architecture and
 * build have, and says what they do not have. */

struct sandbox {
    bool mptcp;        /* set it before: a reload may open listeners of MPTCP */
    int landlock;      /* the ABI in force; 0: no Landlock */
    int calls;         /* how many system calls seccomp allows; 0: no seccomp */
    char missing[256]; /* what the sandbox cannot do here, and what stays possible; "": nothing */
    size_t told;       /* refused system calls that the log has told of */
};

/* The first step: Landlock for the calling thread and the threads that it starts later. On -1 with
 * errno the caller must not go on. */
int sandbox_restrict_access(struct sandbox *sandbox, const char *config);

/* The second step: seccomp for all threads, which must be running. On -1 with errno the caller must
 * not go on. */
int sandbox_restrict_calls(struct sandbox *sandbox);

/* What is in force: "seccomp (40 calls), Landlock ABI 7"; "none" for NULL. Returns buf. */
#define SANDBOX_STRLEN 128
const char *sandbox_describe(const struct sandbox *sandbox, char buf[static SANDBOX_STRLEN]);

/* How many system calls have failed because the sandbox does not allow them. */
unsigned long sandbox_refused(void);

/* Log each different call that has failed, once. */
void sandbox_log_refused(struct sandbox *sandbox);

#endif
