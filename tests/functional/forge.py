# SPDX-License-Identifier: ISC
"""Datagrams with any source address. Needs CAP_NET_RAW."""

import socket
import struct

UDP_HEADER = 8


def checksum(data):
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff or 0xffff


def forge(source, destination, payload=b"forged"):
    """A datagram that claims to be from source, (host, port)."""
    v6 = ":" in source[0]
    family = socket.AF_INET6 if v6 else socket.AF_INET
    addresses = socket.inet_pton(family, source[0]) + socket.inet_pton(family, destination[0])
    length = UDP_HEADER + len(payload)
    header = struct.pack("!HHH", source[1], destination[1], length)
    pseudo = addresses + struct.pack("!IxxxB", length, socket.IPPROTO_UDP)
    udp = header + struct.pack("!H", checksum(pseudo + header + b"\0\0" + payload)) + payload
    if v6:
        packet = struct.pack("!IHBB", 6 << 28, length, socket.IPPROTO_UDP, 64) + addresses + udp
    else:
        packet = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + udp
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as s:
        s.sendto(packet, (destination[0], 0))
