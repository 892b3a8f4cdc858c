# SPDX-License-Identifier: ISC
"""The help, the manual and the completions know every option, and no other."""

import os
import pathlib
import re
import subprocess

from lib import run_all, test
from probing import run

SRCDIR = pathlib.Path(os.environ["SRCDIR"])
# As the program itself names them: letters from getopt's own string, words from its table.
SOURCE = (SRCDIR / "src" / "tools" / "options.c").read_text()
LETTERS = set(re.search(r'getopt_long\(argc, argv, "([^"]*)"', SOURCE)[1]) - {":"}
WORDS = set(re.findall(r'^    \{"([a-z-]+)", ', SOURCE, re.M))


def options_in(text):
    """Letters and words of what looks like an option."""
    letters = set(re.findall(r"(?<![\w-])-([A-Za-z0-9])\b", text))
    return letters, set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", text))


@test("the help names every option, and fits a screen")
def _():
    text = run("--help").expect(0, "Usage").out
    letters, words = options_in(text)
    assert letters == LETTERS, f"letters differ: {letters ^ LETTERS}"
    assert words == WORDS, f"words differ: {words ^ WORDS}"
    assert len(text.splitlines()) <= 24, f"{len(text.splitlines())} lines"
    assert max(map(len, text.splitlines())) < 80, "a line is too long"


@test("so does the manual")
def _():
    items = " ".join(line for line in (SRCDIR / "man" / "echo-probe.1").read_text().splitlines() if line.startswith(".It Fl"))
    fl = re.findall(r"Fl (\S+)", items)
    assert {o for o in fl if len(o) == 1} == LETTERS, {o for o in fl if len(o) == 1} ^ LETTERS
    assert {o[1:] for o in fl if len(o) > 1} == WORDS, {o[1:] for o in fl if len(o) > 1} ^ WORDS


@test("so does the completion of bash")
def _():
    file = SRCDIR / "completions" / "echo-probe"
    script = f""". '{file}'
        COMP_WORDS=(echo-probe -) COMP_CWORD=1; _echo_probe; printf '%s ' "${{COMPREPLY[@]}}"
        COMP_WORDS=(echo-probe -c 3 u) COMP_CWORD=3; _echo_probe; printf '%s' "${{COMPREPLY[@]}}" """
    out = subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True).stdout
    letters, words = options_in(out)
    assert letters == LETTERS, f"letters differ: {letters ^ LETTERS}"
    assert words == WORDS, f"words differ: {words ^ WORDS}"
    assert out.endswith("udp"), out


@test("and that of zsh")
def _():
    letters, words = options_in((SRCDIR / "completions" / "_echo-probe").read_text().replace("{", " ").replace(",", " ").replace("'", " ").replace(")", " "))
    assert letters - {"s", "S"} == LETTERS - {"s", "S"}, f"letters differ: {letters ^ LETTERS}"
    assert words == WORDS, f"words differ: {words ^ WORDS}"


@test("bash is offered the protocol, then host names, then nothing, whatever options stand between")
def _():
    script = f""". '{SRCDIR / "completions" / "echo-probe"}'
        compgen() {{ echo "$2"; }}
        COMP_WORDS=(echo-probe "$@" "") COMP_CWORD=$(($# + 1)); _echo_probe; printf '%s' "${{COMPREPLY[@]}}" """
    for words, offered in (("", "tcp udp"), ("-m tcp", "tcp udp"), ("-qm tcp", "tcp udp"), ("-c3 -n", "tcp udp"),
                           ("--message tcp", "tcp udp"), ("--message = tcp", "tcp udp"), ("--json", "tcp udp"),
                           ("udp", "hostname"), ("-m tcp udp -q", "hostname"), ("udp --count = 3", "hostname"),
                           ("udp localhost", ""), ("udp localhost -n 7", ""), ("-m", ""), ("udp -nc", ""), ("udp --pattern", "")):
        out = subprocess.run(["bash", "-c", script, "bash", *words.split()], check=True, capture_output=True, text=True).stdout
        assert out == offered, f"echo-probe {words} is offered '{out}', not '{offered}'"


run_all()
