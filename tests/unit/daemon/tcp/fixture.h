/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_TCP_FIXTURE_H
#define ECHOD_TESTS_TCP_FIXTURE_H

/* One worker's TCP service without its listeners' part: a loop, counters, limits, connections, a
 * listening socket of the test's own, and clients of it. */

#include <netinet/tcp.h>

#include "daemon/tcp/connection.h"
#include "net/socket.h"
#include "unit/clock.h"
#include "unit/unit.h"

static struct loop loop;
static struct stats stats;
static struct connlimit *connlimit;
static int listener;
static struct addr server;

static inline void set_limits(unsigned total, unsigned per_source)
{
    connlimit_set_params(connlimit, &(struct connlimit_params){total, per_source, 32, 64});
}

static inline int open_listener(void)
{
    struct addr addr = address("127.0.0.1", 0);
    int fd;

    assert_int_equal(
        socket_open(&(struct socket_wish){.type = SOCK_STREAM, .backlog = 128}, &addr, 1, &fd), 0);
    return fd;
}

static inline void fixture_set_up(void)
{
    logbook_open(LEVEL_INFO);
    memset(&stats, 0, sizeof stats);
    assert_int_equal(loop_init(&loop), 0);
    connlimit = connlimit_new();
    assert_non_null(connlimit);
    set_limits(1000, 0);
    listener = open_listener();
    server = local_address(listener);
}

static inline void fixture_tear_down(void)
{
    close(listener);
    assert_int_equal(connlimit_open(connlimit), 0);
    connlimit_free(connlimit);
    loop_fini(&loop);
}

/* Connections that have begun and not ended. */
static inline uint64_t open_connections(void)
{
    return stats.tcp_accepted - stats.tcp_closed;
}

static inline int connect_from(const char *source)
{
    int client = bound_socket(SOCK_STREAM, source);

    assert_true(client >= 0);
    assert_int_equal(connect(client, &server.sa, server.len), 0);
    return client;
}

static inline int connect_client(void)
{
    return connect_from("127.0.0.1");
}

/* The number of clients that wait to be accepted. */
static inline unsigned in_backlog(void)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    assert_int_equal(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_unacked; /* of a listener this is the length of its backlog */
}

static inline void assert_echoes(int client)
{
    char back[6];

    assert_int_equal(write(client, "octets", 6), 6);
    TURN_UNTIL(&loop, readable(client, 0));
    read_all(client, back, sizeof back);
    assert_memory_equal(back, "octets", 6);
}

/* Ended or reset by the other side. */
static inline void assert_closed(int client)
{
    char octet;

    assert_true(readable(client, PATIENCE_MS));
    assert_in_range(read(client, &octet, 1) + 1, 0, 1);
    close(client);
}

static inline void reset(int client)
{
    struct linger linger = {.l_onoff = 1};

    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(client);
}

static inline void turn(unsigned times)
{
    while (times-- > 0)
        loop_turn(&loop, 0);
}

/* ---- connections without listeners ---- */

static struct connections connections;
static unsigned slots_freed;

static inline void note_slot_freed(struct connections *set)
{
    (void)set;
    slots_freed++;
}

static inline void connections_set_up(void)
{
    fixture_set_up();
    slots_freed = 0;
    assert_int_equal(connections_init(&connections, &loop, &stats, connlimit, note_slot_freed), 0);
}

static inline void connections_tear_down(void)
{
    connections_fini(&connections);
    fixture_tear_down();
}

static int last_accepted;

/* Accept a client that has connected. */
static inline int accept_client(struct addr *peer)
{
    *peer = (struct addr){.len = sizeof peer->in6};
    assert_true(readable(listener, PATIENCE_MS));
    last_accepted = accept4(listener, &peer->sa, &peer->len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(last_accepted >= 0);
    return last_accepted;
}

/* A connection that has not begun: its client has connected, and there is no slot for it. */
static inline struct connection *new_waiting_connection(void)
{
    struct connection *c = NULL;
    struct addr peer;
    int fd = accept_client(&peer);

    assert_int_equal(connection_begin(&connections, fd, &peer, &c), CONNECTION_NO_SLOT);
    return c;
}

/* A client whose connection has begun. */
static inline int open_client_from(const char *source)
{
    int client = connect_from(source);
    struct connection *waiting = NULL;
    struct addr peer;
    int fd = accept_client(&peer);

    assert_int_equal(connection_begin(&connections, fd, &peer, &waiting), CONNECTION_BEGUN);
    assert_null(waiting);
    return client;
}

static inline int open_client(void)
{
    return open_client_from("127.0.0.1");
}

/* Access rules that deny one prefix. */
static inline struct prefix_set *deny(const char *text)
{
    struct prefix_set *set = prefix_set_new();
    struct prefix prefix;

    assert_non_null(set);
    assert_int_equal(prefix_parse(text, &prefix), 0);
    assert_int_equal(prefix_set_add(set, &prefix, ACL_DENY), 0);
    return set;
}

#endif
