/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "daemon/stats/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/metrics_text.h"
#include "common/util.h"

/* Clients that wait to be served, and clients served in one turn of the loop. */
#define BACKLOG 16

/* Octets of a snapshot: about 8 KiB, and 200 for each worker. A Unix socket takes more at once:
 * 208 KiB by default (unix(7), SO_SNDBUF). */
#define SNAPSHOT_MAX (96 * 1024)

/* ---- facts about the process ---- */

/* Counting takes a millisecond where the limit is 65536, so the count is kept for a second. */
#define COUNT_NS SECOND

/* poll(2) tells of each descriptor whether it is open, without /proc. */
static unsigned count_descriptors(uint64_t limit)
{
    struct pollfd fds[1024];
    unsigned open = 0;

    for (uint64_t first = 0; first < limit; first += COUNT(fds)) {
        nfds_t count = limit - first < COUNT(fds) ? (nfds_t)(limit - first) : COUNT(fds);

        for (nfds_t i = 0; i < count; i++)
            fds[i] = (struct pollfd){.fd = (int)(first + i)};
        if (poll(fds, count, 0) < 0)
            return open;
        for (nfds_t i = 0; i < count; i++)
            open += !(fds[i].revents & POLLNVAL);
    }
    return open;
}

/* Octets of memory that are resident; 0: not known. */
static uint64_t resident_memory(int statm)
{
    char text[128];
    ssize_t length = statm >= 0 ? pread(statm, text, sizeof text - 1, 0) : -1;
    const char *resident;

    if (length <= 0)
        return 0;
    text[length] = '\0';
    resident = strchr(text, ' '); /* the second number, in pages (proc(5)) */
    return resident ? strtoul(resident, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

/* ---- the snapshot ---- */

static void print_one(FILE *out, const char *name, const char *type, const char *help, double value)
{
    metrics_family(out, name, type, help);
    metrics_sample(out, name, NULL, 0, value);
}

static void print_counter(FILE *out, size_t i, const struct stats_sum *sum)
{
    const struct stats_counter *counter = &stats_counters[i];
    struct metrics_label label = {.name = counter->reason ? "reason" : "protocol",
                                  .value = counter->reason ? counter->reason : counter->protocol};

    metrics_sample(out, counter->metric, &label, label.value ? 1 : 0, (double)sum->all[i]);
}

/* A family's samples must stand together: the first counter of a family prints all of them. */
static void print_counters(FILE *out, const struct stats_sum *sum)
{
    for (size_t i = 0; i < STATS_COUNT; i++) {
        const char *metric = stats_counters[i].metric;
        size_t first = 0;

        while (strcmp(stats_counters[first].metric, metric) != 0)
            first++;
        if (first < i)
            continue;
        metrics_family(out, metric, "counter", stats_counters[i].family);
        for (size_t j = i; j < STATS_COUNT; j++)
            if (strcmp(stats_counters[j].metric, metric) == 0)
                print_counter(out, j, sum);
    }
}

static void print_workers(FILE *out, const struct metrics_facts *facts)
{
    metrics_family(out, "echod_worker_echoes_total", "counter", "Echoes of each worker.");
    for (size_t i = 0; i < facts->worker_count; i++) {
        struct stats_sum sum = {0};
        char worker[24];

        stats_sum(&sum, facts->workers[i]);
        snprintf(worker, sizeof worker, "%zu", i);
        for (int udp = 0; udp < 2; udp++) {
            const struct metrics_label labels[] = {{"worker", worker},
                                                   {"protocol", udp ? "udp" : "tcp"}};

            metrics_sample(out, "echod_worker_echoes_total", labels, COUNT(labels),
                           (double)(udp ? sum.udp_echoes : sum.tcp_echoes));
        }
    }
}

static void print_process(FILE *out, const struct metrics *metrics,
                          const struct metrics_facts *facts)
{
    uint64_t resident = resident_memory(metrics->statm);

    print_one(out, "process_start_time_seconds", "gauge",
              "When the process was started, in seconds since the epoch.",
              (double)metrics->started_at);
    print_one(out, "process_open_fds", "gauge", "Open file descriptors.",
              metrics->open_descriptors);
    print_one(out, "process_max_fds", "gauge", "How many file descriptors may be open.",
              (double)facts->descriptors);
    if (resident > 0)
        print_one(out, "process_resident_memory_bytes", "gauge", "Resident memory in bytes.",
                  (double)resident);
}

static void print_snapshot(FILE *out, const struct metrics *metrics,
                           const struct metrics_facts *facts)
{
    const struct metrics_label version = {"version", PACKAGE_VERSION};
    struct stats_sum sum = {0};

    for (size_t i = 0; i < facts->worker_count; i++)
        stats_sum(&sum, facts->workers[i]);
    metrics_family(out, "echod_build_info", "gauge", "Always 1; the labels tell the version.");
    metrics_sample(out, "echod_build_info", &version, 1, 1);
    print_counters(out, &sum);
    print_workers(out, facts);
    print_one(out, "echod_tcp_connections", "gauge", "Open TCP connections.", facts->connections);
    print_one(out, "echod_tcp_connections_limit", "gauge",
              "How many TCP connections may be open: max-connections, or what descriptors allow.",
              facts->connection_limit);
    print_one(out, "echod_config_last_reload_successful", "gauge",
              "Whether the last configuration that was read was taken: 1 or 0.",
              !metrics->load_failed);
    print_one(out, "echod_config_last_reload_success_timestamp_seconds", "gauge",
              "When a configuration was last taken, in seconds since the epoch.",
              (double)metrics->loaded_at);
    print_process(out, metrics, facts);
}

/* ---- the socket ---- */

/* How long the socket rests when there is no descriptor for a client. */
#define REST_NS SECOND

static void send_snapshot(struct metrics *metrics, int client)
{
    struct metrics_facts facts = {0};
    uint64_t now = loop_now(metrics->loop);
    char *text = malloc(SNAPSHOT_MAX);
    FILE *out = text ? fmemopen(text, SNAPSHOT_MAX, "w") : NULL;

    if (out) {
        metrics->collect(metrics, &facts);
        if (metrics->counted_at == 0 || now >= metrics->counted_at + COUNT_NS) {
            metrics->open_descriptors = count_descriptors(facts.descriptors);
            metrics->counted_at = now;
        }
        print_snapshot(out, metrics, &facts);
        fflush(out);
        /* A client that has left, or a kernel short of memory: this client gets less. */
        (void)!send(client, text, (size_t)ftell(out), MSG_DONTWAIT | MSG_NOSIGNAL);
        fclose(out);
    }
    free(text);
}

static void accept_clients(struct loop_io *io, short revents)
{
    struct metrics *metrics = container_of(io, struct metrics, io);

    (void)revents;
    for (int i = 0; i < BACKLOG; i++) {
        int client = accept4(metrics->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0) {
            send_snapshot(metrics, client);
            close(client);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != ECONNABORTED && errno != EINTR) {
            (void)loop_set(metrics->loop, io, 0);
            loop_timer_set(metrics->loop, &metrics->rest_timer, loop_now(metrics->loop) + REST_NS);
            return;
        }
    }
}

static void accept_again(struct loop_timer *timer)
{
    struct metrics *metrics = container_of(timer, struct metrics, rest_timer);

    (void)loop_set(metrics->loop, &metrics->io, POLLIN);
}

/* Connecting fails where nobody listens any more; then the name is in the way. */
static int remove_stale(const struct sockaddr_un *addr)
{
    struct stat info;
    int fd, used;

    if (lstat(addr->sun_path, &info) < 0)
        return errno == ENOENT ? 0 : -1;
    if (!S_ISSOCK(info.st_mode)) {
        errno = EEXIST;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    used = connect(fd, (const struct sockaddr *)addr, sizeof *addr) == 0 || errno != ECONNREFUSED;
    close(fd);
    if (used) {
        errno = EADDRINUSE;
        return -1;
    }
    return unlink(addr->sun_path);
}

static void close_keeping_errno(struct metrics *metrics)
{
    int error = errno;

    metrics_close(metrics);
    errno = error;
}

/* Nobody else may connect, not even between bind(2) and a chmod(2). */
static int bind_private(int fd, const struct sockaddr_un *addr)
{
    mode_t mask = umask(0117);
    int status = bind(fd, (const struct sockaddr *)addr, sizeof *addr);
    int error = errno;

    umask(mask);
    errno = error;
    return status;
}

void metrics_init(struct metrics *metrics)
{
    *metrics = (struct metrics){.fd = -1, .statm = -1};
    metrics->started_at = metrics->loaded_at = time(NULL);
}

void metrics_note_load(struct metrics *metrics, bool successful)
{
    metrics->load_failed = !successful;
    if (successful)
        metrics->loaded_at = time(NULL);
}

const char *metrics_path(const struct metrics *metrics)
{
    return metrics->addr.sun_path;
}

/* False if there is no path, or it is too long. */
static bool choose_path(struct sockaddr_un *addr, const char *path)
{
    const char *folder = getenv("RUNTIME_DIRECTORY");
    int length = -1;

    errno = 0;
    addr->sun_family = AF_UNIX;
    if (path[0])
        length = snprintf(addr->sun_path, sizeof addr->sun_path, "%s", path);
    else if (folder && folder[0] == '/')
        length = snprintf(addr->sun_path, sizeof addr->sun_path, "%.*s/metrics",
                          (int)strcspn(folder, ":"), folder);
    if (length >= (int)sizeof addr->sun_path)
        errno = ENAMETOOLONG;
    return length >= 0 && errno == 0;
}

int metrics_open(struct metrics *metrics, const char *path)
{
    if (!choose_path(&metrics->addr, path))
        return errno == 0 ? 0 : -1;
    if (remove_stale(&metrics->addr) < 0)
        return -1;
    metrics->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (metrics->fd < 0)
        return -1;
    if (bind_private(metrics->fd, &metrics->addr) < 0 || listen(metrics->fd, BACKLOG) < 0) {
        close_keeping_errno(metrics);
        return -1;
    }
    /* The sandbox does not let us open it later. */
    metrics->statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return 0;
}

int metrics_chown(const struct metrics *metrics, uid_t uid, gid_t gid)
{
    /* The units forbid the call, also if it changes nothing. */
    if (metrics->fd < 0 || (uid == (uid_t)-1 && gid == (gid_t)-1))
        return 0;
    return lchown(metrics->addr.sun_path, uid, gid);
}

int metrics_start(struct metrics *metrics, struct loop *loop,
                  void (*collect)(struct metrics *metrics, struct metrics_facts *facts))
{
    if (metrics->fd < 0)
        return 0;
    metrics->collect = collect;
    if (loop_add(loop, &metrics->io, metrics->fd, POLLIN, accept_clients) < 0) {
        close_keeping_errno(metrics);
        return -1;
    }
    metrics->loop = loop;
    loop_timer_init(loop, &metrics->rest_timer, accept_again);
    return 0;
}

void metrics_close(struct metrics *metrics)
{
    if (metrics->loop) {
        loop_del(metrics->loop, &metrics->io);
        loop_timer_fini(metrics->loop, &metrics->rest_timer);
        metrics->loop = NULL;
    }
    if (metrics->fd >= 0)
        close(metrics->fd);
    if (metrics->statm >= 0)
        close(metrics->statm);
    metrics->fd = metrics->statm = -1;
}
