# SPDX-License-Identifier: ISC
"""Run echo-probe, and servers that answer it by a script."""

import concurrent.futures
import contextlib
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import threading

from lib import skip

ECHO_PROBE = os.environ["ECHO_PROBE"]

# Every wait has this end, far beyond what a slow machine or a sanitizer needs: it is reached only by a failure.
PATIENCE = 60

# A timeout for replies that is never reached.
PATIENT = ("-W", "1000")


# ---- servers ----

def bound(kind, host):
    """A socket on a port of the kernel's choice."""
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=kind, flags=socket.AI_NUMERICHOST)[0]
    s = socket.socket(family, kind)
    try:
        s.bind(address)
    except OSError as error:
        s.close()
        skip(f"cannot bind {host}: {error}")
    return s


_held = []


def closed_port():
    """A port of 127.0.0.1 where both protocols refuse every client. It is held until the script ends, so that no other program can
    listen there: the TCP socket does not listen, and the UDP socket takes datagrams only from itself."""
    for _ in range(100):
        tcp, udp = bound(socket.SOCK_STREAM, "127.0.0.1"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        _held.extend((tcp, udp))
        with contextlib.suppress(OSError):  # Somebody else has the port of UDP.
            udp.bind(tcp.getsockname())
            udp.connect(tcp.getsockname())
            return tcp.getsockname()[1]
    raise RuntimeError("no port is free on 127.0.0.1")


class Server:
    """A socket served by threads until the end of the with block."""

    def __init__(self, kind, host):
        self.socket = bound(kind, host)
        self.port = self.socket.getsockname()[1]
        self.stopped, self._stop = socket.socketpair()
        self.failure = None
        self.threads = [threading.Thread(target=self._guarded, args=(self.serve,))]

    def _guarded(self, function, *arguments):
        try:
            function(*arguments)
        except Exception as error:  # pylint: disable=broad-exception-caught
            self.failure = error

    def readable(self, *sockets):
        """Wait until one of the sockets can be read. False if it is time to stop."""
        ready, _, _ = select.select([self.stopped, *sockets], [], [])
        return self.stopped not in ready

    def serve(self):
        raise NotImplementedError

    def __enter__(self):
        self.threads[0].start()
        return self

    def __exit__(self, kind, *_):
        self._stop.send(b"x")
        for thread in self.threads:
            thread.join(PATIENCE)
        for s in (self.socket, self.stopped, self._stop):
            s.close()
        if kind is None and self.failure:
            raise AssertionError("the server failed") from self.failure


class Udp(Server):
    """Answers datagram number n (from 1) with the datagrams that answer(n, data) returns; by default with the same one. A datagram
    may be a pair of socket and octets: it is sent through that socket."""

    def __init__(self, answer=lambda n, data: [data], host="127.0.0.1"):
        super().__init__(socket.SOCK_DGRAM, host)
        # As much as an ordinary user may have, so that nothing is lost while this process waits for a CPU.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.answer = answer
        self.seen = threading.Event()

    def serve(self):
        count = 0
        while self.readable(self.socket):
            data, client = self.socket.recvfrom(65536)
            count += 1
            self.seen.set()
            for reply in self.answer(count, data):
                through, octets = reply if isinstance(reply, tuple) else (self.socket, reply)
                through.sendto(octets, client)


class Tcp(Server):
    """Runs handle(server, connection) for each connection, in a thread of its own."""

    def __init__(self, handle=None, host="127.0.0.1"):
        super().__init__(socket.SOCK_STREAM, host)
        self.handle = handle or Tcp.echo
        self.socket.listen()

    def serve(self):
        while self.readable(self.socket):
            connection = self.socket.accept()[0]
            self.threads.append(threading.Thread(target=self._guarded, args=(self._handle, connection)))
            self.threads[-1].start()

    def _handle(self, connection):
        with connection:
            self.handle(self, connection)

    def echo(self, connection):
        while self.readable(connection):
            data = connection.recv(65536)
            if not data:
                return
            connection.sendall(data)

    def take(self, connection, size):
        """Receive exactly `size` octets."""
        data = b""
        while len(data) < size and self.readable(connection):
            part = connection.recv(size - len(data))
            assert part, f"the probe ended the connection after {len(data)} of {size} octets"
            data += part
        return data

    def wait_end(self, connection):
        """Until the probe ends the connection, which may also be by a reset."""
        with contextlib.suppress(ConnectionError):
            while self.readable(connection) and connection.recv(65536):
                pass


def reset_at_close(connection):
    """Closing with this set sends a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Full:
    """A listener that lets nobody in: its queue is full."""

    def __init__(self, host="127.0.0.1", port=0):
        self.family, _, _, _, self.address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]

    def __enter__(self):
        self.sockets = [socket.socket(self.family) for _ in range(3)]
        listener, first, second = self.sockets
        listener.bind(self.address)
        listener.listen(0)
        self.address = listener.getsockname()
        self.port = self.address[1]
        # On Linux the queue holds one connection more than listen(2) says.
        first.settimeout(PATIENCE)
        first.connect(self.address)
        second.setblocking(False)
        second.connect_ex(self.address)
        assert not select.select([], [second], [], 0.1)[1], "the queue of the listener does not fill"
        return self

    def __exit__(self, *_):
        for s in self.sockets:
            s.close()


# ---- surroundings ----

def all_of(*calls):
    """Make the calls at the same time, each in a thread; fail as the first that failed."""
    with concurrent.futures.ThreadPoolExecutor(len(calls)) as pool:
        for made in [pool.submit(call) for call in calls]:
            made.result()


def without_network():
    """A prefix to run in a namespace where not even the loopback interface is up."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode != 0:
        skip("needs a network namespace: root, or unprivileged user namespaces")
    return unshare


@contextlib.contextmanager
def hosts(text):
    """A prefix to run with this for /etc/hosts."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    with tempfile.NamedTemporaryFile("w", encoding="ascii") as file, tempfile.NamedTemporaryFile("w", encoding="ascii") as switch:
        file.write(text)
        switch.write("hosts: files\n")
        file.flush()
        switch.flush()
        os.chmod(file.name, 0o644)
        os.chmod(switch.name, 0o644)
        commands = f'mount --bind {file.name} /etc/hosts && mount --bind {switch.name} /etc/nsswitch.conf && exec "$@"'
        prefix = [*unshare, "sh", "-c", commands, "sh"]
        if not shutil.which("unshare") or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode != 0:
            skip("needs a mount namespace: root, or unprivileged user namespaces, and /etc/hosts and /etc/nsswitch.conf")
        yield prefix


def link_local():
    """An address of this host with its zone."""
    with open("/proc/net/if_inet6", encoding="ascii") as file:
        for line in file:
            digits, *_, interface = line.split()
            if digits.startswith("fe80"):
                address = socket.inet_ntop(socket.AF_INET6, bytes.fromhex(digits))
                return f"{address}%{interface}"
    return skip("needs a link-local address")


# ---- the probe ----

class Run:
    """The output and the exit status of one run of echo-probe."""

    def __init__(self, out, err, status):
        self.out, self.err, self.status = out, err, status

    def __str__(self):
        return f"status {self.status}\n{self.out}{self.err}"

    def expect(self, status, *patterns, err=r"\A\Z"):
        """Check the exit status, that standard output has the patterns in this order, and standard error; it is empty by default."""
        assert self.status == status, f"not status {status} but {self}"
        at = 0
        for pattern in patterns:
            found = re.compile(pattern, re.M).search(self.out, at)
            assert found, f"no '{pattern}' (in that order) in {self}"
            at = found.end()
        assert re.search(err, self.err, re.M), f"no '{err}' on standard error of {self}"
        sanitizer = re.search(r"Sanitizer|runtime error:", self.err)
        assert not sanitizer, str(self)
        return self

    def counter(self, name):
        found = re.search(rf"\+(\d+) {name}", self.out)
        return int(found[1]) if found else 0


def run(*arguments, prefix=(), program=ECHO_PROBE, **options):
    command = [*prefix, program, *(str(argument) for argument in arguments)]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    done = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False, text=True, **options)
    return Run(done.stdout or "", done.stderr, done.returncode)


class Running:
    """A run to watch and to signal."""

    def __init__(self, *arguments, program=ECHO_PROBE):
        command = [program, *(str(argument) for argument in arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True)
        self.out = ""
        # Reading is given up by killing what is read from.
        self.watchdog = threading.Timer(PATIENCE, self.process.kill)
        self.watchdog.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.watchdog.cancel()
        self.process.kill()
        self.process.communicate()

    def read_until(self, pattern, stream=None):
        """Read lines up to one that matches. Returns all of them."""
        stream = stream or self.process.stdout
        lines = ""
        for line in stream:
            lines += line
            if stream is self.process.stdout:
                self.out += line
            if re.search(pattern, line):
                return lines
        raise AssertionError(f"no '{pattern}' in {lines}")

    def end(self, number):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=PATIENCE)
        return Run(self.out + out, err, self.process.returncode)


def summary(sent, received, loss, extra=""):
    """The pattern of the line with the counters. Any may have been delayed, where the machine is busy."""
    return rf"^{sent} packets transmitted, {received} received{re.escape(extra)}{LATE}, {loss}% packet loss, time \d+ms$"


LATE = r"(, \+\d+ delayed)?"
TIME = r"time=\d+(\.\d+)? ms"
RTT = r"^rtt min/avg/max/mdev = (\d+\.\d{3,}/){3}\d+\.\d{3,} ms"
QUANTILES = r"^p50/p90/p99/p99.9 = (\d+\.\d{3,}/){3}\d+\.\d{3,} ms, jitter \d+\.\d{3,} ms, ipdv \d+\.\d{3,} ms"
