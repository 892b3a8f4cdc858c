# SPDX-License-Identifier: ISC
"""Access lists, rate limits, loops, and eviction."""

import contextlib
import os
import re
import signal
import socket
import threading
import time

from daemon import (PATIENCE, SANITIZED, Addresses, Echod, check_datagram, check_stream, is_closed, need_ipv6,
                    need_private_network, private_network)
from forge import forge
from lib import note, run_all, test, wait_for
from service import ACTIVATED

# Small, so that a slow machine reaches them too.
RATE, BURST = 100, 200
SMALL = f"limits {{ udp-rate = {RATE} udp-burst = {BURST} exempt = {{}} }}"

# How many times a source gets its rate: once for each worker that shares a socket, see limits in echod.conf(5).
BUDGETS = len(os.sched_getaffinity(0)) if ACTIVATED else 1

# A client on its own: never exempt, neither as an address of this host nor as the loopback.
NEIGHBOURS = ("192.0.2.1/24", "192.0.2.2/24", "192.0.2.3/24", "2001:db8::1/64", "2001:db8::2/64", "2001:db8:0:1::1/64",
              "2001:db8:1::1/64")


def is_ignored(echod, counter, source, host):
    """A datagram from there is counted as refused for that reason, and not answered."""
    before = echod.counters()
    with echod.datagrams(host, source) as s:
        s.send(b"anybody there?")
        echod.wait_counter(counter, before[counter] + 1)
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            raise AssertionError(f"{s.recv(100)} was received")
    return True


def is_denied(echod, source, host):
    """Neither protocol serves that source."""
    with echod.connect(host, source) as s:
        assert is_closed(s)
    return is_ignored(echod, "udp_denied", source, host)


def is_served(echod, source, host):
    echod.check_tcp(host, source)
    echod.check_udp(host, source)
    return True


# ---- access ----

@test("of the access lists the longest match decides, for both protocols and families")
def _():
    need_ipv6()
    access = 'access { deny = { "127.0.0.0/16", "::/0" } allow = { "127.0.0.2", "::1/128", "127.0.1.0/24" } }'
    with Echod(top=access) as echod:
        assert is_denied(echod, "127.0.0.1", "127.0.0.1")
        assert is_served(echod, "127.0.0.2", "127.0.0.1")
        assert is_served(echod, "127.0.1.2", "127.0.0.1")
        assert is_served(echod, "::1", "::1")
        # In no prefix, while allow lists some.
        assert is_denied(echod, "127.1.0.1", "127.0.0.1")
        assert echod.counters()["tcp_denied"] == 2


@test("access.deny wins a tie with access.allow; with deny alone every other source is served")
def _():
    with Echod(top='access { deny = { "127.0.0.2" } allow = { "127.0.0.2", "127.0.0.1" } }') as echod:
        assert is_denied(echod, "127.0.0.2", "127.0.0.1")
        assert is_served(echod, "127.0.0.1", "127.0.0.1")
        echod.change(top='access { deny = "127.0.0.2" }')
        assert is_denied(echod, "127.0.0.2", "127.0.0.1")
        assert is_served(echod, "127.0.0.3", "127.0.0.1")


@test("access lists take an IPv4 client of a dual-stack socket for IPv4, however the prefix is written")
def _():
    need_ipv6()
    for prefix in ("127.0.0.2/31", "::ffff:127.0.0.2/127"):
        with contextlib.ExitStack() as stack:
            sockets = []
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                s = stack.enter_context(socket.socket(socket.AF_INET6, kind))
                s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                s.bind(("::", sockets[0].getsockname()[1] if sockets else 0))
                sockets.append(s)
            sockets[0].listen()
            port = sockets[0].getsockname()[1]
            text = f'access {{ deny = {{ "{prefix}" }} allow = {{ "0.0.0.0/0", "::1" }} }}'
            with Echod(text=text, sockets=sockets, port=port, hosts=("127.0.0.1", "::1")) as echod:
                assert is_denied(echod, "127.0.0.2", "127.0.0.1")
                assert is_served(echod, "127.0.0.4", "127.0.0.1")
                assert is_served(echod, "::1", "::1")


