/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/tcp.h"

#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include "net/socket.h"
#include "unit/clock.h"
#include "unit/unit.h"

WRAP_FAILING(int, accept4, -1, (int fd, struct sockaddr *addr, socklen_t *len, int flags),
             (fd, addr, len, flags))
WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))
WRAP_FAILING(int, loop_add, -1,
             (struct loop * loop, struct loop_io *io, int fd, short events, loop_io_fn *fn),
             (loop, io, fd, events, fn))

/* A step is the most octets that the call takes. */
WRAP(ssize_t, send, int fd, const void *data, size_t length, int flags)
{
    int step = script_next(&send_script);

    if (step < 0) {
        errno = -step;
        return -1;
    }
    return __real_send(fd, data, length < (size_t)step ? length : (size_t)step, flags);
}

/* SIOCOUTQ of every socket: octets that were sent and that the client has not taken yet. The real
 * number depends on when acknowledgements arrive. */
static int unacknowledged;
static struct script ioctl_script;
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list args;
    int *octets;

    va_start(args, request);
    octets = va_arg(args, int *);
    va_end(args);
    if (request != SIOCOUTQ)
        return __real_ioctl(fd, request, octets);
    if (script_fails(&ioctl_script))
        return -1;
    *octets = unacknowledged;
    return 0;
}

static unsigned welcomes;
void __real_socket_set_accepted_options(int fd);
void __wrap_socket_set_accepted_options(int fd);
void __wrap_socket_set_accepted_options(int fd)
{
    welcomes++;
    __real_socket_set_accepted_options(fd);
}

static struct loop loop;
static struct stats stats;
static struct connlimit *admit;
static struct tcp tcp;
static int listener;
static struct addr server;

static int open_listener(void)
{
    struct addr addr = address("127.0.0.1", 0);
    int fd;

    assert_int_equal(socket_open(SOCK_STREAM, &addr, 128, false, 1, &fd), 0);
    return fd;
}

static void set_limits(unsigned total, unsigned per_source)
{
    connlimit_set_params(admit, &(struct connlimit_params){total, per_source, 32, 64});
}

