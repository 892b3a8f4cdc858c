# SPDX-License-Identifier: ISC
"""check_echo, the monitoring plugin, against servers that answer by a script."""

import functools
import os
import re
import signal
import socket
import tempfile
import threading

import probing
from daemon import THREAD_SANITIZED
from lib import run_all, skip, test
from probing import Full, Running, Tcp, Udp, all_of, bound, closed_port, hosts, reset_at_close, without_network

CHECK_ECHO = os.environ["CHECK_ECHO"]
OK, WARNING, CRITICAL, UNKNOWN = range(4)

# Thresholds and a limit that only a failure reaches.
LENIENT = ("-w", "3600000,90%", "-c", "3600000,100%")
PATIENT = ("-t", "50")

MS = r"\d+\.\d{3,}"

run = functools.partial(probing.run, program=CHECK_ECHO)


def expect_line(done, status, text, performance=None):
    """Standard output must be this one line, and no other."""
    name = ("OK", "WARNING", "CRITICAL", "UNKNOWN")[status]
    perfdata = rf"\|{performance}" if performance else ""
    return done.expect(status, rf"\AECHO {name} - {text}{perfdata}\n\Z")


def expect_refusal(done, text):
    done.expect(UNKNOWN, rf"\AECHO UNKNOWN - {text}\nUsage: check_echo -H HOST [^|]*\Z")


def rta(warning, critical, value=MS + "ms"):
    return rf"rta={value};{re.escape(warning)};{re.escape(critical)};0; "


# ---- states ----

for kind, option in ((Udp, "--udp"), (Tcp, "--tcp")):
    for host in ("127.0.0.1", "::1"):
        @test(f"{option} of an echo at {host} is OK, with performance data as check_icmp writes it")
        def _(kind=kind, option=option, host=host):
            with kind(host=host) as server:
                done = run("-H", host, "-p", server.port, option, *PATIENT, "-w", "40000.5,20%", "-c", "50000,40%")
            expect_line(done, OK, rf"{host}: rta {MS}ms, lost 0%", rta("40000.500", "50000.000") + "pl=0%;20;40;0;100")
            assert len(set(re.findall(r"rta[ =](\d+\.\d+)ms", done.out))) == 1, "text and performance data differ"


@test("the defaults are five datagrams, 100 ms and 10 % to warn, 500 ms and 50 % to be critical")
def _():
    sizes = []
    with Udp(lambda n, data: sizes.append(len(data)) or [data]) as server:
        done = run("-H", "127.0.0.1", "-p", server.port)
    assert sizes == [56] * 5, sizes
    done.expect(done.status, r"\|rta=.*;100\.000;500\.000;0; pl=.*;10;50;0;100$")


@test("a round trip that reaches a threshold is WARNING or CRITICAL")
def _():
    with Udp() as server:
        expect_line(run("-H", "127.0.0.1", "-p", server.port, *PATIENT, "-w", "0,100%", "-c", "3600000,100%"), WARNING,
               rf"127\.0\.0\.1: rta {MS}ms, lost 0%", rta("0.000", "3600000.000") + "pl=0%;100;100;0;100")
        expect_line(run("-H", "127.0.0.1", "-p", server.port, *PATIENT, "-w", "0,100%", "-c", "0,100%"), CRITICAL,
               rf"127\.0\.0\.1: rta {MS}ms, lost 0%", rta("0.000", "0.000") + "pl=0%;100;100;0;100")


@test("loss that reaches a threshold is WARNING or CRITICAL")
def _():
    def check(warning, critical, state):
        with Udp(lambda n, data: [data] if n != 2 else []) as server:
            done = run("-H", "127.0.0.1", "-p", server.port, "-t", "3", "-w", f"3600000,{warning}%", "-c", f"3600000,{critical}")
        expect_line(done, state, rf"127\.0\.0\.1: rta {MS}ms, lost 20%",
               rta("3600000.000", "3600000.000") + rf"pl=20%;{re.escape(warning)};{re.escape(critical)};0;100")

    # Each waits for the lost reply until its time is up: together.
    all_of(lambda: check("20.01", "100", OK), lambda: check("20", "20.01", WARNING), lambda: check("10", "20", CRITICAL))


@test("no reply at all is CRITICAL, and the round trip unknown")
def _():
    with Udp(lambda n, data: []) as server:
        done = run("-H", "127.0.0.1", "-p", server.port, "-n", "3", "-t", "0.5", *LENIENT)
    expect_line(done, CRITICAL, r"127\.0\.0\.1: no reply, lost 100%",
                rta("3600000.000", "3600000.000", "U") + "pl=100%;90;100;0;100")