@test("a reload ends the connections of sources that access denies now, and no other")
def _():
    for workers in (1, 2):
        with Echod(top=f"workers = {workers}") as echod, contextlib.ExitStack() as stack:
            bad = [stack.enter_context(echod.connect(source="127.0.0.2")) for _ in range(10)]
            good = [stack.enter_context(echod.connect(source="127.0.0.3")) for _ in range(10)]
            for s in bad + good:
                check_stream(s)
            assert "access.deny { } -> { 127.0.0.2 }" in echod.change(
                top=f'workers = {workers}\naccess {{ deny = "127.0.0.2" }}')
            assert all(is_closed(s) for s in bad)
            for s in good:
                check_stream(s)
            assert echod.wait_counter("tcp_denied", 10)["open"] == 10
            echod.change(top=f"workers = {workers}")
            echod.check_tcp(source="127.0.0.2")


@test("access lists of 100 000 prefixes are loaded and searched")
def _():
    # Under a sanitizer realloc(3) copies, each time that libConfuse adds a value to a list.
    count = 10000 if SANITIZED else 100000
    deny = ", ".join(f'"10.{n // 256 % 256}.{n % 256}.{n // 65536 * 128}/25"' for n in range(count))
    with Echod() as echod:
        begin = time.monotonic()
        assert "access.deny" in echod.change(top=f'access {{ deny = {{ {deny}, "127.0.0.2" }} }}')
        note(f"the reload took {(time.monotonic() - begin) * 1000:.0f} ms")
        assert is_denied(echod, "127.0.0.2", "127.0.0.1")
        assert is_served(echod, "127.0.0.1", "127.0.0.1")
        echod.change(top="")


# ---- budgets ----

def exhaust(echod, source, host, count=10 * BURST):
    """Send `count` datagrams that differ. Returns how many came back, and the seconds that took."""
    begin, back = time.monotonic(), 0
    received = echod.counters()["udp_received"]
    with echod.datagrams(host, source) as s:
        for n in range(count):
            s.send(b"%d" % n)
        echod.wait_counter("udp_received", received + count)
        echod.settled()
        s.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                s.recv(100)
                back += 1
    return back, time.monotonic() - begin


@test("a source gets udp-burst and udp-rate, and others get theirs")
def _():
    with Addresses(*NEIGHBOURS), Echod(top=f"{SMALL}\nworkers = 1", hosts=("0.0.0.0", "::")) as echod:
        for source, other, host in (("192.0.2.2", "192.0.2.3", "192.0.2.1"),
                                    ("2001:db8::2", "2001:db8:1::1", "2001:db8::1")):
            before = echod.counters()
            back, seconds = exhaust(echod, source, host)
            after = echod.counters()
            leaked = after["udp_leaked"] - before["udp_leaked"]
            assert BURST <= back - leaked <= BURST + RATE * seconds + 1, (back, leaked, seconds)
            assert back + after["udp_over_budget"] - before["udp_over_budget"] == 10 * BURST
            note(f"{source}: {back} of {10 * BURST} answered in {seconds:.3f} s, {leaked} of them leaked")
            with echod.datagrams(host, other) as s:
                for n in range(BURST):
                    check_datagram(s, b"%d" % n)


@test("the /64s of one /48 together get sixteen times udp-rate, though each is within its own")
def _():
    need_private_network()
    with Echod(top=f"{SMALL}\nworkers = 1", hosts=("::1",)) as echod:
        begin = time.monotonic()
        for n in range(64):
            for port in range(BURST):
                forge((f"2001:db8:0:{n:x}00::1", 5000 + port), ("::1", echod.port))
        sent = 64 * BURST
        counters = echod.wait_counter("udp_received", sent)
        seconds = time.monotonic() - begin
        answered = sent - counters["udp_over_budget"] - counters["udp_leaked"]
        assert 16 * BURST <= answered <= 16 * (BURST + RATE * seconds) + 1, (answered, seconds)
        note(f"{answered} of {sent} answered in {seconds:.1f} s")


@test("a spoofed flood in the name of a client does not silence that client")
def _():
    with Addresses(*NEIGHBOURS), Echod(top=f"{SMALL}\nworkers = 1", hosts=("0.0.0.0",)) as echod:
        done = threading.Event()

        def flood():
            while not done.wait(0.05):
                for port in range(5000, 5100):
                    forge(("192.0.2.2", port), ("192.0.2.1", echod.port))

        spoofer = threading.Thread(target=flood)
        spoofer.start()
        try:
            wait_for(lambda: echod.counters()["udp_over_budget"] > 0, PATIENCE, "the budget to be spent")
            with echod.datagrams("192.0.2.1", "192.0.2.2") as s:
                s.settimeout(0.05)
                tries = 0

                def answered():
                    nonlocal tries
                    tries += 1
                    s.send(b"%d" % tries)
                    with contextlib.suppress(TimeoutError):
                        return s.recv(100)
                    return None

                wait_for(answered, PATIENCE, "an answer")
                note(f"the victim was answered at try {tries}")
        finally:
            done.set()
            spoofer.join()
        assert echod.counters()["udp_leaked"] > 0


