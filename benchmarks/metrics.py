"""A scrape of the daemon's metrics with 1,000 accounts, by HTTP, against prometheus_client's own server."""

import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.measuring import Cost, Row, duel, interleaved
from etl.load.judge import judge
from etl.model import Answer, Balance, Environment, Reading
from etl.ops.exposition import TEXT
from etl.ops.metrics import Metrics, Told
from etl.ops.metrics_server import MetricsServer
from etl.recorder import Recorded, Slot, Stored
from etl.spool.spool import Entry

ACCOUNTS = 1_000
WHAT = f"a scrape of the metrics of {ACCOUNTS:,} accounts, by HTTP"


def measure(directory: Path, runs: int) -> list[Row]:
    """The first scrape after a slot, which has to render it, and any other one until the next."""
    metrics = Metrics()
    accounts = tuple(f"account-{number:04}" for number in range(ACCOUNTS))
    metrics.follow(Told(directory, accounts, 300, (300, 10.0), "0001", None, directory / "bingx-etl.prom"))
    slot = _slot(accounts)
    metrics.ends([slot], Stored(seconds=1.0))
    same = _plain(metrics.render(openmetrics=False))
    rest = CollectorRegistry()
    ProcessCollector(registry=rest)

    def after_a_slot() -> Cost:
        metrics.ends([slot], Stored(seconds=1.0))
        return scrape(ours.url)

    with _plainly(same) as same_url, _plainly(rest) as rest_url:
        ours = MetricsServer(("127.0.0.1", 0), lambda openmetrics: metrics.render(openmetrics=openmetrics))
        costs = interleaved(
            {
                "after a slot": after_a_slot,
                "between slots": lambda: scrape(ours.url),
                "same samples": lambda: scrape(same_url),
                "without": lambda: scrape(rest_url),
            },
            runs,
        )
        ours.close()
    return [
        duel(
            f"{WHAT}: the first after a slot",
            costs["after a slot"],
            "the same samples as gauges of a plain prometheus_client registry",
            costs["same samples"],
            most=3,
            unit="ms",
        ),
        duel(
            "any other until the next slot",
            costs["between slots"],
            "the same registry without ours: the metrics of the process",
            costs["without"],
            most=3,
            unit="ms",
        ),
    ]


def scrape(url: str) -> Cost:
    """One, client and server together."""
    wall, cpu = time.perf_counter(), time.process_time()
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": TEXT})) as answer:
        answer.read()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def _slot(accounts: tuple[str, ...]) -> Slot:
    now = datetime.now(UTC)
    slot = Slot()
    for name in accounts:
        reading = Reading(name, Environment.SANDBOX, now, 300, now, 80, None, 1, "key", "uid", (b"{}",))
        snapshot = judge(reading, Answer(now, (Balance("spot", Decimal(1)),)), None)
        slot.entries.append(Entry(name, reading))
        slot.recorded.append(Recorded(reading, snapshot, None, stored=True))
    return slot


def _plain(content: bytes) -> CollectorRegistry:
    """Every sample as a gauge of the library's own, whatever it was."""
    registry = CollectorRegistry()
    gauges: dict[str, Gauge] = {}
    for family in text_string_to_metric_families(content.decode()):
        for sample in family.samples:
            labels = sorted(sample.labels)
            gauge = gauges.get(sample.name)
            if gauge is None:
                gauge = gauges[sample.name] = Gauge(sample.name, family.documentation, labels, registry=registry)
            child = gauge.labels(*(sample.labels[label] for label in labels)) if labels else gauge
            child.set(sample.value)
    return registry


@contextmanager
def _plainly(registry: CollectorRegistry) -> Iterator[str]:
    server, thread = start_http_server(0, "127.0.0.1", registry)
    yield f"http://127.0.0.1:{server.server_port}/metrics"
    server.shutdown()
    server.server_close()
    thread.join()
