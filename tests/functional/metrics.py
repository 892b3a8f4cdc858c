# SPDX-License-Identifier: ISC
"""The Unix socket that gives metrics in the text format of Prometheus."""

import contextlib
import grp
import os
import pathlib
import pwd
import re
import shutil
import socket
import stat
import subprocess
import tempfile
import threading

from daemon import PATIENCE, Echod, check_datagram, check_stream
from lib import note, run_all, skip, test, wait_for
from service import UNIT, not_under_unit

# Each counter that SIGUSR1 logs, and its metric.
METRICS = {
    "tcp_accepted": "echod_tcp_connections_accepted_total",
    "tcp_closed": "echod_tcp_connections_ended_total",
    "tcp_echoes": 'echod_echoes_total{protocol="tcp"}',
    "tcp_octets": 'echod_received_bytes_total{protocol="tcp"}',
    "tcp_octets_sent": 'echod_sent_bytes_total{protocol="tcp"}',
    "tcp_reset": "echod_tcp_connections_failed_total",
    "tcp_idle": "echod_tcp_connections_idle_total",
    "tcp_denied": 'echod_tcp_refused_total{reason="access"}',
    "tcp_refused_source": 'echod_tcp_refused_total{reason="source"}',
    "tcp_evicted": "echod_tcp_connections_evicted_total",
    "tcp_full": "echod_tcp_full_total",
    "tcp_starved": "echod_tcp_starved_total",
    "udp_received": "echod_udp_received_total",
    "udp_octets_received": 'echod_received_bytes_total{protocol="udp"}',
    "udp_echoes": 'echod_echoes_total{protocol="udp"}',
    "udp_octets": 'echod_sent_bytes_total{protocol="udp"}',
    "udp_denied": 'echod_udp_refused_total{reason="access"}',
    "udp_refused_port": 'echod_udp_refused_total{reason="port"}',
    "udp_refused_group": 'echod_udp_refused_total{reason="group"}',
    "udp_refused_other": 'echod_udp_refused_total{reason="other"}',
    "udp_over_budget": 'echod_udp_refused_total{reason="rate"}',
    "udp_leaked": "echod_udp_slipped_total",
    "udp_looped": 'echod_udp_refused_total{reason="loop"}',
    "udp_failed": "echod_udp_send_errors_total",
    "udp_dropped": "echod_udp_kernel_drops_total",
}

FOLDER = tempfile.TemporaryDirectory(prefix="echod-metrics-")
os.chmod(FOLDER.name, 0o755)
# A unit gives the daemon a folder of its own, and lets it write nowhere else.
PATH = "/run/echod/metrics" if UNIT else f"{FOLDER.name}/metrics"


def with_metrics(top="", group="", **options):
    """A daemon that gives metrics at PATH."""
    section = "" if UNIT else f'metrics {{ listen = "{PATH}" {group} }}'
    return Echod(top=f"{top}\n{section}", **options)


def connect():
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # Without a time limit connect(2) waits for its place.
    s.connect(PATH)
    s.settimeout(PATIENCE)
    return s


def snapshot(said=b""):
    """The text that a client gets. It ends in a reset if the client has sent anything, as that is not read."""
    with connect() as s:
        text = bytearray()
        with contextlib.suppress(BrokenPipeError):
            s.sendall(said)
        try:
            while piece := s.recv(65536):
                text += piece
        except ConnectionResetError:
            assert said, "reset"
    return text.decode("ascii")


def samples(text):
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M)}


@test("each counter that SIGUSR1 logs is a metric of the same value")
def _():
    with with_metrics(tcp="idle-timeout = 5") as echod, echod.datagrams() as s:
        echod.check()
        check_datagram(s, b"")
        check_datagram(s, b"x" * 1000)
        with echod.connect() as one:
            check_stream(one, b"y" * 100000)
        wait_for(lambda: echod.counters()["open"] == 0, PATIENCE, "no connection")
        logged = echod.settled()
        given = samples(snapshot())
        assert given["echod_tcp_connections"] == logged.pop("open")
        logged.pop("sandbox_refused_calls")
        assert set(logged) == set(METRICS), set(logged) ^ set(METRICS)
        for name, value in logged.items():
            assert given[METRICS[name]] == value, f"{name} is {value}, {METRICS[name]} {given[METRICS[name]]}"
        assert logged["udp_octets"] == logged["udp_octets_received"] > 0
        assert logged["tcp_octets"] == logged["tcp_octets_sent"] >= 100000


