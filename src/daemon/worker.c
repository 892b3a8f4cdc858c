/* SPDX-License-Identifier: ISC */
#include "daemon/worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/util.h"
#include "daemon/tcp/tcp.h"

/* A function to run in the worker's thread. */
struct call {
    int (*fn)(struct worker *worker, void *argument);
    void *argument;
    int result;
    int error;
};

struct udp_entry {
    struct udp_entry *next;
    struct udp *udp;
};

struct worker {
    struct loop loop;
    struct tcp tcp;
    struct udp_entry *udps;
    struct worker_params params;
    struct loop_timer alive_timer;
    uint64_t alive_interval;
    _Atomic uint64_t last_alive;

    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock; /* guards `call` */
    pthread_cond_t answered;
    struct call *call;
    int wakeup; /* eventfd(2) */
    struct loop_io wakeup_io;

    /* Written on every echo, so these get cache lines that nothing else is on. */
    struct stats stats __attribute__((aligned(64)));
};

static void on_wakeup(struct loop_io *io, short revents)
{
    struct worker *worker = container_of(io, struct worker, wakeup_io);
    uint64_t count;

    (void)revents;
    if (read(io->fd, &count, sizeof count) < 0)
        return;
    pthread_mutex_lock(&worker->lock);
    if (worker->call) {
        worker->call->result = worker->call->fn(worker, worker->call->argument);
        worker->call->error = errno;
        worker->call = NULL;
        pthread_cond_signal(&worker->answered);
    }
    pthread_mutex_unlock(&worker->lock);
    tcp_woken(&worker->tcp);
}

/* Without the wake-up nobody would answer the call. The write fails only while the counter of the
 * eventfd is full, and the worker reads that. */
static void wake(const struct worker *worker)
{
    uint64_t one = 1;
    ssize_t written;

    do
        written = write(worker->wakeup, &one, sizeof one);
    while (written < 0);
}

static int call_worker(struct worker *worker, int (*fn)(struct worker *, void *), void *argument)
{
    struct call call = {.fn = fn, .argument = argument};

    if (!worker->has_thread)
        return fn(worker, argument);
    pthread_mutex_lock(&worker->lock);
    worker->call = &call;
    wake(worker);
    while (worker->call)
        pthread_cond_wait(&worker->answered, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
    errno = call.error;
    return call.result;
}

static void note_alive(struct loop_timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, alive_timer);

    atomic_store_explicit(&worker->last_alive, loop_now(&worker->loop), memory_order_relaxed);
    loop_timer_set(&worker->loop, timer, loop_now(&worker->loop) + worker->alive_interval);
}

struct worker *worker_new(struct connlimit *connlimit)
{
    struct worker *worker = aligned_alloc(_Alignof(struct worker), sizeof *worker);

    if (!worker)
        return NULL;
    *worker = (struct worker){.wakeup = -1};
    if (loop_init(&worker->loop) < 0) {
        free(worker);
        return NULL;
    }
    worker->wakeup = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->wakeup < 0 ||
        loop_add(&worker->loop, &worker->wakeup_io, worker->wakeup, POLLIN, on_wakeup) < 0 ||
        tcp_init(&worker->tcp, &worker->loop, &worker->stats, connlimit, worker->wakeup) < 0) {
        int saved = errno;

        tcp_fini(&worker->tcp);
        if (worker->wakeup >= 0)
            close(worker->wakeup);
        loop_fini(&worker->loop);
        free(worker);
        errno = saved;
        return NULL;
    }
    loop_timer_init(&worker->loop, &worker->alive_timer, note_alive);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->answered, NULL);
    return worker;
}

void worker_run(struct worker *worker)
{
    loop_run(&worker->loop);
}

static void *thread_main(void *argument)
{
    worker_run(argument);
    return NULL;
}

static int do_nothing(struct worker *worker, void *argument)
{
    (void)worker;
    (void)argument;
    return 0;
}

int worker_start(struct worker *worker)
{
    int error = pthread_create(&worker->thread, NULL, thread_main, worker);

    if (error != 0) {
        errno = error;
        return -1;
    }
    worker->has_thread = true;
    return call_worker(worker, do_nothing, NULL);
}

static int do_stop(struct worker *worker, void *argument)
{
    (void)argument;
    loop_stop(&worker->loop);
    return 0;
}

void worker_stop(struct worker *worker)
{
    call_worker(worker, do_stop, NULL);
    if (worker->has_thread)
        pthread_join(worker->thread, NULL);
    worker->has_thread = false;
}

