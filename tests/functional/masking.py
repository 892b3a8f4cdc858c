# SPDX-License-Identifier: ISC
"""Text from outside stays within its line, steers no terminal and adds no performance data."""

import os
import subprocess

from daemon import ECHOD
from lib import run_all, test
from probing import ECHO_PROBE, PATIENCE, Udp

CHECK_ECHO, ECHOPING = os.environ["CHECK_ECHO"], os.environ["ECHOPING"]

# C0, DEL, C1 as UTF-8, an override of the writing direction, a line separator, an octet that is no UTF-8.
HOSTILE = b"a\nb\x1b[2Jc\x7f\xc2\x9b\xe2\x80\xae\xe2\x80\xa8\xff|x=1"
MASKED = r"a\x0ab\x1b[2Jc\x7f\xc2\x9b\xe2\x80\xae\xe2\x80\xa8\xff"


def said(program, *arguments):
    done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PATIENCE, check=False)
    return done.stdout.decode("utf-8")


for program_, place_, arguments_ in (
        (ECHO_PROBE, "HOST", ["udp", HOSTILE]),
        (ECHO_PROBE, "PORT", ["udp", "127.0.0.1", HOSTILE]),
        (ECHO_PROBE, "the protocol", [HOSTILE, "127.0.0.1"]),
        (ECHO_PROBE, "a number", ["-c", HOSTILE, "udp", "127.0.0.1"]),
        (ECHO_PROBE, "an unknown option", [b"--" + HOSTILE]),
        (ECHO_PROBE, "an interface", ["-c1", "-I", b"a\nb\x1b[2Jc\x7f", "udp", "127.0.0.1"]),
        (CHECK_ECHO, "HOST", ["-H", HOSTILE]),
        (CHECK_ECHO, "PORT", ["-H", "127.0.0.1", "-p", HOSTILE]),
        (CHECK_ECHO, "a threshold", ["-H", "127.0.0.1", "-w", HOSTILE]),
        (CHECK_ECHO, "an argument", [HOSTILE]),
        (CHECK_ECHO, "an unknown option", [b"--" + HOSTILE]),
        (ECHOPING, "HOST", [HOSTILE]),
        (ECHOPING, "a number", ["-n", HOSTILE, "127.0.0.1"]),
        (ECHOD, "an argument", [HOSTILE]),
        (ECHOD, "a number", ["-p", HOSTILE]),
        (ECHOD, "an unknown option", [b"--" + HOSTILE])):
    @test(f"{os.path.basename(program_)} masks hostile octets in {place_}")
    def _(program=program_, arguments=arguments_):
        lines = said(program, *arguments).split("\n")
        assert any(MASKED.partition("\\xc2")[0] in line for line in lines) and all(line.isprintable() for line in lines), lines
        line = lines[0]
        if HOSTILE in arguments or b"--" + HOSTILE in arguments:
            assert MASKED + ("|x=1" if program != CHECK_ECHO else r"\x7cx=1") in line, line
        if program == CHECK_ECHO:
            assert line.startswith("ECHO UNKNOWN - ") and "|" not in line, line


@test("an unknown letter that is an octet of UTF-8 is masked")
def _():
    for program in (ECHO_PROBE, CHECK_ECHO, ECHOPING, ECHOD):
        assert r"invalid option -- '\xc3'" in said(program, "-ü"), said(program, "-ü")
        assert r"invalid option -- '\x1b'" in said(program, b"-\x1b"), said(program, b"-\x1b")


@test("a message of UTF-8 is shown as it is, but for what steers a terminal")
def _():
    with Udp() as server:
        for message, shown in (("grüße", "grüße"), ("日本 €😀", "日本 €😀"), ("a\u202eb", r"a\xe2\x80\xaeb"), ('"\\', r"\x22\x5c"),
                               ("a|b", "a|b"), (b"\xfc\xc3", r"\xfc\xc3"), (b"\xed\xa0\x80\xc0\xaf", r"\xed\xa0\x80\xc0\xaf")):
            text = said(ECHO_PROBE, "-c1", "-m", message, "udp", "127.0.0.1", str(server.port))
            assert f'"{shown}"\n' in text, text


@test("a name of UTF-8 is shown as it is")
def _():
    assert "'nö.invalid'" in said(ECHO_PROBE, "udp", "nö.invalid")
    assert said(CHECK_ECHO, "-H", "nö.invalid").startswith("ECHO UNKNOWN - host 'nö.invalid': ")


run_all()
