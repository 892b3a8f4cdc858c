# SPDX-License-Identifier: ISC
"""At the limit of connections or of descriptors: those inside are served, those outside wait, and nobody spins."""

import resource
import select
import time

from daemon import (PATIENCE, SAME_USER, Addresses, Echod, check_datagram, check_stream, is_closed, plural,
                    private_network, receive)
from lib import note, run_all, test, wait_for

# Gross, so that noise does not fail it: the aim is 2 %.
CPU_SHARE = 0.10


def is_waiting(s):
    """Connected, and has sent something, but nobody answers yet."""
    s.setblocking(False)
    try:
        raise AssertionError(f"{s.recv(100)} was received")
    except BlockingIOError:
        return True
    finally:
        s.settimeout(PATIENCE)


def knock(echod, count, text=b"let me in", **where):
    """Clients that connect and send a greeting, which the kernel's backlog takes if nobody else does."""
    clients = [echod.connect(**where) for _ in range(count)]
    for s in clients:
        s.sendall(text)
    return clients


def check_let_in(s, text=b"let me in"):
    """Greeting answered; how long it took."""
    begin = time.monotonic()
    assert receive(s, len(text)) == text
    return time.monotonic() - begin


def check_calm(echod, inside, outside, seconds=1):
    """Some clients are served and others wait: the daemon uses less than CPU_SHARE of a CPU."""
    with echod.datagrams() as udp:
        cpu, begin = echod.cpu(), time.monotonic()
        while time.monotonic() < begin + seconds:
            for s in inside:
                check_stream(s)
            check_datagram(udp)
            time.sleep(0.1)
        share = (echod.cpu() - cpu) / (time.monotonic() - begin)
    assert all(is_waiting(s) for s in outside)
    note(f"{share * 100:.1f} % of a CPU with {len(outside)} waiting and {len(inside)} served ten times a second")
    assert share < CPU_SHARE, share


def close_all(*groups):
    for group in groups:
        for s in group:
            s.close()


def log_count(echod, pattern):
    return sum(pattern in line for line in echod.lines if line)


# ---- max-connections ----

for workers in (1, 2):
    @test(f"at max-connections further clients wait, and are let in as others leave; {plural(workers, 'worker')}")
    def _(workers=workers):
        with Echod(top=f"workers = {workers}", tcp="max-connections = 5") as echod:
            inside = knock(echod, 5)
            for s in inside:
                check_let_in(s)
            outside = knock(echod, 20)
            check_calm(echod, inside, outside)
            times = []
            while outside:
                inside.pop(0).close()
                # Any of several workers may let a client in.
                answered = wait_for_one(outside, times)
                outside.remove(answered)
                inside.append(answered)
                assert echod.counters()["open"] == 5
            note(f"the next was let in after {max(times) * 1000:.0f} ms at most")
            assert log_count(echod, "max-connections") <= workers
            close_all(inside)


def wait_for_one(sockets, times):
    """The first of them to be answered; its time is noted."""
    begin = time.monotonic()
    ready = select.select(sockets, [], [], PATIENCE)[0]
    times.append(time.monotonic() - begin)
    assert ready, "nobody is let in"
    assert len(ready) == 1, f"{len(ready)} were let in for one that left"
    check_let_in(ready[0])
    return ready[0]


@test("a reload to a higher max-connections lets clients in that wait; one to a lower closes no connection")
def _():
    with Echod(tcp="max-connections = 2") as echod:
        inside = knock(echod, 2)
        for s in inside:
            check_let_in(s)
        outside = knock(echod, 4)
        assert "max-connections 2 -> 6" in echod.change(tcp="max-connections = 6")
        note(f"{max(check_let_in(s) for s in outside) * 1000:.0f} ms")
        echod.change(tcp="max-connections = 1")
        for s in inside + outside:
            check_stream(s)
        late, = knock(echod, 1)
        close_all(inside, outside[1:])
        wait_for(lambda: echod.counters()["open"] == 1, PATIENCE, "the others to leave")
        check_stream(outside[0])
        assert is_waiting(late)
        close_all(outside)
        check_let_in(late)
        late.close()


@test("at max-connections = 1 a new client is let in by either worker, whichever has the idle one that is closed")
def _():
    with Echod(top="workers = 2", tcp="max-connections = 1\nidle-timeout = 0") as echod:
        clients = knock(echod, 1)
        for _ in range(5):
            check_let_in(clients[-1])
            clients += knock(echod, 1)
        check_let_in(clients[-1])
        close_all(clients)


@test("clients that wait at max-connections and give up disturb nobody")
def _():
    with Echod(tcp="max-connections = 1") as echod:
        inside, = knock(echod, 1)
        check_let_in(inside)
        close_all(knock(echod, 50))
        check_stream(inside)
        inside.close()
        echod.check_tcp()


# ---- out of descriptors ----

@test("out of descriptors the daemon is calm, serves its connections and UDP, and lets the next in when one is free")
def _():
    with Echod(top=SAME_USER + "\nworkers = 1") as echod:
        inside = knock(echod, 20)
        for s in inside:
            check_let_in(s)
        echod.limit("nofile", echod.descriptors())
        outside = knock(echod, 30)
        check_calm(echod, inside, outside)
        inside.pop().close()
        note(f"the next was let in {check_let_in(outside[0]) * 1000:.0f} ms after one left")
        echod.limit("nofile")
        note(f"the others {max(check_let_in(s) for s in outside[1:]) * 1000:.0f} ms after the limit was raised")
        assert log_count(echod, "cannot accept") == 1
        assert echod.counters()["tcp_starved"] > 0
        close_all(inside, outside)


