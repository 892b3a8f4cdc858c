# SPDX-License-Identifier: ISC
"""What a service manager gives and is told: sockets (LISTEN_FDS), notifications (NOTIFY_SOCKET), the watchdog."""

import contextlib
import ctypes
import errno
import os
import pathlib
import re
import select
import signal
import socket
import tempfile
import time

from daemon import (HOSTS, PATIENCE, Echod, check_datagram, check_stream, is_closed, need_ipv6, plural, private_network,
                    receive)
from lib import free_port, note, run_all, skip, test, wait_for


# ---- sockets ----

IP_PKTINFO = 8
IP_RECVERR = 11
CAP_SETGID, CAP_SETUID, PR_CAPBSET_DROP = 6, 7, 24


def stream(host, port=0, dual=False):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, dualstack_ipv6=dual)


def datagram(host, port=0, dual=False):
    """As PassPacketInfo=yes of systemd.socket(5) has it: what comes before the daemon tells where it was sent to.
    SO_REUSEADDR is what systemd sets on every socket."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if s.family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not dual)
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    s.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    s.bind((host, port))
    return s


def port_of(s):
    return s.getsockname()[1]


@contextlib.contextmanager
def activated(*sockets, **options):
    """A daemon that serves these sockets and no other."""
    with contextlib.ExitStack() as stack:
        for s in sockets:
            stack.enter_context(s)
        yield stack.enter_context(Echod(sockets=sockets, **options))


@test("a stream and a datagram socket that are handed over echo, and replace listen and port of the configuration")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    with activated(tcp, udp) as echod:
        echod.check_tcp(port=port_of(tcp))
        echod.check_udp(port=port_of(udp))
        line = echod.wait_line("ready:")
        assert f"tcp 127.0.0.1:{port_of(tcp)} (inherited); udp 127.0.0.1:{port_of(udp)} (inherited)" in line, line
        try:
            echod.connect(port=echod.port)
            raise AssertionError("the configuration's port is served too")
        except ConnectionRefusedError:
            pass


@test("two stream and two datagram sockets that are handed over, one of each family, are all served by two workers")
def _():
    need_ipv6()
    tcps, udps = [stream(host) for host in HOSTS], [datagram(host) for host in HOSTS]
    with activated(*udps, *tcps, top="workers = 2") as echod:
        for host, tcp, udp in zip(HOSTS, tcps, udps):
            echod.check_tcp(host, port=port_of(tcp))
            echod.check_udp(host, port=port_of(udp))


@test("where only a stream socket is handed over, UDP is served as configured, and the reverse")
def _():
    with activated(tcp := stream("127.0.0.1")) as echod:
        echod.check_tcp(port=port_of(tcp))
        echod.check_udp()
    with activated(udp := datagram("127.0.0.1")) as echod:
        echod.check_udp(port=port_of(udp))
        echod.check_tcp()


for listen, host in (("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.2"), ("::", "::1")):
    @test(f"what was queued at a socket of {listen} before the daemon began is served")
    def _(listen=listen, host=host):
        tcp, udp = stream(listen), datagram(listen)
        address = (host, port_of(tcp))
        clients = [socket.create_connection(address, PATIENCE) for _ in range(10)]
        asker = socket.socket(udp.family, socket.SOCK_DGRAM)
        asker.settimeout(PATIENCE)
        asker.connect((host, port_of(udp)))
        for s in clients + [asker]:
            s.sendall(b"early")
        with activated(tcp, udp):
            for s in clients:
                assert receive(s, 5) == b"early"
                s.close()
            assert asker.recv(10) == b"early"
            asker.close()


@test("no other process can take the port of a datagram socket over with SO_REUSEADDR")
def _():
    with activated(udp := datagram("127.0.0.1")), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            thief.bind(udp.getsockname())
            raise AssertionError("it can be bound by another process")
        except OSError as error:
            assert error.errno == errno.EADDRINUSE, error


@test("an inherited socket that collects errors does not spin on them")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    udp.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
    with activated(tcp, udp) as echod:
        echod.kill(signal.SIGSTOP)
        with echod.datagrams(port=port_of(udp)) as s:
            s.send(b"gone before the reply comes")
        echod.kill(signal.SIGCONT)
        echod.wait_counter("udp_received", 1)
        echod.check_udp(port=port_of(udp))
        used = echod.cpu()
        time.sleep(0.5)
        assert echod.cpu() - used < 0.2


@test("an inherited socket that somebody else shuts down is left alone, and the others are served")
def _():
    for workers, how in ((1, socket.SHUT_RDWR), (2, socket.SHUT_RDWR), (1, socket.SHUT_RD), (2, socket.SHUT_RD)):
        tcp, udp, other_tcp, other_udp = stream("127.0.0.1"), datagram("127.0.0.1"), stream("127.0.0.1"), datagram("127.0.0.1")
        with activated(tcp, udp, other_tcp, other_udp, top=f"workers = {workers}") as echod:
            tcp.shutdown(how)
            with contextlib.suppress(OSError):  # ENOTCONN, but it is done (inet_shutdown() of the kernel).
                udp.shutdown(how)
            for protocol, s in ("tcp", tcp), ("udp", udp):
                said = f"{protocol}: another process has shut down the socket of 127.0.0.1:{port_of(s)}"
                wait_for(lambda said=said: echod.log().count(said) == workers, PATIENCE, said)
            used = echod.cpu()
            time.sleep(0.3)
            assert echod.cpu() - used < 0.15, echod.cpu() - used
            echod.check_tcp(port=port_of(other_tcp))
            echod.check_udp(port=port_of(other_udp))
            echod.reload()
            echod.check_udp(port=port_of(other_udp))


def keep_account():
    """Called in the child: take from it the capabilities to change its account."""
    for capability in (CAP_SETGID, CAP_SETUID):
        assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0


@test("a client that waits at an inherited socket survives a start that fails, and the next start serves it")
def _():
    if os.geteuid() != 0:
        skip("needs root, to forbid the change of account")
    tcp = stream("127.0.0.1")
    with socket.create_connection(tcp.getsockname(), PATIENCE) as s:
        s.sendall(b"first of all")
        with Echod(sockets=(tcp,), user=keep_account, wait=False, status=os.EX_NOPERM) as echod:
            assert echod.wait() == os.EX_NOPERM
        with activated(tcp):
            assert receive(s, 12) == b"first of all"


@test("two workers share inherited sockets, and echo bursts of many clients")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    with activated(tcp, udp, top="workers = 2") as echod:
        clients = [echod.connect(port=port_of(tcp)) for _ in range(100)]
        askers = [echod.datagrams(port=port_of(udp)) for _ in range(20)]
        for turn in range(10):
            for s in clients + askers:
                s.sendall(b"%d" % turn)
            for s in clients + askers:
                assert s.recv(10) == b"%d" % turn
        for s in clients + askers:
            s.close()


def sleeps(echod):
    """How often each of its threads has waited for something."""
    tasks = pathlib.Path(f"/proc/{echod.process.pid}/task")
    return [int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text("ascii"), re.MULTILINE)[1])
            for task in sorted(tasks.iterdir())]


def check_turns(echod, name, most, visit):
    """Visit until every worker has woken; together they must wake less than `most` times a visit."""
    before, visits = sleeps(echod), 0

    def all_woken():
        nonlocal visits, woken
        for _ in range(100):
            visit()
        visits += 100
        woken = [now - then for now, then in zip(sleeps(echod), before)]
        return min(woken) > 20

    woken = []
    wait_for(all_woken, PATIENCE, "every worker to have its turn")
    note(f"{visits} {name}: woken {woken}")
    assert sum(woken) < most * visits


@test("a client wakes one of the workers that share an inherited socket, not all, and each has its turn")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    with activated(tcp, udp, top="workers = 4") as echod, echod.datagrams(port=port_of(udp)) as s:
        check_turns(echod, "datagrams", 1.5, lambda: check_datagram(s))
        check_turns(echod, "connections", 3.5, lambda: echod.check_tcp(port=port_of(tcp)))  # In, an echo, and out.


def dual_stack_pair():
    need_ipv6()
    try:
        return stream("::", dual=True), datagram("::", dual=True)
    except OSError as error:
        skip(f"no dual-stack sockets: {error}")


@test("dual-stack sockets answer IPv4 and IPv6, from the address that was asked")
def _():
    tcp, udp = dual_stack_pair()
    with activated(tcp, udp) as echod:
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            echod.check_tcp(host, port=port_of(tcp))
            echod.check_udp(host, port=port_of(udp))


@test("a dual-stack socket reflects the DSCP of both families")
def _():
    tcp, udp = dual_stack_pair()
    with activated(tcp, udp) as echod:
        for host, level, option, receive_option in (
                ("127.0.0.1", socket.IPPROTO_IP, socket.IP_TOS, socket.IP_RECVTOS),
                ("::1", socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS)):
            with echod.datagrams(host, port=port_of(udp)) as s:
                s.setsockopt(level, receive_option, 1)
                s.setsockopt(level, option, 0xb9)
                s.send(b"tos")
                control = s.recvmsg(10, 100)[1]
                assert control[0][2][0] == 0xb8, control


@test("a dual-stack socket refuses an IPv4 broadcast, and answers it if told to")
def _():
    tcp, udp = dual_stack_pair()
    with activated(tcp, udp) as echod, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        ask = lambda: s.sendto(b"anyone?", ("127.255.255.255", port_of(udp)))
        ask()
        assert echod.wait_counter("udp_refused_group", 1)["udp_echoes"] == 0
        echod.change(udp="answer-broadcast = true")
        ask()
        assert s.recvfrom(10) == (b"anyone?", ("127.0.0.1", port_of(udp)))


@test("a dual-stack socket refuses low IPv4 source ports, and its own")
def _():
    tcp, udp = dual_stack_pair()
    with activated(tcp, udp) as echod:
        for count, source in enumerate((("127.0.0.2", port_of(tcp)), ("127.0.0.3", port_of(tcp))), 1):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(source)
                s.sendto(b"?", ("127.0.0.1", port_of(udp)))
                assert echod.wait_counter("udp_refused_port", count)["udp_echoes"] == 0


@test("IPv4 clients of a dual-stack socket count per address, as max-connections-per-source wants")
def _():
    tcp, udp = dual_stack_pair()
    with activated(tcp, udp, tcp="max-connections-per-source = 1") as echod:
        with echod.connect("127.0.0.1", port=port_of(tcp)) as s:
            check_stream(s)
            with echod.connect("127.0.0.1", port=port_of(tcp)) as t:
                assert is_closed(t)
            echod.check_tcp("127.0.0.1", source="127.0.0.2", port=port_of(tcp))


@test("urgent data stays in line, and nothing is cut short, on inherited sockets too")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    with activated(tcp, udp) as echod:
        with echod.connect(port=port_of(tcp)) as s:
            for part, flags in ((b"ab", 0), (b"!", socket.MSG_OOB), (b"cd", 0)):
                s.send(part, flags)
            assert receive(s, 5) == b"ab!cd"
        with echod.datagrams(port=port_of(udp)) as s:
            for size in (0, 8193, 65507):
                check_datagram(s, os.urandom(size))


def fail_to_start(*sockets):
    """The daemon must not start with them; what it says."""
    with contextlib.ExitStack() as stack:
        for s in sockets:
            stack.enter_context(s)
        echod = stack.enter_context(Echod(sockets=sockets, wait=False, status=1))
        assert echod.wait() == 1
        return echod.log()


@test("a start with a descriptor that cannot be served fails, and says which descriptor and why")
def _():
    with tempfile.TemporaryDirectory() as directory:
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        unix.bind(directory + "/socket")
        unix.listen()
        idle = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        idle.bind(("127.0.0.1", 0))
        for what, bad in (("a unix socket", unix), ("a stream socket that does not listen", idle),
                          ("a datagram socket that is not bound", socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
                          ("a file", open("/dev/null", "rb")),
                          ("a connected stream", socket.socketpair()[0])):
            said = fail_to_start(datagram("127.0.0.1"), bad)
            assert "descriptor 4" in said and "listening TCP or a bound UDP" in said, f"{what}: {said}"


@test("with LISTEN_PID of another process no socket is taken over")
def _():
    with Echod(environment={"LISTEN_FDS": "1", "LISTEN_PID": "1"}) as echod:
        assert "inherited" not in echod.log()
        echod.check()


@test("a start with a malformed LISTEN_FDS fails")
def _():
    with stream("127.0.0.1") as s, Echod(sockets=(s,), listen_fds="many", wait=False, status=1) as echod:
        assert echod.wait() == 1
        assert "LISTEN_FDS" in echod.log()


@test("a reload keeps inherited sockets, whatever it says of listen and port; enabled = false rests them, and connections stay")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    with activated(tcp, udp, top="workers = 2") as echod, echod.connect(port=port_of(tcp)) as s:
        check_stream(s)
        echod.port = free_port()
        answer = echod.change(hosts=("127.0.0.9",))
        assert re.search(r": nothing changed; ignored, as the socket unit decides: tcp.port .*, tcp.listen .*, udp.port ", answer), answer
        echod.hosts = HOSTS
        for _ in range(3):
            echod.check_tcp(port=port_of(tcp))
            echod.check_udp(port=port_of(udp))
            check_stream(s)
            echod.change(tcp="enabled = false")
            # It waits in the backlog, which belongs to the manager.
            with echod.connect(port=port_of(tcp)) as waiting:
                waiting.sendall(b"later")
                echod.check_udp(port=port_of(udp))
                echod.change(tcp="", udp="enabled = false")
                assert receive(waiting, 5) == b"later"
            with echod.datagrams(port=port_of(udp)) as asker:
                asker.send(b"later")
                check_stream(s)
                echod.change(udp="")
                assert asker.recv(10) == b"later"


@test("inherited sockets stay open at the end, and the next daemon serves the clients that came meanwhile")
def _():
    tcp, udp = stream("127.0.0.1"), datagram("127.0.0.1")
    with tcp, udp:
        for _ in range(2):
            with Echod(sockets=(tcp, udp)) as echod:
                echod.check_tcp(port=port_of(tcp))
                echod.kill(signal.SIGTERM)
                assert echod.wait() == 0
                waiting = echod.connect(port=port_of(tcp))
                waiting.sendall(b"patience")
                asker = echod.datagrams(port=port_of(udp))
                asker.send(b"patience")
            with Echod(sockets=(tcp, udp)):
                assert receive(waiting, 8) == b"patience"
                assert asker.recv(10) == b"patience"
                waiting.close()
                asker.close()


# ---- notifications ----

class Manager:
    """The socket of NOTIFY_SOCKET, and what comes in."""

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory(prefix="echod-notify-")
        self.path = self.directory.name + "/notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE)
        self.socket.bind(self.path)
        # The daemon's user writes to it.
        os.chmod(self.directory.name, 0o755)
        os.chmod(self.path, 0o777)
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.directory.cleanup()

    def environment(self, **more):
        return {"NOTIFY_SOCKET": self.path, **more}

    def next(self):
        """The next message, as a dictionary."""
        lines = self.socket.recv(10000).decode().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def expect(self, name):
        """The next message that has this, leaving out what may come at any time between."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            message = self.next()
            if name in message:
                return message
            assert set(message) <= {"STATUS", "WATCHDOG", "FDSTORE", "FDSTOREREMOVE", "FDPOLL", "FDNAME"}, \
                f"{message} came before {name}"
        raise AssertionError(f"no {name}")

    def count(self, name, seconds):
        """How many messages with this come within that time."""
        found, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.socket], [], [], left)[0]:
                found += name in self.next()
        return found


