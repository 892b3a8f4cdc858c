# SPDX-License-Identifier: ISC
"""echo-probe against servers that answer by a script."""

import os
import pathlib
import re
import shutil
import signal
import socket
import threading

from lib import run_all, skip, test, wait_for
from probing import (LATE, PATIENCE, PATIENT, QUANTILES, RTT, TIME, Full, Running, Tcp, Udp, bound, closed_port, hosts, link_local,
                     reset_at_close, run, summary, without_network)


# ---- what comes back ----

for protocol_, host_, headers_ in (("udp", "127.0.0.1", r"56\(84\)"), ("udp", "::1", r"56\(104\)"), ("tcp", "127.0.0.1", "56"),
                                   ("tcp", "::1", "56")):
    @test(f"{protocol_} to {host_} prints a first line, a line for each reply, and a summary, as ping does")
    def _(protocol=protocol_, host=host_, headers=headers_):
        with (Udp if protocol == "udp" else Tcp)(host=host) as server:
            done = run("-c", 3, "-i", "0.01", *PATIENT, protocol, host, server.port)
        connected = [rf"^Connected to {host} port {server.port}: {TIME}$"] if protocol == "tcp" else []
        connect = r", connect \d+\.\d{3,} ms" if protocol == "tcp" else ""
        done.expect(0, rf"\APROBE {host} \({host}\) port {server.port} {protocol} {headers} bytes of data\.$", *connected,
                    *(rf"^56 bytes from {host}: {protocol}_seq={n} {TIME}$" for n in (1, 2, 3)),
                    rf"^\n--- {host} echo-probe statistics ---$", summary(3, 3, 0), RTT + connect + "$", QUANTILES + r"\n\Z")


@test("datagrams of 0 to 65507 octets, over IPv6 to 65527, are received")
def _():
    for host, sizes in (("127.0.0.1", (0, 1, 2, 7, 8, 9, 15, 16, 17, 1472, 1473, 65507)), ("::1", (0, 65527))):
        with Udp(host=host) as server:
            for size in sizes:
                run("-c", 2, "-i", "0.01", *PATIENT, "-s", size, "udp", host, server.port).expect(
                    0, rf"^{size} bytes from {host}: udp_seq=2 ", summary(2, 2, 0))


@test("TCP probes of 1 octet to 16 MiB are received, also with several under way at once")
def _():
    with Tcp() as server:
        for size in (1, 15, 65536, 65537, 16777216):
            run("-c", 2, "-i", "0.001", *PATIENT, "-s", size, "tcp", "127.0.0.1", server.port).expect(
                0, rf"^{size} bytes from 127.0.0.1: tcp_seq=2 ", summary(2, 2, 0))
        run("-c", 20, "-i", "0.001", "-q", *PATIENT, "-s", 1000000, "tcp", "127.0.0.1", server.port).expect(0, summary(20, 20, 0))


@test("a server that sends back before it reads on, with 2 MiB under way, does not block the probe")
def _():
    def handle(server, connection):
        # The smallest buffers, so that either side has to wait for the other all the time.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while server.readable(connection):
            data = connection.recv(1 << 20)
            if not data:
                return
            connection.sendall(data)

    with Tcp(handle) as server:
        run("-c", 1, *PATIENT, "-s", 2 << 20, "tcp", "127.0.0.1", server.port).expect(0, summary(1, 1, 0))


# ---- replies that are not as they should be ----

@test("truncated datagrams are recognised, and are not received")
def _():
    with Udp(lambda n, data: [data[:20]]) as server:
        run("-c", 2, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            1, rf"^20 bytes from 127.0.0.1: udp_seq=1 {TIME} \(TRUNCATED! 56 bytes sent\)$",
            summary(2, 0, 100, ", +2 truncated") + r"\n\Z")


@test("a wrong octet anywhere is recognised")
def _():
    def corrupt(n, data):
        at = 8 + n  # the sequence number before that says which probe it is
        return [data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]]

    with Udp(corrupt) as server:
        run("-c", 47, "-i", "0.001", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            1, r"^56 bytes from 127.0.0.1: udp_seq=1 .* \(CORRUPT! first wrong byte at offset 9\)$",
            r"^56 bytes from 127.0.0.1: udp_seq=47 .* \(CORRUPT! first wrong byte at offset 55\)$",
            summary(47, 0, 100, ", +47 corrupt"))


