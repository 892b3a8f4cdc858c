# SPDX-License-Identifier: ISC
"""Start echod for a test, watch it from outside, and see it gone: sockets, processes, private networks."""

import atexit
import ctypes
import errno
import fcntl
import os
import pathlib
import pwd
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from lib import free_port, note, skip, wait_for
from service import MANAGED, UNIT, Service, need_own_sockets, not_under_unit

ECHOD = os.environ["ECHOD"]

# Each datagram that is received is counted in one of these.
OUTCOMES = ("udp_echoes", "udp_failed", "udp_denied", "udp_refused_port", "udp_refused_group", "udp_refused_other",
            "udp_over_budget", "udp_looped")

# Every wait has this end, far beyond what a slow machine or a sanitizer needs: it is reached only by a failure.
PATIENCE = 30

_binary = pathlib.Path(ECHOD).read_bytes()
THREAD_SANITIZED = b"__tsan_init" in _binary
SANITIZED = b"__asan_init" in _binary or THREAD_SANITIZED

NOBODY = pwd.getpwnam("nobody")
HOSTS = ("127.0.0.1", "::1")
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

# For a test that must be of the daemon's own user, to change its limits or to share its port.
SAME_USER = 'user = "root"' if os.geteuid() == 0 else ""

_libc = ctypes.CDLL(None, use_errno=True)


# ---- private networks ----

CLONE_NEWNET = 0x40000000
_PRIVATE = "ECHOD_TEST_PRIVATE_NETWORK"


def private_network():
    """Run the whole script in a network namespace of its own, with capabilities over it.

    Where that cannot be had it goes on as it is; the tests that need one skip.
    """
    if _PRIVATE not in os.environ:
        unshare = ["unshare", "--net"]
        if os.geteuid() != 0:
            unshare += ["--user", "--map-current-user", "--keep-caps"]
        possible = subprocess.run(unshare + ["true"], capture_output=True, check=False).returncode == 0
        if possible:
            os.environ[_PRIVATE] = "yes"
            os.execvp("unshare", unshare + [sys.executable] + sys.argv)
        os.environ[_PRIVATE] = "no"
    if os.environ[_PRIVATE] == "yes":
        up("lo")


def need_private_network():
    """Skip a test that adds addresses, interfaces or forged packets."""
    if os.environ.get(_PRIVATE) != "yes":
        skip("needs a network namespace: root, or unprivileged user namespaces")


def need_ip():
    need_private_network()
    if not shutil.which("ip"):
        skip("needs ip(8) of iproute2")


def need_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(("::1", 0))
    except OSError as error:
        skip(f"no IPv6 on this host: {error}")


