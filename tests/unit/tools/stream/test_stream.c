/* SPDX-License-Identifier: ISC */
#include "tools/stream/stream_tcp.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "tools/stream/stream_udp.h"
#include "unit/unit.h"

/* Steps of these are errors, or at most so many octets. */
#define WRAP_SHORT(name, qualifier)                                                                \
    WRAP(ssize_t, name, int fd, qualifier void *buf, size_t len, int flags)                        \
    {                                                                                              \
        int step = script_next(&name##_script);                                                    \
                                                                                                   \
        if (step < 0) {                                                                            \
            errno = -step;                                                                         \
            return -1;                                                                             \
        }                                                                                          \
        return __real_##name(fd, buf, (size_t)step < len ? (size_t)step : len, flags);             \
    }
WRAP_SHORT(send, const)
WRAP_SHORT(recv, )
WRAP_FAILING(ssize_t, read, -1, (int fd, void *buf, size_t len), (fd, buf, len))
WRAP_FAILING(ssize_t, write, -1, (int fd, const void *buf, size_t len), (fd, buf, len))
WRAP_FAILING(ssize_t, sendto, -1,
             (int fd, const void *buf, size_t len, int flags, const struct sockaddr *to,
              socklen_t to_len),
             (fd, buf, len, flags, to, to_len))
WRAP_FAILING(ssize_t, recvmsg, -1, (int fd, struct msghdr *msg, int flags), (fd, msg, flags))
WRAP_FAILING(int, socket, -1, (int family, int type, int protocol), (family, type, protocol))
WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *mask, int flags), (fd, mask, flags))
WRAP_FAILING(int, epoll_create1, -1, (int flags), (flags))
WRAP_FAILING(void *, calloc, NULL, (size_t count, size_t size), (count, size))

struct fixture {
    struct stream settings;
    int client; /* of the connection, or the datagram socket */
    int server;
    int in; /* what the settings' in reads */
    int out;
    char *said;
    size_t said_size;
    pthread_t thread;
    unsigned descriptors;
};

static void clear_scripts(void)
{
    script_clear(&send_script);
    script_clear(&recv_script);
    script_clear(&read_script);
    script_clear(&write_script);
    script_clear(&sendto_script);
    script_clear(&recvmsg_script);
    script_clear(&socket_script);
    script_clear(&signalfd_script);
    script_clear(&epoll_create1_script);
    script_clear(&calloc_script);
}

