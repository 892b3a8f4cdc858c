# SPDX-License-Identifier: ISC
"""echo-probe --graph on pseudo-terminals."""

import contextlib
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time

from lib import run_all, skip, test
from probing import ECHO_PROBE, PATIENCE, PATIENT, RTT, TIME, Tcp, Udp, closed_port, run

# What xterm is told at the end: back from the alternate screen.
END = b"\x1b[?1049l"
ESCAPES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[()].|\x1b[=>]|[\x0e\x0f]")


class Terminal:
    """A run with a controlling terminal of its own, whose output is kept in full."""

    def __init__(self, *arguments, term="xterm", size=(24, 80), no_color="", **options):
        self.master, slave = os.openpty()
        self.resize(*size)
        self.modes = termios.tcgetattr(slave)
        self.slave = slave
        self.output = b""
        environment = dict(os.environ, LC_ALL="C", NO_COLOR=no_color)
        for name in ("TERM", "LINES", "COLUMNS"):
            environment.pop(name, None)
        if term is not None:
            environment["TERM"] = term
        command = [ECHO_PROBE, *(str(argument) for argument in arguments)]
        self.process = subprocess.Popen(command, env=environment, start_new_session=True,
                                        preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),
                                        **{"stdin": slave, "stdout": slave, "stderr": slave, **options})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def resize(self, rows, columns):
        """The kernel sends SIGWINCH to who runs in the foreground."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys)

    def read(self):
        """What there is; wait a little for more."""
        if select.select([self.master], [], [], 0.05)[0]:
            self.output += os.read(self.master, 65536)

    def until(self, predicate, what):
        end = time.monotonic() + PATIENCE
        while not predicate():
            assert time.monotonic() < end, f"waited in vain for {what} in {self.output}"
            assert self.process.poll() is None, f"ended before {what}: {self.output}"
            self.read()

    def shows(self, pattern, after=0):
        self.until(lambda: re.search(pattern, ESCAPES.sub(b"", self.output[after:])), pattern)

    def draws(self):
        """Wait for the first picture with a round trip in it."""
        self.until(lambda: END in self.output or b"built without ncurses" in self.output or b"jitter" in self.output, "a picture")
        if b"built without ncurses" in self.output:
            skip("built without ncurses")

    def ends(self, status):
        """Read to the end; returns the lines that are left on the terminal after the picture."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, f"does not end: {self.output}"
            self.read()
        while select.select([self.master], [], [], 0)[0]:
            self.read()
        assert self.process.returncode == status, f"status {self.process.returncode}: {self.output}"
        assert b"Sanitizer" not in self.output and b"runtime error" not in self.output, self.output
        assert termios.tcgetattr(self.slave) == self.modes, "the terminal is not as it was"
        return ESCAPES.sub(b"", self.output.rpartition(END)[2]).replace(b"\r", b"").decode()


def expect_lines(text, *patterns):
    at = 0
    for pattern in patterns:
        found = re.compile(pattern, re.M).search(text, at)
        assert found, f"no '{pattern}' (in that order) in {text!r}"
        at = found.end()


def received(count):
    """Nothing is lost; on a busy machine some may be delayed."""
    return rf"^{count} packets transmitted, {count} received(, \+\d+ delayed)?, 0% packet loss, time \d+ms$"


GRAPH = ("--graph", "-i", "0.05", *PATIENT)


@test("the picture is drawn, and q ends it with the summary as text")
def _():
    with Udp() as server, Terminal(*GRAPH, "udp", "127.0.0.1", server.port) as terminal:
        terminal.draws()
        terminal.shows(rb"127\.0\.0\.1 \(127\.0\.0\.1\) port \d+ udp, 56 bytes, q ends")
        terminal.shows(rb"lost \|")
        terminal.shows(rb"\d [num]?s \|")
        terminal.shows(rb"\*")
        terminal.shows(rb"\d\.\d s +\d+ sent")
        terminal.shows(rb"received \d")
        for name in (b"rtt", b"last", b"p50", b"p99", b"jitter"):
            terminal.shows(name + rb" [\d.]+ [num]?s")
        assert END not in terminal.output
        terminal.type(b"q")
        expect_lines(terminal.ends(0), rf"^PROBE 127\.0\.0\.1 \(127\.0\.0\.1\) port {server.port} udp 56\(84\) bytes of data\.$",
               r"^--- 127\.0\.0\.1 echo-probe statistics ---$", r"^\d+ packets transmitted, \d+ received, ", RTT)
        assert b"bytes from" not in terminal.output, terminal.output


