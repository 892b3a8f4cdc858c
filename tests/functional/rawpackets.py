#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Mutated raw packets from the neighbour at a running daemon: RAW_PACKETS of them, from RAW_SEED.

They are UDP over IPv4 and IPv6, and ICMP errors. There are no TCP segments: the kernel alone judges those."""

import contextlib
import ipaddress
import os
import random
import socket
import struct

from daemon import PATIENCE, SANITIZED, Echod, Neighbour, check_stream, ip, need_ip, private_network
from forge import checksum
from lib import note, run_all, skip, test, wait_for

PACKETS = int(os.environ.get("RAW_PACKETS", "12000"))
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


# ---- what is sent ----

US, US6 = "192.0.2.1", "2001:db8::1"

# What a datagram's payload begins with.
MUST_NOT = b"no"  # be answered
MAY = b"ok"       # for all that is known of it

# What becomes of a mutated packet.
WHOLE, LOST, ANYTHING = range(3)

_FINE = ["198.51.100.66", "198.51.100.67", "203.0.113.9"]
_FINE6 = ["2001:db8:f::66", "2001:db8:f::67", "2001:db8:e::9"]
_BAD = ["0.0.0.0", "255.255.255.255", "224.0.0.1", "239.255.255.250", "192.0.2.255"]
_BAD6 = ["::", "ff02::1", "ff0e::7"]
_ODD = [US, "127.0.0.1", "127.8.9.10", "169.254.9.9", "240.0.0.1", "10.0.0.0"]
_ODD6 = [US6, "::1", "fe80::2", "fe80::1", "::ffff:198.51.100.66", "::ffff:192.0.2.1", "::198.51.100.66", "2002:c000:201::1"]
_GROUPS = ["192.0.2.255", "255.255.255.255", "224.0.0.1", "239.1.2.3"]
_GROUPS6 = ["ff02::1", "ff01::1", "ff0e::7"]


def packed(*addresses):
    return [ipaddress.ip_address(address).packed for address in addresses]


_EVERYBODY = set(packed("0.0.0.0", "192.0.2.255", "255.255.255.255", "::"))


def is_group(address):
    """True if the packed address is unspecified, broadcast or multicast."""
    return address in _EVERYBODY or (224 <= address[0] < 240 if len(address) == 4 else address[:1] == b"\xff")


class Mutator:
    """Makes packets for a daemon on that port, from one random.Random."""

    def __init__(self, random, port, v6):
        self.random, self.port, self.v6 = random, port, v6
        self.us, = packed(US6 if v6 else US)
        self.fine, self.bad, self.odd, self.groups = (
            packed(*which) for which in ((_FINE6, _BAD6, _ODD6, _GROUPS6) if v6 else (_FINE, _BAD, _ODD, _GROUPS)))

    # -- addresses and ports --

    def _source(self):
        """And whether it must not be answered."""
        dice = self.random.random()
        if dice < 0.6:
            return self.random.choice(self.fine), False
        if dice < 0.8:
            return self.random.choice(self.bad), True
        return self.random.choice(self.odd), False

    def _destination(self):
        dice = self.random.random()
        if dice < 0.8:
            return self.us, False
        if dice < 0.95:
            return self.random.choice(self.groups), True
        return self.random.choice(self.odd), False

    def _source_port(self):
        dice = self.random.random()
        if dice < 0.7:
            return self.random.randrange(1024, 65536)
        if dice < 0.9:
            return self.random.choice((0, 7, 19, 53, 123, 1023))
        return self.port

    # -- IP --

    def _sum(self, source, destination, protocol, segment):
        return checksum(source + destination + struct.pack("!IxxxB", len(segment), protocol) + segment)

    def _wrong(self, value):
        """Another checksum; not 0, which is none."""
        return value ^ 0x0f0f if value not in (0x0f0f, 0xf0f0) else 0x1234

    def _ip(self, source, destination, protocol, data, options=b"", fragment=0, identity=None):
        if self.v6:
            return (struct.pack("!IHBB", 6 << 28 | self.random.getrandbits(28), len(data), protocol,
                                self.random.choice((1, 64, 64, 255))) + source + destination + data)
        length = 20 + len(options)
        header = bytearray(struct.pack("!BBHHHBBH", 4 << 4 | length // 4, self.random.getrandbits(8), length + len(data),
                                       self.random.getrandbits(16) if identity is None else identity, fragment,
                                       self.random.choice((1, 64, 64, 255)), protocol, 0) + source + destination + options)
        header[10:12] = struct.pack("!H", checksum(bytes(header)))
        return bytes(header) + data

    def _options(self):
        """IPv4 options, right and wrong."""
        kind = self.random.choice((0, 1, 7, 68, 131, 137, 148, 130, 134, 255))
        octets = bytes([kind, self.random.choice((0, 1, 3, 4, 7, 11, 39, 40, 255)), self.random.getrandbits(8)])
        octets += self.random.randbytes(self.random.randrange(0, 37))
        return octets + bytes(-len(octets) % 4)

    def _extend(self, source, destination, protocol, data):
        """IPv6 extension headers in any order and number (RFC 8200 4)."""
        for _ in range(self.random.randrange(1, 5)):
            kind = self.random.choice((0, 43, 44, 51, 60, 135, 139, 140, 253))
            size = self.random.choice((0, 0, 1, 2, 31))
            body = bytearray(self.random.randbytes(6 + 8 * size))
            if kind == 44:
                size, body = 0, bytearray(struct.pack("!HI", self.random.choice((0, 1, 8, 9, 65528)), self.random.getrandbits(32)))
            elif kind in (0, 60):
                # Mostly well-formed: padding, or an option that may be skipped.
                body[0:2] = self.random.choice((b"\x01", b"\x05", b"\xc2", b"\x1e", b"\x9e")) + bytes([len(body) - 2 & 255])
            elif kind == 43:
                body[0:2] = bytes([self.random.choice((0, 2, 3, 4)), self.random.choice((0, 1, 255))])
            data = bytes([protocol, size]) + bytes(body) + data
            protocol = kind
        return self._ip(source, destination, protocol, data)

    def _fragments(self, source, destination, protocol, data):
        """With pieces that are missing, overlap, or are too long; the packets, and what becomes of them."""
        identity, size = self.random.getrandbits(32), 8 * self.random.randrange(1, 64)
        pieces = [(at, data[at:at + size], at + size < len(data)) for at in range(0, len(data), size)]
        how = self.random.randrange(5)
        fate = WHOLE
        if how == 0 and len(pieces) > 1:
            fate = LOST
            del pieces[self.random.randrange(len(pieces))]
        elif how == 1:
            fate = ANYTHING
            at, piece, more = self.random.choice(pieces)
            pieces.append((max(0, at - 8), self.random.randbytes(len(piece)), more))
        elif how == 2:
            pieces.append((65528, self.random.randbytes(64), False))
        elif how == 3:
            self.random.shuffle(pieces)
        packets = []
        for at, piece, more in pieces:
            if self.v6:
                header = bytes([protocol, 0]) + struct.pack("!HI", at | more, identity)
                packets.append(self._ip(source, destination, 44, header + piece))
            else:
                packets.append(self._ip(source, destination, protocol, piece, fragment=at // 8 | more << 13,
                                        identity=identity & 0xffff))
        return packets, fate

    def _damage(self, packet):
        """Any octets changed, the end cut off or drawn out."""
        packet = bytearray(packet)
        for _ in range(self.random.randrange(0, 4)):
            packet[self.random.randrange(len(packet))] = self.random.getrandbits(8)
        how = self.random.randrange(4)
        if how == 0:
            del packet[self.random.randrange(len(packet)):]
        elif how == 1:
            packet += self.random.randbytes(self.random.randrange(1, 64))
        elif how == 2 and not self.v6 and len(packet) >= 20:
            # The checksum of the header is right, as a router would have made it.
            size = min(4 * (packet[0] & 15), len(packet))
            packet[10:12] = b"\0\0"
            packet[10:12] = struct.pack("!H", checksum(bytes(packet[:size])))
        return bytes(packet)

    def _mutate(self, source, destination, protocol, segment):
        """Some packets around a segment, and what becomes of them."""
        dice = self.random.random()
        if dice < 0.35:
            return [self._ip(source, destination, protocol, segment)], WHOLE
        if dice < 0.55:
            return self._fragments(source, destination, protocol, segment)
        if dice < 0.75:
            if self.v6:
                return [self._extend(source, destination, protocol, segment)], WHOLE
            return [self._ip(source, destination, protocol, segment, self._options())], WHOLE
        packet = self._ip(source, destination, protocol, segment)
        if dice < 0.8:
            # IPv4: the checksum of the header. IPv6: the version.
            packet = bytearray(packet)
            packet[0 if self.v6 else 11] ^= 0x10
            return [bytes(packet)], LOST
        return [self._damage(packet)], ANYTHING

    # -- protocols --

    def udp(self):
        """The packets of one datagram, which may be broken."""
        (source, no_reply), (destination, group) = self._source(), self._destination()
        port = self._source_port()
        forbidden = no_reply or group or port < 1024 or port == self.port
        state = self.random.getstate()
        for marker in (MAY, MUST_NOT):
            # Whether it can arrive is known only when it is made; it is then made again, the same but for the marker.
            self.random.setstate(state)
            payload = marker + self.random.randbytes(self.random.choice((0, 1, 16, 100, 500, 1200)))
            length = 8 + len(payload)
            broken = self.random.random()
            if broken < 0.05:
                length = self.random.choice((0, 7, length + 1, 65535))
            header = struct.pack("!HHH", port, self.port, length)
            total = self._sum(source, destination, 17, header + b"\0\0" + payload)
            if 0.05 <= broken < 0.1:
                total = self._wrong(total)
            elif 0.1 <= broken < 0.15:
                total = 0
            packets, fate = self._mutate(source, destination, 17, header + struct.pack("!H", total) + payload)
            if marker == MAY and (fate == ANYTHING or not (forbidden or fate == LOST or 0.05 <= broken < 0.1)):
                break
        return packets

    def icmp(self):
        """An error that is said to concern a packet of the daemon's."""
        protocol = self.random.choice((6, 17))
        port = self._source_port()
        quoted = self._ip(self.us, self.random.choice(self.fine), protocol,
                          struct.pack("!HHIII", self.port, port, self.random.getrandbits(32), 0, 0x50100000))
        quoted = quoted[:self.random.choice((0, 8, 20, 28, 40, 48, 60))]
        kind = self.random.choice((1, 2, 3, 4, 100) if self.v6 else (3, 3, 4, 11, 12))
        header = struct.pack("!BBHI", kind, self.random.randrange(16), 0, self.random.choice((0, 68, 552, 1280, 65536)))
        number = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        source = self.random.choice(self.fine)
        total = self._sum(source, self.us, number, header + quoted) if self.v6 else checksum(header + quoted)
        return self._mutate(source, self.us, number, header[:2] + struct.pack("!H", total) + header[4:] + quoted)[0]


