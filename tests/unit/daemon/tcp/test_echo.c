/* SPDX-License-Identifier: ISC */
#include "daemon/tcp/echo.h"

#include "unit/unit.h"

/* A step of these is the most octets that the call may move; 0 is a result of 0. */
static bool send_lacked_nosignal;
WRAP(ssize_t, send, int fd, const void *data, size_t length, int flags)
{
    int step = script_next(&send_script);

    send_lacked_nosignal |= !(flags & MSG_NOSIGNAL);
    if (step <= 0) {
        errno = -step;
        return step == 0 ? 0 : -1;
    }
    return __real_send(fd, data, length < (size_t)step ? length : (size_t)step, flags);
}

static size_t last_recv_size;
WRAP(ssize_t, recv, int fd, void *data, size_t length, int flags)
{
    int step = script_next(&recv_script);

    last_recv_size = length;
    if (step <= 0) {
        errno = -step;
        return step == 0 ? 0 : -1;
    }
    return __real_recv(fd, data, length < (size_t)step ? length : (size_t)step, flags);
}

WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))

#define KIB 1024

struct fixture {
    int client;
    struct echo echo;
    uint64_t received;
    uint64_t pieces;
    unsigned char scratch[64 * KIB];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int fds[2];

    assert_non_null(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    f->client = fds[0];
    echo_init(&f->echo, fds[1]);
    script_clear(&send_script);
    script_clear(&recv_script);
    script_clear(&malloc_script);
    send_lacked_nosignal = false;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    assert_false(send_lacked_nosignal);
    echo_fini(&f->echo);
    close(f->echo.fd);
    close(f->client);
    free(f);
    return 0;
}

static enum echo_state turn(struct fixture *f, size_t size)
{
    return echo_turn(&f->echo, f->scratch, size, &f->received, &f->pieces);
}

static void say(struct fixture *f, const char *text)
{
    assert_int_equal(write(f->client, text, strlen(text)), strlen(text));
}

/* All that has come back so far. */
static void assert_heard(struct fixture *f, const char *text)
{
    char back[256] = {0};
    ssize_t n = read(f->client, back, sizeof back - 1);

    assert_int_equal(n < 0 ? 0 : n, strlen(text));
    assert_string_equal(back, text);
}

static void octets_are_sent_back_and_counted(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_int_equal(f->received + f->pieces, 0);
    say(f, "hello");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "hello");
    say(f, "more");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "more");
    assert_int_equal(f->received, 9);
    assert_int_equal(f->pieces, 2);
}

static void one_turn_reads_at_most_a_few_times_the_scratch_buffer(void **state)
{
    struct fixture *f = *state;

    say(f, "abcdefghijklmnopqrstuvwxyz");
    assert_int_equal(turn(f, 2), ECHO_READ);
    assert_in_range(f->received, 2, 8);
    while (f->received < 26)
        assert_int_equal(turn(f, 2), ECHO_READ);
    assert_int_equal(f->pieces, 13);
    assert_heard(f, "abcdefghijklmnopqrstuvwxyz");
}

/* Each way to cut ten octets in three while receiving and in three while sending, with a full
 * socket in between. */
static void no_split_changes_an_octet(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < 10000; i++) {
        int a = i % 10 + 1;
        int b = i / 10 % 10 + 1;
        int c = i / 100 % 10 + 1;
        int d = i / 1000 % 10 + 1;
        enum echo_state last = ECHO_READ;

        f->received = 0;
        SCRIPT(recv_script, a, b);
        SCRIPT(send_script, c, -EAGAIN, d, 0, -EINTR, -EWOULDBLOCK);
        say(f, "0123456789");
        for (int turns = 0; turns < 20 && (f->received < 10 || last == ECHO_WRITE); turns++)
            assert_in_range(last = turn(f, 16), ECHO_READ, ECHO_WRITE);
        assert_heard(f, "0123456789");
    }
}

static void interrupted_calls_are_repeated(void **state)
{
    struct fixture *f = *state;

    SCRIPT(recv_script, -EINTR);
    SCRIPT(send_script, -EINTR, 2, -EINTR);
    say(f, "abcdef");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "abcdef");
}

static void endless_interruptions_do_not_hold_up_the_others(void **state)
{
    struct fixture *f = *state;

    script_always(&recv_script, -EINTR);
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_in_range(recv_script.calls, 1, 100);
}

static void nothing_is_read_while_octets_are_owed(void **state)
{
    struct fixture *f = *state;

    script_always(&send_script, -EAGAIN);
    say(f, "abc");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    say(f, "def");
    SCRIPT(recv_script, PASS);
    for (int i = 0; i < 5; i++)
        assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_int_equal(recv_script.calls, 0);
    assert_int_equal(f->received, 3);
    script_clear(&send_script);
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "abcdef");
}

/* So that a client that does not read costs 16 KiB, and a bulk stream few calls. */
static void reads_are_short_until_4_mib_have_been_echoed(void **state)
{
    static char octets[64 * KIB];
    struct fixture *f = *state;

    while (f->received < 4 * KIB * KIB) {
        size_t back = 0;

        assert_int_equal(write(f->client, octets, 16 * KIB), 16 * KIB);
        assert_int_equal(turn(f, sizeof f->scratch), ECHO_READ);
        assert_int_equal(last_recv_size, 16 * KIB + 1);
        while (back < 16 * KIB)
            back += (size_t)read(f->client, octets, sizeof octets);
    }
    assert_int_equal(turn(f, sizeof f->scratch), ECHO_READ);
    assert_int_equal(last_recv_size, sizeof f->scratch);
}

static void an_error_of_recv_ends_the_echo_and_is_told(void **state)
{
    static const int errors[] = {ECONNRESET, ETIMEDOUT, ENOMEM, ENOTCONN, EHOSTUNREACH, EPIPE};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(recv_script, -errors[i]);
        assert_int_equal(turn(f, 4096), ECHO_FAILED);
        assert_int_equal(errno, errors[i]);
    }
}

/* At once, and when octets are owed. */
static void an_error_of_send_ends_the_echo_and_is_told(void **state)
{
    static const int errors[] = {ECONNRESET, EPIPE, ETIMEDOUT, ENOMEM, ENOBUFS, EHOSTUNREACH};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(send_script, 1, -errors[i]);
        say(f, "abc");
        assert_int_equal(turn(f, 4096), ECHO_FAILED);
        assert_int_equal(errno, errors[i]);
    }
    SCRIPT(send_script, -EAGAIN, -ECONNRESET);
    say(f, "abc");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_int_equal(turn(f, 4096), ECHO_FAILED);
    assert_int_equal(errno, ECONNRESET);
}

static void want_of_memory_for_what_is_owed_ends_the_echo(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, -EAGAIN);
    say(f, "abc");
    SCRIPT(malloc_script, -ENOMEM);
    assert_int_equal(turn(f, 4096), ECHO_FAILED);
    assert_int_equal(errno, ENOMEM);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(octets_are_sent_back_and_counted),
        TEST(one_turn_reads_at_most_a_few_times_the_scratch_buffer),
        TEST(no_split_changes_an_octet),
        TEST(interrupted_calls_are_repeated),
        TEST(endless_interruptions_do_not_hold_up_the_others),
        TEST(nothing_is_read_while_octets_are_owed),
        TEST(reads_are_short_until_4_mib_have_been_echoed),
        TEST(an_error_of_recv_ends_the_echo_and_is_told),
        TEST(an_error_of_send_ends_the_echo_and_is_told),
        TEST(want_of_memory_for_what_is_owed_ends_the_echo),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
