"""Our own clock and what is known of the exchange's."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from etl.clock import Clock, HostClock
from etl.errors import Unreachable
from etl.remembered import Block, HostMemory, Remembered
from tests.values import ASKED

MINUTE = timedelta(minutes=1)


class Measured:
    """An exchange whose clock is off by so much."""

    def __init__(self, offset_ms: int) -> None:
        self.offset_ms = offset_ms
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return self.offset_ms


def host(tmp_path: Path, offset_ms: int | None = None, measure: Measured | None = None) -> HostClock:
    """A host that remembers this offset."""
    remembered = Remembered(tmp_path)
    remembered.keep_host(HostMemory(offset_ms))
    return HostClock(Clock(), remembered, measure or Measured(0))


def test_a_fresh_host_signs_with_its_own_time_and_believes_it(tmp_path: Path) -> None:
    fresh = HostClock(Clock(), Remembered(tmp_path), Measured(0))
    assert fresh.offset_ms == 0
    assert fresh.memory.clock_offset_ms is None
    assert fresh.believed(ASKED) == ASKED


@pytest.mark.parametrize("offset_ms", [60_000, -60_000, 250, 0])
def test_a_clock_that_is_a_little_off_still_decides_which_slot_it_is(tmp_path: Path, offset_ms: int) -> None:
    clock = host(tmp_path, offset_ms)
    assert clock.agrees(ASKED + timedelta(milliseconds=offset_ms), ASKED), "which confirms the offset"
    assert clock.believed(ASKED) == ASKED
    assert clock.offset_ms == offset_ms


@pytest.mark.parametrize("offset_ms", [60_001, -60_001, 3_600_000, -315_360_000_000])
def test_a_clock_that_cannot_be_right_is_corrected_once_an_answer_confirms_the_offset(
    tmp_path: Path, offset_ms: int
) -> None:
    known = host(tmp_path, offset_ms)
    assert known.believed(ASKED) == ASKED, "it may have been mended since"
    assert not known.agrees(ASKED + timedelta(milliseconds=offset_ms, minutes=2), ASKED)
    assert known.believed(ASKED) == ASKED
    assert known.agrees(ASKED + timedelta(milliseconds=offset_ms), ASKED)
    assert known.believed(ASKED) == ASKED + timedelta(milliseconds=offset_ms)


def test_what_was_measured_is_used_and_remembered(tmp_path: Path) -> None:
    measure = Measured(-1234)
    clock = host(tmp_path, None, measure)
    clock.measure(clock.clock.monotonic())
    assert clock.offset_ms == -1234
    assert Remembered(tmp_path).host().clock_offset_ms == -1234


def test_threads_that_notice_the_same_measure_once(tmp_path: Path) -> None:
    measure = Measured(5)
    clock = host(tmp_path, None, measure)
    noticed = clock.clock.monotonic()
    together = [threading.Thread(target=clock.measure, args=(noticed,)) for _ in range(8)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    assert measure.times == 1
    clock.measure(clock.clock.monotonic())
    assert measure.times == 2


def test_a_measurement_that_fails_changes_nothing_and_is_told(tmp_path: Path) -> None:
    def unreachable() -> int:
        raise Unreachable("unreachable", "no route")

    remembered = Remembered(tmp_path)
    remembered.keep_host(HostMemory(7))
    clock = HostClock(Clock(), remembered, unreachable)
    with pytest.raises(Unreachable):
        clock.measure(clock.clock.monotonic())
    assert clock.offset_ms == 7


def test_an_answers_time_is_compared_with_the_corrected_clock(tmp_path: Path) -> None:
    clock = host(tmp_path, 3_600_000)
    assert clock.agrees(ASKED + timedelta(hours=1), ASKED)
    assert clock.agrees(ASKED + timedelta(hours=1) + MINUTE, ASKED)
    assert not clock.agrees(ASKED, ASKED)
    assert not clock.agrees(ASKED + timedelta(hours=1) - MINUTE - timedelta(milliseconds=1), ASKED)


def test_a_block_of_the_whole_host_outlives_the_run_and_keeps_the_offset(tmp_path: Path) -> None:
    block = Block(ASKED, ASKED + MINUTE)
    host(tmp_path, 7).block(block)
    assert HostClock(Clock(), Remembered(tmp_path), Measured(0)).memory == HostMemory(7, block=block)
