# SPDX-License-Identifier: ISC
"""UDP: each datagram goes back whole, from the address that it was sent to, and only to sources that may be answered."""

import errno
import os
import signal
import socket
import struct

from daemon import (HOSTS, PATIENCE, SAME_USER, Addresses, Echod, Neighbour, check_datagram, ip, need_ip, need_ipv6,
                    need_private_network, plural, private_network)
from forge import UDP_HEADER, forge
from lib import free_port, note, run_all, skip, test, wait_for
from service import ACTIVATED, need_own_sockets

ANY = ("0.0.0.0", "::")


def largest(host):
    """RFC 768 Length less its header, and less the IPv4 header, which that protocol's own length includes."""
    return 65535 - UDP_HEADER - (0 if ":" in host else 20)


def need_family(host):
    if ":" in host:
        need_ipv6()


def check_replies(s, sent):
    """All datagrams come back; in the order of sending, unless several workers share the socket."""
    got = [s.recv(65536) for _ in sent]
    assert sorted(got) == sorted(sent) if ACTIVATED else got == sent, got


def check_refused(echod, counter, send, count=1):
    """What `send` sends is received, counted there, and not answered."""
    before = echod.settled()
    send()
    echod.wait_counter(counter, before[counter] + count)
    after = echod.settled()
    assert after["udp_received"] == before["udp_received"] + count
    assert after["udp_echoes"] == before["udp_echoes"], "a reply was sent"


# ---- whole and equal ----

for host in HOSTS:
    @test(f"datagrams of 0 to 2048 octets, of sizes around every usual buffer, and the largest come back whole from {host}")
    def _(host=host):
        need_family(host)
        sizes = [size for buffer in (4096, 8192, 16384, 32768) for size in (buffer - 1, buffer, buffer + 1)]
        noise = os.urandom(65536)
        with Echod() as echod, echod.datagrams(host) as s:
            for size in [*range(2049), *sizes, 65000, largest(host) - 1, largest(host)]:
                check_datagram(s, noise[size % 7:size % 7 + size])

    @test(f"one octet more than the largest datagram is EMSGSIZE to a client of {host}, and harms nobody")
    def _(host=host):
        need_family(host)
        with Echod() as echod, echod.datagrams(host) as s:
            try:
                s.send(bytes(largest(host) + 1))
                raise AssertionError("the kernel took it")
            except OSError as error:
                assert error.errno == errno.EMSGSIZE
            check_datagram(s)

    @test(f"bursts of 250 datagrams of different sizes come back whole from {host}")
    def _(host=host):
        need_family(host)
        with Echod() as echod, echod.datagrams(host) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            for burst in range(4):
                sent = [b"%d:%d:" % (burst, n) + bytes([n % 256]) * (n * 37 % 200) for n in range(250)]
                for data in sent:
                    s.send(data)
                assert sorted(s.recv(65536) for _ in sent) == sorted(sent)


@test("each of 50 clients that send bursts at once gets its own datagrams back, with one worker and with two")
def _():
    for workers in (1, 2):
        with Echod(top=f"workers = {workers}") as echod:
            clients = [echod.datagrams() for _ in range(50)]
            for turn in range(5):
                for n, s in enumerate(clients):
                    s.send(b"%d of client %d" % (turn, n))
            for n, s in enumerate(clients):
                assert {s.recv(100) for _ in range(5)} == {b"%d of client %d" % (turn, n) for turn in range(5)}
                s.close()
            echod.wait_counter("udp_echoes", 250)


@test("an empty datagram between others is echoed as an empty datagram")
def _():
    with Echod() as echod, echod.datagrams() as s:
        for data in (b"before", b"", b"", b"after"):
            s.send(data)
        check_replies(s, [b"before", b"", b"", b"after"])


@test("every datagram and octet over UDP is counted")
def _():
    with Echod() as echod, echod.datagrams() as s:
        for size in (0, 1, 1000):
            check_datagram(s, bytes(size))
        counters = echod.wait_counter("udp_octets", 1001)
        assert (counters["udp_received"], counters["udp_echoes"]) == (3, 3)


# ---- from the address that was asked ----

@test("a wildcard socket answers from the loopback address that was asked")
def _():
    with Echod(hosts=("0.0.0.0",)) as echod:
        for host in ("127.0.0.1", "127.0.0.2", "127.200.3.4"):
            echod.check_udp(host)


