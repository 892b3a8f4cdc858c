/* SPDX-License-Identifier: ISC */
#include "daemon/os/seccomp.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/net.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/util.h"
#include "daemon/os/sigsys.h"

/* Calls are named by strings, because headers know only the calls of their own version. A name that
 * libseccomp or this architecture does not have is skipped. Each C library, and each architecture,
 * makes another of several equivalent calls: all of them are listed. */

/* ---- allowed calls ---- */

/* clock_gettime is called where the vDSO has no clock, restart_syscall when poll(2) goes on after
 * SIGSTOP and SIGCONT, rt_sigreturn at the end of our handler of SIGSYS. */
/* clang-format off */
static const char *const plain[] = {
    "accept4",
    "bind",
    "brk",
    "clock_gettime", "clock_gettime64",
    "close",
    "connect",
    "epoll_ctl",
    "epoll_wait", "epoll_pwait", "epoll_pwait2",
    "exit",
    "exit_group",
    "futex", "futex_time64",
    "getpeername",
    "getsockname",
    "listen",
    "munmap",
    "poll", "ppoll", "ppoll_time64",
    "pread64",
    "read",
    "recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64",
    "restart_syscall",
    "rt_sigreturn", "sigreturn",
    "send", "sendto", "sendmsg", "sendmmsg",
    "timerfd_settime", "timerfd_settime64",
    "write",
};
/* clang-format on */

/* A call is allowed if, for each of these arguments, the bits under the mask have that value. The
 * kernel takes an int argument from the low half of a register. */
struct argument {
    unsigned at;    /* which argument, from 0 */
    uint32_t mask;  /* bits that matter */
    uint32_t value; /* of those bits */
};
struct checked {
    const char *call;
    struct argument arguments[3]; /* the first mask of 0 ends the list */
};

#define ALL         UINT32_MAX
#define SOCKET_KIND (ALL & ~(uint32_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
/* clang-format off */
#define SOCKET(family, type)  {"socket", {{0, ALL, (family)}, {1, SOCKET_KIND, (type)}, {2, ALL, 0}}}
#define MPTCP_SOCKET(family)  {"socket", {{0, ALL, (family)}, {1, SOCKET_KIND, SOCK_STREAM}, {2, ALL, IPPROTO_MPTCP}}}
#define IOCTL(request)        {"ioctl", {{1, ALL, (request)}}}
#define OPTION(level, option) {"setsockopt", {{1, ALL, (level)}, {2, ALL, (option)}}}
/* clang-format on */
#define READ_ONLY (O_ACCMODE | O_CREAT | O_TRUNC)

/* s390x passes the arguments of mmap(2) in memory, where a filter cannot look. */
#ifdef __s390x__
#define MMAP_UNCHECKED
#endif

static const struct checked checked[] = {
    /* The configuration is only read. */
    {"open", {{1, READ_ONLY, O_RDONLY}}},
    {"openat", {{2, READ_ONLY, O_RDONLY}}},
    {"fcntl", {{1, ALL, F_SETFD}}},
    {"fcntl64", {{1, ALL, F_SETFD}}},
    /* Its size and kind, by its descriptor. */
    {"fstat", {{0}}},
    {"fstat64", {{0}}},
    {"newfstatat", {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}}},
    {"fstatat64", {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}}},
    {"statx", {{2, AT_EMPTY_PATH, AT_EMPTY_PATH}}},
/* No memory becomes code. */
#ifdef MMAP_UNCHECKED
    {"mmap", {{0}}},
#elif UINTPTR_MAX > UINT32_MAX
    {"mmap", {{2, PROT_EXEC, 0}}},
#endif
    {"mmap2", {{2, PROT_EXEC, 0}}},
#ifndef __GLIBC__
    {"mprotect", {{2, PROT_EXEC, 0}}},
