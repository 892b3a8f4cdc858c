/* SPDX-License-Identifier: ISC */
#include "daemon/os/seccomp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/log.h"
#include "common/util.h"

/* ---- what is allowed ---- */

/* Newer architectures have ppoll and epoll_pwait only. Where the older calls exist, glibc uses
 * those. */
#ifdef __NR_poll
#define POLL SCMP_SYS(poll)
#else
#define POLL SCMP_SYS(ppoll)
#endif
#if defined __NR_epoll_wait && defined __GLIBC__
#define EPOLL_WAIT SCMP_SYS(epoll_wait)
#else
#define EPOLL_WAIT SCMP_SYS(epoll_pwait)
#endif

/* clock_gettime is called where the vDSO has no clock, restart_syscall when poll(2) goes on after
 * SIGSTOP and SIGCONT. */
/* clang-format off */
static const int plain[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(bind),
    SCMP_SYS(brk),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(close),
    SCMP_SYS(connect),
    SCMP_SYS(epoll_ctl),
    EPOLL_WAIT,
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(futex),
    SCMP_SYS(getpeername),
    SCMP_SYS(listen),
    SCMP_SYS(getsockname),
    SCMP_SYS(munmap),
    POLL,
    SCMP_SYS(read),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(timerfd_settime),
    SCMP_SYS(write),
    SCMP_SYS(restart_syscall),
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
    int call;
    struct argument arguments[3]; /* the first mask of 0 ends the list */
};

#define ALL         UINT32_MAX
#define SOCKET_KIND (ALL & ~(uint32_t)(SOCK_NONBLOCK | SOCK_CLOEXEC))
#define SOCKET(f, t)                                                                               \
    {                                                                                              \
        SCMP_SYS(socket),                                                                          \
        {                                                                                          \
            {0, ALL, (f)}, {1, SOCKET_KIND, (t)},                                                  \
            {                                                                                      \
                2, ALL, 0                                                                          \
            }                                                                                      \
        }                                                                                          \
    }
