# SPDX-License-Identifier: ISC
"""The clients on machines and in networks of every kind."""

from daemon import Neighbour, ip, need_ip, private_network
from lib import free_port, run_all, test
from probing import Tcp, Udp, run

private_network()

LOOPBACKS = ("127.0.0.1", "::1")
FAR = "192.0.2.2"  # of Neighbour


def echo(_, data):
    return [data]


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

@test("the route is asked for with the source, the TOS and the port of the probe")
def _():
    with Neighbour() as neighbour, neighbour.inside(Udp, echo, FAR) as server:
        ip("addr add 192.0.2.77/32 dev near", "route add 192.0.2.0/24 dev near table 77", "route del 192.0.2.0/24 dev near",
           "route del default")
        for rule, options in (("from 192.0.2.77", ("-I", "192.0.2.77")), ("tos 0x10", ("-Q", "0x10")),
                              ("ipproto udp sport 5000", ("--source-port", 5000))):
            ip(f"rule add {rule} table 77")
            try:
                for mode in (("-c", 1), ("--mtu", "-w", 5)):
                    run(*mode, *options, "-W", 5, "udp", FAR, server.port).expect(0)
            finally:
                ip(f"rule del {rule} table 77")


run_all()
