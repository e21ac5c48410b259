"""Which history the accounts of a state directory are recorded into, and whether another was begun in its place.

A history is known by the time at which its first account came: that goes along with every backup, dump and copy of it,
and with nothing else. Where one that was begun later takes the place of the one that is known, as happens when a disk
is not mounted or a file is gone, recording goes on, and that it has happened stays remembered until the one before is
back, or a person says that the new one is to go on.
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec

from etl.errors import DiskError
from etl.files import make_private_directory, read_file, replace_file
from etl.grid import from_ms, slot_text, to_ms

log = logging.getLogger(__name__)
# Processes that begin a history at the same moment may each take its own account for the first.
TOGETHER = timedelta(seconds=0.5)
Instant: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


@dataclass(frozen=True, slots=True)
class Instead:
    """The history that was begun then has been recorded into ``since``, in the place of another."""

    begun_at: Instant
    since: Instant


@dataclass(frozen=True, slots=True)
class Known:
    """The history that was begun then is the one to record into; ``instead``: what has taken its place."""

    begun_at: Instant
    instead: Instead | None = None

    def now_in(self, begun_at: datetime, at: datetime, *, is_new: bool = False) -> "Known":
        """What is known when the history in the database is that which was begun at ``begun_at``.

        One that is at least as old takes nobody's place, unless it ``is_new``: then the clock is wrong.
        """
        begun_at = from_ms(to_ms(begun_at))
        if self.instead is not None and self.instead.begun_at == begun_at:
            return self
        if abs(begun_at - self.begun_at) <= TOGETHER or (begun_at < self.begun_at and not is_new):
            return Known(begun_at)
        return replace(self, instead=Instead(begun_at, at if self.instead is None else self.instead.since))


class Lineage:
    """``remembered/history.json`` of a state directory, which is read at each load and written when that changes."""

    def __init__(self, state_dir: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._file = state_dir / "remembered" / "history.json"
        self._now = now

    def known(self) -> Known | None:
        """What is remembered; None where nothing is, or where the file is damaged. Raises OSError."""
        try:
            return msgspec.json.decode(read_file(str(self._file)), type=Known)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s is passed over: %s", self._file, type(error).__name__)
            return None

    def anew_since(self) -> float | None:
        """Since when, in Unix seconds, another history has been recorded into; None where that is not known."""
        with suppress(OSError):
            known = self.known()
            return None if known is None or known.instead is None else known.instead.since.timestamp()
        return None

    def note(self, begun_at: datetime, before: Callable[[], datetime | None], *, is_new: bool = False) -> None:
        """Outcomes were stored in the history that was begun then; ``is_new``: by them.

        ``before`` is asked where nothing is remembered yet: when the history was begun into which was stored last.
        Raises nothing: what the disk refuses is noted by the next load.
        """
        try:
            known = self.known()
            last = before() if known is None else known.begun_at
            if last is None:
                after = Known(from_ms(to_ms(begun_at)))
            else:
                after = (known or Known(last)).now_in(begun_at, self._now(), is_new=is_new)
            if after != known:
                _tell(known, after)
                self._write(after)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with what is remembered, recording goes on
            log.warning("%s cannot be kept: %s", self._file, getattr(error, "strerror", None) or type(error).__name__)

    def accept(self, begun_at: datetime | None) -> None:
        """The history that was begun then is the one from now on; None: whichever comes next. Raises DiskError."""
        try:
            if begun_at is None:
                self._file.unlink(missing_ok=True)
            else:
                self._write(Known(from_ms(to_ms(begun_at))))
        except OSError as error:
            raise DiskError(f"{self._file} cannot be written: {error.strerror}") from None

    def _write(self, known: Known) -> None:
        make_private_directory(self._file.parent.parent)
        make_private_directory(self._file.parent)
        replace_file(self._file, msgspec.json.encode(known))


def _tell(before: Known | None, after: Known) -> None:
    """One line, when it begins and when it ends."""
    if after.instead is not None:
        log.warning(
            "accounts were recorded before, into a history that goes back to %s, and that is not in the database: a new"
            " history begins, and recording goes on; bingx-etl doctor says what to do",
            slot_text(after.begun_at),
        )
    elif before is not None and before.instead is not None:
        log.warning(
            "the history that goes back to %s is in the database again. What was recorded since %s went into another:"
            " bingx-etl db adopt puts in what is kept of it",
            slot_text(after.begun_at),
            slot_text(before.instead.since),
        )
