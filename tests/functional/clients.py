# SPDX-License-Identifier: ISC
"""The clients on machines and in networks of every kind."""

import json
import os
import pathlib
import re
import resource
import socket

from daemon import Neighbour, ip, need_ip, private_network
from lib import free_port, run_all, skip, test
from probing import PATIENCE, Running, Tcp, Udp, closed_port, hosts, run

CHECK_ECHO = os.environ["CHECK_ECHO"]

private_network()

LOOPBACKS = ("127.0.0.1", "::1")
FAR = "192.0.2.2"  # of Neighbour


def echo(_, data):
    return [data]


class At:
    """A server of probing.py at this port."""

    def __init__(self, kind, port):
        self.kind, self.port = kind, port

    def __enter__(self):
        self.server = self.kind()
        self.server.socket.close()
        tcp = self.kind is Tcp
        self.server.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
        self.server.socket.bind(("127.0.0.1", self.port))
        if tcp:
            self.server.socket.listen()
        return self.server.__enter__()

    def __exit__(self, *reason):
        self.server.__exit__(*reason)


def few_ports(low, high):
    """A prefix to run where the kernel gives these ports only."""
    need_ip()
    return ["unshare", "--net", "sh", "-c", f'ip link set lo up && echo {low} {high} >/proc/sys/net/ipv4/ip_local_port_range && '
            'exec "$@"', "sh"]


# ---- what would be its own answer ----

@test("a UDP probe is not sent from the port of this host that is probed")
def _():
    need_ip()
    port = free_port()
    for host in LOOPBACKS:
        for options in ((), ("--sources", 2), ("--mtu",), ("-m", "-"), ("-4",) if "." in host else ("-6",)):
            run(*options, "-W", 0.2, *(("-w", 1) if "-m" in options or "--mtu" in options else ("-c", 1)), "--source-port", port, "udp", host, port).expect(
                2, err="that source port is the port of this host that is probed")


@test("the kernel's choice of a source port is not taken where it is the port of this host that is probed")
def _():
    for host in LOOPBACKS:
        # Two ports: whichever is drawn first, one is left that is not the probed one.
        for _ in range(4):
            run("-c", 1, "-W", 0.2, "udp", host, 40001, prefix=few_ports(40000, 40001)).expect(1, "Connection refused.*\\n", "0 received")


@test("a source port may be the probed port of another host")
def _():
    with Neighbour() as neighbour, neighbour.inside(Udp, echo, FAR) as server:
        run("-c", 1, "--source-port", server.port, "udp", FAR, server.port).expect(0, "1 received")


# ---- addresses ----

@test("an IPv4 address in IPv6 notation is an IPv4 target, in each client")
def _():
    with Udp() as server:
        run("-c", 1, "udp", "::ffff:127.0.0.1", server.port).expect(
            0, r"^PROBE ::ffff:127.0.0.1 \(127.0.0.1\) port \d+ udp 56\(84\) bytes", "^56 bytes from 127.0.0.1: ")
        run("-c", 1, "-s", 65508, "udp", "::ffff:127.0.0.1", server.port).expect(2, err="65507")
        run("-6", "udp", "::ffff:127.0.0.1", server.port).expect(2, err="leave out -6")
        run("-c", 1, "-I", "::ffff:127.0.0.1", "udp", "127.0.0.1", server.port).expect(0)
    with Tcp() as server:
        run("-c", 1, "tcp", "::ffff:127.0.0.1", server.port).expect(0, "^Connected to 127.0.0.1 port ")


# ---- the route ----

@test("the route is asked for with the source, the TOS, the port and the mark of the probe")
def _():
    with Neighbour() as neighbour, neighbour.inside(Udp, echo, FAR) as server:
        ip("addr add 192.0.2.77/32 dev near", "route add 192.0.2.0/24 dev near table 77", "route del 192.0.2.0/24 dev near",
           "route del default")
        for rule, options in (("from 192.0.2.77", ("-I", "192.0.2.77")), ("tos 0x10", ("-Q", "0x10")),
                              ("ipproto udp sport 5000", ("--source-port", 5000)), ("fwmark 0x4d", ("--mark", 77))):
            ip(f"rule add {rule} table 77")
            try:
                for mode in (("-c", 1), ("--mtu", "-w", 5)):
                    run(*mode, *options, "-W", 5, "udp", FAR, server.port).expect(0)
            finally:
                ip(f"rule del {rule} table 77")


@test("without the capability, --mark is refused and the message says what it takes")
def _():
    for protocol in ("udp", "tcp"):
        prefix = ["setpriv", "--bounding-set=-net_admin,-net_raw", "--inh-caps=-net_admin,-net_raw"]
        run("--mark", 1, "-c", 1, protocol, "127.0.0.1", prefix=prefix).expect(
            2, err="Operation not permitted: --mark takes CAP_NET_ADMIN")


# ---- whose fault it is ----

class Router(Neighbour):
    """The neighbour as a router whose firewall, or whose routes, answer by ICMP."""

    def __init__(self, *routes):
        super().__init__()
        self.routes = routes

    def __enter__(self):
        super().__enter__()
        for name, value in (("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1"), ("ipv4/icmp_ratelimit", "0"),
                            ("ipv6/icmp/ratelimit", "0")):
            self.inside(pathlib.Path("/proc/sys/net", name).write_text, value, "ascii")
        self.inside(ip, *self.routes)
        return self


