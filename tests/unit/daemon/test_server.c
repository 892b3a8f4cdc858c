/* SPDX-License-Identifier: ISC */
#include "daemon/server.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sysexits.h>

#include "daemon/endpoints.h"
#include "daemon/os/privileges.h"
#include "daemon/os/sandbox.h"
#include "daemon/os/service_manager.h"
#include "daemon/worker.h"
#include "net/loop.h"
#include "unit/unit.h"

/* The daemon runs in a child, as whoever runs the test: to become somebody else is faked, but in
 * the one test that is about it. */
static bool really_drop;
WRAP(int, privileges_drop, const struct account *identity)
{
    if (script_fails(&privileges_drop_script))
        return -1;
    return really_drop ? __real_privileges_drop(identity) : 0;
}

WRAP_FAILING(int, signalfd, -1, (int fd, const sigset_t *set, int flags), (fd, set, flags))
WRAP_FAILING(struct worker *, worker_new, NULL, (struct connlimit * admit), (admit))
WRAP_FAILING(int, worker_start, -1, (struct worker * worker), (worker))
WRAP_FAILING(int, worker_add_socket, -1,
             (struct worker * worker, int type, int fd, bool first, unsigned sharing_workers),
             (worker, type, fd, first, sharing_workers))
WRAP_FAILING(struct connlimit *, connlimit_new, NULL, (void), ())
WRAP_FAILING(int, endpoints_chown, -1, (const struct endpoints *set, uid_t uid, gid_t gid),
             (set, uid, gid))
WRAP_FAILING(int, access, -1, (const char *path, int mode), (path, mode))
WRAP_FAILING(int, sched_getaffinity, -1, (pid_t pid, size_t size, cpu_set_t *set), (pid, size, set))

/* What the wrappers do is more than the sandbox lets the daemon do: it is faked. */
WRAP(int, sandbox_restrict_access, struct sandbox *sandbox, const char *config)
{
    assert_non_null(config);
    *sandbox = (struct sandbox){.landlock = 5};
    return script_fails(&sandbox_restrict_access_script) ? -1 : 0;
}

WRAP(int, sandbox_restrict_calls, struct sandbox *sandbox)
{
    sandbox->calls = 3;
    return script_fails(&sandbox_restrict_calls_script) ? -1 : 0;
}

/* RLIMIT_NOFILE; 0: the real one. */
static rlim_t descriptors;
int __real_getrlimit(int resource, struct rlimit *limit);
int __wrap_getrlimit(int resource, struct rlimit *limit);
int __wrap_getrlimit(int resource, struct rlimit *limit)
{
    if (descriptors == 0 || resource != RLIMIT_NOFILE)
        return __real_getrlimit(resource, limit);
    *limit = (struct rlimit){.rlim_cur = descriptors, .rlim_max = descriptors};
    return 0;
}

/* The ports that configurations name, from this one on, stand for ports of the kernel's choice:
 * known to parent and child. */
#define FIRST_PORT 7001
#define PORTS      4
struct shared {
    _Atomic uint16_t tcp[PORTS];
    _Atomic uint16_t udp[PORTS];
};
static struct shared *shared;

static int type_of(int fd)
{
    int type = 0;
    socklen_t len = sizeof type;

    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len);
    return type;
}

static _Atomic uint16_t *port_for(int type, uint16_t port)
{
    return type == SOCK_STREAM ? &shared->tcp[port - FIRST_PORT] : &shared->udp[port - FIRST_PORT];
}

WRAP(int, bind, int fd, const struct sockaddr *addr, socklen_t len)
{
    struct addr copy = {.len = len};
    _Atomic uint16_t *port;

    memcpy(&copy.sa, addr, len);
    if (addr_port(&copy) < FIRST_PORT || addr_port(&copy) >= FIRST_PORT + PORTS)
        return __real_bind(fd, addr, len);
    if (script_fails(&bind_script))
        return -1;
    port = port_for(type_of(fd), addr_port(&copy));
    addr_set_port(&copy, *port);
    if (__real_bind(fd, &copy.sa, len) < 0)
        return -1;
    copy.len = sizeof copy.in6;
    getsockname(fd, &copy.sa, &copy.len);
    *port = addr_port(&copy);
    return 0;
}

