# SPDX-License-Identifier: ISC
"""echo-probe against the other echo servers of the distribution: what is wrong with each must be told.

They are looked for in the folder that PEERS in the environment names, where tests/peers.sh puts them, and in PATH.
"""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile

from daemon import Addresses, Neighbour, private_network
from lib import note, run_all, skip, test, wait_for
from probing import ECHO_PROBE, PATIENCE, PATIENT, RTT, TIME, run, summary

private_network()

# Of this end of the cable; the probe is at the other one. What is sent to the second is answered from the first.
HOST = "192.0.2.1"
SECOND_HOST = "192.0.2.3"

INETD_CONF = """\
echo dgram udp wait root internal
echo stream tcp nowait root internal
"""

XINETD_CONF = """\
defaults
{
    log_type = FILE LOG
}
service echo
{
    type = INTERNAL
    id = echo-dgram
    socket_type = dgram
    protocol = udp
    wait = yes
    user = root
}
service echo
{
    type = INTERNAL
    id = echo-stream
    socket_type = stream
    protocol = tcp
    wait = no
    user = root
    cps = 3 1000
}
"""


class Peer:
    """A program of a Debian package. What it is started with may name CONFIG and LOG, files of its own. `largest` is the size
    that it echoes whole."""

    def __init__(self, package, program, arguments, largest, configuration="", port=7):
        self.package, self.program, self.arguments, self.largest = package, program, arguments, largest
        self.configuration, self.port = configuration, port

    def command(self):
        folder = os.environ.get("PEERS")
        if folder:
            for place in ("usr/sbin", "usr/bin"):
                path = pathlib.Path(folder, self.package, place, self.program)
                if path.exists():
                    libraries = {str(library.parent) for library in pathlib.Path(folder, "lib").glob("**/lib*.so.*")}
                    return ["env", f"LD_LIBRARY_PATH={':'.join(sorted(libraries))}", str(path)]
        # Programs of several packages are called inetd.
        path = shutil.which(self.program, path=os.environ["PATH"] + ":/usr/sbin")
        if path and pathlib.Path("/usr/share/doc", self.package).exists():
            return [path]
        return skip(f"needs {self.program} of {self.package}: bash tests/peers.sh FOLDER {self.package}, then PEERS=FOLDER")


INETUTILS = Peer("inetutils-inetd", "inetutils-inetd", ["-d", "-R", "5", "CONFIG"], 8192, INETD_CONF)
OPENBSD = Peer("openbsd-inetd", "inetd", ["-i", "-R", "5", "CONFIG"], 4096, INETD_CONF)
XINETD = Peer("xinetd", "xinetd", ["-dontfork", "-filelog", "LOG", "-f", "CONFIG"], 2048, XINETD_CONF)
INETDS = (INETUTILS, OPENBSD, XINETD)
SOCAT = Peer("socat", "socat", ["UDP4-RECVFROM:7007,fork", "PIPE"], 8192, port=7007)
NCAT = Peer("ncat", "ncat", ["-l", "-k", "-u", "-e", "/bin/cat", HOST, "7007"], 8192, port=7007)
NCAT_TCP = Peer("ncat", "ncat", ["-l", "-k", "-e", "/bin/cat", HOST, "7007"], 0, port=7007)


def is_bound(port, protocol):
    """Whether a server of this namespace has the port, over IPv4 or all: UDP not connected (07), TCP listening (0A)."""
    state = "07" if protocol == "udp" else "0A"
    lines = "".join(pathlib.Path(f"/proc/net/{name}").read_text("ascii") for name in (protocol, protocol + "6"))
    return re.search(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 {state} ", lines, re.M)


class Served:
    """A peer that runs until the end of the with block, and a place to probe it from."""

    def __init__(self, peer, *protocols):
        self.peer, self.protocols = peer, protocols

    def __enter__(self):
        if self.peer.port == 7:
            try:
                socket.getservbyname("echo", "udp")
            except OSError:
                skip("needs echo in services(5), of netbase")
        command = self.peer.command()
        self.addresses = Addresses(SECOND_HOST + "/32")
        self.neighbour = Neighbour()
        self.neighbour.__enter__()
        self.folder = tempfile.TemporaryDirectory()
        self.process = None
        try:
            self.addresses.__enter__()
            self._start(command)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _start(self, command):
        config, self.log = (pathlib.Path(self.folder.name, name) for name in ("config", "log"))
        config.write_text(self.peer.configuration.replace("LOG", str(self.log)), "ascii")
        arguments = [{"CONFIG": str(config), "LOG": str(self.log)}.get(argument, argument) for argument in self.peer.arguments]
        # With a /run of its own, for some write there whose process they are; with few descriptors, for some close all that there
        # could be; and with processes that end as the first one does, for each serves in children.
        inside = 'mount -t tmpfs tmpfs /run && ulimit -n 256 && exec "$@"'
        with open(pathlib.Path(self.folder.name, "out"), "wb") as self.out:
            self.process = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh",
                                             *command, *arguments],
                                            stdin=subprocess.DEVNULL, stdout=self.out, stderr=self.out)
        wait_for(lambda: self._ended() or all(is_bound(self.peer.port, protocol) for protocol in self.protocols), PATIENCE,
                 f"{self.peer.package} to serve")

    def _ended(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.peer.package} ended with status {self.process.returncode}: {self.said()}")
        return False

    def said(self):
        return "".join(path.read_text("utf-8", "replace") for path in (pathlib.Path(self.out.name), self.log) if path.exists())

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
            # Its children are killed along with it, but by the kernel and a moment later.
            wait_for(lambda: not any(is_bound(self.peer.port, protocol) for protocol in self.protocols), PATIENCE,
                     f"{self.peer.package} to end")
        self.addresses.__exit__()
        self.neighbour.__exit__()
        self.folder.cleanup()

    def probe(self, *arguments, host=HOST):
        """Give the protocol last."""
        *options, protocol = arguments
        return self.neighbour.inside(run, *options, protocol, host, self.peer.port)


