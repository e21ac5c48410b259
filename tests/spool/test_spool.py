"""Outcomes on disk."""

import contextlib
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import CannotCreate, NotUnderstood
from etl.model import Outcome
from etl.spool.spool import ABANDONED_AFTER_SECONDS, Spool
from etl.spool.spool_file import FromTheFuture, decode, encode
from tests.disk import Disk
from tests.values import ASKED, SLOT, failure, reading


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    """An empty spool."""
    spool = Spool(tmp_path / "state")
    spool.prepare()
    return spool


def outcomes(spool: Spool) -> list[Outcome]:
    """What waits."""
    return [entry.outcome for entry in spool.read(spool.names())]


@given(
    st.lists(st.binary(), max_size=3),
    st.one_of(st.none(), st.text()),
    st.one_of(st.none(), st.integers(-(10**9), 10**9)),
)
def test_a_reading_comes_back_to_the_byte(bodies: list[bytes], uid: str | None, offset: int | None) -> None:
    try:
        (uid or "").encode()
    except UnicodeEncodeError:
        uid = None
    outcome = reading(bodies=tuple(bodies), uid=uid, clock_offset_ms=offset)
    assert decode(encode(outcome)) == outcome


def test_a_failure_comes_back() -> None:
    assert decode(encode(failure())) == failure()


@given(st.data())
def test_a_file_with_one_byte_changed_or_missing_is_refused(data: st.DataObject) -> None:
    whole = encode(reading())
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = whole[:at] + bytes([whole[at] ^ data.draw(st.integers(1, 255))]) + whole[at + 1 :]
    for damaged in (changed, whole[:at]):
        with pytest.raises(NotUnderstood):
            decode(damaged)


@given(st.binary())
def test_any_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(NotUnderstood):
        decode(data)


def test_what_is_put_waits_oldest_slot_first_then_in_the_order_it_was_read(spool: Spool) -> None:
    first = reading(requested_at=ASKED, uid="first")
    second = reading(requested_at=ASKED + timedelta(seconds=1), uid="second")
    older = reading(slot_at=SLOT - timedelta(minutes=5), requested_at=ASKED + timedelta(seconds=2), uid="older")
    for outcome in (second, first, older):
        spool.put([outcome])
    assert outcomes(spool) == [older, first, second]


def test_files_and_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        spool = Spool(tmp_path / "deep" / "state")
        spool.prepare()
        spool.put([reading()])
        spool.quarantine(spool.names()[0], "why", "because")
        spool.put([reading()])
    finally:
        os.umask(before)
    state = tmp_path / "deep" / "state"
    assert {path.stat().st_mode & 0o777 for path in state.rglob("*") if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in [state, *state.rglob("*")] if path.is_dir()} == {0o700}


def test_a_directory_that_cannot_be_made_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreate, match="file/state"):
        Spool(tmp_path / "file" / "state").prepare()


def test_an_outcome_that_the_disk_refuses_is_handed_back_and_leaves_nothing(spool: Spool) -> None:
    spool.directory.rmdir()
    spool.directory.write_text("no directory")
    entries, refusal = spool.put([reading()])
    assert [(entry.spooled, entry.outcome) for entry in entries] == [(False, reading())]
    assert isinstance(refusal, OSError)


def test_a_damaged_file_is_quarantined_with_its_reason_and_blocks_nothing(spool: Spool) -> None:
    spool.put([reading(), failure()])
    damaged = spool.names()[0]
    path = spool.directory / damaged
    path.write_bytes(path.read_bytes()[:-1])
    assert len(outcomes(spool)) == 1
    [aside] = spool.quarantined()
    assert (aside.name, aside.reason) == (damaged, "unreadable")
    assert "checksum" in aside.detail
    assert spool.names() == [name for name in spool.names() if name != damaged]


def test_a_file_of_a_later_format_waits_in_place_for_an_upgrade(spool: Spool) -> None:
    spool.put([reading()])
    path = spool.directory / spool.names()[0]
    path.write_bytes(path.read_bytes().replace(b"bingx-etl-spool 1 ", b"bingx-etl-spool 2 "))
    with pytest.raises(FromTheFuture):
        decode(path.read_bytes())
    assert outcomes(spool) == []
    assert spool.depth() == 1
    assert spool.quarantined() == []


def test_a_writer_killed_between_flush_and_rename_has_lost_nothing(spool: Spool) -> None:
    spool.put([reading()])
    [name] = spool.names()
    (spool.directory / name).rename(spool.directory / f".{name}.unfinished")
    assert outcomes(spool) == [reading()]


def test_a_torn_file_is_left_to_its_writer_and_quarantined_when_that_must_be_dead(spool: Spool) -> None:
    torn = spool.directory / ".20261122T152000Z.1.main.aa.outcome.unfinished"
    torn.write_bytes(encode(reading())[:100])
    assert spool.names() == []
    assert torn.exists()
    long_ago = time.time() - ABANDONED_AFTER_SECONDS - 1
    os.utime(torn, (long_ago, long_ago))
    assert spool.names() == []
    assert [item.reason for item in spool.quarantined()] == ["unreadable"]


