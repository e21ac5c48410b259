"""Which slots nobody recorded although the daemon should have, and why: stopped, crashed, suspended, overrun."""

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import msgspec

from etl.files import make_private_directory, replace_file
from etl.grid import PROGRAM_BEGAN, slot_text
from etl.model import Environment, Failure, Reason

log = logging.getLogger(__name__)

# Of a longer absence only the end gets its reason slot by slot; what is before stays a gap without one.
MOST_SLOTS = 10_000
# A sign of life from so far in the future was given by a wrong clock; a slot may only be late by its deadlines.
IMPOSSIBLY_EARLY = timedelta(days=1)
# Turns that came to nothing are forgotten after so many others.
MOST_UNDER_WAY = 200
# What is filed under a slot so much later than its own left late; beyond, it is our clock that is wrong.
JUST_ENDED = timedelta(minutes=1)
MISSED = "slots missed"
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

    slot_at: Annotated[datetime, msgspec.Meta(tz=True)]
    interval_seconds: Annotated[int, msgspec.Meta(gt=0)]
    accounts: tuple[str, ...]
    stopped: bool = False


class Absence:
    """Remembers, across runs, up to which slot the daemon was there. Safe to use from several threads."""

    def __init__(self, state_dir: Path) -> None:
        self._file = state_dir / "remembered" / "daemon.json"
        self._lock = threading.Lock()
        self._last = self._read()
        self._reason = Reason.STOPPED if self._last and self._last.stopped else Reason.CRASHED
        self._turn = self._reason_until = 0
        self._begun: dict[int, datetime] = {}
        self._over = False

    def because(self, reason: Reason) -> None:
        """Slots found missing from here on, up to the first that begins after this, are missing for this reason."""
        with self._lock:
            self._reason, self._reason_until = reason, self._turn + 1

    def begin(self, slot_at: datetime) -> int:
        """A slot is being attended to, and may take longer than its successor. Returns its turn."""
        with self._lock:
            self._turn += 1
            self._begun[self._turn] = slot_at
            return self._turn

    def came_to_nothing(self, turn: int) -> None:
        """Nobody attends to its slot after all."""
        with self._lock:
            self._begun.pop(turn, None)

    def attended(
        self,
        turn: int,
        outcomes: Collection[tuple[str, datetime]],
        interval_seconds: int,
        *,
        environment: Environment,
        now: datetime,
    ) -> list[Failure]:
        """A slot's accounts have their outcomes, each filed under a slot, which is the turn's own or a later one.

        Returns the failures of the accounts in those slots since the last sign of life that have no outcome.
        """
        slot_at, names = max(slot for _, slot in outcomes), sorted({account for account, _ in outcomes})
        with self._lock:
            own = self._begun.pop(turn, slot_at)
            last, why = self._last, self._reason
            why_own = why if turn < self._reason_until else Reason.OVERRUN
            if self._over or slot_at < PROGRAM_BEGAN:
                return []  # too late to be a sign of life, or given by a clock that has lost the time
            is_late = last is not None and last.slot_at - IMPOSSIBLY_EARLY <= slot_at <= last.slot_at
            begun = {own, *self._begun.values()}
            if not is_late:
                self._advance(turn, Presence(slot_at, interval_seconds, tuple(names)))
        if last is None or last.interval_seconds != interval_seconds:
            return []
        known = [account for account in names if account in last.accounts]

        def failures(accounts: Sequence[str], run_at: datetime, slots: int, reason: Reason) -> list[Failure]:
            detail = DETAILS[reason]
            for account in accounts:
                fields = {"account": account, "slot_at": slot_text(run_at), "slots": slots, "reason": reason.value}
                log.warning(MISSED, extra={"fields": fields})
            return [
                Failure(account, environment, run_at, interval_seconds, reason, detail, 0, now, now, slots)
                for account in accounts
            ]

        step = timedelta(seconds=interval_seconds)
        first = slot_at if is_late else max(last.slot_at + step, slot_at - step * MOST_SLOTS)
        found = [f for run in _runs(first, slot_at, step, begun) for f in failures(known, *run, why)]
        # A request that left when the slot had just ended is filed under the next, and nobody else attends to this one.
        filed = dict(outcomes)
        is_ours = last.slot_at < own < slot_at
        left_out = [a for a in known if own < filed[a] and (is_ours or filed[a] - own <= JUST_ENDED)]
        return found + failures(left_out, own, 1, why_own)

    def _advance(self, turn: int, presence: Presence) -> None:
        self._last = presence
        if turn >= self._reason_until:
            self._reason = Reason.OVERRUN
        self._write(presence)
        self._begun = {t: slot for t, slot in self._begun.items() if t > turn - MOST_UNDER_WAY}

    def stopped(self) -> None:
        """The daemon ends because it was told to."""
        with self._lock:
            self._over = True  # whoever comes now is too late to be a sign of life
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
