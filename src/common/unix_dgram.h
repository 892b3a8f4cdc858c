/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_UNIX_DGRAM_H
#define ECHOD_COMMON_UNIX_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Datagrams to a service of this host: syslog, the journal, the service manager. A service that has
 * stopped reading must not stop us: what it has no room for is lost. */

struct usock {
    int fd;
    struct sockaddr_un addr;
    socklen_t len;
};

/* A path, or "@name" for an abstract address (unix(7)). The service need not be there yet. -1 with
 * errno: EINVAL where it is no such name. */
int usock_open(struct usock *sock, const char *path);

void usock_close(struct usock *sock);

/* True if it was taken. A service that was started anew is found again. With `wait`, what must not
 * get lost waits USOCK_WAIT_S seconds for room. Safe to call from any thread. */
#define USOCK_WAIT_S 1
bool usock_send(const struct usock *sock, const void *data, size_t length, bool wait);

#endif
