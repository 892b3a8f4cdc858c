# SPDX-License-Identifier: ISC
"""echoping, the front end for what expects echoping(1), against servers that answer by a script."""

import functools
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import threading

import probing
from lib import run_all, test, wait_for
from probing import Full, Running, Tcp, Udp, bound, closed_port, reset_at_close

ECHOPING = os.environ["ECHOPING"]

PATIENT = ("-t", "1000")
FAST = ("-w", "0.01")

SECONDS = r"\d+\.\d{6} seconds"
ELAPSED = rf"Elapsed time: {SECONDS}\n"
RATE = r"\(\d+ bytes per sec\.\)"
STATISTICS = (rf"Minimum time: {SECONDS} {RATE}\nMaximum time: {SECONDS} {RATE}\nAverage time: {SECONDS} {RATE}\n"
              rf"Standard deviation: \d+\.\d{{6}}\nMedian time: {SECONDS} {RATE}\n")

run = functools.partial(probing.run, program=ECHOPING)


def times(text, what="Elapsed time"):
    return [float(value) for value in re.findall(rf"^{what}: (\d+\.\d+)", text, re.M)]


# ---- tests that succeed ----

for kind, option in ((Udp, ["-u"]), (Tcp, [])):
    for host, brackets in (("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")):
        @test(f"one test over {kind.__name__} to {host} prints one elapsed time and no statistics")
        def _(kind=kind, option=option, host=host, brackets=brackets):
            with kind(host=host) as server:
                run(*option, *PATIENT, f"{brackets}:{server.port}").expect(0, rf"\A{ELAPSED}\Z")
                run(*option, *PATIENT, "--port", server.port, host).expect(0, rf"\A{ELAPSED}\Z")


for count in (2, 5):
    @test(f"-n {count} prints {count} elapsed times, and their statistics")
    def _(count=count):
        with Udp() as server:
            done = run("-u", "-n", count, *FAST, *PATIENT, "-s", "1000", f"127.0.0.1:{server.port}")
        done.expect(0, rf"\A({ELAPSED}){{{count}}}---\n{STATISTICS}\Z")
        elapsed = times(done.out)
        # Each is cut off at the microsecond.
        for what, expected in (("Minimum time", min(elapsed)), ("Maximum time", max(elapsed)),
                               ("Average time", statistics.mean(elapsed)), ("Median time", statistics.median(elapsed)),
                               ("Standard deviation", statistics.pstdev(elapsed))):
            value, = times(done.out, what)
            assert abs(value - expected) < 2.1e-6, f"{what} {value}, not {expected}, in {done}"


@test("each test over TCP has a connection of its own, whose set-up counts")
def _():
    connections = []

    def handle(server, connection):
        connections.append(connection)
        server.echo(connection)

    with Tcp(handle) as server:
        done = run("-v", "-n", "3", *FAST, *PATIENT, f"127.0.0.1:{server.port}")
    assert len(connections) == 3, connections
    done.expect(0, rf"\ATrying to send 256 bytes to internet address 127\.0\.0\.1:{server.port} by tcp\.\.\.\n"
                rf"(TCP Latency: {SECONDS}\n256 bytes read from server\.\nChecked\n{ELAPSED}){{3}}---\n{STATISTICS}\Z")


