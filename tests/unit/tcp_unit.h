/* SPDX-License-Identifier: ISC */
#ifndef ECHOD_TESTS_TCP_UNIT_H
#define ECHOD_TESTS_TCP_UNIT_H

/* What the tests of both TCP links share: a listener, and the server's end of a connection. */

#include "unit/probe_unit.h"

struct fixture {
    struct probe probe;
    int listener;
    int server;
    struct addr peer;
    unsigned descriptors;
};

static inline struct fixture *new_fixture(void)
{
    struct fixture *f = test_calloc(1, sizeof *f);

    f->server = -1;
    f->descriptors = open_descriptors();
    assert_int_equal(runner_init(&runner), 0);
    f->listener = bound_socket(SOCK_STREAM, "127.0.0.1");
    assert_true(f->listener >= 0);
    assert_int_equal(listen(f->listener, 64), 0);
    f->peer = local_address(f->listener);
    return f;
}

static inline void hang_up(struct fixture *f)
{
    if (f->server >= 0)
        close(f->server);
    f->server = -1;
}

static inline void stop_listening(struct fixture *f)
{
    if (f->listener >= 0)
        close(f->listener);
    f->listener = -1;
}

static inline void end_fixture(struct fixture *f)
{
    probe_fini(&f->probe);
    runner_fini(&runner);
    hang_up(f);
    stop_listening(f);
    assert_int_equal(open_descriptors(), f->descriptors);
    test_free(f);
}

static inline int accept_one(struct fixture *f)
{
    int fd;

    assert_true(readable(f->listener, PATIENCE_MS));
    fd = accept(f->listener, NULL, NULL);
    assert_true(fd >= 0);
    return fd;
}

static inline void give(struct fixture *f, const void *octets, size_t len)
{
    assert_int_equal(write(f->server, octets, len), len);
}

#endif
