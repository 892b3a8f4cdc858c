# SPDX-License-Identifier: ISC
"""Each system call of the running daemon fails in turn, with each of its errors: the daemon serves on, without a spin or a leak.

Every system call of a busy daemon is in the table below, with the errors that its manual page lists, those that the network may
hand on, and short counts where there are any. While clients are served, some of these calls fail (faulty.c, preloaded, sees to
that); then, where that can be, all of them do.
"""

import re
import shutil
import signal
import subprocess

from daemon import PATIENCE, check_stream, private_network
from faulting import FaultyEchod
from lib import note, run_all, skip, test, wait_for
from load import Load

# Of one CPU; a spin takes all of it.
CPU_SHARE = 0.6


class Row:
    def __init__(
        self,
        errors,
        harmless="",   # of these, those that end no connection; "all" of them, by default none
        passing="EAGAIN EINTR SHORT",  # those that do not last: a call that is said to be ready, and never is, does not occur
        always=True,   # whether all calls may fail for a while, with the errors that are not passing
        every=3,       # one call in `every` fails
        hits=15,       # failures that make a test
        reloads=False,  # what brings it about are signals and reloads
        fresh=False,   # whether each error needs a daemon of its own, because the failure changes the daemon
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
    "timerfd_settime": Row("EBADF ECANCELED EFAULT EINVAL", harmless="all", fresh=True, hits=1),
    "write_bell": Row("EAGAIN EBADF EFAULT EINTR EINVAL EIO", harmless="all", always=False, reloads=True, hits=5),
    "write_log": Row("EAGAIN EBADF EDESTADDRREQ EDQUOT EFAULT EFBIG EINTR EINVAL EIO ENOSPC EPERM EPIPE SHORT", harmless="all"),
}

# What strace(1) calls them; and what is called besides, but never fails, or in a way that nobody could tell.
KERNEL_NAMES = {"recv": "recvfrom", "send": "sendto", "poll_log": "poll", "write_bell": "write", "write_log": "write"}
NEVER_FAILING = {"futex", "restart_syscall", "brk", "madvise", "mmap", "munmap"}  # allocations: see allocations.py


# ---- a busy daemon ----

class Busy:
    """A daemon with busy clients and 240 idle ones."""

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
            # While all other clients rest, a new one comes. A call that fails must not be tried again in a spin.
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


@test("no other system call than those of the table is made while clients are served")
def _():
    if not shutil.which("strace"):
        skip("needs strace")
    where = busy(True)
    known = {KERNEL_NAMES.get(call, call) for call in TABLE} | NEVER_FAILING
    with subprocess.Popen(["strace", "-f", "-qq", "-p", str(where.echod.process.pid)], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True) as tracer:
        made = set()
        enough = where.load.connections + 200
        for line in tracer.stderr:
            found = re.match(r"(?:\[pid +\d+\] )?(\w+)\(", line)
            made |= {found[1]} if found else set()
            if not found and "attach" in line:
                where.stop()
                skip(line.strip())
            if where.load.connections >= enough:
                break
        tracer.send_signal(signal.SIGINT)
        tracer.stderr.read()
    note(" ".join(sorted(made)))
    assert made <= known, made - known
    assert "recvmmsg" in made and "accept4" in made


for call_, row_ in TABLE.items():
    for error_ in row_.errors:
        @test(f"the daemon serves on while {call_}() {'fails with ' + error_ if error_ != 'SHORT' else 'does less than it could'}")
        def _(call=call_, error=error_, row=row_):
            where = busy(row.fresh)
            lost = where.load.lost
            hits = where.faulty(call, error, row)
            where.check(lost, hits, error in row.harmless)


if __name__ == "__main__":
    private_network()
    run_all()