/* ---- the daemon in a child ---- */

struct daemon {
    pid_t pid;
    int log; /* its standard error */
    size_t used;
    char text[16384];
    char config[64];
    struct server_options options;
    int inherit; /* descriptors from 3 on that it is told to serve; -1: a malformed number */
};

static struct daemon d;

static void write_config(const char *text)
{
    FILE *file = fopen(d.config, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static const char basic[] = "user = \"nobody\"\n"
                            "workers = 1\n"
                            "tcp { listen = { \"127.0.0.1:7001\" } }\n"
                            "udp { listen = { \"127.0.0.1:7001\" } }\n";

static struct script *const scripts[] = {&privileges_drop_script,
                                         &signalfd_script,
                                         &worker_new_script,
                                         &worker_start_script,
                                         &worker_add_socket_script,
                                         &connlimit_new_script,
                                         &endpoints_chown_script,
                                         &access_script,
                                         &sched_getaffinity_script,
                                         &bind_script,
                                         &sandbox_restrict_access_script,
                                         &sandbox_restrict_calls_script};

static int set_up(void **state)
{
    int fd;

    (void)state;
    for (size_t i = 0; i < COUNT(scripts); i++)
        script_clear(scripts[i]);
    really_drop = false;
    descriptors = 0;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(shared, MAP_FAILED);
    memset(&d, 0, sizeof d);
    d.log = -1;
    strcpy(d.config, "/tmp/echod-test-XXXXXX");
    fd = mkstemp(d.config);
    assert_true(fd >= 0);
    fchmod(fd, 0644);
    close(fd);
    d.options = (struct server_options){.config = d.config, .overrides = {.log_level = -1}};
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("JOURNAL_STREAM");
    write_config(basic);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    if (d.pid > 0) {
        kill(d.pid, SIGKILL);
        waitpid(d.pid, NULL, 0);
    }
    if (d.log >= 0)
        close(d.log);
    unlink(d.config);
    munmap(shared, sizeof *shared);
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    return 0;
}

static void tell_of_inherited(void)
{
    char text[24];

    if (d.inherit == 0)
        return;
    snprintf(text, sizeof text, "%ld", (long)getpid());
    setenv("LISTEN_PID", text, 1);
    snprintf(text, sizeof text, "%d", d.inherit);
    setenv("LISTEN_FDS", text, 1);
}

static void launch(int (*run)(const struct server_options *))
{
    int fds[2];

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    fflush(NULL);
    d.pid = fork();
    assert_true(d.pid >= 0);
    if (d.pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        dup2(fds[1], STDERR_FILENO);
        tell_of_inherited();
        exit(run(&d.options));
    }
    close(fds[1]);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    d.log = fds[0];
}

static bool has_said(const char *text)
{
    ssize_t n = read(d.log, d.text + d.used, sizeof d.text - 1 - d.used);

    d.used += n > 0 ? (size_t)n : 0;
    d.text[d.used] = '\0';
    return strstr(d.text, text) != NULL;
}

static bool has_ended(int *status)
{
    return waitpid(d.pid, status, WNOHANG) == d.pid;
}

/* Show what it said where it did not say what it should. */
static void expect(const char *text)
{
    for (int i = 0; i < PATIENCE_MS && !has_said(text); i++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (!has_said(text))
        fail_msg("no '%s' in:\n%s", text, d.text);
}

static void expect_end(int expected)
{
    int status = -1;

    WAIT_UNTIL(has_ended(&status));
    d.pid = 0;
    has_said("");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != expected)
        fail_msg("ended with %#x instead of %d:\n%s", (unsigned)status, expected, d.text);
}

static void start(void)
{
    launch(server_run);
    expect(" ready: ");
}

static void stop(void)
{
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    expect_end(0);
}

static void reload(const char *config, const char *expected)
{
    write_config(config);
    d.used = 0;
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    expect(expected);
}

static int client_of(int type, uint16_t port)
{
    struct addr server = address("127.0.0.1", *port_for(type, port));
    int client = bound_socket(type, "127.0.0.1");

    assert_true(client >= 0);
    assert_int_equal(connect(client, &server.sa, server.len), 0);
    return client;
}

static void assert_echoes(int client)
{
    char back[5] = "";

    assert_int_equal(write(client, "hello", 5), 5);
    assert_true(readable(client, PATIENCE_MS));
    assert_int_equal(read(client, back, 5), 5);
    assert_memory_equal(back, "hello", 5);
}

static void assert_port_echoes(uint16_t port)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM};

    for (size_t i = 0; i < COUNT(types); i++) {
        int client = client_of(types[i], port);

        assert_echoes(client);
        close(client);
    }
}

