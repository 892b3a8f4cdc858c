/* SPDX-License-Identifier: ISC */

/* usage: escapes unit|box [bind] [connect]
 *
 * Tries what an attacker would try who has taken over the daemon: in the restrictions of the unit
 * that this process runs under (unit), or in the daemon's own sandbox (box), which each attempt
 * enters first. Attempts to bind a port, or to connect, may succeed if the arguments say so. Exit
 * status: 0 no other attempt succeeded, 1 some did, 2 usage, 3 there is no sandbox. */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/util.h"
#include "daemon/os/privileges.h"
#include "daemon/os/sandbox.h"

/* What the headers of an older system, or of this architecture, do not have: no call has this
 * number, so the kernel refuses it. */
#define NO_CALL (-1)
#ifndef SYS_clone3
#define SYS_clone3 NO_CALL
#endif
#ifndef SYS_fsopen
#define SYS_fsopen NO_CALL
#endif
#ifndef SYS_io_uring_setup
#define SYS_io_uring_setup NO_CALL
#endif
#ifndef SYS_kexec_load
#define SYS_kexec_load NO_CALL
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret NO_CALL
#endif
#ifndef SYS_msgget
#define SYS_msgget NO_CALL
#endif
#ifndef SYS_open_tree
#define SYS_open_tree NO_CALL
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd NO_CALL
#endif
#ifndef SYS_pidfd_open
#define SYS_pidfd_open NO_CALL
#endif
#ifndef SYS_shmget
#define SYS_shmget NO_CALL
#endif
#ifndef AF_XDP
#define AF_XDP 44
#endif
#ifndef AF_VSOCK
#define AF_VSOCK 40
#endif
#ifndef AF_ALG
#define AF_ALG 38
#endif

/* The exit status of an attempt that succeeded, and of a program that it started. */
#define THROUGH    42
#define NO_SANDBOX 3
#define GO_ON      "--through"

/* ---- what counts as success ---- */

/* The arguments are harmless and invalid. The kernel looked at them unless it refused the call. */
static bool reached(long result)
{
    static const int held[] = {EPERM,           EACCES,          EROFS,      ENOSYS, EAFNOSUPPORT,
                               ESOCKTNOSUPPORT, EPROTONOSUPPORT, EOPNOTSUPP, ENODEV};

    for (size_t i = 0; result < 0 && i < COUNT(held); i++)
        if (errno == held[i])
            return false;
    return true;
}

/* A file that does not exist counts as refused: it may be hidden. */
static bool opens(const char *path, int flags)
{
    return open(path, flags | O_CLOEXEC, 0600) >= 0;
}

static bool lists(const char *path)
{
    DIR *folder = opendir(path);
    const struct dirent *entry;

    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            return true;
    return false;
}

static bool opens_socket(int family, int type, int protocol)
{
    return socket(family, type | SOCK_CLOEXEC, protocol) >= 0;
}

static bool reaches_service(const char *path)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    strncpy(addr.sun_path, path, sizeof addr.sun_path - 1);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&addr, sizeof addr) == 0;
}

static bool inet(int type, uint16_t port, int (*call)(int, const struct sockaddr *, socklen_t))
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    return fd >= 0 && (call(fd, (const struct sockaddr *)&addr, sizeof addr) == 0 ||
                       errno == ECONNREFUSED || errno == EADDRINUSE);
}

#define TRY(name, expression)                                                                      \
    static bool name(void)                                                                         \
    {                                                                                              \
        return expression;                                                                         \
    }

/* ---- files ---- */

TRY(read_passwd, opens("/etc/passwd", O_RDONLY))
TRY(read_shadow, opens("/etc/shadow", O_RDONLY))
TRY(write_passwd, opens("/etc/passwd", O_WRONLY | O_APPEND))
TRY(create_in_etc, opens("/etc/echod-escape", O_WRONLY | O_CREAT))
TRY(create_in_usr, opens("/usr/echod-escape", O_WRONLY | O_CREAT))
TRY(create_in_var, opens("/var/lib/echod-escape", O_WRONLY | O_CREAT))
TRY(create_in_run, opens("/run/echod-escape", O_WRONLY | O_CREAT))
TRY(create_in_tmp, opens("/tmp/echod-escape", O_WRONLY | O_CREAT) ||
                       opens("/var/tmp/echod-escape", O_WRONLY | O_CREAT))
