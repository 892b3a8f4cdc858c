/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SECCOMP_H
#define ECHOD_DAEMON_OS_SECCOMP_H

/* The system calls that a daemon makes once it serves, and no others: seccomp(2). A build without
 * libseccomp, or for 32 bits, has none. */

/* What must come before any other thread is started. */
void seccomp_filter_prepare(void);

/* From now on, in every thread, any other call is reported on standard error and ends the process
 * by SIGSYS. Needs no_new_privs. Returns how many calls there are, 0 in a build without; -1 with
 * errno: nothing is filtered. */
int seccomp_filter_install(void);

#endif