@test("a wildcard socket answers from whichever of the host's addresses was asked")
def _():
    addresses = ("192.0.2.1", "192.0.2.2", "198.51.100.1", "2001:db8::1", "2001:db8::2", "2001:db8:1::1")
    with Addresses(*(a + ("/64" if ":" in a else "/24") for a in addresses)), Echod(hosts=ANY) as echod:
        for host in addresses:
            echod.check_udp(host)
        echod.check_udp("192.0.2.2", source="198.51.100.1")
        echod.check_udp("2001:db8::2", source="2001:db8:1::1")


@test("a neighbour's datagrams to any of the host's addresses are answered from it")
def _():
    with Neighbour() as neighbour, Addresses("198.51.100.1/32", "2001:db8:1::1/128"), Echod(hosts=ANY) as echod:
        for host in ("192.0.2.1", "198.51.100.1", "2001:db8::1", "2001:db8:1::1"):
            with neighbour.inside(echod.datagrams, host) as s:
                check_datagram(s)


for listen in ("::", "fe80::1%near"):
    @test(f"a datagram to a link-local address is answered through its interface, by a socket of {listen}")
    def _(listen=listen):
        with Neighbour() as neighbour, Echod(hosts=(listen,)) as echod:
            with neighbour.inside(echod.datagrams, "fe80::1%far") as s:
                check_datagram(s)
                check_datagram(s, bytes(9000))


@test("a TCP client of a link-local address gets its echo")
def _():
    with Neighbour() as neighbour, Echod(hosts=("fe80::1%near",)) as echod:
        neighbour.inside(echod.check_tcp, "fe80::1%far")


# ---- what was sent to a group ----

GROUPS = {
    "to 127.255.255.255": (None, "0.0.0.0", "127.255.255.255", "127.0.0.1"),
    "to the subnet's broadcast address": ("far", "0.0.0.0", "192.0.2.255", "192.0.2.1"),
    "to 255.255.255.255": ("far", "0.0.0.0", "255.255.255.255", "192.0.2.1"),
    "to 224.0.0.1, all systems": ("far", "0.0.0.0", "224.0.0.1", "192.0.2.1"),
    "to ff02::1, all nodes": ("far", "::", "ff02::1", "fe80::1"),
}


def group_client(interface, group):
    family = socket.AF_INET6 if ":" in group else socket.AF_INET
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.settimeout(PATIENCE)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    if interface and ":" in group:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, socket.if_nametoindex(interface))
        s.bind(("fe80::2", 0, 0, socket.if_nametoindex(interface)))
    elif interface:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("192.0.2.2"))
        s.bind(("192.0.2.2", 0))
    return s


def check_group(echod, s, group, answer):
    ask = lambda data: s.sendto(data, (group, echod.port))
    ask(b"refused")
    wait_for(lambda: echod.counters()["udp_refused_group"] > 0, PATIENCE, "the datagram to be refused")
    assert "answer-broadcast" in echod.change(udp="answer-broadcast = true")
    for n in range(10):
        ask(b"%d" % n)
        data, source = s.recvfrom(100)
        assert data == b"%d" % n, f"{data} came back a second time"
        assert source[0].partition("%")[0] == answer and source[1] == echod.port, source
    # A reload visits each worker in turn: after two reloads every worker has served its socket.
    echod.reload()
    echod.reload()
    assert echod.counters()["udp_echoes"] == 10


for name, (interface, listen, group, answer) in GROUPS.items():
    for workers in (1, 2):
        @test(f"a datagram {name} is not answered, unless answer-broadcast = true: then once, "
              f"from a unicast address; {plural(workers, 'worker')}")
        def _(interface=interface, listen=listen, group=group, answer=answer, workers=workers):
            with Neighbour() as neighbour, Echod(top=f"workers = {workers}", hosts=(listen,)) as echod:
                make = neighbour.inside if interface else lambda function, *arguments: function(*arguments)
                with make(group_client, interface, group) as s:
                    check_group(echod, s, group, answer)


# ---- who is never answered ----

@test("source port 0 is not answered")
def _():
    need_private_network()
    with Echod() as echod:
        for host in HOSTS:
            check_refused(echod, "udp_refused_port", lambda: forge((host, 0), (host, echod.port)))
        echod.check()


