"""Who is told of slots, and tells Prometheus."""

import fcntl
import logging
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from etl.ops import exposition, textfile
from etl.ops.ledger_file import LedgerFile
from etl.ops.metrics import Metrics, Told
from etl.recorder import Stored
from etl.spool.spool import Spool
from tests.ops.test_exposition import of
from tests.ops.test_ledger import later, slot
from tests.values import ASKED, failure, reading

NOW = ASKED.timestamp() + 3
LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(
        state_dir=tmp_path / "state",
        accounts=("main",),
        interval_seconds=300,
        ip_limit=(300, 10.0),
        needed_revision="0001",
        listen=None,
        textfile=tmp_path / "bingx-etl.prom",
    )


@pytest.fixture
def make() -> Iterator[Callable[..., Metrics]]:
    """Makes them, and lets go of their ports at the end."""
    made: list[Metrics] = []

    def new(told: Told) -> Metrics:
        metrics = Metrics(lambda: NOW)
        made.append(metrics)
        metrics.follow(told)
        return metrics

    yield new
    for metrics in made:
        metrics.finish()


def scraped(caplog: pytest.LogCaptureFixture) -> bytes:
    """What is served where the log said last."""
    url = next(record.getMessage().split()[-1] for record in reversed(caplog.records) if "http:" in record.getMessage())
    with urllib.request.urlopen(url, timeout=20) as answer:  # noqa: S310 - of our own server
        content: bytes = answer.read()
        return content


def test_the_file_is_written_when_a_slot_has_ended_and_counters_go_on_in_the_next_process(
    told: Told, make: Callable[..., Metrics]
) -> None:
    assert told.textfile is not None
    for number in (1, 2):
        make(told).ends([slot(later(reading(), number - 2))], Stored(seconds=0.01))
        assert of(told.textfile.read_bytes(), "slots_total", outcome="complete") == {"": number}
    content = told.textfile.read_bytes()
    assert of(content, "last_success_timestamp_seconds") == {"main": ASKED.timestamp()}
    assert told.textfile.stat().st_mode & 0o777 == 0o644


def test_a_slot_that_could_not_be_read_at_all_is_told(told: Told, make: Callable[..., Metrics]) -> None:
    assert told.textfile is not None
    make(told).fails(ValueError("x"))
    content = told.textfile.read_bytes()
    assert of(content, "failing") == {"main,none": 1}
    assert of(content, "missed_slots") == {"main": 1}


def test_several_one_shots_at_once_lose_no_count_and_the_last_file_has_them_all(
    told: Told, make: Callable[..., Metrics]
) -> None:
    assert told.textfile is not None
    ones = [make(told) for _ in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda one: one.ends([slot(reading())], Stored(seconds=0.01)), ones))
    content = told.textfile.read_bytes()
    assert of(content, "slots_total", outcome="complete") == {"": 1}
    assert of(content, "slots_total", outcome="duplicate") == {"": 15}


