"""Spool files that do not have their final name yet: whose they are, and when somebody else's."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest

from etl.model import Outcome
from etl.spool.spool import ABANDONED_AFTER_SECONDS, Draft, Spool
from etl.spool.unfinished import SUFFIX, final, hidden, is_held, is_hidden, successor
from tests.disk import Disk
from tests.values import ASKED, reading

HOUR_MS = 3_600_000
FIRST = reading({"sopt": "0"}, doubt="doubted: spot at 0 (not read again)")
SECOND = reading(requested_at=ASKED + timedelta(seconds=1), bodies=(*FIRST.bodies, b"second"), doubt="doubted: …")


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    spool = Spool(tmp_path / "state")
    spool.prepare()
    return spool


def outcomes(spool: Spool) -> list[Outcome]:
    """What can be stored now."""
    return [entry.outcome for entry in spool.read(spool.names())]


def files(spool: Spool) -> list[str]:
    """Every file there is."""
    return sorted(path.name for path in spool.directory.iterdir())


def age(spool: Spool, draft: Draft, seconds: float) -> None:
    """Let a file have been written so long ago."""
    then = time.time() - seconds
    os.utime(spool.directory / draft.file, (then, then))


@pytest.mark.parametrize("unsettled_ms", [0, 1, HOUR_MS])
def test_a_hidden_name_is_told_from_a_final_one_and_gives_it_back(unsettled_ms: int) -> None:
    name = f"20261122T152000Z.1.a.unfinished.b-c.0a{SUFFIX}"
    assert final(hidden(name, unsettled_ms)) == name == final(name)
    assert is_hidden(hidden(name, unsettled_ms))
    assert not is_hidden(name)


def test_a_name_for_the_later_of_two_sorts_before_it() -> None:
    first = f"20261122T152000Z.1.main.0a{SUFFIX}"
    second, third = successor(first), successor(successor(first))
    assert third < second < first < f"20261122T152000Z.1.main.0b{SUFFIX}"


def test_a_doubted_reading_is_nobodys_but_its_writers_until_its_slot_is_over(spool: Spool) -> None:
    draft = spool.write(FIRST, unsettled_ms=HOUR_MS)
    assert (outcomes(spool), spool.depth(), spool.unsettled()) == ([], 1, 1)
    age(spool, draft, 3599)
    assert outcomes(spool) == []
    age(spool, draft, 3601)
    assert outcomes(spool) == [FIRST]
    assert (files(spool), spool.depth(), spool.unsettled()) == ([draft.name], 1, 0)


@pytest.mark.parametrize("years", [-10, 10])
def test_a_clock_that_was_set_does_not_hold_it_back(spool: Spool, years: int) -> None:
    age(spool, spool.write(FIRST, unsettled_ms=HOUR_MS), years * 365 * 86_400)
    assert outcomes(spool) == [FIRST]


def test_what_is_not_doubted_is_adopted_at_once(spool: Spool) -> None:
    spool.write(reading())
    assert outcomes(spool) == [reading()]


def test_a_doubted_reading_is_on_the_disk_name_and_all_before_it_counts_as_written(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        draft = spool.write(FIRST, unsettled_ms=HOUR_MS)
    path = spool.directory / draft.file
    assert -1 < disk.last("write", path) < disk.last("flush", path) < disk.last("flush", spool.directory)


def test_its_writer_settles_it_at_once(spool: Spool) -> None:
    draft = spool.write(FIRST, unsettled_ms=HOUR_MS)
    entries, refusal = spool.keep([draft])
    assert (refusal, [entry.spooled for entry in entries]) == (None, [True])
    assert outcomes(spool) == [FIRST]


@pytest.mark.parametrize("unsettled_ms", [0, HOUR_MS])
def test_a_further_reading_takes_its_place_and_only_then_it_goes(
    spool: Spool, monkeypatch: pytest.MonkeyPatch, unsettled_ms: int
) -> None:
    first = spool.write(FIRST, unsettled_ms=HOUR_MS)
    second = spool.write(SECOND, unsettled_ms=unsettled_ms, after=first)
    assert len(files(spool)) == 2
    path = spool.directory / first.file
    inode = path.stat().st_ino
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        spool.keep([second])
    assert (files(spool), outcomes(spool)) == ([second.name], [SECOND])
    gone = disk.asked.index(("unname", inode))
    kept = spool.directory / second.name
    assert -1 < disk.last("name", kept) < disk.last("flush", spool.directory) < gone


def test_a_third_takes_the_place_of_both(spool: Spool) -> None:
    first = spool.write(FIRST, unsettled_ms=HOUR_MS)
    second = spool.write(SECOND, unsettled_ms=HOUR_MS, after=first)
    third = spool.write(reading(attempts=3), unsettled_ms=HOUR_MS, after=second)
    spool.keep([third])
    assert (files(spool), outcomes(spool)) == ([third.name], [reading(attempts=3)])


def test_it_goes_by_its_final_name_too_where_somebody_adopted_it_meanwhile(spool: Spool) -> None:
    first = spool.write(FIRST, unsettled_ms=HOUR_MS)
    age(spool, first, 3601)
    assert spool.names() == [first.name]
    spool.keep([spool.write(SECOND, after=first)])
    assert outcomes(spool) == [SECOND]


def test_killed_before_it_could_go_both_wait_and_the_later_one_comes_first(spool: Spool) -> None:
    first = spool.write(FIRST, unsettled_ms=HOUR_MS)
    second = spool.write(SECOND, unsettled_ms=HOUR_MS, after=first)
    # The process dies here.
    for draft in (first, second):
        age(spool, draft, 3601)
    assert outcomes(spool) == [SECOND, FIRST]


def test_where_the_disk_refuses_the_later_one_the_earlier_stays(spool: Spool) -> None:
    first = spool.write(FIRST, unsettled_ms=HOUR_MS)
    spool.keep([Draft(SECOND, "later", OSError(28, "No space left on device"), ".later.unfinished", first)])
    age(spool, first, 3601)
    assert outcomes(spool) == [FIRST]


def test_where_the_directory_cannot_be_flushed_the_earlier_stays(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    first = spool.write(FIRST, unsettled_ms=HOUR_MS)
    second = spool.write(SECOND, after=first)
    monkeypatch.setattr("etl.spool.spool.flush_directory", refuse)
    assert spool.keep([second])[1] is not None
    assert files(spool) == sorted([first.file, second.name])


def test_one_whose_name_cannot_be_flushed_is_not_called_safe(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("etl.spool.spool.flush_directory", refuse)
    draft = spool.write(FIRST, unsettled_ms=HOUR_MS)
    assert draft.refusal is not None
    [entry], _ = spool.keep([draft])
    assert not entry.spooled
    age(spool, draft, 3601)
    assert outcomes(spool) == [FIRST]


def test_a_torn_one_is_set_aside_under_its_name_when_its_writer_must_be_dead(spool: Spool) -> None:
    draft = spool.write(FIRST, unsettled_ms=1000)
    path = spool.directory / draft.file
    path.write_bytes(path.read_bytes()[:-1])
    age(spool, draft, 2)
    assert outcomes(spool) == []
    assert files(spool) == [draft.file]
    age(spool, draft, ABANDONED_AFTER_SECONDS + 1)
    assert outcomes(spool) == []
    assert [item.name for item in spool.quarantined()] == [draft.name]


def test_it_is_held_to_the_millisecond() -> None:
    assert is_held(hidden("a.outcome", 1500), 1.499)
    assert not is_held(hidden("a.outcome", 1500), 1.5)
    assert not is_held(hidden("a.outcome", 0), 0.0)
    assert not is_held("a.outcome", 0.0)
