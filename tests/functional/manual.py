# SPDX-License-Identifier: ISC
"""The examples of the manual pages do what they show; those of systemctl run in tests/systemd. echod(8) has every counter."""

import os
import pathlib
import re
import subprocess
import tempfile

from daemon import ECHOD, PATIENCE, Echod, private_network
from lib import run_all, skip, test, wait_for
from service import not_under_unit

MAN = pathlib.Path(os.environ["SRCDIR"]) / "man"
PROGRAMS = (ECHOD, *(os.environ[name] for name in ("ECHO_PROBE", "CHECK_ECHO", "ECHOPING")))
PORT = 7007

private_network()


def examples(page):
    """The literal blocks and lines of a page's EXAMPLES, without prompts."""
    text = (MAN / page).read_text().split(".Sh EXAMPLES\n")[1].split("\n.Sh ")[0]
    found = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed$|^\.Dl ([^\n]*)$", text, re.M | re.S)
    return [re.sub(r"^\$ ", "", (block or line).replace("\\e", "\\"), flags=re.M) for block, line in found]


def run_example(commands):
    """In a shell that finds the programs by their names; every command must succeed."""
    with tempfile.TemporaryDirectory() as folder:
        for program in PROGRAMS:
            (pathlib.Path(folder) / os.path.basename(program)).symlink_to(program)
        environment = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}")
        done = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", commands], env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE, check=False, text=True)
    assert done.returncode == 0, f"exit status {done.returncode} of:\n{commands}\n{done.stdout}"
    return done.stdout


def first_line(commands):
    return commands.strip().splitlines()[0]


def register(page, commands):
    """Register a test of one example."""

    @test(f"{page}: {first_line(commands)}")
    def _():
        if "systemctl" in commands:
            skip("needs systemd: see tests/systemd")
        if re.search(r"\bnc\b", commands):
            need_nc()
        if commands.startswith("echod "):
            serves(commands)
            return
        with Echod(port=PORT):
            output = run_example(commands)
        if "nc " in commands:
            assert output.split() == ["hello"] * commands.count("nc "), output


def need_nc():
    """Skip the test unless nc is OpenBSD's, which knows -N."""
    usage = subprocess.run("nc -h 2>&1", shell=True, stdout=subprocess.PIPE, text=True, check=False).stdout
    if "-N" not in usage:
        skip("needs nc of OpenBSD (Debian package netcat-openbsd)")


def serves(command):
    """A daemon in a terminal: it echoes until it is interrupted."""
    not_under_unit("the test itself runs echod")
    arguments = command.split()
    with subprocess.Popen([ECHOD, *arguments[1:]], stderr=subprocess.PIPE, text=True) as daemon:
        try:
            wait_for(lambda: "ready" in daemon.stderr.readline(), PATIENCE, "the daemon")
            run_example(f"echo-probe -c 1 tcp localhost {PORT} && echo-probe -c 1 udp localhost {PORT}")
        finally:
            daemon.terminate()
    assert daemon.returncode == 0, daemon.returncode


for page in ("echod.8", "echo-probe.1", "check_echo.1", "echoping.1"):
    for example in examples(page):
        register(page, example)

for example in examples("echod.conf.5"):

    @test(f"echod.conf.5: {first_line(example)}")
    def _(text=example):
        not_under_unit("the test itself runs echod")
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write(text)
            file.flush()
            assert "configuration OK" in run_example(f"echod -t -f {file.name}")


@test("the counters of echod.8 are those that SIGUSR1 logs")
def _():
    counters = re.search(r"logs these counters:\n(.*?)^\.El$", (MAN / "echod.8").read_text(), re.M | re.S)[1]
    described = set(re.findall(r"^\.It Cm (\w+)$", counters, re.M))
    with Echod() as echod:
        logged = set(echod.counters()) - {"open"}
    assert described == logged, f"missing: {logged - described}, no counters: {described - logged}"


run_all()
