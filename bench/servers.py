# SPDX-License-Identifier: ISC
"""The servers that are compared: how they are found, built, configured and run."""

import os
import pathlib
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field

from accounts import processes_of
from stage import FIRST, HOST, PATIENCE, PORT, SOURCE, Trouble

# Every datagram is looked up in the access list and counted for its source, and none is refused.
ECHOD_CONF = """\
workers = 1
access { deny = { "192.0.2.0/24", "2001:db8::/32" } }
limits { udp-rate = 1000000 udp-burst = 1000000 exempt = {} }
"""

INETD_CONF = """\
echo dgram udp wait root internal
echo stream tcp nowait root internal
"""

XINETD_SERVICE = """\
service echo
{{
    type = INTERNAL
    id = echo-{type}
    socket_type = {type}
    protocol = {protocol}
    wait = {wait}
    user = root
    instances = UNLIMITED
    per_source = UNLIMITED
    cps = 1000000 1
}}
"""
XINETD_CONF = XINETD_SERVICE.format(type="stream", protocol="tcp", wait="no") + XINETD_SERVICE.format(
    type="dgram", protocol="udp", wait="yes")


@dataclass
class Server:
    """`command` returns the words of the command line for a mode; CONFIG and LOG among them become files. A server that `forks`
    starts a process for each client and is not measured with thousands of clients. A `wide` server may also run on the core of the
    load. A `first` server has real-time priority."""
    name: str
    command: object
    configuration: str = ""
    forks: bool = False
    environment: dict = field(default_factory=dict)
    wide: bool = False
    first: bool = False


# ---- Which servers there are ----

INETDS = {"inetutils-inetd": "inetutils-inetd", "openbsd-inetd": "inetd", "xinetd": "xinetd"}
OTHERS = {"socat": "socat", "ncat": "ncat"}
LIBRARIES = {"libev": ("peer_ev", "ev", "libev-dev"), "libuv": ("peer_uv", "uv", "libuv1-dev")}


def packaged(folder, package, program):
    """The path and the environment of a program of a Debian package, or None."""
    for place in ("usr/sbin", "usr/bin"):
        path = folder / package / place / program
        if path.exists():
            libraries = {str(library.parent.resolve()) for library in (folder / "lib").glob("**/lib*.so.*")}
            return str(path.resolve()), {"LD_LIBRARY_PATH": ":".join(sorted(libraries))}
    # Programs of several packages are called inetd.
    path = shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin")
    return (path, {}) if path and pathlib.Path("/usr/share/doc", package).exists() else None


