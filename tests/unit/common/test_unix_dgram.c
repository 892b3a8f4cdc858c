/* SPDX-License-Identifier: ISC */
#include "common/unix_dgram.h"

#include <stdio.h>

#include "unit/unit.h"

static int service;
static char
    name[sizeof((struct sockaddr_un *)NULL)->sun_path + 1]; /* as unix_dgram_open() takes it */

static int open_service(const struct sockaddr_un *addr, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const void *)addr, len), 0);
    return fd;
}

static int set_up(void **state)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    socklen_t len = sizeof addr;

    (void)state;
    /* An abstract address of the kernel's choice: unix(7). */
    service = open_service(&addr, sizeof addr.sun_family);
    assert_int_equal(getsockname(service, (struct sockaddr *)&addr, &len), 0);
    len -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
    name[0] = '@';
    memcpy(name + 1, addr.sun_path + 1, len);
    name[len + 1] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(service);
    return 0;
}

static ssize_t received(char text[static 64])
{
    return recv(service, text, 64, 0);
}

static void a_datagram_arrives_as_it_is(void **state)
{
    struct unix_dgram sock;
    char text[64];

    (void)state;
    assert_int_equal(unix_dgram_open(&sock, name), 0);
    assert_true(unix_dgram_send(&sock, "a\0b", 3, false));
    assert_int_equal(received(text), 3);
    assert_memory_equal(text, "a\0b", 3);
    assert_true(unix_dgram_send(&sock, "c", 1, true));
    assert_int_equal(received(text), 1);
    unix_dgram_close(&sock);
    assert_false(unix_dgram_send(&sock, "d", 1, false));
}

static void a_path_is_a_name_too(void **state)
{
    char directory[] = "/tmp/echod-unit-XXXXXX";
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct unix_dgram sock;
    char text[64];

    (void)state;
    close(service);
    assert_non_null(mkdtemp(directory));
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/s", directory);
    assert_int_equal(unix_dgram_open(&sock, addr.sun_path), 0);
    assert_false(unix_dgram_send(&sock, "lost", 4, false));
    service = open_service(&addr, sizeof addr);
    assert_true(unix_dgram_send(&sock, "x", 1, false));
    assert_int_equal(received(text), 1);
    /* Gone, and back. */
    close(service);
    assert_int_equal(unlink(addr.sun_path), 0);
    assert_false(unix_dgram_send(&sock, "lost", 4, true));
    service = open_service(&addr, sizeof addr);
    assert_true(unix_dgram_send(&sock, "x", 1, true));
    assert_int_equal(received(text), 1);
    unix_dgram_close(&sock);
    unlink(addr.sun_path);
    rmdir(directory);
}

static void what_is_no_name_is_refused(void **state)
{
    char longest[sizeof((struct sockaddr_un *)NULL)->sun_path + 1];
    const char *const wrong[] = {"", "/", "@", "relative", "vsock:2:1", longest};
    struct unix_dgram sock;

    (void)state;
    memset(longest, '/', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < COUNT(wrong); i++) {
        errno = 0;
        assert_int_equal(unix_dgram_open(&sock, wrong[i]), -1);
        assert_int_equal(errno, EINVAL);
        assert_false(unix_dgram_send(&sock, "x", 1, false));
    }
    longest[sizeof longest - 2] = '\0';
    assert_int_equal(unix_dgram_open(&sock, longest), 0);
    unix_dgram_close(&sock);
}

static void fill(const struct unix_dgram *sock)
{
    for (int i = 0; i < 100000; i++)
        if (!unix_dgram_send(sock, "x", 1, false))
            return;
    fail_msg("there is no end to what a service takes that does not read");
}

static void *read_one_later(void *unused)
{
    char text[64];

    (void)unused;
    usleep(50000);
    assert_int_equal(received(text), 1);
    return NULL;
}

/* Tries that do not wait would all be over before there is room. */
static void what_must_not_get_lost_waits_for_room(void **state)
{
    struct unix_dgram sock;
    pthread_t thread;
    bool sent = false;

    (void)state;
    assert_int_equal(unix_dgram_open(&sock, name), 0);
    fill(&sock);
    assert_false(unix_dgram_send(&sock, "x", 1, true));
    assert_int_equal(pthread_create(&thread, NULL, read_one_later, NULL), 0);
    for (int i = 0; i < 30 && !sent; i++)
        sent = unix_dgram_send(&sock, "x", 1, true);
    assert_true(sent);
    pthread_join(thread, NULL);
    unix_dgram_close(&sock);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_datagram_arrives_as_it_is),
        TEST(a_path_is_a_name_too),
        TEST(what_is_no_name_is_refused),
        TEST(what_must_not_get_lost_waits_for_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