#endif
    /* Echo sockets; a Unix socket reaches syslog, and serves the C library to name interfaces. */
    SOCKET(AF_INET, SOCK_STREAM),
    SOCKET(AF_INET, SOCK_DGRAM),
    SOCKET(AF_INET6, SOCK_STREAM),
    SOCKET(AF_INET6, SOCK_DGRAM),
    SOCKET(AF_UNIX, SOCK_DGRAM),
    IOCTL(SIOCINQ),
    IOCTL(SIOCOUTQ),
    IOCTL(SIOCOUTQNSD),
    IOCTL(SIOCGIFINDEX),
    IOCTL(SIOCGIFNAME),
    OPTION(SOL_SOCKET, SO_BINDTOIFINDEX),
    OPTION(SOL_SOCKET, SO_KEEPALIVE),
    OPTION(SOL_SOCKET, SO_OOBINLINE),
    OPTION(SOL_SOCKET, SO_RCVBUF),
    OPTION(SOL_SOCKET, SO_RCVBUFFORCE),
    OPTION(SOL_SOCKET, SO_REUSEADDR),
    OPTION(SOL_SOCKET, SO_REUSEPORT),
    OPTION(SOL_SOCKET, SO_RXQ_OVFL),
    OPTION(SOL_SOCKET, SO_SNDBUF),
    OPTION(SOL_SOCKET, SO_SNDBUFFORCE),
    OPTION(SOL_SOCKET, SO_SNDTIMEO),
    OPTION(IPPROTO_TCP, TCP_KEEPCNT),
    OPTION(IPPROTO_TCP, TCP_KEEPIDLE),
    OPTION(IPPROTO_TCP, TCP_KEEPINTVL),
    OPTION(IPPROTO_TCP, TCP_LINGER2),
    OPTION(IPPROTO_TCP, TCP_NODELAY),
    OPTION(IPPROTO_TCP, TCP_NOTSENT_LOWAT),
    OPTION(IPPROTO_TCP, TCP_USER_TIMEOUT),
    OPTION(SOL_UDP, UDP_GRO),
    OPTION(SOL_IP, IP_FREEBIND),
    OPTION(SOL_IP, IP_MINTTL),
    OPTION(SOL_IP, IP_MTU_DISCOVER),
    OPTION(SOL_IP, IP_PKTINFO),
    OPTION(SOL_IP, IP_RECVTOS),
    OPTION(SOL_IP, IP_RECVTTL),
    OPTION(SOL_IP, IP_TTL),
    OPTION(SOL_IPV6, IPV6_FREEBIND),
    OPTION(SOL_IPV6, IPV6_MINHOPCOUNT),
    OPTION(SOL_IPV6, IPV6_MTU_DISCOVER),
    OPTION(SOL_IPV6, IPV6_RECVHOPLIMIT),
    OPTION(SOL_IPV6, IPV6_RECVPKTINFO),
    OPTION(SOL_IPV6, IPV6_RECVTCLASS),
    OPTION(SOL_IPV6, IPV6_UNICAST_HOPS),
    OPTION(SOL_IPV6, IPV6_V6ONLY),
    /* These two again, with arguments in memory, where a filter cannot look. libseccomp adds the
     * other socket calls by itself. */
    {"socketcall", {{0, ALL, SYS_SOCKET}}},
    {"socketcall", {{0, ALL, SYS_SETSOCKOPT}}},
};

/* Only for a daemon that has such listeners: Landlock forbids connections of TCP, not of MPTCP. */
static const struct checked mptcp_sockets[] = {MPTCP_SOCKET(AF_INET), MPTCP_SOCKET(AF_INET6)};
static bool mptcp_is_allowed;

/* Libraries try these calls and can do without them, and so can we without SO_MEMINFO. glibc grows
 * the heaps of threads with mprotect, which seccomp_filter_prepare() avoids; when a thread ends, it
 * blocks the thread's signals and gives its stack back with madvise; qsort asks for the size of
 * memory with sysinfo. libConfuse asks whether its input is a terminal. */
