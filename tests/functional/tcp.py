# SPDX-License-Identifier: ISC
"""TCP: every octet goes back until the client closes, and the memory and time that one client costs is limited."""

import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time

from daemon import (HOSTS, PATIENCE, SANITIZED, Addresses, Echod, check_stream, is_closed, need_ip, need_ipv6,
                    private_network, receive, receive_all, reset, stall)
from lib import free_port, note, run_all, skip, test, wait_for
from service import need_own_sockets

MEGABYTE = 1 << 20


class Sender(threading.Thread):
    """Sends everything in a thread of its own, and then half-closes."""

    def __init__(self, s, data, pieces=MEGABYTE):
        super().__init__(daemon=True)
        self.s, self.data, self.pieces = s, data, pieces
        self.start()

    def run(self):
        view = memoryview(self.data)
        for at in range(0, len(view), self.pieces):
            self.s.sendall(view[at:at + self.pieces])
        self.s.shutdown(socket.SHUT_WR)


def check_exact(got, data):
    assert len(got) == len(data), f"{len(got)} of {len(data)} octets came back"
    assert got == data, "the echo differs"


# ---- whole and equal ----

@test("TCP is echoed by both families, and by a name that has both")
def _():
    need_ipv6()
    with Echod() as echod:
        for host in HOSTS + ("localhost",):
            echod.check_tcp(host)


for name, size in (("nothing", 0), ("5 octets", 5), ("1 MB", MEGABYTE), ("64 MB", 64 * MEGABYTE)):
    @test(f"{name} in full duplex over TCP, then half-closed, comes back to the last octet")
    def _(size=size):
        data = random.Random(size).randbytes(size)
        with Echod() as echod, echod.connect() as s:
            sender = Sender(s, data)
            check_exact(receive_all(s), data)
            sender.join()
            counters = echod.wait_counter("tcp_closed", 1)
            assert counters["tcp_octets"] == size and counters["tcp_reset"] == 0, counters


@test("of 20 MB that a TCP client writes before it reads nothing is lost")
def _():
    data = random.Random(20).randbytes(20 * MEGABYTE)
    with Echod() as echod, echod.connect() as s:
        sender = Sender(s, data)
        # The sender is blocked once its progress stops.
        progress = [-1]
        def stopped():
            progress.append(echod.counters()["tcp_octets"])
            time.sleep(0.05)
            return progress[-1] == progress[-2] > 0
        wait_for(stopped, PATIENCE, "back-pressure")
        assert sender.is_alive(), "the daemon has taken 20 MB from a client that does not read"
        check_exact(receive_all(s), data)
        sender.join()


@test("a client that half-closes while its echo is held back gets all of it")
def _():
    with Echod() as echod, echod.connect() as s:
        sent, = stall(s)
        s.shutdown(socket.SHUT_WR)
        check_exact(receive_all(s), b"x" * sent)


@test("a client that sends one octet at a time gets its echo, whether it waits for each or not")
def _():
    data = os.urandom(5000)
    with Echod() as echod, echod.connect() as s:
        for n in range(1000):
            check_stream(s, bytes([n % 256]))
        sender = Sender(s, data, pieces=1)
        check_exact(receive_all(s), data)
        sender.join()


@test("300 TCP connections at once get each its own echo, in changing order")
def _():
    order = random.Random(300)
    with Echod() as echod:
        clients = [echod.connect(order.choice(HOSTS)) for _ in range(300)]
        assert echod.wait_counter("tcp_accepted", 300)["open"] == 300
        for turn in range(5):
            order.shuffle(clients)
            for s in clients:
                s.sendall(b"%d:%d" % (turn, s.fileno()))
            order.shuffle(clients)
            for s in clients:
                expected = b"%d:%d" % (turn, s.fileno())
                assert receive(s, len(expected)) == expected
        for s in clients:
            s.close()
        echod.wait_counter("tcp_closed", 300)


@test("urgent data comes back in the place where it was sent")
def _():
    with Echod() as echod:
        for pause in (False, True):
            with echod.connect() as s:
                for part, flags in ((b"ab", 0), (b"!", socket.MSG_OOB), (b"cd", 0)):
                    s.send(part, flags)
                    if pause:
                        assert receive(s, len(part)) == part
                if not pause:
                    assert receive(s, 5) == b"ab!cd"
                s.send(b"?", socket.MSG_OOB)
                s.shutdown(socket.SHUT_WR)
                assert receive_all(s) == b"?"


