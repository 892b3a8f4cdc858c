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

WRAP(ssize_t, recv, int fd, void *data, size_t length, int flags)
{
    int step = script_next(&recv_script);

    if (step <= 0) {
        errno = -step;
        return step == 0 ? 0 : -1;
    }
    return __real_recv(fd, data, length < (size_t)step ? length : (size_t)step, flags);
}

WRAP_FAILING(void *, malloc, NULL, (size_t size), (size))

struct fixture {
    int client;
    struct echo conn;
    uint64_t received;
    uint64_t pieces;
    unsigned char scratch[4096];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int fds[2];

    assert_non_null(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    f->client = fds[0];
    echo_init(&f->conn, fds[1]);
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

    echo_fini(&f->conn);
    close(f->conn.fd);
    if (f->client >= 0)
        close(f->client);
    free(f);
    return 0;
}

static enum echo_state turn(struct fixture *f, size_t size)
{
    return echo_turn(&f->conn, f->scratch, size, &f->received, &f->pieces);
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

static void what_arrives_is_sent_back_and_counted(void **state)
{
    struct fixture *f = *state;

    say(f, "hello");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "hello");
    assert_int_equal(f->received, 5);
    assert_int_equal(f->pieces, 1);
    say(f, "more");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "more");
    assert_int_equal(f->received, 9);
    assert_int_equal(f->pieces, 2);
    assert_false(send_lacked_nosignal);
}

static void with_nothing_to_read_it_waits(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_int_equal(f->received, 0);
    assert_int_equal(f->pieces, 0);
}

static void one_turn_takes_at_most_a_few_scratches(void **state)
{
    struct fixture *f = *state;

    say(f, "abcdefghijklmnopqrstuvwxyz");
    assert_int_equal(turn(f, 2), ECHO_READ);
    assert_in_range(f->received, 2, 16);
    while (f->received < 26)
        assert_int_equal(turn(f, 2), ECHO_READ);
    assert_int_equal(f->pieces, 13);
    assert_heard(f, "abcdefghijklmnopqrstuvwxyz");
}

static void every_octet_value_comes_back(void **state)
{
    struct fixture *f = *state;
    unsigned char all[256];
    unsigned char back[257];

    for (unsigned i = 0; i < sizeof all; i++)
        all[i] = (unsigned char)i;
    assert_int_equal(write(f->client, all, sizeof all), sizeof all);
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_int_equal(read(f->client, back, sizeof back), sizeof all);
    assert_memory_equal(all, back, sizeof all);
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

        f->received = 0;
        SCRIPT(recv_script, a, b);
        SCRIPT(send_script, c, -EAGAIN, d, -EINTR, -EAGAIN);
        say(f, "0123456789");
        for (int turns = 0; turns < 20 && (f->received < 10 || f->conn.held_end > 0); turns++)
            assert_in_range(turn(f, 16), ECHO_READ, ECHO_WRITE);
        assert_heard(f, "0123456789");
    }
}

static void a_partial_send_continues_with_the_rest(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, 1, 2, PASS);
    say(f, "abcdef");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_int_equal(send_script.calls, 3);
    assert_heard(f, "abcdef");
}

static void a_send_that_takes_nothing_is_repeated(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, 0, 3, 0, PASS);
    say(f, "abcdef");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "abcdef");
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

static void what_the_socket_does_not_take_is_held(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, 2, -EAGAIN);
    say(f, "abcdef");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_int_equal(f->conn.held_end - f->conn.held_at, 4);
    assert_heard(f, "ab");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "cdef");
    assert_null(f->conn.held);
    assert_int_equal(f->conn.held_end, 0);
    assert_int_equal(f->received, 6);
}

static void held_data_goes_out_bit_by_bit(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, -EWOULDBLOCK, 1, -EAGAIN, -EAGAIN, 2, -EAGAIN);
    say(f, "abcdef");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_heard(f, "");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_heard(f, "a");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_heard(f, "");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_heard(f, "bc");
    assert_int_equal(turn(f, 4096), ECHO_READ);
    assert_heard(f, "def");
}

static void nothing_is_read_while_anything_is_owed(void **state)
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

