# SPDX-License-Identifier: ISC
"""echo-probe against a server that delays, drops, repeats, reorders and damages by rules: every counter, and every time."""

import collections
import functools
import heapq
import json
import re
import select
import socket
import statistics
import struct
import time

from daemon import need_ipv6, private_network
from lib import note, run_all, skip, test
from probing import PATIENT, Server, Udp, bound, run, summary

private_network()

SECOND = 1000000000

COUNT = 10000
INTERVAL = 0.0005
TIMEOUT = 2

SO_TIMESTAMPNS = 35

Answer = collections.namedtuple("Answer", "seq kind delay_ns")


class Rule(collections.namedtuple("Rule", "kind first value last", defaults=(0, None))):
    """What becomes of the probes first, first + 100, ... up to last. Rules of one list must not overlap."""

    def probes(self, count):
        """To how many of the probes 1 to count it applies."""
        return len(range(self.first, min(count, self.last or count) + 1, 100))

    def applies(self, seq):
        return seq >= self.first and (seq - self.first) % 100 == 0 and seq <= (self.last or seq)


# The late ones are sent in the first half, so that their answers come before the run ends, TIMEOUT after the last probe.
RULES = [
    Rule("late", 1, 3000, COUNT // 2),  # milliseconds
    Rule("drop", 11),
    Rule("delay", 22, 0.15),
    Rule("delay", 33, 1),
    Rule("delay", 44, 20),
    Rule("repeat", 55, 3),              # answers
    Rule("reorder", 66),                # answered right after the next probe
    Rule("truncate", 77, 20),           # octets that are left
    Rule("corrupt", 88, 40),            # this octet
    Rule("wrong_port", 99),
]


class Responder(Server):
    """Answers by rules; `answers` has what was sent, in order. A probe begins with its number: 8 octets, little-endian."""

    def __init__(self, rules, host):
        super().__init__(socket.SOCK_DGRAM, host)
        self.rules, self.other = rules, bound(socket.SOCK_DGRAM, host)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.answers, self.stamped, self.waiting, self.held = [], 0, [], None

    def serve(self):
        while True:
            left = max(0, self.waiting[0][0] - time.time_ns()) / SECOND if self.waiting else None
            ready = select.select([self.stopped, self.socket], [], [], left)[0]
            if self.stopped in ready:
                self.other.close()
                return
            if ready:
                self._take()
            while self.waiting and self.waiting[0][0] <= time.time_ns():
                self._send(*heapq.heappop(self.waiting)[1:])

    def _take(self):
        data, control, _, client = self.socket.recvmsg(2048, 64)
        arrived = time.time_ns()
        for _, kind, value in control:
            if kind == SO_TIMESTAMPNS:
                arrived, self.stamped = struct.unpack("qq", value)[0] * SECOND + struct.unpack("qq", value)[1], self.stamped + 1
        seq, = struct.unpack_from("<Q", data)
        rule = next((rule for rule in self.rules if rule.applies(seq)), Rule("plain", 0))
        probe = (seq, rule.kind, arrived, data, client)
        if rule.kind in ("late", "delay"):
            heapq.heappush(self.waiting, (arrived + int(rule.value * 1000000), *probe))
        elif rule.kind == "reorder":
            self.held = probe
        elif rule.kind != "drop":
            if rule.kind == "truncate":
                data = data[:rule.value]
            if rule.kind == "corrupt":
                data = data[:rule.value] + bytes([data[rule.value] ^ 255]) + data[rule.value + 1:]
            for _ in range(rule.value if rule.kind == "repeat" else 1):
                self._send(seq, rule.kind, arrived, data, client)
            if self.held:
                self._send(*self.held)
                self.held = None

    def _send(self, seq, kind, arrived, data, client):
        delay = time.time_ns() - arrived
        (self.other if kind == "wrong_port" else self.socket).sendto(data, client)
        self.answers.append(Answer(seq, kind, delay))

    def outcome(self):
        """What each answer is to the prober: pairs of the event and the answer; and how many replies were overtaken."""
        events, good, highest, out_of_order = [], set(), 0, 0
        named = {"truncate": "truncated", "corrupt": "corrupt", "wrong_port": "wrong_source"}
        for answer in self.answers:
            event = named.get(answer.kind)
            if not event:
                event = "duplicate" if answer.seq in good else "late" if answer.delay_ns >= TIMEOUT * SECOND else "reply"
                good.add(answer.seq)
            if event == "reply":
                out_of_order += answer.seq < highest
                highest = max(highest, answer.seq)
            events.append((event, answer))
        return events, out_of_order


class Measured:
    """One run, and what should have come of it."""

    def __init__(self, options, count=COUNT, rules=None, interval=INTERVAL, host="127.0.0.1"):
        self.rules = RULES if rules is None else rules
        self.count = count
        with Responder(self.rules, host) as self.responder:
            self.probe = run("-c", count, "-i", interval, "-W", TIMEOUT, *options, "udp", host, self.responder.port)
        self.events, out_of_order = self.responder.outcome()
        found = collections.Counter(event for event, _ in self.events)
        self.expected = {"sent": count, "received": found["reply"], "lost": count - found["reply"], "out_of_order": out_of_order,
                         "duplicate": found["duplicate"], "late": found["late"], "corrupt": found["corrupt"],
                         "truncated": found["truncated"], "wrong_source": found["wrong_source"], "foreign": 0, "refused": 0,
                         "errors": 0}
        # Where the server itself was held up for so long, replies count as late that were sent in good time.
        self.disturbed = any(answer.delay_ns > TIMEOUT * SECOND // 4 for answer in self.responder.answers if answer.kind != "late")

    def by_rule(self):
        """The counters as the rules alone tell; they cannot tell what overtakes what."""
        applied = collections.Counter()
        for rule in self.rules:
            applied[rule.kind] += rule.probes(self.count)
        repeated = sum((rule.value - 1) * rule.probes(self.count) for rule in self.rules if rule.kind == "repeat")
        bad = {"late": applied["late"], "corrupt": applied["corrupt"], "truncated": applied["truncate"],
               "wrong_source": applied["wrong_port"]}
        lost = applied["drop"] + sum(bad.values())
        return {**self.expected, **bad, "lost": lost, "received": self.count - lost, "duplicate": repeated}

    def check(self, counters):
        """Every counter that is expected, and that the rules and the responder agree about it."""
        rules = self.by_rule()
        assert self.expected == rules, f"the answers make {self.expected}, where the rules make {rules}"
        got = {name: counters.get(name) for name in self.expected}
        assert got == self.expected, f"{got}, where the answers make {self.expected}"


def undisturbed(check, *arguments, **options):
    """Measure until the check passes. A second and a third run are allowed only after one in which the server itself was held up."""
    for _ in range(3):
        measured = Measured(*arguments, **options)
        try:
            check(measured)
            return measured
        except AssertionError as error:
            if not measured.disturbed:
                raise
            note(f"another run, because this one was held up: {error}")
            failure = error
    raise failure


def objects(measured):
    return [json.loads(line) for line in measured.probe.out.splitlines()]


def check_lines(measured):
    *events, last = objects(measured)
    assert last["event"] == "summary", last
    measured.check(last["counters"])
    got = collections.Counter((event["event"], event["seq"]) for event in events)
    expected = collections.Counter((event, answer.seq) for event, answer in measured.events)
    assert got == expected, f"reported, but not so answered: {list(got - expected)[:10]}; " \
                            f"so answered, but not reported: {list(expected - got)[:10]}"
    assert measured.probe.status == 0 and not measured.probe.err, f"status {measured.probe.status}: {measured.probe.err}"


@functools.cache
def the_run():
    return undisturbed(check_lines, ("--json-lines",))


@test(f"of {COUNT} probes every counter is exact, and every event names its probe")
def _():
    note(f"{the_run().expected}")


@test("every round trip is what the server took, to 50 µs at the median")
def _():
    measured = the_run()
    *events, last = objects(measured)
    counters = last["counters"]
    # The kernel starts to stamp a moment after the first socket has asked it to.
    if measured.responder.stamped < COUNT * 9 // 10 or counters.get("stamped", COUNT) < counters["received"] // 2:
        skip("the kernel gives no timestamps here")
    # Round trips of delayed probes count from when they were due.
    if counters["delayed"] > counters["received"] // 4:
        skip(f"this machine cannot keep the schedule: {counters['delayed']} of {COUNT} probes were delayed")
    actual = {answer.seq: answer for event, answer in measured.events if event == "reply"}
    errors = collections.defaultdict(list)
    for event in events:
        if event["event"] == "reply":
            answer = actual[event["seq"]]
            for which in ("all", answer.kind):
                errors[which].append(abs(event["time_ns"] - answer.delay_ns))
    medians = {which: round(statistics.median(differences) / 1000, 1) for which, differences in errors.items()}
    note(f"medians in microseconds: {medians}")
    assert len(errors["all"]) == counters["received"], f"{len(errors['all'])} replies, {counters['received']} received"
    for which in ("all", "plain", "delay"):
        assert medians[which] <= 50, f"{which}: the median of the error is {medians[which]} µs"


# These runs are too short for replies that are late.
FEW = {"count": 1000, "interval": 0.001, "rules": [rule for rule in RULES if rule.kind != "late"]}


def check_summary(measured):
    """The counters of the summary; it leaves out those that are zero."""
    counters = {"sent": r"(\d+) packets transmitted", "received": r"(\d+) received", "out_of_order": r"\+(\d+) out of order",
                "duplicate": r"\+(\d+) duplicates", "late": r"\+(\d+) late", "corrupt": r"\+(\d+) corrupt",
                "truncated": r"\+(\d+) truncated", "wrong_source": r"\+(\d+) from a wrong source",
                "foreign": r"\+(\d+) foreign", "refused": r"\+(\d+) refused", "errors": r"\+(\d+) errors"}
    found = {name: re.search(pattern, measured.probe.out) for name, pattern in counters.items()}
    got = {name: int(match[1]) if match else 0 for name, match in found.items()}
    measured.check({**got, "lost": got["sent"] - got["received"]})
    percent = 100 * measured.expected["lost"] / measured.count
    measured.probe.expect(0, rf", {re.escape(f'{percent:g}')}% packet loss")


@test("the counters of the text summary are exact")
def _():
    undisturbed(check_summary, ("-q",), **FEW)


@test("the counters of the JSON document are exact")
def _():
    undisturbed(lambda measured: measured.check(json.loads(measured.probe.out)["counters"]), ("-q", "--json"), **FEW)


@test("the counters are exact over IPv6, with probes of nothing but a number and a nonce")
def _():
    need_ipv6()
    whole = [rule for rule in FEW["rules"] if rule.kind not in ("truncate", "corrupt")]
    undisturbed(check_summary, ("-q", "-s", 16), **{**FEW, "rules": whole}, host="::1")


@test("of 70 000 probes of a flood, more than the 65 536 that are remembered, every one is received")
def _():
    with Udp() as server:
        run("-f", "-l", 50, "-c", 70000, *PATIENT, "udp", "127.0.0.1", server.port).expect(0, summary(70000, 70000, 0))


run_all()
