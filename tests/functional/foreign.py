# SPDX-License-Identifier: ISC
"""Other C libraries and older kernels than those of this machine.

A library that is preloaded makes the system calls of another C library. For an older kernel a filter of the test's own, which
programs inherit, makes calls fail as they fail there.
"""

import ctypes
import errno
import os
import pathlib
import re
import subprocess

from daemon import ECHOD, PATIENCE, SANITIZED, Echod, private_network
from lib import run_all, skip, test
from service import not_under_unit

ECHO_PROBE = os.environ["ECHO_PROBE"]
LIBRARY = f"{os.environ['BUILDDIR']}/tests/functional/foreign_libc.so"

SO_TIMESTAMPING, SO_RXQ_OVFL, IP_MINTTL, IPV6_MINHOPCOUNT, UDP_SEGMENT, UDP_GRO = 37, 40, 21, 73, 103, 104
SOL_SOCKET, SOL_IP, SOL_IPV6, SOL_UDP = 1, 0, 41, 17
PR_SET_SECCOMP = 22

# Feature: the calls without it, with the arguments that count as {index: value}, and their errno.
FEATURES = {
    "epoll_pwait2": [("epoll_pwait2", {}, errno.ENOSYS)],
    "SO_TIMESTAMPING": [("setsockopt", {1: SOL_SOCKET, 2: SO_TIMESTAMPING}, errno.ENOPROTOOPT)],
    "SO_RXQ_OVFL": [("setsockopt", {1: SOL_SOCKET, 2: SO_RXQ_OVFL}, errno.ENOPROTOOPT)],
    "IP_MINTTL": [("setsockopt", {1: SOL_IP, 2: IP_MINTTL}, errno.ENOPROTOOPT),
                  ("setsockopt", {1: SOL_IPV6, 2: IPV6_MINHOPCOUNT}, errno.ENOPROTOOPT)],
    "GRO and GSO": [("setsockopt", {1: SOL_UDP, 2: UDP_GRO}, errno.ENOPROTOOPT),
                    ("setsockopt", {1: SOL_UDP, 2: UDP_SEGMENT}, errno.ENOPROTOOPT)],
    "Landlock": [("landlock_create_ruleset", {}, errno.ENOSYS)],
    "seccomp": [("seccomp", {}, errno.ENOSYS), ("prctl", {0: PR_SET_SECCOMP}, errno.EINVAL)],
}

ALLOW, ERRNO, EQUAL = 0x7fff0000, 0x00050000, 4


class Argument(ctypes.Structure):
    """struct scmp_arg_cmp of libseccomp."""

    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def libseccomp():
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        skip("needs libseccomp")
    library.seccomp_init.restype = ctypes.c_void_p
    library.seccomp_load.argtypes = [ctypes.c_void_p]
    library.seccomp_rule_add_array.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint,
                                               ctypes.POINTER(Argument)]
    return library


def without(*features):
    """What a child has to call to be on a kernel without these features."""
    library = libseccomp()

    def enter():
        kernel = library.seccomp_init(ALLOW)
        for feature in features:
            for call, arguments, error in FEATURES[feature]:
                number = library.seccomp_syscall_resolve_name(call.encode())
                compared = (Argument * 6)(*(Argument(i, EQUAL, value) for i, value in arguments.items()))
                assert library.seccomp_rule_add_array(kernel, ERRNO | error, number, len(arguments), compared) == 0
        assert library.seccomp_load(kernel) == 0
    return enter


def need_sandbox():
    not_under_unit("the unit starts echod")
    if SANITIZED:
        skip("an instrumented build has no sandbox")
    with Echod() as echod:
        if "seccomp (" not in echod.wait_line("ready:"):
            skip("this build or kernel has no seccomp")


def probe(*arguments, enter=None):
    return subprocess.run([ECHO_PROBE, "-c", "3", "-i", "0.01", *arguments], preexec_fn=enter, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)


# ---- another C library ----

