# SPDX-License-Identifier: ISC
"""What each option of echo-probe does, as a server sees it or a user."""

import os
import pty
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import threading

from daemon import private_network
from lib import free_port, run_all, skip, test
from probing import (ECHO_PROBE, LATE, PATIENCE, PATIENT, QUANTILES, RTT, TIME, Full, Running, Tcp, Udp, bound, closed_port,
                     reset_at_close, run, summary, without_network)

IP_RECVTTL = 12  # of <linux/in.h>; this socket module may not have it

RATE = r"^\d+ echoes/s$"


class Watching(Udp):
    """Echoes, and keeps of each datagram what it was, from where it came, and what of its header the options ask for."""

    def __init__(self, *options, host="127.0.0.1", lost=()):
        super().__init__(host=host)
        self.datagrams = []
        self.lost = lost  # of the ports in the order they are first seen, those that get no reply
        for level, option in options:
            self.socket.setsockopt(level, option, 1)

    def serve(self):
        while self.readable(self.socket):
            data, control, _, client = self.socket.recvmsg(65536, 256)
            self.datagrams.append((data, client, control))
            if self.ports().index(client[1]) not in self.lost:
                self.socket.sendto(data, client)

    def ports(self):
        return list(dict.fromkeys(client[1] for _, client, _ in self.datagrams))

    def header(self):
        """The values of the header field that was asked for, of all datagrams."""
        return {struct.unpack("i", value.ljust(4, b"\0"))[0] for _, _, control in self.datagrams for _, _, value in control}


class Counting(Tcp):
    """Echoes, and keeps the peers of its connections."""

    def __init__(self, handle=None, host="127.0.0.1"):
        self.peers = []

        def remember(server, connection):
            self.peers.append(connection.getpeername())
            (handle or Tcp.echo)(server, connection)

        super().__init__(remember, host)


# ---- when probes are sent ----

@test("-A sends a probe a round trip")
def _():
    with Udp() as server:
        # By the clock they would take a quarter of an hour.
        run("-A", "-c", 1000, "-q", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, summary(1000, 1000, 0), RTT, QUANTILES, RATE)


@test("-f is silent and sends as echoes come, -l of them at once")
def _():
    for kind, protocol in ((Udp, "udp"), (Tcp, "tcp")):
        for window in ((), ("-l", 20)):
            with kind() as server:
                done = run("-f", "-c", 2000, *window, *PATIENT, protocol, "127.0.0.1", server.port)
            done.expect(0, r"\APROBE .*\n\n---", summary(2000, 2000, 0), RATE)


@test("-f goes on where replies are lost")
def _():
    with Udp(lambda n, data: [data] if n > 50 else []) as server:
        run("-f", "-l", 10, "-c", 200, "-W", 1, "udp", "127.0.0.1", server.port).expect(0, summary(200, 150, 25), RATE)


@test("-f with -i keeps to the clock")
def _():
    with Udp() as server:
        done = run("-f", "-i", "0.001", "-c", 100, *PATIENT, "udp", "127.0.0.1", server.port).expect(0, summary(100, 100, 0))
    assert "echoes/s" not in done.out, done
    assert int(re.search(r"time (\d+)ms", done.out)[1]) >= 99, done


@test("-l alone sends its number of probes at once, and the others by the clock")
def _():
    held = []

    def together(_, data):
        held.append(data)
        return held if len(held) == 5 else []

    with Udp(together) as server:
        run("-l", 5, "-c", 5, "-i", 1000, "udp", "127.0.0.1", server.port).expect(0, summary(5, 5, 0))


@test("-i may be far below a millisecond")
def _():
    with Udp() as server:
        run("-i", "0.0002", "-c", 200, "-q", *PATIENT, "udp", "127.0.0.1", server.port).expect(0, summary(200, 200, 0))


@test("--duration ends sending, not what is under way")
def _():
    for arguments in (("-f",), ("-i", "0.05"), ("-i", "0.05", "-w", 1000)):
        with Udp() as server:
            done = run("--duration", "0.3", "-W", 3, "-q", *arguments, "udp", "127.0.0.1", server.port)
        found = re.search(rf"^(\d+) packets transmitted, \1 received{LATE}, 0% packet loss, time (\d+)ms$", done.out, re.M)
        assert done.status == 0 and found and int(found[3]) >= 250, done


@test("-O tells which probe is not answered when the next is sent")
def _():
    with Udp(lambda n, data: [] if n == 2 else [data]) as server:
        run("-O", "-c", 3, "-i", "0.2", "-W", 1, "udp", "127.0.0.1", server.port).expect(
            0, "udp_seq=1 ", "^no answer yet for udp_seq=2$", "udp_seq=3 ", rf"^3 packets transmitted, 2 received{LATE}, 33")


