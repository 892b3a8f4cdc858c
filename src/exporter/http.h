/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_EXPORTER_HTTP_H
#define ECHOD_EXPORTER_HTTP_H

/* HTTP: /metrics and /. Requests are answered in threads of libmicrohttpd, with a bounded number of
 * connections and a bounded time for each. */

struct http;

/* Serve on the listening socket `fd`, which stays the caller's, with echod's metrics from the
 * socket at `path`. Signals must be blocked: the threads inherit the mask. NULL with errno. */
struct http *http_start(int fd, const char *path);

/* From now on echod's metrics come from there. -1 with errno ENOMEM: nothing has changed. */
int http_set_source(struct http *http, const char *path);

/* Answer the requests that have come, and end. NULL is allowed. */
void http_stop(struct http *http);

#endif
