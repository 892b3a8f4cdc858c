/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_STREAM_STREAM_TCP_H
#define ECHOD_TOOLS_STREAM_STREAM_TCP_H

#include "tools/stream/stream_run.h"

/* Over a connected socket. At the end of `in` half-close it, and go on until the peer ends. What
 * comes back is written, right or wrong. Returns the exit status. */
int stream_tcp(int socket, const struct stream *settings);

#endif