WRONG = {
    "corrupt": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "truncated": lambda data: data[:-1],
}
for what, spoil in WRONG.items():
    @test(f"a reply that is {what} is CRITICAL, whatever the thresholds")
    def _(what=what, spoil=spoil):
        with Udp(lambda n, data: [spoil(data) if n == 3 else data]) as server:
            done = run("-H", "127.0.0.1", "-p", server.port, *PATIENT, *LENIENT)
        expect_line(done, CRITICAL, rf"127\.0\.0\.1: rta {MS}ms, lost 20%, 1 {what}",
               rta("3600000.000", "3600000.000") + "pl=20%;90;100;0;100")


@test("replies that are all wrong are CRITICAL, and not said to be missing")
def _():
    with Udp(lambda n, data: [data[:20]]) as server:
        done = run("-H", "127.0.0.1", "-p", server.port, *PATIENT, *LENIENT)
    expect_line(done, CRITICAL, r"127\.0\.0\.1: lost 100%, 5 truncated", "rta=U;.*")


@test("a reply from another address is CRITICAL")
def _():
    other = bound(socket.SOCK_DGRAM, "127.0.0.1")
    with other, Udp(lambda n, data: [(other, data) if n == 1 else data]) as server:
        done = run("-H", "127.0.0.1", "-p", server.port, "-t", "5", *LENIENT)
    expect_line(done, CRITICAL, rf"127\.0\.0\.1: rta {MS}ms, lost 20%, 1 from a wrong source", "rta=.*")


for option in ("--udp", "--tcp"):
    @test(f"{option} is CRITICAL at once where nobody listens")
    def _(option=option):
        done = run("-H", "127.0.0.1", "-p", closed_port(), option, *PATIENT)
        expect_line(done, CRITICAL, r"127\.0\.0\.1: connection refused, lost 100%", "rta=U;.* pl=100%;.*")


@test("a UDP service that goes away during the check is CRITICAL, whatever the thresholds")
def _():
    with bound(socket.SOCK_DGRAM, "127.0.0.1") as server:
        server.settimeout(probing.PATIENCE)
        with Running("-H", "127.0.0.1", "-p", server.getsockname()[1], *PATIENT, *LENIENT, program=CHECK_ECHO) as running:
            data, client = server.recvfrom(100)
            server.sendto(data, client)
            server.close()
            running.read_until(rf"^ECHO CRITICAL - 127\.0\.0\.1: rta {MS}ms, lost \d+%, \d refused\|rta=")


@test("a TCP server that closes or resets the connection is CRITICAL")
def _():
    def end(server, connection, prepare):
        connection.sendall(server.take(connection, 56))
        server.take(connection, 56)
        prepare(connection)

    for prepare, text in ((lambda connection: None, "closed"), (reset_at_close, "reset")):
        with Tcp(functools.partial(end, prepare=prepare)) as server:
            done = run("-H", "127.0.0.1", "-p", server.port, "--tcp", *PATIENT, *LENIENT)
        expect_line(done, CRITICAL, rf"127\.0\.0\.1: connection {text} by the peer, rta {MS}ms, lost .*%", "rta=.*")


@test("a network that cannot be reached is CRITICAL")
def _():
    done = run("-H", "192.0.2.1", prefix=without_network())
    expect_line(done, CRITICAL, r"192\.0\.2\.1: Network is unreachable, lost 100%", "rta=U;.*")


# ---- time ----

@test("-t ends the check of a TCP server that does not accept")
def _():
    with Full() as server:
        expect_line(run("-H", "127.0.0.1", "-p", server.port, "--tcp", "-t", "0.5"), CRITICAL,
               r"127\.0\.0\.1: (no connection in time|Connection timed out), lost 100%", "rta=U;.*")


@test("-t ends the check of a TCP server that accepts and does not answer")
def _():
    with Tcp(Tcp.wait_end) as server:
        expect_line(run("-H", "127.0.0.1", "-p", server.port, "--tcp", "-t", "0.5"), CRITICAL,
               r"127\.0\.0\.1: no reply, lost 100%", "rta=U;.*")


@test("-t ends the check of a TCP server that reads less than is sent")
def _():
    with Tcp(lambda server, connection: server.readable()) as server:
        expect_line(run("-H", "127.0.0.1", "-p", server.port, "--tcp", "-t", "0.5", "-s", "16777216"), CRITICAL,
               r"127\.0\.0\.1: no reply, lost 100%", "rta=U;.*")


@test("within -t all packets are sent, however many")
def _():
    with Udp() as server:
        done = run("-H", "127.0.0.1", "-p", server.port, "-n", "100", "-t", "4", *LENIENT)
    expect_line(done, OK, rf".*: rta {MS}ms, lost 0%", "rta=.*")


