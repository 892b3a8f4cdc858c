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

/* A request to run a function in the worker's thread. */
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
    int doorbell; /* eventfd(2) */
    struct loop_io doorbell_io;

    /* Written on every echo: kept off the lines that others read. */
    struct stats stats __attribute__((aligned(64)));
};

static void answer_call(struct loop_io *io, short revents)
{
    struct worker *worker = container_of(io, struct worker, doorbell_io);
    uint64_t rings;

    (void)revents;
    if (read(io->fd, &rings, sizeof rings) < 0)
        return;
    pthread_mutex_lock(&worker->lock);
    if (worker->call) {
        worker->call->result = worker->call->fn(worker, worker->call->argument);
        worker->call->error = errno;
        worker->call = NULL;
        pthread_cond_signal(&worker->answered);
    }
    pthread_mutex_unlock(&worker->lock);
    tcp_evict_for_others(&worker->tcp);
}

/* Without the ring nobody would answer. An eventfd refuses it only while its counter is full, and
 * the worker empties that. */
static void ring(const struct worker *worker)
{
    uint64_t once = 1;
    ssize_t rung;

    do
        rung = write(worker->doorbell, &once, sizeof once);
    while (rung < 0);
}

static int call_worker(struct worker *worker, int (*fn)(struct worker *, void *), void *argument)
{
    struct call call = {.fn = fn, .argument = argument};

    if (!worker->has_thread)
        return fn(worker, argument);
    pthread_mutex_lock(&worker->lock);
    worker->call = &call;
    ring(worker);
    while (worker->call)
        pthread_cond_wait(&worker->answered, &worker->lock);
    pthread_mutex_unlock(&worker->lock);
    errno = call.error;
    return call.result;
}

static void show_alive(struct loop_timer *timer)
{
    struct worker *worker = container_of(timer, struct worker, alive_timer);

    atomic_store_explicit(&worker->last_alive, loop_now(&worker->loop), memory_order_relaxed);
    loop_timer_set(&worker->loop, timer, loop_now(&worker->loop) + worker->alive_interval);
}

struct worker *worker_new(struct connlimit *admit)
{
    struct worker *worker = aligned_alloc(_Alignof(struct worker), sizeof *worker);

    if (!worker)
        return NULL;
    *worker = (struct worker){.doorbell = -1};
    if (loop_init(&worker->loop) < 0) {
        free(worker);
        return NULL;
    }
    worker->doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (worker->doorbell < 0 ||
        loop_add(&worker->loop, &worker->doorbell_io, worker->doorbell, POLLIN, answer_call) < 0 ||
        tcp_init(&worker->tcp, &worker->loop, &worker->stats, admit) < 0 ||
        connlimit_add_wakeup(admit, worker->doorbell) < 0) {
        int saved = errno;

        tcp_fini(&worker->tcp);
        if (worker->doorbell >= 0)
            close(worker->doorbell);
        loop_fini(&worker->loop);
        free(worker);
        errno = saved;
        return NULL;
    }
    loop_timer_init(&worker->loop, &worker->alive_timer, show_alive);
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
    loop_del(&worker->loop, &worker->doorbell_io);
    close(worker->doorbell);
    loop_fini(&worker->loop);
    pthread_cond_destroy(&worker->answered);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

/* ---- sockets ---- */

struct socket_request {
    int type;
    int fd;
    bool first;
    unsigned sharing_workers;
};

/* The link to the entry of a datagram socket, or to NULL. */
static struct udp_entry **find_udp(struct worker *worker, int fd)
{
    struct udp_entry **link = &worker->udps;

    while (*link && udp_fd((*link)->udp) != fd)
        link = &(*link)->next;
    return link;
}

static int do_add_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;
    struct udp_entry *entry;

    if (request->type == SOCK_STREAM)
        return tcp_add_listener(&worker->tcp, request->fd, request->sharing_workers);
    entry = malloc(sizeof *entry);
    if (!entry)
        return -1;
    entry->udp = udp_new(&worker->loop, &worker->stats, &worker->params.access, &worker->params.udp,
                         request->fd, request->first, request->sharing_workers);
    if (!entry->udp) {
        free(entry);
        return -1;
    }
    entry->next = worker->udps;
    worker->udps = entry;
    return 0;
}

int worker_add_socket(struct worker *worker, int type, int fd, bool first, unsigned sharing_workers)
{
    return call_worker(
        worker, do_add_socket,
        &(struct socket_request){
            .type = type, .fd = fd, .first = first, .sharing_workers = sharing_workers});
}

static int do_retire_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;
    const struct udp_entry *entry = *find_udp(worker, request->fd);

    if (request->type == SOCK_STREAM)
        tcp_retire_listener(&worker->tcp, request->fd);
    else if (entry)
        udp_retire(entry->udp);
    return 0;
}

void worker_retire_socket(struct worker *worker, int type, int fd)
{
    call_worker(worker, do_retire_socket, &(struct socket_request){.type = type, .fd = fd});
}

static int do_empty_queue(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;

    /* Datagrams never wait for room: each turn answers them. */
    return request->type == SOCK_DGRAM || tcp_empty_queue(&worker->tcp, request->fd);
}

bool worker_empty_queue(struct worker *worker, int type, int fd)
{
    return call_worker(worker, do_empty_queue, &(struct socket_request){.type = type, .fd = fd});
}

static int do_drop_socket(struct worker *worker, void *argument)
{
    const struct socket_request *request = argument;
    struct udp_entry **link = find_udp(worker, request->fd);
    struct udp_entry *entry = *link;

    if (request->type == SOCK_STREAM) {
        tcp_drop_listener(&worker->tcp, request->fd);
    } else if (entry) {
        *link = entry->next;
        udp_free(entry->udp);
        free(entry);
    }
    return 0;
}

void worker_drop_socket(struct worker *worker, int type, int fd)
{
    call_worker(worker, do_drop_socket, &(struct socket_request){.type = type, .fd = fd});
}

/* ---- the rest ---- */

static int do_set_params(struct worker *worker, void *argument)
{
    worker->params = *(const struct worker_params *)argument;
    loop_set_spin(&worker->loop, worker->params.busy_poll);
    tcp_set_access(&worker->tcp, &worker->params.access);
    tcp_set_idle_timeout(&worker->tcp, worker->params.tcp_idle_timeout);
    tcp_rearm_listeners(&worker->tcp);
    for (struct udp_entry *entry = worker->udps; entry; entry = entry->next)
        udp_params_changed(entry->udp);
    return 0;
}

void worker_set_params(struct worker *worker, const struct worker_params *params)
{
    struct worker_params copy = *params;

    call_worker(worker, do_set_params, &copy);
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
    show_alive(&worker->alive_timer);
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