/* ---- start and stop ---- */

static void it_echoes_until_it_is_told_to_stop(void **state)
{
    (void)state;
    start();
    expect("tcp 127.0.0.1:7001; udp 127.0.0.1:7001; 1 worker; sandbox: ");
    assert_port_echoes(7001);
    stop();
    expect("stopped after 0d 00:00:0");
    expect("TCP 1 connections, 1 echoes, 5 octets; UDP 1 echoes, 5 octets; 0 refused");
}

static void each_worker_echoes(void **state)
{
    (void)state;
    write_config("workers = 3\n"
                 "tcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { listen = { \"127.0.0.1:7001\" } }\n");
    start();
    expect("3 workers");
    for (int i = 0; i < 20; i++)
        assert_port_echoes(7001);
    stop();
}

static void there_is_a_worker_for_each_cpu_or_one_at_least(void **state)
{
    cpu_set_t usable;
    char expected[32];

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof usable, &usable), 0);
    write_config("tcp { listen = { \"127.0.0.1:7001\" } }\nudp { enabled = false }\n");
    start();
    snprintf(expected, sizeof expected, "; %d worker", CPU_COUNT(&usable));
    expect(expected);
    stop();
    close(d.log);
    d.used = 0;
    SCRIPT(sched_getaffinity_script, -EINVAL);
    start();
    expect("; 1 worker; ");
    stop();
}

static void counters_are_logged_on_request(void **state)
{
    (void)state;
    start();
    assert_port_echoes(7001);
    assert_int_equal(kill(d.pid, SIGUSR1), 0);
    expect("tcp_accepted=1 ");
    expect(" udp_echoes=1 ");
    stop();
}

static void connections_may_finish_after_the_stop(void **state)
{
    int client;

    (void)state;
    start();
    client = client_of(SOCK_STREAM, 7001);
    assert_echoes(client);
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    expect("stopping: 1 connections have 30 s to end");
    assert_echoes(client);
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    expect("not reloading");
    assert_echoes(client);
    close(client);
    expect_end(0);
}

static void a_second_signal_stops_it_at_once(void **state)
{
    int client;
    char octet;

    (void)state;
    start();
    client = client_of(SOCK_STREAM, 7001);
    assert_echoes(client);
    assert_int_equal(kill(d.pid, SIGINT), 0);
    expect("stopping: 1 connections");
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    expect("told to stop again: closing 1 connections");
    expect_end(0);
    assert_int_equal(read(client, &octet, 1), 0);
    close(client);
}

static void connections_that_do_not_end_in_time_are_closed(void **state)
{
    int client;
    char octet;

    (void)state;
    write_config("drain-timeout = 0\ntcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { enabled = false }\n");
    start();
    client = client_of(SOCK_STREAM, 7001);
    assert_echoes(client);
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    expect("closing 1 connections that did not end within 0 s (drain-timeout)");
    expect_end(0);
    assert_int_equal(read(client, &octet, 1), 0);
    close(client);
}