TRY(create_in_shm, opens("/dev/shm/echod-escape", O_WRONLY | O_CREAT))
TRY(list_home, lists("/home"))
TRY(list_root, lists("/root"))
TRY(rename_passwd, rename("/etc/passwd", "/etc/passwd") == 0)
TRY(chmod_passwd, chmod("/etc/passwd", 0644) == 0)
TRY(chown_passwd, chown("/etc/passwd", 0, 0) == 0)
TRY(link_in_etc, symlink("/", "/etc/echod-escape-link") == 0)
TRY(make_suid, chmod("/proc/self/exe", 04755) == 0 ||
                   (opens("/tmp/escape", O_WRONLY | O_CREAT) && chmod("/tmp/escape", 04755) == 0))
TRY(make_device, mknod("/tmp/escape-device", S_IFCHR | 0600, 0x101) == 0)
TRY(see_init, opens("/proc/1/status", O_RDONLY))
TRY(read_environment_of_init, opens("/proc/1/environ", O_RDONLY))
TRY(read_kernel_memory, opens("/proc/kcore", O_RDONLY))
TRY(read_kernel_symbols, opens("/proc/kallsyms", O_RDONLY))
TRY(write_core_pattern, opens("/proc/sys/kernel/core_pattern", O_WRONLY))
TRY(write_sysrq, opens("/proc/sysrq-trigger", O_WRONLY))
TRY(write_own_memory, opens("/proc/self/mem", O_RDWR) && opens("/proc/1/mem", O_RDWR))
TRY(write_sys, opens("/sys/power/state", O_WRONLY) || opens("/sys/kernel/uevent_helper", O_WRONLY))
TRY(make_cgroup, mkdir("/sys/fs/cgroup/echod-escape", 0700) == 0)
TRY(open_memory, opens("/dev/mem", O_RDONLY) || opens("/dev/port", O_RDONLY))
TRY(open_kernel_log, opens("/dev/kmsg", O_RDONLY))
TRY(open_tunnel, opens("/dev/net/tun", O_RDWR))
TRY(open_fuse, opens("/dev/fuse", O_RDWR))
TRY(open_disk, opens("/dev/vda", O_RDONLY) || opens("/dev/sda", O_RDONLY))
TRY(open_by_handle, reached(syscall(SYS_open_by_handle_at, AT_FDCWD, NULL, O_RDONLY)))
TRY(watch_everything, reached(syscall(SYS_fanotify_init, 0, O_RDONLY)))

/* ---- programs and code ---- */

static bool shell(void)
{
    execl("/bin/sh", "sh", "-c", "exit 42", NULL);
    return false;
}

static bool shell_by_loader(void)
{
    static const char *const loaders[] = {"/lib64/ld-linux-x86-64.so.2",
                                          "/lib/ld-linux-aarch64.so.1"};

    for (size_t i = 0; i < COUNT(loaders); i++)
        execl(loaders[i], "ld.so", "/bin/sh", "-c", "exit 42", NULL);
    return false;
}

/* Copy this program. */
static void copy_myself(int to)
{
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (from < 0 || fstat(from, &st) < 0 || sendfile(to, from, NULL, (size_t)st.st_size) < 0)
        exit(0);
}

static bool program_in_memory(void)
{
    char name[] = "escapes", go_on[] = GO_ON;
    char *const argv[] = {name, go_on, NULL};
    int fd = (int)syscall(SYS_memfd_create, "escape", 0);

    if (fd < 0)
        return false;
    copy_myself(fd);
    fexecve(fd, argv, argv + 2);
    return false;
}

static bool program_in_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0700);

    if (fd < 0)
        return false;
    copy_myself(fd);
    close(fd);
    execl(path, "escapes", GO_ON, NULL);
    return false;
}

TRY(program_in_tmp, program_in_file("/tmp/echod-escape-program"))
TRY(program_in_shm, program_in_file("/dev/shm/echod-escape-program"))

static bool code_that_is_written(void)
{
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
                0) != MAP_FAILED;
}

static bool data_that_is_executed(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    return page != MAP_FAILED && mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0;
}

TRY(no_random_addresses, syscall(SYS_personality, 0x0040000) >= 0)

/* ---- other processes ---- */

static pid_t parent;

