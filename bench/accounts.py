# SPDX-License-Identifier: ISC
"""The CPU time that a server has used, with all its processes."""

import os
import pathlib
import time


def processes_of(root):
    """The process `root` and its descendants: {pid: fields of /proc/PID/stat, beginning with the state}."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = pathlib.Path("/proc", entry, "stat").read_text("utf-8", "replace")
            except OSError:
                continue
            found[int(entry)] = text[text.rindex(")") + 2:].split()
    family = {root}
    while True:
        more = {pid for pid, stat in found.items() if int(stat[1]) in family} - family
        if not more:
            return {pid: found[pid] for pid in family if pid in found}
        family |= more


class Group:
    """A control group for the servers. It counts the CPU time of all their processes, even of those that have ended. If none can
    be made, `path` is None, and the CPU time of each process is read instead."""

    def __init__(self):
        self.path = None
        for line in pathlib.Path("/proc/self/cgroup").read_text("utf-8").splitlines():
            _, controllers, own = line.split(":", 2)
            top = "/sys/fs/cgroup" + (f"/{controllers}" if controllers else "")
            self.file = "cpuacct.usage" if controllers else "cpu.stat"
            if controllers and "cpuacct" not in controllers.split(","):
                continue
            path = pathlib.Path(top + own, f"echod-bench-{time.monotonic_ns()}")
            try:
                path.mkdir()
            except OSError:
                continue
            self.path = path
            if (path / self.file).exists():
                return
            self.remove()

    def join(self):
        if self.path:
            (self.path / "cgroup.procs").write_text("0", "ascii")

    def cpu(self, root):
        """Seconds of CPU time so far; only the difference of two values has a meaning."""
        if not self.path:
            return cpu_of_tree(root)
        words = (self.path / self.file).read_text("ascii").split()
        return int(words[0]) / 1e9 if self.file == "cpuacct.usage" else int(words[words.index("usage_usec") + 1]) / 1e6

    def remove(self):
        if not self.path:
            return
        for _ in range(100):
            try:
                self.path.rmdir()
                break
            except OSError:  # A killed process is still ending.
                time.sleep(0.02)
        self.path = None


def cpu_of_tree(root):
    """Seconds of CPU time of a process, its threads, its descendants, and the ended children that these waited for."""
    tick = os.sysconf("SC_CLK_TCK")
    total = 0.0
    for pid, stat in processes_of(root).items():
        total += (int(stat[13]) + int(stat[14])) / tick  # cutime, cstime
        try:  # Nanoseconds if the kernel counts them, otherwise ticks.
            threads = pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")
            own = sum(int(path.read_text("ascii").split()[0]) for path in threads) / 1e9
        except (OSError, IndexError):
            own = 0
        total += own or (int(stat[11]) + int(stat[12])) / tick
    return total


def resident(root):
    """Octets of resident memory of a process and its descendants, not rounded."""
    return sum(int(line.split()[1]) * 1024 for pid in processes_of(root)
               for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines() if line.startswith("Rss:"))


def settled_cpu(group, root):
    """The CPU time when it has stopped growing, or after a second."""
    before = group.cpu(root)
    for _ in range(50):
        time.sleep(0.02)
        now = group.cpu(root)
        if now - before < 0.0001:
            return now
        before = now
    return before
