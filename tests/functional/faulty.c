/* SPDX-License-Identifier: ISC */

/* Preloaded into echod by faulting.py: makes its system calls and allocations fail on demand. The
 * test says which, in memory that it shares with the process through the file $FAULTS. */

#include <confuse.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define OWN_MALLOC 0
#elif defined __GLIBC__
#define OWN_MALLOC 1
#else
#define OWN_MALLOC 0
#endif

/* Octets of a short count: so few that longer data takes several calls. */
#define SHORT_DATA 1000
#define SHORT_LINE 10

/* faulting.py has the same list and structure. */
enum call {
    NONE,
    ACCEPT4,
    CLOCK_GETTIME,
    CLOSE,
    EPOLL_CTL,
    EPOLL_WAIT,
    GETPEERNAME,
    IOCTL,
    POLL_LOG,
    READ,
    RECV,
    RECVMMSG,
    SEND,
    SENDMMSG,
    SETSOCKOPT,
    TIMERFD_SETTIME,
    WRITE_BELL,
    WRITE_LOG
};

struct faults {
    _Atomic uint32_t call;  /* enum call: the call that fails */
    _Atomic uint32_t error; /* errno of the failure; 0: no failure, but a short count */
    _Atomic uint32_t every; /* one call in `every` fails */
    _Atomic uint32_t calls; /* number of such calls, since the test set it to 0 */
    _Atomic uint32_t hits;  /* number of such calls that failed, since the test set it to 0 */
    _Atomic uint32_t failing_allocation; /* the allocation that fails: 1 is the next; 0: none */
    _Atomic uint32_t failed_allocations; /* number of allocations that failed */
    _Atomic int32_t live;                /* number of allocations that are not freed */
};

static struct faults own;
static struct faults *faults = &own;

/* True if this call must fail with errno, or, if errno is 0, do less than it could. */
static bool strikes(enum call call, bool can_be_short)
{
    uint32_t error = atomic_load(&faults->error);

    if (atomic_load(&faults->call) != call || (error == 0 && !can_be_short))
        return false;
    if (atomic_fetch_add(&faults->calls, 1) % atomic_load(&faults->every) != 0)
        return false;
    atomic_fetch_add(&faults->hits, 1);
    errno = (int)error;
    return true;
}

/* ---- allocations ---- */

/* Above 0 inside library functions that do not survive a failed allocation, see SPARE: libConfuse
 * 3.3, for which conf.c proves beforehand that there is enough memory; glibc 2.36 when it looks up
 * accounts; libseccomp 2.5, which would leave calls out of the filter. */
static _Thread_local unsigned spared;

static bool allocation_fails(void)
{
    uint32_t left = atomic_load(&faults->failing_allocation);

    if (spared > 0)
        return false;
    while (left > 0 &&
           !atomic_compare_exchange_weak(&faults->failing_allocation, &left, left - 1)) {
    }
    if (left != 1)
        return false;
    atomic_fetch_add(&faults->failed_allocations, 1);
    errno = ENOMEM;
    return true;
}

static void *note_allocation(void *memory)
{
    if (memory)
        atomic_fetch_add(&faults->live, 1);
    return memory;
}

#if OWN_MALLOC
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *memory);

void *malloc(size_t size)
{
    return allocation_fails() ? NULL : note_allocation(__libc_malloc(size));
}

void *calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : note_allocation(__libc_calloc(count, size));
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails() ? NULL : note_allocation(__libc_memalign(alignment, size));
}

void *realloc(void *memory, size_t size)
{
    if (!memory)
        return malloc(size);
    if (size == 0) {
        free(memory);
        return NULL;
    }
    return allocation_fails() ? NULL : __libc_realloc(memory, size);
}

void free(void *memory)
{
    if (memory)
        atomic_fetch_sub(&faults->live, 1);
    __libc_free(memory);
}
#endif

/* ---- the real ones ---- */

/* Declared here, because <seccomp.h> may be missing. */
extern int seccomp_load(void *filter);

/* clang-format off */
#define EACH_CALL(X)                                                                               \
    X(accept4) X(cfg_init) X(cfg_parse_buf) X(clock_gettime) X(close) X(epoll_ctl) X(epoll_wait)   \
    X(getgrnam) X(getpeername) X(getpwnam) X(ioctl) X(mmap) X(munmap) X(poll) X(read) X(recv)      \
    X(recvmmsg) X(seccomp_load) X(send) X(sendmmsg) X(setsockopt) X(timerfd_settime) X(write)
/* clang-format on */

#define DECLARE(name) static __typeof__(&name) real_##name;
EACH_CALL(DECLARE)

static void find_all(void)
{
#define FIND(name) real_##name = (__typeof__(&name))dlsym(RTLD_NEXT, #name);
    EACH_CALL(FIND)
}

/* An allocation before start() finds the functions itself. */
#define REAL(name) (real_##name ? real_##name : (find_all(), real_##name))

/* Runs before main(): in the sandbox no file can be opened, and no function be linked. */
__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *shared;

    find_all();
    if (fd < 0)
        _exit(126);
    shared = real_mmap(NULL, sizeof *faults, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    real_close(fd);
    if (shared == MAP_FAILED)
        _exit(126);
    faults = shared;
}

/* ---- calls ---- */

