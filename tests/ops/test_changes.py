"""What has a command told, without the program around it."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl.model import Reason
from etl.ops import changes
from etl.ops.changes import MOST_WAITING, Changes, ChangeSettings
from etl.ops.command import Command
from etl.ops.states import Change, Holding, State
from etl.recorder import Recorded, Slot, Stored
from tests.fakes import no_thread
from tests.values import failure

NOW = datetime(2026, 11, 22, 15, 22, tzinfo=UTC)


def refused(number: int = 0) -> Slot:
    """A slot of an account whose key is refused."""
    outcome = failure(account=f"a{number}", reason=Reason.KEY_REFUSED)
    return Slot(recorded=[Recorded(outcome, None, outcome, stored=True)])


def script(tmp_path: Path, text: str) -> Path:
    """A command."""
    file = tmp_path / "command"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    return file


def of(
    tmp_path: Path, command: Path | None, now: Callable[[], datetime] = lambda: NOW, patience: float = 10
) -> Changes:
    """The watcher of a state directory."""
    chosen = ChangeSettings(
        tmp_path / "state", None if command is None else (str(command),), 3, timedelta(hours=1), 300, lambda: ["main"]
    )
    return Changes(lambda: chosen, dict, patience_seconds=patience, now=now)


def settle(watcher: Changes) -> None:
    """Until its thread has ended."""
    end = time.monotonic() + 10
    while watcher._thread is not None:
        assert time.monotonic() < end
        time.sleep(0.01)


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Another process has the lock, and does not let go of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with changes._locked(file, 0.0) as is_ours:
        assert is_ours
        yield


def test_without_a_command_nothing_is_remembered_and_no_thread_is_there(tmp_path: Path) -> None:
    watcher = of(tmp_path, None)
    watcher.ends([refused()], Stored())
    watcher.fails(ValueError())
    assert watcher._thread is None
    watcher.finish()
    assert not (tmp_path / "state").exists()


def test_while_another_tells_nothing_is_told_twice_and_the_next_slot_tells_the_rest(tmp_path: Path) -> None:
    told = tmp_path / "told"
    command = script(tmp_path, f"echo $BINGX_STATE_ACCOUNTS >> {told}")
    with held(tmp_path / "state" / "remembered" / "telling.lock"):
        watcher = of(tmp_path, command)
        watcher.ends([refused()], Stored())
        watcher.finish()
    assert not told.exists()
    watcher = of(tmp_path, command)
    watcher.ends([refused(1)], Stored())
    watcher.finish()
    assert told.read_text() == "a0 a1\n"


def test_one_who_is_stopped_with_the_file_in_hand_stops_nobody_and_what_was_seen_is_noted_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(changes, "LOCK_PATIENCE_SECONDS", 0.1)
    told = tmp_path / "told"
    watcher = of(tmp_path, script(tmp_path, f"echo $BINGX_STATE_ACCOUNTS >> {told}"))
    with held(tmp_path / "state" / "remembered" / "states.lock"):
        watcher.ends([refused()], Stored())
        settle(watcher)
    assert "what has changed cannot be told now" in caplog.text
    watcher.ends([refused(1)], Stored())
    watcher.finish()
    assert told.read_text() == "a0 a1\n"


def test_what_no_thread_could_be_had_for_is_told_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = tmp_path / "told"
    watcher = of(tmp_path, script(tmp_path, f"echo $BINGX_STATE_ACCOUNTS >> {told}"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(RuntimeError):
            watcher.ends([refused()], Stored())
    watcher.ends([refused(1)], Stored())
    watcher.finish()
    assert told.read_text() == "a0 a1\n"


def test_what_was_seen_while_a_command_hangs_does_not_grow_without_bound(tmp_path: Path) -> None:
    watcher = of(tmp_path, script(tmp_path, "sleep 60"), patience=0.1)
    watcher.ends([refused()], Stored())
    while watcher._command is None:
        time.sleep(0.01)
    for number in range(MOST_WAITING + 500):
        watcher.ends([refused(number)], Stored())
        assert len(watcher._waiting) <= MOST_WAITING
    began = time.monotonic()
    watcher.finish()
    assert time.monotonic() - began < 10
    settle(watcher)


def test_a_state_directory_that_cannot_be_written_is_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("a file")
    watcher = of(tmp_path, script(tmp_path, "true"))
    watcher.ends([refused()], Stored())
    watcher.finish()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "cannot create the directory" in record.getMessage()


def test_at_the_end_of_its_slot_a_run_waits_for_little_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "LEAST_PATIENCE_SECONDS", 0.3)
    late = NOW.replace(minute=24, second=59, microsecond=900_000)
    watcher = of(tmp_path, script(tmp_path, "sleep 60"), lambda: late, 60)
    watcher.ends([refused()], Stored())
    began = time.monotonic()
    watcher.finish()
    assert 0.2 < time.monotonic() - began < 10
    settle(watcher)


@pytest.mark.parametrize("fault", ["missing", "mute"])
def test_a_command_that_cannot_be_started_says_so_and_is_told_when_it_can(
    tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    now = NOW
    told = tmp_path / "told"
    command = script(tmp_path, f"echo $BINGX_STATE_ACCOUNTS >> {told}")
    if fault == "missing":
        command.unlink()
    else:
        command.chmod(0o600)
    for _ in range(2):
        watcher = of(tmp_path, command, lambda: now)
        watcher.ends([refused()], Stored())
        watcher.finish()
    [record] = caplog.records
    assert (
        record.__dict__["fields"]["trouble"]
        == {
            "missing": "cannot be started: No such file or directory",
            "mute": "cannot be started: Permission denied",
        }[fault]
    ), "and in the same minute it is not tried again"
    script(tmp_path, f"echo $BINGX_STATE_ACCOUNTS >> {told}")
    now += timedelta(minutes=1)
    watcher = of(tmp_path, command, lambda: now)
    watcher.ends([], Stored())
    watcher.finish()
    assert told.read_text() == "a0\n"


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b'{"accounts": 7}', b"[]"])
def test_what_is_remembered_may_be_damaged_in_any_way(tmp_path: Path, content: bytes) -> None:
    told = tmp_path / "told"
    (tmp_path / "state" / "remembered").mkdir(parents=True)
    (tmp_path / "state" / "remembered" / "states.json").write_bytes(content)
    watcher = of(tmp_path, script(tmp_path, f"echo $BINGX_STATE_ACCOUNTS >> {told}"))
    watcher.ends([refused()], Stored())
    watcher.finish()
    assert told.read_text() == "a0\n"


def test_when_the_program_leaves_no_command_is_started_any_more_and_none_is_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it just being started: then it is waited for that, and ended."""
    watcher = of(tmp_path, script(tmp_path, "sleep 60"))
    being_started, go_on = threading.Event(), threading.Event()
    started: list[Command] = []

    def start(arguments: Sequence[str], environment: Mapping[str, str], stdin: bytes) -> Command:
        being_started.set()
        assert go_on.wait(10)
        started.append(Command(arguments, environment, stdin))
        return started[0]

    monkeypatch.setattr(changes, "Command", start)
    watcher.ends([refused()], Stored())
    assert being_started.wait(10)
    leaving = threading.Thread(target=watcher.leave)
    leaving.start()
    go_on.set()
    leaving.join(10)
    settle(watcher)
    assert [command._process.wait(10) for command in started] == [-signal.SIGKILL]
    change = Change(State.KEY_REFUSED, begins=True, accounts={"main": Holding(NOW, "key_refused")})
    assert watcher._run_command(["true"], change).trouble == "not started: the program ends"