def up(interface):
    """SIOCGIFFLAGS and SIOCSIFFLAGS with IFF_UP, so that this much needs no ip(8)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sh22x", interface.encode(), 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(s, 0x8913, request))[1]
        fcntl.ioctl(s, 0x8914, struct.pack("16sh22x", interface.encode(), flags | 1))


def bound_datagram(host):
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((host, 0))
    return s


def reaches(sender, receiver):
    """True if a datagram from the sender arrives at the receiver within 50 ms."""
    try:
        sender.sendto(b"?", receiver.getsockname())
    except OSError:
        return False
    return receiver in select.select([receiver], [], [], 0.05)[0]


def ip(*commands):
    """ip(8), each command without the "ip"."""
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{commands}: {done.stderr}"


class Addresses:
    """Addresses of the loopback interface, for a while: with Addresses("192.0.2.1/24", ...)."""

    def __init__(self, *addresses):
        self.addresses = addresses

    def __enter__(self):
        need_ip()
        ip(*(f"addr add {address} dev lo" + (" nodad" if ":" in address else "") for address in self.addresses))
        return self

    def __exit__(self, *_):
        # In reverse order: with the first address of a subnet the kernel deletes the others.
        ip(*(f"addr del {address} dev lo" for address in reversed(self.addresses)))


class Neighbour:
    """A second namespace beside ours, joined by a cable:

        ours: near  192.0.2.1/24     2001:db8::1/64  fe80::1
        theirs: far 192.0.2.2/24     2001:db8::2/64  fe80::2
    """

    def __init__(self, mtu=1500):
        self.mtu = mtu

    def __enter__(self):
        need_ip()
        # Holds the namespace open until its input is closed.
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _started.add(self.holder)
        self.holder.stdout.readline()
        self.there = os.open(f"/proc/{self.holder.pid}/ns/net", os.O_RDONLY)
        self.here = os.open("/proc/self/ns/net", os.O_RDONLY)
        try:
            self._lay_cable()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _lay_cable(self):
        ip(f"link add near mtu {self.mtu} address 02:00:00:00:00:01 type veth "
           f"peer name far mtu {self.mtu} address 02:00:00:00:00:02 netns {self.holder.pid}")
        self._configure("near", 1, 2)
        self.inside(self._configure, "far", 2, 1)
        for near, far in (("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")):
            with bound_datagram(near) as here, self.inside(bound_datagram, far) as there:
                # Both ends are up a moment before anything gets through.
                wait_for(lambda: reaches(here, there) and reaches(there, here), PATIENCE, "the cable to carry")

    @staticmethod
    def _configure(interface, own, other):
        ip("link set lo up",
           f"link set {interface} addrgenmode none up",
           f"addr add 192.0.2.{own}/24 broadcast 192.0.2.255 dev {interface}",
           f"addr add 2001:db8::{own}/64 dev {interface} nodad",
           f"addr add fe80::{own}/64 dev {interface} nodad",
           f"route add default via 192.0.2.{other}",
           f"route add default via fe80::{other} dev {interface}")
        # Without these entries the first datagram may get lost while the kernel resolves the address.
        ip(*(f"neigh replace {prefix}{other} lladdr 02:00:00:00:00:0{other} dev {interface} nud permanent"
             for prefix in ("192.0.2.", "2001:db8::", "fe80::")))

    def inside(self, function, *arguments):
        """Call it with this thread in the neighbour's namespace; a socket made there stays there."""
        _enter(self.there)
        try:
            return function(*arguments)
        finally:
            _enter(self.here)

    def __exit__(self, *_):
        # The namespace itself would take it along, but at leisure.
        if any(name == "near" for _, name in socket.if_nameindex()):
            ip("link del near")
        os.close(self.there)
        os.close(self.here)
        self.holder.stdin.close()
        self.holder.wait(PATIENCE)
        self.holder.stdout.close()
        _started.discard(self.holder)


def _enter(namespace):
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


# ---- identities and limits ----

def ordinary_user():
    """Called in a child: become a user without any privilege."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY.pw_gid, NOBODY.pw_gid, NOBODY.pw_gid)
        os.setresuid(NOBODY.pw_uid, NOBODY.pw_uid, NOBODY.pw_uid)
    drop_ambient()


def drop_ambient():
    """Drop the capabilities that an ordinary user has in a namespace of its own."""
    _libc.prctl(47, 4, 0, 0, 0)  # PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL


# ---- the daemon ----

_started = set()


def _kill_all():
    for process in list(_started):
        process.kill()
        process.wait()


atexit.register(_kill_all)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

# Moves the descriptors that its argument names to 3 and up, and becomes the daemon: LISTEN_PID must be its own.
_HAND_OVER = """
import fcntl, os, sys
held = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[1].split(",")]
for fd in sys.argv[1].split(","):
    os.close(int(fd))
for number, fd in enumerate(held, 3):
    os.dup2(fd, number)
    os.close(fd)
