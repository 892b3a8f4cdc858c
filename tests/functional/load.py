# SPDX-License-Identifier: ISC
"""Clients that keep a daemon busy, each its own way, and compare every octet that comes back.

    with Load(echod, streams=4, datagrams=2) as load:
        ...
        load.settle()       all of them rest, and have no connection open
        load.go_on()
        assert not load.wrong, load.wrong
"""

import os
import random
import socket
import struct
import threading
import traceback

from daemon import PATIENCE, reset
from lib import wait_for

# What is sent at a place of a stream is found again at that place.
_OCTETS = os.urandom(1 << 20)

# How long a reply may take before the next datagrams are sent; it may come later still.
_REPLY = 0.05


class Lost(Exception):
    """The daemon has ended a connection that was not at its end."""


def piece(start, length):
    """The `length` octets of the stream from `start` on."""
    start %= len(_OCTETS)
    data = _OCTETS[start:start + length]
    return data if len(data) == length else data + piece(start + len(data), length - len(data))


class Load:
    def __init__(self, echod, streams=4, datagrams=2, hosts=None):
        self.echod = echod
        self.hosts = hosts or echod.hosts
        self.wrong = []    # what must not happen, as text
        self.lost = 0      # connections that the daemon ended
        self.echoed = 0    # octets of streams that came back
        self.answered = 0  # datagrams
        self.unanswered = 0
        self.connections = 0
        self._askers = {}  # by thread, its socket and what it has asked and not been answered
        self._lock = threading.Lock()
        self._run = threading.Event()
        self._ended = False
        self._working = 0
        works = [self._chat, self._stall] * ((streams + 1) // 2)
        works = works[:streams] + [self._ask] * datagrams
        self._threads = [threading.Thread(target=self._work, args=(work, self.hosts[number % len(self.hosts)]),
                                          daemon=True) for number, work in enumerate(works)]

    def __enter__(self):
        self._run.set()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._ended = True
        self._run.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        for s, _ in self._askers.values():
            s.close()

    def rest(self):
        """No client begins another piece of work."""
        self._run.clear()

    def settle(self):
        """Let all clients rest, and wait until they do."""
        self.rest()
        wait_for(lambda: self._working == 0, 2 * PATIENCE, "the clients to get their replies")

    def go_on(self):
        self._run.set()

    def _work(self, work, host):
        chance = random.Random(threading.get_ident())
        while not self._ended:
            if not self._run.is_set():
                self._run.wait()
                continue
            with self._lock:
                self._working += 1
            try:
                work(host, chance)
            except Lost:
                with self._lock:
                    self.lost += 1
            except Exception:  # pylint: disable=broad-exception-caught
                self.wrong.append(f"{work.__name__} of {host}: {traceback.format_exc()}")
            finally:
                with self._lock:
                    self._working -= 1

    # -- streams --

    def _connect(self, host):
        # One that is turned away may learn of it before it is told that it is connected.
        try:
            s = self.echod.connect(host)
        except ConnectionError as error:
            raise Lost from error
        with self._lock:
            self.connections += 1
        return s

    def _send(self, s, data):
        try:
            s.sendall(data)
        except ConnectionError as error:
            raise Lost from error

    def _take(self, s, start, length):
        """Receive `length` octets, which must be those of the stream from `start` on."""
        end = start + length
        while start < end:
            try:
                data = s.recv(min(end - start, 1 << 16))
            except ConnectionError as error:
                raise Lost from error
            if not data:
                raise Lost
            if data != piece(start, len(data)):
                self.wrong.append(f"octets {start} to {start + len(data)} of a stream are not what was sent")
                raise Lost
            start += len(data)
            with self._lock:
                self.echoed += len(data)

    def _finish(self, s):
        """Nothing may follow; a reset is as good an end, as all has come."""
        try:
            s.shutdown(socket.SHUT_WR)
            if s.recv(1):
                self.wrong.append("octets that nobody sent")
        except OSError:
            pass

    def _chat(self, host, chance):
        """Questions and answers; then farewell, or a reset."""
        with self._connect(host) as s:
            at = 0
            for _ in range(chance.randrange(12)):
                length = chance.choice((1, 64, 1460, 30000))
                self._send(s, piece(at, length))
                self._take(s, at, length)
                at += length
            if chance.randrange(4):
                self._finish(s)
            else:
                reset(s)

    def _stall(self, host, chance):
        """Send without reading, until the daemon takes no more and beyond; half-close; then read it all."""
        length = chance.choice((200_000, 1_000_000, 4_000_000))
        with self._connect(host) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            sent = 0
            s.settimeout(_REPLY)
            try:
                while sent < length:
                    sent += s.send(piece(sent, min(length - sent, 1 << 16)))
                s.shutdown(socket.SHUT_WR)
            except TimeoutError:
                pass
            except OSError as error:
                raise Lost from error
            s.settimeout(PATIENCE)
            if sent == length or chance.randrange(4):
                self._take(s, 0, sent)
                self._finish(s)
            else:
                self._take(s, 0, sent // 2)
                reset(s)

    # -- datagrams --

    def _ask(self, host, chance):
        """Send datagrams in batches. Each reply must be one of them, and come once."""
        # One socket for all batches: a new socket might get the same port, and with it a late reply.
        s, asked = self._askers.setdefault(threading.get_ident(), (None, {}))
        if s is None:
            s = self.echod.datagrams(host)
            s.settimeout(_REPLY)
            self._askers[threading.get_ident()] = (s, asked)
        number = max(asked, default=-1) + 1
        for _ in range(10):
            for _ in range(chance.choice((1, 8, 40))):
                data = struct.pack("!II", number, chance.getrandbits(32)) + piece(number, chance.choice((0, 60, 500, 1400)))
                asked[number] = data
                number += 1
                try:
                    s.send(data)
                except ConnectionRefusedError:
                    pass
            self._take_replies(s, asked)
        with self._lock:
            self.unanswered = sum(len(asked) for _, asked in self._askers.values())

    def _take_replies(self, s, asked):
        while asked:
            try:
                data = s.recv(65536)
            except (TimeoutError, ConnectionRefusedError):
                return
            if len(data) < 4 or asked.pop(struct.unpack("!I", data[:4])[0], None) != data:
                self.wrong.append(f"a datagram of {len(data)} octets that was not asked for")
            else:
                with self._lock:
                    self.answered += 1
