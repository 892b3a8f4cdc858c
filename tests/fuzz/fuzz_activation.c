/* SPDX-License-Identifier: ISC */
/* The daemon is handed any environment, and descriptors of any kind from 3 on. The first line of
 * the input has a letter for each descriptor, see kinds[]. The other lines are variables; in their
 * values "$" is our process id. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/netlink.h>

#include "common/log.h"
#include "common/util.h"
#include "daemon/endpoints.h"
#include "daemon/os/service_manager.h"

#define MUST(condition) ((condition) ? (void)0 : abort())

#define FIRST    3 /* SD_LISTEN_FDS_START */
#define FDS_MAX  16
#define SHELF    64 /* descriptors from here on: one of each kind */
#define TEXT_MAX 4096
#define WORKERS  2

enum how { UNBOUND, BOUND, LISTENING, CONNECTED };

static const struct kind {
    char letter;
    bool fit; /* echod can serve it */
    int family, type;
    enum how how;
} kinds[] = {
    {'t', true, AF_INET, SOCK_STREAM, LISTENING},
    {'T', true, AF_INET6, SOCK_STREAM, LISTENING},
    {'u', true, AF_INET, SOCK_DGRAM, BOUND},
    {'U', true, AF_INET6, SOCK_DGRAM, BOUND},
    {'b', false, AF_INET, SOCK_STREAM, BOUND},
    {'n', false, AF_INET, SOCK_STREAM, UNBOUND},
    {'N', false, AF_INET6, SOCK_DGRAM, UNBOUND},
    {'c', false, AF_INET, SOCK_STREAM, CONNECTED},
    {'x', false, AF_UNIX, SOCK_STREAM, LISTENING},
    {'d', false, AF_UNIX, SOCK_DGRAM, BOUND},
    {'q', false, AF_UNIX, SOCK_SEQPACKET, UNBOUND},
    {'l', false, AF_NETLINK, SOCK_RAW, UNBOUND},
    {'p', false, -1, 0, UNBOUND}, /* from here on no sockets, see open_other() */
    {'e', false, -1, 1, UNBOUND},
    {'o', false, -1, 2, UNBOUND},
    {'m', false, -1, 3, UNBOUND},
    {'f', false, -1, 4, UNBOUND},
};

static int shelf[COUNT(kinds)]; /* by kind; -1: this host has no such socket */
static int manager;             /* the socket of NOTIFY_SOCKET=@$ */

/* ---- one descriptor of each kind ---- */

static int open_other(int which)
{
    int ends[2] = {-1, -1};

    switch (which) {
    case 0:
        MUST(pipe(ends) == 0);
        return ends[0];
    case 1:
        return eventfd(0, 0);
    case 2:
        return epoll_create1(0);
    case 3:
        return memfd_create("file", 0);
    default:
        return open("/", O_RDONLY | O_DIRECTORY);
    }
}

static int open_socket(const struct kind *kind)
{
    int fd = socket(kind->family, kind->type, 0);
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    const struct sockaddr *addr = (const struct sockaddr *)&v4;
    socklen_t len = sizeof v4;

    if (kind->family == AF_INET6) {
        addr = (const struct sockaddr *)&v6;
        len = sizeof v6;
    } else if (kind->family == AF_UNIX) {
        addr = (const struct sockaddr *)&local;
        len = sizeof(sa_family_t);
    }
    if (fd >= 0 && kind->how == CONNECTED) {
        MUST(getsockname(shelf[0], (struct sockaddr *)&v4, &len) == 0);
        MUST(connect(fd, addr, len) == 0);
    } else if (fd >= 0 && kind->how != UNBOUND && bind(fd, addr, len) < 0) {
        close(fd);
        return -1;
    }
    MUST(fd < 0 || kind->how != LISTENING || listen(fd, 1) == 0);
    return fd;
}

static void fill_shelf(void)
{
    for (size_t i = 0; i < COUNT(kinds); i++) {
        int fd = kinds[i].family < 0 ? open_other(kinds[i].type) : open_socket(&kinds[i]);

        shelf[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, SHELF);
        MUST(fd < 0 || shelf[i] >= 0);
    }
}

static void open_manager(void)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int length = snprintf(addr.sun_path + 1, sizeof addr.sun_path - 1, "%d", (int)getpid());
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

    MUST(fd >= 0 &&
         bind(fd, (struct sockaddr *)&addr,
              (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1) + (socklen_t)length) == 0);
    manager = fcntl(fd, F_DUPFD_CLOEXEC, SHELF);
    MUST(manager >= 0);
}

