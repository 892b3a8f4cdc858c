/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_EXPORTER_SNAPSHOT_H
#define ECHOD_EXPORTER_SNAPSHOT_H

#include <stddef.h>

/* The metrics of echod, read from its Unix socket, with the exporter's own before them: echod_up,
 * which is 1 if echod gave a whole snapshot, and echo_exporter_build_info. */

/* Returns text in Prometheus' format, with its length; the caller frees it. NULL: out of memory.
 * It takes at most SNAPSHOT_WAIT_S seconds, and any thread may call it. */
#define SNAPSHOT_WAIT_S 2
char *snapshot_read(const char *path, size_t *length);

#endif
