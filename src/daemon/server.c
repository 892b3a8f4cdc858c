/* SPDX-License-Identifier: ISC */
#include "config.h"

#include "daemon/server.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/util.h"
#include "daemon/admission/connlimit.h"
#include "daemon/conf/compare.h"
#include "daemon/endpoints.h"
#include "daemon/os/privileges.h"
#include "daemon/os/sandbox.h"
#include "daemon/os/service_manager.h"
#include "daemon/service.h"
#include "daemon/stats/metrics.h"
#include "daemon/stats/refusals.h"
#include "daemon/stats/stats.h"
#include "daemon/worker.h"
#include "net/loop.h"
#include "net/signals.h"

#define DEFAULT_CONFIG SYSCONFDIR "/echod.conf"

/* How often the status for the service manager is refreshed and refusals are logged. */
#define STATUS_NS (2 * SECOND)

/* How often a drain checks which connections have got all of their echo. */
#define DRAIN_TICK_NS (SECOND / 100)

struct server {
    const struct server_options *options;
    struct conf *conf;
    struct service service;
    struct refusals refusals;
    struct metrics metrics;
    const struct stats **counters; /* of each worker, for the metrics */
    struct loop *loop;             /* worker 0's loop: everything here runs on worker 0's thread */
    struct signals signals;
    struct loop_timer status_timer;
    struct loop_timer watchdog_timer;
    struct loop_timer drain_timer;
    uint64_t watchdog_interval; /* nanoseconds; 0: no watchdog */
    uint64_t started;           /* when it became ready */
    uint64_t drain_deadline;    /* when connections that are left are closed; 0: not draining */
    uint64_t drain_until;       /* connections that began later are not waited for yet */
    bool restarting;            /* the next process will serve the sockets that are stored */
    bool refused_file;          /* the last reload found errors */
    bool sandboxed;
    struct sandbox sandbox; /* valid if sandboxed */
    char status[600 + SANDBOX_STRLEN];
};

/* ---- configuration ---- */

static const char *config_name(const struct server_options *options)
{
    return options->config ? options->config : DEFAULT_CONFIG;
}

static void log_report(void *context, const char *message)
{
    (void)context;
    log_error("%s", message);
}

/* Only the default file may be missing, and only at start; at a reload any file must exist. */
static struct conf *load_at_start(const struct server_options *options, parse_report *report)
{
    const char *file = config_name(options);

    if (!options->config && access(file, F_OK) < 0 && errno == ENOENT) {
        log_notice("%s does not exist; using the built-in defaults", file);
        file = NULL;
    }
    return conf_load(file, &options->overrides, report, NULL);
}

static void print_report(void *context, const char *message)
{
    (void)context;
    fprintf(stderr, "%s\n", message);
}

int server_test(const struct server_options *options)
{
    struct conf *conf = load_at_start(options, print_report);

    if (!conf)
        return EX_CONFIG;
    conf_free(conf);
    if (printf("%s: configuration OK\n", config_name(options)) >= 0 && fflush(stdout) == 0)
        return EXIT_SUCCESS;
    log_error("cannot write to standard output: %s", strerror(errno));
    return EXIT_FAILURE;
}

/* ---- status and counters ---- */

static const char *sandbox_text(const struct server *server, char buf[static SANDBOX_STRLEN])
{
    return sandbox_describe(server->sandboxed ? &server->sandbox : NULL, buf);
}

/* True if the status has changed. */
static bool refresh_status(struct server *server)
{
    struct stats_sum sum = service_sum(&server->service);
    char counters[512], sandbox[SANDBOX_STRLEN];
    char text[sizeof server->status];

    snprintf(text, sizeof text, "%s%s; sandbox: %s",
             server->refused_file ? "the last reload was refused, see the log; " : "",
             stats_status(&sum, counters, sizeof counters), sandbox_text(server, sandbox));
    if (strcmp(text, server->status) == 0)
        return false;
    strcpy(server->status, text);
    return true;
}

static void report_status(struct loop_timer *timer)
{
    struct server *server = container_of(timer, struct server, status_timer);
    struct stats_sum sum = service_sum(&server->service);

    if (refresh_status(server))
        service_manager_status(server->status);
    refusals_tell(&server->refusals, &sum, loop_now(server->loop));
    if (server->sandboxed)
        sandbox_log_refused(&server->sandbox);
    loop_timer_set(server->loop, timer, loop_now(server->loop) + STATUS_NS);
}