os.environ.update(LISTEN_FDS=sys.argv[2], LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[3], sys.argv[3:])
"""


def plural(count, what):
    return f"{count} {what}{'s' if count != 1 else ''}"


def quoted_list(values):
    return "{ " + ", ".join(f'"{value}"' for value in values) + " }"


def configuration(port, top="", tcp="", udp="", hosts=HOSTS):
    """The text of a configuration that serves both protocols of these hosts on that port."""
    listen = f"    listen = {quoted_list(hosts)}\n    port = {port}\n"
    return f"{top}\ntcp {{\n{listen}    {tcp}\n}}\nudp {{\n{listen}    {udp}\n}}\n"


class Echod:
    """A running daemon: with Echod(tcp="max-connections = 3") as echod: ...

    It is stopped at the end of the block, and must then have exited as expected with nothing said by a sanitizer.
    """

    def __init__(
        self,
        top="", tcp="", udp="",  # statements of the configuration, by section
        hosts=HOSTS,             # where both protocols are served
        port=None,               # None: a free port
        text=None,               # a configuration instead of all that, see configure()
        file="",                 # what -f names; None: no -f at all
        arguments=(),            # after it
        environment=None,        # besides our own
        sockets=(),              # to be handed over as a service manager does
        listen_fds=None,         # LISTEN_FDS, if it is not to be their number
        limits=None,             # of resources, as setrlimit(2) takes them
        user=None,               # called in the child: ordinary_user
        stdout=subprocess.DEVNULL,
        stderr=None,             # None: read by us, see wait_line()
        closed=(),               # descriptors that are closed in the child
        wait=True,               # until it is ready
        status=0,                # that it must exit with
    ):
        self.top, self.tcp, self.udp, self.hosts = top, tcp, udp, hosts
        self.named_file, self.arguments = file, list(arguments)
        self.environment, self.sockets, self.listen_fds = environment or {}, sockets, listen_fds
        self.limits, self.user = limits or {}, user
        self.stdout, self.stderr, self.closed = stdout, stderr, closed
        self.expected_status = status
        self.lines = []
        self.news = threading.Condition()
        self.process = None
        self.bound = None  # addresses and port at the start, where systemd starts it
        self.reader = None
        self.directory = tempfile.TemporaryDirectory(prefix="echod-test-")
        # After it has become nobody it must still reach its configuration.
        os.chmod(self.directory.name, 0o755)
        self.file = f"{self.directory.name}/echod.conf"
        try:
            self._start(text, port, wait)
        except BaseException:
            self._end()
            raise

    # -- start and stop --

    def _start(self, text, port, wait):
        for _ in range(10):
            self.port = port or free_port()
            self.configure(text)
            self._spawn()
            if not wait:
                return
            # Under a unit the metrics' address may be in use too, by another daemon: no reason not to start.
            line = self.wait_line(r"ready:|cannot listen on .*Address already in use", or_end=True)
            if line and "ready:" in line:
                return
            self.process.wait(PATIENCE)
            self._forget()
            # Another program may take the port between its choice and its use: try another.
            assert line and not port, f"echod ended with {self.process.returncode}:\n" + self.log()
        raise AssertionError("no port stays free")

    def _spawn(self):
        named = [] if self.named_file is None else ["-f", self.named_file or self.file]
        # A copy, where any user can run it: the tree may be below /root.
        program = shutil.copy(ECHOD, self.directory.name) if self.user else ECHOD
        command = [program] + named + self.arguments
        if self.sockets:
            fds = ",".join(str(s.fileno()) for s in self.sockets)
            command = [sys.executable, "-c", _HAND_OVER, fds, self.listen_fds or str(len(self.sockets))] + command
        self.lines = []
        self.process = self._start_service(command) if UNIT else self._start_child(command)
        _started.add(self.process)
        if self.stderr is None:
            self.reader = threading.Thread(target=self._read, args=(self.process.stderr, self.lines), daemon=True)
            self.reader.start()

    def _start_child(self, command):
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.stdout, stderr=self.stderr or subprocess.PIPE,
            cwd=self.directory.name, env={**os.environ, **self.environment},
            pass_fds=[s.fileno() for s in self.sockets], preexec_fn=self._prepare)

    def _start_service(self, command):
        for wanted, what in ((self.user, "user"), (self.sockets, "sockets"), (self.closed, "standard descriptors"),
                             (MANAGED & set(self.environment), "environment")):
            if wanted:
                not_under_unit(f"the {what} would not be the unit's")
        if any("%" in host for host in self.hosts):
            need_own_sockets("systemd looks for the interface in a network of its own")
        self.bound = self.hosts, self.port
        addresses = [f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" for host in self.hosts]
        listen = [f"Listen{kind}={address}" for kind in ("Stream", "Datagram") for address in addresses]
        return Service(command, listen, cwd=self.directory.name, env=self.environment, limits=self.limits,
                       stdout=self.stdout, stderr=self.stderr or subprocess.PIPE)

    def _prepare(self):
        for limit, values in self.limits.items():
            resource.setrlimit(limit, values)
        for fd in self.closed:
            os.close(fd)
        if self.user:
            self.user()
        elif os.geteuid() != 0:
            drop_ambient()

    def _read(self, stream, lines):
        for line in stream:
            with self.news:
                lines.append(line.decode(errors="replace").rstrip("\n"))
                self.news.notify_all()
        with self.news:
            lines.append(None)
            self.news.notify_all()

    def _forget(self):
        _started.discard(self.process)
        if self.reader:
            self.reader.join(PATIENCE)
            self.process.stderr.close()
        self.reader = None

    def _end(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process:
            self._forget()
        self.directory.cleanup()

    def kill(self, number):
        self.process.send_signal(number)

    def wait(self):
        """Wait until it ends. Returns its exit status."""
        status = self.process.wait(PATIENCE)
        self._forget()
        return status

    def stop(self):
        """Send SIGTERM and wait. Returns the exit status."""
        self.kill(signal.SIGTERM)
        return self.wait()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            if kind is None:
                status = self.process.returncode if self.process.poll() is not None else self.stop_now()
                assert status == self.expected_status, f"exit status {status}:\n" + self.log()
                self._check_sanitizers()
            elif self.lines:
                note("the daemon's last words:\n" + "\n".join(line for line in self.lines[-12:] if line))
        finally:
            self._end()

    def stop_now(self):
        """Two SIGTERM, the second once the first is at work: no waiting for connections that a test has left open."""
        mark = len(self.lines)
        self.kill(signal.SIGTERM)
        if self.stderr is None and self.wait_line(r"stopping:|stopped after", since=mark, or_end=True):
            self.kill(signal.SIGTERM)
        return self.wait()

    def _check_sanitizers(self):
        found = [line for line in self.lines if line and re.search(r"Sanitizer|runtime error:", line)]
        assert not found, "\n".join(line for line in self.lines if line)

    # -- configuration --

    def configure(self, text=None):
        """Write the file at once, as rename(2) does. PORT in `text` stands for the port."""
        if self.bound and self.bound != (self.hosts, self.port):
            need_own_sockets()
        if text is None:
            text = configuration(self.port, self.top, self.tcp, self.udp, self.hosts)
        with open(self.file + ".new", "w", encoding="utf-8") as file:
            file.write(text.replace("PORT", str(self.port)))
        os.rename(self.file + ".new", self.file)

    def change(self, **changes):
        """Other top, tcp, udp or hosts, and reload; the daemon's answer."""
        for name, value in changes.items():
            setattr(self, name, value)
        self.configure()
        return self.reload()

    def reload(self):
        """Send SIGHUP. Returns what is logged until the outcome, in one string."""
        mark = len(self.lines)
        self.kill(signal.SIGHUP)
        self.wait_line(r"reloaded", since=mark)
        return "\n".join(self.lines[mark:])

    def reload_text(self, text):
        self.configure(text)
        return self.reload()

    # -- what it says --

    def log(self):
        return "\n".join(line for line in self.lines if line is not None)

    def wait_line(self, pattern, since=0, or_end=False):
        """The first line since then that matches. With or_end, None if the daemon ends instead."""
        lines = self.lines
        deadline = time.monotonic() + PATIENCE
        seen = since
        with self.news:
            while True:
                for line in lines[seen:]:
                    if line is not None and re.search(pattern, line):
                        return line
                seen = len(lines)
                if seen and lines[-1] is None:
                    assert or_end, f"echod ended and never said {pattern!r}:\n" + self.log()
                    return None
                assert self.news.wait(deadline - time.monotonic()), f"no {pattern!r} in {PATIENCE} s:\n" + self.log()

    def counters(self):
        mark = len(self.lines)
        self.kill(signal.SIGUSR1)
        line = self.wait_line(r"tcp_accepted=", since=mark)
        found = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}
        found["open"] = int(re.search(r"(\d+) connections open", line)[1])
        return found

    def wait_counter(self, name, value):
        """Until it has that value, which it must not pass; all counters."""
        def reached():
            counters.update(self.counters())
            assert counters[name] <= value, f"{name} is {counters[name]}, {value} was expected"
            return counters[name] == value
        counters = {}
        wait_for(reached, PATIENCE, f"{name} to be {value}")
        return counters

    def settled(self):
        """All counters, once each datagram that was received is counted as answered or refused: a reply may be here before."""
        def whole():
            counters.update(self.counters())
            return counters["udp_received"] == sum(counters[name] for name in OUTCOMES)
        counters = {}
        wait_for(whole, PATIENCE, "every datagram to be counted")
        return counters

    # -- what it costs --

    def cpu(self):
        """Seconds of processor time so far."""
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def rss(self):
        """Octets of memory."""
        return int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * PAGE

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def status(self):
        """The fields of /proc/PID/status."""
        text = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return {name: value.split() for name, _, value in (line.partition(":") for line in text.splitlines())}

    def limit(self, what, soft=None):
        """Set a limit, named as in prlimit(1), as the daemon's own user. None: to the hard limit."""
        uid, gid = (int(self.status()[kind][0]) for kind in ("Uid", "Gid"))
        identity = {"user": uid, "group": gid, "extra_groups": []} if os.geteuid() == 0 else {}
        def prlimit(*arguments):
            return subprocess.run(["prlimit", f"--pid={self.process.pid}", *arguments], capture_output=True, text=True,
                                  check=True, **identity).stdout.strip()
        hard = prlimit(f"--{what}", "--output=HARD", "--noheadings")
        prlimit(f"--{what}={hard if soft is None else soft}:{hard}")

    # -- clients of it --

    def connect(self, host=None, source=None, port=None):
        address = (host or self.hosts[0], port or self.port)
        try:
            s = socket.create_connection(address, PATIENCE, (source, 0) if source else None)
        except (BrokenPipeError, ConnectionResetError):
            # The daemon closed it before connect(2) returned. The result is_closed().
            return socket.socket()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return s

    def datagrams(self, host=None, source=None, port=None):
        """A connected socket, which takes only what comes from the address that it asks."""
        found = socket.getaddrinfo(host or self.hosts[0], port or self.port, type=socket.SOCK_DGRAM)
        family, kind, _, _, address = found[0]
        s = socket.socket(family, kind)
        s.settimeout(PATIENCE)
        if source:
            s.bind((source, 0))
        s.connect(address)
        return s

    def check_tcp(self, host=None, source=None, port=None):
        with self.connect(host, source, port) as s:
            check_stream(s)

    def check_udp(self, host=None, source=None, port=None):
        with self.datagrams(host, source, port) as s:
            check_datagram(s)

    def check(self):
        """Everything it listens on echoes."""
        for host in self.hosts:
            self.check_tcp(host)
            self.check_udp(host)