@test("octets added at the end are recognised")
def _():
    with Udp(lambda n, data: [data + b"x"]) as server:
        run("-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(
            1, r"^57 bytes from .* \(CORRUPT! first wrong byte at offset 56\)$", summary(1, 0, 100, ", +1 corrupt"))


@test("duplicates are not received twice")
def _():
    # With an interval of its own, that of the first is there before the last reply ends the run.
    with Udp(lambda n, data: [data] * (3 if n == 1 else 1)) as server:
        run("-c", 2, "-i", "0.1", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, rf"^56 bytes from 127.0.0.1: udp_seq=1 {TIME}$", rf"^56 bytes from 127.0.0.1: udp_seq=1 {TIME} \(DUP!\)$",
            r"udp_seq=1 .* \(DUP!\)$", r"udp_seq=2 ", summary(2, 2, 0, ", +2 duplicates"))


@test("replies out of order are received, and counted")
def _():
    held = []

    def swap(n, data):
        held.append(data)
        return [data, held[0]] if n == 2 else [] if n == 1 else [data]

    with Udp(swap) as server:
        run("-c", 3, "-i", "0.05", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, rf"udp_seq=2 {TIME}$", rf"udp_seq=1 {TIME} \(out of order\)$", rf"udp_seq=3 {TIME}$",
            summary(3, 3, 0, ", +1 out of order"))


@test("ipdv is that of successive probes, also where replies come in pairs and swapped, and is left out where there are none")
def _():
    held = []

    def swap(n, data):
        held.append(data)
        return [data, held[-2]] if n % 2 == 0 else []

    with Udp(swap) as server:
        done = run("-c", 10, "-i", "0.05", *PATIENT, "udp", "127.0.0.1", server.port).expect(0, QUANTILES)
    assert float(re.search(r"ipdv (\S+) ms", done.out)[1]) > 25, done
    with Udp(lambda n, data: [data] if n % 2 == 1 else []) as server:
        run("-c", 5, "-i", "0.05", "-W", 1, "udp", "127.0.0.1", server.port).expect(0, r"jitter \d+\.\d{3,} ms\n\Z")


@test("late replies are not received")
def _():
    held = []

    def late(n, data):
        held.append(data)
        return [held[0]] if n == 2 else []

    # Nothing but the interval, which is longer than the timeout, delays the reply.
    with Udp(late) as server:
        run("-c", 4, "-i", "0.2", "-W", "0.1", "udp", "127.0.0.1", server.port).expect(
            1, rf"^56 bytes from 127.0.0.1: udp_seq=1 {TIME} \(LATE!\)$", summary(4, 0, 100, ", +1 late"))


@test("datagrams that are no reply to a probe of this run are counted as foreign")
def _():
    with Udp(lambda n, data: [b"hello", b"\1" + b"x" * 55, data]) as server:
        run("-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, r"^5 bytes from 127.0.0.1: not a reply to any probe of this run$", r"^56 bytes from 127.0.0.1: not a reply",
            rf"^56 bytes from 127.0.0.1: udp_seq=1 {TIME}$", summary(1, 1, 0, ", +2 foreign"))


@test("a reply from another address, or another port, is not received")
def _():
    with bound(socket.SOCK_DGRAM, "127.0.0.2") as other, bound(socket.SOCK_DGRAM, "127.0.0.1") as port:
        with Udp(lambda n, data: [(other if n == 1 else port, data)]) as server:
            run("-c", 2, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port).expect(
                1, rf"^56 bytes from 127.0.0.2 port {other.getsockname()[1]}: udp_seq=1 {TIME} \(WRONG SOURCE!\)$",
                rf"^56 bytes from 127.0.0.1 port {port.getsockname()[1]}: udp_seq=2 {TIME} \(WRONG SOURCE!\)$",
                summary(2, 0, 100, ", +2 from a wrong source"))