static int temporary(void)
{
    int fd = memfd_create("test_stream", MFD_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static int set_up(void **state)
{
    struct fixture *f;

    clear_scripts();
    /* Not cmocka's: a test that sets up anew would free what it compares with at the end. */
    f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->descriptors = open_descriptors();
    f->settings.in = f->in = temporary();
    f->settings.out = f->out = temporary();
    f->settings.err = open_memstream(&f->said, &f->said_size);
    assert_non_null(f->settings.err);
    f->settings.timeout = PATIENCE_MS * UINT64_C(1000000);
    f->client = f->server = -1;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    clear_scripts();
    fclose(f->settings.err);
    free(f->said);
    close(f->in);
    close(f->out);
    close(f->client);
    if (f->server >= 0)
        close(f->server);
    assert_int_equal(open_descriptors(), f->descriptors);
    free(f);
    return 0;
}

static void connect_tcp(struct fixture *f)
{
    int listener = bound_socket(SOCK_STREAM, "127.0.0.1");

    assert_true(listener >= 0);
    assert_int_equal(listen(listener, 1), 0);
    f->settings.peer = local_address(listener);
    f->client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(f->client, &f->settings.peer.sa, f->settings.peer.len), 0);
    f->server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(f->server >= 0);
    close(listener);
}

static void open_udp(struct fixture *f)
{
    f->server = bound_socket(SOCK_DGRAM, "127.0.0.1");
    assert_true(f->server >= 0);
    f->settings.peer = local_address(f->server);
    f->client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(f->client >= 0);
}

/* Octets that are not alike at any two places near each other. */
static uint8_t octet(size_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static void give_input(struct fixture *f, size_t size)
{
    uint8_t *octets = test_malloc(size + 1);

    for (size_t i = 0; i < size; i++)
        octets[i] = octet(i);
    assert_int_equal(__real_write(f->in, octets, size), size);
    assert_int_equal(lseek(f->in, 0, SEEK_SET), 0);
    test_free(octets);
}

static void give_text(struct fixture *f, const char *text)
{
    assert_int_equal(__real_write(f->in, text, strlen(text)), strlen(text));
    assert_int_equal(lseek(f->in, 0, SEEK_SET), 0);
}

static void assert_output(struct fixture *f, const char *text)
{
    char found[4096];
    ssize_t len = pread(f->out, found, sizeof found - 1, 0);

    assert_true(len >= 0);
    found[len] = '\0';
    assert_string_equal(found, text);
}

static void assert_same_output(struct fixture *f, size_t size)
{
    static uint8_t octets[4 << 20];

    assert_true(size < sizeof octets);
    assert_int_equal(pread(f->out, octets, sizeof octets, 0), size);
    for (size_t i = 0; i < size; i++)
        if (octets[i] != octet(i))
            fail_msg("octet %zu is wrong", i);
}

static void assert_said(struct fixture *f, const char *text)
{
    fflush(f->settings.err);
    if (!strstr(f->said, text))
        fail_msg("no '%s' in:\n%s", text, f->said);
}

/* ---- what servers do, in a thread; no assertions there ---- */

static void *echo(void *argument)
{
    struct fixture *f = argument;
    uint8_t octets[65536];
    ssize_t len;

    while ((len = __real_recv(f->server, octets, sizeof octets, 0)) > 0)
        for (ssize_t done = 0; done < len;) {
            ssize_t sent =
                __real_send(f->server, octets + done, (size_t)(len - done), MSG_NOSIGNAL);

            if (sent < 0)
                return NULL;
            done += sent;
        }
    shutdown(f->server, SHUT_WR);
    return NULL;
}

static int run_tcp(struct fixture *f, void *(*server)(void *))
{
    int status;

    assert_int_equal(pthread_create(&f->thread, NULL, server, f), 0);
    status = stream_tcp(f->client, &f->settings);
    shutdown(f->client, SHUT_RDWR);
    pthread_join(f->thread, NULL);
    return status;
}

/* Answers each datagram with itself until a datagram of one octet NUL. */
static void *echo_datagrams(void *argument)
{
    struct fixture *f = argument;
    static uint8_t octets[65536];

    for (;;) {
        struct addr from = {.len = sizeof from.in6};
        ssize_t len = recvfrom(f->server, octets, sizeof octets, 0, &from.sa, &from.len);

        if (len < 0 || (len == 1 && octets[0] == 0))
            return NULL;
        __real_sendto(f->server, octets, (size_t)len, 0, &from.sa, from.len);
    }
}

static int run_udp(struct fixture *f)
{
    int status;

    assert_int_equal(pthread_create(&f->thread, NULL, echo_datagrams, f), 0);
    status = stream_udp(f->client, &f->settings);
    clear_scripts();
    __real_sendto(f->client, "", 1, 0, &f->settings.peer.sa, f->settings.peer.len);
    pthread_join(f->thread, NULL);
    return status;
}

/* ---- TCP ---- */

static void short_counts_and_interruptions_lose_nothing(void **state)
{
    struct fixture *f = *state;

    connect_tcp(f);
    give_input(f, 100000);
    SCRIPT(send_script, 1, -EINTR, 7, -EAGAIN, 4096, PASS);
    SCRIPT(recv_script, 1, -EAGAIN, 13, -EINTR, 4095, PASS);
    SCRIPT(read_script, -EINTR, -EAGAIN, PASS);
    SCRIPT(write_script, -EINTR, -EAGAIN, PASS);
    assert_int_equal(run_tcp(f, echo), 0);
    assert_true(script_done(&send_script) && script_done(&recv_script));
    assert_true(script_done(&read_script) && script_done(&write_script));
    assert_same_output(f, 100000);
}

static void a_socket_that_is_no_tcp_one_will_do(void **state)
{
    struct fixture *f = *state;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    f->client = pair[0];
    f->server = pair[1];
    f->settings.peer = address("127.0.0.1", 7);
    give_input(f, 100000);
    assert_int_equal(run_tcp(f, echo), 0);
    assert_same_output(f, 100000);
}

static void output_to_a_socket_may_be_slow(void **state)
{
    struct fixture *f = *state;
    int pair[2];

    /* Nobody reads: stopped by the deadline, and not blocked in a write. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    connect_tcp(f);
    give_input(f, 3000000);
    f->settings.out = pair[0];
    f->settings.deadline = 300000000;
    alarm(PATIENCE_MS / 1000);
    assert_int_equal(run_tcp(f, echo), 1);
    alarm(0);
    close(pair[0]);
    close(pair[1]);
}

static void output_to_a_full_pipe_does_not_block(void **state)
{
    struct fixture *f = *state;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    connect_tcp(f);
    give_input(f, 3000000);
    f->settings.out = ends[1];
    f->settings.deadline = 300000000;
    alarm(PATIENCE_MS / 1000);
    assert_int_equal(run_tcp(f, echo), 1);
    alarm(0);
    close(ends[0]);
    close(ends[1]);
}

static void another_error_is_named(void **state)
{
    struct fixture *f = *state;

    connect_tcp(f);
    give_input(f, 10);
    script_always(&recv_script, -ETIMEDOUT);
    assert_int_equal(run_tcp(f, echo), 1);
    assert_said(f, "failed: Connection timed out");
    assert_said(f, "10 of the 10 bytes sent did not come back");
}

static void errors_of_ours_are_status_2(void **state)
{
    static const struct {
        struct script *script;
        int error;
        const char *said;
    } cases[] = {{&calloc_script, ENOMEM, "Cannot allocate memory"},
                 {&signalfd_script, EMFILE, "cannot take signals: Too many open files"},
                 {&epoll_create1_script, ENOMEM, "cannot wait: Cannot allocate memory"},
                 {&read_script, EIO, "cannot read standard input: Input/output error"},
                 {&write_script, ENOSPC, "cannot write to standard output: No space left"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture *f = *state;

        connect_tcp(f);
        give_input(f, 10);
        script_always(cases[i].script, -cases[i].error);
        assert_int_equal(run_tcp(f, echo), 2);
        clear_scripts();
        assert_said(f, cases[i].said);
        tear_down(state);
        set_up(state);
    }
}

static void a_closed_output_is_an_error(void **state)
{
    struct fixture *f = *state;

    connect_tcp(f);
    give_input(f, 10);
    f->settings.out = 511;
    assert_int_equal(run_tcp(f, echo), 2);
    assert_said(f, "cannot write to standard output: Bad file descriptor");
}

/* ---- UDP ---- */

static void a_busy_socket_is_tried_again(void **state)
{
    struct fixture *f = *state;

    open_udp(f);
    give_text(f, "one\ntwo\n");
    SCRIPT(sendto_script, -EAGAIN, -EINTR, PASS);
    SCRIPT(recvmsg_script, -EAGAIN, -EINTR, PASS);
    assert_int_equal(run_udp(f), 0);
    assert_output(f, "one\ntwo\n");
}

static void a_line_that_the_kernel_refuses_is_named(void **state)
{
    struct fixture *f = *state;

    open_udp(f);
    give_text(f, "one\ntwo\nthree\n");
    SCRIPT(sendto_script, PASS, -EMSGSIZE, PASS);
    assert_int_equal(run_udp(f), 2);
    assert_output(f, "one\nthree\n");
    assert_said(f, "line 2 (4 bytes) was not sent: Message too long");
    assert_said(f, ", 1 not sent,");
}

static void a_socket_that_cannot_be_read_ends_it(void **state)
{
    struct fixture *f = *state;

    open_udp(f);
    give_text(f, "one\n");
    script_always(&recvmsg_script, -ENOTSOCK);
    assert_int_equal(run_udp(f), 2);
    assert_said(f, "cannot receive: Socket operation on non-socket");
}

static void errors_of_ours_are_status_2_with_datagrams_too(void **state)
{
    static const struct {
        struct script *script;
        const char *said;
    } cases[] = {{&calloc_script, "Cannot allocate memory"},
                 {&signalfd_script, "cannot take signals"},
                 {&epoll_create1_script, "cannot wait"},
                 {&read_script, "cannot read"},
                 {&write_script, "cannot write"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct fixture *f = *state;

        open_udp(f);
        give_text(f, "one\n");
        script_always(cases[i].script, -ENOMEM);
        assert_int_equal(run_udp(f), 2);
        assert_said(f, cases[i].said);
        tear_down(state);
        set_up(state);
    }
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(short_counts_and_interruptions_lose_nothing),
        TEST(a_socket_that_is_no_tcp_one_will_do),
        TEST(output_to_a_socket_may_be_slow),
        TEST(output_to_a_full_pipe_does_not_block),
        TEST(another_error_is_named),
        TEST(errors_of_ours_are_status_2),
        TEST(a_closed_output_is_an_error),
        TEST(a_busy_socket_is_tried_again),
        TEST(a_line_that_the_kernel_refuses_is_named),
        TEST(a_socket_that_cannot_be_read_ends_it),
        TEST(errors_of_ours_are_status_2_with_datagrams_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
