"""Which history is recorded into, and when another has taken its place."""

import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl.errors import DiskError
from etl.load.lineage import Instead, Known, Lineage

LONG_AGO = datetime(2025, 3, 1, 12, tzinfo=UTC)
TODAY = datetime(2026, 11, 23, 2, tzinfo=UTC)
NOW = TODAY + timedelta(seconds=1)
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    """Of a new state directory."""
    return Lineage(tmp_path / "state", lambda: NOW)


def nothing() -> None:
    """What is kept of stored outcomes."""


def test_a_history_that_was_begun_later_takes_the_place_of_the_one_that_is_known() -> None:
    anew = Known(LONG_AGO).now_in(TODAY, NOW)
    assert anew == Known(LONG_AGO, Instead(TODAY, NOW))
    assert anew.now_in(TODAY, LATER) is anew
    assert anew.now_in(LATER, LATER) == Known(LONG_AGO, Instead(LATER, NOW)), "it holds since the first of them"
    assert anew.now_in(LONG_AGO, LATER) == Known(LONG_AGO)


def test_one_that_is_as_old_or_older_takes_nobodys_place() -> None:
    assert Known(TODAY).now_in(TODAY + timedelta(microseconds=999), NOW) == Known(TODAY), "databases keep milliseconds"
    assert Known(TODAY).now_in(LONG_AGO, NOW) == Known(LONG_AGO)
    assert Known(TODAY, Instead(NOW, NOW)).now_in(LONG_AGO, LATER) == Known(LONG_AGO)


def test_processes_that_begin_a_history_at_the_same_moment_do_not_alarm_anybody() -> None:
    """Each takes the account that it has made for the first, until both have committed."""
    moment = timedelta(milliseconds=40)
    for difference in (moment, -moment, timedelta(0)):
        assert Known(TODAY).now_in(TODAY + difference, NOW, is_new=True) == Known(TODAY + difference)


def test_where_the_clock_has_lost_the_time_a_new_history_is_known_by_being_new() -> None:
    """As after a boot without a battery, and without the disk of the database."""
    anew = Known(TODAY).now_in(LONG_AGO, NOW, is_new=True)
    assert anew.instead == Instead(LONG_AGO, NOW)
    assert anew.now_in(LONG_AGO, LATER) is anew


def test_the_first_history_there_is_begins_without_a_word(lineage: Lineage, caplog: pytest.LogCaptureFixture) -> None:
    lineage.note(TODAY, nothing, is_new=True)
    assert lineage.known() == Known(TODAY)
    assert not caplog.records


def test_what_holds_is_remembered_and_told_when_it_begins_and_when_it_ends(
    lineage: Lineage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lineage.note(LONG_AGO, nothing)
    for _ in range(2):
        Lineage(tmp_path / "state", lambda: NOW).note(TODAY, nothing)
    assert lineage.known() == Known(LONG_AGO, Instead(TODAY, NOW))
    assert lineage.anew_since() == NOW.timestamp()
    for _ in range(2):
        lineage.note(LONG_AGO, nothing)
    assert lineage.known() == Known(LONG_AGO)
    assert lineage.anew_since() is None
    begins, ends = [record.getMessage() for record in caplog.records]
    assert "goes back to 2025-03-01T12:00:00Z, and that is not in the database" in begins
    assert "is in the database again" in ends
    assert "db adopt" in ends


def test_without_the_file_the_one_before_is_the_one_of_which_something_is_kept(lineage: Lineage) -> None:
    """As in a state directory of a release that had no such file."""
    lineage.note(TODAY, lambda: LONG_AGO)
    assert lineage.known() == Known(LONG_AGO, Instead(TODAY, NOW))
    lineage.accept(None)
    lineage.note(TODAY, lambda: TODAY)
    assert lineage.known() == Known(TODAY)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b'{"begun_at": 7}', b"[]", b'{"begun_at": "2026-11-23T02:00:00"}']
)
def test_a_file_that_is_damaged_is_written_anew(
    lineage: Lineage, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    file = tmp_path / "state" / "remembered" / "history.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    lineage.note(LONG_AGO, nothing)
    assert "history.json is passed over" in caplog.text
    assert lineage.known() == Known(LONG_AGO)
    assert file.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_read_is_not_taken_for_nothing_and_recording_goes_on(
    lineage: Lineage, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state" / "remembered" / "history.json").mkdir(parents=True)
    lineage.note(TODAY, nothing)
    assert "history.json cannot be kept" in caplog.text
    with pytest.raises(IsADirectoryError):
        lineage.known()
    with pytest.raises(DiskError, match="json cannot be written"):
        lineage.accept(TODAY)


def test_it_is_written_only_when_it_changes(lineage: Lineage, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    lineage.note(TODAY, nothing)
    before = (tmp_path / "state" / "remembered" / "history.json").stat()
    lineage.note(TODAY, nothing)
    assert (tmp_path / "state" / "remembered" / "history.json").stat().st_ino == before.st_ino
