/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "exporter/snapshot.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/metrics_text.h"

/* Octets of a snapshot that are read; echod's has less than a tenth. */
#define SNAPSHOT_MAX (1024 * 1024)

/* How long one system call may wait. */
#define CALL_WAIT_S 1

static int connect_to(const char *path)
{
    const struct timeval wait = {.tv_sec = CALL_WAIT_S};
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return -1;
    strncpy(addr.sun_path, path, sizeof addr.sun_path - 1);
    /* connect(2) waits as long as a send may, if the queue of clients is full. */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait) == 0 &&
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) == 0 &&
        connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0)
        return fd;
    close(fd);
    return -1;
}

/* Copy what echod sends to `out`. False if echod sent nothing, or not up to the end. */
static bool copy(int fd, FILE *out)
{
    uint64_t end = clock_now() + (SNAPSHOT_WAIT_S - CALL_WAIT_S) * SECOND;
    char piece[16384], last = '\0';
    size_t length = 0;
    ssize_t got;

    while ((got = recv(fd, piece, sizeof piece, 0)) > 0) {
        length += (size_t)got;
        if (length > SNAPSHOT_MAX || clock_now() > end ||
            fwrite(piece, 1, (size_t)got, out) != (size_t)got)
            return false;
        last = piece[got - 1];
    }
    return got == 0 && last == '\n';
}

static char *read_echod(const char *path, size_t *length)
{
    char *text = NULL;
    FILE *out;
    int fd = connect_to(path);
    bool whole;

    if (fd < 0)
        return NULL;
    out = open_memstream(&text, length);
    whole = out && copy(fd, out);
    if (out && fclose(out) != 0)
        whole = false;
    close(fd);
    if (!whole) {
        free(text);
        return NULL;
    }
    return text;
}

char *snapshot_read(const char *path, size_t *length)
{
    const struct metrics_label version = {"version", PACKAGE_VERSION};
    size_t echod_length = 0;
    char *echod = read_echod(path, &echod_length), *text = NULL;
    FILE *out = open_memstream(&text, length);

    if (!out) {
        free(echod);
        return NULL;
    }
    metrics_family(out, "echod_up", "gauge", "Whether echod gave its metrics: 1 or 0.");
    metrics_sample(out, "echod_up", NULL, 0, echod ? 1 : 0);
    metrics_family(out, "echo_exporter_build_info", "gauge",
                   "Always 1; the labels tell the version.");
    metrics_sample(out, "echo_exporter_build_info", &version, 1, 1);
    if (echod)
        fwrite(echod, 1, echod_length, out);
    free(echod);
    if (fclose(out) == 0)
        return text;
    free(text);
    return NULL;
}