@test("other keys do nothing, also those whose sequences have a q in them; Ctrl-C ends")
def _():
    with Udp() as server, Terminal(*GRAPH, "udp", "127.0.0.1", server.port) as terminal:
        terminal.draws()
        terminal.type(b"xyz \x1bOq\x1b[24~\xff")
        at = len(terminal.output)
        terminal.shows(rb"\*[^*]*\*", at)
        assert END not in terminal.output
        terminal.type(b"\x03")
        expect_lines(terminal.ends(0), r"^--- 127\.0\.0\.1 echo-probe statistics ---$")


@test("the picture ends by itself after -c probes")
def _():
    with Udp() as server, Terminal("-c", 20, *GRAPH, "udp", "127.0.0.1", server.port) as terminal:
        terminal.draws()
        expect_lines(terminal.ends(0), received(20), RTT)


@test("thousands of probes a second share columns")
def _():
    with Udp() as server, Terminal("-c", 300, "--graph", "-i", "0.0005", *PATIENT, "udp", "127.0.0.1", server.port) as terminal:
        terminal.draws()
        expect_lines(terminal.ends(0), received(300), RTT)


@test("the picture of TCP is drawn on a narrow terminal")
def _():
    def handle(server, connection):
        # What is under way at the end is lost.
        with contextlib.suppress(ConnectionError):
            server.echo(connection)

    with Tcp(handle) as server, Terminal(*GRAPH, "tcp", "localhost", server.port, size=(24, 20)) as terminal:
        terminal.until(lambda: b"received" in terminal.output or b"without ncurses" in terminal.output, "figures")
        if b"without ncurses" in terminal.output:
            skip("built without ncurses")
        terminal.type(b"q")
        terminal.ends(0)


@test("the picture is drawn on a terminal of any size, changed at any time")
def _():
    seen = []
    with Udp(lambda n, data: seen.append(n) or [data]) as server, \
         Terminal(*GRAPH, "udp", "127.0.0.1", server.port) as terminal:
        terminal.draws()
        for size in ((1, 1), (5, 3), (2, 80), (1, 300), (100, 1), (3, 12), (4, 19), (6, 40), (7, 18), (200, 1500), (0, 0)):
            terminal.resize(*size)
            # Long enough for more than one picture.
            sent = len(seen)
            terminal.until(lambda count=sent: len(seen) > count + 3, f"probes at {size}")
        at = len(terminal.output)
        terminal.resize(30, 90)
        terminal.shows(rb"q ends", at)
        terminal.shows(rb"lost \|", at)
        terminal.type(b"q")
        expect_lines(terminal.ends(0), r"^--- 127\.0\.0\.1 echo-probe statistics ---$")


@test("the picture starts on a terminal of one cell, and on one that does not know its size")
def _():
    for size in ((1, 1), (0, 0)):
        with Udp() as server, Terminal("-c", 5, *GRAPH, "udp", "127.0.0.1", server.port, size=size) as terminal:
            expect_lines(terminal.ends(0), received(5), RTT)


@test("the picture has no colours where NO_COLOR is set and not empty")
def _():
    colour = re.compile(rb"\x1b\[[0-9;]*3[0-9]m")
    for value, coloured in (("1", False), ("", True)):
        with Udp() as server, Terminal("-c", 5, *GRAPH, "udp", "127.0.0.1", server.port, no_color=value) as terminal:
            terminal.ends(0)
            if b"without ncurses" in terminal.output:
                skip("built without ncurses")
            assert bool(colour.search(terminal.output)) == coloured, terminal.output


