/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_OS_SERVICE_MANAGER_H
#define ECHOD_DAEMON_OS_SERVICE_MANAGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The protocol of systemd: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). In a build
 * without systemd, or if no service manager started the process, nothing is sent and no socket is
 * handed over. Ready, reloading and stopping must not get lost: for a manager that has stopped
 * reading they wait UNIX_DGRAM_WAIT_S (unix_dgram.h) at most. Status and watchdog do not wait. */

/* Connect to the manager's socket. Call before the sandbox is entered. Nothing is sent before. */
void service_manager_open(void);
void service_manager_close(void);

/* True if service_manager_open() found a socket. */
bool service_manager_enabled(void);

void service_manager_ready(const char *status);
void service_manager_reloading(void);
/* Asks for `seconds` to stop in, whatever limit the manager has. */
void service_manager_stopping(unsigned seconds);
void service_manager_status(const char *status);

/* How often the watchdog wants to hear service_manager_alive(), in nanoseconds; 0: the watchdog
 * does not watch this process. */
uint64_t service_manager_watchdog_interval(void);
void service_manager_alive(void);

/* Returns how many descriptors were handed over, from *first on; -1 with errno if the environment
 * is malformed. Clears the environment, so a second call returns 0. */
int service_manager_sockets(int *first);

/* True if an earlier process of this service stored that handed over descriptor. */
bool service_manager_is_stored(int fd);

/* ---- the descriptor store: what is in it is handed to the next process of the service ---- */

/* Store copies of `count` descriptors under a name that begins with SERVICE_MANAGER_STORED. It has
 * no colon and no control character. What the store has already is not stored again. */
#define SERVICE_MANAGER_STORED "echod-own "
void service_manager_store(const char *name, const int fds[], size_t count);

/* Have the store close all descriptors of that name. */
void service_manager_unstore(const char *name);

#endif
