"""Outcomes on disk: from :meth:`Spool.put` on, a reading cannot be lost; it goes only after the history has it.

One file per outcome (:mod:`etl.spool_file`). It gets its final name by rename when it is whole and on the disk; one that
was whole but not yet renamed when its writer died is adopted.
"""

import contextlib
import heapq
import logging
import math
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from etl.errors import DiskError, NotUnderstood
from etl.files import flush_directory, make_private_directory, write_and_flush
from etl.grid import to_ms
from etl.model import Outcome, Reading
from etl.spool_file import FromTheFuture, decode, encode

log = logging.getLogger(__name__)

SUFFIX = ".outcome"
UNFINISHED = ".unfinished"
# A file still without its final name after this long belongs to a writer that died while writing it.
ABANDONED_AFTER_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Entry:
    """An outcome and the name of its file; ``spooled`` is False where the disk refused that: it is in memory only."""

    name: str
    outcome: Outcome
    spooled: bool = True


@dataclass(frozen=True, slots=True)
class Draft:
    """An outcome that was written down, or that the disk refused to take."""

    outcome: Outcome
    name: str
    refusal: OSError | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One file that was set aside, why and when."""

    name: str
    reason: str
    detail: str
    at: datetime | None


class Spool:
    """The outcomes that wait on disk, oldest slot first, and the quarantine beside them.

    Many processes may put, load and quarantine at the same time: every step is one atomic rename or unlink, and a file
    that another process has taken meanwhile is simply gone.
    """

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "spool"
        self.quarantine_directory = state_dir / "quarantine"

    def prepare(self) -> None:
        """Create the directories, for their owner only. Raises CannotCreate, or DiskError where they take no file."""
        for directory in (self.directory.parent, self.directory, self.quarantine_directory):
            make_private_directory(directory)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise DiskError(f"the spool {self.directory} cannot be written: look at its owner, its mode and its disk")

    def write(self, outcome: Outcome) -> Draft:
        """Write an outcome down at once, and wait until its bytes are on the disk; its name is not yet final.

        May be called from several threads, which then wait for the disk together. :meth:`keep` does the rest.
        """
        # By slot, then by the time it was read: the order of names is the order in which outcomes win.
        slot = outcome.slot_at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        at = outcome.requested_at if isinstance(outcome, Reading) else outcome.last_at
        name = f"{slot}.{to_ms(at):015d}.{outcome.account}.{secrets.token_hex(4)}{SUFFIX}"
        try:
            write_and_flush(self._unfinished(name), encode(outcome))
        except OSError as error:
            with contextlib.suppress(OSError):
                self._unfinished(name).unlink(missing_ok=True)
            return Draft(outcome, name, error)
        return Draft(outcome, name, None)

    def keep(self, drafts: Sequence[Draft]) -> tuple[list[Entry], OSError | None]:
        """Give each file of a group its final name; an outcome that the disk refused is not spooled.

        The second value is the disk's last refusal, if there was any. The directory is flushed once for the group.
        """
        entries: list[Entry] = []
        refusal: OSError | None = None
        for draft in drafts:
            error = draft.refusal or self._finish(draft.name)
            refusal = error or refusal
            entries.append(Entry(draft.name, draft.outcome, spooled=error is None))
        try:
            if drafts:
                flush_directory(self.directory)
        except OSError as error:
            # The files are there, and stay unless power fails: they are no loss, but somebody has to know.
            refusal = error
        return entries, refusal

    def put(self, outcomes: Sequence[Outcome]) -> tuple[list[Entry], OSError | None]:
        """Write and keep a group."""
        return self.keep([self.write(outcome) for outcome in outcomes])

    def _finish(self, name: str) -> OSError | None:
        unfinished = self._unfinished(name)
        try:
            unfinished.rename(self.directory / name)
        except FileNotFoundError:
            pass  # another process saw it whole and adopted it: it is in the spool, or already in the history
        except OSError as error:
            with contextlib.suppress(OSError):
                unfinished.unlink(missing_ok=True)
            return error
        return None

    def _unfinished(self, name: str) -> Path:
        return self.directory / f".{name}{UNFINISHED}"

    def has(self, name: str) -> bool:
        """Whether the file of that name waits; False also where another process has stored or quarantined it."""
        return (self.directory / name).exists()

    def waits_since(self, name: str) -> float:
        """When a file was written, in Unix seconds; the distant future where it does not wait any more."""
        try:
            return (self.directory / name).stat().st_mtime
        except FileNotFoundError:
            return math.inf

    def depth(self) -> int:
        """How many outcomes wait."""
        return sum(1 for _ in self._waiting())

    def names(self, after: str = "", most: int | None = None) -> list[str]:
        """The files that wait, oldest slot first, after adopting what a writer that died had finished.

        Of very many, the first ``most`` of those after a name.
        """
        found = (name for name in self._waiting() if name > after)
        return sorted(found) if most is None else heapq.nsmallest(most, found)

    def _waiting(self) -> Iterator[str]:
        try:
            with os.scandir(self.directory) as found:
                for entry in found:
                    name = entry.name
                    if name.endswith(SUFFIX) and not name.startswith("."):
                        yield name
                    elif name.endswith(UNFINISHED) and (adopted := self._adopt(name)):
                        yield adopted
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("cannot read the spool %s: %s", self.directory, error.strerror)

    def _adopt(self, unfinished: str) -> str | None:
        path = self.directory / unfinished
        try:
            age = abs(time.time() - path.stat().st_mtime)
            content = path.read_bytes()
        except OSError:
            return None
        try:
            decode(content)
        except NotUnderstood:
            if age > ABANDONED_AFTER_SECONDS:
                self._set_aside(unfinished, "torn: its writer died while writing it")
            return None
        name = unfinished.removeprefix(".").removesuffix(UNFINISHED)
        try:
            path.rename(self.directory / name)
        except OSError:
            return None
        return name

    def read(self, names: Iterable[str]) -> Iterator[Entry]:
        """The entries of these files. What cannot be understood is quarantined; what is gone meanwhile is passed over.

        A file of a later format, or one that the disk refuses to read, stays where it is and is passed over.
        """
        for name in names:
            try:
                yield Entry(name, decode(self._content(name)))
            except FileNotFoundError:
                continue
            except FromTheFuture as error:
                log.warning("%s waits for an upgrade of this program: %s", name, error)
            except NotUnderstood as error:
                self._set_aside(name, str(error))
            except OSError as error:
                log.error("cannot read %s: %s", self.directory / name, error.strerror)

    def _content(self, name: str) -> bytes:
        # After an outage there are very many, and a Path object for each costs as much as reading it.
        with open(f"{self.directory}{os.sep}{name}", "rb", buffering=0) as file:  # noqa: PTH123
            return file.read()

    def _set_aside(self, name: str, why: str) -> None:
        log.warning("%s is set aside, in quarantine: %s", name, why)
        try:
            self.quarantine(name, "unreadable", why)
        except DiskError as error:
            log.error("%s", error)

    def discard(self, names: Iterable[str]) -> None:
        """Let go of outcomes that the history has. Called only after COMMIT; a replay of one that stays is harmless."""
        for name in names:
            try:
                (self.directory / name).unlink(missing_ok=True)
            except OSError as error:
                log.error("cannot remove %s: %s; it is stored, and loading it again is harmless", name, error.strerror)

    def quarantine(self, name: str, reason: str, detail: str) -> None:
        """Set a file aside with its reason, which is written first. Raises DiskError; the file then stays in place."""
        target = name.removeprefix(".").removesuffix(UNFINISHED)
        note = {"reason": reason, "detail": detail, "at": datetime.now(UTC)}
        try:
            write_and_flush(self.quarantine_directory / f"{target}.reason", msgspec.json.encode(note) + b"\n")
            (self.directory / name).rename(self.quarantine_directory / target)
            flush_directory(self.quarantine_directory)
        except FileNotFoundError:
            return  # another process quarantined it first
        except OSError as error:
            raise DiskError(f"cannot quarantine {name}: {error.strerror}") from None

    def quarantine_unspooled(self, outcome: Outcome, reason: str, detail: str) -> None:
        """The same for an outcome that the disk had refused to take before. Raises DiskError."""
        draft = self.write(outcome)
        if draft.refusal is not None:
            raise DiskError(f"cannot quarantine the outcome of {outcome.account}: {draft.refusal.strerror}")
        self.quarantine(self._unfinished(draft.name).name, reason, detail)

    def quarantined(self) -> list[Quarantined]:
        """What was set aside, oldest slot first."""
        try:
            names = sorted(os.listdir(self.quarantine_directory))
        except FileNotFoundError:
            return []
        return [self._quarantined(name) for name in names if not name.endswith(".reason")]

    def _quarantined(self, name: str) -> Quarantined:
        try:
            note = msgspec.json.decode((self.quarantine_directory / f"{name}.reason").read_bytes())
            return Quarantined(name, note["reason"], note["detail"], datetime.fromisoformat(note["at"]))
        except (OSError, msgspec.DecodeError, KeyError, TypeError, ValueError):
            return Quarantined(name, "unknown", "its note is missing or unreadable", None)

    def release(self, name: str) -> None:
        """Put a quarantined file back into the spool, to be loaded again. Raises DiskError."""
        try:
            (self.quarantine_directory / name).rename(self.directory / name)
            (self.quarantine_directory / f"{name}.reason").unlink(missing_ok=True)
            flush_directory(self.directory)
        except OSError as error:
            raise DiskError(f"cannot release {name}: {error.strerror}") from None
