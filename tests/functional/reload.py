# SPDX-License-Identifier: ISC
"""SIGHUP: all of a new configuration, or nothing of it; and nobody who is connected notices."""

import os
import pathlib
import re
import signal
import socket
import tempfile
import threading
import time

from daemon import PATIENCE, SANITIZED, Echod, check_datagram, check_stream, configuration, plural, private_network, receive
from lib import free_port, note, run_all, skip, test, wait_for
from service import need_own_sockets, not_under_unit

RELOADS = 1000


def is_refused(host, port):
    """Nobody listens there, or at least soon nobody does: until then nobody answers."""
    def attempt():
        try:
            with socket.create_connection((host, port), 0.3):
                raise AssertionError("somebody listens")
        except TimeoutError:
            return False
        except ConnectionRefusedError:
            return True
    return wait_for(attempt, PATIENCE, "it to be refused")


def is_deaf(host, port):
    """Nobody takes datagrams there: the kernel says so."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE)
        s.connect((host, port))
        s.send(b"?")
        try:
            s.recv(10)
        except ConnectionRefusedError:
            return True
    return False


# ---- under load ----

class Client(threading.Thread):
    """Echoes over one socket until told to stop; `failure` is the exception that ended it, or None."""

    def __init__(self, echo):
        super().__init__(daemon=True)
        self.echo, self.stopping, self.failure, self.echoes = echo, False, None, 0
        self.start()

    def run(self):
        try:
            while not self.stopping:
                self.echo(b"echo %d " % self.echoes + os.urandom(self.echoes % 3000))
                self.echoes += 1
        except BaseException as error:  # Told in finish().
            self.failure = error

    def finish(self):
        self.stopping = True
        self.join(PATIENCE)
        assert not self.is_alive(), "hangs"
        assert self.failure is None, repr(self.failure)
        return self.echoes


def over(s, check):
    return lambda data: check(s, data)


def reload_under_load(echod, step, count=RELOADS):
    """step(n) reloads, while clients of both protocols echo all the while."""
    streams = [echod.connect() for _ in range(3)]
    datagrams = [echod.datagrams() for _ in range(2)]
    clients = [Client(over(s, check_stream)) for s in streams] + [Client(over(s, check_datagram)) for s in datagrams]
    begin = time.monotonic()
    try:
        for n in range(count):
            step(n)
    finally:
        seconds = time.monotonic() - begin
        echoes = [client.finish() for client in clients]
    note(f"{count} reloads in {seconds:.1f} s; echoes meanwhile {echoes}")
    counters = echod.counters()
    assert (counters["tcp_accepted"], counters["tcp_closed"]) == (3, 0), counters
    for s in streams + datagrams:
        s.close()


for workers in (1, 2):
    @test(f"{RELOADS} reloads close no connection of clients of both protocols, and lose no octet; "
          f"{plural(workers, 'worker')}")
    def _(workers=workers):
        with Echod(top=f"workers = {workers}", hosts=("127.0.0.1",)) as echod:
            descriptors = echod.descriptors()
            def step(n):
                assert "nothing changed" in echod.reload()
            reload_under_load(echod, step)
            wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, "no descriptor to be left over")


@test("reloads that change limits, and open and close other sockets, disturb no client")
def _():
    others = [free_port(), free_port()]
    with Echod(top="workers = 2", hosts=("127.0.0.1",)) as echod:
        def step(n):
            echod.hosts = ("127.0.0.1", f"127.0.0.2:{others[n % 2]}")
            tos = "false" if n % 2 else "true"
            assert "reloaded" in echod.change(tcp=f"idle-timeout = {500 + n}", udp=f"reflect-tos = {tos}")
        reload_under_load(echod, step, RELOADS // 4)


for workers in (1, 2):
    @test("reloads that replace the sockets in use turn no client away that comes just then, and lose no datagram; "
          f"{plural(workers, 'worker')}")
    def _(workers=workers):
        with Echod(top=f"workers = {workers}", hosts=("0.0.0.0",)) as echod:
            def come_and_go(data):
                with echod.connect("127.0.0.1") as s:
                    check_stream(s, data)
            datagrams = [echod.datagrams("127.0.0.1") for _ in range(4)]
            clients = [Client(come_and_go), Client(come_and_go)] + [Client(over(s, check_datagram)) for s in datagrams]
            try:
                # A client whose SYN falls into a change tries again after 1, 2, 4... seconds: a storm that lasts outlasts it.
                for n in range(20 if SANITIZED else 100):
                    assert "reloaded" in echod.change(hosts=("127.0.0.1",) if n % 2 == 0 else ("0.0.0.0",))
            finally:
                echoes = [client.finish() for client in clients]
            note(f"echoes meanwhile {echoes}")
            assert echod.counters()["tcp_reset"] == 0
            for s in datagrams:
                s.close()


@test("reloads that fail disturb no client, and leave no descriptor behind")
def _():
    with Echod(hosts=("127.0.0.1",)) as echod, socket.create_server(("127.0.0.3", 0)) as taken:
        descriptors = echod.descriptors()
        def step(n):
            echod.hosts = ("127.0.0.1", "127.0.0.2", f"127.0.0.3:{taken.getsockname()[1]}") if n % 2 else ("nonsense",)
            assert "was not reloaded" in echod.change()
        try:
            reload_under_load(echod, step, RELOADS // 4)
        finally:
            echod.hosts = ("127.0.0.1",)
        wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, "no descriptor to be left over")
        assert is_refused("127.0.0.2", echod.port)


# ---- what really changes ----

@test("a reload with another port moves both protocols, closes the old port, and keeps connections")
def _():
    with Echod() as echod, echod.connect() as s:
        check_stream(s)
        old = echod.port
        for _ in range(3):
            before, echod.port = echod.port, free_port()
            answer = echod.change()
            assert f"tcp.port {before} -> {echod.port}" in answer and "udp.port" in answer, answer
            echod.check()
            for host in echod.hosts:
                assert is_refused(host, before) and is_deaf(host, before)
            check_stream(s)
        echod.port = old
        echod.change()
        echod.check()


@test("a reload can give each protocol a port of its own")
def _():
    need_own_sockets()
    with Echod() as echod:
        other = free_port()
        echod.reload_text('tcp { listen = { "127.0.0.1" } port = PORT }\n'
                          f'udp {{ listen = {{ "127.0.0.1" }} port = {other} }}\n')
        echod.check_tcp(port=echod.port)
        echod.check_udp(port=other)
        assert is_deaf("127.0.0.1", echod.port) and is_refused("127.0.0.1", other)


@test("a reload opens the addresses that are added, closes those that are removed, and keeps connections")
def _():
    with Echod(hosts=("127.0.0.1",)) as echod, echod.connect() as s:
        check_stream(s)
        answer = echod.change(hosts=("127.0.0.1", "127.0.0.2", "127.0.0.3"))
        assert "tcp.listen" in answer and "udp.listen" in answer
        echod.check()
        echod.change(hosts=("127.0.0.3",))
        echod.check()
        assert is_refused("127.0.0.1", echod.port) and is_deaf("127.0.0.2", echod.port)
        check_stream(s)


for workers in (1, 2):
    @test(f"a reload changes from the wildcard to one address on the same port, and back; {plural(workers, 'worker')}")
    def _(workers=workers):
        for wildcard, address in (("0.0.0.0", "127.0.0.1"), ("::", "::1")):
            with Echod(top=f"workers = {workers}", hosts=(wildcard,)) as echod, echod.connect(address) as s:
                check_stream(s)
                assert "reloaded" in echod.change(hosts=(address,))
                echod.check()
                assert wildcard == "::" or is_refused("127.0.0.2", echod.port) and is_deaf("127.0.0.2", echod.port)
                assert "reloaded" in echod.change(hosts=(wildcard,))
                echod.check_tcp(address)
                echod.check_udp(address)
                assert wildcard == "::" or echod.check_udp("127.0.0.2") is None
                check_stream(s)


@test("a reload can disable and enable each protocol, but not disable both")
def _():
    need_own_sockets()
    with Echod(hosts=("127.0.0.1",)) as echod, echod.connect() as s:
        check_stream(s)
        echod.change(tcp="enabled = false")
        assert is_refused("127.0.0.1", echod.port)
        echod.check_udp()
        check_stream(s)
        echod.change(tcp="", udp="enabled = false")
        assert is_deaf("127.0.0.1", echod.port)
        echod.check_tcp()
        assert "was not reloaded" in echod.change(tcp="enabled = false")
        echod.check_tcp()
        # systemd's descriptor store may hold the address for a moment longer than the daemon.
        wait_for(lambda: "was not reloaded" not in echod.change(tcp="", udp=""), PATIENCE, "the address to be free")
        echod.check()
        check_stream(s)


@test("a reload changes the log's level and the refused ports at once")
def _():
    with Echod() as echod:
        assert "connection" not in echod.log()
        echod.change(top='log { level = "debug" }')
        echod.check_tcp()
        echod.wait_line("tcp: connection")
        with echod.datagrams() as s:
            echod.change(top="", udp=f'refuse-source-ports = {{ "{s.getsockname()[1]}" }}')
            s.send(b"no reply")
            echod.wait_counter("udp_refused_port", 1)


@test("a reload with a larger backlog changes that of a listener that stays")
def _():
    with Echod(hosts=("127.0.0.1",), tcp="backlog = 1") as echod:
        assert "tcp.backlog 1 -> 100" in echod.change(tcp="backlog = 100")
        echod.kill(signal.SIGSTOP)
        clients = [echod.connect() for _ in range(50)]
        echod.kill(signal.SIGCONT)
        for s in clients:
            check_stream(s)
            s.close()


@test("a reload says which changes need a restart, and makes the others")
def _():
    with Echod(top="workers = 1\ndrain-timeout = 5") as echod:
        answer = echod.change(top='workers = 2\ndrain-timeout = 6\nuser = "daemon"')
        now, _, restart = answer.partition("needs a restart:")
        assert "drain-timeout 5 -> 6" in now, answer
        assert "workers 1 -> 2" in restart and "user the default -> daemon" in restart, answer
        # Still true at the next reload, when the file says the same.
        echod.check()


@test("a reload of a file whose folder was replaced says that the sandbox knows only the folder of the start")
def _():
    not_under_unit("the unit has a sandbox of its own")
    with tempfile.TemporaryDirectory(prefix="echod-test-") as top:
        os.chmod(top, 0o755)
        folder = pathlib.Path(top, "etc")
        folder.mkdir(0o755)
        port = free_port()
        text = configuration(port)
        folder.joinpath("echod.conf").write_text(text, encoding="utf-8")
        with Echod(file=str(folder / "echod.conf"), port=port) as echod:
            if "Landlock ABI" not in echod.log():
                skip("no Landlock")
            folder.rename(f"{top}/old")
            folder.mkdir(0o755)
            folder.joinpath("echod.conf").write_text(text, encoding="utf-8")
            answer = echod.reload()
            assert "was not reloaded" in answer, answer
            assert "its folder was replaced or a link leads elsewhere" in echod.log() and "restart echod" in echod.log(), echod.log()
            echod.check()


# ---- listeners that retire ----

for workers in (1, 2):
    @test(f"clients in the backlog of a listener that retires are served, not reset; {plural(workers, 'worker')}")
    def _(workers=workers):
        for hosts in (("127.0.0.2",), ("0.0.0.0",)):
            with Echod(top=f"workers = {workers}", hosts=("127.0.0.1",)) as echod:
                # While the daemon is stopped all clients come, so that one turn of its loop finds them.
                echod.kill(signal.SIGSTOP)
                clients = [echod.connect() for _ in range(100)]
                queued = [echod.datagrams() for _ in range(20)]
                for s in clients + queued:
                    s.sendall(b"early")
                echod.hosts = hosts
                echod.configure()
                mark = len(echod.lines)
                echod.kill(signal.SIGHUP)
                echod.kill(signal.SIGCONT)
                echod.wait_line("reloaded", since=mark)
                for s in clients:
                    assert receive(s, 5) == b"early"
                    check_stream(s)
                    s.close()
                for s in queued:
                    assert s.recv(10) == b"early"
                    s.close()


@test("clients that wait at max-connections are not reset when their listener retires")
def _():
    with Echod(top="workers = 1", hosts=("127.0.0.1",), tcp="max-connections = 1") as echod, echod.connect() as inside:
        check_stream(inside)
        outside = [echod.connect() for _ in range(5)]
        for s in outside:
            s.sendall(b"early")
        echod.change(hosts=("127.0.0.2",))
        # However long it takes until there is room for them.
        for _ in range(5):
            time.sleep(0.1)
            check_stream(inside)
        for s in outside:
            inside.close()
            assert receive(s, 5) == b"early"
            inside = s
        inside.close()


# ---- files that are wrong ----

def text(content):
    """PORT stands for the daemon's own port, TAKEN for a port of another program."""
    return lambda echod, taken: echod.configure(content.replace("TAKEN", str(taken)))


