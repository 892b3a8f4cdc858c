/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SANDBOX_H
#define ECHOD_DAEMON_OS_SANDBOX_H

#include <stddef.h>

/* What is left to whoever takes the daemon over: no file but those in the folder of the
 * configuration, to be read; no TCP connection to anywhere; the system calls that an echo needs.
 * Whoever drops privileges has done so before, see priv.h. */

struct sandbox {
    int landlock; /* its ABI, 0: none */
    int calls;    /* that seccomp allows, 0: it does not restrict them */
};

/* The two steps; on -1 with errno the caller must not go on. Landlock holds for the calling thread
 * and those that it starts later; a kernel without it, or with an older one, is no error, but the
 * log tells of it. The filter of system calls holds for all threads, which must all be at work. */
int sandbox_restrict_access(struct sandbox *sandbox, const char *config);
int sandbox_restrict_calls(struct sandbox *sandbox);

/* What is in force, "seccomp (30 calls), Landlock ABI 7"; NULL stands for nothing. Returns buf. */
#define SANDBOX_STRLEN 64
const char *sandbox_describe(const struct sandbox *sandbox, char buf[static SANDBOX_STRLEN]);

#endif