def fetch(options):
    """Downloads the missing servers, and says so."""
    missing = [package for package, program in {**INETDS, **OTHERS}.items() if not packaged(options.peers, package, program)]
    missing += [package for _, library, package in LIBRARIES.values()
                if not (options.peers / package).exists() and not pathlib.Path("/usr/include", f"{library}.h").exists()]
    if not missing or options.no_fetch or not shutil.which("apt-get"):
        return
    print(f"fetching {', '.join(missing)} into {options.peers}", file=sys.stderr)
    for package in missing:  # Each on its own, so that a failure does not affect the others.
        done = subprocess.run(["bash", str(SOURCE.parent / "tests/peers.sh"), str(options.peers), package],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
        if done.returncode != 0:
            print(f"{package}: {(done.stderr.strip().splitlines() or ['not fetched'])[-1]}", file=sys.stderr)


def distributed(options):
    def socat(mode):
        return ["TCP4-LISTEN:7,fork,reuseaddr,backlog=4096" if mode.protocol == "tcp" else "UDP4-RECVFROM:7,fork", "PIPE"]

    def ncat(mode):
        return ["-l", "-k", *(["-u"] if mode.protocol == "udp" else []), "-e", "/bin/cat", HOST, str(PORT)]

    arguments = {"inetutils-inetd": lambda _: ["-d", "-R", "100000000", "CONFIG"],
                 "openbsd-inetd": lambda _: ["-i", "-R", "100000000", "CONFIG"],
                 "xinetd": lambda _: ["-dontfork", "-filelog", "LOG", "-f", "CONFIG"], "socat": socat, "ncat": ncat}
    servers, notes = [], []
    for package, program in {**INETDS, **OTHERS}.items():
        found = packaged(options.peers, package, program)
        if found:
            configuration = "" if package in OTHERS else XINETD_CONF if package == "xinetd" else INETD_CONF
            servers.append(Server(package, lambda mode, p=found[0], a=arguments[package]: [p, *a(mode)], configuration, True,
                                  found[1]))
        else:
            notes.append(f"{package} left out: not found (bash tests/peers.sh {options.peers} {package})")
    return servers, notes


def compiled(options, name, *more):
    """Builds a program of this folder, with these further arguments, and returns its path. Trouble if that fails."""
    path = options.work / name
    command = [os.environ.get("CC", "cc"), "-O2", "-D_GNU_SOURCE", *shlex.split(os.environ.get("CFLAGS", "")), "-o", str(path),
               str(SOURCE / f"{name}.c"), *shlex.split(os.environ.get("LDFLAGS", "")), *more]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise Trouble(f"{command[0]}: {error.strerror}; set CC") from error
    if done.returncode != 0:
        raise Trouble(next((line for line in done.stderr.splitlines() if "error" in line), shlex.join(command)))
    return str(path)


def echod(options, name="echod", configuration=ECHOD_CONF, **more):
    program = str(options.build / "src/echod")
    return Server(name, lambda _: [program, "-f", "CONFIG", "-l", "error"], configuration, **more)


def event_driven(options):
    servers, notes = [], []
    for label, (name, library, package) in LIBRARIES.items():
        unpacked = options.peers / package / "usr"
        folders = [f"-I{unpacked / 'include'}", *(f"-L{path.parent}" for path in unpacked.glob(f"lib/**/lib{library}.a"))]
        try:
            program = compiled(options, name, *folders, f"-l{library}")
            servers.append(Server(label, lambda _, p=program: [p, str(PORT)]))
        except Trouble as error:
            notes.append(f"{label} left out: {error} ({package})")
    return servers, notes


def prepare(options):
    """Builds what a run needs. Returns the servers to compare with, and notes on those that are missing."""
    options.floor, options.storm = compiled(options, "floor"), compiled(options, "storm")
    driven, unbuilt = event_driven(options)
    packaged, missing = distributed(options)
    return driven + packaged, unbuilt + missing


# The two kinds of bare loops: those that read and write, and those that use splice(2), which copies nothing.
LOOPS = ("floor", "splice")


def loops(options, mode, column):
    """The bare loops of this column, which shows the best of them."""
    return [Server(words, lambda _, w=words: [options.floor, str(PORT), *w.split()]) for words in mode.floors
            if words.startswith("splice") == (column == "splice")]


# ---- One of them, running ----

def bound(protocol):
    """How many sockets are bound to the port: UDP not connected (07), TCP listening (0A)."""
    state = "07" if protocol == "udp" else "0A"
    paths = [path for path in (pathlib.Path("/proc/net", name) for name in (protocol, protocol + "6")) if path.exists()]
    rows = [line.split() for path in paths for line in path.read_text("ascii").splitlines()[1:]]
    return sum(row[1].endswith(f":{PORT:04X}") and row[3] == state for row in rows)


class Running:
    """A server that runs until the end of the with block. It inherits `sockets`."""

    def __init__(self, server, mode, options, sockets=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=options.work))
        self.protocol = mode.protocol
        self.before = bound(mode.protocol)
        self.inherited = len(sockets)
        names = {"CONFIG": str(self.folder / "config"), "LOG": str(self.folder / "log")}
        pathlib.Path(names["CONFIG"]).write_text(server.configuration, "ascii")
        words = [names.get(word, word) for word in server.command(mode)]
        if sockets:
            words = ["sh", "-c", f'LISTEN_PID=$$ LISTEN_FDS={len(sockets)} exec "$@"', "sh", *words]
        inherited = range(3, 3 + len(sockets))
        cores = options.cores if server.wide else options.cores[int(mode.one_core):][:1]

        def prepare():
            options.group.join()
            if server.forks:  # For each client some inetds close every descriptor up to the limit.
                resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
            for fd, socket in zip(inherited, sockets):
                os.dup2(socket.fileno(), fd)

        self.out = open(self.folder / "out", "wb")
        self.process = subprocess.Popen([*(FIRST if server.first else ()), "taskset", "-c", ",".join(map(str, cores)), *words],
                                        stdin=subprocess.DEVNULL,
                                        stdout=self.out, stderr=self.out, env={**os.environ, **server.environment},
                                        preexec_fn=prepare, pass_fds=inherited)

    def __enter__(self):
        end = time.monotonic() + PATIENCE
        while bound(self.protocol) <= self.before - self.inherited:
            if self.process.poll() is not None or time.monotonic() > end:
                said = (self.folder / "out").read_text("utf-8", "replace").strip().splitlines()
                self.__exit__()
                raise Trouble("does not serve: " + (said[-1] if said else f"status {self.process.returncode}"))
            time.sleep(0.01)
        return self.process.pid

    def __exit__(self, *_):
        for pid in processes_of(self.process.pid):
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait()
        end = time.monotonic() + PATIENCE
        while bound(self.protocol) > self.before and time.monotonic() < end:
            time.sleep(0.01)
        self.out.close()