void worker_free(struct worker *worker)
{
    if (!worker)
        return;
    tcp_fini(&worker->tcp);
    loop_del(&worker->loop, &worker->wakeup_io);
    close(worker->wakeup);
    loop_fini(&worker->loop);
    pthread_cond_destroy(&worker->answered);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

/* ---- sockets ---- */

struct socket_request {
    const struct socket_operations *operations;
    int fd;
    bool is_primary;
    unsigned sharing_workers;
};

/* What a worker does with a socket of either kind. -1 with errno where it can fail. */
struct socket_operations {
    int (*add)(struct worker *worker, const struct socket_request *request);
    void (*retire)(struct worker *worker, int fd);
    bool (*drain)(struct worker *worker, int fd);
    void (*drop)(struct worker *worker, int fd);
};

static int add_stream(struct worker *worker, const struct socket_request *request)
{
    return listeners_add(&worker->tcp.listeners, request->fd, request->sharing_workers);
}

static void retire_stream(struct worker *worker, int fd)
{
    listeners_retire(&worker->tcp.listeners, fd);
}

static bool drain_stream(struct worker *worker, int fd)
{
    return listeners_drain(&worker->tcp.listeners, fd);
}

static void drop_stream(struct worker *worker, int fd)
{
    listeners_drop(&worker->tcp.listeners, fd);
}

/* The link to the entry of a datagram socket, or to NULL. */
static struct udp_entry **find_udp(struct worker *worker, int fd)
{
    struct udp_entry **link = &worker->udps;

    while (*link && udp_fd((*link)->udp) != fd)
        link = &(*link)->next;
    return link;
}

static int add_datagram(struct worker *worker, const struct socket_request *request)
{
    struct udp_entry *entry = malloc(sizeof *entry);

    if (!entry)
        return -1;
    entry->udp = udp_new(&worker->loop, &worker->stats, &worker->params.access, &worker->params.udp,
                         request->fd, request->is_primary, request->sharing_workers);
    if (!entry->udp) {
        free(entry);
        return -1;
    }
    entry->next = worker->udps;
    worker->udps = entry;
    return 0;
}

static void retire_datagram(struct worker *worker, int fd)
{
    const struct udp_entry *entry = *find_udp(worker, fd);

    if (entry)
        udp_retire(entry->udp);
}

/* Datagrams never wait for room: every turn answers them. */
static bool drain_datagram(struct worker *worker, int fd)
{
    (void)worker;
    (void)fd;
    return true;
}

static void drop_datagram(struct worker *worker, int fd)
{
    struct udp_entry **link = find_udp(worker, fd);
    struct udp_entry *entry = *link;

    if (!entry)
        return;
    *link = entry->next;
    udp_free(entry->udp);
    free(entry);
}

static const struct socket_operations *operations_of(int type)
{
    static const struct socket_operations stream = {add_stream, retire_stream, drain_stream,
                                                    drop_stream};
    static const struct socket_operations datagram = {add_datagram, retire_datagram, drain_datagram,
                                                      drop_datagram};

    return type == SOCK_STREAM ? &stream : &datagram;
}

static int do_add_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;

    return request->operations->add(worker, request);
}

int worker_add_socket(struct worker *worker, int type, int fd, bool is_primary,
                      unsigned sharing_workers)
{
    struct socket_request request = {.operations = operations_of(type),
                                     .fd = fd,
                                     .is_primary = is_primary,
                                     .sharing_workers = sharing_workers};

    return call_worker(worker, do_add_socket, &request);
}

static int do_retire_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;

    request->operations->retire(worker, request->fd);
    return 0;
}

void worker_retire_socket(struct worker *worker, int type, int fd)
{
    struct socket_request request = {.operations = operations_of(type), .fd = fd};

    call_worker(worker, do_retire_socket, &request);
}

static int do_drain_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;

    return request->operations->drain(worker, request->fd);
}

bool worker_drain_socket(struct worker *worker, int type, int fd)
{
    struct socket_request request = {.operations = operations_of(type), .fd = fd};

    return call_worker(worker, do_drain_socket, &request);
}

static int do_drop_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;

    request->operations->drop(worker, request->fd);
    return 0;
}

void worker_drop_socket(struct worker *worker, int type, int fd)
{
    struct socket_request request = {.operations = operations_of(type), .fd = fd};

    call_worker(worker, do_drop_socket, &request);
}

/* ---- parameters, connections, counters ---- */

static int do_set_params(struct worker *worker, void *argument)
{
    worker->params = *(const struct worker_params *)argument;
    loop_set_spin(&worker->loop, worker->params.busy_poll);
    tcp_set_params(&worker->tcp, &worker->params.access, worker->params.tcp_idle_timeout);
    return 0;
}

void worker_set_params(struct worker *worker, const struct worker_params *params)
{
    struct worker_params copy = *params;

    call_worker(worker, do_set_params, &copy);
}

static int do_finish_connections(struct worker *worker, void *argument)
{
    return (int)tcp_finish(&worker->tcp, *(const uint64_t *)argument);
}

unsigned worker_finish_connections(struct worker *worker, uint64_t until)
{
    return (unsigned)call_worker(worker, do_finish_connections, &until);
}

static int do_close_connections(struct worker *worker, void *argument)
{
    (void)argument;
    tcp_close_all(&worker->tcp);
    return 0;
}

void worker_close_connections(struct worker *worker)
{
    call_worker(worker, do_close_connections, NULL);
}

static int do_watch(struct worker *worker, void *argument)
{
    worker->alive_interval = *(const uint64_t *)argument;
    note_alive(&worker->alive_timer);
    return 0;
}

void worker_watch(struct worker *worker, uint64_t interval)
{
    call_worker(worker, do_watch, &interval);
}

uint64_t worker_last_alive(const struct worker *worker)
{
    return atomic_load_explicit(&worker->last_alive, memory_order_relaxed);
}

const struct stats *worker_stats(const struct worker *worker)
{
    return &worker->stats;
}

struct loop *worker_loop(struct worker *worker)
{
    return &worker->loop;
}
