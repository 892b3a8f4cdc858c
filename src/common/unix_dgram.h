/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_UNIX_DGRAM_H
#define ECHOD_COMMON_UNIX_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Datagrams to a service of this host: syslog, the journal, the service manager. A service that has
 * stopped reading must not stop us: what it has no room for is lost. */

struct unix_dgram {
    int fd;
    struct sockaddr_un addr;
    socklen_t len;
};

/* A path, or "@name" for an abstract address (unix(7)). The service need not be there yet. -1 with
 * errno: EINVAL where it is no such name. */
int unix_dgram_open(struct unix_dgram *sock, const char *path);

void unix_dgram_close(struct unix_dgram *sock);

/* True if it was taken. A service that was started anew is found again. With `wait`, what must not
 * get lost waits UNIX_DGRAM_WAIT_S seconds for room. Safe to call from any thread. */
#define UNIX_DGRAM_WAIT_S 1
bool unix_dgram_send(const struct unix_dgram *sock, const void *data, size_t length, bool wait);

#endif