@test("source ports below 1024 are not answered by default, and refuse-source-ports changes which are")
def _():
    need_private_network()
    with Echod() as echod, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as low, echod.datagrams() as high:
        low.settimeout(PATIENCE)
        low.bind(("127.0.0.1", 1023))
        low.connect(("127.0.0.1", echod.port))
        check_refused(echod, "udp_refused_port", lambda: low.send(b"low"))
        echod.change(udp="refuse-source-ports = {}")
        check_datagram(low)
        port = high.getsockname()[1]
        echod.change(udp=f'refuse-source-ports = {{ "7", "{port}-{port}" }}')
        check_datagram(low)
        check_refused(echod, "udp_refused_port", lambda: high.send(b"high"))
        echod.change(udp='refuse-source-ports = { "1-1023" }')
        check_datagram(high)


@test("a datagram from the daemon's own port is not answered, whatever refuse-source-ports says")
def _():
    with Echod(udp="refuse-source-ports = {}") as echod, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.2", echod.port))
        check_refused(echod, "udp_refused_port", lambda: s.sendto(b"from an echo", ("127.0.0.1", echod.port)))


@test("a datagram from a port that another socket of the daemon listens on is not answered")
def _():
    need_own_sockets()
    with Echod(udp="refuse-source-ports = {}") as echod, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        other = probe.getsockname()[1]
        check = lambda: probe.sendto(b"?", ("127.0.0.1", echod.port))
        echod.reload_text(f'tcp {{ listen = {{ "127.0.0.1:{other}" }} }}\n'
                          'udp { listen = { "127.0.0.1:PORT" } refuse-source-ports = {} }')
        check_refused(echod, "udp_refused_port", check)
        echod.hosts = ("127.0.0.1",)
        echod.change(udp="refuse-source-ports = {}")
        probe.settimeout(PATIENCE)
        check()
        assert probe.recv(10) == b"?"


for host in HOSTS:
    @test(f"a datagram forged to come from the daemon itself, at {host}, gets no reply")
    def _(host=host):
        need_private_network()
        need_family(host)
        with Echod(hosts=(host,)) as echod:
            check_refused(echod, "udp_refused_port", lambda: forge((host, echod.port), (host, echod.port)))
            echod.check()
            echod.wait_counter("udp_echoes", 1)


@test("forged broadcast and multicast sources are not answered")
def _():
    need_private_network()
    with Echod() as echod:
        for source in ("255.255.255.255", "224.0.0.1"):
            before = echod.counters()
            try:
                forge((source, 5000), ("127.0.0.1", echod.port))
            except OSError as error:
                note(f"{source}: the kernel does not even send it: {error}")
            echod.check()
            # What else arrived was refused.
            after = echod.wait_counter("udp_echoes", before["udp_echoes"] + 2)
            note(f"{source}: {after['udp_refused_other'] - before['udp_refused_other']} refused")


# ---- type of service ----

RECEIVE_TOS = {False: (socket.IPPROTO_IP, socket.IP_TOS, socket.IP_RECVTOS),
               True: (socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS)}


def echoed_tos(s, tos):
    """Send a request with this ToS. Returns the ToS of the reply."""
    level, option, receive_option = RECEIVE_TOS[s.family == socket.AF_INET6]
    s.setsockopt(level, receive_option, 1)
    s.setsockopt(level, option, tos)
    s.send(b"tos")
    _, control, _, _ = s.recvmsg(100, 100)
    found = [data for got_level, got_type, data in control if (got_level, got_type) == (level, option)]
    assert len(found) == 1, control
    return int.from_bytes(found[0][:4], "little") if len(found[0]) > 1 else found[0][0]


for host in HOSTS:
    @test(f"the reply of {host} carries the request's DSCP, without its ECN bits; with reflect-tos = false neither")
    def _(host=host):
        need_family(host)
        with Echod(hosts=(host,)) as echod, echod.datagrams() as s:
            for dscp in (0, 46 << 2, 8 << 2, 63 << 2):
                for ecn in range(4):
                    assert echoed_tos(s, dscp | ecn) == dscp, (dscp, ecn)
            assert "reflect-tos" in echod.change(udp="reflect-tos = false")
            assert echoed_tos(s, 46 << 2) == 0
            echod.change(udp="")
            assert echoed_tos(s, 46 << 2) == 46 << 2


