/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SANDBOX_H
#define ECHOD_DAEMON_OS_SANDBOX_H

/* Limits the harm of an attacker who controls the daemon: Landlock takes away files and TCP
 * connections (landlock.h), seccomp every system call that an echo does not need (seccomp.h).
 * Privileges are dropped before, see privileges.h. */

struct sandbox {
    int landlock; /* the ABI in force; 0: no Landlock */
    int calls;    /* how many system calls seccomp allows; 0: no seccomp */
};

/* The first step: Landlock for the calling thread and the threads that it starts later. A kernel
 * without Landlock, or with an old one, is no error; a notice in the log says what stays possible.
 * On -1 with errno the caller must not go on. */
int sandbox_restrict_access(struct sandbox *sandbox, const char *config);

/* The second step: seccomp for all threads, which must be running. On -1 with errno the caller must
 * not go on. */
int sandbox_restrict_calls(struct sandbox *sandbox);

/* What is in force: "seccomp (30 calls), Landlock ABI 7"; "none" for NULL. Returns buf. */
#define SANDBOX_STRLEN 64
const char *sandbox_describe(const struct sandbox *sandbox, char buf[static SANDBOX_STRLEN]);

#endif
