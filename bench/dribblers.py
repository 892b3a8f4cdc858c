#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""How long a new client waits for its first echo while other clients hold all connections that echod allows, and send an octet a
second on each:

    bench/dribblers.py BUILD [CONNECTIONS]      19000 by default; as root, because it needs many descriptors
"""

import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time

PORT = 20000 + os.getpid() % 10000
SOURCES = 200  # addresses of 127/8, so that no source has many connections


def dribble(clients, ended):
    """Sends an octet a second on every connection, and opens again those that echod has closed, as an attacker would."""
    while not ended.is_set():
        begin = time.monotonic()
        for number, client in enumerate(clients):
            try:
                client.send(b".", socket.MSG_DONTWAIT)
                client.recv(64, socket.MSG_DONTWAIT)
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                clients[number] = connect(number)
        ended.wait(max(0, begin + 1 - time.monotonic()))


def connect(number):
    client = socket.socket()
    client.bind((f"127.0.1.{number % SOURCES + 1}", 0))
    client.setblocking(False)
    client.connect_ex(("127.0.0.1", PORT))
    return client


def new_client():
    """Seconds to connect and have an octet echoed."""
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", PORT), timeout=60) as client:
        client.send(b"x")
        assert client.recv(1) == b"x"
    return time.monotonic() - begin


def main(build, connections=19000):
    limit = connections + 1000
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as conf:
        conf.write(f"workers = 1\ntcp {{ max-connections = {connections} }}\n")
        conf.flush()
        os.chmod(conf.name, 0o644)
        command = [os.path.join(build, "src", "echod"), "-f", conf.name, "-p", str(PORT), "-l", "error"]
        ended = threading.Event()
        with subprocess.Popen(command) as echod:
            try:
                time.sleep(1)
                clients = [connect(number) for number in range(connections)]
                while len(os.listdir(f"/proc/{echod.pid}/fd")) < connections:
                    time.sleep(0.1)
                dribbler = threading.Thread(target=dribble, args=(clients, ended))
                dribbler.start()
                time.sleep(3)
                waits = sorted(new_client() for _ in range(50) if not time.sleep(0.1))
                print(f"{connections} slow connections: first echo of a new client after {waits[25] * 1000:.0f} ms "
                      f"(median of 50), {waits[-1] * 1000:.0f} ms at most")
            finally:
                ended.set()
                echod.terminate()


main(sys.argv[1], *map(int, sys.argv[2:3]))
