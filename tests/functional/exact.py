# SPDX-License-Identifier: ISC
"""echo-probe against a server that delays, drops, repeats, reorders and damages by rules: every counter, and every time."""

import collections
import functools
import json
import pathlib
import re
import statistics
import time

from daemon import need_ipv6, private_network
from lib import note, run_all, skip, test
from probing import run
from responding import Responder, Rule, outcome

private_network()

SECOND = 1000000000

COUNT = 100000
INTERVAL = 0.0001
TIMEOUT = 4

# The late ones are sent in the first half, so that their answers come before the run ends, TIMEOUT after the last probe; and
# all of it before any delay but theirs could come near TIMEOUT.
RULES = [
    Rule("late=6000000", 1, 500, COUNT // 2),
    Rule("drop", 11, 100),
    Rule("delay=150", 22, 100),
    Rule("delay=1000", 33, 100),
    Rule("delay=20000", 44, 100),
    Rule("repeat=3", 55, 100),
    Rule("reorder", 66, 100),
    Rule("truncate=20", 77, 100),
    Rule("corrupt=40", 88, 100),
    Rule("wrong_port", 99, 100),
]


def kernel_drops():
    """Datagrams that no receive buffer of this namespace had room for."""
    lines = pathlib.Path("/proc/net/snmp").read_text("ascii").splitlines()
    names, values = (line.split() for line in lines if line.startswith("Udp:"))
    return int(values[names.index("RcvbufErrors")])


class Measured:
    """One run, and what should have come of it."""

    def __init__(self, options, count=COUNT, rules=None, interval=INTERVAL, host="127.0.0.1"):
        self.rules = RULES if rules is None else rules
        self.count = count
        drops = kernel_drops()
        began = time.monotonic()
        with Responder(self.rules, host) as self.responder:
            self.probe = run("-c", count, "-i", interval, "-W", TIMEOUT, *options, "udp", host, self.responder.port)
        stalled = time.monotonic() - began - count * interval - TIMEOUT
        self.drops = kernel_drops() - drops
        self.events, out_of_order = outcome(self.responder.answers, TIMEOUT * SECOND)
        found = collections.Counter(event for event, _ in self.events)
        self.expected = {"sent": count, "received": found["reply"], "lost": count - found["reply"], "out_of_order": out_of_order,
                         "duplicate": found["duplicate"], "late": found["late"], "corrupt": found["corrupt"],
                         "truncated": found["truncated"], "wrong_source": found["wrong_source"], "foreign": 0, "refused": 0,
                         "errors": 0}
        # Where something had to wait for so long, replies count as late that were sent in good time.
        self.disturbed = self.drops > 0 or stalled > TIMEOUT / 2 or any(
            answer.delay_ns > TIMEOUT * SECOND // 2 and answer.kind != "late" for answer in self.responder.answers)

    def by_rule(self):
        """The counters as the rules alone tell; they cannot tell what overtakes what."""
        applied = collections.Counter()
        repeated = 0
        for rule in self.rules:
            applied[rule.kind] += rule.probes(self.count)
            if rule.kind == "repeat":
                repeated += (int(rule.what.partition("=")[2]) - 1) * rule.probes(self.count)
        bad = {"late": applied["late"], "corrupt": applied["corrupt"], "truncated": applied["truncate"],
               "wrong_source": applied["wrong_port"]}
        lost = applied["drop"] + sum(bad.values())
        return {**self.expected, **bad, "lost": lost, "received": self.count - lost, "duplicate": repeated}

    def check(self, counters):
        """Every counter that is expected, and that the rules and the responder agree about it."""
        counts = self.responder.counts
        rules = self.by_rule()
        assert self.expected == rules, f"the responder did {counts}, which makes {self.expected}, where the rules make {rules}"
        got = {name: counters.get(name) for name in self.expected}
        assert got == self.expected, f"{got}, where the responder's answers make {self.expected}"


def undisturbed(check, *arguments, **options):
    """A run that passes this check; another one only where the machine, by all evidence, stood still for seconds."""
    for _ in range(3):
        measured = Measured(*arguments, **options)
        try:
            check(measured)
            return measured
        except AssertionError as error:
            if not measured.disturbed:
                raise
            note(f"another run, because this one was held up ({measured.drops} datagrams dropped by the kernel): {error}")
            failure = error
    raise failure


def objects(measured):
    return [json.loads(line) for line in measured.probe.out.splitlines()]


def check_lines(measured):
    *events, summary = objects(measured)
    assert summary["event"] == "summary", summary
    measured.check(summary["counters"])
    got = collections.Counter((event["event"], event["seq"]) for event in events)
    expected = collections.Counter((event, answer.seq) for event, answer in measured.events)
    assert got == expected, f"reported, but not so answered: {list(got - expected)[:10]}; " \
                            f"so answered, but not reported: {list(expected - got)[:10]}"
    assert measured.probe.status == 0 and not measured.probe.err, f"status {measured.probe.status}: {measured.probe.err}"


@functools.cache
def the_run():
    return undisturbed(check_lines, ("--json-lines",))


@test(f"{COUNT} probes: every counter is exact, and every event names its probe")
def _():
    measured = the_run()
    note(f"{measured.expected}")


@test("every round trip is what the server took, to 50 µs at the median")
def _():
    measured = the_run()
    *events, summary = objects(measured)
    counters = summary["counters"]
    # The kernel starts to stamp a moment after the first socket has asked it to.
    if measured.responder.counts["unstamped"] > COUNT // 100 or counters.get("stamped", COUNT) < counters["received"] // 2:
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


# Not long enough for a late one.
FEW = {"count": 2000, "interval": 0.001, "rules": [rule for rule in RULES if rule.kind != "late"]}


def check_text(measured):
    """The counters of the summary; it leaves out those that are zero."""
    counters = {"sent": r"(\d+) packets transmitted", "received": r"(\d+) received", "out_of_order": r"\+(\d+) out of order",
                "duplicate": r"\+(\d+) duplicates", "late": r"\+(\d+) late", "corrupt": r"\+(\d+) corrupt",
                "truncated": r"\+(\d+) truncated", "wrong_source": r"\+(\d+) from a wrong source",
                "foreign": r"\+(\d+) not ours", "refused": r"\+(\d+) refused", "errors": r"\+(\d+) errors"}
    found = {name: re.search(pattern, measured.probe.out) for name, pattern in counters.items()}
    got = {name: int(match[1]) if match else 0 for name, match in found.items()}
    measured.check({**got, "lost": got["sent"] - got["received"]})
    percent = 100 * measured.expected["lost"] / measured.count
    measured.probe.expect(0, rf", {re.escape(f'{percent:g}')}% packet loss")


@test("the summary says the same")
def _():
    undisturbed(check_text, ("-q",), **FEW)


@test("so does the one JSON document")
def _():
    undisturbed(lambda measured: measured.check(json.loads(measured.probe.out)["counters"]), ("-q", "--json"), **FEW)


@test("IPv6, and probes with nothing but a number and a nonce")
def _():
    need_ipv6()
    whole = [rule for rule in FEW["rules"] if rule.kind not in ("truncate", "corrupt")]
    undisturbed(check_text, ("-q", "-s", 16), **{**FEW, "rules": whole}, host="::1")


run_all()