static const struct refused {
    struct checked what;
    int error;
} refused[] = {
    {{"mremap", {{0}}}, ENOMEM},
#ifdef __GLIBC__
    {{"mprotect", {{2, PROT_EXEC, 0}}}, ENOMEM},
#endif
    {{"madvise", {{0}}}, EINVAL},
    {{"rt_sigprocmask", {{0}}}, EINVAL},
    {{"sysinfo", {{0}}}, EFAULT},
    {{"getsockopt", {{1, ALL, SOL_SOCKET}, {2, ALL, SO_MEMINFO}}}, ENOPROTOOPT},
    {IOCTL(TCGETS), ENOTTY},
#ifdef TCGETS2
    {IOCTL(TCGETS2), ENOTTY},
#endif
    {IOCTL(TIOCGWINSZ), ENOTTY},
};

/* ---- all other calls ---- */

/* Only an exploit makes these calls, or makes them with other arguments than those above. */
/* clang-format off */
static const char *const fatal[] = {
    /* Programs and processes. */
    "clone", "clone3", "execve", "execveat", "fork", "kcmp", "kill", "pidfd_getfd", "pidfd_open",
    "pidfd_send_signal", "process_madvise", "process_vm_readv", "process_vm_writev", "ptrace",
    "vfork",
    /* Memory that becomes code. */
    "memfd_create", "memfd_secret", "mmap", "mmap2", "modify_ldt", "mprotect", "personality",
    "pkey_mprotect", "shmat", "uselib",
    /* Writing to files, and changing them. */
    "chmod", "chown", "creat", "fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "lchown",
    "link", "linkat", "mkdir", "mkdirat", "mknod", "mknodat", "open", "open_by_handle_at", "openat",
    "rename", "renameat", "renameat2", "rmdir", "symlink", "symlinkat", "truncate", "unlink",
    "unlinkat",
    /* Sockets of other kinds. */
    "socket", "socketpair",
    /* Identity and capabilities. */
    "capset", "setfsgid", "setfsuid", "setgid", "setgroups", "setregid", "setresgid", "setresuid",
    "setreuid", "setuid", "setgid32", "setgroups32", "setregid32", "setresgid32", "setresuid32",
    "setreuid32", "setuid32",
    /* Namespaces and mounts. */
    "chroot", "fsconfig", "fsmount", "fsopen", "fspick", "mount", "mount_setattr", "move_mount",
    "open_tree", "pivot_root", "setns", "umount", "umount2", "unshare",
    /* The kernel and the machine. */
    "acct", "add_key", "adjtimex", "bpf", "clock_adjtime", "clock_settime", "delete_module",
    "fanotify_init", "finit_module", "init_module", "io_uring_enter", "io_uring_register",
    "io_uring_setup", "ioperm", "iopl", "kexec_file_load", "kexec_load", "keyctl",
    "perf_event_open", "quotactl", "quotactl_fd", "reboot", "request_key", "setdomainname",
    "sethostname", "settimeofday", "swapoff", "swapon", "syslog", "userfaultfd",
};
/* clang-format on */

/* These calls can fail with an errno that fits them better than ENOSYS does. */
static const struct sigsys_rule fitting[] = {
    {.name = "ioctl", .error = ENOTTY},           {.name = "setsockopt", .error = ENOPROTOOPT},
    {.name = "getsockopt", .error = ENOPROTOOPT}, {.name = "fcntl", .error = EINVAL},
    {.name = "fcntl64", .error = EINVAL},
};

static struct sigsys_rule sigsys_rules[COUNT(fatal) + COUNT(fitting)];

static void make_sigsys_rules(void)
{
    struct sigsys_rule *rule = sigsys_rules;

    for (size_t i = 0; i < COUNT(fatal); i++)
        *rule++ = (struct sigsys_rule){.name = fatal[i]};
    for (size_t i = 0; i < COUNT(fitting); i++)
        *rule++ = fitting[i];
    for (size_t i = 0; i < COUNT(sigsys_rules); i++)
        sigsys_rules[i].call = seccomp_syscall_resolve_name(sigsys_rules[i].name);
}

/* ---- the filter ---- */

/* One heap for all threads: glibc would ask for the number of CPUs before it makes another one, and
 * grow that with mprotect. An echo allocates no memory, so threads do not compete for the heap. */
void seccomp_filter_prepare(void)
{
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1);
#endif
}