ROUTES = ("route add prohibit 198.51.100.0/24", "route add unreachable 203.0.113.0/24", "route add prohibit 2001:db8:1::/48")
REPORTS = (("198.51.100.1", "192.0.2.2", 4, 3, 13, "communication administratively prohibited"),
           ("203.0.113.1", "192.0.2.2", 4, 3, 1, "host unreachable"),
           ("2001:db8:1::1", "2001:db8::2", 6, 1, 1, "communication administratively prohibited"))


@test("what a router says by ICMP is told with the router's address, and status 1, over UDP and TCP")
def _():
    # A router tells five times at once, and then once a second: a probe may get no report.
    for host, router, version, kind, code, text in REPORTS:
        with Router(*ROUTES):
            said = rf"{router} reports {text} \(ICMP(v6)? type {kind}, code {code}\)$"
            run("-c", 1, "-w", 9, "udp", host).expect(1, rf"^From {router}: udp_seq=\d [^:]*: {said}")
            run("-c", 1, "-W", 9, "tcp", host).expect(1, err=rf"cannot connect to tcp [^ ]*:7: [^:]*: {said}")
            run("-c", 1, "-w", 9, "--connect", "tcp", host).expect(1, rf"^From {router}: tcp_seq=\d [^:]*: {said}")
            documents = (json.loads(run("-c", 1, "-W", 9, "--json", "tcp", host).out)["troubles"][0],
                         json.loads(run("-c", 1, "-w", 9, "--json-lines", "udp", host).out.splitlines()[0]))
            for document in documents:
                assert document["icmp"] == {"version": version, "type": kind, "code": code, "from": router}, str(document)
        for protocol in ("udp", "tcp"):
            with Router(*ROUTES):
                done = run("-H", host, "-t", 9, f"--{protocol}", program=CHECK_ECHO)
                assert re.match(rf"ECHO CRITICAL - {host}: [^:]*: {router} reports {text} \(ICMP", done.out), str(done)


@test("a TTL that ends at a router is told as that")
def _():
    with Router("route add 198.51.100.0/24 via 192.0.2.1"):
        for protocol in ("udp", "tcp"):
            done = run("-c", 1, "-t", 1, "-W", 5, protocol, "198.51.100.1")
            assert done.status == 1 and "192.0.2.2 reports time to live exceeded (ICMP type 11, code 0)" in done.out + done.err, str(done)


@test("a neighbour that is dead is status 1, whatever the protocol and with -w or without")
def _():
    with Neighbour():
        for options in ((), ("-w", 9)):
            for protocol in (("udp",), ("tcp",), ("--connect", "tcp")):
                run("-c", 1, "-q", *options, "-W", 8, *protocol, "192.0.2.99").expect(1, err="")


@test("what this host cannot send at all is status 2, whatever the protocol")
def _():
    need_ip()
    routes = "ip link set lo up && ip route add prohibit 192.0.2.0/24 && "
    prefix = ["unshare", "--net", "sh", "-c", routes + 'exec "$@"', "sh"]
    for options in ((), ("-w", 5)):
        for protocol in (("udp",), ("tcp",), ("--connect", "tcp")):
            run("-c", 1, "-q", *options, *protocol, "192.0.2.1", prefix=prefix).expect(2, err="")


# ---- waiting for a service ----

@test("--wait-up goes on through refusals until the service answers")
def _():
    for protocol, server in (("udp", Udp), ("tcp", Tcp)):
        port = free_port()
        with Running("--wait-up", "-w", 60, "-i", 0.05, protocol, "127.0.0.1", port) as running:
            running.read_until("Connection refused")
            running.read_until("Connection refused")
            with At(server, port):
                out, err = running.process.communicate(timeout=PATIENCE)
                assert running.process.returncode == 0 and ", 1 received" in out, f"{protocol}: {out}{err}"


@test("--wait-up ends at the deadline, with status 1")
def _():
    for protocol in ("udp", "tcp"):
        run("--wait-up", "-w", 0.3, "-i", 0.05, protocol, "127.0.0.1", closed_port()).expect(1, " 0 received")


@test("--wait-up goes on while this host has no route")
def _():
    need_ip()
    script = '(sleep 0.2; ip link set lo up; ip route add local 192.0.2.0/24 dev lo) & exec "$@"'
    prefix = ["unshare", "--net", "sh", "-c", script, "sh"]
    run("--wait-up", "-w", 1, "-i", 0.05, "udp", "192.0.2.1", prefix=prefix).expect(1, "Connection refused", err="no route there")


# ---- surroundings ----

@test("more sockets than the soft limit of descriptors")
def _():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard < 2100:
        skip("needs a hard limit of 2100 descriptors")

    def limit():
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))

    with Udp() as server:
        run("-q", "-c", 200, "-i", 0.001, "-W", 60, "--sources", 200, "udp", "127.0.0.1", server.port, preexec_fn=limit).expect(
            0, "200 received")


@test("a name with letters beyond ASCII is looked up in its ASCII form and shown as typed")
def _():
    with Udp() as server, hosts("127.0.0.1 xn--mnchen-3ya.example\n") as prefix:
        for locale in ("C", "C.UTF-8"):
            done = run("-n", "-c", 1, "udp", "m\u00fcnchen.example", server.port, prefix=[*prefix, "env", f"LC_ALL={locale}"])
            if "encod" in done.err:
                skip(f"getaddrinfo(3) lacks IDN here: {done.err}")
            done.expect(0, "^PROBE m\u00fcnchen.example \\(127.0.0.1\\)", "1 received")


run_all()