/* ---- reload ---- */

static unsigned descriptors_of_daemon(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 64; fd++) {
        char path[64];
        char target[8];

        snprintf(path, sizeof path, "/proc/%ld/fd/%d", (long)d.pid, fd);
        n += readlink(path, target, sizeof target) > 0;
    }
    return n;
}

static bool is_refused(int client)
{
    return send(client, "x", 1, 0) < 0 && errno == ECONNREFUSED;
}

static void a_reload_swaps_sockets_and_keeps_connections(void **state)
{
    unsigned open;
    int client;
    int datagram;

    (void)state;
    start();
    client = client_of(SOCK_STREAM, 7001);
    datagram = client_of(SOCK_DGRAM, 7001);
    assert_echoes(client);
    open = descriptors_of_daemon();
    reload("user = \"nobody\"\nworkers = 1\n"
           "tcp { listen = { \"127.0.0.1:7001\", \"127.0.0.1:7002\" } }\n"
           "udp { listen = { \"127.0.0.1:7002\" } }\n",
           "reloaded ");
    assert_port_echoes(7002);
    assert_echoes(client);
    WAIT_UNTIL(is_refused(datagram));
    /* One more listener; what was retired is closed after a moment. */
    WAIT_UNTIL(descriptors_of_daemon() == open + 1);
    reload(basic, "reloaded ");
    assert_port_echoes(7001);
    assert_echoes(client);
    /* Again, while the last one is still being served out. */
    reload("user = \"nobody\"\nworkers = 1\n"
           "tcp { listen = { \"127.0.0.1:7002\" } }\n"
           "udp { listen = { \"127.0.0.1:7002\" } }\n",
           "reloaded ");
    assert_port_echoes(7002);
    assert_echoes(client);
    close(client);
    close(datagram);
    stop();
}

static void a_reload_tells_what_changed(void **state)
{
    (void)state;
    start();
    reload(basic, "nothing changed");
    reload("user = \"nobody\"\nworkers = 2\ndrain-timeout = 7\n"
           "tcp { listen = { \"127.0.0.1:7001\" } }\n"
           "udp { listen = { \"127.0.0.1:7001\" } }\n",
           "drain-timeout 30 -> 7");
    expect("needs a restart: workers 1 -> 2");
    stop();
}

static void a_broken_file_leaves_everything_as_it_was(void **state)
{
    int client;

    (void)state;
    start();
    client = client_of(SOCK_STREAM, 7001);
    assert_echoes(client);
    reload("tcp { listen = { \"127.0.0.1:7002\" }\nnonsense = 1\n", "was not reloaded");
    assert_port_echoes(7001);
    assert_echoes(client);
    assert_int_equal(shared->tcp[1], 0);
    assert_int_equal(unlink(d.config), 0);
    d.used = 0;
    assert_int_equal(kill(d.pid, SIGHUP), 0);
    expect("was not reloaded");
    assert_port_echoes(7001);
    close(client);
    stop();
}

static void a_port_that_is_taken_leaves_everything_as_it_was(void **state)
{
    int taken = bound_socket(SOCK_STREAM, "127.0.0.1");
    struct addr addr = local_address(taken);
    char expected[128];

    (void)state;
    assert_int_equal(listen(taken, 1), 0);
    shared->tcp[1] = addr_port(&addr);
    start();
    snprintf(expected, sizeof expected, "%s:2: cannot listen on tcp 127.0.0.1:7002", d.config);
    reload("user = \"nobody\"\n"
           "tcp { listen = { \"127.0.0.1:7001\", \"127.0.0.1:7002\" } }\n"
           "udp { enabled = false }\n",
           expected);
    expect("was not reloaded");
    assert_port_echoes(7001);
    close(taken);
    stop();
}