# ---- what is sent ----

@test("-p fills what follows the sequence number and the nonce")
def _():
    for size in (16, 17, 56, 1001):
        with Watching() as server:
            run("-p", "00fFa5", "-s", size, "-c", 2, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port).expect(
                0, summary(2, 2, 0))
        expected = (b"\x00\xff\xa5" * 400)[:size - 16]
        assert [data[16:] for data, _, _ in server.datagrams] == [expected] * 2, server.datagrams


@test("-m sends the text and nothing else, and shows what comes back")
def _():
    with Watching() as server:
        run("-m", 'say "hi"\t', "-c", 2, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, r"^PROBE .* 9\(37\) bytes of data",
            rf'^9 bytes from 127.0.0.1: udp_seq=2 {TIME} "say \\x22hi\\x22\\x09"$', summary(2, 2, 0))
    assert [data for data, _, _ in server.datagrams] == [b'say "hi"\t'] * 2, server.datagrams
    with Tcp() as server:
        run("-m", "hello", "-c", 3, "-i", "0.01", *PATIENT, "tcp", "127.0.0.1", server.port).expect(
            0, rf'^5 bytes from 127.0.0.1: tcp_seq=3 {TIME} "hello"$', summary(3, 3, 0))
    with Watching() as server:
        run("-m", "", "-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(0, r'^0 bytes .* ""$')


@test("-m shows what comes back also where it is not what was sent, but not what was not kept")
def _():
    for reply, shown in ((b"abc\x1b[", r"abc\\x1b\["), (b"abc\x1b[23", ""), (b"abc" + 60000 * b"x", "")):
        with Udp(lambda n, data: [reply]) as server:  # pylint: disable=cell-var-from-loop
            run("-m", "abcde", "-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(
                1, rf'\(CORRUPT! first wrong byte at offset 3\) "{shown}"$')


# ---- how it is sent ----

@test("-I takes an address to send from")
def _():
    with Watching() as server:
        run("-I", "127.0.0.2", "-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(0)
    assert server.datagrams[0][1][0] == "127.0.0.2", server.datagrams
    for arguments in ((), ("--connect",)):
        with Counting() as server:
            run("-I", "127.0.0.2", "-c", 1, *PATIENT, *arguments, "tcp", "127.0.0.1", server.port).expect(0)
        assert server.peers[0][0] == "127.0.0.2", server.peers


@test("-I takes an interface")
def _():
    for kind, protocol in ((Udp, "udp"), (Tcp, "tcp")):
        with kind() as server:
            run("-I", "lo", "-c", 1, *PATIENT, protocol, "127.0.0.1", server.port).expect(0, summary(1, 1, 0))


@test("-I with what this host has not got, or of the other family, is an error that says so")
def _():
    for protocol, tried in (("udp", "send to"), ("tcp", "connect to")):
        for source, said in (("192.0.2.1", "Cannot assign requested address: -I 192.0.2.1: .*ip address"),
                             ("::1", "Address family not supported by protocol: -I ::1: it is not of the family of the address "),
                             ("nosuch0", "No such device: -I nosuch0: there is no such interface; see 'ip link'")):
            run("-I", source, protocol, "127.0.0.1", 7).expect(
                2, r"\APROBE .*\n\Z", err=rf"\Aecho-probe: cannot {tried} {protocol} 127.0.0.1:7: {said}")


@test("-Q is the type of service of what is sent")
def _():
    for host, option in (("127.0.0.1", (socket.IPPROTO_IP, socket.IP_RECVTOS)),
                         ("::1", (socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS))):
        for value in ("0xb8", "16"):
            with Watching(option, host=host) as server:
                run("-Q", value, "-c", 2, "-i", "0.01", *PATIENT, "udp", host, server.port).expect(0)
            assert server.header() == {int(value, 0)}, server.datagrams


@test("-t is the time to live, or the hop limit, of what is sent")
def _():
    for host, option in (("127.0.0.1", (socket.IPPROTO_IP, IP_RECVTTL)),
                         ("::1", (socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT))):
        with Watching(option, host=host) as server:
            run("-t", 7, "-c", 2, "-i", "0.01", *PATIENT, "udp", host, server.port).expect(0)
        assert server.header() == {7}, server.datagrams


@test("with -M do each probe that is too large has an error")
def _():
    if not shutil.which("ip"):
        skip("needs ip(8) of iproute2")
    small = [*without_network(), "sh", "-c", 'ip link set lo up mtu 1500 && exec "$@"', "sh"]
    # A first probe may fail otherwise: nothing listens there.
    run("-M", "do", "-s", 1473, "-c", 3, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", prefix=small).expect(
        1, *(rf"^From this host: udp_seq={n} Message too long: a smaller -s may pass$" for n in (1, 2, 3)),
        summary(3, 0, 100, ", +3 errors"))
    run("-M", "do", "-s", 1472, "-c", 1, *PATIENT, "udp", "127.0.0.1", prefix=small).expect(1, summary(1, 0, 100, ", +1 refused"))
    run("-M", "dont", "-s", 1473, "-c", 1, *PATIENT, "udp", "127.0.0.1", prefix=small).expect(
        1, summary(1, 0, 100, ", +1 refused"))


@test("-M has four values, and both protocols")
def _():
    for kind, protocol in ((Udp, "udp"), (Tcp, "tcp")):
        for host in ("127.0.0.1", "::1"):
            with kind(host=host) as server:
                for value in ("do", "want", "dont", "probe"):
                    run("-M", value, "-c", 1, *PATIENT, protocol, host, server.port).expect(0, summary(1, 1, 0))


# ---- several sockets ----

def two_free_ports():
    for _ in range(100):
        port = free_port()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.bind(("127.0.0.1", port + 1))
                return port
        except (OSError, OverflowError):
            pass
    return skip("finds no two ports that are free")


@test("--source-port is where probes come from, also of TCP and of a second run")
def _():
    port = free_port()
    with Watching() as server:
        run("--source-port", port, "-v", "-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, rf"^56 bytes from 127.0.0.1: udp_seq=1 source_port={port} {TIME}$")
    assert server.ports() == [port], server.datagrams
    # The connection to the first, in TIME-WAIT, does not keep the port from the second.
    for _ in range(2):
        with Counting() as server:
            run("--source-port", port, "-c", 1, *PATIENT, "tcp", "127.0.0.1", server.port).expect(0)
        assert [peer[1] for peer in server.peers] == [port], server.peers


@test("--source-port that another program has is an error that says so")
def _():
    with bound(socket.SOCK_DGRAM, "127.0.0.1") as other, Udp() as server:
        run("--source-port", other.getsockname()[1], "-I", "127.0.0.1", "udp", "127.0.0.1", server.port).expect(
            2, err="Address already in use: another program uses that source port")


@test("--sources takes ports in turn, and has figures of each")
def _():
    with Watching() as server:
        done = run("--sources", 4, "-c", 10, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, rf"^56 bytes from 127.0.0.1: udp_seq=1 source_port=\d+ {TIME}$", summary(10, 10, 0))
    ports = server.ports()
    assert [client[1] for _, client, _ in server.datagrams] == (3 * ports)[:10] and len(ports) == 4, server.datagrams
    for port, sent in zip(ports, (3, 3, 2, 2)):
        done.expect(0, rf"^source port {port}: {sent} sent, {sent} received, 0% loss, "
                       r"min/p50/p90/p99/max = (\d+\.\d{3,}/?){5} ms$")
    done.expect(0, r"^worst source ports:( \d+ \(0% loss, p99 \d+\.\d{3,} ms\),?){4}$")


@test("--sources names the ports whose path is broken")
def _():
    with Watching(lost={1}) as server:
        done = run("--sources", 3, "-c", 6, "-i", "0.01", "-W", 1, "udp", "127.0.0.1", server.port)
    bad = server.ports()[1]
    done.expect(0, summary(6, 4, "33.3333"), rf"^source port {bad}: 2 sent, 0 received, 100% loss$",
                rf"^worst source ports: {bad} \(100% loss\), ")


@test("--sources with --source-port counts up from there")
def _():
    port = two_free_ports()
    with Watching() as server:
        run("--source-port", port, "--sources", 2, "-c", 2, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port).expect(0)
    assert server.ports() == [port, port + 1], server.datagrams


@test("--connections are used in turn")
def _():
    for arguments in (("-i", "0.01"), ("-f",)):
        with Counting() as server:
            run("--connections", 3, "-c", 30, *arguments, *PATIENT, "tcp", "127.0.0.1", server.port).expect(
                0, summary(30, 30, 0), r"^connect min/avg/max/mdev = ")
        assert len(set(server.peers)) == 3, server.peers


@test("one of several connections that ends does not end the run")
def _():
    first = threading.Lock()

    def handle(server, connection):
        if first.acquire(blocking=False):
            server.take(connection, 56)
        else:
            server.echo(connection)

    with Tcp(handle) as server:
        run("--connections", 2, "-c", 4, "-i", "0.2", "-W", 1, "tcp", "127.0.0.1", server.port).expect(
            0, rf"tcp_seq=[34] {TIME}$", err=r"\Aecho-probe: .* (closed|reset) the connection .*after .*\n\Z")


@test("none but the first of several connections is tried where nothing listens")
def _():
    done = run("--connections", 100, "tcp", "127.0.0.1", closed_port()).expect(1, err="Connection refused")
    assert done.err.count("refused") == 1, done


# ---- a connection for each probe ----

@test("--connect opens a connection for each probe, and tells how long that took")
def _():
    for host in ("127.0.0.1", "::1"):
        with Counting(host=host) as server:
            run("--connect", "-c", 3, "-i", "0.01", *PATIENT, "tcp", host, server.port).expect(
                0, *(rf"^56 bytes from {host}: tcp_seq={n} connect=\d+(\.\d+)? ms {TIME}$" for n in (1, 2, 3)), summary(3, 3, 0),
                RTT + "$", r"^connect min/avg/max/mdev = (\d+\.\d{3,}/){3}\d+\.\d{3,} ms$", QUANTILES)
        assert len(set(server.peers)) == 3, server.peers


@test("--connect with -f opens a connection for each of 200 probes")
def _():
    with Counting() as server:
        run("--connect", "-f", "-l", 5, "-c", 200, *PATIENT, "tcp", "127.0.0.1", server.port).expect(
            0, summary(200, 200, 0), RATE)
    assert len(server.peers) == 200, len(server.peers)


@test("with --connect each probe that is refused is counted")
def _():
    run("--connect", "-c", 2, "-i", "0.01", *PATIENT, "tcp", "127.0.0.1", closed_port()).expect(
        1, *(rf"^From 127.0.0.1: tcp_seq={n} Connection refused: nothing listens" for n in (1, 2)),
        summary(2, 0, 100, ", +2 refused"))


@test("with --connect a server that closes is told apart from one that resets or cuts, and the run goes on")
def _():
    def handle(server, connection):
        data = server.take(connection, 56)
        number = data[0]
        if number == 2:
            reset_at_close(connection)
        elif number > 2:
            connection.sendall(data[:10] if number == 3 else data)

    with Tcp(handle) as server:
        run("--connect", "-c", 4, "-i", "0.15", *PATIENT, "tcp", "127.0.0.1", server.port).expect(
            0, r"^From 127.0.0.1: tcp_seq=1 No data available: the server closed the connection before the whole echo had come$",
            r"^From 127.0.0.1: tcp_seq=2 Connection reset by peer", r"^10 bytes .* tcp_seq=3 .*TRUNCATED",
            rf"tcp_seq=4 .*{TIME}$", summary(4, 1, 75, ", +1 truncated, +2 errors"))


@test("with --connect a probe that is not answered in time, or not let in, is lost")
def _():
    with Tcp(lambda server, connection: server.wait_end(connection)) as server, Full() as full:
        for port in (server.port, full.port):
            run("--connect", "-c", 2, "-i", "0.01", "-W", "0.2", "tcp", "127.0.0.1", port).expect(1, summary(2, 0, 100))


@test("with --connect each probe that finds no free descriptor has an error")
def _():
    limited = ["sh", "-c", 'ulimit -n 12; exec "$@"', "sh"]
    with Tcp(lambda server, connection: server.wait_end(connection)) as server:
        done = run("--connect", "-l", 20, "-c", 20, "-W", "0.5", "tcp", "127.0.0.1", server.port, prefix=limited)
    done.expect(1, r"^From this host: tcp_seq=\d+ Too many open files: .*ulimit -n",
                r"^20 packets transmitted, 0 received, \+\d+ errors")


# ---- output ----

@test("-D begins lines with the time of day")
def _():
    with Tcp() as server:
        run("-D", "-c", 1, *PATIENT, "tcp", "127.0.0.1", server.port).expect(
            0, r"^\[\d+\.\d{6}\] Connected to ", rf"^\[\d{{10,}}\.\d{{6}}\] 56 bytes from 127.0.0.1: tcp_seq=1 {TIME}$")


@test("-v shows the source port")
def _():
    for kind, protocol in ((Udp, "udp"), (Tcp, "tcp")):
        with kind() as server:
            run("-v", "-c", 1, *PATIENT, protocol, "127.0.0.1", server.port).expect(0, rf"_seq=1 source_port=\d+ {TIME}$")


@test("--histogram draws the distribution after the figures")
def _():
    with Udp() as server:
        run("--histogram", "-q", "-c", 50, "-i", "0.001", *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, QUANTILES, r"^.* [0-9.]+ [mu]s .*#")


@test("--pid tells how much CPU time a process used for an echo")
def _():
    with Udp() as server:
        run("--pid", os.getpid(), "-f", "-c", 500, *PATIENT, "udp", "127.0.0.1", server.port).expect(
            0, rf"^\d+\.\d\d us of CPU time an echo in process {os.getpid()}$")
    # One that ends meanwhile has nothing to say.
    with subprocess.Popen(["sleep", "1000"]) as process:
        def stop(_, data):
            process.kill()
            process.wait()
            return [data]

        with Udp(stop) as server:
            done = run("--pid", process.pid, "-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(0)
    assert "CPU" not in done.out, done


@test("--timestamps kernel and user find each round trip, with -f too")
def _():
    with Udp() as server:
        for clock in ("kernel", "user"):
            for arguments in (("-i", "0.001"), ("-f",), ("-f", "-l", 50)):
                run("--timestamps", clock, "-q", "-c", 200, *arguments, *PATIENT, "udp", "127.0.0.1", server.port).expect(
                    0, summary(200, 200, 0), RTT)


@test("a terminal that takes no escape sequences gets no line of progress")
def _():
    for term in ({"TERM": "dumb"}, {"TERM": ""}, {}):
        terminal, end = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name != "TERM"} | term
        with Udp() as server:
            assert run("-q", "--duration", 0.6, "-i", "0.01", "udp", "127.0.0.1", server.port, stderr=end, env=environment).status == 0
        assert not select.select([terminal], [], [], 0)[0], os.read(terminal, 4096)
        os.close(end)
        os.close(terminal)


@test("an address that stands for every address of this host is probed with a warning")
def _():
    with Udp() as server:
        for host in ("0.0.0.0", "::ffff:0.0.0.0"):
            run("-c", 1, *PATIENT, "udp", host, server.port).expect(
                0, summary(1, 1, 0), err=rf"\Aecho-probe: {host} stands for every address of this host: this host itself is probed\n\Z")


@test("a pattern that looks like a port is used with a hint, unless a port is given")
def _():
    with Udp() as server:
        run("-p", "7307", "-c", 1, *PATIENT, "udp", "127.0.0.1", server.port).expect(0)
        run("-p", "ff07", "-c", 1, "-W", "0.01", "udp", "127.0.0.1").expect(1)
    hint = r"\Aecho-probe: -p 7307 fills the payload, and port 7 is probed; for port 7307 give it after HOST\n"
    run("-p", "7307", "-c", 1, "-W", "0.01", "udp", "127.0.0.1").expect(1, err=hint)
    for port in ("7", "10007"):
        run("-p", port, "udp", "127.0.0.1").expect(2, err=rf"-p '{port}': 1 to 16 octets .*; a port is given after HOST\n")


@test("the progress of a silent run is shown on a terminal, and gives way to the summary")
def _():
    terminal, end = pty.openpty()
    with Udp() as server:
        process = subprocess.Popen([ECHO_PROBE, "-q", "-i", "0.01", "udp", "127.0.0.1", str(server.port)],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=end, text=True,
                                   env={**os.environ, "TERM": "xterm"})
        watchdog = threading.Timer(PATIENCE, process.kill)
        watchdog.start()
        os.close(end)
        seen = b""
        while seen.count(b"\r") < 2:
            seen += os.read(terminal, 4096)
        process.send_signal(signal.SIGINT)
        out = process.communicate(timeout=PATIENCE)[0]
        watchdog.cancel()
    # What is left there can be read until the last one has closed it.
    try:
        while part := os.read(terminal, 4096):
            seen += part
    except OSError:
        pass
    os.close(terminal)
    assert process.returncode == 0 and "packets transmitted" in out, out
    assert seen.startswith(b"\r") and seen.endswith(b"\r\x1b[K") and b"\n" not in seen, seen


@test("SIGQUIT tells the figures of a silent run")
def _():
    answered = threading.Event()

    def answer(n, data):
        if n == 3:
            answered.set()
        return [data]

    with Udp(answer) as server, Running("-A", "-q", "udp", "127.0.0.1", server.port) as running:
        assert answered.wait(PATIENCE)
        running.process.send_signal(signal.SIGQUIT)
        running.read_until(r"^\d+/\d+ packets, [\d.]+% loss", running.process.stderr)
        running.end(signal.SIGINT).expect(0, RATE)


private_network()
run_all()
