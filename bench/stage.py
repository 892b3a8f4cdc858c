# SPDX-License-Identifier: ISC
"""The place of a measurement: new namespaces, one core for the server and one for the load, a control group."""

import argparse
import datetime
import os
import pathlib
import platform
import resource
import shlex
import sys
import tempfile

from accounts import Group

SOURCE = pathlib.Path(__file__).resolve().parent
HOSTS = ("198.51.100.1", "198.51.100.2")
HOST, PORT = HOSTS[0], 7  # Of the loopback interface; openbsd-inetd answers no datagrams from 127.0.0.0/8.
PATIENCE = 10  # Seconds within which a server must start, or answer.
FIRST = ("chrt", "--fifo", "10")  # Starts a command with real-time priority.
INSIDE = "ECHOD_BENCH_INSIDE"


class Trouble(Exception):
    """A measurement that could not be made, and why."""


def parser_of(description):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", nargs="?", default=".", type=pathlib.Path, help="where echod was built (.)")
    parser.add_argument("--quick", action="store_true", help="few, short measurements: run and bounds take two minutes")
    parser.add_argument("--rounds", type=int, help="the most rounds (5, quick 2)")
    parser.add_argument("--duration", type=float, help="seconds of load a measurement (0.8, quick 0.15)")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write every figure to FILE")
    parser.add_argument("--no-fetch", action="store_true", help="leave out missing servers instead of downloading them")
    return parser


def parsed(parser, budget, quick_budget):
    """The options. No round or mode begins after `budget` seconds."""
    options = parser.parse_args()
    options.rounds = (2 if options.quick else 5) if options.rounds is None else options.rounds
    options.duration = (0.15 if options.quick else 0.8) if options.duration is None else options.duration
    options.budget = quick_budget if options.quick else budget
    if options.rounds < 1 or options.duration <= 0:
        parser.error("--rounds must be at least 1, and --duration more than 0")
    for program in ("src/echod", "src/echo-probe"):
        if not (options.build / program).exists():
            parser.error(f"{options.build / program} is not there: build first, and name the folder")
    options.build = options.build.resolve()
    options.peers = pathlib.Path(os.environ.get("PEERS", options.build / "peers")).resolve()
    return options


def chosen(words, known, what):
    for word in words or known:
        if word not in known:
            sys.exit(f"{sys.argv[0]}: {what} '{word}': known are {', '.join(known)}")
    return words or known


def enter_namespaces():
    """Runs this program again in new namespaces, where port 7, /run and the ephemeral ports are free, and where every process ends
    with it. Connections in TIME_WAIT are not kept, because they would use up the ports of later connections."""
    if os.geteuid() != 0:
        sys.exit(f"{sys.argv[0]}: namespaces, port 7 and echod's change of account need root: run it as root")
    prepare = ("mount -t tmpfs tmpfs /run && ip link set lo up && "
               + "".join(f"ip address add {host} dev lo && " for host in HOSTS) +
               "cd /proc/sys/net/ipv4 && echo 1024 65535 >ip_local_port_range && echo 0 >tcp_max_tw_buckets && "
               "cd \"$OLDPWD\" && exec \"$@\"")
    os.environ[INSIDE] = "1"
    os.execvp("unshare", ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c",
                          prepare, "sh", sys.executable, *sys.argv])


def circumstances():
    """The date, the machine and the command, without which a figure is worth nothing."""
    model = next((line.split(":")[1].strip() for line in pathlib.Path("/proc/cpuinfo").read_text("utf-8").splitlines()
                  if line.startswith("model name")), platform.machine())
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "machine": f"{len(os.sched_getaffinity(0))} cores of {model}, {platform.system()} {platform.release()}, "
                       f"load average {os.getloadavg()[0]:.1f} before",
            "command": shlex.join(sys.argv)}


def perform(options, prepare, measure):
    """Calls prepare(options) with access to the network, then measure(options) in new namespaces."""
    if INSIDE not in os.environ:
        prepare(options)
        enter_namespaces()
    options.circumstances = circumstances()
    cores = sorted(os.sched_getaffinity(0))
    options.cores = (cores[0], cores[min(1, len(cores) - 1)])
    os.sched_setaffinity(0, {options.cores[1]})
    options.descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (options.descriptors, options.descriptors))
    with tempfile.TemporaryDirectory() as folder:
        options.work = pathlib.Path(folder)
        options.group = Group()
        options.work.chmod(0o755)  # echod changes its account after the start.
        try:
            measure(options)
        except Trouble as error:
            sys.exit(f"{sys.argv[0]}: {error}")
        finally:
            options.group.remove()