def test_the_file_is_written_while_the_others_wait_so_that_no_older_one_takes_its_place(
    told: Told, make: Callable[..., Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    held = []

    def look(path: Path, content: bytes) -> None:
        with (told.state_dir / "remembered" / "metrics.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                held.append(path)

    monkeypatch.setattr(textfile, "write", look)
    make(told).ends([slot(reading())], Stored(seconds=0.01))
    assert held == [told.textfile]


def test_a_file_that_cannot_be_written_is_said_once_until_it_can(
    told: Told, make: Callable[..., Metrics], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    metrics = make(replace(told, textfile=tmp_path / "collector" / "x.prom"))
    for number in range(3):
        metrics.ends([slot(later(reading(), number))], Stored(seconds=0.01))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "recording goes on" in caplog.text
    (tmp_path / "collector").mkdir()
    metrics.ends([slot(later(reading(), 3))], Stored(seconds=0.01))
    assert of((tmp_path / "collector" / "x.prom").read_bytes(), "slots_total", outcome="complete") == {"": 4}


def test_it_is_served_from_the_beginning_on_with_what_was_known_before(
    told: Told, make: Callable[..., Metrics], caplog: pytest.LogCaptureFixture
) -> None:
    make(told).ends([slot(reading())], Stored(seconds=0.01))
    caplog.set_level(logging.INFO)
    metrics = make(replace(told, listen=LOOPBACK, textfile=None))
    assert of(scraped(caplog), "last_success_timestamp_seconds") == {"main": ASKED.timestamp()}
    metrics.ends([slot(failure())], Stored(seconds=0.01))
    assert of(scraped(caplog), "failing") == {"main,unavailable": 1}


def test_what_waits_is_looked_at_when_it_is_asked_for(told: Told, make: Callable[..., Metrics]) -> None:
    metrics = make(replace(told, listen=LOOPBACK))
    spool = Spool(told.state_dir)
    spool.prepare()
    spool.put([reading()])
    assert of(metrics.render(openmetrics=False), "spool_outcomes") == {"": 1}
    assert of(metrics.render(openmetrics=False), "spool_oldest_timestamp_seconds") == {"": ASKED.timestamp()}


def test_many_readers_cost_one_rendering_until_the_next_slot_or_new_settings(
    told: Told, make: Callable[..., Metrics], monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = []
    noted = exposition.noted

    def counted(view: exposition.View, *, openmetrics: bool) -> bytes:
        rendered.append(openmetrics)
        time.sleep(0.05)
        return noted(view, openmetrics=openmetrics)

    monkeypatch.setattr(exposition, "noted", counted)
    listening = replace(told, listen=LOOPBACK, textfile=None)
    metrics = make(listening)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: metrics.render(openmetrics=False), range(32)))
    assert rendered == [False]
    assert metrics.render(openmetrics=True).endswith(b"# EOF\n")
    assert rendered == [False, True]
    metrics.ends([slot(reading())], Stored(seconds=0.01))
    assert of(metrics.render(openmetrics=False), "slots_total", outcome="complete") == {"": 1}
    metrics.follow(replace(listening, interval_seconds=60))
    assert of(metrics.render(openmetrics=False), "interval_seconds") == {"": 60}
    assert rendered == [False, True, False, False]


def test_a_port_that_is_taken_is_said_once_and_had_as_soon_as_it_is_free(
    told: Told, make: Callable[..., Metrics], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with closing(socket.create_server(LOOPBACK)) as other:
        metrics = make(replace(told, listen=other.getsockname()))
        metrics.begins()
        metrics.ends([slot(reading())], Stored(seconds=0.01))
        metrics.begins()
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be had: Address already in use; recording goes on without it" in caplog.text
    metrics.begins()
    assert of(scraped(caplog), "slots_total", outcome="complete") == {"": 1}


def test_new_settings_are_followed(told: Told, make: Callable[..., Metrics], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    off = replace(told, textfile=None)
    metrics = make(off)
    metrics.ends([slot(reading())], Stored(seconds=0.01))
    assert not told.state_dir.exists(), "nobody wants metrics"
    metrics.follow(replace(off, listen=LOOPBACK))
    first = caplog.records[-1].getMessage().split()[-1]
    assert of(scraped(caplog), "accounts_expected") == {"": 1}
    metrics.follow(replace(off, listen=LOOPBACK, accounts=("main", "b"), interval_seconds=60))
    assert of(scraped(caplog), "accounts_expected") == {"": 2}
    assert of(scraped(caplog), "interval_seconds") == {"": 60}
    assert caplog.records[-1].getMessage().split()[-1] == first, "the port stays"
    metrics.follow(replace(off, listen=LOOPBACK, accounts=("b",)))
    assert b'"main"' not in scraped(caplog)
    metrics.follow(off)
    with pytest.raises(OSError, match="refused"):
        scraped(caplog)


def test_the_records_of_another_programs_accounts_are_left_alone(told: Told, make: Callable[..., Metrics]) -> None:
    make(told).ends([slot(reading())], Stored(seconds=0.01))
    make(replace(told, accounts=("b",))).ends([slot(reading(account="b"))], Stored(seconds=0.01))
    with LedgerFile(told.state_dir).changing() as ledger:
        assert set(ledger.accounts) == {"main", "b"}


def test_slots_may_end_while_it_is_read(told: Told, make: Callable[..., Metrics]) -> None:
    metrics = make(replace(told, listen=LOOPBACK, accounts=tuple(f"a{number}" for number in range(50))))
    done, failed = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            try:
                of(metrics.render(openmetrics=False), "missed_slots")
            except Exception as error:  # noqa: BLE001
                failed.append(error)

    with ThreadPoolExecutor(3) as pool:
        for _ in range(3):
            pool.submit(read)
        for number in range(30):
            metrics.ends([slot(reading(account=f"a{number % 50}"))], Stored(seconds=0.01))
        done.set()
    assert failed == []


def test_a_thousand_accounts_are_noted_in_a_few_milliseconds(told: Told, make: Callable[..., Metrics]) -> None:
    names = tuple(f"account-{number}" for number in range(1000))
    metrics = make(replace(told, accounts=names, textfile=None, listen=LOOPBACK))
    one = slot(*(reading(account=name) for name in names))
    best = min(_seconds(lambda: metrics.ends([one], Stored(seconds=0.1))) for _ in range(5))
    assert best < 0.15
    assert (told.state_dir / "remembered" / "metrics.json").stat().st_size < 250_000


def _seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