@test("datagrams of one burst each get their own ToS back")
def _():
    with Echod() as echod, echod.datagrams() as s:
        s.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        for n in range(30):
            s.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, n % 3 * 32)
            s.send(b"%d" % n)
        for _ in range(30):
            data, control, _, _ = s.recvmsg(100, 100)
            assert control[0][2][0] == int(data) % 3 * 32


# ---- fragments ----

@test("replies may be fragmented on their way: DF is not set")
def _():
    need_private_network()
    with Echod() as echod, echod.datagrams() as s, \
         socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP) as tap:
        tap.settimeout(PATIENCE)
        check_datagram(s, bytes(100))
        while True:
            packet = tap.recv(65536)
            source, = struct.unpack_from("!H", packet, (packet[0] & 15) * 4)
            if source == echod.port:
                break
        flags, = struct.unpack_from("!H", packet, 6)
        assert flags & 0x4000 == 0


@test("the largest datagrams come back through a link of 1280 octets")
def _():
    with Neighbour(mtu=1280) as neighbour, Echod(hosts=ANY) as echod:
        for host in ("192.0.2.1", "2001:db8::1"):
            with neighbour.inside(echod.datagrams, host) as s:
                for size in (1, 1252, 1253, 4000, largest(host)):
                    check_datagram(s, os.urandom(size))


# ---- segments ----

SOL_UDP, UDP_SEGMENT = 17, 103


def send_segments(s, data, size):
    """Send the data in one call as datagrams of `size` octets; the last may be shorter."""
    try:
        s.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))])
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EIO):
            skip(f"no UDP_SEGMENT: {error}")
        raise


def check_segments(s, data, size):
    send_segments(s, data, size)
    for at in range(0, len(data), size):
        assert s.recv(65536) == data[at:at + size], f"segment at {at} of {len(data)}, {size} each"


def check_silence(s):
    s.setblocking(False)
    try:
        raise AssertionError(f"{len(s.recv(65536))} octets more")
    except BlockingIOError:
        s.settimeout(PATIENCE)