@test("an exempt source has no rate limit, and with udp-rate = 0 no source has")
def _():
    with Addresses(*NEIGHBOURS), Echod(top=SMALL.replace("{}", '"192.0.2.2"'), hosts=("0.0.0.0",)) as echod:
        for source, top in (("192.0.2.2", None), ("192.0.2.3", "limits { udp-rate = 0 }")):
            if top:
                echod.change(top=top)
            with echod.datagrams("192.0.2.1", source) as s:
                for n in range(5 * BURST):
                    check_datagram(s, b"%d" % n)
        assert echod.counters()["udp_over_budget"] == 0


@test("max-connections-per-source counts by the prefixes of limits")
def _():
    with Echod(top="limits { ipv4-prefix = 24 }", tcp="max-connections-per-source = 1") as echod:
        with echod.connect(source="127.0.0.5") as inside:
            check_stream(inside)
            with echod.connect(source="127.0.0.6") as refused:
                assert is_closed(refused)
            echod.check_tcp(source="127.0.1.5")


# ---- loops ----

class Reflector:
    """Answers every datagram with what `answer` makes of it, as inetd's services do."""

    def __init__(self, host, answer):
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.port = self.socket.getsockname()[1]
        self.answer = answer
        self.answered = 0
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def _serve(self):
        while True:
            data, peer = self.socket.recvfrom(65536)
            if data == b"stop":
                return
            self.socket.sendto(self.answer(data, self.answered), peer)
            self.answered += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(self.socket.family, socket.SOCK_DGRAM) as s:
            s.sendto(b"stop", self.socket.getsockname())
        self.thread.join(PATIENCE)
        self.socket.close()


def echo_back(data, _):
    return data


def chargen(_, count):
    """RFC 864 as inetd does it: a line of 72 characters, which each time begins one character later."""
    ring = bytes(range(32, 127)) * 2
    return ring[count % 95:count % 95 + 72] + b"\r\n"


def refusals(echod):
    counters = echod.counters()
    return counters["udp_looped"] + counters["udp_over_budget"]


def check_ends(echods, begin, exempt=False):
    """A single datagram goes round, and is refused once; how many replies that cost."""
    wait_for(lambda: sum(refusals(echod) for echod in echods) == 1, PATIENCE, "the loop to end")
    seconds = time.monotonic() - begin
    sums = [echod.counters() for echod in echods]
    replies = sum(counters["udp_echoes"] for counters in sums)
    leaked = sum(counters["udp_leaked"] for counters in sums)
    note(f"{replies} replies, {leaked} of them leaked, within {seconds:.2f} s")
    # A loop with an exempt source is found out only by what comes back, and refused by chance.
    assert exempt or replies - leaked <= BUDGETS * (BURST + RATE * seconds + 1), (replies, leaked, seconds)
    return replies


LOOPBACK = (("127.0.0.1", True), ("::1", True), ("192.0.2.1", False), ("2001:db8::1", False))

for host, is_exempt in LOOPBACK:
    limits = SMALL.replace(" exempt = {}", "") if is_exempt else SMALL

    @test(f"two echod at {host} end their loop, {'exempt' if is_exempt else 'with rate limits'}")
    def _(host=host, top=limits):
        with Addresses(*NEIGHBOURS), Echod(top=top, hosts=(host,)) as one, Echod(top=top, hosts=(host,)) as two:
            for first, second in ((one, two), (two, one)):
                before = refusals(one) + refusals(two)
                forge((host, second.port), (host, first.port))
                wait_for(lambda: refusals(one) + refusals(two) == before + 1, PATIENCE, "the loop to end")
            looped = [echod.counters() for echod in (one, two)]
            assert sum(counters["udp_echoes"] for counters in looped) <= 4 * BURST * BUDGETS
            note(f"{sum(counters['udp_echoes'] for counters in looped)} replies")

    for name, answer in (("echo", echo_back), ("chargen", chargen)):
        @test(f"a loop with an {name} server at {host} ends, {'exempt' if is_exempt else 'with rate limits'}")
        def _(host=host, top=limits, is_exempt=is_exempt, answer=answer):
            with Addresses(*NEIGHBOURS), Echod(top=top, hosts=(host,)) as echod, Reflector(host, answer) as reflector:
                begin = time.monotonic()
                forge((host, reflector.port), (host, echod.port))
                replies = check_ends([echod], begin, is_exempt)
                assert replies >= BURST, "it ended before it was a loop"
                # A forged datagram may start the loop at either of the two.
                forge((host, echod.port), (host, reflector.port))
                wait_for(lambda: refusals(echod) == 2, PATIENCE, "the loop to end")