@test("the addresses of a name share the time of -t, so that one that lets nobody in leaves some to the next")
def _():
    with Tcp(host="::1"), Tcp() as server, hosts("::1 two.test\n127.0.0.1 two.test\n") as prefix, Full("::1", server.port):
        done = run("-H", "two.test", "-p", server.port, "--tcp", "-t", "3", "-v", *LENIENT, prefix=prefix)
    done.expect(OK, r"\AECHO OK - two\.test: rta ", rf"^tcp to 127\.0\.0\.1:{server.port}$")


# Runs its arguments while it holds the port of the name service, and never answers.
SILENCE = r"""
import fcntl, socket, struct, subprocess, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
request = struct.pack("16sh14x", b"lo", 0)
flags = struct.unpack("16sh14x", fcntl.ioctl(s, 0x8913, request))[1]
fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))
s.bind(("127.0.0.1", 53))
sys.exit(subprocess.call(sys.argv[1:]))
"""


@test("a name service that does not answer within -t is UNKNOWN")
def _():
    if THREAD_SANITIZED:
        skip("ThreadSanitizer holds the alarm back until the name service answers")
    for name in ("resolv.conf", "nsswitch.conf"):
        if not os.path.exists(f"/etc/{name}"):
            skip(f"needs /etc/{name}")
    with tempfile.NamedTemporaryFile("w") as resolv, tempfile.NamedTemporaryFile("w") as switch:
        resolv.write("nameserver 127.0.0.1\noptions timeout:30 attempts:5\n")
        switch.write("hosts: dns\n")
        resolv.flush()
        switch.flush()
        commands = f'mount --bind {resolv.name} /etc/resolv.conf && mount --bind {switch.name} /etc/nsswitch.conf && exec "$@"'
        done = run("-H", "echo.example", "-t", "0.5",
                   prefix=[*without_network(), "--mount", "sh", "-c", commands, "sh", "python3", "-c", SILENCE])
        if "mount" in done.err:
            skip(f"needs bind mounts: {done.err}")
        expect_line(done, UNKNOWN, r"echo\.example: the name service has not answered within 0\.5 s")


@test("a check that is interrupted is UNKNOWN")
def _():
    asked = threading.Event()
    with Udp(lambda n, data: asked.set() or []) as server:
        with Running("-H", "127.0.0.1", "-p", server.port, *PATIENT, program=CHECK_ECHO) as running:
            assert asked.wait(probing.PATIENCE)
            expect_line(running.end(signal.SIGTERM), UNKNOWN, r"127\.0\.0\.1: interrupted, lost 100%", "rta=U;.*")


# ---- options ----

@test("-n is the number of packets and -s their size, and long options mean the same")
def _():
    for packets, size in (("-n", "-s"), ("--packets", "--size")):
        sizes = []
        with Udp(lambda n, data, sizes=sizes: sizes.append(len(data)) or [data]) as server:
            expect_line(run("--hostname", "127.0.0.1", "--port", server.port, "--timeout", "50", packets, 7, size, 1000,
                       "--warning", "3600000,90%", "--critical", "3600000,90%"), OK, ".*", "rta=.*")
        assert sizes == [1000] * 7, sizes


@test("-v adds lines after the one that monitoring reads")
def _():
    with Udp(lambda n, data: [data, data] if n == 1 else [data]) as server:
        done = run("-H", "127.0.0.1", "-p", server.port, *PATIENT, *LENIENT, "-v")
    done.expect(OK, rf"\AECHO OK - 127\.0\.0\.1: rta {MS}ms, lost 0%\|rta=.*\n"
                rf"udp to 127\.0\.0\.1:{server.port}\n5 sent, 5 received, 1 duplicates?(, \d+ delayed)?\n"
                rf"rtt min/avg/max/mdev = {MS}/{MS}/{MS}/{MS} ms, jitter {MS} ms\n\Z")


@test("-4 and -6 choose the family")
def _():
    for host, wrong in (("127.0.0.1", "-6"), ("::1", "-4")):
        done = run("-H", host, wrong)
        done.expect(UNKNOWN, rf"\AECHO UNKNOWN - host '{host}': .*\n\Z")


@test("a name that is not found is UNKNOWN, on one line")
def _():
    done = run("-H", "nosuch.invalid", prefix=without_network())
    done.expect(UNKNOWN, r"\AECHO UNKNOWN - host 'nosuch\.invalid': .*\n\Z")


@test("UNKNOWN for an address that stands for every address of this host")
def _():
    with Udp() as server:
        for host in ("0.0.0.0", "0", "::", "[::0]", "::ffff:0.0.0.0"):
            expect_line(run("-H", host, "-p", server.port), UNKNOWN,
                   rf"{re.escape(host)} stands for every address of this host: give the address of the host to check")
        with hosts("0.0.0.0 blocked\n") as prefix:
            expect_line(run("-H", "blocked", prefix=prefix), UNKNOWN, "blocked stands for every address of this host: .*")


