/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_COMMON_UNIX_DGRAM_H
#define ECHOD_COMMON_UNIX_DGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Datagrams to a service of this host: syslog, the journal, the service manager. If the service has
 * stopped reading, datagrams are lost rather than delay the daemon. */

struct unix_dgram {
    int fd; /* -1: not open */
    struct sockaddr_un addr;
    socklen_t len;
};

/* `path` is absolute, or "@name" for an abstract address (unix(7)). The service may start later.
 * Returns -1 with errno, EINVAL if the path is neither or too long. */
int unix_dgram_open(struct unix_dgram *sock, const char *path);

void unix_dgram_close(struct unix_dgram *sock);

/* True if the service's socket took the datagram. Connects again if the service was restarted. With
 * `wait` it waits up to UNIX_DGRAM_WAIT_S seconds while the socket is full. Any thread may call it.
 */
#define UNIX_DGRAM_WAIT_S 1
bool unix_dgram_send(const struct unix_dgram *sock, const void *data, size_t length, bool wait);

/* The same with copies of `count` descriptors (unix(7), SCM_RIGHTS), at most UNIX_DGRAM_FDS. Always
 * waits. */
#define UNIX_DGRAM_FDS 253
bool unix_dgram_send_descriptors(const struct unix_dgram *sock, const char *data, size_t length,
                                 const int fds[], size_t count);

#endif