@test("losses are marked in the picture where they were sent")
def _():
    with Udp(lambda n, data: [] if n % 2 else [data]) as server, \
         Terminal("--graph", "-i", "0.1", "-W", "0.3", "udp", "127.0.0.1", server.port) as terminal:
        terminal.draws()
        terminal.shows(rb"(?s)x.*x")
        terminal.shows(rb"% lost")
        terminal.type(b"q")
        terminal.ends(0)


@test("the picture shows the most recent trouble as the text would say it")
def _():
    with Udp(lambda n, data: [data, data[:-1] + b"\xff"]) as server, \
         Terminal(*GRAPH, "udp", "127.0.0.1", server.port, size=(24, 120)) as terminal:
        terminal.draws()
        terminal.shows(rb"56 bytes from 127\.0\.0\.1: udp_seq=\d+ .*CORRUPT! first wrong byte at offset 55")
        terminal.shows(rb"corrupt \d")
        terminal.type(b"q")
        terminal.ends(0)


@test("a refused connection is told after the terminal is as it was")
def _():
    port = closed_port()
    with Terminal(*GRAPH, "tcp", "127.0.0.1", port) as terminal:
        text = terminal.ends(1)
        if b"without ncurses" in terminal.output:
            skip("built without ncurses")
        expect_lines(text, r"\APROBE 127\.0\.0\.1 ",
               rf"^echo-probe: cannot connect to tcp 127\.0\.0\.1:{port}: Connection refused: nothing listens")
        assert terminal.output.count(END) == 1, terminal.output


@test("a server that ends the connection is told after the terminal is as it was")
def _():
    def handle(server, connection):
        connection.sendall(server.take(connection, 56))

    with Tcp(handle) as server, Terminal(*GRAPH, "tcp", "127.0.0.1", server.port) as terminal:
        text = terminal.ends(1)
        if b"without ncurses" in terminal.output:
            skip("built without ncurses")
        expect_lines(text, r"^PROBE ", r"^echo-probe: 127\.0\.0\.1:\d+ closed the connection", r"^--- ", r" 1 received")


@test("without a keyboard, the signal ends the picture and nothing is read from standard input")
def _():
    reader, writer = os.pipe()
    os.write(writer, b"q" * 100)
    with Udp() as server, Terminal(*GRAPH, "udp", "127.0.0.1", server.port, stdin=reader) as terminal:
        terminal.draws()
        terminal.shows(rb"Ctrl-C ends")
        at = len(terminal.output)
        terminal.shows(rb"\*[^*]*\*", at)
        terminal.resize(10, 40)
        terminal.shows(rb"lost \|", at)
        terminal.process.send_signal(signal.SIGINT)
        expect_lines(terminal.ends(0), r"^--- 127\.0\.0\.1 echo-probe statistics ---$")
        assert os.read(reader, 200) == b"q" * 100
    os.close(reader)
    os.close(writer)


def check_plain_lines(text, port):
    """What is printed without --graph."""
    expect_lines(text, rf"\APROBE 127\.0\.0\.1 \(127\.0\.0\.1\) port {port} udp 56\(84\) bytes of data\.\n"
           rf"56 bytes from 127\.0\.0\.1: udp_seq=1 {TIME}\n56 bytes from 127\.0\.0\.1: udp_seq=2 {TIME}\n\n"
           r"--- 127\.0\.0\.1 echo-probe statistics ---\n2 packets transmitted, ")


@test("where standard output is no terminal, the lines are those without --graph")
def _():
    with Udp() as server:
        done = run("-c", 2, *GRAPH, "udp", "127.0.0.1", server.port).expect(0, received(2), RTT)
        check_plain_lines(done.out, server.port)


@test("on a terminal that cannot place its cursor, and on an unknown one, the lines are those without --graph")
def _():
    for term in ("dumb", "no-such-terminal", "", None):
        with Udp() as server, Terminal("-c", 2, *GRAPH, "udp", "127.0.0.1", server.port, term=term) as terminal:
            text = terminal.ends(0)
            if "without ncurses" in text:
                skip("built without ncurses")
            assert b"\x1b" not in terminal.output, terminal.output
            check_plain_lines(text, server.port)


run_all()
