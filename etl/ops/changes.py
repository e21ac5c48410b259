"""Has a command of the user's told when a state begins or ends, once each, across runs, restarts and crashes.

A thread of its own notes what became of slots in a file of the state directory, and runs the command for what nobody
was told of yet. Recording never waits for it; a run waits at its end, for as long as commands are given.
"""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from etl.errors import EtlError
from etl.files import lock, make_private_directory, rewrite_text
from etl.grid import slot_end, slot_of, slot_text
from etl.load.lineage import Lineage
from etl.ops.announcement import as_event, as_variables
from etl.ops.command import Command, Ran
from etl.ops.states import (
    Change,
    Memory,
    Seen,
    attend,
    forget,
    look_around,
    look_at_history,
    nobody_attended,
    not_told,
    seen_of,
    told,
    untold,
)
from etl.ops.waiting import look
from etl.recorder import Slot, Stored
from etl.watchers import Watcher

log = logging.getLogger(__name__)

EVENT = "state told"
# For one command; and after so long in a turn no further one is begun.
COMMAND_SECONDS = 30.0
# A timer passes over a service that still runs: at the end of its slot a run waits only so long.
LEAST_PATIENCE_SECONDS = 5.0
# Who is stopped with the file in hand must not stop the others.
LOCK_PATIENCE_SECONDS = 2.0
# Slots that wait to be noted while a command runs, or a disk hangs.
MOST_WAITING = 1000


@dataclass(frozen=True, slots=True)
class ChangeSettings:
    """What the settings say of it. ``accounts`` are those that are recorded; no command: nothing is told."""

    state_dir: Path
    command: Sequence[str] | None
    missed_in_a_row: int
    spool_older_than: timedelta
    interval_seconds: int
    accounts: Callable[[], Collection[str]]


