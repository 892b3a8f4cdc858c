/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_DAEMON_STATS_METRICS_H
#define ECHOD_DAEMON_STATS_METRICS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>
#include <time.h>

#include "daemon/stats/stats.h"
#include "net/loop.h"

/* A Unix stream socket: each client that connects gets one snapshot of the metrics in the text
 * format of Prometheus, and then the end. Nothing is ever read, so a client can send nothing that
 * matters. The snapshot fits in the socket's buffer, so a client that does not read it costs the
 * daemon neither a descriptor nor time. */

/* What the snapshot says beside the counters. */
struct metrics_facts {
    const struct stats *const *workers; /* the counters of each worker */
    size_t worker_count;
    unsigned connections;
    unsigned connection_limit;
    uint64_t descriptors; /* RLIMIT_NOFILE */
};

struct metrics {
    struct loop *loop;
    struct loop_io io;
    struct loop_timer rest_timer; /* accept again, after there was no descriptor for a client */
    struct sockaddr_un addr;
    int fd;    /* -1: not open */
    int statm; /* /proc/self/statm; -1: it cannot be read */
    void (*collect)(struct metrics *metrics, struct metrics_facts *facts);
    uint64_t counted_at; /* when open_descriptors was counted */
    unsigned open_descriptors;
    time_t started_at; /* when the process was started */
    time_t loaded_at;  /* when the configuration in force was taken */
    bool load_failed;  /* the last attempt to take a configuration */
};

/* A process begins now, and takes its first configuration. The socket is not open. */
void metrics_init(struct metrics *metrics);

/* A configuration was taken, or had errors. */
void metrics_note_load(struct metrics *metrics, bool successful);

/* Bind the socket at `path`, mode 0660, and listen. If `path` is "" it stands for "metrics" in the
 * folder that the unit has made (systemd.exec(5), RuntimeDirectory=); without such a folder nothing
 * is opened. A socket of that name that nobody listens at is replaced. -1 with errno: nothing is
 * open. */
int metrics_open(struct metrics *metrics, const char *path);

/* The path that metrics_open() has chosen. */
const char *metrics_path(const struct metrics *metrics);

/* Give the socket, if it is open, to a user and a group; -1 leaves either as it is. Returns -1 with
 * errno if that fails. */
int metrics_chown(const struct metrics *metrics, uid_t uid, gid_t gid);

/* Serve the socket, if it is open, in a loop. `collect` is called for each client. -1 with errno,
 * and the socket is closed. */
int metrics_start(struct metrics *metrics, struct loop *loop,
                  void (*collect)(struct metrics *metrics, struct metrics_facts *facts));

/* Close the socket, if it is open. Its name stays: the sandbox does not let us remove it. */
void metrics_close(struct metrics *metrics);

#endif
