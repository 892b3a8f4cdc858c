/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SECCOMP_H
#define ECHOD_DAEMON_OS_SECCOMP_H

/* A filter for system calls, see seccomp(2): it allows those that the daemon makes once it serves.
 * A build without libseccomp, or for 32 bits, has no filter. */

/* Call before any other thread is started. */
void seccomp_filter_prepare(void);

/* From now on, in every thread, any other system call is reported on standard error and ends the
 * process by SIGSYS. Needs no_new_privs (prctl(2)). Returns how many calls are allowed, 0 in a
 * build without a filter; -1 with errno if nothing is filtered. */
int seccomp_filter_install(void);

#endif