@test("probes without a reply are lost")
def _():
    with Udp(lambda n, data: []) as server:
        run("-c", 2, "-i", "0.01", "-W", "0.05", "udp", "127.0.0.1", server.port).expect(1, summary(2, 0, 100) + r"\n\Z")
    with Udp(lambda n, data: [data] if n == 2 else []) as server:
        run("-c", 3, "-i", "0.01", "udp", "127.0.0.1", server.port).expect(0, summary(3, 1, "66.6667"))


@test("octets from another source do not end the run that waits for the right ones")
def _():
    with bound(socket.SOCK_DGRAM, "127.0.0.1") as other:
        with Udp(lambda n, data: [(other, b"hello"), data]) as server:
            run("-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(0, summary(1, 1, 0, ", +1 foreign"))


@test("wrong octets in a TCP stream are found, with their place")
def _():
    def handle(server, connection):
        data = bytearray(server.take(connection, 112))
        data[56 + 20] ^= 1
        connection.sendall(data)
        server.wait_end(connection)

    with Tcp(handle) as server:
        run("-c", 2, "-i", "0.001", *PATIENT, "tcp", "127.0.0.1", server.port).expect(
            0, rf"tcp_seq=1 {TIME}$", rf"tcp_seq=2 {TIME} \(CORRUPT! first wrong byte at offset 20\)$",
            summary(2, 1, 50, ", +1 corrupt"))


@test("octets that a TCP server sends beyond the echo are counted as foreign or corrupt")
def _():
    def handle(server, connection):
        connection.sendall(b"220 hello\r\n")
        server.echo(connection)

    with Tcp(handle) as server:
        done = run("-c", 2, "-i", "0.2", *PATIENT, "tcp", "127.0.0.1", server.port)
    assert done.counter("foreign") + done.counter("corrupt") > 0, done


# ---- refused, unreachable, closed ----

@test("UDP to a closed port is refused at once, each probe by its number")
def _():
    port = closed_port()
    run("-c", 3, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", port).expect(
        1, *(rf"^From 127.0.0.1: udp_seq={n} Connection refused: nothing listens" for n in (1, 2, 3)),
        summary(3, 0, 100, ", +3 refused"))


@test("with a deadline, a refusal ends the run")
def _():
    run("-w", 1000, "udp", "127.0.0.1", closed_port()).expect(1, summary(1, 0, 100, ", +1 refused"))


@test("TCP to a closed port is refused, and the error says so")
def _():
    port = closed_port()
    run("-c", 1, *PATIENT, "tcp", "127.0.0.1", port).expect(
        1, r"\APROBE .*\n\Z", err=rf"^echo-probe: cannot connect to tcp 127.0.0.1:{port}: Connection refused: nothing")


@test("a TCP server that closes is told apart from one that resets")
def _():
    def close(server, connection):
        connection.sendall(server.take(connection, 56))
        server.take(connection, 56)

    def abort(server, connection):
        close(server, connection)
        reset_at_close(connection)

    for handle, said in ((close, r"closed the connection \(end of file\)"), (abort, "reset the connection")):
        with Tcp(handle) as server:
            run("-c", 5, "-i", "0.1", *PATIENT, "tcp", "127.0.0.1", server.port).expect(
                1, r"tcp_seq=1 ", rf"^2 packets transmitted, 1 received{LATE}, \+3 not sent, 50% packet loss",
                err=rf"\Aecho-probe: 127.0.0.1:{server.port} {said} after 1 replies to 2 probes; .*\n\Z")


@test("a TCP reply that the end of the connection cuts off is truncated")
def _():
    def handle(server, connection):
        connection.sendall(server.take(connection, 56)[:30])

    with Tcp(handle) as server:
        run("-c", 1, *PATIENT, "tcp", "127.0.0.1", server.port).expect(
            1, r"^30 bytes from 127.0.0.1: tcp_seq=1 .* \(TRUNCATED! 56 bytes sent\)$", summary(1, 0, 100, ", +1 truncated"),
            err="closed the connection")


@test("a TCP server may close after the last reply")
def _():
    def handle(server, connection):
        connection.sendall(server.take(connection, 112))

    with Tcp(handle) as server:
        run("-c", 2, "-i", "0.01", *PATIENT, "tcp", "127.0.0.1", server.port).expect(0, summary(2, 2, 0))


@test("a TCP server that reads nothing cannot hold the probe up beyond its deadline")
def _():
    def handle(server, connection):
        server.readable()
        reset_at_close(connection)

    with Tcp(handle) as server:
        run("-w", "0.3", "-i", "0.05", "-s", 16777216, "tcp", "127.0.0.1", server.port).expect(
            1, r"^\d+ packets transmitted, 0 received")


@test("connecting over TCP takes no longer than -W and -w say")
def _():
    with Full() as full:
        for options in (("-W", "0.1"), ("-w", "0.1", *PATIENT)):
            run(*options, "tcp", "127.0.0.1", full.port).expect(
                1, err=rf"\Aecho-probe: cannot connect to tcp 127.0.0.1:{full.port}: Connection timed out: .*-W")


@test("connecting over TCP can be interrupted")
def _():
    with Full() as full, Running(*PATIENT, "tcp", "127.0.0.1", full.port) as running:
        running.read_until("^PROBE")
        # Connecting is under way once the signal is blocked: bit 1 is SIGINT.
        status = pathlib.Path(f"/proc/{running.process.pid}/status")
        wait_for(lambda: int(re.search(r"^SigBlk:\s*(\w+)", status.read_text("ascii"), re.M)[1], 16) & 2, PATIENCE,
                 "signals to be blocked")
        running.end(signal.SIGINT).expect(1, r"\APROBE .*\n\Z")


@test("a host without a route to it is an error, and the message says so")
def _():
    for protocol, tried in (("udp", "send to"), ("tcp", "connect to")):
        run(protocol, "192.0.2.1", prefix=without_network()).expect(
            2, r"\APROBE .*\n\Z", err=rf"\Aecho-probe: cannot {tried} {protocol} 192.0.2.1:7: Network is unreachable: .*ip route")


@test("a route that is a blackhole is not taken for a zone that is missing")
def _():
    if not shutil.which("ip"):
        skip("needs ip(8) of iproute2")
    bound(socket.SOCK_DGRAM, "::1").close()
    routes = "ip link set lo up && ip route add blackhole 192.0.2.0/24 && ip -6 route add blackhole 2001:db8::/32"
    prefix = [*without_network(), "sh", "-c", routes + ' && exec "$@"', "sh"]
    for host, shown in (("192.0.2.1", "192.0.2.1"), ("2001:db8::1", r"\[2001:db8::1\]")):
        for protocol in ("udp", "tcp"):
            run("-c", 1, protocol, host, prefix=prefix).expect(
                2, err=rf"\Aecho-probe: cannot .* {shown}:7: Invalid argument: the route there is a blackhole, .*ip route get'\n\Z")


@test("broadcast is not probed")
def _():
    run("udp", "255.255.255.255").expect(
        2, err=r"\Aecho-probe: cannot send to udp 255.255.255.255:7: (Permission denied|Network is unreachable)")


# ---- when it ends ----

@test("-w ends the run, whatever was sent")
def _():
    with Udp() as server:
        counters = r"^\d packets transmitted, \d received"
        run("-w", 1, "-i", "0.2", "udp", "127.0.0.1", server.port).expect(0, r"udp_seq=1 ", counters)
        run("-c", 1000, "-w", "0.3", "-i", "0.2", "udp", "127.0.0.1", server.port).expect(1, counters)


@test("-c with -w is a number of replies")
def _():
    with Udp(lambda n, data: [] if n == 2 else [data]) as server:
        run("-c", 3, "-w", 1000, "-i", "0.05", "udp", "127.0.0.1", server.port).expect(0, summary(4, 3, 25))


@test("lines are written as replies come, also into a pipe")
def _():
    # Nothing follows that could push them out of a buffer.
    with Udp() as server, Running("-i", 1000, "udp", "127.0.0.1", server.port) as running:
        running.read_until("udp_seq=1 ")
        assert running.process.poll() is None, "it ended"
        running.end(signal.SIGINT).expect(0, "udp_seq=1 ", r"^\n--- 127.0.0.1 echo-probe statistics ---$", RTT)


@test("SIGTERM ends the run with the summary")
def _():
    with Tcp() as server, Running("-i", "0.1", "tcp", "127.0.0.1", server.port) as running:
        running.read_until("tcp_seq=1 ")
        running.end(signal.SIGTERM).expect(0, "^--- 127.0.0.1 echo-probe statistics ---$", RTT)


@test("SIGQUIT prints the figures so far, and the run goes on")
def _():
    with Udp() as server, Running("-i", "0.1", "udp", "127.0.0.1", server.port) as running:
        running.read_until("udp_seq=2 ")
        running.process.send_signal(signal.SIGQUIT)
        running.read_until(r"^\d+/\d+ packets, [\d.]+% loss, min/avg/max/mdev = (\d+\.\d{3,}/){3}\d+\.\d{3,} ms$",
                           running.process.stderr)
        running.read_until("udp_seq=4 ")
        running.end(signal.SIGINT).expect(0, RTT)


@test("a run that is interrupted before any reply counts the loss, exit status 1")
def _():
    arrived = threading.Event()

    def silent(n, _):
        if n == 1:
            arrived.set()
        return []

    with Udp(silent) as server, Running("-i", 1000, "udp", "127.0.0.1", server.port) as running:
        assert arrived.wait(PATIENCE)
        running.end(signal.SIGINT).expect(1, summary(1, 0, 100) + r"\n\Z")


# ---- output ----

@test("-q leaves the first line and the summary")
def _():
    with Tcp() as server:
        run("-q", "-c", 2, "-i", "0.01", "tcp", "127.0.0.1", server.port).expect(
            0, r"\APROBE .*\n\n--- 127.0.0.1 echo-probe statistics ---\n.*\nrtt .*, connect \d+\.\d{3,} ms\np50.*\n\Z")


@test("a reader that goes away is noticed")
def _():
    with Udp() as server:
        reader, writer = os.pipe()
        os.close(reader)
        done = run("udp", "127.0.0.1", server.port, stdout=writer)
        os.close(writer)
        done.expect(2, err=r"\Aecho-probe: cannot write to standard output: Broken pipe\n\Z")


@test("a full disk is noticed, also by --help and --version")
def _():
    with Udp() as server, open("/dev/full", "w", encoding="ascii") as full:
        said = r"\Aecho-probe: cannot write to standard output: No space left on device\n\Z"
        run("udp", "127.0.0.1", server.port, stdout=full).expect(2, err=said)
        for option in ("--help", "--version"):
            run(option, stdout=full).expect(2, err=said)


# ---- names ----

@test("a name is shown with its address, and the address with its name")
def _():
    with hosts("127.0.0.1 real.test alias.test\n") as prefix, Udp() as server:
        run("-c", 1, "udp", "alias.test", server.port, prefix=prefix).expect(
            0, r"\APROBE alias.test \(127.0.0.1\) port ", rf"^56 bytes from real.test \(127.0.0.1\): udp_seq=1 {TIME}$",
            r"^--- alias.test echo-probe statistics ---$")
        for arguments in (("-n", "udp", "alias.test"), ("udp", "127.0.0.1")):
            run("-c", 1, *arguments, server.port, prefix=prefix).expect(0, rf"^56 bytes from 127.0.0.1: udp_seq=1 {TIME}$")


@test("TCP tries all addresses of a name, -4 and -6 choose")
def _():
    with Tcp(host="::1"), hosts("::1 two.test\n127.0.0.1 two.test\n") as prefix, Tcp() as server:
        refused = rf"^echo-probe: cannot connect to tcp \[::1\]:{server.port}: Connection refused"
        run("-c", 1, "tcp", "two.test", server.port, prefix=prefix).expect(
            0, r"\APROBE two.test \(::1\)", r"^PROBE two.test \(127.0.0.1\)", "^Connected to ", summary(1, 1, 0), err=refused)
        run("-c", 1, "-4", "tcp", "two.test", server.port, prefix=prefix).expect(
            0, r"\APROBE two.test \(127.0.0.1\)", summary(1, 1, 0))
        run("-c", 1, "-6", "tcp", "two.test", server.port, prefix=prefix).expect(1, err=refused)


@test("a link-local address has a zone, with brackets or without")
def _():
    address = link_local()
    for kind, protocol in ((Udp, "udp"), (Tcp, "tcp")):
        with kind(host=address) as server:
            for host in (address, f"[{address}]"):
                run("-c", 1, *PATIENT, protocol, host, server.port).expect(
                    0, rf"^56 bytes from {re.escape(address)}: {protocol}_seq=1 ")


@test("an address may stand in brackets, a port may have a name")
def _():
    with Udp(host="::1") as server:
        run("-c", 1, "udp", "[::1]", server.port).expect(0, r"\APROBE \[::1\] \(::1\) ", r"^56 bytes from ::1: udp_seq=1 ")
    try:
        socket.getservbyname("echo", "udp")
    except OSError:
        skip("no services(5) here")
    run("-c", 1, "-w", "0.01", "udp", "127.0.0.1", "echo").expect(1, r"\APROBE 127.0.0.1 \(127.0.0.1\) port 7 udp ")


# ---- the command line ----

@test("options may follow the arguments and be written out, up to --")
def _():
    with Udp() as server:
        run("udp", "127.0.0.1", "--count=2", server.port, "--interval", "0.01", "--size=20", "--timeout", 5, "--numeric",
            "--quiet").expect(
            0, r"\APROBE 127.0.0.1 .* 20\(48\) bytes of data.\n\n---", summary(2, 2, 0))
        run("--deadline", "0.1", "--", "udp", "127.0.0.1", server.port).expect(0, RTT)
        run("--", "udp", "127.0.0.1", server.port, "-c").expect(2, err="too many arguments")


@test("seconds may have any decimals")
def _():
    with Udp() as server:
        for seconds in ("0.001", "0.000001", "1", "9", "1.", ".5", "0.0010000000001", "000.29", "100000000"):
            patience = seconds if float(seconds) >= 1 else 5
            run("-c", 1, "-i", seconds, "-W", patience, "udp", "127.0.0.1", server.port).expect(0)


USAGE = [
    ((), "tcp or udp, and then HOST, must be given"),
    (("udp",), "tcp or udp, and then HOST, must be given"),
    (("udp", "127.0.0.1", "7", "8"), "too many arguments"),
    (("udp", "127.0.0.1:7007"), "HOST '127.0.0.1:7007': PORT is an argument of its own, after HOST"),
    (("tcp", "[::1]:7007"), "HOST '[::1]:7007': PORT is an argument of its own, after HOST"),
    (("udp", "localhost:7007", "7007"), "HOST 'localhost:7007': PORT is an argument"),
    (("icmp", "127.0.0.1"), "protocol 'icmp': tcp or udp is allowed"),
    (("127.0.0.1", "udp"), "protocol '127.0.0.1': tcp or udp is allowed"),
    (("-c", "abc", "udp", "::1"), "-c 'abc': a whole number from 1 to 4294967295 is allowed"),
    (("-c", "0", "udp", "::1"), "-c '0': a whole number from 1 to"),
    (("-c", "", "udp", "::1"), "-c '': a whole number from 1 to"),
    (("-c", "5x", "udp", "::1"), "-c '5x': a whole number from 1 to"),
    (("-c", " 5", "udp", "::1"), "-c ' 5': a whole number from 1 to"),
    (("-c", "4294967296", "udp", "::1"), "-c '4294967296': a whole number from 1 to"),
    (("-c", "99999999999999999999999", "udp", "::1"), "-c '99999999999999999999999': a whole"),
    (("-s", "", "udp", "::1"), "-s for udp '': a whole number from 0 to 65527 is allowed"),
    (("-s", "-1", "udp", "::1"), "-s for udp '-1': a whole number from 0 to 65527 is allowed"),
    (("-s", "70000", "udp", "::1"), "-s for udp '70000': a whole number from 0 to 65527 is allowed"),
    (("-s", "65508", "udp", "127.0.0.1"), "-s for udp over IPv4 '65508': a whole number from 0 to 65507 is allowed"),
    (("-4", "-s", "65508", "udp", "nosuch.invalid"), "-s for udp over IPv4 '65508': a whole number from 0 to 65507"),
    (("-s", "0", "tcp", "::1"), "-s for tcp '0': a whole number from 1 to 16777216 is allowed"),
    (("-s", "16777217", "tcp", "::1"), "-s for tcp '16777217': a whole number from 1 to 16777216"),
    (("-i", "0", "udp", "::1"), "-i '0': seconds from 0.000001 to 100000000 are allowed"),
    (("-i", "0.0000009", "udp", "::1"), "-i '0.0000009': seconds from"),
    (("-w", "0.0009", "udp", "::1"), "-w '0.0009': seconds from 0.001 to 100000000 are allowed"),
    (("-W", "0", "udp", "::1"), "-W '0': seconds from 0.001"),
    (("--duration", "0", "udp", "::1"), "--duration '0': seconds from 0.001"),
    (("-i", "0.000002", "-W", "30", "udp", "::1"), "15000065 probes could wait for their replies at once, at most 4194304 are"),
    (("-l", "0", "udp", "::1"), "-l '0': a whole number from 1 to 32768 is allowed"),
    (("-t", "256", "udp", "::1"), "-t '256': a whole number from 1 to 255 is allowed"),
    (("-t", "0", "udp", "::1"), "-t '0': a whole number from 1 to 255 is allowed"),
    (("-Q", "0x100", "udp", "::1"), "-Q '0x100': 0 to 255, or 0x0 to 0xff, is allowed"),
    (("-M", "maybe", "udp", "::1"), "-M 'maybe': do, want, dont or probe is allowed"),
    (("-p", "", "udp", "::1"), "-p '': 1 to 16 octets of two hexadecimal digits each are allowed"),
    (("-p", "fff", "udp", "::1"), "-p 'fff': 1 to 16 octets"),
    (("-p", "fg", "udp", "::1"), "-p 'fg': 1 to 16 octets"),
    (("-p", 17 * "00", "udp", "::1"), "': 1 to 16 octets"),
    (("-I", "", "udp", "::1"), "-I '': an address of this host or the name of an interface is allowed"),
    (("-I", "a-name-of-16-chs", "udp", "::1"), "-I 'a-name-of-16-chs': an address of this host"),
    (("-m", "", "tcp", "::1"), "-m: a message of 0 octets cannot be sent over tcp"),
    (("-m", 65528 * "x", "udp", "::1"), "-m: a message of 65528 octets cannot be sent over udp"),
    (("--timestamps", "exact", "udp", "::1"), "--timestamps 'exact': kernel or user is allowed"),
    (("--source-port", "0", "udp", "::1"), "--source-port '0': a whole number from 1 to 65535"),
    (("--sources", "4097", "udp", "::1"), "--sources '4097': a whole number from 1 to 4096"),
    (("--connections", "0", "tcp", "::1"), "--connections '0': a whole number from 1 to 4096"),
    (("--source-port", "65535", "--sources", "2", "udp", "::1"),
     "--source-port 65535 leaves no room for 2 source ports up to 65535"),
    (("--pid", "0", "udp", "::1"), "--pid '0': a whole number from 1 to 4194304"),
    (("--pid", "4194304", "udp", "::1"), "--pid '4194304': there is no such process"),
    (("-A", "-f", "udp", "::1"), "-A and -f cannot be had together"),
    (("-m", "x", "-s", "1", "udp", "::1"), "-m and -s cannot be had together"),
    (("-m", "x", "-p", "ff", "udp", "::1"), "-m and -p cannot be had together"),
    (("--sources", "2", "--connections", "3", "udp", "::1"), "--sources and --connections cannot be had together"),
    (("--connections", "3", "--sources", "2", "tcp", "::1"), "--sources and --connections cannot be had together"),
    (("--connect", "--sources", "2", "tcp", "::1"), "--connect and --sources or --connections cannot be had together"),
    (("--connect", "--source-port", "2000", "tcp", "::1"), "--connect and --source-port cannot be had together"),
    (("--connect", "udp", "::1"), "--connect is for tcp only"),
    (("--mtu", "-m", "x", "udp", "::1"), "--mtu and -m cannot be had together"),
    (("--mtu", "tcp", "::1"), "--mtu is for udp only"),
    (("--graph", "--json", "udp", "::1"), "only one of --graph, --json and --json-lines can be had"),
    (("-i", "0,5", "udp", "::1"), "-i '0,5': seconds from"),
    (("-i", ".", "udp", "::1"), "-i '.': seconds from"),
    (("-i", "", "udp", "::1"), "-i '': seconds from"),
    (("-i", "-1", "udp", "::1"), "-i '-1': seconds from"),
    (("-i", "nan", "udp", "::1"), "-i 'nan': seconds from"),
    (("-i", "0x10", "udp", "::1"), "-i '0x10': seconds from"),
    (("-w", "1e3", "udp", "::1"), "-w '1e3': seconds from"),
    (("-w", "100000000.1", "udp", "::1"), "-w '100000000.1': seconds from"),
    (("-W", "99999999999999999999999", "udp", "::1"), "-W '99999999999999999999999': seconds from"),
    (("-x", "udp", "::1"), "invalid option -- 'x'"),
    (("--nosuch", "udp", "::1"), "unrecognized option '--nosuch'"),
    (("udp", "::1", "-c"), "option requires an argument -- 'c'"),
]


@test("what is wrong with the command line is named, with what is allowed")
def _():
    for arguments, said in USAGE:
        done = run(*arguments).expect(2, r"\A\Z", err=r"^Try 'echo-probe --help'\.\n\Z")
        assert said in done.err, f"{arguments}: no '{said}' in {done}"


@test("hosts and ports that are none are named, with what to do")
def _():
    for arguments, said in ((("udp", "::1", "0"), "port '0': 1 to 65535 or the name of a service is allowed"),
                            (("udp", "::1", "65536"), "port '65536': 1 to 65535"),
                            (("udp", "::1", "nosuch"), "port 'nosuch': "),
                            (("udp", ""), "host '': a name or an address is needed"),
                            (("udp", "fe80::1%nosuch0"), "host 'fe80::1%nosuch0': "),
                            (("-4", "udp", "::1"), "leave out -4"),
                            (("-6", "udp", "127.0.0.1"), "leave out -6")):
        done = run(*arguments).expect(2, r"\A\Z", err=r"\Aecho-probe: .*\n\Z")
        assert said in done.err, f"{arguments}: no '{said}' in {done}"
    with hosts("127.0.0.1 localhost\n") as prefix:
        run("udp", "nosuch.test", prefix=prefix).expect(2, r"\A\Z", err=r"\Aecho-probe: host 'nosuch.test': .*check the name")


@test("a link-local address without zone is refused with a hint")
def _():
    bound(socket.SOCK_DGRAM, "::1").close()
    for arguments, said in ((("udp", "fe80::1"), r"cannot send to udp \[fe80::1\]:7: Invalid argument"),
                            (("tcp", "fe80::1"), r"cannot connect to tcp \[fe80::1\]:7: Invalid argument"),
                            (("-I", "fe80::1", "udp", "::1"), r"cannot send to udp \[::1\]:7: Invalid argument: -I fe80::1")):
        run(*arguments).expect(2, err=rf"\Aecho-probe: {said}: a link-local IPv6 address needs its zone, as in fe80::1%eth0\n\Z")


@test("--help tells the usage and the exit statuses, --version names the package")
def _():
    for option in ("-h", "--help"):
        run(option).expect(0, r"\AUsage: echo-probe \[options\] tcp\|udp HOST \[PORT\]\n", "^Exit status: 0 ")
    for option in ("-V", "--version"):
        run(option).expect(0, r"\Aecho-probe \(echod\) \d+\.\d+\.\d+\n\Z")


run_all()
