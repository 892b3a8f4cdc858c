/* SPDX-License-Identifier: ISC */
#include "daemon/os/service_manager.h"

void service_manager_open(void)
{
}

void service_manager_close(void)
{
}

bool service_manager_enabled(void)
{
    return false;
}

void service_manager_ready(const char *status)
{
    (void)status;
}

void service_manager_reloading(void)
{
}

void service_manager_stopping(unsigned seconds)
{
    (void)seconds;
}

void service_manager_status(const char *status)
{
    (void)status;
}

uint64_t service_manager_watchdog_interval(void)
{
    return 0;
}

void service_manager_alive(void)
{
}

int service_manager_sockets(int *first)
{
    *first = 0;
    return 0;
}

bool service_manager_is_stored(int fd)
{
    (void)fd;
    return false;
}

void service_manager_store(const char *name, const int fds[], size_t count)
{
    (void)name;
    (void)fds;
    (void)count;
}

void service_manager_unstore(const char *name)
{
    (void)name;
}