static void a_socket_that_no_worker_takes_leaves_everything_as_it_was(void **state)
{
    (void)state;
    /* Two at the start, one at the reload. */
    SCRIPT(worker_add_socket_script, PASS, PASS, PASS, -ENOMEM);
    start();
    reload("user = \"nobody\"\nworkers = 1\n"
           "tcp { listen = { \"127.0.0.1:7002\" } }\n"
           "udp { listen = { \"127.0.0.1:7002\" } }\n",
           "cannot serve a new socket");
    expect("was not reloaded");
    assert_port_echoes(7001);
    reload("user = \"nobody\"\nworkers = 1\n"
           "tcp { listen = { \"127.0.0.1:7002\" } }\n"
           "udp { listen = { \"127.0.0.1:7002\" } }\n",
           "reloaded ");
    assert_port_echoes(7002);
    stop();
}

static void a_new_limit_takes_effect(void **state)
{
    int first;
    int second;

    (void)state;
    start();
    first = client_of(SOCK_STREAM, 7001);
    assert_echoes(first);
    reload("user = \"nobody\"\nworkers = 1\n"
           "tcp { listen = { \"127.0.0.1:7001\" } max-connections-per-source = 1 }\n"
           "udp { listen = { \"127.0.0.1:7001\" } }\n",
           "max-connections-per-source 0 -> 1");
    second = client_of(SOCK_STREAM, 7001);
    expect("refused 127.0.0.1");
    assert_echoes(first);
    close(first);
    close(second);
    stop();
}

/* ---- what stops it from starting ---- */

static void expect_failure(int status, const char *text)
{
    launch(server_run);
    expect_end(status);
    if (!has_said(text))
        fail_msg("no '%s' in:\n%s", text, d.text);
    close(d.log);
    d.log = -1;
    d.used = 0;
}

static void a_wrong_configuration_is_exit_78(void **state)
{
    char expected[128];

    (void)state;
    write_config("nonsense = 1\n");
    snprintf(expected, sizeof expected, "%s:1: ", d.config);
    expect_failure(EX_CONFIG, expected);
    assert_int_equal(unlink(d.config), 0);
    expect_failure(EX_CONFIG, d.config);
}

static void want_of_permission_is_exit_77(void **state)
{
    (void)state;
    SCRIPT(bind_script, -EACCES);
    expect_failure(EX_NOPERM, "cannot listen on tcp 127.0.0.1:7001");
}

static void an_address_that_is_named_and_taken_is_exit_78(void **state)
{
    (void)state;
    SCRIPT(bind_script, -EADDRINUSE);
    expect_failure(EX_CONFIG, "another program has it");
}

static void whatever_else_fails_is_exit_1_and_says_why(void **state)
{
    struct {
        struct script *script;
        unsigned passes;
        int error;
        const char *text;
    } cases[] = {{&signalfd_script, 0, EMFILE, "cannot start: "},
                 {&connlimit_new_script, 0, ENOMEM, "cannot start: "},
                 {&worker_new_script, 0, ENOMEM, "cannot start: "},
                 {&worker_new_script, 1, EMFILE, "cannot start: "},
                 {&worker_add_socket_script, 0, ENOMEM, "cannot serve a new socket: "},
                 {&worker_add_socket_script, 3, ENOSPC, "cannot serve a new socket: "},
                 {&worker_start_script, 0, EAGAIN, "cannot start a thread: "},
                 {&worker_start_script, 1, EAGAIN, "cannot start a thread: "}};

    (void)state;
    write_config("workers = 3\ntcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { listen = { \"127.0.0.1:7001\" } }\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        char expected[128];

        snprintf(expected, sizeof expected, "%s%s", cases[i].text, strerror(cases[i].error));
        script_fail_after(cases[i].script, cases[i].passes, cases[i].error);
        expect_failure(EXIT_FAILURE, expected);
        script_clear(cases[i].script);
    }
}

static void need_root(void)
{
    if (geteuid() != 0)
        skip_because("only root can become somebody else");
}