def test_what_is_set_aside_again_while_it_is_being_released_keeps_its_reason(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [entry], _ = spool.put([reading()])
    spool.quarantine(entry.name, "malformed", "no JSON")
    setting_aside = threading.Thread(target=spool.quarantine, args=(entry.name, "malformed", "no JSON"))

    def slowly(path: Path, *, missing_ok: bool = False) -> None:
        monkeypatch.undo()
        setting_aside.start()
        setting_aside.join(0.3)  # in vain, where it has to wait
        path.unlink(missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", slowly)
    spool.release(entry.name)
    setting_aside.join()
    assert [(item.name, item.detail) for item in spool.quarantined()] == [(entry.name, "no JSON")]
    spool.release(entry.name)
    spool.release(entry.name)
    assert spool.names() == [entry.name]


def test_what_is_released_from_quarantine_waits_again(spool: Spool) -> None:
    spool.put([reading()])
    [name] = spool.names()
    spool.quarantine(name, "identity_mismatch", "another UID")
    assert outcomes(spool) == []
    spool.release(name)
    assert outcomes(spool) == [reading()]
    assert spool.quarantined() == []


def test_what_another_process_took_meanwhile_is_passed_over(spool: Spool) -> None:
    spool.put([reading()])
    names = spool.names()
    spool.discard(names)
    spool.discard(names)
    spool.quarantine(names[0], "why", "because")
    assert list(spool.read(names)) == []


KILLED_WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from etl.spool.spool import Spool
from tests.values import reading
spool = Spool(Path(sys.argv[1]))
for number in range(100_000):
    spool.put([replace(reading(), attempts=number)])
    print(number, flush=True)
"""


def test_whatever_was_said_to_be_kept_survives_kill_9(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    spool.prepare()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED_WRITER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as writer:
        assert writer.stdout is not None
        said = [int(writer.stdout.readline()) for _ in range(50)]
        writer.kill()
        said += [int(line) for line in writer.stdout.read().splitlines() if line.strip().isdigit()]
    assert set(said) <= {outcome.attempts for outcome in outcomes(spool)}


def test_nothing_of_an_outcome_depends_on_where_python_runs() -> None:
    assert encode(replace(reading(), bodies=())).splitlines()[1].startswith(b'{"account":"main"')


def test_a_group_is_written_before_any_of_it_is_flushed_so_that_a_kill_in_between_loses_nothing(spool: Spool) -> None:
    drafts = [spool.write(reading(requested_at=ASKED + timedelta(seconds=number))) for number in range(20)]
    assert all(draft.refusal is None for draft in drafts)
    # The process dies here.
    assert len(outcomes(spool)) == 20


def test_what_a_dead_writer_left_whole_is_adopted_though_the_disk_refuses_to_flush_it(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    spool.write(reading())
    # The process dies here.
    later = reading(requested_at=ASKED + timedelta(milliseconds=500))
    spool.put([later])
    monkeypatch.setattr("etl.spool.spool.flush_file", refuse)
    assert outcomes(spool) == [reading(), later], "the first of its slot is the first to be stored"


def test_what_was_adopted_before_its_writer_finished_it_is_kept_all_the_same(spool: Spool) -> None:
    draft = spool.write(reading())
    assert spool.depth() == 1
    entries, refusal = spool.keep([draft])
    assert (refusal, [entry.spooled for entry in entries]) == (None, [True])
    assert outcomes(spool) == [reading()]


def test_a_directory_that_cannot_be_flushed_is_said_and_loses_nothing(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("etl.spool.spool.flush_directory", refuse)
    entries, refusal = spool.put([reading()])
    assert [entry.spooled for entry in entries] == [True]
    assert refusal is not None
    assert outcomes(spool) == [reading()]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_it_counts_as_kept(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        entries, refusal = spool.put([reading(), failure(), reading(account="other")])
    assert refusal is None
    for entry in entries:
        path = spool.directory / entry.name
        assert disk.last("write", path) < disk.last("flush", path) < disk.last("name", path)
        assert disk.last("name", path) < disk.last("flush", spool.directory)


def test_what_is_set_aside_is_on_the_disk_with_its_reason(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.put([reading()])
    [name] = spool.names()
    with monkeypatch.context() as patch:
        disk = Disk(patch)
        spool.quarantine(name, "why", "because")
    aside = spool.quarantine_directory / name
    reason = spool.quarantine_directory / f"{name}.reason"
    assert disk.last("write", reason) < disk.last("flush", reason) < disk.last("name", aside)
    assert disk.last("name", aside) < disk.last("flush", spool.quarantine_directory)


def test_what_is_to_be_set_aside_never_waits_as_a_reading_wherever_its_program_dies(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found by the model: an answer denied by its status was adopted, and stored as if it had been believed.
    class Killed(BaseException):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    for step in ("rename", "fsync"):
        with monkeypatch.context() as dying:
            dying.setattr(os, step, die)
            with contextlib.suppress(Killed):
                spool.quarantine_unspooled(reading(), "unavailable", "code 0 all the same")
        assert Spool(spool.directory.parent).names() == []
