# SPDX-License-Identifier: ISC
"""echo-probe --mtu, through a router in namespaces of its own:

    here                  router                           far
    near ---------------- left    right ------------------ end
    192.0.2.1             192.0.2.254  198.51.100.254      198.51.100.2
    2001:db8:1::1         2001:db8:1::fe  2001:db8:2::fe   2001:db8:2::2
"""

import contextlib
import functools
import re
import subprocess
import sys

from daemon import ip, need_ip, private_network
from lib import run_all, skip, test
from probing import PATIENCE, PATIENT, Udp, all_of, closed_port, run

HOSTS = {"198.51.100.2": 28, "2001:db8:2::2": 48}

# Answers on both addresses of the far end, and cuts off what is longer than it is told.
ECHO = """
import select, socket, sys
sockets = []
for family, host in (socket.AF_INET, "198.51.100.2"), (socket.AF_INET6, "2001:db8:2::2"):
    s = socket.socket(family, socket.SOCK_DGRAM)
    s.bind((host, 7))
    sockets.append(s)
print("ready", flush=True)
while True:
    for s in select.select([*sockets, sys.stdin], [], [])[0]:
        if s is sys.stdin:
            sys.exit()
        data, client = s.recvfrom(65536)
        s.sendto(data[:int(sys.argv[1])], client)
"""