TRY(trace_parent, reached(ptrace(PTRACE_SEIZE, parent, NULL, NULL)))
TRY(be_traced, ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0)
TRY(read_parent, reached(syscall(SYS_process_vm_readv, parent, NULL, 0, NULL, 0, 0)))
TRY(write_parent, reached(syscall(SYS_process_vm_writev, parent, NULL, 0, NULL, 0, 0)))
TRY(signal_init, kill(1, 0) == 0)
TRY(take_descriptor_of_init, syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, 1, 0), 0, 0) >= 0)
TRY(compare_with_parent, reached(syscall(SYS_kcmp, getpid(), parent, 1, 0, 0)))
TRY(be_favoured, setpriority(PRIO_PROCESS, 0, -10) == 0)
TRY(be_real_time,
    sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){.sched_priority = 1}) == 0)
TRY(lock_memory, mlockall(MCL_CURRENT) == 0)

static bool raise_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    limit.rlim_max += 1;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* ---- namespaces and mounts ---- */

TRY(new_user_namespace, unshare(CLONE_NEWUSER) == 0)
TRY(new_network_namespace, unshare(CLONE_NEWNET) == 0)
TRY(new_mount_namespace, unshare(CLONE_NEWNS) == 0)
TRY(new_pid_namespace, unshare(CLONE_NEWPID) == 0)
TRY(new_host_name_namespace, unshare(CLONE_NEWUTS) == 0)
TRY(new_cgroup_namespace, unshare(CLONE_NEWCGROUP) == 0)
TRY(clone_into_namespace, syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL) >= 0)
TRY(clone3_into_namespace, reached(syscall(SYS_clone3, &(uint64_t[8]){CLONE_NEWUSER}, 64)))
TRY(join_namespace, setns(open("/proc/1/ns/net", O_RDONLY | O_CLOEXEC), 0) == 0)
TRY(mount_tmpfs, reached(mount("none", "/tmp", "tmpfs", MS_REMOUNT | MS_BIND, NULL)))
TRY(unmount, reached(umount2("/nonexistent", MNT_DETACH)))
TRY(open_file_system, reached(syscall(SYS_fsopen, "tmpfs", 0)))
TRY(copy_mounts, reached(syscall(SYS_open_tree, AT_FDCWD, "/", 1)))
TRY(change_root, reached(chroot("/")))
TRY(pivot_root, reached(syscall(SYS_pivot_root, "/", "/")))

/* ---- sockets ---- */

TRY(packet_socket, opens_socket(AF_PACKET, SOCK_RAW, 0))
TRY(raw_socket, opens_socket(AF_INET, SOCK_RAW, IPPROTO_ICMP))
TRY(raw_v6_socket, opens_socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6))
TRY(netlink_socket, opens_socket(AF_NETLINK, SOCK_RAW, 0))
TRY(vm_socket, opens_socket(AF_VSOCK, SOCK_STREAM, 0))
TRY(crypto_socket, opens_socket(AF_ALG, SOCK_SEQPACKET, 0))
TRY(key_socket, opens_socket(AF_KEY, SOCK_RAW, 2))
TRY(bluetooth_socket, opens_socket(AF_BLUETOOTH, SOCK_RAW, 1))
TRY(xdp_socket, opens_socket(AF_XDP, SOCK_RAW, 0))
TRY(can_socket, opens_socket(AF_CAN, SOCK_RAW, 1))
TRY(sctp_socket, opens_socket(AF_INET, SOCK_STREAM, IPPROTO_SCTP))
TRY(command_systemd, reaches_service("/run/systemd/private"))
TRY(call_dbus, reaches_service("/run/dbus/system_bus_socket"))
TRY(bind_tcp, inet(SOCK_STREAM, 0, bind))
TRY(bind_low_tcp, inet(SOCK_STREAM, 5, bind))
TRY(bind_udp, inet(SOCK_DGRAM, 0, bind))
TRY(bind_low_udp, inet(SOCK_DGRAM, 5, bind))
TRY(connect_tcp, inet(SOCK_STREAM, 9, connect))

/* ---- the kernel and the machine ---- */

