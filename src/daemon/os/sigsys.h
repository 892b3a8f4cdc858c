/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SIGSYS_H
#define ECHOD_DAEMON_OS_SIGSYS_H

#include <stdbool.h>
#include <stddef.h>

/* What becomes of a system call that the filter of seccomp.h traps (seccomp(2), SECCOMP_RET_TRAP).
 * The kernel sends SIGSYS instead of making the call. A call that only an exploit would make ends
 * the process. Any other call fails with an errno and is counted, so that the daemon survives a
 * library that makes calls which we do not know. */

struct sigsys_rule {
    int call;         /* number of the system call */
    int error;        /* its errno; 0: the process ends */
    const char *name; /* for the message before the end */
};

/* Handle SIGSYS by these rules, which are borrowed; a call without a rule fails with ENOSYS.
 * Returns -1 with errno. */
int sigsys_handle(const struct sigsys_rule rules[], size_t count);

/* False on an architecture where the handler does not know how to make a call fail: every trapped
 * call ends the process. */
bool sigsys_can_refuse(void);

/* How many calls have failed. */
unsigned long sigsys_refused(void);

/* The number of a call that has failed: the first such call has index 0, the next different one
 * index 1, and so on; -1 beyond the last. At most SIGSYS_DIFFERENT are remembered. */
#define SIGSYS_DIFFERENT 32
int sigsys_refused_call(size_t index);

#endif
