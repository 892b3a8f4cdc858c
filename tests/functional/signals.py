# SPDX-License-Identifier: ISC
"""Signals, the end of a service, and what is logged about it."""

import contextlib
import fcntl
import os
import select
import signal
import socket
import time

from daemon import (PATIENCE, Echod, check_datagram, check_stream, is_closed, private_network, receive, receive_all,
                    reset, stall)
from lib import note, run_all, test, wait_for
from service import ACTIVATED, UNIT, not_under_unit

F_SETPIPE_SZ = 1031


def begin_stop(echod, number=signal.SIGTERM):
    """The signal, and until the daemon has taken notice of it."""
    mark = len(echod.lines)
    echod.kill(number)
    echod.wait_line("stopping:", since=mark)


# ---- the end ----

for number in (signal.SIGTERM, signal.SIGINT):
    @test(f"{number.name} without a connection stops the daemon at once, with exit status 0")
    def _(number=number):
        with Echod() as echod:
            echod.check()
            wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "no connection")
            begin = time.monotonic()
            echod.kill(number)
            assert echod.wait() == 0
            assert "stopping:" not in echod.log()
            note(f"{(time.monotonic() - begin) * 1000:.0f} ms")

    @test(f"after {number.name} idle connections end at once, and so does the daemon")
    def _(number=number):
        with Echod(top="workers = 2") as echod, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(echod.connect()) for _ in range(20)]
            for s in clients[1:]:
                check_stream(s)
            echod.wait_counter("tcp_accepted", len(clients))
            begin = time.monotonic()
            echod.kill(number)
            assert echod.wait() == 0
            seconds = time.monotonic() - begin
            note(f"{seconds * 1000:.0f} ms")
            assert seconds < PATIENCE / 2  # far less than drain-timeout
            assert all(is_closed(s) for s in clients)

    @test(f"a second {number.name} ends the daemon at once, with connections open")
    def _(number=number):
        with Echod() as echod, echod.connect() as s, echod.connect() as stalled:
            check_stream(s)
            stall(stalled)
            begin_stop(echod, number)
            begin = time.monotonic()
            echod.kill(number)
            assert echod.wait() == 0
            note(f"{(time.monotonic() - begin) * 1000:.0f} ms")
            assert is_closed(s)


@test("after SIGTERM a client that is held back gets all of its echo")
def _():
    with Echod() as echod, echod.connect() as s:
        sent, = stall(s)
        begin_stop(echod)
        s.shutdown(socket.SHUT_WR)
        assert len(receive_all(s)) == sent
        assert echod.wait() == 0


@test("drain-timeout = 1 ends the daemon after a second, and the log says how many connections were closed")
def _():
    with Echod(top="drain-timeout = 1") as echod, echod.connect() as s, echod.connect() as idle:
        stall(s)
        begin = time.monotonic()
        begin_stop(echod)
        assert echod.wait() == 0
        seconds = time.monotonic() - begin
        note(f"{seconds:.2f} s")
        assert 0.9 <= seconds < PATIENCE / 2
        assert "closing 1 connections" in echod.log()
        assert is_closed(idle)


@test("with drain-timeout = 0 SIGTERM closes connections at once, in the midst of an echo too")
def _():
    with Echod(top="drain-timeout = 0") as echod, echod.connect() as s, echod.connect() as idle:
        stall(s)
        assert echod.stop() == 0
        assert is_closed(idle)


@test("after SIGTERM, while one connection is in the midst of an echo, new clients and datagrams are answered until it is done")
def _():
    with Echod(top="workers = 2") as echod, echod.connect() as s:
        sent, = stall(s)
        begin_stop(echod)
        for _ in range(10):
            echod.check()
        with echod.connect() as late, echod.datagrams() as udp:
            check_stream(late)
            # It is idle, but began after the signal.
            check_stream(late)
            s.shutdown(socket.SHUT_WR)
            assert len(receive_all(s)) == sent
            assert echod.wait() == 0
            assert is_closed(late)
            if not UNIT:
                try:
                    udp.send(b"too late")
                    raise AssertionError(udp.recv(10))
                except ConnectionRefusedError:
                    pass


