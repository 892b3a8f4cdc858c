/* SPDX-License-Identifier: ISC */
#include "exporter/http.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exporter/page.h"
#include "exporter/snapshot.h"

/* Clients at once. Prometheus keeps a connection for its next scrape. */
#define CONNECTIONS_MAX 64

/* Seconds in which a client must have sent or taken something. Prometheus scrapes every 60 s at
 * most, and connects again where its connection was closed. */
#define IDLE_S 75

/* Threads: a scrape waits for echod up to SNAPSHOT_WAIT_S. */
#define THREADS 4

/* Octets of memory of a connection, for the headers of a request. */
#define REQUEST_MAX 8192

struct http {
    struct MHD_Daemon *daemon;
    pthread_mutex_t lock;
    char *path; /* under lock */
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type,
                              const char *text, size_t length, enum MHD_ResponseMemoryMode mode)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(length, (void *)text, mode);
    enum MHD_Result result;

    if (!response) {
        if (mode == MHD_RESPMEM_MUST_FREE)
            free((void *)text);
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Content-Security-Policy", page_policy);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, "Allow", "GET, HEAD");
    result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned status,
                                   const char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8", text, strlen(text),
                  MHD_RESPMEM_PERSISTENT);
}

static enum MHD_Result answer_metrics(struct http *http, struct MHD_Connection *connection)
{
    char *path, *text = NULL;
    size_t length = 0;

    pthread_mutex_lock(&http->lock);
    path = strdup(http->path);
    pthread_mutex_unlock(&http->lock);
    if (path)
        text = snapshot_read(path, &length);
    free(path);
    if (!text)
        return answer_text(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory\n");
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, length,
                  MHD_RESPMEM_MUST_FREE);
}

/* Called once a request's headers are here. A body is not read: the answer ends the connection. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *body,
                                  size_t *body_length, void **state)
{
    (void)version, (void)body, (void)body_length, (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED,
                           "only GET and HEAD are allowed\n");
    if (strcmp(url, "/metrics") == 0)
        return answer_metrics(context, connection);
    if (strcmp(url, "/") == 0)
        return answer(connection, MHD_HTTP_OK, "text/html; charset=utf-8", page_html,
                      strlen(page_html), MHD_RESPMEM_PERSISTENT);
    return answer_text(connection, MHD_HTTP_NOT_FOUND, "not found: see /\n");
}

struct http *http_start(int fd, const char *path)
{
    struct http *http = calloc(1, sizeof *http);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0); /* libmicrohttpd closes the socket that it is given */

    if (!http || own < 0)
        goto failed;
    http->path = strdup(path);
    if (!http->path)
        goto failed;
    pthread_mutex_init(&http->lock, NULL);
    http->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, on_request, http,
        MHD_OPTION_LISTEN_SOCKET, own, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)REQUEST_MAX, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS, MHD_OPTION_END);
    if (http->daemon)
        return http;
    pthread_mutex_destroy(&http->lock);
failed:
    if (own >= 0)
        close(own);
    if (http)
        free(http->path);
    free(http);
    errno = errno ? errno : ENOMEM;
    return NULL;
}

int http_set_source(struct http *http, const char *path)
{
    char *copy = strdup(path);

    if (!copy)
        return -1;
    pthread_mutex_lock(&http->lock);
    free(http->path);
    http->path = copy;
    pthread_mutex_unlock(&http->lock);
    return 0;
}

void http_stop(struct http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    pthread_mutex_destroy(&http->lock);
    free(http->path);
    free(http);
}