# ---- the neighbour that sends them ----

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
        if protocol != 17 or len(frame) < size + 8:
            return
        ours, theirs = struct.unpack_from("!HH", frame, size)
        if ours != self.echod.port:
            return
        what = frame.hex()
        assert not frame[0] & 1 and not is_group(destination), f"sent to a group: {what}"
        self.replies += 1
        assert theirs >= 1024 and theirs != ours, f"sent to port {theirs}: {what}"
        assert not is_group(source), f"sent from a group: {what}"
        assert not frame[size + 8:].startswith(MUST_NOT), f"must not be answered: {what}"

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
    with Neighbour() as neighbour, Echod(top=CONFIGURATION, hosts=("0.0.0.0", "::")) as echod:
        accept_everything()
        neighbour.inside(ip, f"addr add {CLIENT}/32 dev far", f"addr add {CLIENT6}/128 dev far nodad")
        ip(f"neigh replace {CLIENT} lladdr 02:00:00:00:00:02 dev near nud permanent")
        descriptors = echod.descriptors()
        with Attack(echod, neighbour, v6) as attack:
            make = getattr(attack.mutator, kind)
            attack.run(make, PACKETS // 3 // 10)
            memory = echod.rss()
            attack.run(make, PACKETS // 3)
            attack.check_client()
            note(f"{attack.sent} packets, {attack.replies} datagrams echoed, {attack.lost} honest ones lost on the way, "
                 f"memory {memory >> 10} to {echod.rss() >> 10} KiB")
            grown = echod.rss() - memory
        wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "all connections to end")
        wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, "all descriptors to be closed")
        assert SANITIZED or grown < 8 << 20, f"{grown} octets of memory were not given back"
        with Attack(echod, neighbour, v6) as again:
            again.check_client()


for name, family in (("IPv4", False), ("IPv6", True)):
    @test(f"mutated UDP over {name} gets no reply where none must be, and honest clients are served")
    def _(family=family):
        check_kind("udp", family)


@test("ICMP errors about whatever the daemon may have sent disturb no client")
def _():
    check_kind("icmp", False)


if __name__ == "__main__":
    private_network()
    run_all()
