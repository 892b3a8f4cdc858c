# SPDX-License-Identifier: ISC
"""The options that a program accepts are those of its help, of its manual page and of its completions.

The list is the program's own: each letter, and each first letter of a word, is given to it, and the program says whether it has
such an option, and how it is called.
"""

import os
import pathlib
import re
import string
import subprocess

from daemon import ECHOD
from lib import run_all, test
from probing import PATIENCE

SRCDIR = pathlib.Path(os.environ["SRCDIR"])
PAGES = {ECHOD: "echod.8", os.environ["ECHO_PROBE"]: "echo-probe.1", os.environ["CHECK_ECHO"]: "check_echo.1",
         os.environ["ECHOPING"]: "echoping.1"}
if os.access(os.environ.get("ECHO_EXPORTER", ""), os.X_OK):
    PAGES[os.environ["ECHO_EXPORTER"]] = "echo-exporter.8"
ECHO_PROBE = os.environ["ECHO_PROBE"]


def output_of(program, *arguments):
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, timeout=PATIENCE, check=False)
    return done.stdout


def accepted(program):
    """Letters and words of all options, as the program knows them, but for those that are known only to be refused by name."""
    letters = {c for c in string.ascii_letters + string.digits
               if not re.search("invalid option|only echo over", output_of(program, f"-{c}"))}
    words = set()
    for first in string.ascii_lowercase:
        # If one word begins so, getopt names it in one of two errors: a value is missing, or is not allowed.
        for argument in (f"--{first}", f"--{first}="):
            for line in output_of(program, argument).splitlines():
                if "unrecognized" not in line and " option '" in line:
                    words |= set(re.findall(r"'--([a-z][a-z0-9-]+)", line))
    return letters, words


def options_in(text):
    """Letters and words of what looks like an option."""
    letters = set(re.findall(r"(?<![\w-])-([A-Za-z0-9])\b", text))
    return letters, set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]+)", text))


def check_same(found, program):
    for kind, got, wanted in zip(("letters", "words"), found, accepted(program)):
        assert got == wanted, f"{kind} missing: {sorted(wanted - got)}, not an option: {sorted(got - wanted)}"


for program_, page_ in PAGES.items():
    name_ = os.path.basename(program_)

    @test(f"the help of {name_} names every option, on lines of at most 100 columns")
    def _(program=program_):
        text = output_of(program, "--help")
        # A message may be "-": that is an operand, not an option.
        check_same(options_in(text), program)
        # Where the configuration is depends on the build.
        usual = re.sub(r"/\S+/(echo-exporter|echod)\.conf", r"/etc/\1.conf", text)
        assert max(map(len, usual.splitlines())) <= 100, "a line is too long"

    @test(f"the manual page {page_} has an item for every option of {name_}")
    def _(program=program_, page=page_):
        items = re.findall(r"^\.It (Fl .*)", (SRCDIR / "man" / page).read_text(), re.M)
        flags = re.findall(r"Fl (\S+)", " ".join(items))
        check_same(({f for f in flags if len(f) == 1}, {f[1:] for f in flags if len(f) > 1}), program)


@test("the completion of bash offers every option of echo-probe")
def _():
    script = f""". '{SRCDIR / "completions" / "echo-probe"}'
        COMP_WORDS=(echo-probe -) COMP_CWORD=1; _echo_probe; printf '%s ' "${{COMPREPLY[@]}}" """
    check_same(options_in(output_of("bash", "-c", script)), ECHO_PROBE)


@test("the completion of zsh has every option of echo-probe")
def _():
    text = (SRCDIR / "completions" / "_echo-probe").read_text()
    # The first line of _arguments has flags of its own, -s and -S.
    text = text.partition("_arguments")[2].partition("\n")[2]
    check_same(options_in(re.sub("[{},')]", " ", text)), ECHO_PROBE)


@test("bash is offered the protocol, then host names, then nothing, whatever options stand between")
def _():
    script = f""". '{SRCDIR / "completions" / "echo-probe"}'
        compgen() {{ echo "$2"; }}
        COMP_WORDS=(echo-probe "$@" "") COMP_CWORD=$(($# + 1)); _echo_probe; printf '%s' "${{COMPREPLY[@]}}" """
    for words, offered in (("", "tcp udp"), ("-m tcp", "tcp udp"), ("-qm tcp", "tcp udp"), ("-c3 -n", "tcp udp"),
                           ("--message tcp", "tcp udp"), ("--message = tcp", "tcp udp"), ("--json", "tcp udp"),
                           ("udp", "hostname"), ("-m tcp udp -q", "hostname"), ("udp --count = 3", "hostname"),
                           ("udp localhost", ""), ("udp localhost -n 7", ""), ("-m", ""), ("udp -nc", ""), ("udp --pattern", "")):
        out = output_of("bash", "-c", script, "bash", *words.split())
        assert out == offered, f"echo-probe {words} is offered '{out}', not '{offered}'"


run_all()
