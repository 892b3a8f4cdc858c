/* SPDX-License-Identifier: ISC */
#include "common/unix_dgram.h"

#include <errno.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/util.h"

int unix_dgram_open(struct unix_dgram *sock, const char *path)
{
    const struct timeval limit = {.tv_sec = UNIX_DGRAM_WAIT_S};
    size_t length = strlen(path);

    *sock = (struct unix_dgram){.fd = -1, .addr.sun_family = AF_UNIX};
    if ((path[0] != '/' && path[0] != '@') || length < 2 || length >= sizeof sock->addr.sun_path) {
        errno = EINVAL;
        return -1;
    }
    memcpy(sock->addr.sun_path, path, length);
    /* The length of a path includes its NUL; an abstract name has none. */
    if (path[0] == '@')
        sock->addr.sun_path[0] = '\0';
    sock->len =
        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (path[0] == '@' ? 0 : 1));
    sock->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock->fd < 0)
        return -1;
    /* Connect now: later Landlock forbids connecting to an abstract address. */
    if (setsockopt(sock->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0)
        (void)connect(sock->fd, (const struct sockaddr *)&sock->addr, sock->len);
    return 0;
}

void unix_dgram_close(struct unix_dgram *sock)
{
    if (sock->fd >= 0)
        close(sock->fd);
    sock->fd = -1;
}

bool unix_dgram_send_descriptors(const struct unix_dgram *sock, const char *data, size_t length,
                                 const int fds[], size_t count)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(UNIX_DGRAM_FDS * sizeof fds[0])] = {0};
    char text[256];
    struct iovec piece = {.iov_base = text, .iov_len = length};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = control};

    if (sock->fd < 0 || length > sizeof text || count > UNIX_DGRAM_FDS)
        return false;
    memcpy(text, data, length);
    add_control_message(&message, SOL_SOCKET, SCM_RIGHTS, fds, count * sizeof fds[0]);
    return sendmsg(sock->fd, &message, MSG_NOSIGNAL) >= 0;
}

bool unix_dgram_send(const struct unix_dgram *sock, const void *data, size_t length, bool wait)
{
    int flags = MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT);

    if (sock->fd < 0)
        return false;
    if (send(sock->fd, data, length, flags) >= 0)
        return true;
    if (errno == EAGAIN || connect(sock->fd, (const struct sockaddr *)&sock->addr, sock->len) < 0)
        return false;
    return send(sock->fd, data, length, flags) >= 0;
}
