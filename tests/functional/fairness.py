# SPDX-License-Identifier: ISC
"""A flood from one client does not keep other clients from their echoes. Times are noted; only starvation fails."""

import select
import socket
import subprocess
import sys
import time

from daemon import PATIENCE, Echod, check_datagram, check_stream, private_network
from lib import note, run_all, test, wait_for

STARVED = 2.0  # seconds for one echo, thousands of times the usual
SPELL = 1.5    # seconds of flood

# Runs apart, so that it does not share the interpreter with the clients that measure.
UDP_FLOOD = """
import socket, sys, time
host, port, size, sockets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), []
for _ in range(8):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.connect((host, port))
    s.setblocking(False)
    sockets.append(s)
print("begun", flush=True)
data, end, sent = bytes(size), time.monotonic() + float(sys.argv[4]), 0
while time.monotonic() < end:
    for s in sockets:
        for _ in range(50):
            try:
                s.send(data)
                sent += 1
            except OSError:
                pass
print(sent)
"""

# Sends without end and reads what comes, over several connections.
TCP_FIREHOSE = """
import select, socket, sys, time
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sockets = [socket.create_connection((host, port)) for _ in range(count)]
for s in sockets:
    s.setblocking(False)
print("begun", flush=True)
data, end, received = bytes(1 << 18), time.monotonic() + float(sys.argv[4]), 0
while time.monotonic() < end:
    readable, writable, _ = select.select(sockets, sockets, [], 0.1)
    for s in readable:
        received += len(s.recv(1 << 18))
    for s in writable:
        try:
            s.send(data)
        except BlockingIOError:
            pass
print(received)
"""


class Flood:
    """A process that floods the daemon for a bounded time; `amount` is what it got through."""

    def __init__(self, program, echod, parameter):
        arguments = [echod.hosts[0], str(echod.port), str(parameter), str(SPELL)]
        self.process = subprocess.Popen([sys.executable, "-c", program] + arguments, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        assert self.process.stdout.readline() == "begun\n"
        return self

    def is_on(self):
        return not select.select([self.process.stdout], [], [], 0)[0]

    def __exit__(self, *_):
        if sys.exc_info()[0]:
            self.process.kill()
        self.amount = self.process.stdout.readline().strip()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def measure(flood, echo, *arguments):
    """The times of as many echoes as there is time for while the flood is on."""
    times = []
    while flood.is_on():
        begin = time.monotonic()
        echo(*arguments)
        times.append(time.monotonic() - begin)
        # At least one echo is checked, even if the flood is over by now.
        assert times[-1] < STARVED, f"one echo took {times[-1]:.2f} s"
        time.sleep(0.002)
    assert times, "the flood was over too soon"
    return times


def report(what, times):
    times.sort()
    note(f"{what}: {len(times)} echoes, median {times[len(times) // 2] * 1000:.2f} ms, worst {times[-1] * 1000:.2f} ms")


def new_connection(echod):
    with echod.connect() as s:
        check_stream(s)


for size in (10, 1400):
    @test(f"TCP echoes flow while UDP is flooded with datagrams of {size} octets, with one worker")
    def _(size=size):
        with Echod(top="workers = 1") as echod, echod.connect() as s:
            with Flood(UDP_FLOOD, echod, size) as flood:
                report("TCP", measure(flood, check_stream, s))
            note(f"{flood.amount} datagrams sent, {echod.counters()['udp_echoes']} echoed")
            wait_for(lambda: echod.counters()["udp_received"] > 0, PATIENCE, "the flood")
            echod.check()


@test("new TCP connections are let in while UDP is flooded, with one worker")
def _():
    with Echod(top="workers = 1") as echod:
        with Flood(UDP_FLOOD, echod, 100) as flood:
            report("connect, echo, close", measure(flood, new_connection, echod))
        note(f"{flood.amount} datagrams sent, {echod.counters()['udp_echoes']} echoed")


@test("UDP echoes flow while TCP clients send without end, with one worker")
def _():
    with Echod(top="workers = 1") as echod, echod.datagrams() as s:
        with Flood(TCP_FIREHOSE, echod, 4) as flood:
            report("UDP", measure(flood, check_datagram, s))
        note(f"{int(flood.amount) / SPELL / 1e6:.0f} MB/s echoed meanwhile")


@test("a client that sends without end does not starve the others, with one worker")
def _():
    with Echod(top="workers = 1") as echod, echod.connect() as s:
        with Flood(TCP_FIREHOSE, echod, 1) as flood:
            report("another connection", measure(flood, check_stream, s))
        note(f"{int(flood.amount) / SPELL / 1e6:.0f} MB/s echoed meanwhile")


@test("among two hundred quiet connections and a noisy one, each quiet one is served in turn, with one worker")
def _():
    with Echod(top="workers = 1") as echod:
        quiet = [echod.connect() for _ in range(200)]
        for s in quiet:
            check_stream(s)
        turn = iter(quiet * 1000)
        with Flood(TCP_FIREHOSE, echod, 1) as flood:
            report("each in turn", measure(flood, lambda: check_stream(next(turn))))
        for s in quiet:
            check_stream(s)
            s.close()


@test("a client that reconnects without end does not starve the others, with one worker")
def _():
    with Echod(top="workers = 1") as echod, echod.connect() as s, echod.datagrams() as udp:
        end = time.monotonic() + SPELL / 2
        count, worst = 0, 0
        while time.monotonic() < end:
            burst = []
            for _ in range(50):
                c = socket.socket()
                c.setblocking(False)
                c.connect_ex((echod.hosts[0], echod.port))
                burst.append(c)
            begin = time.monotonic()
            check_stream(s)
            check_datagram(udp)
            worst = max(worst, time.monotonic() - begin)
            count += 50
            for c in burst:
                c.close()
        note(f"{count} connections, worst {worst * 1000:.2f} ms")
        assert worst < STARVED


if __name__ == "__main__":
    private_network()
    run_all()