@test("the service manager is told READY=1 with a STATUS, RELOADING=1 and READY=1 around a reload, and STOPPING=1")
def _():
    with Manager() as manager, Echod(environment=manager.environment()) as echod:
        ready = manager.expect("READY")
        assert ready["READY"] == "1" and "0 connections open" in ready["STATUS"], ready
        echod.check()
        for text in (None, "bogus = 1"):
            before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            echod.configure(text)
            echod.reload()
            reloading = manager.expect("RELOADING")
            after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            assert reloading["RELOADING"] == "1" and before <= int(reloading["MONOTONIC_USEC"]) <= after, reloading
            assert manager.expect("READY")["READY"] == "1"
        echod.kill(signal.SIGTERM)
        assert manager.expect("STOPPING")["STOPPING"] == "1"
        assert echod.wait() == 0


@test("STATUS tells the service manager how many connections, echoes and octets were served")
def _():
    with Manager() as manager, Echod(environment=manager.environment()) as echod, echod.connect() as s:
        manager.expect("READY")
        check_stream(s, b"12345")
        echod.check_udp()
        wanted = "1 connections open; TCP 1 connections, 1 echoes, 5 octets; UDP 1 echoes, 5 octets; 0 refused; sandbox: "
        seen = []
        def told():
            seen.append(manager.expect("STATUS")["STATUS"])
            return seen[-1].startswith(wanted)
        wait_for(told, PATIENCE, f"STATUS={wanted}")


