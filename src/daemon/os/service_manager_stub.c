/* SPDX-License-Identifier: ISC */
#include "daemon/os/service_manager.h"

void notify_open(void)
{
}

void notify_close(void)
{
}

bool notify_enabled(void)
{
    return false;
}

void notify_ready(const char *status)
{
    (void)status;
}

void notify_reloading(void)
{
}

void notify_stopping(unsigned seconds)
{
    (void)seconds;
}

void notify_status(const char *status)
{
    (void)status;
}

uint64_t notify_watchdog_interval(void)
{
    return 0;
}

void notify_alive(void)
{
}

int notify_sockets(int *first)
{
    *first = 0;
    return 0;
}
