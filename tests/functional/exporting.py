# SPDX-License-Identifier: ISC
"""Start echo-exporter for a test, beside an echod that gives metrics."""

import http.client
import os
import re
import signal
import subprocess
import tempfile

from daemon import PATIENCE, Echod
from lib import free_port, skip
from service import not_under_unit

EXPORTER = os.environ.get("ECHO_EXPORTER", "")

FOLDER = tempfile.TemporaryDirectory(prefix="echo-exporter-")
os.chmod(FOLDER.name, 0o755)
METRICS = f"{FOLDER.name}/metrics"


def need_exporter():
    not_under_unit("the test itself runs echo-exporter")
    if not os.access(EXPORTER, os.X_OK):
        skip("this build has no echo-exporter: libmicrohttpd is missing")


def metered(**options):
    """An echod whose metrics are at METRICS."""
    return Echod(top=f'metrics {{ listen = "{METRICS}" }}', **options)


class Exporter:
    """A running echo-exporter: with Exporter() as exporter: exporter.get("/metrics")."""

    def __init__(self, metrics=METRICS):
        need_exporter()
        self.metrics = metrics
        self.port = free_port()
        self.file = f"{FOLDER.name}/exporter.conf"
        self.configure()
        # Its standard error is a pipe that holds all that it says.
        self.process = subprocess.Popen([EXPORTER, "-f", self.file], stderr=subprocess.PIPE, text=True)
        self.wait_line("ready: http://")

    def configure(self, text=None):
        with open(self.file, "w", encoding="utf-8") as file:
            file.write(text or f'listen = "127.0.0.1:{self.port}"\nechod {{ metrics = "{self.metrics}" }}\n')

    def wait_line(self, pattern):
        for line in self.process.stderr:
            if re.search(pattern, line):
                return line
        raise AssertionError(f"echo-exporter ended and never said {pattern!r}")

    def reload(self):
        self.process.send_signal(signal.SIGHUP)
        return self.wait_line("reloaded")

    def ask(self, method, path, headers=(), body=None):
        """The response, its body read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body, headers=dict(headers))
            response = connection.getresponse()
            response.text = response.read().decode()
            return response
        finally:
            connection.close()

    def get(self, path):
        response = self.ask("GET", path)
        assert response.status == 200, response.status
        return response.text

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM if kind is None else signal.SIGKILL)
        status = self.process.wait(PATIENCE)
        self.process.stderr.close()
        assert kind or status == 0, f"exit status {status}"