@test("clients of all usual hop limits are answered, a datagram with the hop limit of an echod reply is not")
def _():
    with Echod() as echod, echod.datagrams() as s:
        for hops in (1, 30, 32, 60, 64, 127, 128, 169, 200, 254, 255):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            check_datagram(s, b"%d" % hops)
        for refused, hops in enumerate((129, 150, 168), 1):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
            s.send(b"a reply")
            echod.wait_counter("udp_looped", refused)
        assert echod.counters()["udp_echoes"] == 11


# ---- TCP ----

def dribble(clients, done):
    while not done.wait(0.2):
        for s in clients:
            with contextlib.suppress(OSError):
                s.send(b".", socket.MSG_DONTWAIT)


for sources in (1, 20):
    @test(f"clients that hold all connections, from {sources} addresses, and dribble keep no other client out")
    def _(sources=sources):
        with Echod(tcp="max-connections = 60", top="workers = 1") as echod, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(echod.connect(source=f"127.0.1.{n % sources + 1}")) for n in range(60)]
            wait_for(lambda: echod.counters()["open"] == 60, PATIENCE, "them to be let in")
            done = threading.Event()
            dribbler = threading.Thread(target=dribble, args=(clients, done))
            dribbler.start()
            try:
                worst = 0
                for _ in range(10):
                    begin = time.monotonic()
                    with echod.connect() as s:
                        check_stream(s)
                        worst = max(worst, time.monotonic() - begin)
                    # The next client finds all connections taken again.
                    wait_for(lambda: echod.counters()["open"] == 59, PATIENCE, "it to be gone")
                    clients.append(stack.enter_context(echod.connect(source="127.0.1.1")))
                    wait_for(lambda: echod.counters()["open"] == 60, PATIENCE, "another to be let in")
                note(f"let in after {worst * 1000:.0f} ms at most")
            finally:
                done.set()
                dribbler.join()
            assert echod.counters()["tcp_evicted"] >= 10
            assert sum("to let another in" in line for line in echod.lines if line) == 1


@test("the source with the most connections makes room, not quiet sources with one each")
def _():
    with Echod(tcp="max-connections = 20", top="workers = 1") as echod, contextlib.ExitStack() as stack:
        quiet = [stack.enter_context(echod.connect(source=f"127.0.2.{n + 1}")) for n in range(10)]
        crowd = [stack.enter_context(echod.connect(source="127.0.3.1")) for n in range(10)]
        wait_for(lambda: echod.counters()["open"] == 20, PATIENCE, "them to be let in")
        for n in range(5):
            stack.enter_context(late := echod.connect(source=f"127.0.4.{n + 1}"))
            check_stream(late)
        for s in quiet:
            check_stream(s)
        assert echod.counters()["tcp_evicted"] == 5
        assert is_closed(crowd[0])


# ---- what is said about it ----

@test("each reason to refuse datagrams has its counter, and one line in the log with the count")
def _():
    top = f'{SMALL}\nworkers = 1\naccess {{ deny = "192.0.2.3" }}'
    with Addresses(*NEIGHBOURS), Echod(top=top, hosts=("0.0.0.0",)) as echod:
        echod.kill(signal.SIGSTOP)
        for n in range(300):
            forge(("192.0.2.3", 5000 + n), ("192.0.2.1", echod.port))
            forge(("192.0.2.2", 7), ("192.0.2.1", echod.port))
            forge(("192.0.2.2", 5000 + n), ("192.0.2.1", echod.port), os.urandom(8))
        echod.kill(signal.SIGCONT)
        for reason, count in (("denied by access", 300), ("refuse-source-ports", 300), ("udp-rate", None)):
            line = echod.wait_line(rf"UDP datagrams refused: {reason}")
            assert count is None or int(re.search(r"(\d+) UDP", line)[1]) == count, line
        lines = [line for line in echod.lines if line and "datagrams refused" in line]
        assert len(lines) == 3, lines
        counters = echod.counters()
        assert (counters["udp_denied"], counters["udp_refused_port"]) == (300, 300)
        assert 0 < counters["udp_over_budget"] <= 100


if __name__ == "__main__":
    private_network()
    run_all()