static void log_counters(const struct server *server)
{
    struct stats_sum sum = service_sum(&server->service);
    char text[2048];

    log_notice("%" PRIu64 " connections open; %s sandbox_refused_calls=%lu",
               stats_open_connections(&sum), stats_detail(&sum, text, sizeof text),
               sandbox_refused());
}

/* ---- metrics ---- */

static void collect_metrics(struct metrics *metrics, struct metrics_facts *facts)
{
    const struct server *server = container_of(metrics, struct server, metrics);

    *facts = (struct metrics_facts){
        .workers = server->counters,
        .worker_count = server->service.worker_count,
        .connections = connlimit_open(server->service.connlimit),
        .connection_limit = connlimit_total(server->service.connlimit),
        .descriptors = server->service.descriptors,
    };
}

/* Returns an exit status; 0: go on. The socket that only the unit asks for may fail. */
static int open_metrics(struct server *server)
{
    const char *path = server->conf->metrics.listen;
    struct service *service = &server->service;

    server->counters = calloc(service->worker_count, sizeof *server->counters);
    if (server->counters && metrics_open(&server->metrics, path) == 0) {
        for (size_t i = 0; i < service->worker_count; i++)
            server->counters[i] = worker_stats(service->workers[i]);
        if (metrics_start(&server->metrics, server->loop, collect_metrics) == 0)
            return 0;
    }
    if (!path[0]) {
        log_warning("cannot give metrics at %s: %s; going on without them",
                    metrics_path(&server->metrics), strerror(errno));
        return 0;
    }
    log_error("cannot give metrics at %s: %s (metrics { listen } in %s)", path, strerror(errno),
              config_name(server->options));
    return errno == EACCES ? EX_NOPERM : EX_CONFIG;
}

/* The socket goes to the account that we become, and to the group that may read it. `account` is
 * NULL if we stay who we are. Returns an exit status; 0: go on. */
static int chown_metrics(const struct server *server, const struct account *account)
{
    const char *group = server->conf->metrics.group;
    uid_t uid = account ? account->uid : (uid_t)-1;
    gid_t gid = account ? account->gid : (gid_t)-1;

    if ((!group[0] || privileges_find_group(group, &gid) == 0) &&
        metrics_chown(&server->metrics, uid, gid) == 0)
        return 0;
    log_error("cannot give %s to group %s: %s (metrics { group } in %s)",
              metrics_path(&server->metrics), group[0] ? group : "of the user",
              errno == ENOENT ? "no such group" : strerror(errno), config_name(server->options));
    return EX_NOPERM;
}

/* ---- watchdog ---- */

/* Runs in worker 0's loop, so a stuck worker 0 sends nothing; nor does a stuck other worker. */
static void feed_watchdog(struct loop_timer *timer)
{
    struct server *server = container_of(timer, struct server, watchdog_timer);
    uint64_t now = loop_now(server->loop);
    bool alive = true;

    for (size_t i = 1; i < server->service.worker_count; i++)
        if (now > worker_last_alive(server->service.workers[i]) + server->watchdog_interval / 2)
            alive = false;
    if (alive)
        service_manager_alive();
    loop_timer_set(server->loop, timer, now + server->watchdog_interval / 4);
}

static void start_watchdog(struct server *server)
{
    if (server->watchdog_interval == 0)
        return;
    for (size_t i = 0; i < server->service.worker_count; i++)
        worker_watch(server->service.workers[i], server->watchdog_interval / 4);
    loop_timer_set(server->loop, &server->watchdog_timer,
                   loop_now(server->loop) + server->watchdog_interval / 4);
}

/* ---- reload ---- */

struct changes {
    const struct endpoints *inherited;
    char now[1024];
    char restart[1024];
    char ignored[1024]; /* the service manager's sockets decide */
};

/* True if the key is of a protocol whose sockets the service manager has handed over. */
static bool is_ignored(const struct endpoints *inherited, const char *key)
{
    int type = strncmp(key, "tcp.", 4) == 0 ? SOCK_STREAM : SOCK_DGRAM;

    if (strcmp(key + 3, ".listen") != 0 && strcmp(key + 3, ".port") != 0)
        return false;
    for (size_t i = 0; i < inherited->count; i++)
        if (inherited->list[i]->type == type)
            return true;
    return false;
}

