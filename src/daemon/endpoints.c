/* SPDX-License-Identifier: ISC */
#include "daemon/endpoints.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/util.h"

int endpoint_fd(const struct endpoint *endpoint, size_t worker)
{
    return endpoint->fds[endpoint->inherited ? 0 : worker];
}

const char *endpoint_print(const struct endpoint *endpoint, char buf[static ENDPOINT_STRLEN])
{
    char address[ADDR_STRLEN];

    snprintf(buf, ENDPOINT_STRLEN, "%s %s", endpoint->type == SOCK_STREAM ? "tcp" : "udp",
             addr_print(&endpoint->addr, address));
    return buf;
}

const char *endpoints_describe(const struct endpoints *set, char *buf, size_t size)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};
    static const char *const names[] = {"tcp", "udp"};
    FILE *out = fmemopen(buf, size, "w");
    char text[ADDR_STRLEN];
    const char *between = "";

    buf[0] = '\0';
    if (!out)
        return buf;
    for (size_t t = 0; t < 2; t++) {
        const char *name = names[t];

        for (size_t i = 0; i < set->count; i++)
            if (set->list[i]->type == types[t]) {
                fprintf(out, "%s%s %s%s", between, name, addr_print(&set->list[i]->addr, text),
                        set->list[i]->inherited ? " (inherited)" : "");
                between = name = "";
            }
        between = *name ? "" : "; ";
    }
    fclose(out);
    /* If the text does not fit, fmemopen(3) may leave it without a NUL. */
    buf[size - 1] = '\0';
    return buf;
}

/* Logs and returns NULL if there is no memory. */
static struct endpoint *new_endpoint(int type, const struct addr *addr, size_t count)
{
    struct endpoint *endpoint = calloc(1, sizeof *endpoint + count * sizeof endpoint->fds[0]);

    if (!endpoint) {
        log_error("no memory for a socket");
        return NULL;
    }
    endpoint->type = type;
    endpoint->addr = *addr;
    endpoint->count = count;
    return endpoint;
}

/* Logs and returns -1 if there is no memory. */
static int append(struct endpoints *set, struct endpoint *endpoint)
{
    struct endpoint **list = realloc(set->list, (set->count + 1) * sizeof *list);

    if (!list) {
        log_error("no memory for a list of sockets");
        return -1;
    }
    set->list = list;
    set->list[set->count++] = endpoint;
    return 0;
}

static void close_endpoint(struct endpoint *endpoint)
{
    int saved = errno;

    for (size_t i = 0; i < endpoint->count; i++)
        close(endpoint->fds[i]);
    free(endpoint);
    errno = saved;
}

int endpoints_adopt(struct endpoints *set, int first, int count)
{
    for (int fd = first; fd < first + count; fd++) {
        struct addr addr;
        struct endpoint *endpoint;
        int type;

        if (socket_adopt(fd, &type, &addr) < 0) {
            log_error("cannot serve descriptor %d, which the service manager handed over: %s (a "
                      "listening TCP or a bound UDP "
                      "socket is wanted)",
                      fd, strerror(errno));
            return -1;
        }
        endpoint = new_endpoint(type, &addr, 1);
        if (!endpoint || append(set, endpoint) < 0) {
            free(endpoint);
            return -1;
        }
        endpoint->inherited = true;
        endpoint->fds[0] = fd;
    }
    return 0;
}

bool endpoints_has(const struct endpoints *set, const struct endpoint *endpoint)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->list[i] == endpoint)
            return true;
    return false;
}

static struct endpoint *find_endpoint(const struct endpoints *set, int type, bool mptcp,
                                      const struct addr *addr)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->list[i]->type == type && set->list[i]->mptcp == mptcp &&
            addr_equal(&set->list[i]->addr, addr))
            return set->list[i];
    return NULL;
}

static void set_sharing(const struct endpoint *endpoint, bool on)
{
    for (size_t i = 0; i < endpoint->count; i++)
        socket_share(endpoint->fds[i], on);
}

/* ---- sockets that an earlier process has stored ---- */

const char *endpoint_name(const struct endpoint *endpoint, char buf[static ENDPOINT_NAMELEN])
{
    char text[ENDPOINT_STRLEN];

    snprintf(buf, ENDPOINT_NAMELEN, SERVICE_MANAGER_STORED "%s", endpoint_print(endpoint, text));
    for (char *c = buf; *c; c++)
        if (*c == ':')
            *c = '_';
    return buf;
}

/* The endpoint of a stored socket, which is made with room for `most` sockets if it is new. NULL
 * without memory. */
static struct endpoint *stored_endpoint(struct endpoints *set, int type, bool mptcp,
                                        const struct addr *addr, size_t most)
{
    struct endpoint *endpoint = find_endpoint(set, type, mptcp, addr);

    if (endpoint)
        return endpoint;
    endpoint = new_endpoint(type, addr, most);
    if (!endpoint || append(set, endpoint) < 0) {
        free(endpoint);
        return NULL;
    }
    endpoint->stored = true;
    endpoint->mptcp = mptcp;
    endpoint->count = 0;
    return endpoint;
}

