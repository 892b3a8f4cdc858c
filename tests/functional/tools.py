# SPDX-License-Identifier: ISC
"""What people type by hand: nc, ncat and socat, over both protocols and both families."""

import shutil
import subprocess

from daemon import PATIENCE, Echod, private_network
from lib import run_all, skip, test

private_network()

WORD = b"one word\n"

# With HOST and PORT to be filled in. For UDP each is told how long to wait for an answer, since no end of file will come.
TOOLS = {
    ("nc.openbsd", "tcp"): ["nc.openbsd", "-N", "HOST", "PORT"],
    ("nc.openbsd", "udp"): ["nc.openbsd", "-u", "-w", "1", "HOST", "PORT"],
    ("ncat", "tcp"): ["ncat", "HOST", "PORT"],
    ("ncat", "udp"): ["ncat", "-u", "-i", "1", "HOST", "PORT"],
    ("socat", "tcp"): ["socat", "-t", "5", "-", "TCP:HOST:PORT"],
    ("socat", "udp"): ["socat", "-t", "1", "-", "UDP:HOST:PORT"],
}


def echoed_by(command, host, port):
    """What the tool prints of the echo of what it is given. Its exit status tells how it stopped waiting: no matter."""
    in_brackets = f"[{host}]" if ":" in host and command[0] == "socat" else host
    arguments = [part.replace("HOST", in_brackets).replace("PORT", str(port)) for part in command]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tool:
        tool.stdin.write(WORD)
        tool.stdin.flush()
        echoed = tool.stdout.readline()
        tool.stdin.close()
        try:
            tool.wait(PATIENCE)
        finally:
            tool.kill()
    return echoed


for (name, protocol), command_line in TOOLS.items():
    for address in ("127.0.0.1", "::1"):

        @test(f"{name} gets its word back over {protocol} from {address}")
        def _(program=name, arguments=command_line, host=address):
            if not shutil.which(program):
                skip(f"needs {program}")
            with Echod() as echod:
                assert echoed_by(arguments, host, echod.port) == WORD


run_all()
