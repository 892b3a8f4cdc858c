/* SPDX-License-Identifier: ISC */
/* A plain echo server with libev, to compare with: TCP and UDP over IPv4. Serves until it is
 * killed.
 *
 *   peer_ev PORT */
#include <errno.h>
#include <ev.h>
#include <string.h>
#include <unistd.h>

#include "common.h"

#define SIZE 65536

/* `pending`: octets that the socket did not accept yet. Nothing is read while there are any. */
struct client {
    ev_io io;
    char *pending;
    size_t length;
};

static char octets[SIZE];

static void close_client(struct ev_loop *loop, struct client *client)
{
    ev_io_stop(loop, &client->io);
    close(client->io.fd);
    free(client->pending);
    free(client);
}

static void wait_for(struct ev_loop *loop, struct client *client, int events)
{
    ev_io_stop(loop, &client->io);
    ev_io_set(&client->io, client->io.fd, events);
    ev_io_start(loop, &client->io);
}

static void write_later(struct ev_loop *loop, struct client *client, const char *from,
                        size_t length)
{
    client->pending = malloc(length);
    if (client->pending == NULL) {
        close_client(loop, client);
        return;
    }
    memcpy(client->pending, from, length);
    client->length = length;
    wait_for(loop, client, EV_WRITE);
}

static void flush_pending(struct ev_loop *loop, struct client *client)
{
    ssize_t sent = send(client->io.fd, client->pending, client->length, MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN)
            close_client(loop, client);
        return;
    }
    client->length -= (size_t)sent;
    if (client->length > 0) {
        memmove(client->pending, client->pending + sent, client->length);
        return;
    }
    free(client->pending);
    client->pending = NULL;
    wait_for(loop, client, EV_READ);
}

static void on_client(struct ev_loop *loop, ev_io *io, int events)
{
    struct client *client = (struct client *)io;

    if (events & EV_WRITE) {
        flush_pending(loop, client);
        return;
    }
    ssize_t got = recv(io->fd, octets, sizeof octets, 0);

    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            close_client(loop, client);
        return;
    }
    ssize_t sent = send(io->fd, octets, (size_t)got, MSG_NOSIGNAL);

    if (sent < 0 && errno != EAGAIN)
        close_client(loop, client);
    else if (sent < got)
        write_later(loop, client, octets + (sent < 0 ? 0 : sent),
                    (size_t)(got - (sent < 0 ? 0 : sent)));
}

static void on_listener(struct ev_loop *loop, ev_io *io, int events)
{
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK);
    struct client *client;

    (void)events;
    if (fd < 0)
        return;
    client = calloc(1, sizeof *client);
    if (client == NULL) {
        close(fd);
        return;
    }
    ev_io_init(&client->io, on_client, fd, EV_READ);
    ev_io_start(loop, &client->io);
}

static void on_datagram(struct ev_loop *loop, ev_io *io, int events)
{
    struct sockaddr_in from;
    socklen_t length = sizeof from;
    ssize_t got = recvfrom(io->fd, octets, sizeof octets, 0, (struct sockaddr *)&from, &length);

    (void)loop;
    (void)events;
    if (got >= 0)
        sendto(io->fd, octets, (size_t)got, 0, (struct sockaddr *)&from, length);
}

int main(int argc, char *argv[])
{
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    ev_io listener, datagrams;

    if (argc != 2 || loop == NULL) {
        fprintf(stderr, "usage: peer_ev PORT\n");
        return 64;
    }
    ev_io_init(&listener, on_listener, bound(SOCK_STREAM | SOCK_NONBLOCK, argv[1]), EV_READ);
    ev_io_init(&datagrams, on_datagram, bound(SOCK_DGRAM | SOCK_NONBLOCK, argv[1]), EV_READ);
    ev_io_start(loop, &listener);
    ev_io_start(loop, &datagrams);
    ev_run(loop, 0);
    return 0;
}