def unbindable(content):
    def spoil(echod, taken):
        need_own_sockets()
        text(content)(echod, taken)
    return spoil


def no_text(echod, _):
    pathlib.Path(echod.file).write_bytes(b"\x00\xff\x00")


def nothing(echod, _):
    os.remove(echod.file)


def directory(echod, _):
    os.remove(echod.file)
    os.mkdir(echod.file)


def fifo(echod, _):
    os.remove(echod.file)
    os.mkfifo(echod.file)


def huge(echod, _):
    os.truncate(echod.file, 100 << 20)


# What is done to the file, and what the log must then say after the file's name.
BROKEN = {
    "a syntax error": (text("workers = 1\ntcp {\n  port 7\n}\n"), ":3: "),
    "a section that is not closed": (text("tcp {\n  port = 7\n"), ":1: "),
    "a string that is not closed": (text('# x\nuser = "nobody\n'), ":2: "),
    "an unknown key": (text("\nudp {\n\n  prot = 7\n}\n"), ":4: .*prot.*port"),
    "a key of another section": (text("port = 7\n"), ":1: .*port"),
    "a value out of range": (text("tcp { port = 65536 }\n"), r":1: .*tcp\.port.*65536.*65535"),
    "a negative value": (text("drain-timeout = -1\n"), ":1: .*drain-timeout.*-1"),
    "a number that is none": (text("tcp {\n backlog = many\n}"), ":2: .*backlog.*many"),
    "a truth value that is none": (text("udp { reflect-tos = perhaps }"), ":1: .*reflect-tos.*perhaps"),
    "a malformed address": (text('tcp {\n listen = { "::1",\n "127.0.0.256" }\n}\n'), r":3: .*127\.0\.0\.256"),
    "an address with a bad port": (text('tcp {\n listen = { "127.0.0.1:0" }\n}\n'), r":2: .*127\.0\.0\.1:0"),
    "an interface that does not exist": (text('udp { listen = { "fe80::1%nowhere0" } }\n'), ":1: .*nowhere0"),
    "no address": (text("udp {\n listen = {}\n}\n"), r":2: .*udp\.listen"),
    "a bad range of ports": (text('udp { refuse-source-ports = { "9-8" } }\n'), ":1: .*9-8"),
    "a log level that is none": (text('log { level = "loud" }\n'), ":1: .*loud"),
    "a repeated scalar": (text("workers = 1\nworkers = 2\n"), ":2: .*workers"),
    "an include": (text('include("/dev/null")\n'), ":1: "),
    "octets that are no text": (no_text, ":1: "),
    "a port that another process has":
        (unbindable('udp { enabled = false }\ntcp {\n port = TAKEN\n listen = { "127.0.0.1" }\n}\n'), ":4: .*in use"),
    "an address that is not this host's":
        (unbindable('udp { enabled = false }\ntcp {\n port = PORT\n listen = { "192.0.2.77" }\n}\n'), r":4: .*192\.0\.2\.77"),
    "no name of a file any more": (nothing, ": .*No such file"),
    "a directory": (directory, ": .*directory"),
    "a pipe": (fifo, ": "),
    "100 MB": (huge, ": .*larger"),
}