# ---- steps of many tests ----

def check_stream(s, data=b"hello"):
    s.sendall(data)
    assert receive(s, len(data)) == data


def check_datagram(s, data=b"hello"):
    s.send(data)
    assert s.recv(65536) == data


def receive(s, length):
    """Receive exactly `length` octets."""
    data = bytearray()
    while len(data) < length:
        piece = s.recv(length - len(data))
        assert piece, f"closed after {len(data)} of {length} octets"
        data += piece
    return bytes(data)


def receive_all(s):
    """Receive all octets until the other side closes."""
    data = bytearray()
    while piece := s.recv(1 << 20):
        data += piece
    return bytes(data)


def is_closed(s):
    """True once the other side has closed or reset it; the socket must owe nothing else."""
    try:
        return s.recv(1) == b""
    except OSError as error:
        return error.errno in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN)


def reset(s):
    """Close it with a reset instead of a farewell."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def stall(*sockets):
    """Send b"x" on each socket, without reading, until none takes more. Returns how many octets each took."""
    sent = dict.fromkeys(sockets, 0)
    quiet = 0
    for s in sockets:
        s.setblocking(False)
    # The daemon and the kernel may need a moment to move what they can.
    while quiet < 20:
        quiet += 1
        for s in sockets:
            try:
                sent[s] += s.send(b"x" * 65536)
                assert sent[s] < 1 << 26, "there is no end to what is taken from a client that does not read"
                quiet = 0
            except BlockingIOError:
                pass
        time.sleep(0.01 if quiet else 0)
    for s in sockets:
        s.settimeout(PATIENCE)
    return list(sent.values())
