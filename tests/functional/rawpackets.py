#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Mutated raw packets from the neighbour at a running daemon: RAW_PACKETS of them, from RAW_SEED."""

import contextlib
import os
import random
import socket
import struct

from daemon import PATIENCE, SANITIZED, Echod, Neighbour, check_stream, ip, need_ip, private_network
from lib import note, run_all, skip, test, wait_for
from mutating import MUST_NOT, Mutator, is_group

PACKETS = int(os.environ.get("RAW_PACKETS", "20000"))
SEED = int(os.environ.get("RAW_SEED") or random.SystemRandom().randrange(1 << 32))

# Packets between two looks at everything; few enough that no queue overflows.
BATCH = 100

# The client that is served throughout, in the neighbour's namespace.
CLIENT, CLIENT6 = "192.0.2.3", "2001:db8:0:1::3"

CONFIGURATION = f"""
workers = 1
limits {{ table-size = 1024 exempt = {{ "{CLIENT}", "{CLIENT6}" }} }}
"""

MACS = {"us": b"\x02\0\0\0\0\x01", "them": b"\x02\0\0\0\0\x02"}

# <linux/if_packet.h>
PACKET_STATISTICS, PACKET_IGNORE_OUTGOING = 6, 23
SO_RCVBUFFORCE = 33


def accept_everything():
    """Let the kernel drop as little as it can be told to; but for source routes, by which its own answers would take any way."""
    for family, settings in (("ipv4", {"rp_filter": 0, "accept_local": 1, "route_localnet": 1, "accept_redirects": 0,
                                       "accept_source_route": 0}),
                             ("ipv6", {"accept_redirects": 0, "accept_source_route": 0, "accept_ra": 0})):
        for name, value in settings.items():
            for interface in ("all", "near"):
                with open(f"/proc/sys/net/{family}/conf/{interface}/{name}", "w", encoding="ascii") as file:
                    file.write(str(value))


def packet_socket(interface, protocol):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    s.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 25)
    if protocol:
        s.setsockopt(263, PACKET_IGNORE_OUTGOING, 1)  # SOL_PACKET
    s.bind((interface, protocol))
    s.setblocking(False)
    return s


