# SPDX-License-Identifier: ISC
"""Tests that speak TAP, in the order they are written:

    from lib import run_all, skip, test

    @test("a datagram comes back")
    def _():
        assert echo(b"x") == b"x", "it did not"

    run_all()
"""

import random
import socket
import sys
import time
import traceback

_tests = []


class Skip(Exception):
    """The reason why a test cannot run here."""


def test(description):
    """Register a function; it fails by raising anything but Skip."""

    def register(function):
        _tests.append((description, function))
        return function

    return register


def skip(reason):
    """Leave the test that calls this, without a verdict."""
    raise Skip(reason)


def note(text):
    """A remark for the log, on as many lines as it has."""
    for line in str(text).splitlines():
        print(f"# {line}", flush=True)


def run_all():
    """Run what is registered, print TAP, and exit with 1 if anything failed. Arguments select by a part of the description."""
    chosen = [(what, run) for what, run in _tests if not sys.argv[1:] or any(part in what for part in sys.argv[1:])]
    failed = 0
    print(f"1..{len(chosen)}", flush=True)
    for number, (what, run) in enumerate(chosen, 1):
        try:
            run()
            print(f"ok {number} - {what}", flush=True)
        except Skip as reason:
            print(f"ok {number} - {what} # SKIP {reason}", flush=True)
        except Exception:  # pylint: disable=broad-exception-caught
            failed += 1
            print(f"not ok {number} - {what}", flush=True)
            note(traceback.format_exc())
    sys.exit(1 if failed else 0)


def free_port():
    """A port that nobody on 127.0.0.1 uses, neither for TCP nor for UDP, and that the kernel gives nobody who asks for any.
    Another process may be faster all the same: prefer port 0."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        lowest_given = int(file.read().split()[0])
    for _ in range(100):
        port = random.randrange(10000, lowest_given) if lowest_given > 11000 else 0
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as tcp, \
             socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                port = tcp.getsockname()[1]
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free on 127.0.0.1")


def wait_for(predicate, seconds, what):
    """Poll until the predicate returns something true, and return that; fail when time is up."""
    end = time.monotonic() + seconds
    pause = 0.001
    while True:
        result = predicate()
        if result:
            return result
        if time.monotonic() >= end:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
