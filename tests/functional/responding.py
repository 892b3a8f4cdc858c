# SPDX-License-Identifier: ISC
"""The server tests/responder, which answers by rules, and what echo-probe must count when it has answered so."""

import collections
import json
import os
import pathlib
import struct
import subprocess
import tempfile

from lib import skip
from probing import PATIENCE

RESPONDER = pathlib.Path(os.environ["BUILDDIR"], "tests/responder/responder")

# As in responder.c.
KINDS = ("plain", "drop", "delay", "late", "repeat", "reorder", "truncate", "corrupt", "wrong_port")

Answer = collections.namedtuple("Answer", "seq kind delay_ns")


class Rule(collections.namedtuple("Rule", "what first step last", defaults=(1, None))):
    """KIND or KIND=VALUE for the probes first, first + step, ... up to last."""

    def __str__(self):
        return f"{self.what}@{self.first}/{self.step}" + (f"-{self.last}" if self.last else "")

    @property
    def kind(self):
        return self.what.partition("=")[0]

    def probes(self, count):
        """To how many of the probes 1 to count it applies. Rules of one list must not overlap."""
        return len(range(self.first, min(count, self.last or count) + 1, self.step))


class Responder:
    """with Responder([Rule...]) as r: ... r.port ...; afterwards r.counts, and r.answers in the order of sending."""

    def __init__(self, rules, host="127.0.0.1"):
        if not RESPONDER.exists():
            skip(f"needs {RESPONDER}: make check builds it")
        self.rules = rules
        self.counts = self.answers = None
        self._log = tempfile.NamedTemporaryFile()
        command = [RESPONDER, *(["-6"] if ":" in host else []), "-l", self._log.name, *map(str, rules)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                         text=True)
        self.port = self._process.stdout.readline().strip()
        assert self.port, f"the responder did not start: {self._process.communicate()[1]}"

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        try:
            out, err = self._process.communicate(timeout=PATIENCE)
        finally:
            self._process.kill()
            self._process.wait()
        if kind is None:
            assert self._process.returncode == 0 and not err, f"status {self._process.returncode} of the responder: {err}"
            self.counts = json.loads(out)
            records = struct.iter_unpack("QQQ", self._log.read())
            self.answers = [Answer(seq, KINDS[number], delay_ns) for seq, number, delay_ns in records]
        self._log.close()


def outcome(answers, timeout_ns):
    """What each answer is to the prober, in the same order: pairs of the event and the answer. What is received but not in order
    is a "reply" all the same; the second result is how many are."""
    events = []
    good = set()
    highest = out_of_order = 0
    named = {"truncate": "truncated", "corrupt": "corrupt", "wrong_port": "wrong_source"}
    for answer in answers:
        event = named.get(answer.kind)
        if not event:
            event = "duplicate" if answer.seq in good else "late" if answer.delay_ns >= timeout_ns else "reply"
            good.add(answer.seq)
        if event == "reply":
            out_of_order += answer.seq < highest
            highest = max(highest, answer.seq)
        events.append((event, answer))
    return events, out_of_order
