"""A real Prometheus, with a config, a port and a directory of a test's own."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.ops.promtool import need

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "alerts.yaml"
CONFIG = """\
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 250ms}}
rule_files: ["{rules}"]
scrape_configs: [{{job_name: bingx-etl, static_configs: [{{targets: ["{target}"]}}]}}]
"""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """What it has scraped, by its HTTP API."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The vector that an expression comes to, or nothing while it is still starting."""
        found: list[dict[str, Any]] = self._ask("query", query=expression).get("result", [])
        return found

    def value(self, expression: str) -> float | None:
        """The one value that it comes to."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> dict[str, dict[str, str]]:
        """The labels of the alerts that fire, by name."""
        alerts = self._ask("alerts").get("alerts", [])
        return {each["labels"]["alertname"]: each["labels"] for each in alerts if each["state"] == "firing"}

    def sick_rules(self) -> list[str]:
        """What rules could not be evaluated, and why."""
        groups = self._ask("rules").get("groups", [])
        return [
            f"{rule['name']}: {rule.get('lastError')}" for g in groups for rule in g["rules"] if rule["health"] == "err"
        ]

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes, how that went, and what it was told last."""
        found: list[dict[str, Any]] = self._ask("targets").get("activeTargets", [])
        return found

    def _ask(self, what: str, **parameters: str) -> dict[str, Any]:
        address = f"{self.url}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:  # noqa: S310 - of a process of our own
                data: dict[str, Any] = json.load(answer)["data"]
        except OSError:
            return {}
        return data


@contextmanager
def node_exporting(collected: Path) -> Iterator[str]:
    """The metrics of a real node_exporter that reads the files of a directory and nothing else: where they are."""
    program = need("prometheus-node-exporter", "prometheus-node-exporter")
    address = f"127.0.0.1:{_free_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--web.listen-address={address}",
            "--collector.disable-defaults",
            "--collector.textfile",
            f"--collector.textfile.directory={collected}",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 40
        while True:
            try:
                socket.create_connection(("127.0.0.1", int(address.partition(":")[2])), timeout=5).close()
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                break
        yield f"http://{address}/metrics"
    finally:
        process.terminate()
        process.wait(20)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


@contextmanager
def scraping(url: str, directory: Path) -> Iterator[Prometheus]:
    """One that scrapes what is at the URL, and goes by our alert rules."""
    program = need("prometheus")
    directory.mkdir()
    (directory / "prometheus.yml").write_text(CONFIG.format(rules=RULES, target=urlsplit(url).netloc))
    port = _free_port()
    log = directory / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd=directory,
        )
    prometheus = Prometheus(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 40
        while not prometheus.targets():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield prometheus
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
