/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SERVICE_MANAGER_H
#define ECHOD_DAEMON_OS_SERVICE_MANAGER_H

#include <stdbool.h>
#include <stdint.h>

/* What the service manager is told, and what it hands over: sd_notify(3), sd_watchdog_enabled(3),
 * sd_listen_fds(3). Without systemd, at build or at run time, nobody listens and nothing is handed
 * over. A manager that has stopped reading delays us by UNIX_DGRAM_WAIT_S (usock.h) at most, and
 * only where it must not miss what is said: ready, reloading, stopping. */

/* Connect to whoever listens; nothing is said before. To be called before the sandbox is entered.
 */
void service_manager_open(void);
void service_manager_close(void);

/* True if somebody listens. */
bool service_manager_enabled(void);

void service_manager_ready(const char *status);
void service_manager_reloading(void);
/* Stopping may take that many seconds, whatever limit the manager has. */
void service_manager_stopping(unsigned seconds);
void service_manager_status(const char *status);

/* How often the watchdog wants a sign of life, in nanoseconds; 0: it does not watch this process.
 */
uint64_t service_manager_watchdog_interval(void);
void service_manager_alive(void);

/* The descriptors handed over are *first and those after it; returns how many, 0 if none, -1 with
 * errno if the environment is malformed. The environment is cleared. */
int service_manager_sockets(int *first);

#endif
