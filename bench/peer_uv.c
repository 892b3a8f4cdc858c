/* SPDX-License-Identifier: ISC */
/* A plain echo server with libuv, to compare with: TCP and UDP over IPv4. Serves until it is
 * killed.
 *
 *   peer_uv PORT */
#include <signal.h>
#include <string.h>
#include <uv.h>

#include "common.h"

#define SIZE 65536

struct pending {
    uv_write_t request;
    char octets[];
};

/* One buffer for all clients: callbacks of one loop never overlap, and octets that could not be
 * written at once are copied. */
static char octets[SIZE];

static void must(int status, const char *what)
{
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(status));
        exit(1);
    }
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(octets, sizeof octets);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void close_client(uv_stream_t *stream)
{
    if (!uv_is_closing((uv_handle_t *)stream))
        uv_close((uv_handle_t *)stream, on_closed);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer);

static void on_written(uv_write_t *request, int status)
{
    uv_stream_t *stream = request->handle;

    free(request->data);
    if (status < 0)
        close_client(stream);
    else
        uv_read_start(stream, give_buffer, on_read);
}

static void write_later(uv_stream_t *stream, const char *from, size_t length)
{
    struct pending *pending = malloc(sizeof *pending + length);
    uv_buf_t rest;

    if (pending == NULL) {
        close_client(stream);
        return;
    }
    memcpy(pending->octets, from, length);
    pending->request.data = pending;
    rest = uv_buf_init(pending->octets, (unsigned)length);
    uv_read_stop(stream);
    if (uv_write(&pending->request, stream, &rest, 1, on_written) < 0) {
        free(pending);
        close_client(stream);
    }
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    uv_buf_t all;
    int sent;

    if (got < 0)
        close_client(stream);
    if (got <= 0)
        return;
    all = uv_buf_init(buffer->base, (unsigned)got);
    sent = uv_try_write(stream, &all, 1);
    if (sent < 0 && sent != UV_EAGAIN)
        close_client(stream);
    else if (sent < got)
        write_later(stream, buffer->base + (sent < 0 ? 0 : sent),
                    (size_t)(got - (sent < 0 ? 0 : sent)));
}

static void on_connection(uv_stream_t *listener, int status)
{
    uv_tcp_t *client = status < 0 ? NULL : malloc(sizeof *client);

    if (client == NULL)
        return;
    uv_tcp_init(listener->loop, client);
    if (uv_accept(listener, (uv_stream_t *)client) < 0 || uv_tcp_nodelay(client, 1) < 0)
        close_client((uv_stream_t *)client);
    else
        uv_read_start((uv_stream_t *)client, give_buffer, on_read);
}

static void on_datagram(uv_udp_t *socket, ssize_t got, const uv_buf_t *buffer,
                        const struct sockaddr *from, unsigned flags)
{
    uv_buf_t all;

    (void)flags;
    if (got < 0 || from == NULL)
        return;
    all = uv_buf_init(buffer->base, (unsigned)got);
    uv_udp_try_send(socket, &all, 1, from);
}

int main(int argc, char *argv[])
{
    uv_loop_t *loop = uv_default_loop();
    struct sockaddr_in here;
    uv_tcp_t listener;
    uv_udp_t datagrams;

    if (argc != 2) {
        fprintf(stderr, "usage: peer_uv PORT\n");
        return 64;
    }
    signal(SIGPIPE, SIG_IGN);
    must(uv_ip4_addr("0.0.0.0", (int)number(argv[1], 1, 65535), &here), "address");
    must(uv_tcp_init(loop, &listener), "tcp");
    must(uv_tcp_bind(&listener, (struct sockaddr *)&here, 0), "bind");
    must(uv_listen((uv_stream_t *)&listener, 4096, on_connection), "listen");
    must(uv_udp_init(loop, &datagrams), "udp");
    must(uv_udp_bind(&datagrams, (struct sockaddr *)&here, UV_UDP_REUSEADDR), "bind");
    must(uv_udp_recv_start(&datagrams, give_buffer, on_datagram), "receive");
    return uv_run(loop, UV_RUN_DEFAULT);
}