@test("datagrams and connections that are queued when SIGTERM comes are answered")
def _():
    for workers in (1, 2):
        with Echod(top=f"workers = {workers}") as echod:
            echod.kill(signal.SIGSTOP)
            datagrams = [echod.datagrams(host) for host in echod.hosts for _ in range(40)]
            streams = [echod.connect(host) for host in echod.hosts for _ in range(20)]
            for s in datagrams + streams:
                s.sendall(b"queued")
            echod.kill(signal.SIGTERM)
            echod.kill(signal.SIGCONT)
            for s in datagrams:
                assert s.recv(10) == b"queued"
                s.close()
            for s in streams:
                assert receive(s, 6) == b"queued"
                s.close()
            assert echod.wait() == 0


@test("after SIGTERM idle-timeout holds for a client that does not read its echo")
def _():
    with Echod(tcp="idle-timeout = 1") as echod, echod.connect() as s:
        stall(s)
        begin_stop(echod)
        assert echod.wait() == 0
        assert "closing" not in echod.log()


@test("after SIGTERM, while connections finish, SIGHUP reloads nothing, and SIGUSR1 logs the counters")
def _():
    with Echod() as echod, echod.connect() as s:
        stall(s)
        begin_stop(echod)
        mark = len(echod.lines)
        echod.kill(signal.SIGHUP)
        echod.wait_line("not reloading", since=mark)
        assert echod.counters()["open"] == 1
        s.close()
        assert echod.wait() == 0


# ---- other signals ----

@test("SIGUSR1 logs every counter, with the connections that are open")
def _():
    with Echod() as echod, echod.connect() as s:
        check_stream(s, b"12345")
        with echod.datagrams() as udp:
            check_datagram(udp, b"123")
        with echod.connect() as t:
            check_stream(t, b"1234567")
            reset(t)
        echod.wait_counter("tcp_closed", 1)
        counters = echod.wait_counter("udp_octets", 3)
        expected = {"open": 1, "tcp_accepted": 2, "tcp_closed": 1, "tcp_echoes": 2, "tcp_octets": 12, "tcp_reset": 1,
                    "udp_received": 1, "udp_echoes": 1, "udp_octets": 3, "udp_failed": 0}
        assert {name: counters[name] for name in expected} == expected, counters


@test("SIGPIPE changes nothing")
def _():
    with Echod() as echod, echod.connect() as s:
        for _ in range(10):
            echod.kill(signal.SIGPIPE)
        check_stream(s)
        echod.check()


@test("a daemon that is stopped and continued, as with Ctrl-Z and fg, loses nothing")
def _():
    with Echod() as echod, echod.connect() as s, echod.datagrams() as udp:
        for _ in range(5):
            echod.kill(signal.SIGSTOP)
            wait_for(lambda: echod.status()["State"][0] == "T", PATIENCE, "it to stop")
            s.sendall(b"meanwhile")
            udp.send(b"meanwhile")
            echod.kill(signal.SIGCONT)
            assert receive(s, 9) == b"meanwhile"
            assert udp.recv(100) == b"meanwhile"


# ---- the log ----

def lines_without_notice(echod):
    """What is logged, but for the notice of a build or a kernel that lacks part of the sandbox."""
    return [line for line in echod.lines if "the sandbox is incomplete" not in line]


@test("the start is one line in the log: version, sockets, workers")
def _():
    with Echod(top="workers = 2") as echod:
        line = echod.wait_line("ready:")
        whose = " (inherited)" if ACTIVATED else ""
        where = f"127.0.0.1:{echod.port}{whose} [::1]:{echod.port}{whose}"
        for part in ("echod ", f"tcp {where}", f"udp {where}", "2 workers"):
            assert part in line, line
        assert len(lines_without_notice(echod)) == 1, echod.log()


@test("the stop is one line in the log: how long the daemon ran, and what it served")
def _():
    with Echod() as echod:
        echod.check()
        mark = len(echod.lines)
        assert echod.stop() == 0
        lines = [line for line in echod.lines[mark:] if line and "stopping:" not in line]
        assert len(lines) == 1, lines
        for part in ("stopped after 0d 00:00:0", "TCP 2 connections", "2 echoes, 10 octets; UDP 2 echoes, 10 octets"):
            assert part in lines[0], lines[0]