static void note_change(void *context, const char *key, const char *before, const char *after,
                        bool needs_restart)
{
    struct changes *changes = context;
    char *list = is_ignored(changes->inherited, key) ? changes->ignored
                 : needs_restart                     ? changes->restart
                                                     : changes->now;
    size_t used = strlen(list);

    snprintf(list + used, sizeof changes->now - used, "%s%s %s -> %s", used ? ", " : "", key,
             before, after);
}

/* Landlock knows the folders of the start, not those that have their names now. */
static void explain_refused_file(const struct server *server, const char *file)
{
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0)
        close(fd);
    else if (errno == EACCES && server->sandboxed && server->sandbox.landlock > 0)
        log_error("%s: if its permissions are right, its folder was replaced or a link leads "
                  "elsewhere since the start: the sandbox knows only the folders of the start; "
                  "restart echod",
                  file);
}

static void reload(struct server *server)
{
    const char *file = config_name(server->options);
    struct conf_overrides overrides = server->options->overrides;
    struct changes changes = {.inherited = &server->service.inherited};
    struct conf *conf;

    if (server->drain_deadline != 0) {
        log_notice("not reloading %s: stopping", file);
        return;
    }
    overrides.any_account = server->sandboxed;
    service_manager_reloading();
    conf = conf_load(file, &overrides, log_report, NULL);
    if (conf)
        conf_compare(server->conf, conf, note_change, &changes);
    /* The filter of system calls allows what was wanted at the start. */
    if (conf)
        conf->tcp.mptcp = server->conf->tcp.mptcp;
    else
        explain_refused_file(server, file);
    server->refused_file = !conf || service_apply(&server->service, conf, file) < 0;
    if (server->refused_file) {
        conf_free(conf);
        metrics_note_load(&server->metrics, false);
        log_error("%s was not reloaded: the configuration in force stays as it was", file);
    } else {
        conf_free(server->conf);
        server->conf = conf;
        metrics_note_load(&server->metrics, true);
        log_open(conf->log_target, conf->log_level);
        log_notice(
            "reloaded %s: %s%s%s%s%s", file, changes.now[0] ? changes.now : "nothing changed",
            changes.restart[0] ? "; needs a restart: " : "", changes.restart,
            changes.ignored[0] ? "; ignored, as the socket unit decides: " : "", changes.ignored);
    }
    refresh_status(server);
    service_manager_ready(server->status);
}

/* ---- stop ---- */

/* While connections that were open at the signal get the rest of their echo, everybody is served.
 * Then nobody new is let in, and those that came meanwhile get the rest of theirs. Returns how many
 * connections are waited for. */
static unsigned finish_connections(struct server *server)
{
    unsigned left = service_finish_connections(&server->service, server->drain_until);

    if (left > 0 || server->drain_until == UINT64_MAX)
        return left;
    server->drain_until = UINT64_MAX;
    service_withdraw(&server->service, server->restarting);
    return service_finish_connections(&server->service, server->drain_until);
}

static void end_service(struct server *server)
{
    service_withdraw(&server->service, server->restarting);
    service_stop(&server->service);
}

static void continue_drain(struct loop_timer *timer)
{
    struct server *server = container_of(timer, struct server, drain_timer);
    unsigned left = finish_connections(server);

    if (left > 0 && loop_now(server->loop) < server->drain_deadline) {
        loop_timer_set(server->loop, timer, loop_now(server->loop) + DRAIN_TICK_NS);
        return;
    }
    if (left > 0)
        log_warning("closing %u connections that did not read their echo within %u s "
                    "(drain-timeout)",
                    left, server->conf->drain_timeout);
    end_service(server);
}

static void stop_or_drain(struct server *server)
{
    unsigned left;

    if (server->drain_deadline != 0) {
        log_notice("told to stop again: closing %u connections",
                   connlimit_open(server->service.connlimit));
        end_service(server);
        return;
    }
    service_manager_stopping(server->conf->drain_timeout + 5);
    server->drain_until = clock_now();
    server->drain_deadline = loop_now(server->loop) + server->conf->drain_timeout * SECOND;
    left = finish_connections(server);
    if (left > 0)
        log_notice("stopping: %u connections have %u s to read their echo", left,
                   server->conf->drain_timeout);
    continue_drain(&server->drain_timer);
}