TRY(load_bpf, reached(syscall(SYS_bpf, 0, NULL, 0)))
TRY(open_perf_event, reached(syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0)))
TRY(handle_page_faults, reached(syscall(SYS_userfaultfd, 1)))
TRY(set_up_io_uring, reached(syscall(SYS_io_uring_setup, 1, NULL)))
TRY(add_key, reached(syscall(SYS_add_key, "user", "echod", "x", 1, -3)))
TRY(control_keys, reached(syscall(SYS_keyctl, 0, -3, 1)))
TRY(request_key, reached(syscall(SYS_request_key, "user", "echod", NULL, 0)))
TRY(load_kernel, reached(syscall(SYS_kexec_load, 0, 99, NULL, 0)))
TRY(load_module, reached(syscall(SYS_init_module, NULL, 0, "")))
TRY(load_module_file, reached(syscall(SYS_finit_module, -1, "", 0)))
TRY(unload_module, reached(syscall(SYS_delete_module, "echod-escape", O_NONBLOCK)))
TRY(add_swap, reached(syscall(SYS_swapon, "/nonexistent", 0)))
TRY(remove_swap, reached(syscall(SYS_swapoff, "/nonexistent")))
TRY(reboot_machine, reached(syscall(SYS_reboot, 0, 0, 0, NULL)))
TRY(adjust_clock, reached(adjtimex(&(struct timex){.modes = ADJ_TICK})))
TRY(set_host_name, reached(syscall(SYS_sethostname, "", -1)))
TRY(set_domain_name, reached(syscall(SYS_setdomainname, "", -1)))
TRY(read_kernel_log, klogctl(3, (char[1]){0}, 1) >= 0)
TRY(account_processes, reached(syscall(SYS_acct, "/nonexistent")))
TRY(set_quota, reached(syscall(SYS_quotactl, 0x80000100, "/nonexistent", 0, NULL)))
TRY(hide_memory, reached(syscall(SYS_memfd_secret, 0)))
TRY(share_memory, syscall(SYS_shmget, 0, 4096, 0600) >= 0)
TRY(queue_messages, syscall(SYS_msgget, 0, 0600) >= 0)
#ifdef SYS_iopl
TRY(touch_hardware, reached(syscall(SYS_iopl, 3)))
TRY(touch_ports, reached(syscall(SYS_ioperm, 0x80, 1, 1)))
TRY(change_segments, reached(syscall(SYS_modify_ldt, 1, NULL, 0)))
#endif

/* To the present time. */
static bool set_time(void)
{
    struct timeval now;

    return gettimeofday(&now, NULL) == 0 && settimeofday(&now, NULL) == 0;
}

static bool set_clock(void)
{
    struct timespec now;

    return clock_gettime(CLOCK_REALTIME, &now) == 0 && clock_settime(CLOCK_REALTIME, &now) == 0;
}

/* ---- identity ---- */

TRY(become_root, setresuid(0, 0, 0) == 0)
TRY(join_group_root, setresgid(0, 0, 0) == 0)
TRY(join_groups, setgroups(1, &(gid_t){0}) == 0)
TRY(keep_capabilities, prctl(PR_SET_SECUREBITS, 1, 0, 0, 0) == 0)
TRY(raise_ambient, prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0) == 0)

static bool gain_capability(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{.permitted = UINT32_MAX, .effective = UINT32_MAX}};

    return syscall(SYS_capset, &header, sets) == 0;
}

/* ---- all of them ---- */

enum kind {
    NEVER,
    BIND,    /* a reload may bind a port */
    CONNECT, /* a unit that receives from everywhere cannot forbid it, the sandbox does */
    PUBLIC   /* every process may do it, the sandbox forbids it */
};

