# SPDX-License-Identifier: ISC
"""Prometheus scrapes echo-exporter, answers a query for the rate of echoes, and has data for every expression of the dashboard."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request

from daemon import PATIENCE, check_datagram, check_stream
from exporting import Exporter, metered, need_exporter
from lib import free_port, run_all, skip, test, wait_for

SRCDIR = pathlib.Path(os.environ["SRCDIR"])
RULES = SRCDIR / "etc/prometheus/echod.rules.yml"
TESTS = SRCDIR / "tests/prometheus/echod.test.yml"
DASHBOARD = SRCDIR / "etc/grafana/echod.json"


def need(program):
    if not shutil.which(program):
        skip(f"needs {program} (Debian package prometheus)")


class Prometheus:
    """One that scrapes this port four times a second, and knows our rules."""

    def __init__(self, target):
        need("prometheus")
        self.folder = tempfile.TemporaryDirectory(prefix="echod-prometheus-")
        self.port = free_port()
        conf = pathlib.Path(self.folder.name, "prometheus.yml")
        conf.write_text(f"global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s }}\nrule_files: [ {RULES} ]\n"
                        f"scrape_configs: [ {{ job_name: echod, static_configs: [ {{ targets: [ '127.0.0.1:{target}' ] }} ] }} ]\n",
                        encoding="utf-8")
        self.log = open(f"{self.folder.name}/log", "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={conf}", f"--storage.tsdb.path={self.folder.name}/data", f"--web.listen-address=127.0.0.1:{self.port}"],
            stdout=self.log, stderr=self.log)

    def ask(self, path, **parameters):
        """The data of an answer of its API; None before it serves."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # it starts
                return None
            raise AssertionError(f"{url}: {error.read()}") from error
        except OSError:
            return None

    def query(self, expression):
        data = self.ask("query", query=expression)
        return data and data["result"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.log.close()
        self.folder.cleanup()


def expressions():
    """Of every panel, as Grafana sends them."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5s").replace("$instance", ".*")


@test("promtool finds the alerts correct, and each fires for its reason and not without")
def _():
    need("promtool")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(RULES, folder)
        shutil.copy(TESTS, folder)
        for arguments in (("check", "rules", RULES.name), ("test", "rules", TESTS.name)):
            done = subprocess.run(["promtool", *arguments], cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
            assert done.returncode == 0 and "SUCCESS" in done.stdout, done


@test("every alert has a test")
def _():
    names = {line.split()[-1] for line in RULES.read_text().splitlines() if "- alert:" in line}
    missing = {name for name in names if f"alertname: {name}" not in TESTS.read_text()}
    assert names and not missing, missing


@test("Prometheus scrapes, gives the rate of echoes, and every expression of the dashboard returns data")
def _():
    need_exporter()
    end = threading.Event()

    def load():
        while not end.wait(0.005):
            check_datagram(datagrams)
            check_stream(stream)

    with metered() as echod, Exporter() as exporter, Prometheus(exporter.port) as prometheus, \
            echod.datagrams() as datagrams, echod.connect() as stream:
        client = threading.Thread(target=load)
        client.start()
        try:
            wait_for(lambda: prometheus.query('rate(echod_echoes_total{protocol="udp"}[5s]) > 10'), PATIENCE, "a rate of UDP echoes")
            assert prometheus.query('rate(echod_echoes_total{protocol="tcp"}[5s]) > 10')
            for title, expression in expressions():
                assert wait_for(lambda e=expression: prometheus.query(e), PATIENCE, f"data of {title}: {expression}")
            rules = prometheus.ask("rules")["groups"][0]["rules"]
            assert {rule["state"] for rule in rules} == {"inactive"}, rules
            assert all(rule["health"] in ("ok", "unknown") for rule in rules), rules
        finally:
            end.set()
            client.join()
        echod.stop()
        wait_for(lambda: prometheus.query("echod_up == 0"), PATIENCE, "echod_up 0")
        wait_for(lambda: [a for a in prometheus.ask("alerts")["alerts"] if a["labels"]["alertname"] == "EchodDown"], PATIENCE, "the alert")


run_all()