static void log_summary(const struct server *server)
{
    struct stats_sum sum = service_sum(&server->service);
    uint64_t seconds = (loop_now(server->loop) - server->started) / SECOND;
    char text[512];

    log_notice("stopped after %" PRIu64 "d %02u:%02u:%02u; %s", seconds / 86400,
               (unsigned)(seconds / 3600 % 24), (unsigned)(seconds / 60 % 60),
               (unsigned)(seconds % 60), stats_status(&sum, text, sizeof text));
}

/* ---- signals ---- */

static void take_signal(struct signals *signals, int number)
{
    struct server *server = container_of(signals, struct server, signals);

    switch (number) {
    case SIGHUP:
        reload(server);
        break;
    case SIGUSR1:
        log_counters(server);
        break;
    case SIGUSR2:
        server->restarting = true;
        break;
    default:
        stop_or_drain(server);
        break;
    }
}

/* The signals stay blocked until the process ends, so that none kills it while it cleans up.
 * SIGPIPE is ignored: a write to a closed pipe or socket fails with EPIPE instead. */
static int watch_signals(struct server *server)
{
    static const int numbers[] = {SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGUSR2};

    signal(SIGPIPE, SIG_IGN);
    return signals_init(&server->signals, server->loop, numbers, COUNT(numbers), take_signal);
}

/* ---- start ---- */

/* Returns how many descriptors the process may have. The sandbox does not let us ask again later.
 */
static rlim_t raise_descriptor_limit(void)
{
    struct rlimit limit = {0};

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    return limit.rlim_cur;
}

static size_t count_workers(const struct conf *conf)
{
    cpu_set_t usable;
    int count;

    if (conf->workers > 0)
        return conf->workers;
    /* Fails on a host with more CPUs than cpu_set_t holds (1024). */
    if (sched_getaffinity(0, sizeof usable, &usable) < 0)
        return 1;
    count = CPU_COUNT(&usable);
    return count > 0 ? (size_t)count : 1;
}

static int make_service(struct server *server)
{
    if (service_init(&server->service, count_workers(server->conf), raise_descriptor_limit()) < 0)
        return -1;
    server->loop = server->service.loop;
    loop_timer_init(server->loop, &server->status_timer, report_status);
    loop_timer_init(server->loop, &server->watchdog_timer, feed_watchdog);
    loop_timer_init(server->loop, &server->drain_timer, continue_drain);
    return watch_signals(server);
}

static int confine(const struct server *server)
{
    if (chown_metrics(server, NULL) != 0)
        return EX_NOPERM;
    if (privileges_confine() == 0)
        return 0;
    log_error("cannot give up privileges: %s", strerror(errno));
    return EX_NOPERM;
}

/* Returns an exit status; 0: go on. */
static int become_account(struct server *server, const char *user, const struct account *account)
{
    bool changes = !privileges_are(account);

    if (account->uid == 0)
        log_warning("running as root: `user` in %s names root", config_name(server->options));
    if (chown_metrics(server, changes ? account : NULL) != 0)
        return EX_NOPERM;
    if ((changes && endpoints_chown(&server->service.endpoints, account->uid, account->gid) < 0) ||
        privileges_drop(account) < 0) {
        log_error("cannot become user %s: %s%s", user, strerror(errno),
                  errno == EINVAL ? " (this user namespace has no such id)" : "");
        return EX_NOPERM;
    }
    return 0;
}

/* Returns an exit status; 0: go on. */
static int become_user(struct server *server)
{
    const struct conf *conf = server->conf;
    struct account account;
    const char *unknown;

    if (geteuid() != 0)
        return confine(server);
    if (privileges_find(conf->user, conf->group, &account, &unknown) == 0)
        return become_account(server, conf->user ? conf->user : unknown, &account);
    if (!conf->user && !conf->group && errno == ENOENT) {
        log_notice("running as root: there is no account echod or nobody here, and %s names no "
                   "`user`",
                   config_name(server->options));
        return confine(server);
    }
    log_error("cannot become user %s: %s: %s (user and group in %s)",
              conf->user ? conf->user : "echod or nobody", unknown,
              errno == ENOENT ? "no such account" : strerror(errno), config_name(server->options));
    return EX_NOPERM;
}