static void an_account_that_cannot_be_had_is_exit_77(void **state)
{
    (void)state;
    need_root();
    SCRIPT(privileges_drop_script, -EPERM);
    expect_failure(EX_NOPERM, "cannot become user nobody: ");
    SCRIPT(privileges_drop_script, PASS);
    SCRIPT(endpoints_chown_script, -EPERM);
    expect_failure(EX_NOPERM, "cannot become user nobody: ");
    script_clear(&endpoints_chown_script);
    write_config("user = \"no-such-user\"\ntcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { enabled = false }\n");
    launch(server_run);
    WAIT_UNTIL(has_said("no-such-user"));
}

static void it_becomes_the_user_and_still_reloads(void **state)
{
    char path[64];
    char line[256];
    FILE *file;
    bool nobody = false;

    (void)state;
    need_root();
    really_drop = true;
    start();
    snprintf(path, sizeof path, "/proc/%ld/status", (long)d.pid);
    file = fopen(path, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        nobody |= strcmp(line, "Uid:\t65534\t65534\t65534\t65534\n") == 0;
    fclose(file);
    assert_true(nobody);
    reload("user = \"nobody\"\nworkers = 1\n"
           "tcp { listen = { \"127.0.0.1:7001\", \"127.0.0.1:7002\" } }\n"
           "udp { listen = { \"127.0.0.1:7001\", \"127.0.0.1:7002\" } }\n",
           "reloaded ");
    assert_port_echoes(7001);
    assert_port_echoes(7002);
    stop();
}

static void staying_root_is_worth_a_warning(void **state)
{
    (void)state;
    need_root();
    write_config("user = \"root\"\ntcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { listen = { \"127.0.0.1:7001\" } }\n");
    start();
    expect("running as root");
    stop();
}

/* ---- sandbox ---- */

static void a_sandbox_that_cannot_be_entered_is_fatal(void **state)
{
    (void)state;
    SCRIPT(sandbox_restrict_access_script, -EIO);
    expect_failure(EXIT_FAILURE,
                   "cannot enter the sandbox: Landlock: Input/output error (without one: "
                   "sandbox = false in /tmp/");
    script_clear(&sandbox_restrict_access_script);
    SCRIPT(sandbox_restrict_calls_script, -EINVAL);
    expect_failure(EXIT_FAILURE,
                   "cannot enter the sandbox: seccomp: Invalid argument (without one: "
                   "sandbox = false in /tmp/");
}

static void without_one_none_is_entered(void **state)
{
    char config[sizeof basic + 32];

    (void)state;
    SCRIPT(sandbox_restrict_access_script, -EIO);
    SCRIPT(sandbox_restrict_calls_script, -EIO);
    snprintf(config, sizeof config, "sandbox = false\n%s", basic);
    write_config(config);
    start();
    expect("sandbox: none\n");
    reload(basic, "needs a restart: sandbox false -> true");
    assert_port_echoes(7001);
    stop();
}

/* ---- options ---- */

static void the_default_file_may_be_missing(void **state)
{
    (void)state;
    d.options.config = NULL;
    d.options.overrides.port = 7001;
    SCRIPT(access_script, -ENOENT);
    start();
    expect("does not exist; using the built-in defaults");
    assert_port_echoes(7001);
    stop();
}

static void the_log_level_is_overridden(void **state)
{
    int client;

    (void)state;
    d.options.overrides.log_level = LEVEL_DEBUG;
    start();
    client = client_of(SOCK_STREAM, 7001);
    expect("from 127.0.0.1:");
    close(client);
    stop();
}

static void more_connections_than_descriptors_is_worth_a_warning(void **state)
{
    (void)state;
    descriptors = 256;
    write_config("workers = 1\n"
                 "tcp { listen = { \"127.0.0.1:7001\" } max-connections = 1000 }\n"
                 "udp { enabled = false }\n");
    start();
    expect("max-connections is 1000, but RLIMIT_NOFILE leaves room for 219");
    stop();
}

static void connections_are_limited(void **state)
{
    int first;
    int second;

    (void)state;
    write_config("tcp { listen = { \"127.0.0.1:7001\" } max-connections = 1 }\n"
                 "udp { enabled = false }\n");
    start();
    first = client_of(SOCK_STREAM, 7001);
    assert_echoes(first);
    second = client_of(SOCK_STREAM, 7001);
    expect("all 1 connections are taken");
    close(first);
    assert_echoes(second);
    close(second);
    stop();
}

static void a_configuration_can_be_tested(void **state)
{
    char expected[128];

    (void)state;
    snprintf(expected, sizeof expected, "%s: configuration OK\n", d.config);
    launch(server_test);
    expect_end(0);
    assert_string_equal(d.text, expected);
    close(d.log);
    d.used = 0;
    write_config("workers = 1\nnonsense = 1\nudp { nonsense = 2 }\n");
    launch(server_test);
    expect_end(EX_CONFIG);
    snprintf(expected, sizeof expected, "%s:2: ", d.config);
    assert_memory_equal(d.text, expected, strlen(expected));
}

/* ---- the service manager ---- */

static int manager;

/* The stub of a build without it tells by never listening to anybody. */
static void need_systemd(void)
{
    bool there;

    assert_int_equal(setenv("NOTIFY_SOCKET", "@echod-unit", 1), 0);
    service_manager_open();
    there = service_manager_enabled();
    unsetenv("NOTIFY_SOCKET");
    service_manager_open();
    if (!there)
        skip_because("built without systemd");
}

static void become_manager(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    socklen_t len = sizeof(sa_family_t);
    char text[sizeof name.sun_path + 1];

    need_systemd();
    manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(manager, (struct sockaddr *)&name, len), 0);
    len = sizeof name;
    assert_int_equal(getsockname(manager, (struct sockaddr *)&name, &len), 0);
    len -= (socklen_t)offsetof(struct sockaddr_un, sun_path) + 1;
    snprintf(text, sizeof text, "@%.*s", (int)len, name.sun_path + 1);
    assert_int_equal(setenv("NOTIFY_SOCKET", text, 1), 0);
}