static int set_up(void **state)
{
    (void)state;
    script_clear(&accept4_script);
    script_clear(&malloc_script);
    script_clear(&loop_add_script);
    script_clear(&send_script);
    script_clear(&ioctl_script);
    unacknowledged = 0;
    logbook_open(LEVEL_INFO);
    memset(&stats, 0, sizeof stats);
    assert_int_equal(loop_init(&loop), 0);
    admit = connlimit_new();
    assert_non_null(admit);
    set_limits(1000, 0);
    assert_int_equal(tcp_init(&tcp, &loop, &stats, admit), 0);
    listener = open_listener();
    server = local_address(listener);
    assert_int_equal(tcp_add_listener(&tcp, listener, 0), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tcp_drop_listener(&tcp, listener);
    close(listener);
    tcp_fini(&tcp);
    assert_int_equal(connlimit_open(admit), 0);
    connlimit_free(admit);
    loop_fini(&loop);
    return 0;
}

static int connect_from(const char *source)
{
    int client = bound_socket(SOCK_STREAM, source);

    assert_true(client >= 0);
    assert_int_equal(connect(client, &server.sa, server.len), 0);
    return client;
}

/* How many wait to be accepted. */
static unsigned in_backlog(void)
{
    struct tcp_info info;
    socklen_t len = sizeof info;

    assert_int_equal(getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_unacked; /* a listener has none, and reports this instead */
}

static int connect_client(void)
{
    return connect_from("127.0.0.1");
}

/* Connected and let in. */
static int open_client(void)
{
    unsigned open = tcp.open;
    int client = connect_client();

    TURN_UNTIL(&loop, tcp.open == open + 1);
    return client;
}

static void assert_echoes(int client)
{
    char back[6];

    assert_int_equal(write(client, "octets", 6), 6);
    TURN_UNTIL(&loop, readable(client, 0));
    read_all(client, back, sizeof back);
    assert_memory_equal(back, "octets", 6);
}

static void assert_closed(int client)
{
    char octet;

    assert_true(readable(client, PATIENCE_MS));
    assert_in_range(read(client, &octet, 1) + 1, 0, 1);
    close(client);
}

static void turn(unsigned times)
{
    while (times-- > 0)
        loop_turn(&loop, 0);
}

/* ---- echo ---- */

static void a_client_gets_its_octets_back(void **state)
{
    int client = connect_client();

    (void)state;
    assert_echoes(client);
    assert_echoes(client);
    assert_int_equal(stats.tcp_accepted, 1);
    assert_int_equal(stats.tcp_echoes, 2);
    assert_int_equal(stats.tcp_octets, 12);
    assert_int_equal(connlimit_open(admit), 1);
    close(client);
    TURN_UNTIL(&loop, tcp.open == 0);
    assert_int_equal(stats.tcp_closed, 1);
    assert_int_equal(stats.tcp_reset, 0);
    assert_int_equal(connlimit_open(admit), 0);
}

static void a_hundred_clients_each_get_their_own(void **state)
{
    int clients[100];

    (void)state;
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    TURN_UNTIL(&loop, tcp.open == COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++)
        assert_int_equal(write(clients[i], &i, sizeof i), sizeof i);
    TURN_UNTIL(&loop, stats.tcp_octets == sizeof(unsigned) * COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++) {
        unsigned back;

        read_all(clients[i], &back, sizeof back);
        assert_int_equal(back, i);
        close(clients[i]);
    }
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void a_half_close_is_answered_with_the_rest_and_the_end(void **state)
{
    int client = connect_client();
    char back[6];

    (void)state;
    assert_int_equal(write(client, "octets", 6), 6);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    read_all(client, back, sizeof back);
    assert_memory_equal(back, "octets", 6);
    assert_int_equal(read(client, back, 1), 0);
    close(client);
}

static void urgent_data_stays_in_its_place(void **state)
{
    int client = connect_client();
    char back[5];

    (void)state;
    assert_int_equal(send(client, "ab", 2, 0), 2);
    assert_int_equal(send(client, "!", 1, MSG_OOB), 1);
    assert_int_equal(send(client, "cd", 2, 0), 2);
    TURN_UNTIL(&loop, stats.tcp_octets == 5);
    read_all(client, back, sizeof back);
    assert_memory_equal(back, "ab!cd", 5);
    close(client);
}

/* It writes until nothing is taken any more, and only then reads. */
static void a_client_that_writes_before_it_reads_loses_nothing(void **state)
{
    int client = open_client();
    uint32_t written = 0;
    uint32_t back = 0;
    uint32_t piece[4096];
    unsigned idle = 0;

    (void)state;
    assert_int_equal(fcntl(client, F_SETFL, O_NONBLOCK), 0);
    while (idle < 50) {
        ssize_t n;

        for (uint32_t i = 0; i < COUNT(piece); i++)
            piece[i] = written / 4 + i;
        n = write(client, (char *)piece + written % 4, sizeof piece - written % 4);
        idle = n > 0 ? 0 : idle + 1;
        written += n > 0 ? (uint32_t)n : 0;
        turn(1);
    }
    assert_true(stats.tcp_octets < written);
    assert_int_equal(shutdown(client, SHUT_WR), 0);
    while (back < written) {
        unsigned char octets[8192];
        ssize_t n = read(client, octets, sizeof octets);

        for (ssize_t i = 0; i < n; i++, back++) {
            uint32_t word = back / 4;

            assert_int_equal(octets[i], ((unsigned char *)&word)[back % 4]);
        }
        loop_turn(&loop, n > 0 ? 0 : 10);
    }
    TURN_UNTIL(&loop, stats.tcp_closed == 1);
    assert_int_equal(read(client, piece, 1), 0);
    assert_int_equal(stats.tcp_octets, written);
    close(client);
}

static void reset(int client)
{
    struct linger linger = {.l_onoff = 1};

    assert_int_equal(setsockopt(client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(client);
}

static void a_reset_ends_one_connection_and_no_other(void **state)
{
    int client = open_client();
    int other = open_client();

    (void)state;
    reset(client);
    TURN_UNTIL(&loop, tcp.open == 1);
    assert_int_equal(stats.tcp_reset, 1);
    assert_int_equal(stats.tcp_closed, 1);
    assert_echoes(other);
    close(other);
    assert_int_equal(logbook.count, 0);
}

static void a_reset_is_noticed_while_nothing_is_read(void **state)
{
    int client = open_client();

    (void)state;
    script_always(&send_script, -EAGAIN);
    assert_int_equal(write(client, "x", 1), 1);
    TURN_UNTIL(&loop, stats.tcp_octets == 1);
    script_clear(&send_script);
    reset(client);
    TURN_UNTIL(&loop, tcp.open == 0);
    assert_int_equal(stats.tcp_reset, 1);
}

static void connections_are_logged_for_debugging_only(void **state)
{
    int client;

    (void)state;
    close(open_client());
    TURN_UNTIL(&loop, tcp.open == 0);
    assert_int_equal(logbook.count, 0);
    logbook_open(LEVEL_DEBUG);
    client = open_client();
    assert_int_equal(logged(LEVEL_DEBUG, "from 127.0.0.1:"), 1);
    close(client);
    TURN_UNTIL(&loop, tcp.open == 0);
    assert_int_equal(logged(LEVEL_DEBUG, "closed by the client"), 1);
    reset(open_client());
    TURN_UNTIL(&loop, tcp.open == 0);
    assert_int_equal(logged(LEVEL_DEBUG, strerror(ECONNRESET)), 1);
    assert_int_equal(logbook.count, 4);
}

/* ---- limits ---- */

static void at_the_limit_clients_wait_for_a_connection_to_end(void **state)
{
    int first;
    int second;
    int third;

    (void)state;
    set_limits(2, 0);
    first = open_client();
    second = open_client();
    third = connect_client();
    assert_int_equal(write(third, "x", 1), 1);
    turn(20);
    assert_int_equal(tcp.open, 2);
    assert_false(readable(third, 0));
    assert_echoes(first);
    assert_int_equal(logged(LEVEL_WARNING, "all 2 connections are taken"), 1);
    assert_int_equal(stats.tcp_full, 1);
    close(first);
    TURN_UNTIL(&loop, readable(third, 0));
    assert_int_equal(tcp.open, 2);
    assert_int_equal(logbook.count, 1);
    close(second);
    close(third);
}

static void at_the_limit_a_place_freed_elsewhere_is_found_within_a_tenth_of_a_second(void **state)
{
    int client;

    (void)state;
    set_limits(1, 0);
    assert_true(connlimit_reserve(admit));
    client = connect_client();
    script_clear(&accept4_script);
    turn(20);
    assert_int_equal(accept4_script.calls, 0);
    connlimit_release(admit);
    turn(20);
    assert_int_equal(tcp.open, 0);
    pass_time(&loop, 100 * MS);
    TURN_UNTIL(&loop, tcp.open == 1);
    assert_echoes(client);
    close(client);
}

static void a_full_daemon_logs_once_and_then_seldom(void **state)
{
    int client;

    (void)state;
    set_limits(0, 0);
    client = connect_client();
    for (int i = 0; i < 100; i++)
        pass_time(&loop, 100 * MS);
    assert_int_equal(logbook.count, 1);
    assert_in_range(stats.tcp_full, 40, 101);
    pass_time(&loop, LOG_LIMIT_NS);
    turn(2);
    assert_int_equal(logbook.count, 2);
    close(client);
}

static void a_source_beyond_its_share_is_refused_and_others_are_not(void **state)
{
    int first;
    int other;

    (void)state;
    set_limits(1000, 1);
    first = open_client();
    for (int i = 0; i < 5; i++) {
        int client = connect_client();

        TURN_UNTIL(&loop, readable(client, 0));
        assert_closed(client);
    }
    assert_int_equal(stats.tcp_refused_source, 5);
    assert_int_equal(logged(LEVEL_NOTICE, "refused 127.0.0.1:"), 1);
    assert_int_equal(logbook.count, 1);
    assert_int_equal(connlimit_open(admit), 1);
    other = connect_from("127.0.0.2");
    assert_echoes(other);
    assert_echoes(first);
    close(first);
    TURN_UNTIL(&loop, tcp.open == 1);
    first = open_client();
    assert_echoes(first);
    close(first);
    close(other);
}

static void what_came_with_the_connection_is_answered_at_once(void **state)
{
    int client = connect_client();

    (void)state;
    WAIT_UNTIL(in_backlog() == 1);
    assert_int_equal(send(client, "hello", 5, 0), 5);
    turn(1);
    assert_int_equal(tcp.open, 1);
    assert_int_equal(stats.tcp_echoes, 1);
    assert_true(readable(client, PATIENCE_MS));
    close(client);
}

static void who_is_gone_when_it_is_let_in_leaves_nothing_behind(void **state)
{
    int client = connect_client();

    (void)state;
    WAIT_UNTIL(in_backlog() == 1);
    reset(client);
    turn(1);
    assert_int_equal(stats.tcp_accepted, stats.tcp_closed);
    assert_int_equal(tcp.open, 0);
    assert_int_equal(connlimit_open(admit), 0);
}

static void one_turn_lets_in_a_bounded_number(void **state)
{
    int clients[100];

    (void)state;
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    WAIT_UNTIL(in_backlog() == COUNT(clients));
    turn(1);
    assert_in_range(tcp.open, 1, 64);
    TURN_UNTIL(&loop, tcp.open == COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

/* ---- listeners of several workers ---- */

static void who_has_more_than_its_share_leaves_the_next_clients_to_others_for_a_moment(void **state)
{
    int clients[12];

    (void)state;
    tcp_drop_listener(&tcp, listener);
    assert_int_equal(tcp_add_listener(&tcp, listener, 2), 0);
    for (unsigned i = 0; i < COUNT(clients); i++) {
        clients[i] = connect_client();
        WAIT_UNTIL(in_backlog() == 1);
        if (i >= 7) {
            turn(3);
            assert_int_equal(tcp.open, i);
            pass_time(&loop, 5 * MS);
        }
        TURN_UNTIL(&loop, tcp.open == i + 1);
        assert_int_equal(tcp.muted, i >= 6);
        assert_echoes(clients[i]);
    }
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
    TURN_UNTIL(&loop, tcp.open == 0);
    assert_int_equal(logbook.count, 0);
    assert_int_equal(stats.tcp_starved, 0);
}

static void from_a_shared_listener_one_turn_lets_one_in(void **state)
{
    int clients[7];

    (void)state;
    tcp_drop_listener(&tcp, listener);
    assert_int_equal(tcp_add_listener(&tcp, listener, 2), 0);
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    WAIT_UNTIL(in_backlog() == COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++) {
        turn(1);
        assert_int_equal(tcp.open, i + 1);
    }
    for (unsigned i = 0; i < COUNT(clients); i++) {
        assert_echoes(clients[i]);
        close(clients[i]);
    }
}

/* ---- failures of accept ---- */

static void without_descriptors_or_memory_the_listener_rests(void **state)
{
    static const int errors[] = {EMFILE, ENFILE, ENOBUFS, ENOMEM};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        int open = open_client();
        int client = connect_client();

        logbook_open(LEVEL_INFO);
        script_always(&accept4_script, -errors[i]);
        TURN_UNTIL(&loop, accept4_script.calls > 0);
        turn(50);
        assert_int_equal(accept4_script.calls, 1);
        assert_echoes(open);
        script_clear(&accept4_script);
        turn(50);
        assert_int_equal(accept4_script.calls, 0);
        pass_time(&loop, 100 * MS);
        assert_echoes(client);
        assert_int_equal(logged(LEVEL_WARNING, strerror(errors[i])), 1);
        assert_int_equal(logbook.count, 1);
        assert_int_equal(stats.tcp_starved, i + 1);
        close(open);
        close(client);
        TURN_UNTIL(&loop, tcp.open == 0);
        pass_time(&loop, LOG_LIMIT_NS);
    }
}

static void while_it_lasts_starvation_is_logged_once(void **state)
{
    int client = connect_client();

    (void)state;
    script_always(&accept4_script, -EMFILE);
    for (int i = 0; i < 100; i++) {
        pass_time(&loop, 100 * MS);
        turn(5);
    }
    assert_in_range(accept4_script.calls, 50, 101);
    assert_int_equal(stats.tcp_starved, accept4_script.calls);
    assert_int_equal(logbook.count, 1);
    assert_int_equal(logged(LEVEL_WARNING, "LimitNOFILE="), 1);
    close(client);
}

static void the_end_of_a_connection_wakes_a_resting_listener(void **state)
{
    int open = open_client();
    int client = connect_client();

    (void)state;
    SCRIPT(accept4_script, -EMFILE);
    TURN_UNTIL(&loop, tcp.muted);
    close(open);
    TURN_UNTIL(&loop, tcp.open == 1 && stats.tcp_accepted == 2);
    assert_echoes(client);
    close(client);
}

static void what_went_wrong_with_one_client_is_not_the_next_ones_concern(void **state)
{
    static const int errors[] = {EINTR,        ECONNABORTED, EPROTO,     EPERM,
                                 ENETDOWN,     ENOPROTOOPT,  EHOSTDOWN,  ENONET,
                                 EHOSTUNREACH, EOPNOTSUPP,   ENETUNREACH};

    (void)state;
    for (size_t i = 0; i < COUNT(errors); i++) {
        int client = connect_client();

        SCRIPT(accept4_script, -errors[i], -errors[i]);
        TURN_UNTIL(&loop, tcp.open == 1);
        assert_false(tcp.muted);
        assert_echoes(client);
        close(client);
        TURN_UNTIL(&loop, tcp.open == 0);
    }
    assert_int_equal(logbook.count, 0);
    assert_int_equal(stats.tcp_starved, 0);
}

static void an_empty_queue_is_no_failure(void **state)
{
    int client = connect_client();

    (void)state;
    SCRIPT(accept4_script, -EAGAIN, -EWOULDBLOCK);
    turn(2);
    assert_int_equal(tcp.open, 0);
    TURN_UNTIL(&loop, tcp.open == 1);
    assert_int_equal(logbook.count, 0);
    assert_int_equal(stats.tcp_starved, 0);
    close(client);
}

static void a_connection_that_cannot_be_kept_leaves_nothing_behind(void **state)
{
    static const struct {
        struct script *script;
        unsigned passes;
        int error;
    } cases[] = {{&malloc_script, 0, ENOMEM}, /* its source */
                 {&malloc_script, 1, ENOMEM}, /* itself */
                 {&loop_add_script, 0, ENOSPC},
                 {&loop_add_script, 0, ENOMEM}};
    unsigned before;

    (void)state;
    set_limits(1000, 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        int client = connect_client();
        int next;

        before = open_descriptors();
        script_fail_after(cases[i].script, cases[i].passes, cases[i].error);
        TURN_UNTIL(&loop, tcp.muted);
        assert_true(script_done(cases[i].script));
        assert_int_equal(open_descriptors(), before);
        assert_int_equal(connlimit_open(admit), 0);
        assert_int_equal(stats.tcp_starved, i + 1);
        assert_int_equal(logged(LEVEL_WARNING, "cannot keep a connection"), 1);
        assert_closed(client);
        pass_time(&loop, 100 * MS);
        next = open_client();
        assert_echoes(next);
        close(next);
        TURN_UNTIL(&loop, tcp.open == 0);
    }
}

/* ---- idle connections ---- */

static void a_connection_ends_when_it_was_idle_for_so_long(void **state)
{
    int quiet;
    int busy;

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    quiet = open_client();
    busy = open_client();
    pass_time(&loop, 5 * SECOND);
    assert_echoes(busy);
    pass_time(&loop, 5 * SECOND - 1);
    assert_int_equal(tcp.open, 2);
    pass_time(&loop, 1);
    assert_int_equal(tcp.open, 1);
    assert_int_equal(stats.tcp_idle, 1);
    assert_closed(quiet);
    assert_echoes(busy);
    pass_time(&loop, 10 * SECOND - 1);
    assert_int_equal(tcp.open, 1);
    pass_time(&loop, 1);
    assert_int_equal(tcp.open, 0);
    assert_int_equal(stats.tcp_idle, 2);
    assert_closed(busy);
}

/* What they have sent waits while the process is stopped, or has something else to do. */
static void who_was_not_heard_for_a_while_is_not_idle_for_that(void **state)
{
    int clients[100];

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = open_client();
    for (unsigned i = 0; i < COUNT(clients); i++)
        assert_int_equal(write(clients[i], "x", 1), 1);
    pass_time(&loop, 11 * SECOND);
    TURN_UNTIL(&loop, stats.tcp_echoes == COUNT(clients));
    assert_int_equal(tcp.open, COUNT(clients));
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(tcp.open, 0);
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
}

/* Three octets are owed to it, and its socket takes none. */
static int open_stalled_client(void)
{
    int client = open_client();

    script_always(&send_script, -EAGAIN);
    assert_int_equal(write(client, "abc", 3), 3);
    TURN_UNTIL(&loop, stats.tcp_octets == 3);
    return client;
}

static void what_we_cannot_take_yet_is_no_activity(void **state)
{
    int client;

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    client = open_stalled_client();
    assert_int_equal(write(client, "def", 3), 3);
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(tcp.open, 0);
    assert_int_equal(stats.tcp_idle, 1);
    close(client);
}

static void the_order_of_activity_decides_who_is_idle(void **state)
{
    int clients[5];

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    for (unsigned i = 0; i < 5; i++)
        clients[i] = open_client();
    for (unsigned i = 0; i < 5; i++) {
        pass_time(&loop, SECOND);
        assert_echoes(clients[i * 2 % 5]);
    }
    pass_time(&loop, 5 * SECOND);
    for (unsigned i = 0; i < 5; i++) {
        pass_time(&loop, SECOND - 1);
        assert_int_equal(tcp.open, 5 - i);
        pass_time(&loop, 1);
        assert_int_equal(tcp.open, 4 - i);
        assert_closed(clients[i * 2 % 5]);
    }
}

static void a_new_timeout_holds_for_open_connections(void **state)
{
    int client = open_client();

    (void)state;
    pass_time(&loop, 1000 * SECOND);
    assert_int_equal(tcp.open, 1);
    tcp_set_idle_timeout(&tcp, 2000 * SECOND);
    turn(2);
    assert_int_equal(tcp.open, 1);
    tcp_set_idle_timeout(&tcp, 0);
    pass_time(&loop, 5000 * SECOND);
    assert_int_equal(tcp.open, 1);
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    turn(1);
    assert_int_equal(tcp.open, 0);
    assert_closed(client);
}

/* What was held back goes out an octet at a time. */
static void sending_is_activity_too(void **state)
{
    int client;

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    client = open_stalled_client();
    pass_time(&loop, 9 * SECOND);
    SCRIPT(send_script, 1, -EAGAIN);
    send_script.repeat = true;
    TURN_UNTIL(&loop, readable(client, 0));
    pass_time(&loop, 9 * SECOND);
    assert_int_equal(tcp.open, 1);
    pass_time(&loop, SECOND);
    assert_int_equal(tcp.open, 0);
    assert_int_equal(stats.tcp_idle, 1);
    close(client);
}

static void a_client_that_reads_slowly_is_not_idle(void **state)
{
    int client;

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    client = open_client();
    assert_echoes(client);
    for (unacknowledged = 5000; unacknowledged > 0; unacknowledged -= 1000) {
        pass_time(&loop, 10 * SECOND);
        assert_int_equal(tcp.open, 1);
    }
    unacknowledged = 1000;
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(tcp.open, 0);
    assert_int_equal(stats.tcp_idle, 1);
    assert_closed(client);
}

static void a_client_whose_progress_is_unknown_is_idle(void **state)
{
    int client;

    (void)state;
    tcp_set_idle_timeout(&tcp, 10 * SECOND);
    client = open_client();
    unacknowledged = 5000;
    script_always(&ioctl_script, -EINVAL);
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(tcp.open, 0);
    assert_closed(client);
}

/* The more places are taken the less patience there is. */
static void places_that_get_scarce_shorten_the_timeout(void **state)
{
    int clients[8];

    (void)state;
    set_limits(8, 0);
    tcp_set_idle_timeout(&tcp, 64 * SECOND);
    for (unsigned i = 0; i < 5; i++)
        clients[i] = open_client();
    pass_time(&loop, 16 * SECOND - 1);
    assert_int_equal(tcp.open, 5);
    pass_time(&loop, 1);
    assert_int_equal(tcp.open, 4);
    /* Half of them are free again. */
    pass_time(&loop, 10 * SECOND);
    assert_int_equal(tcp.open, 4);
    for (unsigned i = 5; i < 8; i++)
        clients[i] = connect_client();
    TURN_UNTIL(&loop, stats.tcp_accepted == 8);
    turn(2);
    assert_int_equal(tcp.open, 4);
    assert_int_equal(stats.tcp_idle, 4);
    for (unsigned i = 0; i < 8; i++)
        close(clients[i]);
    TURN_UNTIL(&loop, tcp.open == 0);
}

/* ---- who makes room ---- */

static void at_the_limit_who_is_quiet_makes_room(void **state)
{
    int quiet, useful, late;

    (void)state;
    set_limits(2, 0);
    useful = open_client();
    quiet = open_client();
    pass_time(&loop, TCP_SETTLED_NS);
    assert_echoes(useful);
    late = connect_client();
    assert_echoes(late);
    assert_closed(quiet);
    assert_echoes(useful);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_int_equal(connlimit_open(admit), 2);
    assert_int_equal(logged(LEVEL_WARNING, "all 2 connections are taken; ended one of 127.0.0.1"),
                     1);
    close(useful);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void who_is_new_or_useful_does_not_make_room(void **state)
{
    int useful, late, new;

    (void)state;
    set_limits(2, 0);
    useful = open_client();
    pass_time(&loop, TCP_SETTLED_NS);
    assert_echoes(useful);
    new = open_client();
    late = connect_client();
    turn(10);
    assert_int_equal(tcp.open, 2);
    assert_int_equal(stats.tcp_evicted, 0);
    assert_echoes(useful);
    assert_echoes(new);
    /* In time even who was useful is not any longer. */
    pass_time(&loop, 3 * SECOND);
    assert_echoes(late);
    assert_closed(useful);
    close(late);
    close(new);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void the_most_crowded_source_makes_room(void **state)
{
    int alone, crowd[3], late;

    (void)state;
    set_limits(4, 0);
    alone = connect_from("127.0.0.2");
    TURN_UNTIL(&loop, tcp.open == 1);
    for (unsigned i = 0; i < 3; i++)
        crowd[i] = open_client();
    pass_time(&loop, SECOND);
    late = connect_from("127.0.0.3");
    assert_echoes(late);
    assert_closed(crowd[0]);
    assert_echoes(alone);
    close(alone);
    close(crowd[1]);
    close(crowd[2]);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
}

/* However busy they are. */
static void who_has_more_than_a_share_makes_room(void **state)
{
    int crowd[10], late;

    (void)state;
    set_limits(10, 0);
    for (unsigned i = 0; i < 10; i++)
        crowd[i] = open_client();
    pass_time(&loop, SECOND);
    for (unsigned i = 0; i < 10; i++)
        assert_echoes(crowd[i]);
    late = connect_from("127.0.0.3");
    assert_echoes(late);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_closed(crowd[0]);
    for (unsigned i = 1; i < 10; i++)
        close(crowd[i]);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void nobody_makes_room_for_who_is_refused_or_has_left(void **state)
{
    int client = open_client(), refused;

    (void)state;
    set_limits(1, 1);
    pass_time(&loop, SECOND);
    refused = connect_client();
    TURN_UNTIL(&loop, stats.tcp_refused_source == 1);
    assert_closed(refused);
    SCRIPT(accept4_script, -ECONNABORTED, -EAGAIN);
    close(connect_from("127.0.0.3"));
    TURN_UNTIL(&loop, accept4_script.calls == 2);
    assert_int_equal(stats.tcp_evicted, 0);
    assert_int_equal(connlimit_open(admit), 1);
    close(client);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void after_the_limit_was_lowered_as_many_make_room_as_it_takes(void **state)
{
    int quiet[3], useful, late;

    (void)state;
    for (unsigned i = 0; i < COUNT(quiet); i++)
        quiet[i] = open_client();
    useful = open_client();
    pass_time(&loop, SECOND);
    set_limits(2, 0);
    turn(10);
    assert_int_equal(tcp.open, 4);
    assert_echoes(useful);
    late = connect_client();
    assert_echoes(late);
    assert_int_equal(tcp.open, 2);
    assert_int_equal(connlimit_open(admit), 2);
    assert_int_equal(stats.tcp_evicted, 3);
    for (unsigned i = 0; i < COUNT(quiet); i++)
        assert_closed(quiet[i]);
    assert_echoes(useful);
    close(useful);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void where_too_few_can_make_room_after_that_the_next_waits(void **state)
{
    int quiet, useful[2], late;

    (void)state;
    quiet = open_client();
    useful[0] = open_client();
    useful[1] = open_client();
    pass_time(&loop, SECOND);
    set_limits(1, 0);
    assert_echoes(useful[0]);
    assert_echoes(useful[1]);
    late = connect_client();
    TURN_UNTIL(&loop, tcp.muted);
    assert_closed(quiet);
    assert_int_equal(tcp.open, 2);
    close(useful[0]);
    TURN_UNTIL(&loop, tcp.open == 1);
    turn(3);
    assert_int_equal(stats.tcp_accepted, 3);
    close(useful[1]);
    assert_echoes(late);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static struct prefix_set *deny(const char *text)
{
    struct prefix_set *set = prefix_set_new();
    struct prefix prefix;

    assert_non_null(set);
    assert_int_equal(prefix_parse(text, &prefix), 0);
    assert_int_equal(prefix_set_add(set, &prefix, ACL_DENY), 0);
    return set;
}

/* The other worker's listener is one that our loop does not know. */
static void another_workers_client_is_let_in_where_one_can_make_room(void **state)
{
    int quiet, late, other, bells[2] = {eventfd(0, EFD_CLOEXEC), eventfd(0, EFD_CLOEXEC)};
    struct prefix_set *set = deny("127.0.0.3");

    (void)state;
    for (size_t i = 0; i < COUNT(bells); i++)
        assert_int_equal(connlimit_add_wakeup(admit, bells[i]), 0);
    quiet = open_client();
    tcp_drop_listener(&tcp, listener);
    set_limits(1, 0);
    pass_time(&loop, SECOND);
    late = connect_client();
    WAIT_UNTIL(in_backlog() == 1);
    tcp_evict_for_others(&tcp);
    assert_int_equal(stats.tcp_evicted, 0);
    connlimit_request_eviction(admit, listener, loop_now(&loop));
    set_limits(2, 0);
    tcp_evict_for_others(&tcp);
    assert_int_equal(stats.tcp_evicted, 0);
    set_limits(1, 0);
    tcp_evict_for_others(&tcp);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_closed(quiet);
    assert_echoes(late);
    assert_int_equal(connlimit_open(admit), 1);
    /* Nobody goes for nobody, */
    pass_time(&loop, SECOND);
    connlimit_request_eviction(admit, listener, loop_now(&loop));
    tcp_evict_for_others(&tcp);
    pass_time(&loop, SECOND);
    connlimit_request_eviction(admit, 1000000, loop_now(&loop));
    tcp_evict_for_others(&tcp);
    /* nor for who is denied. */
    tcp_set_access(&tcp, &(struct acl){.set = set});
    other = connect_from("127.0.0.3");
    WAIT_UNTIL(in_backlog() == 1);
    pass_time(&loop, SECOND);
    connlimit_request_eviction(admit, listener, loop_now(&loop));
    tcp_evict_for_others(&tcp);
    assert_closed(other);
    assert_int_equal(stats.tcp_denied, 1);
    assert_int_equal(stats.tcp_evicted, 1);
    assert_echoes(late);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
    close(bells[0]);
    close(bells[1]);
    tcp_set_access(&tcp, &(struct acl){0});
    prefix_set_free(set);
}

static void who_finds_no_place_and_no_victim_rings_for_the_others(void **state)
{
    int useful, late, bells[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};
    uint64_t rings;

    (void)state;
    for (size_t i = 0; i < COUNT(bells); i++)
        assert_int_equal(connlimit_add_wakeup(admit, bells[i]), 0);
    set_limits(1, 0);
    useful = open_client();
    pass_time(&loop, SECOND);
    assert_echoes(useful);
    late = connect_client();
    TURN_UNTIL(&loop, tcp.muted);
    for (size_t i = 0; i < COUNT(bells); i++) {
        assert_int_equal(read(bells[i], &rings, sizeof rings), sizeof rings);
        close(bells[i]);
    }
    assert_int_equal(connlimit_claim_request(admit), listener);
    close(useful);
    assert_echoes(late);
    close(late);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void assert_echoes_of(const int clients[], unsigned count, size_t length)
{
    char text[32] = {0}, back[32];

    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(write(clients[i], text, length), length);
        TURN_UNTIL(&loop, readable(clients[i], 0));
        read_all(clients[i], back, length);
    }
}

/* A crowd could keep the least and the most recently active ones useful. */
static void who_is_quiet_in_the_midst_of_many_makes_room(void **state)
{
    int clients[100], late;
    char host[32];

    (void)state;
    set_limits(COUNT(clients), 0);
    for (unsigned i = 0; i < COUNT(clients); i++) {
        snprintf(host, sizeof host, "127.0.1.%u", i);
        clients[i] = connect_from(host);
    }
    TURN_UNTIL(&loop, tcp.open == COUNT(clients));
    pass_time(&loop, SECOND);
    assert_echoes_of(clients, 20, 32);
    assert_echoes_of(clients + 20, 60, 1);
    pass_time(&loop, 100 * MS);
    assert_echoes_of(clients + 80, 20, 32);
    for (unsigned n = 1; n <= 60; n++) {
        unsigned gone = 20;

        late = connect_client();
        assert_echoes(late);
        assert_int_equal(stats.tcp_evicted, n);
        reset(late);
        TURN_UNTIL(&loop, tcp.open < COUNT(clients));
        while (!readable(clients[gone], 0))
            gone++;
        assert_in_range(gone, 20, 79);
        assert_closed(clients[gone]);
        snprintf(host, sizeof host, "127.0.2.%u", n);
        clients[gone] = connect_from(host);
        assert_echoes_of(clients + gone, 1, 32);
    }
    late = connect_client();
    TURN_UNTIL(&loop, tcp.muted);
    assert_int_equal(stats.tcp_evicted, 60);
    close(late);
    for (unsigned i = 0; i < COUNT(clients); i++)
        close(clients[i]);
    TURN_UNTIL(&loop, tcp.open == 0);
}

/* ---- access ---- */

static void who_is_denied_is_turned_away(void **state)
{
    struct prefix_set *set = deny("127.0.0.2");
    int client, denied[3];

    (void)state;
    tcp_set_access(&tcp, &(struct acl){.set = set});
    for (unsigned i = 0; i < COUNT(denied); i++)
        denied[i] = connect_from("127.0.0.2");
    TURN_UNTIL(&loop, stats.tcp_denied == 3);
    for (unsigned i = 0; i < COUNT(denied); i++)
        assert_closed(denied[i]);
    client = connect_client();
    assert_echoes(client);
    assert_int_equal(connlimit_open(admit), 1);
    assert_int_equal(stats.tcp_accepted, 1);
    assert_int_equal(logged(LEVEL_NOTICE, "tcp: refused 127.0.0.2: access denies it (0 more"), 1);
    close(client);
    TURN_UNTIL(&loop, tcp.open == 0);
    prefix_set_free(set);
}

static void who_comes_to_be_denied_is_ended(void **state)
{
    struct prefix_set *set = deny("127.0.0.2");
    int client, denied[3];

    (void)state;
    for (unsigned i = 0; i < COUNT(denied); i++)
        denied[i] = connect_from("127.0.0.2");
    TURN_UNTIL(&loop, tcp.open == 3);
    client = open_client();
    tcp_set_access(&tcp, &(struct acl){.set = set});
    assert_int_equal(tcp.open, 1);
    assert_int_equal(stats.tcp_denied, 3);
    for (unsigned i = 0; i < COUNT(denied); i++)
        assert_closed(denied[i]);
    assert_echoes(client);
    tcp_set_access(&tcp, &(struct acl){.only_listed = true});
    assert_int_equal(tcp.open, 0);
    assert_closed(client);
    tcp_set_access(&tcp, &(struct acl){0});
    client = open_client();
    assert_echoes(client);
    close(client);
    TURN_UNTIL(&loop, tcp.open == 0);
    prefix_set_free(set);
}

/* ---- listeners ---- */

static void a_dropped_listener_first_lets_in_who_is_waiting(void **state)
{
    int clients[80];

    (void)state;
    for (unsigned i = 0; i < COUNT(clients); i++)
        clients[i] = connect_client();
    WAIT_UNTIL(in_backlog() == COUNT(clients));
    tcp_drop_listener(&tcp, listener);
    close(listener);
    assert_int_equal(tcp.open, COUNT(clients));
    for (unsigned i = 0; i < COUNT(clients); i++) {
        assert_echoes(clients[i]);
        close(clients[i]);
    }
    listener = open_listener();
}

static void a_dropped_listener_accepts_no_longer(void **state)
{
    int client;

    (void)state;
    tcp_drop_listener(&tcp, listener);
    client = connect_client();
    turn(10);
    assert_int_equal(tcp.open, 0);
    tcp_drop_listener(&tcp, listener);
    assert_int_equal(tcp.open, 0);
    close(client);
}

/* What its listener was when a client came decides what the connection has inherited. */
static void who_came_before_the_listener_was_ours_is_welcomed(void **state)
{
    int second = open_listener();
    int early;
    int client;

    (void)state;
    server = local_address(second);
    early = connect_client();
    assert_int_equal(tcp_add_listener(&tcp, second, 0), 0);
    welcomes = 0;
    assert_echoes(early);
    assert_int_equal(welcomes, 1);
    turn(1);
    client = open_client();
    assert_echoes(client);
    assert_int_equal(welcomes, 1);
    close(early);
    close(client);
    tcp_drop_listener(&tcp, second);
    close(second);
}

static void a_retired_listener_goes_on_with_whom_it_has(void **state)
{
    int before = open_client();
    int waiting = connect_client();
    int late = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd connected = {.fd = late, .events = POLLOUT};

    (void)state;
    WAIT_UNTIL(in_backlog() == 1);
    tcp_retire_listener(&tcp, listener);
    tcp_retire_listener(&tcp, -1);
    welcomes = 0;
    assert_int_equal(connect(late, &server.sa, server.len), -1);
    assert_int_equal(errno, EINPROGRESS);
    TURN_UNTIL(&loop, tcp.open == 2);
    assert_int_equal(welcomes, 1);
    assert_echoes(before);
    assert_echoes(waiting);
    assert_int_equal(poll(&connected, 1, 0), 0);
    close(before);
    close(waiting);
    close(late);
}

static void emptying_a_queue_ends_even_if_every_client_fails(void **state)
{
    int client = connect_client();

    (void)state;
    WAIT_UNTIL(in_backlog() == 1);
    script_always(&accept4_script, -ECONNABORTED);
    assert_false(tcp_empty_queue(&tcp, listener));
    tcp_drop_listener(&tcp, listener);
    assert_true(accept4_script.calls > 1);
    assert_null(tcp.listeners);
    close(client);
}

/* Nothing has to be accepted for that, and nobody has to make room. */
static void a_queue_is_known_to_be_empty_also_at_the_limit(void **state)
{
    int quiet[2], late;

    (void)state;
    quiet[0] = open_client();
    quiet[1] = open_client();
    pass_time(&loop, SECOND);
    set_limits(1, 0);
    assert_true(tcp_empty_queue(&tcp, listener));
    assert_int_equal(tcp.open, 2);
    assert_echoes(quiet[0]);
    assert_echoes(quiet[1]);
    late = connect_client();
    WAIT_UNTIL(in_backlog() == 1);
    assert_false(tcp_empty_queue(&tcp, listener));
    assert_int_equal(tcp.open, 2);
    close(late);
    close(quiet[0]);
    close(quiet[1]);
    set_limits(1000, 0);
    pass_time(&loop, SECOND);
    TURN_UNTIL(&loop, tcp.open == 0);
}

static void several_listeners_serve_and_rest_together(void **state)
{
    struct addr first = server;
    int second = open_listener();
    int a;
    int b;

    (void)state;
    assert_int_equal(tcp_add_listener(&tcp, second, 0), 0);
    a = connect_client();
    server = local_address(second);
    b = connect_client();
    assert_echoes(a);
    assert_echoes(b);
    close(a);
    close(b);
    TURN_UNTIL(&loop, tcp.open == 0);
    b = connect_client();
    SCRIPT(accept4_script, -EMFILE, -EMFILE);
    TURN_UNTIL(&loop, tcp.muted);
    server = first;
    a = connect_client();
    turn(10);
    assert_int_equal(accept4_script.calls, 1);
    script_clear(&accept4_script);
    pass_time(&loop, 100 * MS);
    assert_echoes(a);
    assert_echoes(b);
    close(a);
    close(b);
    tcp_drop_listener(&tcp, second);
    close(second);
}

static void a_listener_added_while_they_rest_rests_too(void **state)
{
    int second = open_listener();
    int client;

    (void)state;
    close(connect_client());
    SCRIPT(accept4_script, -EMFILE);
    TURN_UNTIL(&loop, tcp.muted);
    assert_int_equal(tcp_add_listener(&tcp, second, 0), 0);
    server = local_address(second);
    client = connect_client();
    script_clear(&accept4_script);
    turn(10);
    assert_int_equal(accept4_script.calls, 0);
    pass_time(&loop, 100 * MS);
    assert_echoes(client);
    close(client);
    tcp_drop_listener(&tcp, second);
    close(second);
}

static void a_listener_that_cannot_be_added_is_an_error(void **state)
{
    int second = open_listener();

    (void)state;
    SCRIPT(malloc_script, -ENOMEM);
    assert_int_equal(tcp_add_listener(&tcp, second, 0), -1);
    assert_int_equal(errno, ENOMEM);
    SCRIPT(loop_add_script, -ENOSPC);
    assert_int_equal(tcp_add_listener(&tcp, second, 0), -1);
    assert_int_equal(errno, ENOSPC);
    tcp_drop_listener(&tcp, second);
    close(second);
}

/* ---- the whole ---- */

/* Also where nobody could be let in anyhow. */
static void a_listener_that_somebody_shuts_down_is_left_alone(void **state)
{
    int second = open_listener();
    int quiet;

    (void)state;
    assert_int_equal(tcp_add_listener(&tcp, second, 0), 0);
    quiet = open_client();
    for (unsigned full = 0; full < 2; full++) {
        int client;

        set_limits(full ? 1 : 1000, 0);
        assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
        TURN_UNTIL(&loop, logged(LEVEL_ERROR, "shut down") == 1);
        for (int i = 0; i < 10; i++)
            pass_time(&loop, 100 * MS);
        tcp_rearm_listeners(&tcp);
        assert_true(tcp_empty_queue(&tcp, listener));
        assert_int_equal(logbook.count, 1);
        assert_int_equal(stats.tcp_full + stats.tcp_starved, 0);
        assert_false(tcp.muted);

        set_limits(1000, 0);
        server = local_address(second);
        SCRIPT(accept4_script, -EMFILE);
        client = connect_client();
        TURN_UNTIL(&loop, tcp.muted);
        assert_echoes(quiet);
        pass_time(&loop, SECOND);
        assert_false(tcp.muted);
        assert_echoes(quiet);
        TURN_UNTIL(&loop, tcp.open == 2);
        close(client);
        TURN_UNTIL(&loop, tcp.open == 1);
        stats.tcp_starved = 0;
        logbook_open(LEVEL_INFO);
        assert_int_equal(listen(listener, 128), 0);
        server = local_address(listener); /* a port of the kernel's choice is not kept */
        SCRIPT(loop_add_script, -ENOMEM);
        tcp_rearm_listeners(&tcp);
        tcp_rearm_listeners(&tcp);
        client = open_client();
        assert_echoes(client);
        close(client);
        TURN_UNTIL(&loop, tcp.open == 1);
        for (int i = 0; i < 100; i++) /* and all leave the array */
            assert_echoes(quiet);
    }
    server = local_address(second);
    SCRIPT(accept4_script, -EMFILE);
    close(connect_client());
    TURN_UNTIL(&loop, tcp.muted);
    assert_int_equal(shutdown(listener, SHUT_RDWR), 0);
    TURN_UNTIL(&loop, logged(LEVEL_ERROR, "shut down") == 1);
    pass_time(&loop, SECOND);
    assert_false(tcp.muted);
    tcp_drop_listener(&tcp, second);
    close(second);
    close(quiet);
}

static void all_connections_can_be_closed_at_once(void **state)
{
    int a = open_client();
    int b = open_client();

    (void)state;
    tcp_close_all(&tcp);
    assert_int_equal(tcp.open, 0);
    assert_int_equal(connlimit_open(admit), 0);
    assert_int_equal(stats.tcp_closed, 2);
    assert_closed(a);
    assert_closed(b);
    a = open_client();
    assert_echoes(a);
    close(a);
}

static void want_of_memory_at_the_start_is_an_error(void **state)
{
    struct tcp other;

    (void)state;
    SCRIPT(malloc_script, -ENOMEM);
    errno = 0;
    assert_int_equal(tcp_init(&other, &loop, &stats, admit), -1);
    assert_int_equal(errno, ENOMEM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_client_gets_its_octets_back),
        TEST(a_hundred_clients_each_get_their_own),
        TEST(a_half_close_is_answered_with_the_rest_and_the_end),
        TEST(urgent_data_stays_in_its_place),
        TEST(a_client_that_writes_before_it_reads_loses_nothing),
        TEST(a_reset_ends_one_connection_and_no_other),
        TEST(a_reset_is_noticed_while_nothing_is_read),
        TEST(connections_are_logged_for_debugging_only),
        TEST(at_the_limit_clients_wait_for_a_connection_to_end),
        TEST(at_the_limit_a_place_freed_elsewhere_is_found_within_a_tenth_of_a_second),
        TEST(a_full_daemon_logs_once_and_then_seldom),
        TEST(a_source_beyond_its_share_is_refused_and_others_are_not),
        TEST(what_came_with_the_connection_is_answered_at_once),
        TEST(who_is_gone_when_it_is_let_in_leaves_nothing_behind),
        TEST(one_turn_lets_in_a_bounded_number),
        TEST(without_descriptors_or_memory_the_listener_rests),
        TEST(while_it_lasts_starvation_is_logged_once),
        TEST(the_end_of_a_connection_wakes_a_resting_listener),
        TEST(who_has_more_than_its_share_leaves_the_next_clients_to_others_for_a_moment),
        TEST(from_a_shared_listener_one_turn_lets_one_in),
        TEST(what_went_wrong_with_one_client_is_not_the_next_ones_concern),
        TEST(an_empty_queue_is_no_failure),
        TEST(a_connection_that_cannot_be_kept_leaves_nothing_behind),
        TEST(a_connection_ends_when_it_was_idle_for_so_long),
        TEST(who_was_not_heard_for_a_while_is_not_idle_for_that),
        TEST(what_we_cannot_take_yet_is_no_activity),
        TEST(the_order_of_activity_decides_who_is_idle),
        TEST(a_new_timeout_holds_for_open_connections),
        TEST(sending_is_activity_too),
        TEST(a_client_that_reads_slowly_is_not_idle),
        TEST(a_client_whose_progress_is_unknown_is_idle),
        TEST(places_that_get_scarce_shorten_the_timeout),
        TEST(at_the_limit_who_is_quiet_makes_room),
        TEST(who_is_new_or_useful_does_not_make_room),
        TEST(the_most_crowded_source_makes_room),
        TEST(who_has_more_than_a_share_makes_room),
        TEST(nobody_makes_room_for_who_is_refused_or_has_left),
        TEST(after_the_limit_was_lowered_as_many_make_room_as_it_takes),
        TEST(where_too_few_can_make_room_after_that_the_next_waits),
        TEST(who_is_quiet_in_the_midst_of_many_makes_room),
        TEST(another_workers_client_is_let_in_where_one_can_make_room),
        TEST(who_finds_no_place_and_no_victim_rings_for_the_others),
        TEST(who_is_denied_is_turned_away),
        TEST(who_comes_to_be_denied_is_ended),
        TEST(a_dropped_listener_first_lets_in_who_is_waiting),
        TEST(a_dropped_listener_accepts_no_longer),
        TEST(who_came_before_the_listener_was_ours_is_welcomed),
        TEST(a_retired_listener_goes_on_with_whom_it_has),
        TEST(emptying_a_queue_ends_even_if_every_client_fails),
        TEST(a_queue_is_known_to_be_empty_also_at_the_limit),
        TEST(several_listeners_serve_and_rest_together),
        TEST(a_listener_added_while_they_rest_rests_too),
        TEST(a_listener_that_cannot_be_added_is_an_error),
        TEST(a_listener_that_somebody_shuts_down_is_left_alone),
        TEST(all_connections_can_be_closed_at_once),
        TEST(want_of_memory_at_the_start_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
