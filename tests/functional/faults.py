# SPDX-License-Identifier: ISC
"""Calls of the running daemon fail, one kind after another: it goes on, with every octet right, without a spin or a leak.

Every system call of a busy daemon is in the table below, with the errors that its manual page lists, those that the network may
hand on, and short counts where there are any. While clients are served, some of these calls fail (faulty.c, preloaded, sees to
that); then, where that can be, all of them do.
"""

import ctypes
import mmap
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time

from daemon import PATIENCE, SANITIZED, Echod, check_stream, private_network, quoted_list
from lib import note, run_all, skip, test, wait_for
from load import Load

LIBRARY = f"{os.environ['BUILDDIR']}/tests/functional/faulty.so"

# A spin takes one.
CPU_SHARE = 0.6

SHORT = 0

# In the order of faulty.c.
CALLS = ("none accept4 clock_gettime close epoll_ctl epoll_wait getpeername ioctl poll poll_log read recv recvmmsg send sendmmsg "
         "setsockopt write_bell write_log").split()


class Row:
    def __init__(
        self,
        errors,
        harmless="",   # of these, those that end no connection; "all" of them, by default none
        passing="EAGAIN EINTR SHORT",  # those that do not last: a call that is said to be ready, and never is, does not occur
        always=True,   # whether the others may
        every=3,       # one call in so many fails
        hits=15,       # so many failures make a test
        reloads=False,  # what brings it about are signals and reloads
        fresh=False,   # leaves the daemon another one than it was, so that each needs its own
    ):
        self.errors = errors.split()
        self.harmless = self.errors if harmless == "all" else harmless.split()
        self.passing = passing.split()
        self.always, self.every, self.hits, self.reloads, self.fresh = always, every, hits, reloads, fresh


# accept(2) also has the pending errors of the new socket.
TABLE = {
    "accept4": Row("EAGAIN EBADF ECONNABORTED EFAULT EINTR EINVAL EMFILE ENFILE ENOBUFS ENOMEM ENOTSOCK EOPNOTSUPP EPERM EPROTO "
                   "ENETDOWN ENOPROTOOPT EHOSTDOWN ENONET EHOSTUNREACH ENETUNREACH ENOSYS ETIMEDOUT", harmless="all"),
    "clock_gettime": Row("EACCES EFAULT EINVAL ENODEV ENOTSUP EPERM", harmless="all", always=False),
    "close": Row("EBADF EINTR EIO ENOSPC EDQUOT", harmless="all"),
    "epoll_ctl": Row("EBADF EEXIST EINVAL ELOOP ENOENT ENOMEM ENOSPC EPERM", always=False, every=5),
    "epoll_wait": Row("EBADF EFAULT EINTR EINVAL SHORT", harmless="all"),
    "getpeername": Row("EBADF EFAULT EINVAL ENOBUFS ENOTCONN ENOTSOCK", harmless="all"),
    "ioctl": Row("EBADF EFAULT EINVAL ENOTTY", harmless="all"),
    "poll": Row("EFAULT EINTR EINVAL ENOMEM", harmless="all", fresh=True, hits=1),
    "poll_log": Row("EFAULT EINTR EINVAL ENOMEM", harmless="all"),
    "read": Row("EAGAIN EBADF EFAULT EINTR EINVAL EIO EISDIR", harmless="all", always=False, reloads=True, hits=5),
    "recv": Row("EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK ECONNRESET ETIMEDOUT EHOSTUNREACH "
                "ENETUNREACH ENETDOWN EPIPE EIO SHORT", harmless="EAGAIN EINTR SHORT", every=10),
    "recvmmsg": Row("EAGAIN EBADF ECONNREFUSED EFAULT EINTR EINVAL ENOMEM ENOTCONN ENOTSOCK EHOSTUNREACH ENETUNREACH EPROTO "
                    "EMSGSIZE SHORT", harmless="all", passing="EAGAIN EINTR SHORT ECONNREFUSED"),
    "send": Row("EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINTR EINVAL EISCONN EMSGSIZE ENOBUFS ENOMEM ENOTCONN "
                "ENOTSOCK EOPNOTSUPP EPIPE ETIMEDOUT EHOSTUNREACH SHORT", harmless="EAGAIN EINTR SHORT", every=10),
    "sendmmsg": Row("EACCES EAGAIN EALREADY EBADF ECONNRESET EDESTADDRREQ EFAULT EINTR EINVAL EISCONN EMSGSIZE ENOBUFS ENOMEM "
                    "ENOTCONN ENOTSOCK EOPNOTSUPP EPIPE ECONNREFUSED EHOSTUNREACH ENETUNREACH ENETDOWN EPERM SHORT",
                    harmless="all"),
    "setsockopt": Row("EBADF EFAULT EINVAL ENOPROTOOPT ENOTSOCK EDOM EISCONN ENOMEM ENOBUFS", harmless="all", hits=5),
    "write_bell": Row("EAGAIN EBADF EFAULT EINTR EINVAL EIO", harmless="all", always=False, reloads=True, hits=5),
    "write_log": Row("EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE SHORT", harmless="all"),
}