/* Read what it is told until that comes. */
static void expect_told(const char *begin)
{
    char text[512];
    ssize_t n;

    do {
        assert_true(readable(manager, PATIENCE_MS));
        n = recv(manager, text, sizeof text - 1, 0);
        assert_true(n >= 0);
        text[n] = '\0';
    } while (strncmp(text, begin, strlen(begin)) != 0);
}

static void the_manager_is_told_of_every_step(void **state)
{
    (void)state;
    become_manager();
    start();
    expect_told("READY=1\nSTATUS=0 connections open; ");
    assert_port_echoes(7001);
    expect_told("STATUS=");
    reload(basic, "reloaded ");
    expect_told("RELOADING=1\nMONOTONIC_USEC=");
    expect_told("READY=1\nSTATUS=");
    reload("nonsense = 1\n", "was not reloaded");
    expect_told("RELOADING=1\n");
    expect_told("READY=1\nSTATUS=");
    assert_int_equal(kill(d.pid, SIGTERM), 0);
    expect_told("STOPPING=1");
    expect_end(0);
    close(manager);
}

static void the_watchdog_is_fed(void **state)
{
    (void)state;
    become_manager();
    setenv("WATCHDOG_USEC", "100000", 1);
    write_config("workers = 2\ntcp { listen = { \"127.0.0.1:7001\" } }\n"
                 "udp { listen = { \"127.0.0.1:7001\" } }\n");
    start();
    for (int i = 0; i < 4; i++)
        expect_told("WATCHDOG=1");
    stop();
    close(manager);
}

/* Ask for the counters, and look whether they have come to say that. */
static bool counts(const char *text)
{
    assert_int_equal(kill(d.pid, SIGUSR1), 0);
    if (d.used > sizeof d.text / 2)
        d.used = 0;
    return has_said(text);
}