static void log_not_restored(const char *what)
{
    log_warning("closing %s, which the service manager has stored: %s", what, strerror(errno));
}

/* -1 with errno: a socket for a further worker could not be opened. */
static int fit_to_workers(struct endpoint *endpoint, size_t workers)
{
    const struct socket_wish wish = {.type = endpoint->type,
                                     .backlog = SOMAXCONN,
                                     .share = true,
                                     .mptcp = endpoint->mptcp,
                                     .freebind = true};
    char name[ENDPOINT_NAMELEN];
    size_t count = endpoint->count;

    endpoint->stored = count == workers;
    if (count > workers)
        service_manager_unstore(endpoint_name(endpoint, name));
    while (endpoint->count > workers) {
        socket_retire(endpoint->type, endpoint->fds[--endpoint->count]);
        close(endpoint->fds[endpoint->count]);
    }
    if (count >= workers)
        return 0;
    set_sharing(endpoint, true);
    if (socket_open(&wish, &endpoint->addr, workers - count, endpoint->fds + count) < 0)
        return -1;
    endpoint->count = workers;
    return 0;
}

static void fit_all(struct endpoints *set, size_t workers)
{
    char text[ENDPOINT_STRLEN];
    size_t kept = 0;

    for (size_t i = 0; i < set->count; i++) {
        struct endpoint *endpoint = set->list[i];

        if (fit_to_workers(endpoint, workers) == 0) {
            set->list[kept++] = endpoint;
            continue;
        }
        log_not_restored(endpoint_print(endpoint, text));
        close_endpoint(endpoint);
    }
    set->count = kept;
}

int endpoints_restore(struct endpoints *set, const int fds[], size_t count, size_t workers)
{
    for (size_t i = 0; i < count; i++) {
        struct endpoint *endpoint;
        struct addr addr;
        int type;

        if (socket_adopt(fds[i], &type, &addr) < 0) {
            log_not_restored("a descriptor");
            close(fds[i]);
            continue;
        }
        endpoint = stored_endpoint(set, type, socket_is_mptcp(fds[i]), &addr,
                                   count > workers ? count : workers);
        if (!endpoint) {
            log_error("cannot take over sockets: %s", strerror(errno));
            return -1;
        }
        /* Further sockets at its address must be of its user. */
        (void)socket_chown(fds[i], geteuid(), getegid());
        endpoint->fds[endpoint->count++] = fds[i];
    }
    fit_all(set, workers);
    return 0;
}

/* A plan may replace an address by one that overlaps it, such as 0.0.0.0 by 127.0.0.1. Until the
 * commit both are bound, so they must share. */
static bool share_with_current(const struct endpoints *current, int type, const struct addr *addr)
{
    bool any = false;

    for (size_t i = 0; i < current->count; i++) {
        struct endpoint *endpoint = current->list[i];

        if (endpoint->type == type && !endpoint->inherited && addr_overlap(&endpoint->addr, addr)) {
            set_sharing(endpoint, true);
            any = true;
        }
    }
    return any;
}

/* An address that is shared longer than necessary could be taken over by another process of the
 * same user. */
static void stop_sharing(const struct endpoints *set)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->list[i]->count == 1 && !set->list[i]->inherited)
            set_sharing(set->list[i], false);
}

static const char *bind_advice(int error)
{
    switch (error) {
    case EACCES:
        return " (a port below 1024 needs root or CAP_NET_BIND_SERVICE; after privileges were "
               "dropped, a restart)";
    case EADDRINUSE:
        return " (another program has it; `ss -lntup` tells which)";
    case EADDRNOTAVAIL:
        return " (no interface of this host has that address; freebind = true does without)";
    case EAFNOSUPPORT:
        return " (this host has no such address family)";
    default:
        return "";
    }
}

static void log_failure(const struct endpoint *endpoint, const char *file, unsigned line)
{
    char text[ENDPOINT_STRLEN];
    int error = errno;

    endpoint_print(endpoint, text);
    if (line > 0)
        log_error("%s:%u: cannot listen on %s: %s%s", file, line, text, strerror(error),
                  bind_advice(error));
    else
        log_error("cannot listen on %s: %s%s", text, strerror(error), bind_advice(error));
    errno = error;
}

/* The default list has IPv6 addresses; a host without IPv6 serves IPv4. */
static bool is_missing_ipv6(const struct conf_listen *listen, const struct addr *addr, int error)
{
    return listen->is_default && addr->sa.sa_family == AF_INET6 &&
           (error == EAFNOSUPPORT || error == EADDRNOTAVAIL);
}

struct wanted {
    struct socket_wish socket;
    const struct conf_listen *listen;
};

