# SPDX-License-Identifier: ISC
"""Options, exit statuses, the check of a configuration, and the account that a daemon started as root becomes."""

import contextlib
import grp
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile

from daemon import (ECHOD, NOBODY, PATIENCE, SAME_USER, Echod, configuration, need_private_network, ordinary_user,
                    private_network)
from lib import free_port, run_all, skip, test, wait_for
from service import need_own_sockets, not_under_unit

USAGE, NOPERM, CONFIG = 64, 77, 78


def echod(*arguments, user=None, text=None):
    """Run it to its end; with a text, that is what `-f FILE` names. FILE in an argument stands for the file's name."""
    not_under_unit("the test itself runs echod")
    with tempfile.TemporaryDirectory(prefix="echod-test-") as directory:
        os.chmod(directory, 0o755)
        file = directory + "/echod.conf"
        if text is not None:
            pathlib.Path(file).write_text(text, encoding="utf-8")
        # A copy, where any user can run it: the tree may be below /root.
        program = shutil.copy(ECHOD, directory) if user else ECHOD
        command = [program] + [argument.replace("FILE", file) for argument in arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, preexec_fn=user, check=False)
        done.file = file
        return done


def check_status(done, status, *patterns):
    """Its exit status, and what it says on standard error and nowhere else."""
    assert done.returncode == status, f"{done.returncode}: {done.stderr}"
    assert done.stdout == "", done.stdout
    for pattern in patterns:
        assert re.search(pattern, done.stderr), f"no {pattern!r} in:\n{done.stderr}"


