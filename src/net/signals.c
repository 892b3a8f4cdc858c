/* SPDX-License-Identifier: ISC */
#include "net/signals.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/util.h"

/* False if no signal is pending. */
static bool read_signal(int fd, int *number)
{
    struct signalfd_siginfo info;

    if (read(fd, &info, sizeof info) != (ssize_t)sizeof info)
        return false;
    *number = (int)info.ssi_signo;
    return true;
}

/* The callback may call signals_fini(). */
static void read_signals(struct loop_io *io, short revents)
{
    struct signals *signals = container_of(io, struct signals, io);
    int number;

    (void)revents;
    while (loop_is_watched(io) && read_signal(io->fd, &number))
        signals->fn(signals, number);
}

int signals_init(struct signals *signals, struct loop *loop, const int numbers[], size_t count,
                 signals_fn *fn)
{
    sigset_t mask;
    int fd;

    *signals = (struct signals){.fn = fn};
    sigemptyset(&mask);
    for (size_t i = 0; i < count; i++)
        sigaddset(&mask, numbers[i]);
    fd = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0)
        return -1;
    if (loop_add(loop, &signals->io, fd, POLLIN, read_signals) < 0) {
        int saved = errno;

        close(fd);
        errno = saved;
        return -1;
    }
    sigprocmask(SIG_BLOCK, &mask, &signals->old_mask);
    signals->loop = loop;
    return 0;
}

void signals_fini(struct signals *signals)
{
    int fd = signals->io.fd;
    int saved = errno;
    int number;

    if (!signals->loop)
        return;
    loop_del(signals->loop, &signals->io);
    while (read_signal(fd, &number))
        ;
    close(fd);
    sigprocmask(SIG_SETMASK, &signals->old_mask, NULL);
    signals->loop = NULL;
    errno = saved; /* the caller may be about to report an error */
}
