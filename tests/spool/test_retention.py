"""What was stored is kept in segments: whole ones come back, torn ones are passed over, the oldest go first."""

import errno
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from etl.model import Mark, Outcome
from etl.spool.reserve import Reserve
from etl.spool.retention import Retention, Segment, drop_oldest, segments, size_and_beginning
from etl.spool.spool import Spool
from etl.spool.spool_file import encode
from tests.values import SLOT, failure, reading

BEGUN = SLOT - timedelta(days=100)
OTHER = SLOT - timedelta(days=50, milliseconds=7)
MARK = Mark(3, SLOT, is_snapshot=True)
HOUR = 3600.0


class Clock:
    """Unix seconds."""

    def __init__(self) -> None:
        self.time = time.time()  # as files have it that are written now

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    """One that stands still."""
    return Clock()


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Retention:
    """Two days of it."""
    return Retention(tmp_path / "state", 2 * 86_400, clock)


def add(kept: Retention, *outcomes: Outcome, name: str = "a.outcome", mark: Mark = MARK) -> None:
    kept.add(BEGUN, [(name, encode(outcome)) for outcome in outcomes], mark)


def there(kept: Retention) -> list[Outcome]:
    return [outcome for _, outcome in kept.outcomes(BEGUN)]


def only(kept: Retention) -> Path:
    [segment] = segments(kept.directory)
    return segment.path


def test_what_is_kept_comes_back_in_the_order_in_which_it_was_stored(kept: Retention) -> None:
    one, two, three = reading(), failure(), reading({"spot": "3"}, slot_at=SLOT - timedelta(hours=1))
    add(kept, one, two)
    add(kept, three, name="20261122T152000Z.001.main-1.abcdef.outcome")
    assert there(kept) == [one, two, three]
    assert [name for name, _ in kept.outcomes(BEGUN)][2] == "20261122T152000Z.001.main-1.abcdef.outcome"
    assert list(kept.outcomes(OTHER)) == []
    assert stat.S_IMODE(only(kept).stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.directory.stat().st_mode) == 0o700


def test_the_last_mark_is_known_to_whoever_comes_after(kept: Retention, tmp_path: Path, clock: Clock) -> None:
    assert kept.last() is None
    assert kept.last(BEGUN) is None
    add(kept, reading())
    second = Mark(4, SLOT + timedelta(minutes=5), is_snapshot=False)
    kept.add(OTHER, [("b.outcome", encode(failure()))], second)
    for each in (kept, Retention(tmp_path / "state", 60, clock)):
        assert each.last() == (OTHER, (second,))
        assert each.last(BEGUN) == (BEGUN, (MARK,))
        assert each.last(SLOT) is None


@pytest.mark.parametrize("cut", [1, 20, 100, 300])
def test_what_was_torn_is_passed_over_and_what_came_after_it_is_not(kept: Retention, cut: int) -> None:
    """A mark comes before its outcomes: nothing can be there of which no mark tells."""
    one, two, three, last = reading(), reading({"spot": "2"}), failure(), Mark(4, SLOT, is_snapshot=False)
    add(kept, one)
    size = only(kept).stat().st_size
    add(kept, two, mark=last)
    content = only(kept).read_bytes()
    assert len(content) - size > cut
    only(kept).write_bytes(content[:-cut])
    assert there(kept) == [one]
    assert kept.last() == kept.last(BEGUN) == (BEGUN, (last,))
    add(kept, three)
    assert there(kept) == [one, three]
    assert kept.last() == (BEGUN, (MARK,))


def test_a_changed_byte_costs_one_outcome(kept: Retention) -> None:
    one, two, three = reading(), reading({"spot": "2.222"}), failure()
    add(kept, one, two, three)
    only(kept).write_bytes(only(kept).read_bytes().replace(b"2.222", b"2.223"))
    assert there(kept) == [one, three]


def test_nothing_that_was_answered_can_look_like_an_outcome_that_was_kept(kept: Retention) -> None:
    forged = encode(reading({"spot": "1000000"}))
    add(kept, reading())
    word = b"0123456789abcdef"
    body = b"\n%s outcome 0 %d x.outcome\n%s\n%s mark 0 1 1 1\n" % (word, len(forged), forged, word)
    one = reading(bodies=(body,))
    add(kept, one)
    assert there(kept) == [reading(), one]