for host in HOSTS:
    @test(f"what is sent to {host} in segments (UDP_SEGMENT) comes back as datagrams of the same number and sizes")
    def _(host=host):
        need_family(host)
        noise = os.urandom(65536)
        # Several that share a socket may answer in another order.
        with Echod(hosts=(host,), top="workers = 1") as echod, echod.datagrams(host) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            datagrams = octets = 0
            for size in (1, 2, 63, 64, 100, 1000, 1472, 1473, 4096, 16000, 32753):
                most = min(64 * size, largest(host))
                for length in {size + 1, 2 * size - 1, 2 * size, 2 * size + 1, most - 1, most}:
                    check_segments(s, noise[size % 7:size % 7 + length], size)
                    datagrams += -(-length // size)
                    octets += length
            check_datagram(s)
            check_silence(s)
            counters = echod.wait_counter("udp_octets", octets + 5)
            assert (counters["udp_received"], counters["udp_echoes"]) == (datagrams + 1, datagrams + 1), counters


@test("segments of several clients and datagrams between them go back each to its own")
def _():
    with Echod(top="workers = 1") as echod:
        clients = [echod.datagrams() for _ in range(5)]
        echod.kill(signal.SIGSTOP)
        for turn in range(4):
            for n, s in enumerate(clients):
                send_segments(s, bytes([n] * 1000), 90)
                s.send(bytes([n] * 90))
                s.send(bytes([n] * turn))
        echod.kill(signal.SIGCONT)
        for n, s in enumerate(clients):
            got = [s.recv(1000) for _ in range(4 * 14)]
            assert got == [bytes([n] * size) for turn in range(4) for size in [90] * 11 + [10, 90, turn]]
            check_silence(s)
            s.close()
        echod.wait_counter("udp_echoes", 5 * 4 * 14)


@test("segments come back through links of any MTU, whole or, where the way back is narrower, in fragments")
def _():
    noise = os.urandom(65536)
    for mtu in (1280, 1500, 9000):
        with Neighbour(mtu=mtu) as neighbour, Echod(hosts=ANY, top="workers = 1") as echod:
            for host in ("192.0.2.1", "2001:db8::1"):
                fits = mtu - UDP_HEADER - (40 if ":" in host else 20)
                with neighbour.inside(echod.datagrams, host) as s:
                    for size in (100, 1233, fits - 1, fits):
                        if size <= fits:
                            for count in (2, 6):
                                check_segments(s, noise[:size * count - 1], size)
                    check_silence(s)
            counters = echod.settled()
            assert counters["udp_failed"] == 0 and counters["udp_echoes"] == counters["udp_received"], counters
    with Neighbour(mtu=9000) as neighbour, Echod(hosts=ANY, top="workers = 1") as echod:
        ip("route add 192.0.2.2/32 dev near mtu 1300", "route add 2001:db8::2/128 dev near mtu 1300")
        for host in ("192.0.2.1", "2001:db8::1"):
            with neighbour.inside(echod.datagrams, host) as s:
                for size in (1200, 1400, 4000):
                    check_segments(s, noise[:size * 5 + 7], size)
                    check_datagram(s, noise[:size])
                for n in range(20):
                    s.send(noise[n:n + 1400])
                assert [s.recv(65536) for _ in range(20)] == [noise[n:n + 1400] for n in range(20)]
                check_silence(s)
        assert echod.counters()["udp_failed"] == 0


@test("each segment counts as a datagram for the rate limit, and when it is refused")
def _():
    with Echod(top="limits { udp-rate = 1 udp-burst = 10 exempt = {} }") as echod, echod.datagrams() as s:
        send_segments(s, b"".join(b"%02d" % n for n in range(60)), 2)
        assert [s.recv(10) for _ in range(10)] == [b"%02d" % n for n in range(10)]
        counters = echod.settled()
        assert counters["udp_received"] == 60
        assert counters["udp_echoes"] == 10 + counters["udp_leaked"]
        assert counters["udp_over_budget"] == 50 - counters["udp_leaked"]
        # Datagrams that slip through the limit stand anywhere between refused segments, and come back as they were sent.
        slipped = [s.recv(10) for _ in range(counters["udp_leaked"])]
        assert slipped == sorted(slipped), slipped
        for _ in range(50):
            before = echod.settled()
            send_segments(s, b"".join(b"%02d" % n for n in range(60)), 2)
            echod.wait_counter("udp_received", before["udp_received"] + 60)
            count = echod.settled()["udp_leaked"] - before["udp_leaked"]
            if [s.recv(10) for _ in range(count)] != [b"%02d" % n for n in range(count)]:
                break
        else:
            raise AssertionError("the first segments came back instead of those that slipped through")
        port = s.getsockname()[1]
        echod.change(udp=f'refuse-source-ports = {{ "{port}" }}')
        check_refused(echod, "udp_refused_port", lambda: send_segments(s, bytes(100), 7), 15)


# ---- whose socket it is ----

def check_taken(port, option):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as thief:
        if option is not None:
            thief.setsockopt(socket.SOL_SOCKET, option, 1)
        try:
            thief.bind(("127.0.0.1", port))
        except OSError as error:
            assert error.errno == errno.EADDRINUSE, error
            return
        raise AssertionError(f"the port can be bound by another process with option {option}")


@test("no other process can take the UDP port over with SO_REUSEADDR, and with one worker not with SO_REUSEPORT")
def _():
    for workers, options in ((1, (None, socket.SO_REUSEADDR, socket.SO_REUSEPORT)), (2, (None, socket.SO_REUSEADDR))):
        with Echod(top=f"{SAME_USER}\nworkers = {workers}") as echod:
            for option in options:
                check_taken(echod.port, option)
            for hosts in (("127.0.0.1", "127.0.0.2"), ("0.0.0.0",), ("127.0.0.1",)):
                echod.change(hosts=hosts)
                for option in options:
                    check_taken(echod.port, option)


@test("a process of another user cannot share the UDP port with SO_REUSEPORT, with several workers")
def _():
    if os.geteuid() != 0:
        skip("needs root, to be another user than the daemon's")
    with Echod(top="workers = 2") as echod:
        check_taken(echod.port, socket.SO_REUSEPORT)


# ---- sends that fail ----

@test("a reply that has no way to go is counted, and costs no other reply")
def _():
    need_private_network()
    with Echod() as echod, echod.datagrams() as s:
        for n in range(5):
            s.send(b"%d" % n)
            # TEST-NET-3: nobody routes to it here.
            forge(("203.0.113.1", 5000), ("127.0.0.1", echod.port))
        check_replies(s, [b"%d" % n for n in range(5)])
        echod.wait_counter("udp_failed", 5)
        echod.wait_counter("udp_echoes", 5)


@test("a burst in which every other reply fails loses none of the rest")
def _():
    need_private_network()
    with Echod(hosts=("0.0.0.0",)) as echod, echod.datagrams("127.0.0.1") as s:
        # While the daemon is stopped, all datagrams gather into one batch.
        echod.kill(signal.SIGSTOP)
        for n in range(100):
            s.send(b"%d" % n)
            forge(("203.0.113.1", 5000 + n), ("127.0.0.1", echod.port))
        echod.kill(signal.SIGCONT)
        check_replies(s, [b"%d" % n for n in range(100)])
        echod.wait_counter("udp_failed", 100)


@test("what the kernel drops for want of room is counted")
def _():
    need_own_sockets("an inherited socket may have dropped some before")
    with Echod(top="workers = 1") as echod, echod.datagrams() as s:
        for _ in range(2):
            before, sent = echod.counters(), 0
            echod.kill(signal.SIGSTOP)
            for sent in range(1, 301):
                s.send(bytes(60000))
            echod.kill(signal.SIGCONT)

            def told():
                nonlocal sent
                after = echod.counters()
                received, dropped = (after[name] - before[name] for name in ("udp_received", "udp_dropped"))
                if dropped > 0 and received + dropped == sent:
                    return True
                # What comes later tells of it, sooner or later.
                s.send(b"more")
                sent += 1
                return False
            wait_for(told, PATIENCE, "what was received and what was dropped to be what was sent")


@test("UDP clients that are gone before their reply (ICMP port unreachable) disturb nobody")
def _():
    with Echod() as echod, echod.datagrams() as s:
        for _ in range(200):
            with echod.datagrams() as gone:
                gone.send(b"too late")
            check_datagram(s)
        echod.wait_counter("udp_received", 400)


@test("an address with a device is served there and nowhere else, also after a reload; the log and the reload name the device")
def _():
    need_own_sockets()
    with Neighbour() as neighbour, Echod(hosts=("0.0.0.0%near", "::%near")) as echod:
        assert f"udp 0.0.0.0%near:{echod.port} [::%near]:{echod.port}" in echod.log(), echod.log()
        for port in echod.port, free_port():
            if port != echod.port:
                echod.port = port
                answer = echod.change()
                assert f"-> {{ 0.0.0.0%near:{port}, [::%near]:{port} }}" in answer, answer
            for host in "192.0.2.1", "2001:db8::1":
                for kind in socket.SOCK_DGRAM, socket.SOCK_STREAM:
                    family = socket.AF_INET6 if ":" in host else socket.AF_INET
                    with neighbour.inside(socket.socket, family, kind) as s:
                        s.settimeout(PATIENCE)
                        s.connect((host, port))
                        check_datagram(s)
                    with socket.socket(family, kind) as s:
                        try:
                            s.connect(("::1" if ":" in host else "127.0.0.1", port))
                            s.send(b"x")
                            s.settimeout(PATIENCE)
                            raise AssertionError(f"an answer on the loopback interface: {s.recv(1)}")
                        except ConnectionRefusedError:
                            pass


@test("an address of a prefix that is routed to this host answers, over IPv4 and IPv6, also on a socket of a reload")
def _():
    need_ip()
    need_own_sockets()
    ip("route add local 198.18.5.0/24 dev lo", "route add local 2001:db8:5::/64 dev lo")
    try:
        with Echod(hosts=("0.0.0.0", "::")) as echod:
            for port in echod.port, free_port():
                if port != echod.port:
                    echod.port = port
                    answer = echod.change()
                    assert "was not reloaded" not in answer, answer
                for host in "198.18.5.77", "2001:db8:5::77":
                    echod.check_udp(host)
                    echod.check_tcp(host)
    finally:
        ip("route del local 198.18.5.0/24 dev lo", "route del local 2001:db8:5::/64 dev lo")


if __name__ == "__main__":
    private_network()
    run_all()
