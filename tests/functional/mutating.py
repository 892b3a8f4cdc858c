# SPDX-License-Identifier: ISC
"""Packets that no sane host sends: UDP, TCP and ICMP over IPv4 and IPv6, mutated by a seeded generator."""

import ipaddress
import socket
import struct

from forge import checksum

US, THEM = "192.0.2.1", "198.51.100.66"
US6, THEM6 = "2001:db8::1", "2001:db8:f::66"

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
    """A packed one: nobody, everybody or many."""
    return address in _EVERYBODY or (224 <= address[0] < 240 if len(address) == 4 else address[:1] == b"\xff")


class Mutator:
    """An endless supply of batches of packets for a daemon on that port, all from one random.Random."""

    def __init__(self, random, port, v6):
        self.random, self.port, self.v6 = random, port, v6
        self.us, = packed(US6 if v6 else US)
        self.them, = packed(THEM6 if v6 else THEM)
        self.fine, self.bad, self.odd, self.groups = (
            packed(*which) for which in ((_FINE6, _BAD6, _ODD6, _GROUPS6) if v6 else (_FINE, _BAD, _ODD, _GROUPS)))
        # Connections that began: our port, our next sequence number, theirs.
        self.connections = []

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
            # As a router would have made it: whatever is in it, its own checksum is right.
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
        """Packets that make one datagram, or do not."""
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

    def _tcp_options(self):
        """Up to 40 octets; most of them make no sense."""
        octets = b""
        while len(octets) < 40 and self.random.random() < 0.6:
            kind = self.random.choice((0, 1, 2, 3, 4, 5, 8, 14, 19, 28, 29, 30, 34, 254))
            size = self.random.choice((0, 1, 2, 3, 4, 10, 18, 40, 255))
            octets += bytes([kind, size]) + self.random.randbytes(max(0, min(size, 40) - 2))
        octets = octets[:40]
        return octets + bytes(-len(octets) % 4)

    def _segment(self, port, seq, ack, flags, data=b"", urgent=0):
        options = self._tcp_options() if self.random.random() < 0.3 else b""
        size = 5 + len(options) // 4
        if self.random.random() < 0.03:
            size = self.random.randrange(16)
        header = struct.pack("!HHIIBBHHH", port, self.port, seq & 0xffffffff, ack & 0xffffffff, size << 4, flags,
                             self.random.choice((0, 1, 1000, 65535)), 0, urgent) + options
        total = self._sum(self.them, self.us, 6, header + data)
        if self.random.random() < 0.03:
            total = self._wrong(total)
        return header[:16] + struct.pack("!H", total) + header[18:] + data

    def heard(self, port, flags, seq, ack, size):
        """The daemon sent that many octets to a port of ours. What there is to say to it."""
        connection = next((c for c in self.connections if c[0] == port), None)
        if flags & 0x12 == 0x12 and not connection:
            self.connections.append([port, ack, seq + 1])
            packets = [self._ip(self.them, self.us, 6, self._segment(port, ack, seq + 1, 0x10))]
            if len(self.connections) > 64:
                old, own, their = self.connections.pop(0)
                packets.append(self._ip(self.them, self.us, 6, self._segment(old, own, their, 0x14)))
            return packets
        if connection and self.random.random() < 0.5:
            connection[2] = seq + size
        return []

    def tcp(self):
        """A segment of some connection, or of none."""
        if self.random.random() < (0.4 if len(self.connections) < 32 else 0.1) or not self.connections:
            (source, _), (destination, _) = self._source(), self._destination()
            flags = self.random.choice((0x02, 0x02, 0x02, self.random.getrandbits(8)))
            segment = self._segment(self._source_port(), self.random.getrandbits(32), self.random.getrandbits(32), flags)
            if flags == 0x02 or self.random.random() < 0.5:
                source, destination = self.them, self.us
            return self._mutate(source, destination, 6, segment)[0]
        connection = self.random.choice(self.connections)
        port, seq, ack = connection
        data = self.random.randbytes(self.random.choice((0, 1, 10, 500, 1300)))
        flags = self.random.choice((0x18, 0x18, 0x38, 0x19, 0x14, 0x11, 0xff, 0x00, self.random.getrandbits(8)))
        dice = self.random.random()
        if dice < 0.5:
            connection[1] += len(data)
        elif dice < 0.8:
            seq += self.random.choice((-1000, -1, 1, 1000, 1 << 20, 1 << 31))
        else:
            ack += self.random.choice((-1, 1, 1 << 16, 1 << 31))
        return self._mutate(self.them, self.us, 6,
                            self._segment(port, seq, ack, flags, data, self.random.choice((0, 1, 2, 500, 65535))))[0]

    def icmp(self):
        """An error that is said to concern a packet of the daemon's."""
        protocol = self.random.choice((6, 17))
        port = self.random.choice(self.connections)[0] if self.connections else self._source_port()
        quoted = self._ip(self.us, self.random.choice(self.fine), protocol,
                          struct.pack("!HHIII", self.port, port, self.random.getrandbits(32), 0, 0x50100000))
        quoted = quoted[:self.random.choice((0, 8, 20, 28, 40, 48, 60))]
        kind = self.random.choice((1, 2, 3, 4, 100) if self.v6 else (3, 3, 4, 11, 12))
        header = struct.pack("!BBHI", kind, self.random.randrange(16), 0, self.random.choice((0, 68, 552, 1280, 65536)))
        number = socket.IPPROTO_ICMPV6 if self.v6 else socket.IPPROTO_ICMP
        source = self.random.choice(self.fine)
        total = self._sum(source, self.us, number, header + quoted) if self.v6 else checksum(header + quoted)
        return self._mutate(source, self.us, number, header[:2] + struct.pack("!H", total) + header[4:] + quoted)[0]