static int adopt_sockets(struct server *server)
{
    int first = 0;
    int count = service_manager_sockets(&first);

    if (count < 0) {
        log_error("LISTEN_FDS or LISTEN_PID is malformed: %s", strerror(errno));
        return -1;
    }
    return service_adopt(&server->service, first, count);
}

/* The exit status if the sockets cannot be opened. Whatever keeps an address from being bound may
 * pass, so that a later start succeeds; a permission does not come by itself. */
static int bind_status(int error)
{
    return error == EACCES ? EX_NOPERM : EXIT_FAILURE;
}

static int log_sandbox_failure(const struct server *server, const char *what)
{
    log_error("cannot enter the sandbox: %s: %s (without one: sandbox = false in %s)", what,
              strerror(errno), config_name(server->options));
    return EXIT_FAILURE;
}

/* Landlock holds for threads that are started after it, seccomp for the threads that exist. */
static int start_threads(struct server *server)
{
    server->sandboxed = server->conf->sandbox;
    server->sandbox.mptcp = server->conf->tcp.mptcp;
    if (server->sandboxed &&
        sandbox_restrict_access(&server->sandbox, config_name(server->options)) < 0)
        return log_sandbox_failure(server, "Landlock");
    for (size_t i = 1; i < server->service.worker_count; i++)
        if (worker_start(server->service.workers[i]) < 0) {
            log_error("cannot start a thread: %s", strerror(errno));
            return EXIT_FAILURE;
        }
    if (server->sandboxed && sandbox_restrict_calls(&server->sandbox) < 0)
        return log_sandbox_failure(server, "seccomp");
    if (!server->sandboxed || !server->sandbox.missing[0])
        return 0;
    if (server->conf->sandbox_required) {
        log_error("the sandbox is incomplete, and %s has sandbox-required = true: %s",
                  config_name(server->options), server->sandbox.missing);
        return EX_CONFIG;
    }
    log_notice("the sandbox is incomplete: %s", server->sandbox.missing);
    return 0;
}

static int start_up(struct server *server)
{
    int status;

    server->watchdog_interval = service_manager_watchdog_interval();
    if (make_service(server) < 0) {
        log_error("cannot start: %s", strerror(errno));
        return EXIT_FAILURE;
    }
    if (adopt_sockets(server) < 0)
        return EXIT_FAILURE;
    if (service_apply(&server->service, server->conf, config_name(server->options)) < 0)
        return bind_status(errno);
    status = open_metrics(server);
    if (status != 0)
        return status;
    status = become_user(server);
    return status != 0 ? status : start_threads(server);
}

static void serve_until_stopped(struct server *server)
{
    char text[1024], sandbox[SANDBOX_STRLEN];

    server->started = loop_now(server->loop);
    endpoints_describe(&server->service.endpoints, text, sizeof text);
    log_notice("echod %s ready: %s; %zu worker%s; sandbox: %s", PACKAGE_VERSION, text,
               server->service.worker_count, server->service.worker_count == 1 ? "" : "s",
               sandbox_text(server, sandbox));
    refresh_status(server);
    service_manager_ready(server->status);
    start_watchdog(server);
    loop_timer_set(server->loop, &server->status_timer, server->started + STATUS_NS);
    worker_run(server->service.workers[0]);
    log_summary(server);
}

static void clean_up(struct server *server)
{
    /* The signals stay blocked: none may kill the process now. */
    sigprocmask(SIG_BLOCK, NULL, &server->signals.old_mask);
    signals_fini(&server->signals);
    metrics_close(&server->metrics);
    service_fini(&server->service);
    free(server->counters);
    conf_free(server->conf);
}

int server_run(const struct server_options *options)
{
    struct server server = {.options = options};
    enum log_level level = options->overrides.log_level >= 0
                               ? (enum log_level)options->overrides.log_level
                               : LEVEL_INFO;
    int status = EX_CONFIG;

    /* Read /etc/localtime now: in the sandbox it cannot be read. */
    tzset();
    metrics_init(&server.metrics);
    service_manager_open();
    log_open(TARGET_AUTO, level);
    server.conf = load_at_start(options, log_report);
    if (server.conf) {
        log_open(server.conf->log_target, server.conf->log_level);
        status = start_up(&server);
        if (status == 0)
            serve_until_stopped(&server);
        clean_up(&server);
    }
    service_manager_close();
    log_close();
    return status;
}