static const struct attempt {
    const char *name;
    bool (*try)(void);
    enum kind kind;
} attempts[] = {
#define A(name)                                                                                    \
    {                                                                                              \
#name, name, NEVER                                                                         \
    }
#define K(name, kind)                                                                              \
    {                                                                                              \
#name, name, kind                                                                          \
    }
    K(read_passwd, PUBLIC),
    A(read_shadow),
    A(write_passwd),
    A(create_in_etc),
    A(create_in_usr),
    A(create_in_var),
    A(create_in_run),
    A(create_in_tmp),
    A(create_in_shm),
    A(list_home),
    A(list_root),
    A(rename_passwd),
    A(chmod_passwd),
    A(chown_passwd),
    A(link_in_etc),
    A(make_suid),
    A(make_device),
    A(see_init),
    A(read_environment_of_init),
    A(read_kernel_memory),
    A(read_kernel_symbols),
    A(write_core_pattern),
    A(write_sysrq),
    A(write_own_memory),
    A(write_sys),
    A(make_cgroup),
    A(open_memory),
    A(open_kernel_log),
    A(open_tunnel),
    A(open_fuse),
    A(open_disk),
    A(open_by_handle),
    A(watch_everything),
    A(shell),
    A(shell_by_loader),
    A(program_in_memory),
    A(program_in_tmp),
    A(program_in_shm),
    A(code_that_is_written),
    A(data_that_is_executed),
    A(no_random_addresses),
    A(trace_parent),
    A(be_traced),
    A(read_parent),
    A(write_parent),
    A(signal_init),
    A(take_descriptor_of_init),
    A(compare_with_parent),
    A(be_favoured),
    A(be_real_time),
    A(lock_memory),
    A(raise_limit),
    A(new_user_namespace),
    A(new_network_namespace),
    A(new_mount_namespace),
    A(new_pid_namespace),
    A(new_host_name_namespace),
    A(new_cgroup_namespace),
    A(clone_into_namespace),
    A(clone3_into_namespace),
    A(join_namespace),
    A(mount_tmpfs),
    A(unmount),
    A(open_file_system),
    A(copy_mounts),
    A(change_root),
    A(pivot_root),
    A(packet_socket),
    A(raw_socket),
    A(raw_v6_socket),
    A(netlink_socket),
    A(vm_socket),
    A(crypto_socket),
    A(key_socket),
    A(bluetooth_socket),
    A(xdp_socket),
    A(can_socket),
    A(sctp_socket),
    A(command_systemd),
    A(call_dbus),
    K(bind_tcp, BIND),
    K(bind_low_tcp, BIND),
    K(bind_udp, BIND),
    K(bind_low_udp, BIND),
    K(connect_tcp, CONNECT),
    A(load_bpf),
    A(open_perf_event),
    A(handle_page_faults),
    A(set_up_io_uring),
    A(add_key),
    A(control_keys),
    A(request_key),
    A(load_kernel),
    A(load_module),
    A(load_module_file),
    A(unload_module),
    A(add_swap),
    A(remove_swap),
    A(reboot_machine),
    A(set_time),
    A(set_clock),
    A(adjust_clock),
    A(set_host_name),
    A(set_domain_name),
    A(read_kernel_log),
    A(account_processes),
    A(set_quota),
    A(hide_memory),
    A(share_memory),
    A(queue_messages),
#ifdef SYS_iopl
    A(touch_hardware),
    A(touch_ports),
    A(change_segments),
#endif
    A(become_root),
    A(join_group_root),
    A(join_groups),
    A(keep_capabilities),
    A(raise_ambient),
    A(gain_capability),
};

_Static_assert(COUNT(attempts) >= 40, "there are many ways out");

static void enter_sandbox(void)
{
    struct sandbox sandbox;

    if (privileges_confine() == 0 &&
        sandbox_restrict_access(&sandbox, "/nonexistent/echod.conf") == 0 &&
        sandbox_restrict_calls(&sandbox) == 0 && sandbox.calls > 0)
        return;
    printf("cannot enter the sandbox: %s\n", strerror(errno));
    exit(NO_SANDBOX);
}

/* In a process of its own: the sandbox may kill it, and a success must not help the next attempt.
 */
static int status_of(const struct attempt *attempt, bool box)
{
    int status = 0;
    pid_t child;

    fflush(NULL);
    child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        alarm(10);
        if (box)
            enter_sandbox();
        exit(attempt->try() ? THROUGH : 0);
    }
    if (child < 0 || waitpid(child, &status, 0) != child)
        return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

int main(int argc, char *argv[])
{
    bool allowed[PUBLIC + 1] = {false};
    bool box = argc > 1 && strcmp(argv[1], "box") == 0;
    bool bad = false;

    if (argc > 1 && strcmp(argv[1], GO_ON) == 0)
        return THROUGH;
    if (argc < 2 || (!box && strcmp(argv[1], "unit") != 0))
        return 2;
    for (int i = 2; i < argc; i++) {
        allowed[BIND] |= strcmp(argv[i], "bind") == 0;
        allowed[CONNECT] |= strcmp(argv[i], "connect") == 0;
    }
    allowed[PUBLIC] = !box;
    parent = getpid();
    for (size_t i = 0; i < COUNT(attempts); i++) {
        int status = status_of(&attempts[i], box);
        bool through = status == THROUGH;
        bool may = allowed[attempts[i].kind];

        if (status == NO_SANDBOX)
            return NO_SANDBOX;
        bad |= through && !may;
        printf("%s %s\n",
               !through ? "held"
               : may    ? "through, as it may:"
                        : "THROUGH:",
               attempts[i].name);
    }
    printf("%zu attempts, %s\n", COUNT(attempts), bad ? "some got through" : "none got through");
    return bad;
}