static void ignore(enum log_level level, const char *message)
{
    (void)level;
    MUST(strlen(message) > 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    log_set_sink(ignore);
    fill_shelf();
    open_manager();
    close_range(FIRST, SHELF - 1, 0);
    return 0;
}

/* ---- input ---- */

static const struct kind *held[FDS_MAX];

static void hand_over(const char *letters)
{
    memset(held, 0, sizeof held);
    for (int i = 0; i < FDS_MAX && letters[i]; i++)
        for (size_t k = 0; k < COUNT(kinds); k++)
            if (kinds[k].letter == letters[i] && shelf[k] >= 0) {
                MUST(dup2(shelf[k], FIRST + i) == FIRST + i);
                fcntl(FIRST + i, F_SETFL, fcntl(FIRST + i, F_GETFL) & ~O_NONBLOCK);
                held[i] = &kinds[k];
            }
}

static void set_variable(const char *line)
{
    static const char *const names[] = {"LISTEN_FDS",    "LISTEN_PID",    "LISTEN_FDNAMES",
                                        "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    size_t length = strcspn(line, "=");
    char value[TEXT_MAX + 16], *out = value;

    if (line[length] == '\0')
        return;
    for (const char *c = line + length + 1; *c; c++)
        if (*c == '$' && out < value + TEXT_MAX - 16)
            out += sprintf(out, "%d", (int)getpid());
        else if (out < value + TEXT_MAX)
            *out++ = *c;
    *out = '\0';
    for (size_t i = 0; i < COUNT(names); i++)
        if (strlen(names[i]) == length && strncmp(names[i], line, length) == 0)
            MUST(setenv(names[i], value, 1) == 0);
}

/* ---- checks ---- */

/* libsystemd parses octal and hexadecimal numbers too. An interval that overflows becomes the
 * longest one, not a short one. */
static void check_watchdog(void)
{
    const char *text = getenv("WATCHDOG_USEC");
    uint64_t interval = service_manager_watchdog_interval(), usec;

    MUST(interval == 0 || text);
    if (interval == 0 || text[0] == '0' || text[strspn(text, "0123456789")] != '\0')
        return;
    usec = strtoull(text, NULL, 10);
    MUST(usec > UINT64_MAX / 1000 ? interval == UINT64_MAX : interval == usec * 1000);
}

static void check_manager(void)
{
    char text[2048];
    ssize_t n;

    service_manager_open();
    if (service_manager_enabled()) {
        const char *path = getenv("NOTIFY_SOCKET");

        MUST(path && (path[0] == '/' || path[0] == '@'));
    }
    service_manager_ready("1 open");
    service_manager_status("2 open");
    service_manager_alive();
    service_manager_stopping(3);
    service_manager_close();
    MUST(!service_manager_enabled());
    while ((n = recv(manager, text, sizeof text, 0)) >= 0)
        MUST(n > 0 && memchr(text, '=', (size_t)n));
}

static void check_adopted(const struct endpoint *endpoint)
{
    char text[ENDPOINT_STRLEN];
    int fd = endpoint_fd(endpoint, 7);

    MUST(endpoint->inherited && endpoint->count == 1);
    MUST(fd >= FIRST && fd < FIRST + FDS_MAX && held[fd - FIRST] && held[fd - FIRST]->fit);
    MUST(endpoint->type == held[fd - FIRST]->type);
    MUST(endpoint->addr.sa.sa_family == held[fd - FIRST]->family &&
         addr_port(&endpoint->addr) != 0);
    MUST(fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) & FD_CLOEXEC);
    MUST(strlen(endpoint_print(endpoint, text)) < sizeof text);
}

/* Each endpoint has a socket for each of WORKERS, and unfit descriptors are closed. */
static void check_stored(const int fds[], size_t count)
{
    struct endpoints set = {0};

    MUST(endpoints_restore(&set, fds, count, WORKERS) == 0);
    MUST(set.count <= count);
    for (size_t i = 0; i < set.count; i++) {
        MUST(!set.list[i]->inherited && set.list[i]->count == WORKERS);
        for (size_t j = 0; j < WORKERS; j++)
            MUST(fcntl(endpoint_fd(set.list[i], j), F_GETFD) & FD_CLOEXEC);
    }
    endpoints_close(&set, true);
    for (size_t i = 0; i < count; i++)
        MUST(fcntl(fds[i], F_GETFD) < 0);
}

static void check_sockets(void)
{
    struct endpoints set = {0};
    int stored[FDS_MAX];
    size_t stored_count = 0;
    char text[64];
    int first = 0;
    int n = service_manager_sockets(&first);

    MUST(!getenv("LISTEN_FDS") && !getenv("LISTEN_PID") && !getenv("LISTEN_FDNAMES"));
    MUST(n >= 0 || errno > 0);
    if (n > 0) {
        MUST(n <= FDS_MAX && first == FIRST);
        for (int i = 0; i < n; i++)
            if (service_manager_is_stored(first + i))
                stored[stored_count++] = first + i;
            else
                MUST((endpoints_adopt(&set, first + i, 1) == 0) == (held[i] && held[i]->fit));
        MUST(set.count + stored_count <= (size_t)n);
    }
    for (size_t i = 0; i < set.count; i++)
        check_adopted(set.list[i]);
    MUST(strlen(endpoints_describe(&set, text, sizeof text)) < sizeof text);
    endpoints_close(&set, true);
    check_stored(stored, stored_count);
    service_manager_close();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text, *rest, *line;

    if (size > TEXT_MAX)
        return 0;
    text = rest = strndup((const char *)data, size);
    MUST(text);
    clearenv();
    hand_over(strsep(&rest, "\n"));
    while ((line = strsep(&rest, "\n")) != NULL)
        set_variable(line);
    check_watchdog();
    check_manager();
    check_sockets();
    close_range(FIRST, FIRST + FDS_MAX - 1, 0);
    free(text);
    return 0;
}