for name, (spoil, said) in BROKEN.items():
    @test(f"a reload of a file with {name} changes nothing, and the log says where and what")
    def _(spoil=spoil, said=said):
        with socket.create_server(("127.0.0.1", 0)) as other, Echod() as echod, echod.connect() as s:
            check_stream(s)
            before = echod.descriptors()
            spoil(echod, other.getsockname()[1])
            answer = echod.reload()
            assert "was not reloaded" in answer, answer
            assert re.search(re.escape(echod.file) + said, answer), answer
            check_stream(s)
            echod.check()
            wait_for(lambda: echod.descriptors() == before, PATIENCE, "no descriptor to be left over")
            if os.path.isdir(echod.file):
                os.rmdir(echod.file)
            echod.configure()
            assert "nothing changed" in echod.reload()
            echod.check()


@test("a reload with a user who does not exist changes nothing without a sandbox; in one, no user can be looked up")
def _():
    with Echod(top="sandbox = false") as echod:
        answer = echod.change(top='user = "no-such-user"')
        assert "was not reloaded" in answer and ":1: " in answer and "no-such-user" in answer, answer
        echod.check()
    if SANITIZED:
        skip("a sanitized build has no sandbox")
    with Echod() as echod:
        answer = echod.change(top='user = "no-such-user"')
        assert re.search("needs a restart: user .*no-such-user", answer), answer
        echod.check()


@test("a reload of a file with several errors logs each, in the order of lines")
def _():
    with Echod() as echod:
        answer = echod.reload_text("""workers = 1000
bogus = 1
tcp {
  port = 0
  listen = { "x" }
}
udp {
  answer-broadcast = 2
}
""")
        lines = [int(n) for n in re.findall(r"echod\.conf:(\d+): ", answer)]
        assert lines == [1, 2, 4, 5, 8], answer
        echod.check()


@test("a reload of a file that echod's user may not read changes nothing, and the log says why")
def _():
    if os.geteuid() != 0:
        skip("needs root")
    with Echod() as echod:
        os.chmod(echod.file, 0o600)
        answer = echod.reload()
        assert "was not reloaded" in answer and "ermission denied" in answer, answer
        echod.check()
        os.chmod(echod.file, 0o644)
        assert "nothing changed" in echod.reload()


@test("several SIGHUP at once are one reload or a few, and the last file counts")
def _():
    with Echod() as echod:
        for n in range(100):
            echod.tcp = f"idle-timeout = {n + 1}"
            echod.configure()
            echod.kill(signal.SIGHUP)
        echod.wait_line(r"reloaded.*-> 100\b")
        echod.check()


if __name__ == "__main__":
    private_network()
    run_all()