# ---- clients that go ----

@test("clients that reset with unread data, are gone before their echo, or say nothing leave no connection or descriptor behind")
def _():
    def reset_unread(s):
        s.sendall(b"unread" * 100)
        reset(s)

    def leave_early(s):
        s.sendall(bytes(100000))
        s.close()

    with Echod() as echod:
        descriptors = echod.descriptors()
        for end, count in ((reset_unread, 1000), (leave_early, 200), (socket.socket.close, 500)):
            for n in range(count):
                end(echod.connect(HOSTS[n % 2]))
            wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "the last one to be closed")
            wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, "their descriptors to be freed")
            echod.check()


# ---- clients that do not read ----

def kernel_memory(port):
    """Octets of kernel memory tied up by each socket of the daemon's side, see ss(8): what waits to be read, and to be
    acknowledged, and what is set aside for either."""
    done = subprocess.run(["ss", "-tmnH", f"sport = :{port}"], capture_output=True, text=True, check=True)
    found = [{name: int(value) for name, value in re.findall(r"\b(r|w|f)(\d+)", line)}
             for line in re.findall(r"skmem:\(([^)]*)\)", done.stdout)]
    return [sum(one.values()) for one in found if one]


@test("stalled clients cost 16 KiB each in the daemon and 4 MiB in the kernel at most, and lose nothing")
def _():
    if not shutil.which("ss"):
        skip("needs ss(8) of iproute2")
    count = 40
    with Echod(hosts=HOSTS[:1]) as echod:
        clients = [echod.connect() for _ in range(count)]
        for s in clients:
            check_stream(s)
        before = echod.rss()
        sent = stall(*clients)
        user = (echod.rss() - before) / count
        kernel = kernel_memory(echod.port)
        cpu = echod.cpu()
        time.sleep(0.5)
        cpu = echod.cpu() - cpu
        note(f"a stalled client: {max(sent) / 1024:.0f} KiB sent, {user / 1024:.1f} KiB in the daemon, "
             f"{max(kernel) / 1024:.0f} KiB in the kernel at most; {cpu * 200:.1f} % of a CPU for all")
        echod.check_udp()
        echod.check_tcp()
        for s, length in zip(clients, sent):
            s.shutdown(socket.SHUT_WR)
            check_exact(receive_all(s), b"x" * length)
            s.close()
        assert len(kernel) >= count and max(kernel) <= 4 * MEGABYTE, kernel
        assert user <= 16384 + 2048 or SANITIZED, user
        assert cpu <= 0.1


@test("the memory for stalled clients is given back when they are gone")
def _():
    with Echod(hosts=HOSTS[:1]) as echod:
        before = after = 0
        for _ in range(4):
            clients = [echod.connect() for _ in range(20)]
            stall(*clients)
            for s in clients:
                reset(s)
            wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "all to be closed")
            before, after = before or echod.rss(), echod.rss()
        note(f"{before / 1024:.0f} KiB after the first round, {after / 1024:.0f} KiB after the fourth")
        assert after <= before + MEGABYTE or SANITIZED


@test("the reset of a stalled client is noticed at once")
def _():
    with Echod() as echod:
        descriptors = echod.descriptors()
        clients = [echod.connect() for _ in range(10)]
        stall(*clients)
        begin = time.monotonic()
        for s in clients:
            reset(s)
        wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, "the descriptors to be freed")
        note(f"{(time.monotonic() - begin) * 1000:.0f} ms")
        assert echod.counters()["tcp_reset"] == 10


@test("a stalled client that closes without reading is noticed, and its connection closed")
def _():
    with Echod() as echod, echod.connect() as s:
        stall(s)
        s.close()
        echod.wait_counter("tcp_closed", 1)


