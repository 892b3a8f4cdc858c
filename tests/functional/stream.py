# SPDX-License-Identifier: ISC
"""echo-probe -m -: standard input to the echo service, and what comes back to standard output."""

import contextlib
import os
import pty
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading

from lib import run_all, test
from probing import ECHO_PROBE, PATIENCE, PATIENT, Tcp, Udp, bound, closed_port, reset_at_close

SUMMARY_TCP = r"\A{0} bytes sent, {0} received, no difference, time \d+ms\n\Z"


class Done:
    """The output and the exit status of one run."""

    def __init__(self, out, err, status):
        self.out, self.err, self.status = out, err.decode(), status
        assert not re.search(r"Sanitizer|runtime error:", self.err), self.err

    def expect(self, status, out, *patterns):
        """The status, what was written, and patterns on standard error in this order."""
        assert self.status == status, f"not status {status} but {self.status}: {self.err}"
        assert out is None or self.out == out, f"{len(self.out)} octets came out, not {len(out)}: {self.err}"
        at = 0
        for pattern in patterns:
            found = re.compile(pattern, re.M).search(self.err, at)
            assert found, f"no '{pattern}' (in that order) in {self.err}"
            at = found.end()


def command(protocol, port, *options, host="127.0.0.1"):
    return [ECHO_PROBE, *PATIENT, *(str(option) for option in options), "-m", "-", protocol, host, str(port)]


def feed(data, *arguments, **options):
    done = subprocess.run(command(*arguments, **options), input=data, capture_output=True, timeout=PATIENCE, check=False)
    return Done(done.stdout, done.stderr, done.returncode)


