"""Threads that wait for the network."""

import subprocess
import sys
import threading
import time

import pytest

from etl.clock import Clock
from etl.extract.workers import Lost, NoThread, Threads, Workers
from tests.fakes import no_thread

LONG = 60.0


def collected(workers: Workers[str, int], number: int) -> dict[str, int | Exception]:
    """What comes back, until it is so many."""
    back: dict[str, int | Exception] = {}
    end = time.monotonic() + 20
    while len(back) < number and time.monotonic() < end:
        back.update(workers.wait(1.0))
    return back


@pytest.fixture
def others() -> set[threading.Thread]:
    """Threads that are none of the test's: those of tests before it may end at any moment."""
    return set(threading.enumerate())


@pytest.fixture
def workers() -> Workers[str, int]:
    """On the real clock."""
    return Workers(Clock(), Threads())


def test_calls_run_at_the_same_time_and_come_back_under_their_key(workers: Workers[str, int]) -> None:
    together = threading.Barrier(8, timeout=10)

    def call(number: int) -> int:
        together.wait()
        return number

    for number in range(8):
        workers.submit(f"key {number}", lambda number=number: call(number), time.monotonic() + LONG)  # type: ignore[misc]
    assert sorted(workers.under_way()) == [f"key {number}" for number in range(8)]
    assert collected(workers, 8) == {f"key {number}": number for number in range(8)}
    assert len(workers) == 0


def test_what_a_call_raises_comes_back_too(workers: Workers[str, int]) -> None:
    def call() -> int:
        raise ZeroDivisionError

    workers.submit("key", call, time.monotonic() + LONG)
    assert isinstance(collected(workers, 1)["key"], ZeroDivisionError)


def test_an_idle_thread_takes_the_next_call(workers: Workers[str, int]) -> None:
    seen: set[int] = set()

    def call() -> int:
        seen.add(threading.get_ident())
        return 0

    for number in range(20):
        workers.submit(str(number), call, time.monotonic() + LONG)
        collected(workers, 1)
        time.sleep(0.01)
    assert len(seen) <= 2


def test_a_call_that_does_not_come_back_is_given_up_and_its_late_answer_is_nobodys(
    workers: Workers[str, int], others: set[threading.Thread]
) -> None:
    release = threading.Event()

    def stuck() -> int:
        release.wait(20)
        return 1

    began = time.monotonic()
    workers.submit("stuck", stuck, began + 0.2)
    workers.submit("well", lambda: 2, began + LONG)
    back = collected(workers, 2)
    assert isinstance(back["stuck"], Lost)
    assert back["well"] == 2
    assert 0.2 <= time.monotonic() - began < 10
    release.set()
    workers.submit("stuck", lambda: 3, time.monotonic() + LONG)
    assert collected(workers, 1) == {"stuck": 3}
    assert workers.wait(0.3) == []
    assert len(set(threading.enumerate()) - others) == 2, "the thread that was given up is there again"


def test_with_nothing_to_wait_for_it_waits_as_long_as_it_was_told(workers: Workers[str, int]) -> None:
    began = time.monotonic()
    assert workers.wait(0.2) == []
    assert workers.wait(-1) == []
    assert 0.2 <= time.monotonic() - began < 5


def test_threads_that_are_idle_for_long_end(
    workers: Workers[str, int], others: set[threading.Thread], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.extract.workers.IDLE_SECONDS", 0.5)
    gate = threading.Barrier(4, timeout=10)
    for number in range(4):
        workers.submit(str(number), gate.wait, time.monotonic() + LONG)
    collected(workers, 4)
    assert len(set(threading.enumerate()) - others) == 4
    end = time.monotonic() + 10
    while set(threading.enumerate()) - others and time.monotonic() < end:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= others


def test_a_stuck_call_does_not_keep_the_program_from_ending() -> None:
    code = (
        "import threading, time\nfrom etl.clock import Clock\nfrom etl.extract.workers import Threads, Workers\n"
        "workers = Workers(Clock(), Threads())\n"
        "workers.submit('stuck', threading.Event().wait, time.monotonic() + 0.1)\n"
        "while not workers.wait(0.1): pass\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0


def test_where_there_is_no_thread_that_comes_back_with_how_many_others_are_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    workers: Workers[str, int] = Workers(Clock(), Threads())
    release = threading.Event()

    workers.submit("first", lambda: int(release.wait(20)), time.monotonic() + LONG)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        workers.submit("second", lambda: 2, time.monotonic() + LONG)
    back = collected(workers, 1)["second"]
    assert isinstance(back, NoThread)
    assert back.beside == 1
    release.set()
    assert collected(workers, 1) == {"first": 1}
    assert len(workers) == 0
