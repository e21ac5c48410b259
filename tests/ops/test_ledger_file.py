"""The ledger on the disk: shared, whole, and never in the way."""

import fcntl
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etl.ops import ledger_file
from etl.ops.ledger import FETCH_SECONDS, Ledger
from etl.ops.ledger_file import LedgerFile


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def kept(state: Path) -> Ledger:
    with LedgerFile(state).changing() as ledger:
        return ledger


def test_what_was_counted_goes_on_in_another_process(state: Path) -> None:
    with LedgerFile(state).changing() as ledger:
        ledger.expect(["main"], 5.5)
        ledger.attempts = 7
        ledger.slots["failed key_refused"] = 2
        ledger.fetches.observe(0.2, FETCH_SECONDS)
        ledger.schema_at_head = False
    assert kept(state) == ledger
    assert {path.name for path in (state / "remembered").iterdir()} == {"metrics.json", "metrics.lock"}
    assert {path.stat().st_mode & 0o777 for path in (state / "remembered").iterdir()} == {0o600}


def test_many_at_once_lose_no_count(state: Path) -> None:
    def count(_: int) -> None:
        with LedgerFile(state).changing() as ledger:
            before = ledger.attempts
            time.sleep(0.002)
            ledger.attempts = before + 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(40)))
    assert kept(state).attempts == 40


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"attempts": "x"}', b'{"accounts": {"a": {}}}', b"\xff\xfe"])
def test_a_damaged_file_costs_the_counts_and_nothing_else(
    state: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (state / "remembered").mkdir(parents=True)
    (state / "remembered" / "metrics.json").write_bytes(content)
    with LedgerFile(state).changing() as ledger:
        assert ledger == Ledger()
        ledger.attempts = 1
    assert kept(state).attempts == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_a_later_versions_file_is_read_as_far_as_it_is_known(state: Path) -> None:
    (state / "remembered").mkdir(parents=True)
    (state / "remembered" / "metrics.json").write_bytes(b'{"attempts": 3, "of_tomorrow": [1]}')
    assert kept(state).attempts == 3


def test_what_the_disk_does_not_take_is_counted_in_memory_until_it_does(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state.mkdir()
    (state / "remembered").write_bytes(b"")  # where the directory should be, which stops root too
    file = LedgerFile(state)
    counted = []
    for _ in range(3):
        with file.changing() as ledger:
            ledger.attempts += 1
            counted.append(ledger.attempts)
    assert counted == [1, 2, 3]
    assert len(caplog.records) == 1, "said once"
    assert "recording as well" in caplog.text
    (state / "remembered").unlink()
    with file.changing() as ledger:
        ledger.attempts += 1
    assert kept(state).attempts == 4


def test_who_is_halted_with_the_lock_in_hand_stops_nobody(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_file, "PATIENCE_SECONDS", 0.1)
    kept(state)
    descriptor = os.open(state / "remembered" / "metrics.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    began = time.monotonic()
    with LedgerFile(state).changing() as ledger:
        ledger.attempts = 9
    assert 0.1 <= time.monotonic() - began < 10
    os.close(descriptor)
    assert kept(state).attempts == 9
    assert "held by another process" in caplog.text


def test_whoever_reads_meanwhile_sees_the_old_or_the_new(state: Path) -> None:
    file = state / "remembered" / "metrics.json"
    kept(state)
    done, torn = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            content = file.read_bytes()
            if not (content.startswith(b"{") and content.endswith(b"}")):
                torn.append(content)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        with LedgerFile(state).changing() as ledger:
            ledger.expect([f"account-{each}" for each in range(number)], 1.0)
    done.set()
    reader.join()
    assert torn == []