@test("promtool has nothing to say about the metrics")
def _():
    if not shutil.which("promtool"):
        skip("needs promtool (Debian package prometheus)")
    with with_metrics():
        done = subprocess.run(["promtool", "check", "metrics"], input=snapshot(), capture_output=True, text=True,
                              timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done


@test("the process's metrics are those of /proc, and the limit of connections is the configuration's")
def _():
    with with_metrics(tcp="max-connections = 77") as echod:
        given = samples(snapshot())
        # The client of that snapshot had a descriptor, too.
        assert given["process_open_fds"] == echod.descriptors() + 1, f"{given['process_open_fds']} {echod.descriptors()}"
        assert abs(given["process_resident_memory_bytes"] - echod.rss()) < 4 << 20
        assert given["process_max_fds"] >= 77
        assert given["echod_tcp_connections_limit"] == 77
        assert given["process_start_time_seconds"] <= given["echod_config_last_reload_success_timestamp_seconds"]
        with echod.connect() as s:
            check_stream(s)
            assert samples(snapshot())["echod_tcp_connections"] == 1


@test("a reload that fails is a metric, until one succeeds")
def _():
    with with_metrics() as echod:
        assert "was not reloaded" in echod.reload_text("tcp {\n")
        assert samples(snapshot())["echod_config_last_reload_successful"] == 0
        echod.configure()
        echod.reload()
        assert samples(snapshot())["echod_config_last_reload_successful"] == 1


@test("the socket has mode 0660 and belongs to the daemon's user")
def _():
    with with_metrics() as echod:
        found = os.stat(PATH)
        assert stat.S_IMODE(found.st_mode) == 0o660, oct(found.st_mode)
        assert found.st_uid == int(echod.status()["Uid"][0]), found.st_uid


@test("group = NAME gives the socket to that group, as root and as an ordinary user who is a member")
def _():
    not_under_unit("the unit sets the folder and no group")
    name = "daemon" if os.geteuid() == 0 else grp.getgrgid(os.getegid()).gr_name
    with with_metrics(group=f"group = {name}"):
        assert grp.getgrgid(os.stat(PATH).st_gid).gr_name == name


@test("a group that the daemon's user is no member of is an error, and the exit status is 77")
def _():
    not_under_unit("the test itself chooses the user")
    if os.geteuid() == 0:
        os.chown(FOLDER.name, pwd.getpwnam("nobody").pw_uid, -1)
        os.unlink(PATH)
    from daemon import ordinary_user  # pylint: disable=import-outside-toplevel
    with with_metrics(group="group = daemon", user=ordinary_user, wait=False, status=77) as echod:
        assert "Operation not permitted (metrics { group }" in echod.wait_line("cannot give")
        assert echod.wait() == 77


@test("a socket that a killed daemon has left is replaced")
def _():
    with with_metrics(status=-9) as echod:
        echod.process.kill()
        echod.wait()
    # The folder of a unit is removed when the daemon ends.
    assert UNIT or os.path.exists(PATH)
    with with_metrics():
        assert "echod_build_info" in snapshot()


@test("a socket that another daemon listens at is an error that says so, and the other keeps it")
def _():
    not_under_unit("both would have the same folder")
    with with_metrics():
        with with_metrics(wait=False, status=78) as second:
            second.wait_line(rf"cannot give metrics at {PATH}: Address already in use \(metrics {{ listen }} in .*\.conf\)")
            assert second.wait() == 78
        assert "echod_build_info" in snapshot()


@test("a file or a folder in the place of the socket is an error that says so, and stays")
def _():
    not_under_unit("the unit makes the folder")
    for make in (pathlib.Path.touch, pathlib.Path.mkdir):
        if os.path.exists(PATH):
            os.unlink(PATH)
        make(pathlib.Path(PATH))
        with with_metrics(wait=False, status=78) as echod:
            echod.wait_line(f"cannot give metrics at {PATH}: File exists")
            assert echod.wait() == 78
        assert not stat.S_ISSOCK(os.stat(PATH).st_mode)
    os.rmdir(PATH)


@test("the folder that a unit has made is the default, and trouble there is only a warning")
def _():
    not_under_unit("it sets the folder itself")
    with Echod(environment={"RUNTIME_DIRECTORY": FOLDER.name}):
        assert "echod_build_info" in snapshot()
    with Echod(environment={"RUNTIME_DIRECTORY": f"{FOLDER.name}/missing"}) as echod:
        assert "No such file or directory; going on without them" in echod.wait_line("cannot give metrics")
        echod.check()
    with Echod(top="metrics { }"):
        pass


@test("what a client sends is not read, and changes nothing")
def _():
    with with_metrics() as echod:
        for said in (b"GET /metrics HTTP/1.1\r\n\r\n", b"\0" * 65536):
            assert snapshot(said).endswith("\n")
            echod.check()
        assert "echod_build_info" in snapshot()


@test("nine hundred clients that never read cost the daemon no descriptor, and all find their snapshot whole at the end")
def _():
    with with_metrics() as echod:
        whole = len(snapshot())
        before = echod.descriptors()
        clients = [connect() for _ in range(900)]
        wait_for(lambda: echod.descriptors() == before, PATIENCE, "no more descriptors than before")
        echod.check()
        for s in clients:
            with s:
                assert len(b"".join(iter(lambda s=s: s.recv(65536), b""))) >= whole
        assert samples(snapshot())["process_open_fds"] == before + 1


@test("clients that connect as fast as they can stop no echo")
def _():
    end = threading.Event()
    count = [0] * 4

    def scrape(number):
        while not end.is_set():
            snapshot()
            count[number] += 1

    with with_metrics() as echod, echod.datagrams() as s, echod.connect() as stream:
        scrapers = [threading.Thread(target=scrape, args=(number,)) for number in range(len(count))]
        for scraper in scrapers:
            scraper.start()
        try:
            for _ in range(300):
                check_datagram(s)
                check_stream(stream)
            wait_for(lambda: sum(count) > 300, PATIENCE, "300 snapshots")
        finally:
            end.set()
            for scraper in scrapers:
                scraper.join()
        assert echod.counters()["sandbox_refused_calls"] == 0
    note(f"{sum(count)} snapshots meanwhile")


run_all()