class Attack:
    """A neighbour that sends what a Mutator makes, hears all that comes of it, and has an honest client too."""

    def __init__(self, echod, neighbour, v6):
        self.echod, self.v6 = echod, v6
        self.mutator = Mutator(random.Random(f"{SEED} {v6}"), echod.port, v6)
        self.stack = contextlib.ExitStack()
        self.wire = self.stack.enter_context(neighbour.inside(packet_socket, "far", 0))
        self.ears = [self.stack.enter_context(neighbour.inside(packet_socket, "far", 3)),  # ETH_P_ALL
                     self.stack.enter_context(packet_socket("lo", 3))]
        host, source = ("2001:db8::1", CLIENT6) if v6 else ("192.0.2.1", CLIENT)
        self.datagrams = self.stack.enter_context(neighbour.inside(echod.datagrams, host, source))
        self.stream = self.stack.enter_context(neighbour.inside(echod.connect, host, source))
        self.datagrams.settimeout(1)
        self.sent = self.replies = self.lost = self.number = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stack.close()

    def send(self, packet):
        to_all = is_group(packet[24:40] if self.v6 else packet[16:20])
        header = (b"\xff" * 6 if to_all else MACS["us"]) + MACS["them"] + (b"\x86\xdd" if self.v6 else b"\x08\0")
        # Larger than the cable takes, or nothing at all.
        with contextlib.suppress(OSError):
            self.wire.send(header + packet)
        self.sent += 1

    def check_client(self):
        """What the honest client sends comes back, by both protocols."""
        self.number += 1
        data = b"honest %d" % self.number
        for _ in range(PATIENCE):
            self.datagrams.send(data)
            with contextlib.suppress(TimeoutError, ConnectionRefusedError):
                while self.datagrams.recv(2048) != data:
                    pass
                break
            self.lost += 1
        else:
            raise AssertionError(f"nothing came back in {PATIENCE} s")
        check_stream(self.stream, data)

    def check_frame(self, frame, ethertype):
        """One that left the daemon's host, or that it sent to itself."""
        if ethertype == 0x0800:
            size = 14 + 4 * (frame[14] & 15)
            protocol, source, destination = frame[23], frame[26:30], frame[30:34]
            if struct.unpack_from("!H", frame, 20)[0] & 0x1fff:
                return
        elif ethertype == 0x86dd:
            size, protocol, source, destination = 54, frame[20], frame[22:38], frame[38:54]
        else:
            return
        if protocol not in (6, 17) or len(frame) < size + 8:
            return
        ours, theirs = struct.unpack_from("!HH", frame, size)
        if ours != self.echod.port:
            return
        what = frame.hex()
        assert not frame[0] & 1 and not is_group(destination), f"sent to a group: {what}"
        if protocol == 17:
            self.replies += 1
            assert theirs >= 1024 and theirs != ours, f"sent to port {theirs}: {what}"
            assert not is_group(source), f"sent from a group: {what}"
            assert not frame[size + 8:].startswith(MUST_NOT), f"must not be answered: {what}"
        elif len(frame) >= size + 20 and destination == self.mutator.them:
            seq, ack, offset, flags = struct.unpack_from("!IIBB", frame, size + 4)
            for packet in self.mutator.heard(theirs, flags, seq, ack, len(frame) - size - (offset >> 4) * 4):
                self.send(packet)

    def listen(self):
        for ear in self.ears:
            with contextlib.suppress(BlockingIOError):
                while True:
                    frame, address = ear.recvfrom(65536)
                    self.check_frame(frame, address[1])

    def run(self, make, packets):
        end = self.sent + packets
        while self.sent < end:
            for _ in range(BATCH):
                for packet in make():
                    self.send(packet)
            self.check_client()
            self.listen()
        for ear in self.ears:
            dropped = struct.unpack("II", ear.getsockopt(263, PACKET_STATISTICS, 8))[1]
            assert dropped == 0, f"{dropped} frames were not looked at"


def check_kind(kind, v6):
    need_ip()
    if os.geteuid() != 0:
        skip("needs root, for packet sockets")
    note(f"RAW_PACKETS={PACKETS} RAW_SEED={SEED}")
    with Neighbour() as neighbour, Echod(top=CONFIGURATION, tcp="max-connections = 1000", hosts=("0.0.0.0", "::")) as echod:
        accept_everything()
        neighbour.inside(ip, f"addr add {CLIENT}/32 dev far", f"addr add {CLIENT6}/128 dev far nodad")
        ip(f"neigh replace {CLIENT} lladdr 02:00:00:00:00:02 dev near nud permanent")
        descriptors = echod.descriptors()
        with Attack(echod, neighbour, v6) as attack:
            make = getattr(attack.mutator, kind)
            attack.run(make, PACKETS // 5 // 10)
            memory = echod.rss()
            attack.run(make, PACKETS // 5)
            attack.check_client()
            note(f"{attack.sent} packets, {attack.replies} datagrams echoed, {attack.lost} honest ones lost on the way, "
                 f"{(counters := echod.counters())['tcp_accepted']} connections with {counters['tcp_octets']} octets; "
                 f"memory {memory >> 10} to {echod.rss() >> 10} KiB")
            grown = echod.rss() - memory
        echod.change(tcp="idle-timeout = 1")
        wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "all connections to end")
        wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, "all descriptors to be closed")
        echod.change(tcp="")
        assert SANITIZED or grown < 8 << 20, f"{grown} octets of memory were not given back"
        with Attack(echod, neighbour, v6) as again:
            again.check_client()


for name, family in (("IPv4", False), ("IPv6", True)):
    @test(f"mutated UDP over {name}: no reply where none must be, and all is as before")
    def _(family=family):
        check_kind("udp", family)

    @test(f"mutated TCP over {name}: the daemon and its clients do not notice")
    def _(family=family):
        check_kind("tcp", family)


@test("ICMP errors about whatever the daemon may have sent: neither")
def _():
    check_kind("icmp", False)


if __name__ == "__main__":
    private_network()
    run_all()