static void memory_held_is_at_most_one_scratch(void **state)
{
    struct fixture *f = *state;
    char piece[4096];
    enum echo_state last = ECHO_READ;
    uint64_t written = 0;

    memset(piece, 'x', sizeof piece);
    for (int i = 0; i < 10000 && last == ECHO_READ; i++) {
        ssize_t n = write(f->client, piece, sizeof piece);

        written += n > 0 ? (uint64_t)n : 0;
        last = turn(f, 100);
    }
    assert_int_equal(last, ECHO_WRITE);
    assert_in_range(f->conn.held_end, 1, 100);
    for (uint64_t back = 0; back < written;) {
        ssize_t n = read(f->client, piece, sizeof piece);

        if (n > 0)
            back += (uint64_t)n;
        else
            assert_in_range(turn(f, 100), ECHO_READ, ECHO_WRITE);
    }
    assert_int_equal(f->received, written);
}

/* ---- bulk streams ---- */

#define LARGE      (64 * 1024)
#define HELD_LIMIT (16 * 1024)

static unsigned char large_scratch[LARGE], stream[4 * LARGE], heard[4 * LARGE];

static enum echo_state large_turn(struct fixture *f)
{
    return echo_turn(&f->conn, large_scratch, LARGE, &f->received, &f->pieces);
}

static size_t held(const struct fixture *f)
{
    return f->conn.held_end > 0 ? f->conn.held_end - f->conn.held_at : 0;
}

/* As much as fits. */
static size_t stuff(struct fixture *f, size_t from)
{
    ssize_t n = write(f->client, stream + from, sizeof stream - from);

    return n < 0 ? 0 : (size_t)n;
}

static size_t hear(struct fixture *f, size_t at, size_t most)
{
    ssize_t n = read(f->client, heard + at, most);

    return n < 0 ? 0 : (size_t)n;
}

static void set_up_stream(void)
{
    for (size_t i = 0; i < sizeof stream; i++)
        stream[i] = (unsigned char)(i * 2654435761U >> 13);
    memset(heard, 0, sizeof heard);
}

static void a_bulk_stream_comes_back_whole(void **state)
{
    struct fixture *f = *state;
    size_t said = 0, back = 0;

    set_up_stream();
    for (unsigned i = 0; back < sizeof stream; i++) {
        size_t n = hear(f, back, 1000 + i * 7919 % 50000);

        assert_in_range(i, 0, 10000);
        back += n;
        said += stuff(f, said);
        /* Some sends take less than all, and some reads of what was sent are cut too. */
        SCRIPT(send_script, (int)(i % 5 ? LARGE : 30000), i % 7 ? LARGE : -EAGAIN);
        SCRIPT(recv_script, PASS, (int)(i % 3 ? LARGE : 777), i % 2 ? PASS : -EINTR);
        assert_in_range(large_turn(f), ECHO_READ, ECHO_WRITE);
        assert_in_range(held(f), 0, HELD_LIMIT + 1);
    }
    assert_memory_equal(stream, heard, sizeof stream);
    assert_int_equal(f->received, sizeof stream);
}

static void who_never_reads_costs_sixteen_kibibytes(void **state)
{
    struct fixture *f = *state;
    enum echo_state last = ECHO_READ;
    size_t said = 0;

    set_up_stream();
    for (unsigned i = 0; i < 100; i++) {
        said += stuff(f, said);
        last = large_turn(f);
    }
    assert_int_equal(last, ECHO_WRITE);
    assert_in_range(held(f), 0, HELD_LIMIT + 1);
    assert_in_range(said, LARGE, sizeof stream);
}

static void who_has_read_much_is_read_from_by_the_scratch(void **state)
{
    struct fixture *f = *state;
    size_t echoed = 0;

    set_up_stream();
    while (f->received == echoed * LARGE) {
        assert_in_range(++echoed, 1, 1000);
        assert_int_equal(__real_send(f->client, stream, LARGE, 0), LARGE);
        script_clear(&recv_script);
        assert_int_equal(large_turn(f), ECHO_READ);
        if (recv_script.calls == 2)
            break;
        while (f->received < echoed * LARGE)
            large_turn(f);
        assert_in_range(hear(f, 0, LARGE), LARGE, LARGE);
    }
    assert_in_range(echoed * LARGE, 4 << 20, (4 << 20) + 2 * LARGE);
}