def test_there_is_a_segment_for_an_hour_and_old_ones_go(kept: Retention, clock: Clock) -> None:
    for _ in range(60):
        add(kept, reading())
        os.utime(segments(kept.directory)[-1].path, (clock.time, clock.time))
        clock.time += HOUR
    found = segments(kept.directory)
    assert len(found) in (48, 49, 50)
    assert [segment.number for segment in found] == list(range(61 - len(found), 61))


def test_what_a_person_may_need_stays_until_it_is_decided(tmp_path: Path, clock: Clock) -> None:
    """The last two days before another history was begun, and the first two after."""
    begun_anew_at: list[float] = []
    kept = Retention(tmp_path, 2 * 86_400, clock, held_at=lambda: begun_anew_at[-1] if begun_anew_at else None)
    for hour in range(200):
        if hour == 60:
            begun_anew_at.append(clock.time)
        add(kept, reading())
        os.utime(segments(kept.directory)[-1].path, (clock.time, clock.time))
        clock.time += HOUR
    numbers = [segment.number for segment in segments(kept.directory)]
    assert set(range(14, 108)) < set(numbers)
    assert len(numbers) < 4 * 24 + 2 * 24 + 5
    begun_anew_at.clear()
    add(kept, reading())
    assert len(segments(kept.directory)) < 51


def test_programs_that_begin_within_an_hour_share_a_segment(tmp_path: Path, clock: Clock) -> None:
    began = int(clock.time)
    for _ in range(12):
        add(Retention(tmp_path, 60, clock), reading())
        clock.time += 299
    [segment] = segments(tmp_path / "stored")
    assert len(there(Retention(tmp_path, 60, clock))) == 12
    size, since = size_and_beginning(tmp_path / "stored")
    assert since is not None
    assert (size, since.timestamp()) == (segment.path.stat().st_size, began)


def test_what_another_process_has_kept_in_the_next_segment_is_what_was_stored_last(
    kept: Retention, tmp_path: Path, clock: Clock
) -> None:
    """Though in the segment of one's own nothing has changed."""
    add(kept, reading())
    clock.time += HOUR + 1
    later = Mark(9, SLOT + timedelta(hours=1), is_snapshot=True)
    add(Retention(tmp_path / "state", 2 * 86_400, clock), reading(), mark=later)
    assert kept.last() == (BEGUN, (later,))


