/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TOOLS_STREAM_STREAM_UDP_H
#define ECHOD_TOOLS_STREAM_STREAM_UDP_H

#include "tools/stream/stream_run.h"

/* A datagram for each line, its newline included; one is under way at a time, and the next follows
 * its reply or its timeout. Lines that are too long for a datagram are not sent. What is not the
 * reply to the line under way is counted, not written. The socket is not connected; it may be bound
 * and have options set. Returns the exit status. */
int stream_udp(int socket, const struct stream *settings);

#endif