int accept4(int fd, struct sockaddr *addr, socklen_t *length, int flags)
{
    return strikes(ACCEPT4, false) ? -1 : REAL(accept4)(fd, addr, length, flags);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    return strikes(CLOCK_GETTIME, false) ? -1 : REAL(clock_gettime)(clock, now);
}

/* On Linux close(2) closes the descriptor even if it fails. */
int close(int fd)
{
    int result = REAL(close)(fd);

    return strikes(CLOSE, false) ? -1 : result;
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    return strikes(EPOLL_CTL, false) ? -1 : REAL(epoll_ctl)(epoll, operation, fd, event);
}

int epoll_wait(int epoll, struct epoll_event *events, int most, int ms)
{
    if (strikes(EPOLL_WAIT, most > 1)) {
        if (errno != 0)
            return -1;
        most = 1;
    }
    return REAL(epoll_wait)(epoll, events, most, ms);
}

int getpeername(int fd, struct sockaddr *addr, socklen_t *length)
{
    return strikes(GETPEERNAME, false) ? -1 : REAL(getpeername)(fd, addr, length);
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    void *argument;

    va_start(arguments, request);
    argument = va_arg(arguments, void *);
    va_end(arguments);
    return strikes(IOCTL, false) ? -1 : REAL(ioctl)(fd, request, argument);
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    void *memory;

    if (allocation_fails())
        return MAP_FAILED;
    memory = REAL(mmap)(at, length, protection, flags, fd, offset);
    if (memory != MAP_FAILED)
        note_allocation(memory);
    return memory;
}

int munmap(void *memory, size_t length)
{
    atomic_fetch_sub(&faults->live, 1);
    return REAL(munmap)(memory, length);
}

/* glibc 2.36 declares that poll(2) only writes to its array; hence the indirection. Only the log's
 * call fails: the loops of a daemon with these many descriptors use epoll_wait(2). */
__attribute__((noinline)) static int poll_or_fail(struct pollfd *fds, nfds_t count, int ms)
{
    bool log = count == 1 && fds->fd == STDERR_FILENO;

    return log && strikes(POLL_LOG, false) ? -1 : REAL(poll)(fds, count, ms);
}

int poll(struct pollfd *fds, nfds_t count, int ms)
{
    return poll_or_fail(fds, count, ms);
}

ssize_t read(int fd, void *data, size_t length)
{
    return strikes(READ, false) ? -1 : REAL(read)(fd, data, length);
}

ssize_t recv(int fd, void *data, size_t length, int flags)
{
    if (strikes(RECV, length > SHORT_DATA)) {
        if (errno != 0)
            return -1;
        length = SHORT_DATA;
    }
    return REAL(recv)(fd, data, length, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    if (strikes(RECVMMSG, count > 1)) {
        if (errno != 0)
            return -1;
        count = 1;
    }
    return REAL(recvmmsg)(fd, messages, count, flags, timeout);
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    if (strikes(SEND, length > SHORT_DATA)) {
        if (errno != 0)
            return -1;
        length = SHORT_DATA;
    }
    return REAL(send)(fd, data, length, flags);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    if (strikes(SENDMMSG, count > 1)) {
        if (errno != 0)
            return -1;
        count = 1;
    }
    return REAL(sendmmsg)(fd, messages, count, flags);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t length)
{
    return strikes(SETSOCKOPT, false) ? -1 : REAL(setsockopt)(fd, level, option, value, length);
}

int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *was)
{
    return strikes(TIMERFD_SETTIME, false) ? -1 : REAL(timerfd_settime)(fd, flags, at, was);
}

ssize_t write(int fd, const void *data, size_t length)
{
    bool log = fd == STDERR_FILENO;

    if (strikes(log ? WRITE_LOG : WRITE_BELL, log && length > SHORT_LINE)) {
        if (errno != 0)
            return -1;
        length = SHORT_LINE;
    }
    return REAL(write)(fd, data, length);
}

/* ---- functions whose allocations do not fail ---- */

#define SPARE(type, name, parameters, arguments)                                                   \
    type name parameters                                                                           \
    {                                                                                              \
        type result;                                                                               \
                                                                                                   \
        spared++;                                                                                  \
        result = REAL(name) arguments;                                                             \
        spared--;                                                                                  \
        return result;                                                                             \
    }

SPARE(cfg_t *, cfg_init, (cfg_opt_t * options, cfg_flag_t flags), (options, flags))
SPARE(int, cfg_parse_buf, (cfg_t * cfg, const char *text), (cfg, text))
SPARE(struct passwd *, getpwnam, (const char *name), (name))
SPARE(int, seccomp_load, (void *filter), (filter))
SPARE(struct group *, getgrnam, (const char *name), (name))

/* ---- those of _FORTIFY_SOURCE ---- */

extern int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room);
extern ssize_t __read_chk(int fd, void *data, size_t length, size_t room);
extern ssize_t __recv_chk(int fd, void *data, size_t length, size_t room, int flags);

int __poll_chk(struct pollfd *fds, nfds_t count, int ms, size_t room)
{
    (void)room;
    return poll(fds, count, ms);
}

ssize_t __read_chk(int fd, void *data, size_t length, size_t room)
{
    (void)room;
    return read(fd, data, length);
}

ssize_t __recv_chk(int fd, void *data, size_t length, size_t room, int flags)
{
    (void)room;
    return recv(fd, data, length, flags);
}
