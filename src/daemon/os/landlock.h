/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_LANDLOCK_H
#define ECHOD_DAEMON_OS_LANDLOCK_H

/* Landlock, see landlock(7): takes access to files, and to TCP connections, away from this process.
 */

/* The first ABI that can forbid TCP connections. */
#define LANDLOCK_ABI_TCP 4

/* The Landlock ABI of this kernel; -1 with errno if the kernel has no Landlock. */
int landlock_abi(void);

/* From now on the calling thread, and the threads that it starts, can open no file except for
 * reading below the folder of `config`, and connect no TCP socket. If `config` is a symbolic link,
 * the folder of its target can be read too. An `abi` below the newest restricts less. Needs
 * no_new_privs (prctl(2)). Returns -1 with errno if nothing, or not all, is restricted. */
int landlock_restrict(int abi, const char *config);

#endif