static void a_half_close_ends_it_after_everything_was_sent_back(void **state)
{
    struct fixture *f = *state;
    char octet;

    SCRIPT(send_script, 1, -EAGAIN);
    say(f, "abcdef");
    assert_int_equal(shutdown(f->client, SHUT_WR), 0);
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_int_equal(turn(f, 4096), ECHO_ENDED);
    assert_heard(f, "abcdef");
    assert_int_equal(read(f->client, &octet, 1), -1);
    assert_int_equal(errno, EAGAIN);
}

static void a_client_that_says_nothing_and_closes_ends_it(void **state)
{
    struct fixture *f = *state;

    close(f->client);
    f->client = -1;
    assert_int_equal(turn(f, 4096), ECHO_ENDED);
    assert_int_equal(f->pieces, 0);
}

static void an_error_of_recv_ends_it_and_tells_why(void **state)
{
    static const int errors[] = {ECONNRESET, ETIMEDOUT, ENOMEM, ENOTCONN, EHOSTUNREACH, EPIPE};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(recv_script, -errors[i]);
        assert_int_equal(turn(f, 4096), ECHO_FAILED);
        assert_int_equal(errno, errors[i]);
    }
}

static void an_error_of_send_ends_it_and_tells_why(void **state)
{
    static const int errors[] = {ECONNRESET, EPIPE, ETIMEDOUT, ENOMEM, ENOBUFS, EHOSTUNREACH};
    struct fixture *f = *state;

    for (size_t i = 0; i < COUNT(errors); i++) {
        SCRIPT(send_script, 1, -errors[i]);
        say(f, "abc");
        assert_int_equal(turn(f, 4096), ECHO_FAILED);
        assert_int_equal(errno, errors[i]);
        assert_null(f->conn.held);
    }
}

static void a_reset_is_noticed_while_data_is_held(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, -EAGAIN, -ECONNRESET);
    say(f, "abc");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    assert_int_equal(turn(f, 4096), ECHO_FAILED);
    assert_int_equal(errno, ECONNRESET);
}

static void a_client_gone_before_its_echo_raises_no_signal(void **state)
{
    struct fixture *f = *state;

    say(f, "abc");
    close(f->client);
    f->client = -1;
    assert_int_equal(turn(f, 4096), ECHO_FAILED);
    assert_int_equal(errno, EPIPE);
    assert_false(send_lacked_nosignal);
}

static void want_of_memory_to_hold_data_ends_it(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, -EAGAIN);
    say(f, "abc");
    SCRIPT(malloc_script, -ENOMEM);
    assert_int_equal(turn(f, 4096), ECHO_FAILED);
    assert_int_equal(errno, ENOMEM);
}

static void ending_frees_what_is_held_and_leaves_the_socket_open(void **state)
{
    struct fixture *f = *state;

    SCRIPT(send_script, -EAGAIN);
    say(f, "abc");
    assert_int_equal(turn(f, 4096), ECHO_WRITE);
    echo_fini(&f->conn);
    assert_null(f->conn.held);
    assert_true(fcntl(f->conn.fd, F_GETFD) >= 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_arrives_is_sent_back_and_counted),
        TEST(with_nothing_to_read_it_waits),
        TEST(one_turn_takes_at_most_a_few_scratches),
        TEST(every_octet_value_comes_back),
        TEST(no_split_changes_an_octet),
        TEST(a_partial_send_continues_with_the_rest),
        TEST(a_send_that_takes_nothing_is_repeated),
        TEST(interrupted_calls_are_repeated),
        TEST(endless_interruptions_do_not_hold_up_the_others),
        TEST(what_the_socket_does_not_take_is_held),
        TEST(held_data_goes_out_bit_by_bit),
        TEST(nothing_is_read_while_anything_is_owed),
        TEST(memory_held_is_at_most_one_scratch),
        TEST(a_bulk_stream_comes_back_whole),
        TEST(who_never_reads_costs_sixteen_kibibytes),
        TEST(who_has_read_much_is_read_from_by_the_scratch),
        TEST(a_half_close_ends_it_after_everything_was_sent_back),
        TEST(a_client_that_says_nothing_and_closes_ends_it),
        TEST(an_error_of_recv_ends_it_and_tells_why),
        TEST(an_error_of_send_ends_it_and_tells_why),
        TEST(a_reset_is_noticed_while_data_is_held),
        TEST(a_client_gone_before_its_echo_raises_no_signal),
        TEST(want_of_memory_to_hold_data_ends_it),
        TEST(ending_frees_what_is_held_and_leaves_the_socket_open),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