@test("ranges of the guidelines as thresholds, a time without a loss, and performance data with all their digits")
def _():
    with Udp() as server:
        for warning, critical, state, shown in (
                ("0:3600000", "3600000", OK, "0.000:3600000.000;3600000.000;0; pl=0%;;;0;100"),
                ("1000:", "3600000", WARNING, "1000.000:;3600000.000;0; pl=0%;;;0;100"),
                ("~:3600000", "@0:3600000", CRITICAL, "0.000:3600000.000;@0.000:3600000.000;0; pl=0%;;;0;100"),
                ("3600000,@0:10%", "3600000,100%", WARNING, "3600000.000;3600000.000;0; pl=0%;@0:10;100;0;100"),
                ("3600000,5:20", "3600000,0.25:", CRITICAL, "3600000.000;3600000.000;0; pl=0%;5:20;0.25:;0;100"),
                ("1000.0015", "2000.000001,99.99%", OK, "1000.0015;2000.000001;0; pl=0%;;99.99;0;100")):
            done = run("-H", "127.0.0.1", "-p", server.port, *PATIENT, "-w", warning, "-c", critical)
            expect_line(done, state, rf"127\.0\.0\.1: rta {MS}ms, lost 0%", rf"rta={MS}ms;" + re.escape(shown))


REFUSED = [
    ([], "-H HOST must be given"),
    (["-H", "x", "y"], "argument 'y': only options are allowed, .*"),
    (["-H", "x", "-p", "0", "-4"], None),
    (["-H", "x", "-n", "0"], "-n '0': a whole number from 1 to 1000 is allowed"),
    (["-H", "x", "-n", "1001"], "-n '1001': .*"),
    (["-H", "x", "-t", "0"], "-t '0': seconds from 0.1 to 3600 are allowed, as in 0.5"),
    (["-H", "x", "-t", "3601"], "-t '3601': .*"),
    (["-H", "x", "-s", "65528"], "-s for udp '65528': a whole number from 0 to 65527 is allowed"),
    (["-H", "127.0.0.1", "-s", "65508"], "-s for udp over IPv4 '65508': a whole number from 0 to 65507 is allowed"),
    (["-H", "x", "-s", "0", "--tcp"], "-s for tcp '0': .*"),
    (["-H", "x", "-w", "200,10%", "-c", "100,20%"], r"-w 200\.000,10% must not be more than -c 100\.000,20%"),
    (["-H", "x", "-w", "100,30%", "-c", "100,20%"], r"-w 100\.000,30% must not be more than -c 100\.000,20%"),
    (["-H", "x", "-w", "600,1%"], r"-w 600\.000,1% must not be more than -c 500\.000,50%"),
    *((["-H", "x", option, value], rf"{option} '{re.escape(value)}': milliseconds to 3600000, a comma, and percent to 100 are .*")
      for option in ("-w", "-c") for value in ("", "100,", "20:10", "~", "@", ":", "1:2:3", "1,9:3%", ",10%", "100,101%", "3600001,1%", "-1,1%", "1,1%%", "1;1%")),
]


@test("options that are not allowed are UNKNOWN, with the usage on standard output")
def _():
    for arguments, text in REFUSED:
        done = run(*arguments)
        if text:
            expect_refusal(done, text)
        else:
            done.expect(UNKNOWN, r"\AECHO UNKNOWN - port '0': .*\n\Z")
    for arguments, text in ((["-z"], "invalid option -- 'z'"), (["--nosuch"], "unrecognized option '--nosuch'"),
                            (["-H"], "option requires an argument -- 'H'")):
        expect_refusal(run(*arguments), text)


@test("-V and -h are UNKNOWN, so that a check that only asks for help does not look good")
def _():
    for option in ("-V", "--version"):
        run(option).expect(UNKNOWN, r"\Acheck_echo \(echod\) \d+\.\d+.*\n\Z")
    for option in ("-h", "--help"):
        done = run(option).expect(UNKNOWN, r"\AUsage: check_echo -H HOST ")
        for letter in "HpwcntsvVh46":
            assert re.search(rf"^  -{letter}, --", done.out, re.M), letter
        assert len(done.out.splitlines()) <= 24 and max(map(len, done.out.splitlines())) <= 80, "not one screen"


@test("a result that cannot be written is UNKNOWN")
def _():
    with Udp() as server, open("/dev/full", "w", encoding="ascii") as full:
        for arguments in ([], ["-z"], ["-n", 0], ["-h"], ["-V"]):
            done = run("-H", "127.0.0.1", "-p", server.port, *arguments, stdout=full)
            done.expect(UNKNOWN, err=r"\Acheck_echo: cannot write to standard output: No space left on device\n\Z")


run_all()