@test("no STATUS is sent to the service manager while nothing changes")
def _():
    with Manager() as manager, Echod(environment=manager.environment()):
        manager.expect("READY")
        assert manager.count("STATUS", 2.5) == 0


@test("NOTIFY_SOCKET that leads nowhere is no error")
def _():
    with Echod(environment={"NOTIFY_SOCKET": "/nonexistent/notify"}) as echod:
        echod.check()
        assert "nothing changed" in echod.reload()


# ---- the descriptor store ----

class Store(Manager):
    """A manager that keeps what is stored, as systemd does."""

    def __init__(self):
        self.held = {}  # by name

    def next(self):
        data, fds, _, _ = socket.recv_fds(self.socket, 10000, 253)
        message = dict(line.split("=", 1) for line in data.decode().splitlines())
        if message.get("FDSTORE") == "1":
            assert message["FDPOLL"] == "0" and ":" not in message["FDNAME"], message
            held = self.held.setdefault(message["FDNAME"], [])
            known = {os.fstat(s.fileno()).st_ino for s in held}
            for s in (socket.socket(fileno=fd) for fd in fds):
                if os.fstat(s.fileno()).st_ino not in known:
                    held.append(s)
        elif message.get("FDSTOREREMOVE") == "1":
            for s in self.held.pop(message["FDNAME"], []):
                s.close()
        return message

    def serve(self, port=None, **more):
        """A daemon that is handed what is stored so far."""
        names = [name for name, sockets in self.held.items() for _ in sockets]
        names = {"LISTEN_FDNAMES": ":".join(names)} if names else {}
        return Echod(port=port, sockets=[s for sockets in self.held.values() for s in sockets],
                     environment=self.environment(**names), **more)

    def __exit__(self, *arguments):
        for sockets in self.held.values():
            for s in sockets:
                s.close()
        super().__exit__(*arguments)