# ---- UDP ----

for each in (*INETDS, SOCAT, NCAT):

    @test(f"{each.package}: {each.largest} octets come back whole, one more is reported as truncated")
    def _(peer=each):
        with Served(peer, "udp") as served:
            for size in (1, 56, peer.largest):
                served.probe("-c", 1, *PATIENT, "-s", size, "udp").expect(
                    0, rf"^{size} bytes from {HOST}: udp_seq=1 {TIME}$", summary(1, 1, 0), RTT)
            for size in (peer.largest + 1, 65507):
                served.probe("-c", 1, *PATIENT, "-s", size, "udp").expect(
                    1, rf"^{peer.largest} bytes from {HOST}: udp_seq=1 {TIME} \(TRUNCATED! {size} bytes sent\)$",
                    summary(1, 0, 100, ", +1 truncated"))


for each in INETDS:

    @test(f"{each.package}: an answer from an address that was not asked is from a wrong source")
    def _(peer=each):
        with Served(peer, "udp") as served:
            served.probe("-c", 1, *PATIENT, "udp", host=SECOND_HOST).expect(
                1, rf"^56 bytes from {HOST} port 7: udp_seq=1 {TIME} \(WRONG SOURCE!\)$",
                summary(1, 0, 100, ", +1 from a wrong source"))

    @test(f"{each.package}: an empty datagram comes back")
    def _(peer=each):
        with Served(peer, "udp") as served:
            served.probe("-c", 1, *PATIENT, "-s", 0, "udp").expect(
                0, rf"^0 bytes from {HOST}: udp_seq=1 {TIME}$", summary(1, 1, 0))


for each in (SOCAT, NCAT):

    @test(f"{each.package}: an empty datagram gets no answer, and is lost")
    def _(peer=each):
        with Served(peer, "udp") as served:
            served.probe("-c", 1, "-W", "0.5", "-s", 0, "udp").expect(1, summary(1, 0, 100))


# ---- TCP ----

def connect_until_refused(port):
    """Connect until that is refused: the limit of one client is the limit of all."""

    def refused():
        # Not held open: children of openbsd-inetd keep the listening socket open as long as they live.
        with socket.socket() as s:
            s.settimeout(1)
            try:
                s.connect((HOST, port))
            except ConnectionRefusedError:
                return True
            except (ConnectionError, TimeoutError):
                pass
        return False

    wait_for(refused, PATIENCE, "the service to be shut")


for each in INETDS:

    @test(f"{each.package}: that the service is shut after too many connections is a refusal, at once")
    def _(peer=each):
        if peer is XINETD and os.geteuid() != 0:
            skip("xinetd serves TCP as root only")
        with Served(peer, "tcp") as served:
            served.probe("-c", 1, *PATIENT, "tcp").expect(0, rf"^56 bytes from {HOST}: tcp_seq=1 {TIME}$", summary(1, 1, 0))
            connect_until_refused(peer.port)
            served.probe("-c", 1, *PATIENT, "tcp").expect(
                1, r"\APROBE .*\n\Z",
                err=rf"\Aecho-probe: cannot connect to tcp {HOST}:7: Connection refused: nothing listens on that port.*\n\Z")


@test("ncat: what it has not echoed of a stream is told to be lost")
def _():
    if not re.search(r"^ *-m -", run("--help").out, re.M):
        skip("this echo-probe has no -m -")
    data = os.urandom(1 << 20)
    command = [ECHO_PROBE, "-W", "1", "-m", "-", "tcp", HOST, str(NCAT_TCP.port)]
    with Served(NCAT_TCP, "tcp") as served:
        # Mostly it waits for cat to read while cat waits for it to read, for ever; or it ends the connection too early. At times
        # all goes well.
        for _ in range(10):
            done = served.neighbour.inside(
                lambda: subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, check=False))
            err = done.stderr.decode()
            back = len(done.stdout)
            assert data.startswith(done.stdout), f"what came back is not what was sent: {err}"
            if back == len(data):
                continue
            told = re.search(r"(\d+) of the (\d+) bytes sent did not come back", err)
            assert done.returncode == 1 and told, f"status {done.returncode}, {back} of {len(data)} octets: {err}"
            lost, sent = map(int, told.groups())
            assert lost == sent - back and sent <= len(data), f"{back} of {len(data)} octets: {err}"
            note(err)
            return
    skip("ncat has lost nothing in 10 runs")


run_all()