@test("with a limit of descriptors far below what is open, the daemon is calm, serves, and lets in when it may")
def _():
    with Echod(top=SAME_USER + "\nworkers = 2") as echod:
        inside = knock(echod, 150)
        for s in inside:
            check_let_in(s)
        echod.limit("nofile", 5)
        outside = knock(echod, 10)
        check_calm(echod, inside[:30], outside)
        for s in inside:
            check_stream(s)
        # Not before enough of them have left.
        close_all(inside[50:])
        wait_for(lambda: echod.counters()["open"] == 50, PATIENCE, "them to be gone")
        assert all(is_waiting(s) for s in outside)
        check_stream(inside[0])
        echod.limit("nofile")
        note(f"{max(check_let_in(s) for s in outside) * 1000:.0f} ms after the limit was raised")
        assert log_count(echod, "cannot accept") <= 2
        close_all(inside, outside)


@test("with no descriptor to spare UDP and TCP go on, and a reload fails and changes nothing")
def _():
    with Echod(top=SAME_USER) as echod, echod.connect() as s, echod.datagrams() as udp:
        check_stream(s)
        echod.limit("nofile", 3)
        for _ in range(20):
            check_stream(s)
            check_datagram(udp)
        # The file cannot be opened: everything stays.
        assert "was not reloaded" in echod.reload()
        check_stream(s)
        check_datagram(udp)
        echod.limit("nofile")
        assert "nothing changed" in echod.reload()
        echod.check()


@test("with max-connections = 0 some of a few descriptors stay in reserve, for a reload")
def _():
    with Echod(limits={resource.RLIMIT_NOFILE: (200, 200)}) as echod:
        clients = knock(echod, 190)
        wait_for(lambda: echod.counters()["tcp_full"] > 0, PATIENCE, "the limit to be reached")
        answered = echod.counters()["open"]
        note(f"{answered} of 190 were let in")
        assert 100 <= answered <= 180
        assert echod.counters()["tcp_starved"] == 0
        # The reserve is what a reload needs.
        echod.change(hosts=("127.0.0.1", "127.0.0.2"))
        echod.check_udp("127.0.0.2")
        close_all(clients)


# ---- max-connections-per-source ----

for workers in (1, 2):
    @test(f"max-connections-per-source turns the rest of one source away, and no other client; "
          f"{plural(workers, 'worker')}")
    def _(workers=workers):
        with Echod(top=f"workers = {workers}", tcp="max-connections-per-source = 3") as echod:
            inside = knock(echod, 3)
            for s in inside:
                check_let_in(s)
            refused = [echod.connect() for _ in range(10)]
            assert all(is_closed(s) for s in refused)
            others = knock(echod, 3, source="127.0.0.2")
            for s in inside + others:
                check_stream(s) if s in inside else check_let_in(s)
            assert echod.wait_counter("tcp_refused_source", 10)["open"] == 6
            assert log_count(echod, "max-connections-per-source open") <= workers
            # When one connection ends, another is accepted.
            inside.pop().close()
            wait_for(lambda: echod.counters()["open"] == 5, PATIENCE, "it to be gone")
            inside += knock(echod, 1)
            check_let_in(inside[-1])
            with echod.connect() as s:
                assert is_closed(s)
            close_all(inside, others, refused)


@test("max-connections-per-source counts all of an IPv6 /64 as one source")
def _():
    addresses = ("2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1")
    with Addresses(*(address + "/64" for address in addresses)), \
         Echod(hosts=("::",), tcp="max-connections-per-source = 2") as echod:
        inside = [knock(echod, 1, host="::1", source=source)[0] for source in addresses[:2]]
        for s in inside:
            check_let_in(s)
        with echod.connect("::1", "2001:db8:1::2") as s:
            assert is_closed(s)
        echod.check_tcp("::1", addresses[2])
        close_all(inside)
        wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "them to be gone")
        echod.check_tcp("::1", addresses[1])


@test("a reload changes max-connections-per-source, and closes no connection")
def _():
    with Echod() as echod:
        inside = knock(echod, 5)
        for s in inside:
            check_let_in(s)
        assert "max-connections-per-source 0 -> 2" in echod.change(tcp="max-connections-per-source = 2")
        for s in inside:
            check_stream(s)
        with echod.connect() as s:
            assert is_closed(s)
        echod.change(tcp="")
        echod.check_tcp()
        close_all(inside)


# ---- more than the array of poll(2) holds ----

@test("a thousand idle connections cost nothing, and any of them is served")
def _():
    with Echod(top="workers = 1") as echod:
        clients = knock(echod, 1000)
        for s in clients:
            check_let_in(s)
        cpu, begin = echod.cpu(), time.monotonic()
        time.sleep(0.5)
        share = (echod.cpu() - cpu) / (time.monotonic() - begin)
        note(f"{share * 100:.1f} % of a CPU, {echod.rss() / 1024:.0f} KiB resident")
        for s in clients[::37] + clients[::-41]:
            check_stream(s)
        # In this order the slots of closed connections are reused.
        for turn in range(0, 1000, 100):
            close_all(clients[turn:turn + 50])
            for s in clients[turn + 50:turn + 100]:
                check_stream(s)
        wait_for(lambda: echod.counters()["open"] == 500, PATIENCE, "half of them to be gone")
        echod.check()
        assert share < CPU_SHARE
        close_all(clients)


if __name__ == "__main__":
    # Both ends of every connection.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard != resource.RLIM_INFINITY else 4096, hard))
    private_network()
    run_all()