static void sockets_handed_over_are_served_and_survive_reloads(void **state)
{
    int tcp = bound_socket(SOCK_STREAM, "127.0.0.1");
    int udp = bound_socket(SOCK_DGRAM, "127.0.0.1");
    struct addr tcp_addr = local_address(tcp);
    struct addr udp_addr = local_address(udp);
    int saved[2] = {fcntl(3, F_DUPFD_CLOEXEC, 100), fcntl(4, F_DUPFD_CLOEXEC, 100)};
    int high[2] = {fcntl(tcp, F_DUPFD_CLOEXEC, 100), fcntl(udp, F_DUPFD_CLOEXEC, 100)};

    (void)state;
    need_systemd();
    assert_int_equal(listen(tcp, 16), 0);
    close(tcp);
    close(udp);
    dup2(high[0], 3);
    dup2(high[1], 4);
    d.inherit = 2;
    shared->tcp[0] = addr_port(&tcp_addr);
    shared->udp[0] = addr_port(&udp_addr);
    start();
    expect("(inherited)");
    assert_port_echoes(7001);
    reload("user = \"nobody\"\ntcp { enabled = false }\n", "reloaded ");
    assert_echoes(client_of(SOCK_DGRAM, 7001));
    reload("user = \"nobody\"\n", "reloaded ");
    assert_port_echoes(7001);
    /* From the very socket that is served: a loop that must not begin. */
    assert_int_equal(sendto(high[1], "x", 1, 0, &udp_addr.sa, udp_addr.len), 1);
    WAIT_UNTIL(counts("udp_refused_port=1 "));
    stop();
    for (int i = 0; i < 2; i++) {
        close(high[i]);
        if (saved[i] >= 0) {
            dup2(saved[i], 3 + i);
            close(saved[i]);
        } else {
            close(3 + i);
        }
    }
}

static void a_malformed_hand_over_is_exit_1(void **state)
{
    (void)state;
    need_systemd();
    d.inherit = -1;
    expect_failure(EXIT_FAILURE, "LISTEN_FDS or LISTEN_PID is malformed");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_echoes_until_it_is_told_to_stop),
        TEST(each_worker_echoes),
        TEST(there_is_a_worker_for_each_cpu_or_one_at_least),
        TEST(counters_are_logged_on_request),
        TEST(connections_may_finish_after_the_stop),
        TEST(a_second_signal_stops_it_at_once),
        TEST(connections_that_do_not_end_in_time_are_closed),
        TEST(a_reload_swaps_sockets_and_keeps_connections),
        TEST(a_reload_tells_what_changed),
        TEST(a_broken_file_leaves_everything_as_it_was),
        TEST(a_port_that_is_taken_leaves_everything_as_it_was),
        TEST(a_socket_that_no_worker_takes_leaves_everything_as_it_was),
        TEST(a_new_limit_takes_effect),
        TEST(a_wrong_configuration_is_exit_78),
        TEST(want_of_permission_is_exit_77),
        TEST(an_address_that_is_named_and_taken_is_exit_78),
        TEST(whatever_else_fails_is_exit_1_and_says_why),
        TEST(an_account_that_cannot_be_had_is_exit_77),
        TEST(it_becomes_the_user_and_still_reloads),
        TEST(staying_root_is_worth_a_warning),
        TEST(a_sandbox_that_cannot_be_entered_is_fatal),
        TEST(without_one_none_is_entered),
        TEST(the_default_file_may_be_missing),
        TEST(the_log_level_is_overridden),
        TEST(more_connections_than_descriptors_is_worth_a_warning),
        TEST(connections_are_limited),
        TEST(a_configuration_can_be_tested),
        TEST(the_manager_is_told_of_every_step),
        TEST(the_watchdog_is_fed),
        TEST(sockets_handed_over_are_served_and_survive_reloads),
        TEST(a_malformed_hand_over_is_exit_1),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
