/* SPDX-License-Identifier: ISC */
#include "daemon/os/service_manager.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <systemd/sd-daemon.h>

#include "common/clock.h"
#include "common/unix_dgram.h"

static struct unix_dgram manager = {.fd = -1};

static char **names; /* of the descriptors that were handed over, NULL-terminated; or NULL */

static void free_names(void)
{
    for (char **name = names; name && *name; name++)
        free(*name);
    free(names);
    names = NULL;
}

void service_manager_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET");

    service_manager_close();
    if (path)
        (void)unix_dgram_open(&manager, path);
}

void service_manager_close(void)
{
    unix_dgram_close(&manager);
    free_names();
}

bool service_manager_enabled(void)
{
    return manager.fd >= 0;
}

/* sd_notify(3) would wait for ever for a manager that has stopped reading. */
__attribute__((format(printf, 2, 3))) static void notify(bool wait, const char *format, ...)
{
    char text[1024];
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    unix_dgram_send(&manager, text, (size_t)length < sizeof text ? (size_t)length : sizeof text - 1,
                    wait);
}

void service_manager_ready(const char *status)
{
    notify(true, "READY=1\nSTATUS=%s", status);
}

/* With MONOTONIC_USEC= systemd 253 and later (Type=notify-reload) tells this reload from an earlier
 * one. Older managers ignore it. */
void service_manager_reloading(void)
{
    notify(true, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, clock_now() / MICROSECOND);
}

void service_manager_stopping(unsigned seconds)
{
    notify(true, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, seconds * UINT64_C(1000000));
}

void service_manager_status(const char *status)
{
    notify(false, "STATUS=%s", status);
}

uint64_t service_manager_watchdog_interval(void)
{
    uint64_t usec;

    if (sd_watchdog_enabled(0, &usec) <= 0)
        return 0;
    return usec <= UINT64_MAX / MICROSECOND ? usec * MICROSECOND : UINT64_MAX;
}

void service_manager_alive(void)
{
    notify(false, "WATCHDOG=1");
}

int service_manager_sockets(int *first)
{
    int count;

    free_names();
    count = sd_listen_fds_with_names(1, &names);
    if (count < 0) {
        errno = -count;
        return -1;
    }
    *first = SD_LISTEN_FDS_START;
    return count;
}

bool service_manager_is_stored(int fd)
{
    int left = fd - SD_LISTEN_FDS_START;
    char **name = names;

    while (name && *name && left-- > 0)
        name++;
    return left == -1 && name && *name &&
           strncmp(*name, SERVICE_MANAGER_STORED, strlen(SERVICE_MANAGER_STORED)) == 0;
}

/* FDPOLL=0: otherwise an ICMP error for a reply removes a UDP socket from the store. */
void service_manager_store(const char *name, const int fds[], size_t count)
{
    char text[256];
    int length = snprintf(text, sizeof text, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s", name);

    while (count > 0) {
        size_t part = count < UNIX_DGRAM_FDS ? count : UNIX_DGRAM_FDS;

        (void)unix_dgram_send_descriptors(&manager, text, (size_t)length, fds, part);
        fds += part;
        count -= part;
    }
}

void service_manager_unstore(const char *name)
{
    notify(true, "FDSTOREREMOVE=1\nFDNAME=%s", name);
}
