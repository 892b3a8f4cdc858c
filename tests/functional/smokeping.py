# SPDX-License-Identifier: ISC
"""SmokePing's own EchoPing probe, as Debian ships it, with our echoping."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

from lib import run_all, skip, test
from probing import PATIENCE, Tcp, Udp

ECHOPING = os.environ["ECHOPING"]
PINGS = 5

GENERAL = """
*** General ***
owner = nobody
contact = nobody@example.org
mailhost = localhost
sendmail = /bin/true
imgcache = {folder}
imgurl = images
datadir = {folder}
piddir = {folder}
cgiurl = http://localhost/smokeping.cgi
smokemail = {folder}/empty
tmail = {folder}/empty

*** Database ***
step = 300
pings = {pings}
AVERAGE 0.5 1 100

*** Presentation ***
template = {folder}/empty
+ overview
width = 600
height = 50
range = 10h
+ detail
width = 600
height = 200
unison_tolerance = 2
"Last 3 Hours" 3h

*** Probes ***
+ EchoPing
binary = {echoping}
forks = 10

*** Targets ***
probe = EchoPing
menu = Top
title = Top
"""


def target(name, server, **variables):
    """The stock probe knows no port, but options to pass on."""
    variables = {"host": "127.0.0.1", "extraopts": f"--port {server.port}", "waittime": "0.01", "timeout": 10, **variables}
    lines = "".join(f"{key} = {value}\n" for key, value in variables.items())
    return f"+ {name}\nmenu = {name}\ntitle = {name}\n{lines}"


class Round:
    """One round of SmokePing: what it says, and what it makes of each target."""

    def __init__(self, *targets):
        program = shutil.which("smokeping") or shutil.which("smokeping", path="/usr/sbin")
        if not program:
            skip("needs smokeping: install the Debian package smokeping")
        with tempfile.TemporaryDirectory(prefix="echod-test-") as folder:
            config = pathlib.Path(folder, "config")
            pathlib.Path(folder, "empty").touch()
            config.write_text(GENERAL.format(folder=folder, echoping=ECHOPING, pings=PINGS) + "".join(targets), encoding="utf-8")
            done = subprocess.run([program, f"--config={config}", "--debug"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=3 * PATIENCE, check=False, text=True)
        self.said = done.stdout
        assert done.returncode == 0, f"status {done.returncode}: {self.said}"

    def result(self, name):
        """How many were lost, the median, and the sorted round trips in seconds, as they go to the database."""
        found = re.search(rf"^Calling RRDs::update\(\S*/{name}\.rrd --template \S+ \d+:U:(\S+)\)", self.said, re.M)
        assert found, f"no result of {name} in {self.said}"
        loss, median, *pings = found[1].split(":")
        assert len(pings) == PINGS, found[0]
        return int(loss), median, [float(ping) for ping in pings if ping != "U"]


def check_complete(round_, name):
    loss, median, pings = round_.result(name)
    assert loss == 0 and len(pings) == PINGS, round_.said
    assert all(0 < ping < 10 for ping in pings) and float(median) in pings, round_.said


@test("SmokePing gets the round trips of UDP and TCP")
def _():
    with Udp() as udp, Tcp() as tcp, Udp(host="::1") as udp6:
        round_ = Round(target("udp", udp, udp="yes"), target("tcp", tcp), target("udp6", udp6, udp="yes", host="::1", ipversion=6))
    for name in ("udp", "tcp", "udp6"):
        check_complete(round_, name)
    assert "WARNING" not in round_.said, round_.said


@test("every variable of SmokePing's probe is accepted")
def _():
    seen = []
    with Udp(lambda n, data: seen.append(data) or [data]) as server:
        round_ = Round(target("all", server, udp="yes", size=100, fill="A", priority=6, tos="0xa0", ipversion=4,
                              extraopts=f"-v --port {server.port}"))
    check_complete(round_, "all")
    assert [len(data) for data in seen] == [100] * PINGS and set(seen[0][16:]) == {ord("A")}, seen


@test("SmokePing counts lost tests as loss")
def _():
    def close_some(server, connection):
        count.append(1)
        if len(count) % 2:
            server.echo(connection)

    count = []
    with Udp(lambda n, data: [data] if n in (2, 3, 5) else []) as udp, Tcp(close_some) as tcp, \
         Udp(lambda n, data: []) as silent, Udp(lambda n, data: [data[:10]]) as cut:
        round_ = Round(target("udp", udp, udp="yes"), target("tcp", tcp), target("silent", silent, udp="yes"),
                       target("cut", cut, udp="yes"))
    for name, lost in (("udp", 2), ("tcp", 2), ("silent", PINGS), ("cut", PINGS)):
        loss, median, pings = round_.result(name)
        assert loss == lost and len(pings) == PINGS - lost, f"{name}: {round_.said}"
        assert (median == "U") == (lost == PINGS), round_.said


@test("options of SmokePing's other probes are refused by name")
def _():
    with Udp() as server:
        round_ = Round(target("discard", server, extraopts="-d"))
    assert round_.result("discard")[0] == PINGS, round_.said
    assert "-d (the discard service): only echo over TCP" in round_.said, round_.said


run_all()