# The table's names of calls, as strace(1) has them; and what cannot fail, or not in a way that anybody could tell.
KERNEL_NAMES = {"recv": "recvfrom", "send": "sendto", "poll_log": "poll", "write_bell": "write", "write_log": "write"}
NO_FAULTS = {"futex", "restart_syscall", "brk", "mmap", "munmap", "madvise", "ppoll", "epoll_pwait"}


# ---- what fails ----

class Faults(ctypes.Structure):
    """The memory that faulty.c shares with us."""

    _fields_ = [(name, ctypes.c_uint32) for name in
                ("call", "error", "every", "calls", "hits", "failing_allocation", "failed_allocations")] + \
               [("live", ctypes.c_int32)]

    def arm(self, call, error, every):
        self.call = 0
        self.calls = self.hits = 0
        self.error = SHORT if error == "SHORT" else _number_of(error)
        self.every = every
        self.call = CALLS.index(call)

    def disarm(self):
        self.call = 0


def _number_of(name):
    import errno  # pylint: disable=import-outside-toplevel
    return getattr(errno, name)


class FaultyEchod(Echod):
    """A daemon with that library in it; .faults is the memory."""

    def __init__(self, failing_allocation=0, **arguments):
        self.shared = tempfile.NamedTemporaryFile(prefix="echod-faults-")
        self.shared.truncate(mmap.PAGESIZE)
        self.faults = Faults.from_buffer(mmap.mmap(self.shared.fileno(), mmap.PAGESIZE))
        self.faults.every = 1
        self.faults.failing_allocation = failing_allocation
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        super().__init__(environment={"LD_PRELOAD": LIBRARY, "FAULTS": self.shared.name, "ASAN_OPTIONS": sanitizer},
                         **arguments)

    def share(self, seconds):
        """Of one CPU that it takes in so many."""
        clock = (~self.process.pid << 3) | 2  # its CPU-time clock, see clock_getcpuclockid(3)
        cpu, begin = time.clock_gettime(clock), time.monotonic()
        time.sleep(seconds)
        return (time.clock_gettime(clock) - cpu) / (time.monotonic() - begin)

    def check_alive(self):
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n" + self.log()[-2000:]


# ---- a busy daemon ----

class Busy:
    """A daemon with clients, and with so many who are idle that there are connections in poll's array and in epoll's set."""

    def __init__(self):
        self.echod = FaultyEchod(top='workers = 2\nlog { level = "debug" }')
        self.alone = self.echod.descriptors()
        self.idle = [self.echod.connect(host) for host in self.echod.hosts * 120]
        for s in self.idle:
            check_stream(s)
        self.load = Load(self.echod)
        self.load.__enter__()

    def stop(self):
        self.load.__exit__()
        for s in self.idle:
            s.close()
        self.echod.__exit__(None)

    def faulty(self, call, error, row):
        """Some of the calls fail, then, if they can, all; how many did."""
        faults = self.echod.faults
        self.load.go_on()
        faults.arm(call, error, row.every)

        def enough():
            self.echod.check_alive()
            if row.reloads:
                self.echod.kill(signal.SIGHUP)
                self.echod.kill(signal.SIGUSR1)
            return faults.hits >= row.hits

        wait_for(enough, PATIENCE, f"{call} to be called")
        if row.always and error not in row.passing:
            # While the others wait, one more knocks: whoever cannot be served must not be tried again without end.
            self.load.rest()
            faults.every = 1
            with self.echod.connect() as s, self.echod.datagrams() as udp:
                s.sendall(b"x")
                udp.send(b"x")
                share = self.echod.share(0.12)
            assert share < CPU_SHARE, f"{share * 100:.0f} % of a CPU while it fails"
        faults.disarm()
        return faults.hits

    def check(self, lost, hits, harmless):
        """All is as it was before."""
        load, echod = self.load, self.echod
        load.settle()
        echod.check_alive()
        assert not load.wrong, load.wrong
        lost = load.lost - lost
        assert lost <= (0 if harmless else hits), f"{lost} connections were lost for {hits} failures"
        for s in self.idle[:20] + self.idle[-20:]:
            check_stream(s)
        echod.check()
        wait_for(lambda: echod.descriptors() == self.alone + len(self.idle), PATIENCE,
                 f"{self.alone + len(self.idle)} descriptors to be left")
        share = echod.share(0.05)
        assert share < CPU_SHARE, f"{share * 100:.0f} % of a CPU when it is over"
        assert "nothing changed" in echod.reload()
        del echod.lines[:]


_busy = None


def busy(fresh):
    """The daemon of the last test, unless that was its end."""
    global _busy  # pylint: disable=global-statement
    if _busy and (fresh or _busy.echod.process.poll() is not None or _busy.load.wrong):
        _busy.stop()
        _busy = None
    _busy = _busy or Busy()
    return _busy


for call_, row_ in TABLE.items():
    for error_ in row_.errors:
        @test(f"{call_}: {error_ if error_ != 'SHORT' else 'less than there is'}")
        def _(call=call_, error=error_, row=row_):
            where = busy(row.fresh)
            lost = where.load.lost
            hits = where.faulty(call, error, row)
            where.check(lost, hits, error in row.harmless)


if __name__ == "__main__":
    if not os.path.exists(LIBRARY):
        print("1..0 # SKIP needs a C library that lets a library preloaded replace its functions")
        raise SystemExit
    private_network()
    run_all()