class Changes(Watcher):
    """Told of slots, it has the command told of what has changed."""

    def __init__(
        self,
        latest: Callable[[], ChangeSettings],
        environment: Callable[[], Mapping[str, str]],
        *,
        patience_seconds: float,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``environment`` is what the command is given besides; ``patience_seconds`` is how long the end may take."""
        self._latest = latest
        self._environment = environment
        self._patience_seconds = patience_seconds
        self._now = now
        self._waiting: deque[list[Seen] | None] = deque(maxlen=MOST_WAITING)
        self._unnoted: list[list[Seen] | None] = []
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._command: Command | None = None
        self._starting = threading.Lock()
        self._is_over = False

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Slots were read; what waits may be stored."""
        del stored
        self._add([seen_of(recorded) for slot in slots for recorded in slot.recorded])

    def fails(self, error: Exception) -> None:
        """A slot could not be read at all."""
        del error
        self._add(None)

    def finish(self) -> None:
        """Wait for what is under way, hardly beyond the slot; then end it, and the next run tells it."""
        now, interval_seconds = self._now(), self._latest().interval_seconds
        left_of_slot = (slot_end(slot_of(now, interval_seconds), interval_seconds) - now).total_seconds()
        end = time.monotonic() + min(self._patience_seconds, max(LEAST_PATIENCE_SECONDS, left_of_slot))
        try:
            with self._changed:
                while self._thread is not None and (left := end - time.monotonic()) > 0:
                    self._changed.wait(left)
        finally:
            self.leave()

    def leave(self) -> None:
        """End what is under way; the next run tells it."""
        self._is_over = True
        is_ours = self._starting.acquire(timeout=LOCK_PATIENCE_SECONDS)  # a disk may hang that the command is on
        try:
            if (command := self._command) is not None:
                command.kill()
        finally:
            if is_ours:
                self._starting.release()

    @property
    def _file(self) -> Path:
        return self._latest().state_dir / "remembered" / "states.json"

    def _add(self, seen: list[Seen] | None) -> None:
        if self._latest().command is None:
            return
        with self._changed:
            self._waiting.append(seen)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="changes", daemon=True)
                thread.start()  # raises where the system has none: the next one tries again
                self._thread = thread

    def _run(self) -> None:
        """Until nothing waits; then the thread ends."""
        while True:
            with self._changed:
                if not self._waiting or self._is_over:
                    self._thread = None
                    self._changed.notify_all()
                    return
                waiting = [*self._unnoted, *self._waiting][-MOST_WAITING:]
                self._waiting.clear()
            self._unnoted = waiting
            try:
                self._turn(waiting)
            except (OSError, EtlError) as error:
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                log.warning("what has changed cannot be told now: %s", why)
            except Exception:
                log.exception("a defect while telling what has changed: recording goes on")

    def _turn(self, waiting: list[list[Seen] | None]) -> None:
        chosen = self._latest()
        now = self._now()
        with self._opened() as memory:
            for seen in waiting:
                if seen is None:
                    slot_at = slot_of(now, chosen.interval_seconds)
                    nobody_attended(memory, chosen.accounts(), slot_at, chosen.missed_in_a_row)
                else:
                    attend(memory, seen, chosen.missed_in_a_row)
            spool, quarantine = look(chosen.state_dir / "spool"), look(chosen.state_dir / "quarantine")
            look_around(memory, spool, quarantine, now, chosen.spool_older_than)
            look_at_history(memory, Lineage(chosen.state_dir).known(), now)
            forget(memory, now)
            is_news = bool(untold(memory, now))
        self._unnoted = []
        if is_news and chosen.command is not None:
            self._tell(chosen.command)

    def _tell(self, arguments: Sequence[str]) -> None:
        """Everything that nobody was told of; by one program at a time, so that none is told of twice."""
        end = time.monotonic() + COMMAND_SECONDS
        with _locked(self._file.with_name("telling.lock"), 0.0) as is_ours:
            while is_ours and time.monotonic() < end and not self._is_over:
                with self._opened() as memory:
                    changes = untold(memory, self._now())
                if not changes:
                    return
                ran = self._run_command(arguments, changes[0])
                _log(changes[0], ran)
                with self._opened() as memory:
                    if ran.is_done:
                        told(memory, changes[0])
                    else:
                        not_told(memory, changes[0], self._now())

    def _run_command(self, arguments: Sequence[str], change: Change) -> Ran:
        event = as_event(change)
        environment = {**self._environment(), **as_variables(change)}
        with self._starting:
            if self._is_over:
                return Ran(None, "", "not started: the program ends")
            try:
                command = Command(arguments, environment, json.dumps(event).encode() + b"\n")
            except (OSError, ValueError) as error:
                return Ran(None, "", f"cannot be started: {getattr(error, 'strerror', None) or type(error).__name__}")
            self._command = command
        try:
            return command.wait(COMMAND_SECONDS)
        finally:
            self._command = None

    @contextmanager
    def _opened(self) -> Iterator[Memory]:
        """What is remembered, and what its block makes of it. Raises OSError."""
        make_private_directory(self._file.parent.parent)
        make_private_directory(self._file.parent)
        with _locked(self._file.with_name("states.lock"), LOCK_PATIENCE_SECONDS) as is_ours:
            if not is_ours:
                raise TimeoutError
            before, memory = self._read()
            yield memory
            after = msgspec.json.encode(memory)
            if after != before:
                rewrite_text(self._file, after)

    def _read(self) -> tuple[bytes, Memory]:
        try:
            content = self._file.read_bytes().rstrip()
            return content, msgspec.json.decode(content, type=Memory)
        except FileNotFoundError:
            return b"", Memory()
        except msgspec.MsgspecError as error:
            log.warning("%s is passed over: %s", self._file, type(error).__name__)
            return b"", Memory()


def _log(change: Change, ran: Ran) -> None:
    fields = {
        "state": change.state.value,
        "is": change.word,
        "since": slot_text(change.since),
        "accounts": len(change.names),
        "exit_code": ran.code,
        "trouble": ran.trouble or None,
        "output": ran.output or None,
    }
    log.log(logging.INFO if ran.is_done else logging.WARNING, EVENT, extra={"fields": fields})


@contextmanager
def _locked(file: Path, patience_seconds: float) -> Iterator[bool]:
    """Whether the lock is ours; the kernel lets go of it when its holder dies. Raises OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            lock(descriptor, patience_seconds)
            is_ours = True
        except BlockingIOError:
            is_ours = False
        yield is_ours
    finally:
        os.close(descriptor)
