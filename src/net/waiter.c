/* SPDX-License-Identifier: ISC */
#include "net/waiter.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

int waiter_open(struct waiter *waiter)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGQUIT);
    *waiter = (struct waiter){.signals = signalfd(-1, &mask, SFD_NONBLOCK | SFD_CLOEXEC)};
    if (waiter->signals < 0)
        return -1;
    sigprocmask(SIG_BLOCK, &mask, &waiter->old_mask);
    return 0;
}

void waiter_close(struct waiter *waiter)
{
    if (waiter->signals < 0)
        return;
    close(waiter->signals);
    waiter->signals = -1;
    sigprocmask(SIG_SETMASK, &waiter->old_mask, NULL);
}

static void read_signals(struct waiter *waiter)
{
    struct signalfd_siginfo info;

    while (read(waiter->signals, &info, sizeof info) == (ssize_t)sizeof info)
        if (info.ssi_signo == SIGQUIT)
            waiter->asked = true;
        else
            waiter->stopped = true;
}

int waiter_wait(struct waiter *waiter, struct pollfd fds[], unsigned count, uint64_t until)
{
    struct pollfd all[WAITER_MAX + 1] = {{.fd = waiter->signals, .events = POLLIN}};
    struct timespec timeout;
    int ready;

    for (unsigned i = 0; i < count; i++)
        all[i + 1] = fds[i];
    if (until != WAITER_NEVER) {
        uint64_t now = clock_now();
        uint64_t rest = until > now ? until - now : 0;

        timeout = (struct timespec){(time_t)(rest / SECOND), (long)(rest % SECOND)};
    }
    ready = ppoll(all, count + 1, until != WAITER_NEVER ? &timeout : NULL, NULL);
    /* With signals blocked only SIGCONT interrupts. */
    if (ready < 0 && errno != EINTR)
        return -1;
    for (unsigned i = 0; i < count; i++)
        fds[i].revents = ready > 0 ? all[i + 1].revents : 0;
    if (ready > 0 && all[0].revents)
        read_signals(waiter);
    return 0;
}