#define IOCTL(request)                                                                             \
    {                                                                                              \
        SCMP_SYS(ioctl),                                                                           \
        {                                                                                          \
            {                                                                                      \
                1, ALL, (request)                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define OPTION(l, o)                                                                               \
    {                                                                                              \
        SCMP_SYS(setsockopt),                                                                      \
        {                                                                                          \
            {1, ALL, (l)},                                                                         \
            {                                                                                      \
                2, ALL, (o)                                                                        \
            }                                                                                      \
        }                                                                                          \
    }

static const struct checked checked[] = {
    /* The configuration is only read. */
    {SCMP_SYS(openat), {{2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY}}},
#ifdef __GLIBC__
    {SCMP_SYS(newfstatat), {{3, AT_EMPTY_PATH, AT_EMPTY_PATH}}},
#else
    {SCMP_SYS(fstat), {{0}}},
#endif
    /* No memory becomes code. */
    {SCMP_SYS(mmap), {{2, PROT_EXEC, 0}}},
#ifndef __GLIBC__
    {SCMP_SYS(mprotect), {{2, PROT_EXEC, 0}}},
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
    OPTION(SOL_IP, IP_MINTTL),
    OPTION(SOL_IP, IP_MTU_DISCOVER),
    OPTION(SOL_IP, IP_PKTINFO),
    OPTION(SOL_IP, IP_RECVTOS),
    OPTION(SOL_IP, IP_RECVTTL),
    OPTION(SOL_IP, IP_TTL),
    OPTION(SOL_IPV6, IPV6_MINHOPCOUNT),
    OPTION(SOL_IPV6, IPV6_MTU_DISCOVER),
    OPTION(SOL_IPV6, IPV6_RECVHOPLIMIT),
    OPTION(SOL_IPV6, IPV6_RECVPKTINFO),
    OPTION(SOL_IPV6, IPV6_RECVTCLASS),
    OPTION(SOL_IPV6, IPV6_UNICAST_HOPS),
    OPTION(SOL_IPV6, IPV6_V6ONLY),
};

/* Libraries try these calls and can do without them. glibc grows the heaps of threads with
 * mprotect, which seccomp_filter_prepare() avoids; when a thread ends, it blocks the thread's
 * signals and gives its stack back with madvise; qsort asks for the size of memory with sysinfo.
 * libConfuse asks whether its input is a terminal. */
static const struct refused {
    struct checked what;
    int error;
} refused[] = {
    {{SCMP_SYS(mremap), {{0}}}, ENOMEM},
#ifdef __GLIBC__
    {{SCMP_SYS(mprotect), {{0}}}, ENOMEM},
#endif
    {{SCMP_SYS(madvise), {{0}}}, EINVAL},  {{SCMP_SYS(rt_sigprocmask), {{0}}}, EINVAL},
    {{SCMP_SYS(sysinfo), {{0}}}, EFAULT},  {IOCTL(TCGETS), ENOTTY},
};

/* ---- a forbidden call ---- */

/* The names of calls by their numbers: a signal handler must not ask libseccomp. Calls beyond the
 * table are reported by number. */
static char *names[512];

static char *append_number(char *to, unsigned number)
{
    if (number >= 10)
        to = append_number(to, number / 10);
    *to = (char)('0' + number % 10);
    return to + 1;
}

/* Runs once (SA_RESETHAND). raise(3) ends the process even if the filter forbids it. */
static void report_and_die(int signo, siginfo_t *info, void *context)
{
    char text[192] = "forbidden system call ";
    unsigned number = (unsigned)info->si_syscall;
    char *end = text + strlen(text);

    (void)context;
    if (number < COUNT(names) && names[number])
        end = stpncpy(end, names[number], 40);
    *end++ = ' ';
    *end++ = '(';
    end = append_number(end, number);
    strcpy(end, "), stopped by the sandbox; sandbox = false turns it off");
    log_last_words(text);
    raise(signo);
}

/* One heap for all threads: glibc would ask for the number of CPUs before it makes another one, and
 * grow that with mprotect. An echo allocates no memory, so threads do not compete for the heap. */
void seccomp_filter_prepare(void)
{
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, 1);
#endif
    for (size_t i = 0; i < COUNT(names); i++)
        if (!names[i])
            names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, (int)i);
}

static int watch_for_violations(void)
{
    struct sigaction action = {.sa_sigaction = report_and_die,
                               .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND)};

    sigemptyset(&action.sa_mask);
    return sigaction(SIGSYS, &action, NULL);
}

/* ---- the filter ---- */

/* libseccomp's functions return a negative errno. */
static int add_rule(scmp_filter_ctx filter, uint32_t action, const struct checked *what)
{
    struct scmp_arg_cmp compare[COUNT(what->arguments)];
    unsigned count = 0;

    while (count < COUNT(what->arguments) && what->arguments[count].mask != 0) {
        const struct argument *a = &what->arguments[count];

        compare[count++] = SCMP_CMP(a->at, SCMP_CMP_MASKED_EQ, a->mask, a->value);
    }
    return seccomp_rule_add_array(filter, action, what->call, count, compare);
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
    for (size_t i = 0; i < COUNT(refused) && error == 0; i++)
        error = add_rule(filter, SCMP_ACT_ERRNO((uint32_t)refused[i].error), &refused[i].what);
    return error;
}

static unsigned count_calls(void)
{
    unsigned count = COUNT(plain);

    for (size_t i = 0; i < COUNT(checked); i++)
        count += i == 0 || checked[i].call != checked[i - 1].call;
    return count;
}

int seccomp_filter_install(void)
{
    scmp_filter_ctx filter;
    int error;

    /* 32-bit architectures have other calls for times, offsets and mappings. */
    if (sizeof(void *) < 8)
        return 0;
    filter = seccomp_init(SCMP_ACT_TRAP);
    if (!filter) {
        errno = ENOMEM;
        return -1;
    }
    error = add_rules(filter);
    if (error == 0 && watch_for_violations() < 0)
        error = -errno;
    if (error == 0)
        error = seccomp_load(filter);
    seccomp_release(filter);
    errno = -error;
    return error == 0 ? (int)count_calls() : -1;
}