@test("connections are logged at debug level only")
def _():
    with Echod() as echod:
        echod.check()
        echod.counters()
        assert len(lines_without_notice(echod)) == 2, echod.log()
    with Echod(top='log { level = "debug" }') as echod:
        echod.check_tcp("::1")
        echod.wait_line(r"tcp: connection \d+ from \[::1\]:\d+")
        echod.wait_line("closed by the client")


@test("a thousand refusals and 500 refused datagrams make at most 8 lines in the log")
def _():
    with Echod(tcp="max-connections-per-source = 1\nmax-connections = 3",
               udp='refuse-source-ports = { "0-65535" }') as echod, echod.connect() as s, echod.datagrams() as udp:
        check_stream(s)
        others = [echod.connect(source=f"127.0.0.{n}") for n in (2, 3)]
        for t in others:
            check_stream(t)
        for n in range(500):
            reset(echod.connect())
            udp.send(b"?")
        others.pop().close()
        for n in range(500):
            reset(echod.connect())
        wait_for(lambda: echod.counters()["tcp_refused_source"] > 100, PATIENCE, "the refusals")
        lines = [line for line in echod.lines if "tcp_accepted" not in line]
        note(f"{len(lines)} lines")
        assert len(lines) <= 8, "\n".join(lines)
        for t in others:
            t.close()


def chatter(echod):
    """Far more at debug level than any pipe holds."""
    for _ in range(300):
        echod.check_tcp()


def wait_ready(reader):
    """Read the log up to the line that says that the daemon is ready."""
    line = b""
    while b"ready:" not in line:
        assert select.select([reader], [], [], PATIENCE)[0], f"the daemon does not say that it is ready, but {line}"
        line = reader.readline()
        assert line, "the daemon ended"


def narrow_pipe():
    reading, writing = os.pipe()
    # Two pages: poll(2) takes a pipe with an empty page for writable, and the start may log two lines.
    fcntl.fcntl(writing, F_SETPIPE_SZ, 8192)
    return reading, writing


for what_, open_pair in (("a full pipe", narrow_pipe), ("a terminal", os.openpty)):
    @test(f"{what_} as standard error, which nobody reads, stops nothing")
    def _(open_pair=open_pair):
        if open_pair is os.openpty:
            not_under_unit("it may not open the terminal again")
        reading, writing = open_pair()
        with os.fdopen(reading, "rb", 0) as reader, os.fdopen(writing, "wb", 0) as stderr:
            with Echod(top='log { level = "debug" }', stderr=stderr, wait=False) as echod:
                wait_ready(reader)
                chatter(echod)
                echod.check()
                # Read again, it logs again.
                os.set_blocking(reader.fileno(), False)
                while reader.read(65536):
                    pass
                echod.check_tcp()
                wait_for(lambda: b"connection" in (reader.read(65536) or b""), PATIENCE, "the log to go on")
                assert echod.stop() == 0


@test("a standard error whose reader is gone stops nothing")
def _():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", 0) as pipe, os.fdopen(writing, "wb", 0) as stderr:
        with Echod(top='log { level = "debug" }', stderr=stderr, wait=False) as echod:
            stderr.close()
            wait_ready(pipe)
            pipe.close()
            chatter(echod)
            echod.check()
            assert echod.stop() == 0


@test("a daemon started with standard input, output and error closed serves, and writes its log to no client")
def _():
    with Echod(top='log { level = "debug" }', closed=(0, 1, 2), wait=False) as echod:
        def listens():
            try:
                echod.check()
                return True
            except ConnectionRefusedError:
                return False
        wait_for(listens, PATIENCE, "the port")
        chatter(echod)
        targets = [os.readlink(f"/proc/{echod.process.pid}/fd/{fd}") for fd in range(3)]
        assert targets == ["/dev/null"] * 3, targets
        assert echod.stop() == 0


if __name__ == "__main__":
    private_network()
    run_all()