def count_stored(store):
    return [len(sockets) for sockets in store.held.values()]


def crash(echod):
    echod.kill(signal.SIGKILL)
    echod.expected_status = -signal.SIGKILL
    assert echod.wait() == -signal.SIGKILL


def check_next_process(store, port, clients, **more):
    """What is sent while nobody serves is answered by the next daemon."""
    asking, streams = clients
    for s in asking + streams:
        s.sendall(b"queued")
    with store.serve(port, **more) as echod:
        store.expect("READY")
        assert "inherited" not in echod.log()
        for s in asking + streams:
            assert receive(s, 6) == b"queued"
            s.close()
        echod.check()
        return echod.log()


def clients_of(echod):
    return ([echod.datagrams(host) for host in HOSTS for _ in range(10)],
            [echod.connect(host) for host in HOSTS for _ in range(10)])


for after, workers in ((1, 1), (2, 2), (2, 4), (4, 2)):
    @test(f"after SIGKILL the next daemon answers what was sent meanwhile, on the stored sockets; {after} workers, then {workers}")
    def _(after=after, workers=workers):
        with Store() as store:
            with store.serve(top=f"workers = {after}") as echod:
                store.expect("READY")
                assert count_stored(store) == [after] * 4, store.held
                port = echod.port
                crash(echod)
                clients = clients_of(echod)
            if workers < after:
                # A surplus socket is closed with what is queued there.
                for s in clients[0] + clients[1]:
                    s.close()
                clients = [], []
            check_next_process(store, port, clients, top=f"workers = {workers}")
            assert count_stored(store) == [workers] * 4, store.held