@test("a half-closed client that reads nothing is still counted, drained, and reset when it goes")
def _():
    with Echod(hosts=HOSTS[:1], top="drain-timeout = 1") as echod:
        patient, gone, forgotten = (echod.connect() for _ in range(3))
        lengths = stall(patient, gone, forgotten)
        for s in (patient, gone, forgotten):
            s.shutdown(socket.SHUT_WR)
        echod.check_tcp()
        assert echod.wait_counter("tcp_closed", 1)["open"] == 3
        reset(gone)
        # What is open follows from tcp_closed, which a worker writes after tcp_reset.
        counters = echod.wait_counter("tcp_closed", 2)
        assert counters["tcp_reset"] == 1 and counters["open"] == 2, counters
        check_exact(receive_all(patient), b"x" * lengths[0])
        assert echod.wait_counter("tcp_closed", 3)["open"] == 1
        patient.close()
        begin = time.monotonic()
        echod.stop()
        note(f"stopped after {time.monotonic() - begin:.2f} s")
        assert any("closing 1 connections" in line for line in echod.lines if line), echod.lines
        forgotten.close()


# ---- clients that say nothing ----

@test("idle-timeout closes idle connections, not those that are active in either direction")
def _():
    with Echod(tcp="idle-timeout = 2") as echod, echod.connect() as idle, echod.connect() as active, \
         echod.connect() as late:
        stalled = socket.socket()
        # So small that what it reads soon makes room for more on the way there.
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        stalled.connect((echod.hosts[0], echod.port))
        stall(stalled)
        idle_since = time.monotonic()
        closed = threading.Event()
        def watch():
            assert is_closed(idle)
            closed.set()
        threading.Thread(target=watch, daemon=True).start()
        check_stream(late)
        while not closed.wait(0.2):
            check_stream(active)
            # A little at a time: a client that reads its echo is not idle.
            receive(stalled, 100000)
            assert time.monotonic() < idle_since + PATIENCE, "never closed"
        note(f"closed after {time.monotonic() - idle_since:.2f} s")
        check_stream(active)
        receive(stalled, 100000)
        assert is_closed(late)
        counters = echod.counters()
        assert counters["tcp_idle"] == 2 and counters["open"] == 2, counters
        stalled.close()


@test("idle-timeout closes a client that neither reads nor writes, though its echo is owed")
def _():
    with Echod(tcp="idle-timeout = 1") as echod, echod.connect() as s:
        stall(s)
        assert echod.wait_counter("tcp_idle", 1)["open"] == 0


@test("idle-timeout = 0 closes no connection; a shorter one, reloaded, holds for open connections")
def _():
    with Echod(tcp="idle-timeout = 0") as echod, echod.connect() as s:
        check_stream(s)
        time.sleep(0.5)
        check_stream(s)
        assert "idle-timeout 0 -> 1" in echod.change(tcp="idle-timeout = 1")
        assert is_closed(s)
        assert echod.counters()["tcp_idle"] == 1


IPPROTO_MPTCP = 262


def need_mptcp():
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP).close()
    except OSError as error:
        skip(f"the kernel has no MPTCP: {error}")


@test("mptcp = true serves clients of MPTCP and of TCP, also on a listener of a reload")
def _():
    need_own_sockets()
    need_mptcp()
    with Echod(top="workers = 2", tcp="mptcp = true") as echod:
        for port in echod.port, free_port():
            if port != echod.port:
                echod.port = port
                answer = echod.change()
                assert "was not reloaded" not in answer, answer
            for host in echod.hosts:
                echod.check_tcp(host)
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                with socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP) as s:
                    s.settimeout(PATIENCE)
                    s.connect((host, echod.port))
                    check_stream(s, b"x" * 100000)
                    # 1 where both ends speak MPTCP (TCP_IS_MPTCP, 43).
                    assert s.getsockopt(socket.IPPROTO_TCP, 43) == 1, "it fell back to TCP"


@test("freebind = true binds an address that does not exist yet; without it the start fails and names the key")
def _():
    need_own_sockets()
    need_ip()
    hosts = ("127.0.0.1", "198.18.9.9")
    with Echod(hosts=hosts, top="freebind = true") as echod, Addresses("198.18.9.9/32"):
        echod.check()
    with Echod(hosts=hosts, wait=False, status=1) as echod:
        echod.wait_line("cannot listen on udp 198.18.9.9:.*freebind = true")


if __name__ == "__main__":
    private_network()
    run_all()