static int open_endpoint(struct endpoints *next, const struct endpoints *current,
                         const struct wanted *wanted, const struct addr *addr, const char *file,
                         size_t workers)
{
    struct endpoint *endpoint = new_endpoint(wanted->socket.type, addr, workers);
    struct socket_wish wish = wanted->socket;
    char text[ENDPOINT_STRLEN];

    wish.share = share_with_current(current, wish.type, addr);
    if (!endpoint)
        return -1;
    endpoint->mptcp = wish.mptcp;
    if (socket_open(&wish, addr, workers, endpoint->fds) < 0) {
        bool harmless = is_missing_ipv6(wanted->listen, addr, errno);

        if (harmless)
            log_notice("not listening on %s: this host has no IPv6",
                       endpoint_print(endpoint, text));
        else
            log_failure(endpoint, file, wanted->listen->line);
        free(endpoint);
        return harmless ? 0 : -1;
    }
    endpoint->fresh = true;
    if (append(next, endpoint) < 0) {
        close_endpoint(endpoint);
        return -1;
    }
    return 0;
}

/* Goes on after an address that fails, so that every failure is logged. Returns -1 with the errno
 * of the first failure. */
static int plan_protocol(struct endpoints *next, const struct endpoints *current,
                         const struct wanted *wanted, const char *file, size_t workers)
{
    int error = 0;

    for (size_t i = 0; i < wanted->listen->count; i++) {
        const struct addr *addr = &wanted->listen->addr[i];
        struct endpoint *kept =
            find_endpoint(current, wanted->socket.type, wanted->socket.mptcp, addr);
        int status =
            kept ? append(next, kept) : open_endpoint(next, current, wanted, addr, file, workers);

        if (status < 0 && error == 0)
            error = errno;
    }
    errno = error;
    return error == 0 ? 0 : -1;
}

/* Returns 1 if the protocol has inherited sockets, else 0; -1 with errno. */
static int plan_inherited(struct endpoints *next, const struct endpoints *inherited, int type,
                          bool enabled)
{
    int any = 0;

    for (size_t i = 0; i < inherited->count; i++)
        if (inherited->list[i]->type == type) {
            any = 1;
            if (enabled && append(next, inherited->list[i]) < 0)
                return -1;
        }
    return any;
}

int endpoints_plan(struct endpoints *next, const struct endpoints *current,
                   const struct endpoints *inherited, const struct conf *conf, const char *file,
                   size_t workers)
{
    const struct wanted wanted[] = {
        {{.type = SOCK_STREAM,
          .backlog = (int)conf->tcp.backlog,
          .mptcp = conf->tcp.mptcp,
          .freebind = conf->freebind},
         &conf->tcp.listen},
        {{.type = SOCK_DGRAM, .freebind = conf->freebind}, &conf->udp.listen}};
    int error = 0;

    *next = (struct endpoints){0};
    for (size_t i = 0; i < COUNT(wanted); i++) {
        bool enabled = wanted[i].socket.type == SOCK_STREAM ? conf->tcp.enabled : conf->udp.enabled;
        int any = plan_inherited(next, inherited, wanted[i].socket.type, enabled);

        if (any == 0 && enabled)
            any = plan_protocol(next, current, &wanted[i], file, workers);
        if (any < 0 && error == 0)
            error = errno;
    }
    if (error == 0 && next->count == 0) {
        log_error("%s: there is no address that could be served", file);
        error = EADDRNOTAVAIL;
    }
    if (error == 0)
        return 0;
    endpoints_abandon(current, next);
    errno = error;
    return -1;
}

void endpoints_abandon(const struct endpoints *current, struct endpoints *next)
{
    int saved = errno;

    for (size_t i = 0; i < next->count; i++)
        if (next->list[i]->fresh)
            close_endpoint(next->list[i]);
    free(next->list);
    *next = (struct endpoints){0};
    stop_sharing(current);
    errno = saved;
}

/* A second listen(2) changes the backlog. */
static void set_backlog(const struct endpoint *endpoint, int backlog)
{
    for (size_t i = 0; i < endpoint->count; i++)
        listen(endpoint->fds[i], backlog);
}

void endpoints_commit(struct endpoints *current, struct endpoints *next, struct endpoints *retired,
                      int backlog)
{
    *retired = *current;
    retired->count = 0;
    for (size_t i = 0; i < current->count; i++)
        if (!endpoints_has(next, current->list[i]))
            retired->list[retired->count++] = current->list[i];
    *current = *next;
    *next = (struct endpoints){0};
    for (size_t i = 0; i < current->count; i++) {
        current->list[i]->fresh = false;
        if (current->list[i]->type == SOCK_STREAM && !current->list[i]->inherited)
            set_backlog(current->list[i], backlog);
    }
    stop_sharing(current);
}

int endpoints_chown(const struct endpoints *set, uid_t uid, gid_t gid)
{
    for (size_t i = 0; i < set->count; i++)
        for (size_t j = 0; j < set->list[i]->count; j++)
            if (!set->list[i]->inherited && socket_chown(set->list[i]->fds[j], uid, gid) < 0)
                return -1;
    return 0;
}

void endpoints_close(struct endpoints *set, bool also_inherited)
{
    for (size_t i = 0; i < set->count; i++)
        if (also_inherited || !set->list[i]->inherited)
            close_endpoint(set->list[i]);
    free(set->list);
    *set = (struct endpoints){0};
}