@test("SIGUSR2 before SIGTERM leaves clients that have come to the next daemon, on the stored sockets")
def _():
    with Store() as store:
        with store.serve(top="workers = 2") as echod:
            store.expect("READY")
            port = echod.port
            echod.kill(signal.SIGUSR2)
            assert echod.stop() == 0
            store.expect("STOPPING")
            clients = clients_of(echod)
        check_next_process(store, port, clients, top="workers = 2")


@test("a stored socket that the configuration does not name any more is closed with one line, and a reload updates the store")
def _():
    with Store() as store:
        with store.serve() as echod:
            store.expect("READY")
            port = echod.port
            crash(echod)
        with store.serve(port, hosts=HOSTS[:1]) as echod:
            store.expect("READY")
            lines = [line for line in echod.lines if line and "does not name it any more" in line]
            assert len(lines) == 2 and all(f"[::1]:{port}" in line for line in lines), lines
            assert len(store.held) == 2, store.held
            echod.check_tcp(HOSTS[0])
            echod.change(hosts=HOSTS)
            store.expect("RELOADING")
            store.expect("READY")
            assert len(store.held) == 4, store.held
            echod.check()


@test("a stored descriptor that cannot be served is closed, and the daemon starts")
def _():
    with Store() as store:
        store.held["echod-own nonsense"] = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)]
        with store.serve() as echod:
            assert "which the service manager has stored" in echod.log()
            echod.check()


