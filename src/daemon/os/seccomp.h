/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SECCOMP_H
#define ECHOD_DAEMON_OS_SECCOMP_H

#include <stddef.h>

/* A filter for system calls, see seccomp(2): it allows those that the daemon makes once it serves.
 * A build without libseccomp has no filter. */

/* Call before any other thread is started. */
void seccomp_filter_prepare(void);

/* Before seccomp_filter_install(): sockets of MPTCP may be opened. */
void seccomp_filter_allow_mptcp(void);

/* Filter the system calls of all threads from now on. A call that only an exploit would make is
 * named on standard error and ends the process by SIGSYS; any other call that is not allowed fails.
 * Needs no_new_privs (prctl(2)). Returns how many calls are allowed; -1 with errno if nothing is
 * filtered, ENOSYS if the kernel or the build has no filters. */
int seccomp_filter_install(void);

/* What the filter cannot check on this architecture, such as "mmap"; NULL: it checks everything. */
const char *seccomp_filter_unchecked(void);

/* How many calls have failed because they are not allowed. */
unsigned long seccomp_filter_refused(void);

/* A call that has failed, as "getppid (110)": index 0 is the first such call, index 1 the next
 * different one, and so on. Returns buf, or NULL beyond the last. */
#define SECCOMP_CALL_STRLEN 48
const char *seccomp_filter_refused_call(size_t index, char buf[static SECCOMP_CALL_STRLEN]);

#endif