@test("the calls of another C library, and calls that echod does not know: it echoes, reloads, and names each such call once")
def _():
    need_sandbox()
    if b"ld-linux" not in pathlib.Path(ECHOD).read_bytes():
        skip("a static program, or one of another C library, loads no library of ours")
    with Echod(environment={"LD_PRELOAD": LIBRARY}, top="workers = 2") as echod:
        for _ in range(3):
            echod.check()
            with echod.datagrams() as s:
                for size in (0, 1, 1472, 65507):
                    s.send(b"x" * size)
                    assert s.recv(65536) == b"x" * size
            assert "nothing changed" in echod.reload()
        counters = echod.wait_line("sandbox made the system call getuid") and echod.counters()
        assert counters["sandbox_refused_calls"] > 6, counters
        for call in ("getppid", "getuid"):
            echod.wait_line(f"the sandbox made the system call {call} \\(\\d+\\) fail")
            assert echod.log().count(f"system call {call} ") == 1, echod.log()
        assert echod.log().count("the sandbox made the system call") == 2, echod.log()
        assert echod.stop() == 0


@test("with the C library of this machine no call fails in the sandbox")
def _():
    need_sandbox()
    with Echod(top="workers = 2") as echod:
        echod.check()
        echod.reload()
        assert echod.counters()["sandbox_refused_calls"] == 0


# ---- older kernels ----

for feature_ in ("SO_RXQ_OVFL", "IP_MINTTL", "GRO and GSO", "epoll_pwait2"):
    @test(f"a kernel without {feature_}: echod echoes, and a reload moves its sockets")
    def _(feature=feature_):
        not_under_unit("the unit starts echod")
        with Echod(user=without(feature), top="workers = 2", hosts=("127.0.0.1",)) as echod, echod.connect() as s:
            echod.check()
            assert "reloaded" in echod.change(hosts=("0.0.0.0",))
            echod.check_tcp("127.0.0.1")
            echod.check_udp("127.0.0.1")
            s.sendall(b"still here")
            assert s.recv(10) == b"still here"
            assert "sandbox made the system call" not in echod.log(), echod.log()


for feature_, protocol_ in (("SO_TIMESTAMPING", "udp"), ("epoll_pwait2", "udp"), ("epoll_pwait2", "tcp"), ("GRO and GSO", "udp")):
    @test(f"a kernel without {feature_}: echo-probe measures {protocol_}")
    def _(feature=feature_, protocol=protocol_):
        with Echod() as echod:
            done = probe(protocol, "127.0.0.1", str(echod.port), enter=without(feature))
            assert done.returncode == 0 and "3 received" in done.stdout, done


def start_without(*features):
    """The log of an echod that serves on such a kernel."""
    need_sandbox()
    with Echod(user=without(*features)) as echod:
        echod.check()
        assert "nothing changed" in echod.reload()
        return echod.log()


@test("a kernel without seccomp: the sandbox is Landlock alone; the ready line and one notice say what is missing")
def _():
    log = start_without("seccomp")
    assert re.search(r"ready: .*sandbox: no seccomp, ", log), log
    assert log.count("the sandbox is incomplete: ") == 1 and "no seccomp (" in log, log


@test("a kernel without Landlock: the sandbox is seccomp alone; the ready line and one notice say what is missing")
def _():
    log = start_without("Landlock")
    assert re.search(r"ready: .*sandbox: seccomp \(\d+ calls.*\), no Landlock", log), log
    assert log.count("the sandbox is incomplete: ") == 1 and "no Landlock (" in log, log


@test("a kernel without both: echod serves; the ready line and one notice say so")
def _():
    log = start_without("seccomp", "Landlock")
    assert "sandbox: no seccomp, no Landlock" in log, log
    assert len(re.findall("the sandbox is incomplete: no Landlock .*; no seccomp ", log)) == 1, log


@test("sandbox-required = true: where part of the sandbox is missing echod does not start, says what, and exits with 78")
def _():
    need_sandbox()
    for feature, said in (("seccomp", "no seccomp "), ("Landlock", "no Landlock ")):
        with Echod(user=without(feature), top="sandbox-required = true", wait=False, status=os.EX_CONFIG) as echod:
            assert echod.wait() == os.EX_CONFIG
            assert re.search(f"the sandbox is incomplete, and .* has sandbox-required = true: {said}", echod.log()), echod.log()
    with Echod() as echod:
        complete = "the sandbox is incomplete" not in echod.log()
    with Echod(top="sandbox-required = true", wait=False, status=0 if complete else os.EX_CONFIG) as echod:
        assert bool(echod.wait_line("ready:", or_end=True)) == complete, echod.log()


if __name__ == "__main__":
    private_network()
    run_all()
