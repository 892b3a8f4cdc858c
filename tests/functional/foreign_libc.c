/* SPDX-License-Identifier: ISC */

/* Preloaded into echod by foreign.py: makes the system calls that another C library makes. musl
 * sends and receives several datagrams by single calls, opens files by open(2), and asks for a
 * terminal by other requests than glibc. Two calls here are of a library that echod does not know:
 * getppid(2) for each read from a UDP socket, getuid(2) for each file that is opened. */

#include <asm/termbits.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    for (unsigned i = 0; i < count; i++) {
        long length = syscall(SYS_sendmsg, fd, &messages[i].msg_hdr, flags);

        if (length < 0)
            return i > 0 ? (int)i : -1;
        messages[i].msg_len = (unsigned)length;
    }
    return (int)count;
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    (void)timeout;
    syscall(SYS_getppid);
    for (unsigned i = 0; i < count; i++) {
        long length = syscall(SYS_recvmsg, fd, &messages[i].msg_hdr, flags & ~MSG_WAITFORONE);

        if (length < 0)
            return i > 0 ? (int)i : -1;
        messages[i].msg_len = (unsigned)length;
    }
    return (int)count;
}

/* The name of recvmmsg with 64-bit times on a 32-bit architecture. */
int __recvmmsg64(int fd, struct mmsghdr *messages, unsigned count, int flags, void *timeout)
    __attribute__((alias("recvmmsg")));

static int open_file(const char *path, int flags, mode_t mode)
{
    int fd;

    syscall(SYS_getuid);
#ifdef SYS_open
    fd = (int)syscall(SYS_open, path, flags, mode);
#else
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
#endif
    if (fd >= 0 && flags & O_CLOEXEC)
        syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC);
    return fd;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);
    return open_file(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list args;
    mode_t mode;

    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);
    return open_file(path, flags, mode);
}

int isatty(int fd)
{
    char result[128];

#ifdef TCGETS2
    if (syscall(SYS_ioctl, fd, TCGETS2, result) == 0)
        return 1;
#endif
    return syscall(SYS_ioctl, fd, TIOCGWINSZ, result) == 0;
}

#if defined SYS_ppoll && SYS_ppoll > 0
int poll(struct pollfd *fds, nfds_t count, int ms)
{
    struct timespec timeout = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L};

    return (int)syscall(SYS_ppoll, fds, count, ms < 0 ? NULL : &timeout, NULL, _NSIG / 8);
}
#endif

int epoll_wait(int epoll, struct epoll_event *events, int count, int ms)
{
    return (int)syscall(SYS_epoll_pwait, epoll, events, count, ms, NULL, _NSIG / 8);
}
