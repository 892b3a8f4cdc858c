# SPDX-License-Identifier: ISC
"""A daemon that systemd starts, under a copy of an installed unit. daemon.py uses it instead of a child if ECHOD_UNIT names one.

The copy has every line of the unit. Added at its end are arguments, a folder, an environment, where messages go, a limit of
descriptors, the network that the test is in; and no restart, so that the exit status can be looked at. Of a unit that belongs to
a socket, the socket's is copied too, with the test's addresses.
"""

import contextlib
import os
import pathlib
import re
import resource
import select
import signal
import subprocess

from lib import skip, wait_for

UNIT = os.environ.get("ECHOD_UNIT", "")
ACTIVATED = UNIT == "echod-activated.service"

# What a service manager puts in the environment.
MANAGED = {"LISTEN_FDS", "LISTEN_PID", "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}

# Those that the unit leaves to the daemon: CAP_NET_BIND_SERVICE, or none.
CAPABILITIES = 1 << 10 if UNIT == "echod.service" else 0

_PATIENCE = 30  # seconds, as in daemon.py
_COPIES = pathlib.Path("/run/systemd/system")
_LIMITS = {resource.RLIMIT_NOFILE: "LimitNOFILE"}


def not_under_unit(why):
    """Skip a test that is about something else than a daemon that systemd has started."""
    if UNIT:
        skip(f"not under {UNIT}: {why}")


def need_own_sockets(why="systemd binds and closes the sockets"):
    """Skip a test of what the daemon does with sockets where it is given them."""
    if ACTIVATED:
        not_under_unit(why)


def _systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=False)


def _quoted(argument):
    return '"' + re.sub(r'[\\"]', r"\\\g<0>", argument).replace("%", "%%") + '"'


def _output(stream):
    """By its name systemd opens what we have open."""
    return "null" if stream == subprocess.DEVNULL else f"file:/proc/{os.getpid()}/fd/{stream.fileno()}"


class Service:
    """Of subprocess.Popen what tests use. When it is made the daemon is ready, or has ended."""

    _count = 0

    def __init__(self, command, listen, cwd, env, limits, stdout, stderr):
        Service._count += 1
        self._name = f"echod-test-{os.getpid()}-{Service._count}"
        self._started = pathlib.Path(cwd, self._name)
        self.returncode = None
        self.stderr, writer = None, stderr
        if stderr == subprocess.PIPE:
            reading, writing = os.pipe()
            self.stderr, writer = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self._write_units(listen, [
            "ExecStart=", "ExecStart=" + " ".join(map(_quoted, command)).replace("$", "$$"), f"WorkingDirectory={cwd}",
            f"StandardOutput={_output(stdout)}", f"StandardError={_output(writer)}",
            *(f"Environment={_quoted(f'{name}={value}')}" for name, value in env.items()),
            *(f"{_LIMITS[limit]}={soft}:{hard}" for limit, (soft, hard) in limits.items())])
        self._start()
        if self.stderr:
            writer.close()

    def _start(self):
        said = _systemctl("start", f"{self._name}.target", f"{self._name}.service").stderr
        self._started.touch()
        self.pid = int(self._show()["ExecMainPID"])
        if not self.pid:
            self._remove()
            raise AssertionError(said)
        try:
            self._process = os.pidfd_open(self.pid)
        except ProcessLookupError:
            self._end()

    def _write_units(self, listen, lines):
        network = f"NetworkNamespacePath=/proc/{os.getpid()}/ns/net"
        if ACTIVATED:
            self._copy("echod.socket", "socket", ["[Socket]", network, "ListenStream=", *listen])
        else:
            lines.append(network)
        # A client that comes to the socket after the end does not start the daemon again.
        once = ["[Unit]", f"ConditionPathExists=!{self._started}", "[Service]", "Restart=no"]
        self._copy(UNIT, "service", once + lines)
        # What nothing refers to is forgotten when it has come to a good end, and its exit status with it.
        self._write("target", f"[Unit]\nAfter={self._name}.service\n")

    def _copy(self, unit, kind, lines):
        path = _systemctl("show", "--property=FragmentPath", "--value", unit).stdout.strip()
        text = pathlib.Path(path).read_text(encoding="utf-8")
        if ACTIVATED:
            text = text.replace("echod.socket", f"{self._name}.socket").replace(UNIT, f"{self._name}.service")
        self._write(kind, "\n".join([text, *lines, ""]))

    def _write(self, kind, text):
        _COPIES.joinpath(f"{self._name}.{kind}").write_text(text, encoding="utf-8")

    def _show(self):
        properties = "--property=ActiveState,ExecMainPID,ExecMainCode,ExecMainStatus"
        shown = _systemctl("show", properties, f"{self._name}.service").stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def _end(self):
        """It has ended: keep the exit status, or, below zero, the signal, and remove the units."""
        state = wait_for(lambda: (now := self._show())["ActiveState"] in ("inactive", "failed") and now, _PATIENCE,
                         f"{self._name} to be dead")
        status = int(state["ExecMainStatus"])
        self.returncode = status if int(state["ExecMainCode"]) == os.CLD_EXITED else -status
        self._remove()

    def _remove(self):
        copies = list(_COPIES.glob(f"{self._name}.*"))
        names = [copy.name for copy in copies]
        _systemctl("stop", *names)
        _systemctl("reset-failed", *names)
        for copy in copies:
            copy.unlink()

    def send_signal(self, number):
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)

    def poll(self):
        return self._ended(0)

    def wait(self, timeout=None):
        assert self._ended(timeout) is not None, f"it does not end in {timeout} s"
        return self.returncode

    def _ended(self, timeout):
        if self.returncode is None and select.select([self._process], [], [], timeout)[0]:
            self._end()
            os.close(self._process)
        return self.returncode
