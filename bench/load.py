# SPDX-License-Identifier: ISC
"""The load on a server: echo-probe, which verifies every echo, and bench/storm.c, which makes thousands of clients."""

import json
import subprocess
from dataclasses import dataclass

from stage import HOST, PATIENCE, PORT, Trouble


@dataclass(frozen=True)
class Mode:
    name: str
    title: str
    protocol: str
    options: tuple  # of echo-probe
    floors: tuple  # arguments of bench/floor.c, one for each loop that might be the best
    size: int = 64
    idle: int = 0  # further connections that are open and silent
    per_kib: bool = False  # the cost is in ns a KiB, not in us an echo
    one_core: bool = False  # server and load run on the same core

    @property
    def unit(self):
        return "ns/KiB" if self.per_kib else "us"


def links(count, window=1):
    return ("--connections", str(count), "-l", str(window))


def start_probe(options, mode, duration, *more, core=None, host=HOST, first=()):
    """Starts an echo-probe. `more` are options beside those of the mode; `first` is a command that starts echo-probe."""
    command = ["taskset", "-c", str(options.cores[1] if core is None else core), *first, str(options.build / "src/echo-probe"),
               "-f", "--json", "-W", "0.2" if mode.protocol == "udp" else "2", "-s", str(mode.size), "--duration", str(duration),
               *mode.options, *more, mode.protocol, host, str(PORT)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def end_probe(process, duration):
    """Waits for an echo-probe and returns its JSON document. Trouble if an echo was wrong."""
    with process:
        try:
            out, err = process.communicate(timeout=duration + PATIENCE)
            document = json.loads(out)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise Trouble("stalls") from error
        except ValueError as error:
            raise Trouble(err.strip() or f"echo-probe ended with status {process.returncode}") from error
    counters = document["counters"]
    wrong = [f"{counters[name]} {name}" for name in ("corrupt", "truncated", "errors", "refused") if counters[name]]
    if wrong or not counters["received"]:
        raise Trouble(", ".join(wrong) or "no echo came")
    return document


def probed(options, mode, duration, *more, **place):
    return end_probe(start_probe(options, mode, duration, *more, **place), duration)


class Storm:
    """Clients of bench/storm.c, which exist until the end of the with block. `seconds` is the time until all were served;
    `echoes`, after the block, is the number of datagrams that came back."""

    def __init__(self, options, *words):
        self.process = subprocess.Popen(["taskset", "-c", str(options.cores[1]), options.storm, HOST, str(PORT), *map(str, words)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        if not line:
            error = self.process.stderr.read().strip()
            self.__exit__()
            raise Trouble(f"storm: {error}")
        self.seconds = float(line)
        return self

    def __exit__(self, *_):
        with self.process:
            self.process.stdin.close()
            self.echoes = float(self.process.stdout.read() or 0)
