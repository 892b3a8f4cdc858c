# SPDX-License-Identifier: ISC
"""echo-exporter: HTTP, the file for node_exporter, configuration, signals, exit statuses."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

from daemon import PATIENCE
from exporting import EXPORTER, FOLDER, METRICS, Exporter, metered, need_exporter
from lib import free_port, run_all, test, wait_for


def run(*arguments):
    """Its exit status and what it says."""
    need_exporter()
    done = subprocess.run([EXPORTER, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


def write(name, text):
    path = f"{FOLDER.name}/{name}"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


@test("/metrics has the daemon's snapshot, and echod_up 1 before it")
def _():
    with Exporter() as exporter, metered() as echod:
        echod.check()
        wait_for(lambda: echod.counters()["udp_echoes"] == 2, PATIENCE, "two echoes")
        response = exporter.ask("GET", "/metrics")
        assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        assert response.status == 200 and "\nechod_up 1\n" in response.text, response.text
        assert '\nechod_echoes_total{protocol="udp"} 2\n' in response.text
        assert response.text.index("echod_up") < response.text.index("echod_build_info")


@test("a daemon that does not run is echod_up 0 with status 200, and echod_up 1 when it runs")
def _():
    with Exporter(f"{FOLDER.name}/nothing") as exporter:
        assert "\nechod_up 0\n" in exporter.get("/metrics")
    with Exporter() as exporter:
        with metered() as echod:
            assert "\nechod_up 1\n" in exporter.get("/metrics")
            echod.stop()
            text = exporter.get("/metrics")
        assert "\nechod_up 0\n" in text and "echod_build_info" not in text
        with metered():
            assert "\nechod_up 1\n" in exporter.get("/metrics")


@test("a daemon that hangs, or sends half a line, is echod_up 0 within three seconds")
def _():
    path = f"{FOLDER.name}/fake"
    with socket.socket(socket.AF_UNIX) as fake:
        fake.bind(path)
        fake.listen()
        with Exporter(path) as exporter:
            begin = time.monotonic()
            assert "\nechod_up 0\n" in exporter.get("/metrics")
            assert time.monotonic() - begin < 10
            fake.accept()[0].close()

            def half():
                client, _ = fake.accept()
                with client:
                    client.sendall(b"echod_build_info 1\nechod_echoes_to")

            thread = threading.Thread(target=half)
            thread.start()
            text = exporter.get("/metrics")
            thread.join()
            assert "\nechod_up 0\n" in text and "build_info 1\nechod_echoes_to" not in text


@test("/ is a page with links, under a policy that allows it nothing")
def _():
    with Exporter() as exporter:
        response = exporter.ask("GET", "/")
        assert response.status == 200 and response.getheader("Content-Type") == "text/html; charset=utf-8"
        assert "default-src 'none'" in response.getheader("Content-Security-Policy")
        assert response.getheader("X-Content-Type-Options") == "nosniff"
        assert '<a href="/metrics">' in response.text and "<script" not in response.text


@test("anything else is 404, other methods are 405, and HEAD has no body")
def _():
    with Exporter() as exporter:
        for path in ("/metrics/", "/../etc/passwd", "/probe", "/metrics%20", "//"):
            assert exporter.ask("GET", path).status == 404, path
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"):
            response = exporter.ask(method, "/metrics")
            assert response.status == 405 and response.getheader("Allow") == "GET, HEAD", method
        assert exporter.ask("POST", "/", body=b"x" * 100000).status == 405
        response = exporter.ask("HEAD", "/metrics")
        assert response.status == 200 and response.text == "" and int(response.getheader("Content-Length")) > 50


@test("more clients than have room wait, and a client is served when others have left")
def _():
    with Exporter() as exporter:
        clients = [socket.create_connection(("127.0.0.1", exporter.port), PATIENCE) for _ in range(100)]
        for s in clients:
            s.close()
        wait_for(lambda: "echod_up" in exporter.get("/metrics"), PATIENCE, "an answer")


@test("SIGHUP changes address and source without losing a request")
def _():
    with metered(), Exporter(f"{FOLDER.name}/nothing") as exporter:
        exporter.metrics = METRICS
        exporter.configure()
        assert "not" not in exporter.reload()
        assert "\nechod_up 1\n" in exporter.get("/metrics")
        old, exporter.port = exporter.port, free_port()
        exporter.configure()
        exporter.reload()
        assert "\nechod_up 1\n" in exporter.get("/metrics")
        with socket.socket() as s:
            assert s.connect_ex(("127.0.0.1", old)) != 0, "the old address is still served"


@test("a reload with an error, or of an address that is in use, changes nothing")
def _():
    with metered(), Exporter() as exporter, socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        exporter.configure("listen = nowhere")
        assert "was not reloaded" in exporter.reload()
        exporter.configure(f'listen = "127.0.0.1:{other.getsockname()[1]}" echod {{ metrics = /nothing }}')
        assert "was not reloaded" in exporter.reload()
        assert "\nechod_up 1\n" in exporter.get("/metrics")


@test("-t prints every error as echod does, and exits with 78, or says that the file is right")
def _():
    good = write("good.conf", 'listen = "[::1]:9862" echod { metrics = /run/m }')
    assert run("-t", "-f", good) == (0, f"{good}: configuration OK\n", "")
    bad = write("bad.conf", "listen = localhost\nport = 7\nechod { metrics = run/m\n metric = x }")
    status, _, said = run("--test", "--config", bad)
    lines = said.splitlines()
    assert status == 78 and len(lines) == 4, said
    for line, beginning in zip(lines, (':1: listen: value "localhost": must be an', ':2: port: value "7": unknown key; known here: listen, echod',
                                       ':3: echod.metrics: value "run/m": must be an absolute path', ":4: echod.metric: ")):
        assert line.startswith(bad + beginning), line
    assert run("-t", "-f", f"{FOLDER.name}/missing")[0] == 78
    sample = os.path.join(os.environ["SRCDIR"], "etc/echo-exporter.conf")
    assert run("-t", "-f", sample)[0] == 0


@test("an address that is in use is exit status 1, wrong usage 64, a wrong configuration 78")
def _():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        used = write("used.conf", f'listen = "127.0.0.1:{other.getsockname()[1]}"')
        status, _, said = run("-f", used)
        assert status == 1 and "Address already in use" in said, said
    assert run("operand")[0] == run("--interval", "5")[0] == run("--textfile", "x", "--interval", "0")[0] == 64
    assert run("-f", write("wrong.conf", "listen = x"))[0] == 78


@test("a socket that systemd hands over is served, whatever `listen` says")
def _():
    need_exporter()
    script = ("import os, sys\nos.dup2(int(sys.argv[1]), 3)\nos.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n"
              "os.execv(sys.argv[2], sys.argv[2:])")
    with metered(), socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        port = listener.getsockname()[1]
        file = write("handed.conf", f'listen = "192.0.2.1" echod {{ metrics = "{METRICS}" }}')
        with subprocess.Popen([sys.executable, "-c", script, str(listener.fileno()), EXPORTER, "-f", file],
                              pass_fds=(3, listener.fileno()) if listener.fileno() != 3 else (3,), stderr=subprocess.PIPE, text=True) as process:
            try:
                assert f"127.0.0.1:{port}/metrics" in process.stderr.readline()
                with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
                    s.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                    assert b"\nechod_up 1\n" in b"".join(iter(lambda: s.recv(65536), b""))
            finally:
                process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0


@test("--textfile writes the snapshot once, readable for all, and leaves no other file")
def _():
    folder = f"{FOLDER.name}/text"
    os.mkdir(folder)
    file = f"{folder}/echod.prom"
    conf = write("text.conf", f'echod {{ metrics = "{METRICS}" }}')
    with metered():
        assert run("-f", conf, "--textfile", file) == (0, "", "")
    text = open(file, encoding="utf-8").read()
    assert "\nechod_up 1\n" in text and "echod_build_info" in text
    assert os.stat(file).st_mode & 0o777 == 0o644 and os.listdir(folder) == ["echod.prom"]
    assert run("-f", conf, "--textfile", file)[0] == 0
    assert "\nechod_up 0\n" in open(file, encoding="utf-8").read()


@test("--textfile to a folder that does not exist, or in place of a folder, is an error, and leaves nothing")
def _():
    os.makedirs(f"{FOLDER.name}/place/folder")
    conf = write("text.conf", f'echod {{ metrics = "{METRICS}" }}')
    status, _, said = run("-f", conf, "--textfile", f"{FOLDER.name}/missing/x.prom")
    assert status == 1 and "No such file or directory" in said, said
    assert run("-f", conf, "--textfile", f"{FOLDER.name}/place/folder")[0] == 1
    assert os.listdir(f"{FOLDER.name}/place") == ["folder"]


@test("--interval writes the file again and again, whole each time, until SIGTERM")
def _():
    need_exporter()
    file = f"{FOLDER.name}/again.prom"
    conf = write("again.conf", f'echod {{ metrics = "{METRICS}" }}')
    with metered() as echod, subprocess.Popen([EXPORTER, "-f", conf, "--textfile", file, "--interval", "0.1"]) as process:
        try:
            wait_for(lambda: os.path.exists(file), PATIENCE, "the file")
            echod.check()

            def counted():
                text = open(file, encoding="utf-8").read()
                assert re.search(r"process_resident_memory_bytes \d+\n\Z", text), "a part"
                return '\nechod_echoes_total{protocol="udp"} 2\n' in text

            wait_for(counted, PATIENCE, "the echoes in the file")
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


run_all()
