"""Which slots nobody recorded although the daemon should have, and why: stopped, crashed, suspended, overrun."""

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from etl.files import make_private_directory, replace_file
from etl.grid import slot_text
from etl.model import Environment, Failure, Reason

log = logging.getLogger(__name__)

# Of a longer absence only the end gets its reason slot by slot; what is before stays a gap without one.
MOST_SLOTS = 10_000
DETAILS = {
    Reason.STOPPED: "the daemon had been told to stop",
    Reason.CRASHED: "the daemon had ended without being told to",
    Reason.SUSPENDED: "the machine or the daemon was suspended",
    Reason.CLOCK_JUMPED: "the machine's clock was set",
    Reason.OVERRUN: "the daemon was busy with earlier slots",
}


@dataclass(frozen=True, slots=True)
class Presence:
    """The last sign of life: the last slot that was attended to, for whom, and whether the daemon was told to stop."""

    slot_at: datetime
    interval_seconds: int
    accounts: tuple[str, ...]
    stopped: bool = False


class Absence:
    """Remembers, across runs, up to which slot the daemon was there. Safe to use from several threads."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "remembered" / "daemon.json"
        self._lock = threading.Lock()
        self._last = self._read()
        self._reason = Reason.STOPPED if self._last and self._last.stopped else Reason.CRASHED
        self._begun: set[datetime] = set()

    def because(self, reason: Reason) -> None:
        """Slots found missing from here on, up to the next that is attended to, are missing for this reason."""
        with self._lock:
            self._reason = reason

    def begin(self, slot_at: datetime) -> None:
        """A slot is being attended to; it may take longer than its successor."""
        with self._lock:
            self._begun.add(slot_at)

    def attended(
        self, slot_at: datetime, interval_seconds: int, accounts: Sequence[str], environment: Environment, now: datetime
    ) -> list[Failure]:
        """This slot has its outcomes; the failures of those before it, since the last sign of life, that have none."""
        with self._lock:
            last, reason = self._last, self._reason
            if last is not None and slot_at <= last.slot_at:
                return []
            self._last = Presence(slot_at, interval_seconds, tuple(accounts))
            self._reason = Reason.OVERRUN
            self._write(self._last)
            begun, self._begun = self._begun, {slot for slot in self._begun if slot > slot_at}
        if last is None or last.interval_seconds != interval_seconds:
            return []
        step = timedelta(seconds=interval_seconds)
        first = max(last.slot_at + step, slot_at - step * MOST_SLOTS)
        failures = []
        for run_at, slots in _runs(first, slot_at, step, begun):
            log.warning("%d slots from %s on were missed: %s", slots, slot_text(run_at), reason.value)
            failures += [
                Failure(account, environment, run_at, interval_seconds, reason, DETAILS[reason], 0, now, now, slots)
                for account in accounts
                if account in last.accounts
            ]
        return failures

    def stopped(self) -> None:
        """The daemon ends because it was told to."""
        with self._lock:
            if self._last is not None:
                self._write(replace(self._last, stopped=True))

    def _read(self) -> Presence | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Presence)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("%s is passed over: %s", self._file, type(error).__name__)
            return None

    def _write(self, presence: Presence) -> None:
        try:
            make_private_directory(self._file.parent.parent)
            make_private_directory(self._file.parent)
            replace_file(self._file, msgspec.json.encode(presence))
        except Exception as error:  # noqa: BLE001 - whatever refuses it, recording goes on
            log.warning("%s could not be written: %s", self._file, type(error).__name__)


def _runs(
    first: datetime, end: datetime, step: timedelta, begun: Collection[datetime]
) -> Iterator[tuple[datetime, int]]:
    """Runs of slots in [first, end) that nobody has begun, as beginning and length."""
    borders = sorted({slot for slot in begun if first <= slot < end})
    for border in (*borders, end):
        if border > first:
            yield first, (border - first) // step
        first = border + step