# ---- the watchdog ----

for workers in (1, 2):
    @test(f"a daemon that runs feeds the watchdog, and one that is stopped does not; {plural(workers, 'worker')}")
    def _(workers=workers):
        with Manager() as manager, \
             Echod(top=f"workers = {workers}", environment=manager.environment(WATCHDOG_USEC="200000")) as echod:
            manager.expect("READY")
            for _ in range(5):
                begin = time.monotonic()
                manager.expect("WATCHDOG")
            note(f"the fifth came after {(time.monotonic() - begin) * 1000:.0f} ms")
            echod.kill(signal.SIGSTOP)
            wait_for(lambda: echod.status()["State"][0] == "T", PATIENCE, "it to stop")
            while select.select([manager.socket], [], [], 0)[0]:
                manager.next()
            assert manager.count("WATCHDOG", 0.5) == 0
            echod.kill(signal.SIGCONT)
            manager.expect("WATCHDOG")


@test("with one worker stuck the watchdog is not fed, though the others run")
def _():
    with Manager() as manager, \
         Echod(top="workers = 2", environment=manager.environment(WATCHDOG_USEC="200000")) as echod:
        manager.expect("READY")
        manager.expect("WATCHDOG")
        # A sanitizer may have a thread too, from before ours.
        threads = sorted(int(t) for t in os.listdir(f"/proc/{echod.process.pid}/task"))
        with frozen_thread(threads[-1]):
            # What it had said before still counts for a moment.
            manager.count("WATCHDOG", 0.3)
            assert manager.count("WATCHDOG", 0.5) == 0
        manager.expect("WATCHDOG")


PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000


@contextlib.contextmanager
def frozen_thread(thread):
    """Stop one thread of a process, as a debugger does."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_SEIZE, thread, None, None) != 0:
        skip(f"cannot trace it: {os.strerror(ctypes.get_errno())}")
    libc.ptrace(PTRACE_INTERRUPT, thread, None, None)
    os.waitpid(thread, WALL)
    try:
        yield
    finally:
        libc.ptrace(PTRACE_DETACH, thread, None, None)


@test("the watchdog is not fed with WATCHDOG_PID of another process, nor without WATCHDOG_USEC")
def _():
    for environment in ({"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}, {}):
        with Manager() as manager, Echod(environment=manager.environment(**environment)):
            manager.expect("READY")
            assert manager.count("WATCHDOG", 0.3) == 0


if __name__ == "__main__":
    private_network()
    run_all()
