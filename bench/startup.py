#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""How long echod takes from exec to READY=1 with the default configuration, and from SIGTERM to its end when idle:

    bench/startup.py BUILD [TIMES]      100 times if not said
"""

import os
import select
import signal
import socket
import statistics
import sys
import tempfile
import time

PORT = 20000 + os.getpid() % 10000
CONFIG = os.path.join(os.path.dirname(__file__), "..", "etc", "echod.conf")


def ready(messages):
    return any(line == b"READY=1" for line in messages.recv(4096).split(b"\n"))


def start(program, messages):
    """The process, and the seconds that it took; those of fork(2) included."""
    command = [program, "-f", CONFIG, "-p", str(PORT), "-l", "error"]
    begin = time.monotonic()
    pid = os.posix_spawn(program, command, {"NOTIFY_SOCKET": messages.getsockname()})
    try:
        while not ready(messages):
            pass
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
        raise
    return pid, time.monotonic() - begin


def stop(pid):
    process = os.pidfd_open(pid)
    begin = time.monotonic()
    signal.pidfd_send_signal(process, signal.SIGTERM)
    select.select([process], [], [])
    taken = time.monotonic() - begin
    os.close(process)
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"echod ended with {status}"
    return taken


def tell(what, times):
    print(f"{what}: {statistics.median(times) * 1000:.1f} ms (median of {len(times)}), {max(times) * 1000:.1f} ms at most")


def main(build, times=100):
    program = os.path.join(build, "src", "echod")
    starts, stops = [], []
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        messages.bind(os.path.join(folder, "notify"))
        messages.settimeout(10)
        for _ in range(times):
            pid, taken = start(program, messages)
            starts.append(taken)
            stops.append(stop(pid))
    tell("exec to READY=1", starts)
    tell("SIGTERM to the end", stops)


main(sys.argv[1], *map(int, sys.argv[2:3]))