void seccomp_filter_allow_mptcp(void)
{
    mptcp_is_allowed = true;
}

/* libseccomp's functions return a negative errno. */
static int add_rule(scmp_filter_ctx filter, uint32_t action, const struct checked *what)
{
    struct scmp_arg_cmp compare[COUNT(what->arguments)];
    int call = seccomp_syscall_resolve_name(what->call);
    unsigned count = 0;

    if (call == __NR_SCMP_ERROR)
        return 0;
    while (count < COUNT(what->arguments) && what->arguments[count].mask != 0) {
        const struct argument *a = &what->arguments[count];

        compare[count++] = SCMP_CMP(a->at, SCMP_CMP_MASKED_EQ, a->mask, a->value);
    }
    return seccomp_rule_add_array(filter, action, call, count, compare);
}

/* SCMP_FLTATR_CTL_SSB: without it kernels before 5.16 slow down every process that has a filter.
 * No foreign code runs here that could exploit speculative store bypass. */
static int set_attributes(scmp_filter_ctx filter)
{
    int error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (error == 0)
        error = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
    (void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
    return error;
}

static int add_rules(scmp_filter_ctx filter)
{
    int error = set_attributes(filter);

    for (size_t i = 0; i < COUNT(plain) && error == 0; i++)
        error = add_rule(filter, SCMP_ACT_ALLOW, &(struct checked){.call = plain[i]});
    for (size_t i = 0; i < COUNT(checked) && error == 0; i++)
        error = add_rule(filter, SCMP_ACT_ALLOW, &checked[i]);
    for (size_t i = 0; i < COUNT(mptcp_sockets) && error == 0 && mptcp_is_allowed; i++)
        error = add_rule(filter, SCMP_ACT_ALLOW, &mptcp_sockets[i]);
    for (size_t i = 0; i < COUNT(refused) && error == 0; i++)
        error = add_rule(filter, SCMP_ACT_ERRNO((uint32_t)refused[i].error), &refused[i].what);
    return error;
}

/* libseccomp gives a call that this architecture does not have a negative number. */
static int count_calls(void)
{
    int count = 0;

    for (size_t i = 0; i < COUNT(plain); i++)
        count += seccomp_syscall_resolve_name(plain[i]) >= 0;
    for (size_t i = 0; i < COUNT(checked); i++)
        count += (i == 0 || strcmp(checked[i].call, checked[i - 1].call) != 0) &&
                 seccomp_syscall_resolve_name(checked[i].call) >= 0;
    return count;
}

/* With a filter at NULL a kernel that has filters fails with EFAULT. */
static bool kernel_has_filters(void)
{
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, NULL) == 0 ||
           errno == EFAULT;
}

int seccomp_filter_install(void)
{
    scmp_filter_ctx filter;
    int error;

    if (!kernel_has_filters()) {
        errno = ENOSYS;
        return -1;
    }
    filter = seccomp_init(SCMP_ACT_TRAP);
    if (!filter) {
        errno = ENOMEM;
        return -1;
    }
    make_sigsys_rules();
    error = add_rules(filter);
    if (error == 0 && sigsys_handle(sigsys_rules, COUNT(sigsys_rules)) < 0)
        error = -errno;
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    errno = -error;
    return error == 0 ? count_calls() : -1;
}

const char *seccomp_filter_unchecked(void)
{
    bool sockets = seccomp_syscall_resolve_name("socketcall") >= 0;

#ifdef MMAP_UNCHECKED
    return sockets ? "mmap, socket, setsockopt" : "mmap";
#else
    return sockets ? "socket, setsockopt" : NULL;
#endif
}

unsigned long seccomp_filter_refused(void)
{
    return sigsys_refused();
}

const char *seccomp_filter_refused_call(size_t index, char buf[static SECCOMP_CALL_STRLEN])
{
    int call = sigsys_refused_call(index);
    char *name = call < 0 ? NULL : seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, call);

    if (call < 0)
        return NULL;
    snprintf(buf, SECCOMP_CALL_STRLEN, "%.30s (%d)", name ? name : "of unknown name", call);
    free(name);
    return buf;
}
