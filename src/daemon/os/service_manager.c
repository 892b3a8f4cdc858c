/* SPDX-License-Identifier: ISC */
#include "daemon/os/service_manager.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <systemd/sd-daemon.h>

#include "common/unix_dgram.h"

static struct usock manager = {.fd = -1};

void notify_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");

    notify_close();
    if (path)
        (void)usock_open(&manager, path);
}

void notify_close(void)
{
    usock_close(&manager);
}

bool notify_enabled(void)
{
    return manager.fd >= 0;
}

/* sd_notify(3) would wait for a manager that has stopped reading as long as it takes. */
__attribute__((format(printf, 2, 3))) static void tell(bool wait, const char *format, ...)
{
    char text[1024];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    usock_send(&manager, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1,
               wait);
}

void notify_ready(const char *status)
{
    tell(true, "READY=1\nSTATUS=%s", status);
}

/* MONOTONIC_USEC= lets a manager that knows Type=notify-reload (systemd 253) tell this reload from
 * an earlier one; the others ignore it. */
void notify_reloading(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    tell(true, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
         (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000);
}

void notify_stopping(unsigned seconds)
{
    tell(true, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, seconds * UINT64_C(1000000));
}

void notify_status(const char *status)
{
    tell(false, "STATUS=%s", status);
}

uint64_t notify_watchdog_interval(void)
{
    uint64_t usec;

    if (sd_watchdog_enabled(0, &usec) <= 0)
        return 0;
    return usec <= UINT64_MAX / 1000 ? usec * 1000 : UINT64_MAX;
}

void notify_alive(void)
{
    tell(false, "WATCHDOG=1");
}

int notify_sockets(int *first)
{
    int n = sd_listen_fds(1);

    if (n < 0) {
        errno = -n;
        return -1;
    }
    *first = SD_LISTEN_FDS_START;
    return n;
}
