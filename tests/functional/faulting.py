# SPDX-License-Identifier: ISC
"""A daemon whose calls fail when told so: faulty.c is preloaded into it."""

import ctypes
import errno
import mmap
import os
import tempfile
import time

from daemon import THREAD_SANITIZED, Echod
from lib import skip

_LIBRARY = f"{os.environ['BUILDDIR']}/tests/functional/faulty.so"

# In the order of faulty.c.
_CALLS = ("none accept4 clock_gettime close epoll_ctl epoll_wait getpeername ioctl poll_log read recv recvmmsg send sendmmsg "
          "setsockopt timerfd_settime write_bell write_log").split()


class Faults(ctypes.Structure):
    """The memory that faulty.c shares with us."""

    _fields_ = [(name, ctypes.c_uint32) for name in
                ("call", "error", "every", "calls", "hits", "failing_allocation", "failed_allocations")] + \
               [("live", ctypes.c_int32)]

    def arm(self, call, error, every):
        """From now on every `every`th such call fails with this error. SHORT: it succeeds, but does less than it could."""
        self.call = 0
        self.calls = self.hits = 0
        self.error = 0 if error == "SHORT" else getattr(errno, error)
        self.every = every
        self.call = _CALLS.index(call)

    def disarm(self):
        self.call = 0
        self.failing_allocation = 0

    def fail_allocation(self, number):
        """Let one allocation fail: 1 is the next."""
        self.failed_allocations = 0
        self.failing_allocation = number


class FaultyEchod(Echod):
    def __init__(self, failing_allocation=0, **arguments):
        if THREAD_SANITIZED:
            skip("ThreadSanitizer bears no other library that replaces functions")
        self.shared = tempfile.TemporaryFile()
        self.shared.truncate(mmap.PAGESIZE)
        # Under a unit it is of another user when it opens that; nor could it write to a file that has a name there.
        os.fchmod(self.shared.fileno(), 0o666)
        self.faults = Faults.from_buffer(mmap.mmap(self.shared.fileno(), mmap.PAGESIZE))
        self.faults.every = 1
        self.faults.fail_allocation(failing_allocation)
        # AddressSanitizer demands to be the first library; this lets it be the second.
        sanitizer = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
        super().__init__(environment={"LD_PRELOAD": _LIBRARY, "FAULTS": "/proc/self/fd/1", "ASAN_OPTIONS": sanitizer},
                         stdout=self.shared, **arguments)

    def share(self, seconds):
        """The share of one CPU that the daemon uses during this time."""
        clock = (~self.process.pid << 3) | 2  # its CPU-time clock, see clock_getcpuclockid(3)
        cpu, begin = time.clock_gettime(clock), time.monotonic()
        time.sleep(seconds)
        return (time.clock_gettime(clock) - cpu) / (time.monotonic() - begin)

    def check_alive(self):
        assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n" + self.log()[-2000:]
