"""How much waits, and since when."""

import threading
from pathlib import Path

import pytest

from etl.ops import waiting
from etl.ops.waiting import LOOK_EVERY_SECONDS, Lookout, Waiting, look
from etl.spool.spool import Spool
from tests.values import ASKED, failure, reading


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path)
    spool.prepare()
    return spool


def test_the_depth_is_the_spools_own_and_the_oldest_is_the_one_read_first(spool: Spool, tmp_path: Path) -> None:
    assert look(spool.directory) == Waiting()
    later = ASKED.replace(minute=59)
    spool.put([reading(requested_at=later), reading(account="with.dots"), failure(last_at=later)])
    assert look(spool.directory) == Waiting(spool.depth(), ASKED.timestamp()) == Waiting(3, ASKED.timestamp())


def test_what_is_written_at_this_moment_does_not_wait_yet(spool: Spool) -> None:
    spool.write(reading())
    assert look(spool.directory) == Waiting()


def test_notes_of_the_quarantine_are_no_outcomes(spool: Spool) -> None:
    spool.quarantine_unspooled(reading(), "malformed", "detail")
    assert len(list(spool.quarantine_directory.iterdir())) == 2
    assert look(spool.quarantine_directory) == Waiting(1, ASKED.timestamp())


@pytest.mark.parametrize(
    "name", [".outcome", "x.outcome", "x..outcome", "x.y.outcome", "x.١٢.outcome", "a b\n.5x.outcome"]
)
def test_a_name_that_is_not_the_spools_has_no_age(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert look(tmp_path).oldest_at is None


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert look(tmp_path / "nowhere") == Waiting()
    (tmp_path / "file").touch()
    assert look(tmp_path / "file") == Waiting()


def test_who_asks_often_is_told_what_was_seen_some_seconds_ago(spool: Spool, tmp_path: Path) -> None:
    time = [0.0]
    lookout = Lookout(tmp_path, lambda: time[0])
    assert lookout.look() == (Waiting(), Waiting())
    spool.put([reading()])
    assert lookout.look()[0].outcomes == 0
    assert lookout.look(now=True)[0].outcomes == 1
    spool.quarantine_unspooled(reading(), "malformed", "detail")
    time[0] += LOOK_EVERY_SECONDS
    assert lookout.look()[1].outcomes == 1


def test_looking_takes_a_hundredth_of_the_time_however_much_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time, looked = [0.0], []

    def slow(directory: Path) -> Waiting:
        looked.append(directory.name)
        time[0] += 4.0
        return Waiting(len(looked))

    monkeypatch.setattr(waiting, "look", slow)
    lookout = Lookout(tmp_path, lambda: time[0])
    lookout.look()
    time[0] += 799
    assert lookout.look() == (Waiting(1), Waiting(2))
    time[0] += 2
    assert lookout.look() == (Waiting(3), Waiting(4))


def test_nobody_waits_for_another_who_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def hang(directory: Path) -> Waiting:
        inside.set()
        go_on.wait(20)
        return Waiting(1)

    monkeypatch.setattr(waiting, "look", hang)
    lookout = Lookout(tmp_path)
    other = threading.Thread(target=lookout.look)
    other.start()
    inside.wait(20)
    assert lookout.look() == (Waiting(), Waiting())
    go_on.set()
    other.join()
    assert lookout.look() == (Waiting(1), Waiting(1))