class Namespace:
    """Held open by a process that ends with its input."""

    def __init__(self, stack):
        self.holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; cat"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        stack.callback(self._end, self.holder)
        self.holder.stdout.readline()

    @staticmethod
    def _end(process):
        process.stdin.close()
        process.wait(PATIENCE)
        process.stdout.close()

    def ip(self, *commands):
        done = subprocess.run([*self.enter, "ip", "-batch", "-"], input="\n".join(commands), capture_output=True, text=True,
                              check=False)
        assert done.returncode == 0, f"{commands}: {done.stderr}"

    def forward(self):
        script = "echo 1 >/proc/sys/net/ipv4/ip_forward && echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"
        if subprocess.run([*self.enter, "sh", "-c", script], capture_output=True, check=False).returncode != 0:
            skip("needs a namespace where forwarding can be turned on")

    def echo(self, stack, longest):
        server = subprocess.Popen([*self.enter, sys.executable, "-c", ECHO, str(longest)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        stack.callback(self._end, server)
        assert server.stdout.readline() == b"ready\n"


def attach(ip_there, interface, neighbours, peer, v4, v6, default=None):
    """Up, with addresses, and knowing its neighbours, so that no first datagram waits for ARP or neighbour discovery."""
    commands = [f"link set {interface} addrgenmode none up", f"addr add {v4}/24 dev {interface}",
                f"addr add {v6}/64 dev {interface} nodad"]
    commands += [f"neigh add {address} lladdr 02:00:00:00:00:{peer:02x} dev {interface} nud permanent" for address in neighbours]
    if default:
        commands += [f"route add default via {neighbours[0]} {default}", f"route add default via {neighbours[1]}"]
    ip_there(*commands)


@contextlib.contextmanager
def path(near=1500, right=1500, end=None, back="", longest=65536):
    """MTUs of interfaces, what the far end's route back says, and the longest that its server sends."""
    need_ip()
    with contextlib.ExitStack() as stack:
        router, far = Namespace(stack), Namespace(stack)
        ip(f"link add near mtu {near} address 02:00:00:00:00:01 type veth "
           f"peer name left mtu 1500 address 02:00:00:00:00:02 netns {router.holder.pid}")
        stack.callback(ip, "link del near")
        router.ip(f"link add right mtu {right} address 02:00:00:00:00:03 type veth "
                  f"peer name end mtu {end or right} address 02:00:00:00:00:04 netns {far.holder.pid}")
        router.forward()
        attach(ip, "near", ("192.0.2.254", "2001:db8:1::fe"), 2, "192.0.2.1", "2001:db8:1::1", " ")
        attach(router.ip, "left", ("192.0.2.1", "2001:db8:1::1"), 1, "192.0.2.254", "2001:db8:1::fe")
        attach(router.ip, "right", ("198.51.100.2", "2001:db8:2::2"), 4, "198.51.100.254", "2001:db8:2::fe")
        attach(far.ip, "end", ("198.51.100.254", "2001:db8:2::fe"), 3, "198.51.100.2", "2001:db8:2::2", back or " ")
        far.echo(stack, longest)
        for host in HOSTS:
            # Both ends are up a moment before anything gets through.
            run("-c", 1, "-i", "0.01", "-w", PATIENCE, "udp", host).expect(0)
        yield


def find(host, *arguments):
    return run(*PATIENT, *arguments, "--mtu", "udp", host)


def expect_mtu(done, host, mtu, *lines):
    return done.expect(0, rf"^path MTU to \S+: {mtu}, for {mtu - HOSTS[host]} bytes of payload$", *lines)


@test("a router in between reports the smaller MTU of its next link, and is named")
def _():
    routers = {"198.51.100.2": "192.0.2.254", "2001:db8:2::2": "2001:db8:1::fe"}
    for mtu in (1400, 1281):
        with path(right=mtu):
            for host, router in routers.items():
                for _ in range(2):  # the second time, the kernel knows the answer
                    expect_mtu(find(host), host, mtu,
                           rf"^limit: {mtu - HOSTS[host] + 1} bytes: too big, says {router} \(MTU {mtu}\)$")


@test("the MTU of this host's interface is found to be the limit")
def _():
    with path(near=1300):
        for host in HOSTS:
            expect_mtu(find(host), host, 1300, r"^limit: \d+ bytes: too big for the interface of this host \(MTU 1300\)$")


@test("a black hole, where large datagrams vanish without a word, is found out")
def _():
    # A veth interface takes no frame that is longer than its own MTU with the tag of a VLAN.
    with path(end=1400):
        def search(host, headers):
            done = run("-W", "0.2", "--mtu", "udp", host).expect(
                0, r"^path MTU to \S+: 140[0-4], for \d+ bytes of payload$",
                r"^limit: black hole, larger datagrams vanish: \d+ bytes: no reply, and no error, in 3 tries$")
            mtu, payload = re.search(r"^path MTU to \S+: (\d+), for (\d+)", done.out, re.M).groups()
            assert int(mtu) - int(payload) == headers, str(done)

        all_of(*(functools.partial(search, *host) for host in HOSTS.items()))


@test("where the way back has a smaller MTU and the reply comes in fragments, the result says so")
def _():
    with path(back="mtu 1300"):
        host = "198.51.100.2"
        expect_mtu(find(host), host, 1500, r"^limit: \d+ bytes: too big for the interface of this host \(MTU 1500\)$",
               r"^way back: comes in fragments of up to 1(29[0-9]|300) bytes; up to 1272 bytes of payload come back in one piece$")


@test("a server that cuts off is not taken for a limit of the path")
def _():
    with path(longest=1000):
        find("198.51.100.2").expect(0, r"^path MTU to \S+: at least 1028, for 1000 bytes of payload$",
                                    r"^limit: 1001 bytes: the server sent back only 1000 bytes$")


@test("-s limits the search for the MTU")
def _():
    with path():
        find("198.51.100.2", "-s", 500).expect(0, r"^path MTU to \S+: at least 528, for 500 bytes of payload$",
                                               r"^limit: nothing larger was to be tried$")


@test("over loopback --mtu finds the largest datagram")
def _():
    for host, largest in (("127.0.0.1", 65507), ("::1", 65527)):
        with Udp(host=host) as server:
            # The interface has an MTU of 65536, which no IPv4 datagram reaches.
            run(*PATIENT, "--mtu", "udp", host, server.port).expect(
                0, rf"^path MTU to \S+: (at least )?\d+, for ({largest}|65488) bytes of payload$")


@test("--mtu where nobody listens is refused at once, exit status 1")
def _():
    run(*PATIENT, "--mtu", "udp", "127.0.0.1", closed_port()).expect(
        1, r"not found.* 16 bytes: Connection refused, says 127.0.0.1$")


@test("--mtu where nobody answers says that something filters, exit status 1")
def _():
    with Udp(lambda n, data: []) as server:
        run("-W", "0.05", "--mtu", "udp", "127.0.0.1", server.port).expect(
            1, r"not found.*there is no echo service, or something filters its datagrams; 16 bytes: no reply")


@test("--mtu without a route is an error, exit status 2")
def _():
    need_ip()
    run(*PATIENT, "--mtu", "udp", "203.0.113.1").expect(2, r"not found.*Network is unreachable")


private_network()
run_all()
