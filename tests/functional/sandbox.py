# SPDX-License-Identifier: ISC
"""The daemon in its sandbox: what is in force, nothing that it does needs more, and services that hang do not stop it."""

import ctypes
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile

from daemon import ECHOD, PATIENCE, Echod, check_stream, ordinary_user
from lib import run_all, skip, test, wait_for
from service import CAPABILITIES, UNIT, not_under_unit

BUILDDIR = os.environ["BUILDDIR"]


def features():
    """From the ready line: how many system calls are allowed, and Landlock's ABI, 0 for none; whether arguments are unchecked."""
    with Echod() as echod:
        line = echod.wait_line("ready:")
    calls, abi = re.search(r"seccomp \((\d+) calls", line), re.search(r"Landlock ABI (\d+)", line)
    return int(calls[1]) if calls else 0, int(abi[1]) if abi else 0, "unchecked" in line


CALLS, ABI, UNCHECKED = features()


def check_fields(echod, **fields):
    status = echod.status()
    for name, value in fields.items():
        assert status[name] == [value], f"{name} is {status[name]}, not {value}"


def check_everything(echod):
    """Echo, counters, reload, a replaced file, a file with errors; all of it twice, and no call fails."""
    for _ in range(2):
        echod.check()
        wait_for(lambda: echod.counters()["tcp_echoes"] > 0, PATIENCE, "an echo to be counted")
        assert "nothing changed" in echod.reload()
        assert "idle-timeout 600 -> 5" in echod.change(tcp="idle-timeout = 5")
        assert "was not reloaded" in echod.reload_text("tcp {\n")
        assert "idle-timeout 5 -> 600" in echod.change(tcp="")
    assert echod.counters()["sandbox_refused_calls"] == 0, echod.log()


@test("in its sandbox the daemon has no capability but what its unit gives it, no new privileges, and a filter on every thread")
def _():
    with Echod(top="workers = 3") as echod:
        held = f"{CAPABILITIES:016x}"
        check_fields(echod, CapEff=held, CapPrm=held, CapInh=held, CapAmb=held, NoNewPrivs="1")
        if CALLS:
            assert CALLS <= 45  # musl adds one, other processors a few
            for task in os.listdir(f"/proc/{echod.process.pid}/task"):
                text = pathlib.Path(f"/proc/{echod.process.pid}/task/{task}/status").read_text()
                assert "\nSeccomp:\t2\n" in text and "\nNoNewPrivs:\t1\n" in text, text
        check_everything(echod)


@test("a daemon started by an ordinary user has no capability, no new privileges, and a filter")
def _():
    with Echod(user=ordinary_user) as echod:
        check_fields(echod, CapEff="0" * 16, CapPrm="0" * 16, NoNewPrivs="1")
        if CALLS:
            check_fields(echod, Seccomp="2")
        check_everything(echod)


@test("a daemon that stays root keeps at most the capability to bind low ports")
def _():
    not_under_unit("root does not start it")
    if os.geteuid() != 0:
        skip("needs root")
    with Echod(top='user = "root"') as echod:
        bind = int(echod.status()["CapPrm"][0], 16)
        assert bind & ~(1 << 10) == 0, hex(bind)
        check_everything(echod)


@test("with sandbox = false there is no filter, the log says so, and a change needs a restart")
def _():
    with Echod(top="sandbox = false") as echod:
        assert "sandbox: none" in echod.wait_line("ready:")
        # A unit has a filter of its own.
        filtered = "2" if UNIT else "0"
        check_fields(echod, Seccomp=filtered, NoNewPrivs="1")
        assert "needs a restart: sandbox false -> true" in echod.change(top="sandbox = true")
        check_fields(echod, Seccomp=filtered)
        echod.check()


@test("40 workers, more than the C library has heaps for, serve and reload in the sandbox")
def _():
    with Echod(top="workers = 40") as echod:
        connections = [echod.connect() for _ in range(200)]
        for s in connections:
            check_stream(s, b"x" * 5000)
        for s in connections:
            s.close()
        check_everything(echod)


@test("in the sandbox debug messages are logged, and addresses with a zone looked up")
def _():
    with Echod(arguments=("-l", "debug")) as echod:
        echod.check()
        answer = echod.change(hosts=("fe80::1%lo",))
        assert "reloaded" in answer or "fe80::1%lo" in answer, answer
        assert "no such network interface" in echod.change(hosts=("fe80::1%nowhere",))


@test("in the sandbox a configuration in another folder is read again through a symbolic link")
def _():
    with tempfile.TemporaryDirectory(prefix="echod-test-") as directory:
        os.chmod(directory, 0o755)
        link = directory + "/link"
        with Echod(file=link, wait=False) as echod:
            os.symlink(echod.file, link)
            # The first start may have come before the link was made.
            echod.process.kill()
            echod.process.wait()
            echod._forget()
            echod._spawn()
            echod.wait_line("ready:")
            echod.check()
            assert "idle-timeout 600 -> 5" in echod.change(tcp="idle-timeout = 5")


# ---- services that hang ----

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 0x1000, 0x4000, 0x40000
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind=None, flags=0):
    if _libc.mount(source.encode(), target.encode(), kind and kind.encode(), flags, None) != 0:
        skip(f"cannot mount on {target}: {os.strerror(ctypes.get_errno())}")