def test_processes_that_begin_a_segment_at_the_same_moment_go_on_in_one(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what one of them has stored last would not be taken for the last."""
    words = iter(["b" * 16, "a" * 16])
    monkeypatch.setattr("etl.spool.retention.secrets.token_hex", lambda _: next(words))
    one, other = (Retention(tmp_path / "state", 2 * 86_400, clock) for _ in range(2))

    def at_the_same_moment(directory: Path) -> list[Segment]:
        found = segments(directory)
        monkeypatch.setattr("etl.spool.retention.segments", segments)
        add(one, reading())
        return found

    monkeypatch.setattr("etl.spool.retention.segments", at_the_same_moment)
    add(other, reading())
    for kept, account_id in ((one, 1), (other, 2), (one, 3), (other, 4)):
        mark = Mark(account_id, SLOT, is_snapshot=True)
        add(kept, reading(), mark=mark)
        assert Retention(tmp_path / "state", 2 * 86_400, clock).last() == (BEGUN, (mark,))


def test_a_clock_that_is_set_back_keeps_the_order(kept: Retention, clock: Clock) -> None:
    one, two = reading(), failure()
    add(kept, one)
    clock.time -= 10 * HOUR
    add(kept, two, mark=Mark(9, SLOT, is_snapshot=False))
    assert there(kept) == [one, two]
    assert kept.last() == (BEGUN, (Mark(9, SLOT, is_snapshot=False),))


def test_a_clock_that_has_lost_the_time_takes_nothing_away(kept: Retention, clock: Clock) -> None:
    right = clock.time
    add(kept, failure())
    clock.time = 86_400.0  # as after a boot without its battery
    add(kept, reading())
    lost = segments(kept.directory)[-1].path
    os.utime(lost, (clock.time, clock.time))
    clock.time = right + 60
    add(kept, failure())
    assert there(kept) == [failure(), reading(), failure()]
    clock.time += kept.keep_seconds + HOUR
    add(kept, reading())
    assert there(kept) == [reading()]


def test_zero_keeps_nothing_and_takes_away_what_was_kept(kept: Retention, tmp_path: Path) -> None:
    add(kept, reading())
    off = Retention(tmp_path / "state", 0)
    add(off, failure())
    assert segments(kept.directory) == []
    assert off.last() is None


def test_a_disk_that_refuses_is_told_once_and_harms_nothing(kept: Retention, caplog: pytest.LogCaptureFixture) -> None:
    kept.directory.parent.mkdir()
    kept.directory.write_text("a file is in the way")
    for _ in range(3):
        add(kept, reading())
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    kept.directory.unlink()
    add(kept, reading())
    assert there(kept) == [reading()]


def test_what_cannot_be_read_is_as_good_as_nothing(kept: Retention) -> None:
    kept.directory.parent.mkdir()
    for in_its_place in (kept.directory.touch, partial(kept.directory.symlink_to, "stored")):
        in_its_place()
        assert kept.last() is None
        assert kept.last(BEGUN) is None
        assert there(kept) == []
        assert not drop_oldest(kept.directory)
        assert size_and_beginning(kept.directory) == (0, None)
        kept.directory.unlink()


@pytest.mark.parametrize("number", [1, 3])
def test_a_mark_whose_time_is_none_is_passed_over(kept: Retention, number: int) -> None:
    add(kept, reading())
    [segment] = segments(kept.directory)
    content = segment.path.read_bytes()
    [mark] = [line for line in content.splitlines() if b" mark " in line]
    words = mark.split()
    words[1 + number] = b"9" * (15 if number == 1 else 12)
    segment.path.write_bytes(content.replace(mark, b" ".join(words)))
    assert Retention(kept.directory.parent, kept.keep_seconds).last() is None
    assert there(kept) == [reading()]


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """How much is free, as the system would say it."""
    found = SimpleNamespace(f_bavail=1 << 20, f_frsize=4096, f_blocks=1 << 24)
    monkeypatch.setattr("etl.spool.retention.os.statvfs", lambda _: found)
    return found


def test_the_last_of_a_disk_is_never_taken(
    kept: Retention, clock: Clock, little: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        add(kept, reading())
        clock.time += HOUR
    little.f_bavail = 100
    add(kept, failure())
    assert segments(kept.directory) == []
    assert "nearly full" in caplog.text or "No space left" in caplog.text
    little.f_blocks = 1000  # a small disk, with a tenth of it free
    add(kept, failure())
    assert there(kept) == [failure()]


def test_what_is_kept_goes_before_the_space_in_reserve(tmp_path: Path, kept: Retention, clock: Clock) -> None:
    for _ in range(3):
        add(kept, reading())
        clock.time += HOUR
    reserve = Reserve(tmp_path / "state" / "reserve", lambda: drop_oldest(kept.directory))
    reserve.hold()
    refusals = iter([True, True, False])
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if next(refusals, False):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("etl.files.os.write", write)
        reserve.write(tmp_path / "state" / "reading", b"precious")
    assert (tmp_path / "state" / "reading").read_bytes() == b"precious"
    assert len(segments(kept.directory)) == 1
    assert (tmp_path / "state" / "reserve").exists()


def test_the_spool_gives_back_what_is_kept(tmp_path: Path, clock: Clock) -> None:
    kept = Retention(tmp_path, 60, clock)
    add(kept, reading())
    spool = Spool(tmp_path)
    spool.prepare()
    assert spool._reserve._spare()
    assert segments(kept.directory) == []


def test_many_writers_at_once_tear_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from etl.spool.retention import Retention; from etl.spool.spool_file import encode\n"
        "from tests.spool.test_retention import BEGUN, MARK; from tests.values import reading\n"
        "kept = Retention(Path(sys.argv[1]), 60)\n"
        "for number in range(50):\n"
        "    kept.add(BEGUN, [('x.outcome', encode(reading({'spot': sys.argv[2] + '.' + str(number)})))] * 3, MARK)"
    )
    root = Path(__file__).parents[2]
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(number)], cwd=root) for number in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert len(there(Retention(tmp_path, 60))) == 3 * 50 * 3