def connecting(port):
    """How many sockets wait for this port to let them in."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        rows = [line.split() for line in table]
    return sum(row[2].endswith(f":{port:04X}") and row[3] == "02" for row in rows)


def echo_one(listener):
    """Accept connections until one of them sends something, and echo that. Returns all connections."""
    clients = []
    while True:
        ready, _, _ = select.select([listener, *clients], [], [], probing.PATIENCE)
        assert ready, "nobody sends anything"
        for s in ready:
            if s is listener:
                clients.append(s.accept()[0])
            else:
                s.sendall(s.recv(1000))
                return clients


@test("the time until a TCP server accepts counts")
def _():
    with Full() as full:
        waiting = connecting(full.port)
        with Running("-v", *PATIENT, f"127.0.0.1:{full.port}", program=ECHOPING) as running:
            wait_for(lambda: connecting(full.port) > waiting, probing.PATIENCE, "the attempt to connect")
            clients = echo_one(full.sockets[0])
            said = running.read_until("^Elapsed time")
        for client in clients:
            client.close()
    latency, = times(said, "TCP Latency")
    elapsed, = times(said)
    assert 0 < latency < elapsed, said


# ---- what is sent ----

@test("-s is the number of octets, 256 by default, and -f the character that fills them after the first 16")
def _():
    for arguments, size in (((), 256), (("-s", "1000"), 1000), (("--size", "17", "--fill", "A"), 17), (("-fA",), 256)):
        seen = []
        with Udp(lambda n, data, seen=seen: seen.append(data) or [data]) as server:
            run("--udp", *arguments, "--timeout", "1000", f"127.0.0.1:{server.port}").expect(0, rf"\A{ELAPSED}\Z")
        assert [len(data) for data in seen] == [size], seen
        assert "A" not in str(arguments) or set(seen[0][16:]) == {ord("A")}, seen


@test("-P is the type of service of what is sent")
def _():
    for option, family in ((["-P", "0xa0"], socket.AF_INET), (["--type-of-service", "160"], socket.AF_INET6)):
        host = "127.0.0.1" if family == socket.AF_INET else "::1"
        level, ask, kind = ((socket.IPPROTO_IP, socket.IP_RECVTOS, socket.IP_TOS) if family == socket.AF_INET else
                            (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, socket.IPV6_TCLASS))
        with bound(socket.SOCK_DGRAM, host) as s:
            s.settimeout(probing.PATIENCE)
            s.setsockopt(level, ask, 1)
            command = [ECHOPING, "-u", *option, *PATIENT, "--port", str(s.getsockname()[1]), host]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
                data, control, _, client = s.recvmsg(1000, 100)
                s.sendto(data, client)
                process.communicate(timeout=probing.PATIENCE)
        assert process.returncode == 0
        assert [value[0] for at, which, value in control if (at, which) == (level, kind)] == [160], control


# ---- tests that fail ----

@test("lost tests have no elapsed time; one test that is not lost makes exit status 0")
def _():
    with Udp(lambda n, data: [data] if n in (1, 4) else []) as server:
        done = run("-u", "-n", "4", *FAST, "-t", "1", f"127.0.0.1:{server.port}")
    done.expect(0, rf"\A({ELAPSED}){{2}}---\nWarning: 2 message\(s\) lost \(50 %\)\n{STATISTICS}\Z",
                err=rf"\Aechoping: 127\.0\.0\.1 port {server.port}: Timeout: 2 of 4 tests had no echo after 1 s\n\Z")


@test("exit status 1 where all tests are lost")
def _():
    with Udp(lambda n, data: []) as udp, Tcp(Tcp.wait_end) as tcp:
        for arguments, port in ((("-u", f"127.0.0.1:{udp.port}"), udp.port), (("--port", tcp.port, "127.0.0.1"), tcp.port)):
            run("-n", "2", *FAST, "-t", "0.3", *arguments).expect(
                1, r"\A\Z", err=rf"\Aechoping: 127\.0\.0\.1 port {port}: Timeout: 2 of 2 tests had no echo after 0\.3 s\n\Z")


@test("exit status 1 and the reason where nobody listens")
def _():
    port = closed_port()
    for arguments in ((), ("-u",)):
        run(*arguments, *PATIENT, f"127.0.0.1:{port}").expect(
            1, r"\A\Z", err=rf"\Aechoping: 127\.0\.0\.1 port {port}: Connection refused: .*\n\Z")


@test("a reply that is no echo is exit status 1, and the message says what is wrong")
def _():
    for answer, text in ((lambda n, data: [data[:-1] + b"\0"], "octet 255 of 256 that came back is wrong"),
                         (lambda n, data: [data[:100]], "only 100 octets came back")):
        with Udp(answer) as server:
            run("-u", "-f", "x", *PATIENT, f"127.0.0.1:{server.port}").expect(
                1, r"\A\Z", err=rf"\Aechoping: Strange server: {text}\n\Z")
    with bound(socket.SOCK_DGRAM, "127.0.0.1") as other, Udp(lambda n, data: [(other, data)]) as server:
        run("-u", "-t", "3", f"127.0.0.1:{server.port}").expect(
            1, r"\A\Z", err=r"\Aechoping: Strange server: the reply came from another address\n\Z")


@test("a TCP server that closes or resets before or during the echo is exit status 1, and not called a timeout")
def _():
    def end(server, connection, prepare, size):
        connection.sendall(server.take(connection, 256)[:size])
        prepare(connection)

    for prepare in (lambda connection: None, reset_at_close):
        for size in (0, 100):
            with Tcp(functools.partial(end, prepare=prepare, size=size)) as server:
                done = run("-n", "2", *FAST, *PATIENT, f"127.0.0.1:{server.port}")
            done.expect(1, r"\A\Z", err=r"\A(echoping: .*\n){2}\Z")
            assert "Timeout" not in done.err, str(done)


# ---- the end ----

@test("an interrupt ends the run with the statistics so far")
def _():
    asked = threading.Event()
    with Udp(lambda n, data: [data] if n < 3 else asked.set() or []) as server:
        with Running("-u", "-n", "1000", *FAST, *PATIENT, f"127.0.0.1:{server.port}", program=ECHOPING) as running:
            assert asked.wait(probing.PATIENCE)
            running.end(signal.SIGINT).expect(1, rf"\A({ELAPSED}){{2}}Interrupted by user\n---\nWarning: [^|]*{STATISTICS}\Z")


@test("exit status 1 where the result cannot be written")
def _():
    with Udp() as server, open("/dev/full", "w", encoding="ascii") as full:
        run("-u", *PATIENT, f"127.0.0.1:{server.port}", stdout=full).expect(1, err="cannot write to standard output")


# ---- options ----

@test("options for other services than echo are refused by name")
def _():
    for arguments, what in ((["-h", "/"], "HTTP"), (["-S"], "SMTP"), (["-d"], "the discard service"),
                            (["-c"], "the chargen service"), (["-i", "x"], "ICP"), (["-m", "x"], "plugins"), (["-C"], "SSL"),
                            (["-r"], "T/TCP"), (["-R"], "HTTP"), (["-A"], "HTTP through a cache"), (["-a"], "HTTP through a cache")):
        for command in ((*arguments, "127.0.0.1"), arguments[:1]):
            run(*command).expect(
                1, r"\A\Z", err=rf"\Aechoping: {arguments[0]} \({what}\): only echo over TCP and, with -u, UDP is supported\n"
                                r"Try 'echoping --help'\.\n\Z")


@test("options and hosts that are not allowed are refused by name")
def _():
    for arguments, text in (([], "HOST must be given"), (["x", "y"], "too many arguments: one HOST is allowed"),
                            (["-n", "0", "x"], "-n '0': a whole number from 1 to 100000 is allowed"),
                            (["-w", "0", "x"], "-w '0': seconds from 0.001 to 100000000 are allowed, as in 0.5"),
                            (["-t", "x", "x"], "-t 'x': seconds from 0.001 .*"),
                            (["-f", "", "x"], "-f '': one character of one octet is allowed"), (["-f", "ab", "x"], "-f 'ab': .*"),
                            (["-f", "é", "x"], "-f 'é': one character of one octet is allowed"),
                            (["-P", "256", "x"], "-P '256': 0 to 255, or 0x0 to 0xff, is allowed"),
                            (["-p", "x", "x"], "-p 'x': a whole number .*"), (["-s", "0", "x"], "-s for tcp '0': .*"),
                            (["-u", "-s", "65508", "127.0.0.1"], "-s for udp over IPv4 '65508': .*")):
        run(*arguments).expect(1, r"\A\Z", err=rf"\Aechoping: {text}\nTry 'echoping --help'\.\n\Z")
    for host, text in (("127.0.0.1:0", "port '0': "), ("[::1]:x", "port 'x': "), ("", "host '': "), (":7", "host '': "),
                       ("[]:7", r"host '\[\]': ")):
        run(host).expect(1, r"\A\Z", err=rf"\Aechoping: {text}.*\n\Z")
    run("-z", "x").expect(1, r"\A\Z", err=r"\A\S*echoping: invalid option -- 'z'\nTry 'echoping --help'\.\n\Z")


@test("-4 and -6 choose the family")
def _():
    for host, wrong in (("127.0.0.1", "-6"), ("::1", "-4")):
        run(host, wrong).expect(1, r"\A\Z", err=rf"\Aechoping: host '{host}': .*\n\Z")


@test("-V prints the version, and --help the options")
def _():
    for option in ("-V", "--version"):
        run(option).expect(0, r"\Aechoping \(echod\) \d+\.\d+.*\n\Z")
    done = run("--help").expect(0, r"\AUsage: echoping ")
    for letter in "unwtsfPp46vV":
        assert re.search(rf"^  -{letter}, --", done.out, re.M), letter


run_all()