def service(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(path)
    os.chmod(path, 0o777)
    s.settimeout(PATIENCE)
    return s


def fill(path):
    """Send until the socket takes no more."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        s.setblocking(False)
        try:
            for _ in range(100000):
                s.sendto(b"X=1", path)
        except BlockingIOError:
            return
    raise AssertionError(f"there is no end to what {path} takes")


def own_services():
    """Mount a /dev and a /run of our own, with sockets for syslog and the journal."""
    if os.geteuid() != 0:
        skip("needs root")
    if _libc.unshare(CLONE_NEWNS) != 0:
        skip("needs a mount namespace")
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    with tempfile.TemporaryDirectory() as devices:
        mount("none", devices, "tmpfs")
        for name in ("null", "zero", "urandom", "random"):
            pathlib.Path(devices, name).touch()
            mount(f"/dev/{name}", f"{devices}/{name}", flags=MS_BIND)
        os.chmod(devices, 0o755)
        mount(devices, "/dev", flags=MS_BIND | MS_REC)
        _libc.umount2(devices.encode(), 2)
    mount("none", "/run", "tmpfs")
    os.makedirs("/run/systemd/journal")
    return {"syslog": service("/dev/log"), "journal": service("/run/systemd/journal/socket")}


def in_child(function):
    """Run a function, which may mount and may skip, in a child."""
    not_under_unit("systemd would not see the mounts of the test")
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            function()
            answer = "done"
        except Exception as error:  # pylint: disable=broad-exception-caught
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, answer.encode()[-4000:])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        answer = said.read()
    os.waitpid(pid, 0)
    if answer.startswith("Skip: "):
        skip(answer[6:])
    assert answer == "done", answer


def receive_matching(s, pattern):
    """Read datagrams until one matches."""
    while True:
        text = s.recv(10000).decode()
        if re.search(pattern, text, re.DOTALL):
            return text


for target, first, second in (("syslog", "journal", "stderr"), ("journal", "syslog", "auto")):
    @test(f"messages reach log target {target}, and a reader of it that hangs does not stop the echo")
    def _(target=target, first=first, second=second):
        def run():
            services = own_services()
            paths = {"syslog": "/dev/log", "journal": "/run/systemd/journal/socket"}
            with Echod(top=f'log {{ target = "{target}" level = "debug" }}', wait=False) as echod:
                form = r"\A<29>\w\w\w [ \d]\d \d\d:\d\d:\d\d echod\[%d\]: .*ready:" if target == "syslog" else \
                    r"PRIORITY=5\n.*SYSLOG_IDENTIFIER=echod\n.*MESSAGE=echod .*ready:"
                receive_matching(services[target], form % echod.process.pid if "%d" in form else form)
                echod.check()
                echod.kill(signal.SIGHUP)
                receive_matching(services[target], "reloaded .*: nothing changed")
                fill(paths[target])
                for _ in range(50):
                    echod.check()
                echod.kill(signal.SIGUSR1)
                echod.check()
                # Its log can go elsewhere.
                echod.configure(f'log {{ target = "{first}" }}\ntcp {{ port = PORT }}\nudp {{ port = PORT }}\n')
                echod.kill(signal.SIGHUP)
                receive_matching(services[first], f"log.target {target} -> {first}")
                echod.configure(f'log {{ target = "{second}" }}\ntcp {{ port = PORT }}\nudp {{ port = PORT }}\n')
                echod.kill(signal.SIGHUP)
                echod.wait_line(f"log.target {first} -> {second}")
                echod.check()
        in_child(run)


@test("a service manager that hangs does not stop the echo, nor a reload or the stop")
def _():
    if b"READY=1" not in pathlib.Path(ECHOD).read_bytes():
        skip("built without systemd")
    with tempfile.TemporaryDirectory(prefix="echod-notify-") as directory:
        os.chmod(directory, 0o755)
        path = directory + "/notify"
        with service(path) as manager, \
             Echod(environment={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"}) as echod:
            receive_matching(manager, "READY=1")
            fill(path)
            for _ in range(20):
                echod.check()
            assert "nothing changed" in echod.reload()
            echod.check()
            assert echod.stop() == 0
            while select.select([manager], [], [], 0)[0]:
                manager.recv(10000)


# ---- escapes ----

def escapes(user):
    not_under_unit("the escapes have a test of their own")
    program = f"{BUILDDIR}/tests/systemd/escapes"
    if not os.path.exists(program):
        skip("tests/systemd/escapes was not built")
    if CALLS == 0 or ABI < 4:
        skip("needs seccomp and Landlock with ABI 4")
    if UNCHECKED:
        skip("on this architecture a filter cannot see which kind of socket is opened")
    with tempfile.TemporaryDirectory(prefix="echod-test-") as directory:
        os.chmod(directory, 0o755)
        copy = f"{directory}/escapes"
        subprocess.run(["cp", program, copy], check=True)
        done = subprocess.run([copy, "box", "bind"], capture_output=True, text=True, timeout=PATIENCE * 4,
                              preexec_fn=user, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@test("nothing gets out of the sandbox alone, as root")
def _():
    if os.geteuid() != 0:
        skip("needs root")
    escapes(None)


@test("nothing gets out of the sandbox alone, as an ordinary user")
def _():
    escapes(ordinary_user)


run_all()