def missing_default():
    """The file of a daemon without -f, which must not be there."""
    said = subprocess.run([ECHOD, "-h"], capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    default, = re.findall(r"--config FILE +configuration \((.*)\)", said)
    if os.path.exists(default):
        skip(f"{default} exists here")
    return default


# ---- information ----

for option in ("-h", "--help"):
    @test(f"{option} names every option and signal on standard output, exit 0")
    def _(option=option):
        done = echod(option)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: echod")
        for word in ("-f, --config", "-p, --port", "-l, --log-level", "-t, --test", "-V, --version", "-h, --help",
                     "HUP", "TERM", "USR1", "64", "77", "78", "echod.conf"):
            assert word in done.stdout, word

for option in ("-V", "--version"):
    @test(f"{option} prints name and version, exit 0")
    def _(option=option):
        done = echod(option)
        assert (done.returncode, done.stderr) == (0, "")
        assert re.fullmatch(r"echod \d+\S*\n", done.stdout), done.stdout


@test("-h, -V and -t fail where standard output cannot be written")
def _():
    for option in ("-h", "-V", "-t"):
        with open("/dev/full", "w", encoding="ascii") as full:
            done = subprocess.run([ECHOD, option], stdout=full, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 1 and "standard output: No space left" in done.stderr, done


# ---- usage ----

WRONG = {
    "an unknown option": (["-x"], "x"),
    "an unknown long option": (["--frobnicate"], "frobnicate"),
    "an argument": (["extra"], "'extra'"),
    "-f without a file": (["-f"], "f"),
    "a port that is none": (["-p", "http"], "'http'.*1 to 65535"),
    "port 0": (["-p", "0"], "'0'.*1 to 65535"),
    "port 65536": (["-p", "65536"], "'65536'.*1 to 65535"),
    "a negative port": (["-p", "-7"], "'-7'"),
    "a port with something after it": (["-p", "7x"], "'7x'"),
    "an empty port": (["--port="], "''"),
    "a port beyond all numbers": (["-p", "99999999999999999999"], "1 to 65535"),
    "a log level that is none": (["-l", "loud"], "'loud'.*debug"),
    "an empty log level": (["--log-level", ""], "''"),
}

for name, (arguments, said) in WRONG.items():
    @test(f"{name} on the command line is exit 64, and the message says what is wrong and where to look")
    def _(arguments=arguments, said=said):
        check_status(echod(*arguments), USAGE, said, "echod --help")


# ---- the check of a configuration ----

for option in ("-t", "--test"):
    @test(f"{option} with a good file prints OK on standard output, exit 0, and opens no socket")
    def _(option=option):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            done = echod(option, "-f", "FILE", text=configuration(taken.getsockname()[1]))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{done.file}: configuration OK\n", ""), done


@test("-t prints every error of a bad file, as FILE:LINE: message in the order of lines, exit 78")
def _():
    done = echod("-t", "-f", "FILE", text="""workers = -1
foo = 1
tcp {
  port = 70000
  listen = { "1.2.3" }
}
udp { port = 0 }
log { level = "loud" }
""")
    check_status(done, CONFIG)
    lines = done.stderr.splitlines()
    expected = ((1, "workers.*-1"), (2, "foo"), (4, "tcp.port.*70000.*1 to 65535"), (5, r"tcp.listen.*1\.2\.3"),
                (7, "udp.port.*0"), (8, "log.level.*loud"))
    assert len(lines) == len(expected), done.stderr
    for line, (number, pattern) in zip(lines, expected):
        assert re.match(f"{re.escape(done.file)}:{number}: .*{pattern}", line), line


@test("-t finds the sample configuration good")
def _():
    sample = os.path.join(os.environ["SRCDIR"], "etc", "echod.conf")
    done = echod("-t", "-f", sample)
    assert (done.returncode, done.stdout) == (0, f"{sample}: configuration OK\n"), done


@test("-t finds port 7 good as an ordinary user, who may not bind it")
def _():
    done = echod("-t", "-f", "FILE", user=ordinary_user, text="")
    assert done.returncode == 0, done


@test("-t checks the configuration together with -p and -l")
def _():
    listen = 'tcp { listen = { "127.0.0.1:5", "0.0.0.0:6" } }'
    assert echod("-t", "-f", "FILE", "-l", "debug", text=listen).returncode == 0
    check_status(echod("-t", "-f", "FILE", "-p", "7007", text=listen), CONFIG, r":1: tcp\.listen.*7007")


for option in ((), ("-t",)):
    @test(f"{' '.join(('echod', *option))} with -f of a file that is not there, or of a folder, is exit 78")
    def _(option=option):
        check_status(echod(*option, "-f", "FILE"), CONFIG, "echod.conf: .*No such file")
        check_status(echod(*option, "-f", "/etc"), CONFIG, "/etc: .*directory")


@test("-t without -f checks the default file, or the built-in defaults with a notice where that is missing")
def _():
    done = echod("-t")
    default = missing_default()
    assert done.returncode == 0 and done.stdout == f"{default}: configuration OK\n", done
    assert default in done.stderr and "does not exist" in done.stderr, done.stderr


# ---- start ----

@test("a start with a bad file logs every error, exit 78")
def _():
    done = echod("-f", "FILE", text="foo = 1\n\nbar = 2\n")
    check_status(done, CONFIG, r"echod\.conf:1: .*foo", r"echod\.conf:3: .*bar")


@test("a start without the default file takes the defaults, with a notice")
def _():
    need_own_sockets()
    need_private_network()
    default = missing_default()
    with Echod(wait=False, file=None, arguments=("-p", str(free_port()))) as daemon:
        assert f"{default} does not exist" in daemon.wait_line("does not exist")
        line = daemon.wait_line("ready:")
        assert re.search(r"tcp 0\.0\.0\.0:(\d+) \[::\]:\1; udp 0\.0\.0\.0:\1 \[::\]:\1", line), line


@test("a port below 1024 without the right to it is exit 77, and the log tells how to get it")
def _():
    need_private_network()
    first = pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text(encoding="ascii")
    if int(first) <= 7:
        skip("anyone may bind port 7 here")
    done = echod("-f", "FILE", user=ordinary_user, text=configuration(7))
    check_status(done, NOPERM, "tcp 127.0.0.1:7", "ermission denied", "CAP_NET_BIND_SERVICE")


@test("a port that another program or echod has is exit 1, and the log names the port")
def _():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = echod("-f", "FILE", text=configuration(port, hosts=("127.0.0.1",)))
        check_status(done, 1, f"tcp 127.0.0.1:{port}.*in use")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = echod("-f", "FILE", text=configuration(port, hosts=("127.0.0.1",)))
        check_status(done, 1, f"udp 127.0.0.1:{port}.*in use")
    # Both echod run as the same user: the kernel would let them share the port.
    for top in (f"{SAME_USER}\nworkers = 1", f"{SAME_USER}\nworkers = 2"):
        with Echod(top=top) as first:
            for hosts in (("127.0.0.1",), ("0.0.0.0",), ("::1",)):
                done = echod("-f", "FILE", text=configuration(first.port, top=top, hosts=hosts))
                check_status(done, 1, f"{first.port}.*in use")
            first.check()


@test("a port that is taken is exit 1 where no file names it")
def _():
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        check_status(echod("-f", "FILE", "-p", str(port), text=""), 1, f"tcp 0.0.0.0:{port}.*in use")


@test("an address that is not this host's is exit 1, and the log names it with its line")
def _():
    done = echod("-f", "FILE", text='tcp {\n  listen = { "192.0.2.77" }\n  port = 7007\n}\nudp { enabled = false }\n')
    check_status(done, 1, r"echod\.conf:2: .*tcp 192\.0\.2\.77:7007")


@test("a user who does not exist is exit 78, and a group likewise")
def _():
    check_status(echod("-f", "FILE", text='user = "no-such-user"\n'), CONFIG, ":1: .*no-such-user")
    check_status(echod("-f", "FILE", text='user = "root"\ngroup = "no-such-group"\n'), CONFIG, ":2: .*no-such-group")


@test("-p overrides the configuration, for both protocols and every address, at a reload too")
def _():
    need_own_sockets()
    port = free_port()
    with Echod(arguments=("-p", str(port))) as daemon:
        for host in daemon.hosts:
            daemon.check_tcp(host, port=port)
            daemon.check_udp(host, port=port)
        daemon.reload_text('tcp { listen = { "127.0.0.1:1", "127.0.0.2:2" } }\n'
                           'udp { listen = { "127.0.0.2" } port = 3 }\n')
        for host in ("127.0.0.1", "127.0.0.2"):
            daemon.check_tcp(host, port=port)
        daemon.check_udp("127.0.0.2", port=port)


@test("-l overrides the configuration, at a reload too")
def _():
    with Echod(top='log { level = "error" }', arguments=("-l", "debug")) as daemon:
        daemon.check_tcp()
        daemon.wait_line("tcp: connection")
        daemon.change(top='log { level = "warning" }')
        mark = len(daemon.lines)
        daemon.check_tcp()
        daemon.wait_line("tcp: connection", since=mark)


@test("with -l error nothing is logged where nothing is wrong")
def _():
    with Echod(arguments=("--log-level=error",), wait=False) as daemon:
        def listens():
            try:
                daemon.check()
                return True
            except ConnectionRefusedError:
                return False
        wait_for(listens, PATIENCE, "the port")
        assert daemon.stop() == 0
        assert daemon.log() == ""


@test("long options work with = and without, and a file may be relative to the working directory")
def _():
    with Echod(file="echod.conf", arguments=("--log-level", "debug", f"--port={free_port()}")) as daemon:
        daemon.wait_line("ready:")
        assert "nothing changed" in daemon.reload()


@test("a daemon that serves writes nothing to standard output")
def _():
    with tempfile.TemporaryFile() as output, Echod(stdout=output) as daemon:
        daemon.check()
        assert daemon.stop() == 0
        assert output.seek(0, os.SEEK_END) == 0


# ---- the account ----

def check_identity(daemon, uid, gid):
    status = daemon.status()
    assert status["Uid"] == [str(uid)] * 4, status["Uid"]
    assert status["Gid"] == [str(gid)] * 4, status["Gid"]
    assert status["NoNewPrivs"] == ["1"]
    for task in os.listdir(f"/proc/{daemon.process.pid}/task"):
        text = pathlib.Path(f"/proc/{daemon.process.pid}/task/{task}/status").read_text(encoding="ascii")
        assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in text and "NoNewPrivs:\t1\n" in text, text
    return status


def check_powerless(daemon):
    for task in os.listdir(f"/proc/{daemon.process.pid}/task"):
        text = pathlib.Path(f"/proc/{daemon.process.pid}/task/{task}/status").read_text(encoding="ascii")
        for kind in ("Prm", "Eff", "Amb"):
            assert re.search(rf"^Cap{kind}:\t0+$", text, re.M), text


def need_root():
    not_under_unit("root does not start it")
    if os.geteuid() != 0:
        skip("needs root")


@test("a daemon started as root binds port 7, becomes nobody with nobody's group alone, and keeps no capability")
def _():
    need_root()
    need_private_network()
    with Echod(port=7, top="workers = 2") as daemon:
        daemon.check()
        status = check_identity(daemon, NOBODY.pw_uid, NOBODY.pw_gid)
        assert status["Groups"] == [], status["Groups"]
        check_powerless(daemon)
        # What it holds already stays, what it does not it cannot have.
        assert "nothing changed" in daemon.reload()
        daemon.port = 9
        answer = daemon.change()
        assert "was not reloaded" in answer and "ermission denied" in answer, answer
        daemon.port = 7
        daemon.check()


@contextlib.contextmanager
def in_user_namespace(daemon_arguments, config, prepare=""):
    """The daemon as root of a user namespace with one id; its process, and what it says until it is ready or ends."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount", "--net"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        skip("needs user namespaces")
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(config)
        file.flush()
        script = f'ip link set lo up\n{prepare}\nexec "$0" "$@"'
        command = [*unshare, "sh", "-c", script, ECHOD, "-f", file.name, *daemon_arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            try:
                said = ""
                for line in process.stderr:
                    said += line
                    if " ready: " in line:
                        break
                yield process, said
            finally:
                process.kill()


@test("as root of a user namespace with one id the daemon stays root, with one line; user = \"root\" or 0 needs no permission")
def _():
    not_under_unit("it starts the daemon itself")
    listen = 'tcp { listen = { "127.0.0.1:7007" } }\nudp { enabled = false }\n'
    for user in "", 'user = "root"\n', 'user = "0"\ngroup = "0"\n':
        with in_user_namespace([], user + listen) as (process, said):
            assert " ready: " in said, said
            assert said.count("running as root") == 1, said
            process.terminate()
            assert process.wait(PATIENCE) == 0
    with in_user_namespace([], listen, "mount -t tmpfs tmpfs /etc") as (process, said):
        assert " ready: " in said and "running as root: there is no account echod or nobody" in said, said


@test("as root of a user namespace with one id, another user of the configuration cannot be had: status 77, with the cause")
def _():
    not_under_unit("it starts the daemon itself")
    listen = 'user = "54321"\ntcp { listen = { "127.0.0.1:7007" } }\nudp { enabled = false }\n'
    with in_user_namespace([], listen) as (process, said):
        assert process.wait(PATIENCE) == 77, said
        assert "cannot become user 54321" in said and "user namespace" in said, said


@test("a daemon started as root becomes user and group of the configuration")
def _():
    need_root()
    with Echod(top='user = "daemon"\ngroup = "nogroup"') as daemon:
        daemon.check()
        check_powerless(daemon)
        status = check_identity(daemon, pwd.getpwnam("daemon").pw_uid, grp.getgrnam("nogroup").gr_gid)
        assert status["Groups"] == []


@test("a daemon started as root becomes the user and group of these numbers, which need no account")
def _():
    need_root()
    with Echod(top='user = 54321\ngroup = "54322"') as daemon:
        daemon.check()
        check_powerless(daemon)
        check_identity(daemon, 54321, 54322)


@test("a daemon started as an ordinary user stays that user, whatever the configuration says, without capabilities")
def _():
    with Echod(user=ordinary_user, top='user = "daemon"') as daemon:
        daemon.check()
        uid = NOBODY.pw_uid if os.geteuid() == 0 else os.geteuid()
        gid = NOBODY.pw_gid if os.geteuid() == 0 else os.getegid()
        check_identity(daemon, uid, gid)
        check_powerless(daemon)


@test("user = \"root\" is allowed, and the log warns of it")
def _():
    need_root()
    with Echod(top='user = "root"') as daemon:
        daemon.check()
        assert "running as root" in daemon.log()


@test("other processes of the daemon's account cannot read its environment")
def _():
    need_root()
    with Echod() as daemon:
        # See PR_SET_DUMPABLE in prctl(2): a change of identity clears it, and echod must not set it again.
        done = subprocess.run(["cat", f"/proc/{daemon.process.pid}/environ"], preexec_fn=ordinary_user,
                              capture_output=True, check=False)
        assert done.returncode != 0


if __name__ == "__main__":
    private_network()
    run_all()
