/* SPDX-License-Identifier: ISC */
#include "notify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <syslog.h>
#include <time.h>

/* The journal would otherwise name this wrapper as the origin of every message. */
#define SD_JOURNAL_SUPPRESS_LOCATION
#include <systemd/sd-daemon.h>
#include <systemd/sd-journal.h>

bool notify_enabled(void)
{
    return getenv("NOTIFY_SOCKET") != NULL;
}

void notify_ready(const char *status)
{
    sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

/* MONOTONIC_USEC= lets a manager that knows Type=notify-reload (systemd 253) tell this reload from
 * an earlier one; the others ignore it. */
void notify_reloading(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
               (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000);
}

void notify_stopping(unsigned seconds)
{
    sd_notifyf(0, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRIu64, seconds * UINT64_C(1000000));
}

void notify_status(const char *status)
{
    sd_notifyf(0, "STATUS=%s", status);
}

uint64_t notify_watchdog_interval(void)
{
    uint64_t usec;

    return sd_watchdog_enabled(0, &usec) > 0 ? usec * 1000 : 0;
}

void notify_alive(void)
{
    sd_notify(0, "WATCHDOG=1");
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

static void write_journal(enum log_level level, const char *message)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO, LOG_DEBUG};

    sd_journal_send("MESSAGE=%s", message, "PRIORITY=%d", priorities[level],
                    "SYSLOG_IDENTIFIER=echod", NULL);
}

log_sink *notify_journal(void)
{
    return write_journal;
}