@contextlib.contextmanager
def running(*arguments, **streams):
    """A run to talk to."""
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    # pylint: disable-next=consider-using-with
    process = subprocess.Popen(command(*arguments), bufsize=0, **streams)
    watchdog = threading.Timer(PATIENCE, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream and not stream.closed:
                stream.close()


def read(stream, length):
    data = bytearray()
    while len(data) < length:
        part = stream.read(min(length - len(data), 1 << 16))
        assert part, f"the end after {bytes(data[-100:])!r}"
        data += part
    return bytes(data)


def end(process, number=None):
    if number:
        process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    return Done(out, err, process.returncode)


def pattern(size):
    """Octets of all values, no two long stretches of which are alike."""
    step = b"".join(i.to_bytes(4, "big") for i in range(65536))
    return (step * (size // len(step) + 1))[:size]


# ---- TCP ----

@test("over TCP files of 0 octets to 100 MB come back the same")
def _():
    with Tcp() as server:
        for size in (0, 1, 4095, 4096, 65536, 65537, 262144, 262145, 1000003):
            feed(pattern(size), "tcp", server.port).expect(0, pattern(size), SUMMARY_TCP.format(size))
        script = 'head -c 100000000 /dev/zero >file; "$1" -m - tcp 127.0.0.1 $PORT <file | cmp - file'
        with tempfile.TemporaryDirectory(prefix="echo-probe-test-") as directory:
            done = subprocess.run(["bash", "-c", "set -o pipefail; " + script, "bash", ECHO_PROBE], cwd=directory, check=False,
                                  capture_output=True, timeout=PATIENCE, env={**os.environ, "PORT": str(server.port)})
            Done(done.stdout, done.stderr, done.returncode).expect(0, b"", SUMMARY_TCP.format(100000000))


@test("over TCP a regular file goes to a regular file")
def _():
    data = pattern(3000000)
    with Tcp() as server, tempfile.TemporaryDirectory(prefix="echo-probe-test-") as directory:
        with open(f"{directory}/in", "wb") as file:
            file.write(data)
        with open(f"{directory}/in", "rb") as source, open(f"{directory}/out", "wb") as sink:
            subprocess.run(command("tcp", server.port), stdin=source, stdout=sink, stderr=subprocess.PIPE, timeout=PATIENCE,
                           check=True)
        with open(f"{directory}/out", "rb") as file:
            assert file.read() == data


@test("standard input comes back over TCP and IPv6")
def _():
    with Tcp(host="::1") as server:
        feed(b"hello\n", "tcp", server.port, host="::1").expect(0, b"hello\n")


@test("over TCP a line that is typed goes out at once, and so does a line that has no end yet")
def _():
    with Tcp() as server, running("tcp", server.port) as process:
        for data in (b"one\n", b"\0\xff\r\n", b"no end"):
            process.stdin.write(data)
            assert read(process.stdout, len(data)) == data
        end(process).expect(0, b"", r"\A14 bytes sent, 14 received")


@test("over TCP what is typed on a terminal comes back, until Ctrl-D")
def _():
    with Tcp() as server:
        master, slave = pty.openpty()
        with running("tcp", server.port, stdin=slave) as process:
            os.close(slave)
            os.write(master, b"typed\n")
            assert read(process.stdout, 6) == b"typed\n"
            os.write(master, b"\x04")
            end(process).expect(0, b"", r"\A6 bytes sent")
        os.close(master)


@test("the file status flags of standard input and output stay as they were")
def _():
    ours, theirs = socket.socketpair()
    with Tcp() as server, ours, theirs:
        with running("tcp", server.port, stdin=theirs, stdout=theirs) as process:
            ours.sendall(b"x")
            assert ours.recv(1) == b"x"
            assert os.get_blocking(theirs.fileno())
            ours.shutdown(socket.SHUT_WR)
            end(process).expect(0, None)


@test("a slow reader of standard output holds the sender back over TCP, and nothing is lost")
def _():
    taken = []

    def handle(server, connection):
        while server.readable(connection):
            data = connection.recv(65536)
            taken.append(len(data))
            if not data:
                return
            connection.sendall(data)

    data = pattern(32 << 20)
    with Tcp(handle) as server, running("tcp", server.port) as process:
        writer = threading.Thread(target=lambda: (process.stdin.write(data), process.stdin.close()))
        writer.start()
        # Nobody reads: it comes to rest with all buffers full.
        previous = -1
        while previous != sum(taken) or not taken:
            previous = sum(taken)
            threading.Event().wait(0.3)
        assert previous < len(data), "there is no end to what it takes"
        assert read(process.stdout, len(data)) == data
        writer.join(PATIENCE)
        process.stdin = None
        end(process).expect(0, b"", SUMMARY_TCP.format(len(data)))


@test("a TCP server that reads all before it answers gets all, and all comes back")
def _():
    def handle(server, connection):
        data = b""
        while server.readable(connection) and (part := connection.recv(1 << 20)):
            data += part
        connection.sendall(data)

    with Tcp(handle) as server:
        feed(pattern(5 << 20), "tcp", server.port).expect(0, pattern(5 << 20))


@test("a wrong octet from a TCP server is noticed, with its place")
def _():
    def handle(server, connection):
        data = server.take(connection, 300000)
        connection.sendall(data[:200000] + bytes([data[200000] ^ 1]) + data[200001:])
        server.wait_end(connection)

    with Tcp(handle) as server:
        done = feed(pattern(300000), "tcp", server.port)
        done.expect(1, None, r"not what was sent: the first wrong byte is after byte 196608$",
                    r"^300000 bytes sent, 300000 received, different, ")
        assert len(done.out) == 300000


@test("a wrong octet in a short TCP stream is noticed, and octets in a wrong order")
def _():
    for given, wrong in ((b"abc", b"abd"), (b"ab", b"ba"), (pattern(16), pattern(16)[8:] + pattern(16)[:8])):
        def handle(server, connection, given=given, wrong=wrong):
            server.take(connection, len(given))
            connection.sendall(wrong)
            server.wait_end(connection)

        with Tcp(handle) as server:
            feed(given, "tcp", server.port).expect(1, wrong, r"first wrong byte is after byte 0$", r"different")


@test("a TCP server that greets is found out: that is no echo")
def _():
    def handle(server, connection):
        connection.sendall(b"220 hello\r\n")
        server.echo(connection)

    with Tcp(handle) as server, running("tcp", server.port) as process:
        assert read(process.stdout, 11) == b"220 hello\r\n"
        process.stdin.write(b"x")
        end(process).expect(1, b"x", r"first wrong byte is after byte 0$", r"11 bytes more came back than were sent$")


@test("where a TCP server closes early, the message says how much is missing")
def _():
    def handle(server, connection):
        connection.sendall(server.take(connection, 10)[:4])

    with Tcp(handle) as server, running("tcp", server.port) as process:
        process.stdin.write(b"0123456789")
        # Standard input has not ended: it must not wait for that.
        assert process.wait(PATIENCE) == 1
        end(process).expect(1, b"0123", r"closed the connection before the end of the input$",
                            r"^echo-probe: 6 of the 10 bytes sent did not come back$")


@test("where a TCP server resets, the message says so")
def _():
    def handle(server, connection):
        server.take(connection, 10)
        reset_at_close(connection)

    with Tcp(handle) as server:
        feed(b"0123456789", "tcp", server.port).expect(1, b"", r"127\.0\.0\.1:\d+ reset the connection$", r"10 of the 10 bytes")


@test("a TCP server that does not end the connection is given up after -W")
def _():
    def handle(server, connection):
        connection.sendall(server.take(connection, 5))
        server.wait_end(connection)
        server.readable()

    with Tcp(handle) as server:
        feed(b"hello", "tcp", server.port, "-W", "1").expect(0, b"hello", r"did not end the connection$")


@test("a TCP server that sends nothing back is given up after -W, or -w")
def _():
    def handle(server, connection):
        server.wait_end(connection)
        server.readable()

    with Tcp(handle) as server:
        feed(b"hello", "tcp", server.port, "-W", "0.2").expect(1, b"", r"sent nothing back for 0\.2 s", r"5 of the 5 bytes",
                                                              r"^5 bytes sent, 0 received, incomplete, ")
        feed(b"hello", "tcp", server.port, "-w", "0.2").expect(1, b"", r"5 of the 5 bytes")


@test("SIGINT and SIGTERM end -m - with the summary, SIGQUIT prints the figures so far")
def _():
    with Tcp() as tcp, Udp() as udp:
        for protocol, server, figures in (("tcp", tcp, r"3 bytes sent, 3 received"),
                                          ("udp", udp, r"1 line \(3 bytes\) sent, 1 \(3 bytes\) received")):
            for number in (signal.SIGINT, signal.SIGTERM):
                with running(protocol, server.port) as process:
                    process.stdin.write(b"ab\n")
                    assert read(process.stdout, 3) == b"ab\n"
                    process.send_signal(signal.SIGQUIT)
                    line = process.stderr.readline().decode()
                    assert re.match(figures, line), line
                    end(process, number).expect(0, b"", rf"\A{figures}")


@test("SIGINT while octets are missing is exit status 1")
def _():
    def handle(server, connection):
        server.take(connection, 3)
        connection.sendall(b"a")
        server.readable()

    with Tcp(handle) as server, running("tcp", server.port) as process:
        process.stdin.write(b"abc")
        assert read(process.stdout, 1) == b"a"
        end(process, signal.SIGINT).expect(1, b"", r"2 of the 3 bytes sent did not come back$")


@test("-q leaves out the summary, but not errors")
def _():
    with Tcp() as server:
        done = feed(b"x", "tcp", server.port, "-q")
        done.expect(0, b"x")
        assert done.err == "", done.err
    with Udp(lambda n, data: []) as server:
        done = feed(b"x\n", "udp", server.port, "-q", "-W", "0.1")
        done.expect(1, b"", r"\Aecho-probe: line 1 did not come back within 0\.1 s\n\Z")


@test("standard output that cannot be written, and standard input that cannot be read, are exit status 2")
def _():
    with Tcp() as server, open("/dev/full", "wb") as full:
        done = subprocess.run(command("tcp", server.port), input=b"x", stdout=full, stderr=subprocess.PIPE, timeout=PATIENCE,
                              check=False)
        Done(b"", done.stderr, done.returncode).expect(2, b"", r"cannot write to standard output: No space left on device$")
        with running("tcp", server.port) as process:
            process.stdout.close()
            process.stdin.write(b"x" * 100)
            assert process.wait(PATIENCE) == 2
            assert "cannot write to standard output: Broken pipe" in process.stderr.read().decode()
        fd = os.open("/", os.O_RDONLY)
        done = subprocess.run(command("tcp", server.port), stdin=fd, capture_output=True, timeout=PATIENCE, check=False)
        os.close(fd)
        Done(b"", done.stderr, done.returncode).expect(2, b"", r"cannot read standard input: Is a directory$")


# ---- UDP ----

@test("over UDP each line is a datagram, with its newline, whatever its octets")
def _():
    seen = []

    def answer(n, data):
        seen.append(data)
        return [data]

    lines = [b"first\n", b"\n", b"\0\xff\r\n", b"last, without an end"]
    with Udp(answer) as server:
        feed(b"".join(lines), "udp", server.port).expect(0, b"".join(lines), r"\A4 lines \(31 bytes\) sent, 4 \(31 bytes\) received")
        feed(b"", "udp", server.port).expect(0, b"", r"\A0 lines")
    assert seen == lines, seen


@test("lines up to the largest datagram come back over UDP, by both families")
def _():
    for host, largest in (("127.0.0.1", 65507), ("::1", 65527)):
        with Udp(host=host) as server:
            for data in (b"x" * (largest - 1) + b"\n", b"x" * largest):
                feed(data, "udp", server.port, host=host).expect(0, data)


@test("over UDP a line that is too long is named and not sent, the others are sent")
def _():
    with Udp() as server:
        for excess in (1, 100, 65536, 200000):
            data = b"one\n" + b"x" * (65506 + excess) + b"\nthree\n"
            feed(data, "udp", server.port).expect(
                2, b"one\nthree\n", r"^echo-probe: line 2 was not sent: a datagram carries at most 65507 bytes", r"1 not sent")


@test("over UDP ten thousand lines come back, none is lost by haste")
def _():
    data = b"".join(b"line %d\n" % i for i in range(10000))
    with Udp() as server:
        feed(data, "udp", server.port).expect(0, data, r"^10000 lines ")


@test("over UDP a line that is typed goes out at once")
def _():
    with Udp() as server, running("udp", server.port) as process:
        for data in (b"one\n", b"two\n"):
            process.stdin.write(data)
            assert read(process.stdout, 4) == data
        assert not select.select([process.stdout], [], [], 0)[0]
        end(process).expect(0, b"", r"\A2 lines")


@test("over UDP a line that does not come back is lost, and the next line is sent")
def _():
    with Udp(lambda n, data: [data] if n != 2 else []) as server:
        feed(b"1\n2\n3\n", "udp", server.port, "-W", "1").expect(
            1, b"1\n3\n", r"^echo-probe: line 2 did not come back within 1 s$", r"^3 lines \(6 bytes\) sent, 2 .*, 1 lost, time")


@test("over UDP what is not the reply is counted and not written")
def _():
    with bound(socket.SOCK_DGRAM, "127.0.0.1") as other:
        answers = {1: lambda data: [b"wrong", data], 2: lambda data: [b"1\n", data], 3: lambda data: [(other, data), data],
                   4: lambda data: [data[:1], data]}
        with Udp(lambda n, data: answers[n](data)) as server:
            feed(b"1\n2\n3\n4\n", "udp", server.port).expect(
                1, b"1\n2\n3\n4\n", r"5 bytes came back that are not the 2 bytes of line 1$", r"line 1 came back late, or once more$",
                r"2 bytes came from 127\.0\.0\.1:\d+, which was not asked$", r"1 bytes came back that are not the 2 bytes of line 4$",
                r"1 late or repeated, 2 different, 1 from a wrong source, time")


@test("over UDP each line that is refused is told of at once")
def _():
    feed(b"a\nb\n", "udp", closed_port()).expect(
        1, b"", r"line 1 was refused by 127\.0\.0\.1: Connection refused$", r"line 2 was refused",
        r"0 \(0 bytes\) received, 2 refused, time")


run_all()
