"""Outcomes on disk: from :meth:`Spool.put` on, a reading cannot be lost; it goes only after the history has it.

One file per outcome (:mod:`etl.spool.spool_file`). It gets its final name by rename when it is whole and on the disk;
one that was whole but not yet renamed when its writer died is adopted (:mod:`etl.spool.unfinished`).
"""

import contextlib
import heapq
import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from etl.errors import DiskError, NotUnderstood
from etl.files import alone, flush_directory, flush_file, make_private_directory, read_file
from etl.model import Outcome
from etl.spool.quarantine import NOTE, Quarantined, quarantined
from etl.spool.reserve import Reserve
from etl.spool.retention import drop_oldest
from etl.spool.spool_file import FromTheFuture, decode, encode, name_of
from etl.spool.unfinished import SUFFIX, UNSETTLED, age_seconds, final, hidden, is_held, is_hidden, successor

log = logging.getLogger(__name__)

# A file still without its final name after this long belongs to a writer that died while writing it.
ABANDONED_AFTER_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Entry:
    """An outcome and the name of its file; ``spooled`` is False where the disk refused that: it is in memory only.

    ``content`` is that of the file, where it was read. ``kept`` were stored before; ``uid`` is whose they are then.
    """

    name: str
    outcome: Outcome
    spooled: bool = True
    content: bytes = field(default=b"", repr=False)
    kept: bool = False
    uid: str | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """An outcome written down in ``file``, unless the disk refused it; it takes the place of ``after``."""

    outcome: Outcome
    name: str
    refusal: OSError | None
    file: str = ""
    after: "Draft | None" = None


class Spool:
    """The outcomes that wait on disk, oldest slot first, and the quarantine beside them.

    Many processes may put, load and quarantine at the same time: every step is one atomic rename or unlink, and a file
    that another process has taken meanwhile is simply gone.
    """

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "spool"
        self.quarantine_directory = state_dir / "quarantine"
        self.damaged = 0  # files that were set aside because they could not be read as what they are
        self._reserve = Reserve(state_dir / "reserve", partial(drop_oldest, state_dir / "stored"))

    def prepare(self) -> None:
        """Create the directories, for their owner only. Raises CannotCreate, or DiskError where they take no file."""
        for directory in (self.directory.parent, self.directory, self.quarantine_directory):
            make_private_directory(directory)
        if not os.access(self.directory, os.W_OK | os.X_OK):
            raise DiskError(f"the spool {self.directory} cannot be written: look at its owner, its mode and its disk")
        self._reserve.hold()

    def write(self, outcome: Outcome, *, unsettled_ms: int = 0, after: Draft | None = None) -> Draft:
        """Write an outcome down at once, and wait until its bytes are on the disk; its name is not yet final.

        May be called from several threads, which then wait for the disk together. :meth:`keep` does the rest. For
        ``unsettled_ms`` nobody else does: a doubted reading is safe, name and all, but not to be stored before it is
        read again. ``after`` is the draft whose place it takes.
        """
        name = successor(after.name) if after else name_of(outcome)
        file = hidden(name, unsettled_ms)
        content = encode(outcome)
        try:
            self._reserve.write(self.directory / file, content)
        except OSError as error:
            # One that is whole, and could only not be flushed, may yet be all that is left of the answer.
            with contextlib.suppress(OSError):
                if (self.directory / file).stat().st_size < len(content):
                    (self.directory / file).unlink()
            return Draft(outcome, name, error, file, after)
        try:
            if unsettled_ms:
                flush_directory(self.directory)
        except OSError as error:
            return Draft(outcome, name, error, file, after)  # the file may stay: should it be stored twice, it is once
        return Draft(outcome, name, None, file, after)

    def keep(self, drafts: Sequence[Draft]) -> tuple[list[Entry], OSError | None]:
        """Give each file of a group its final name; an outcome that the disk refused is not spooled.

        The second value is the disk's last refusal, if there was any. The directory is flushed once for the group,
        and only then goes what an outcome has taken the place of.
        """
        entries: list[Entry] = []
        refusal: OSError | None = None
        for draft in drafts:
            error = draft.refusal or self._finish(draft)
            refusal = error or refusal
            entries.append(Entry(draft.name, draft.outcome, spooled=error is None))
        try:
            if drafts:
                flush_directory(self.directory)
        except OSError as error:
            # The files are there, and stay unless power fails: they are no loss, but somebody has to know.
            return entries, error
        for draft, entry in zip(drafts, entries, strict=True):
            if entry.spooled and draft.after is not None:
                self._let_go(draft.after)
        return entries, refusal

    def put(self, outcomes: Sequence[Outcome]) -> tuple[list[Entry], OSError | None]:
        """Write and keep a group."""
        return self.keep([self.write(outcome) for outcome in outcomes])

    def _finish(self, draft: Draft) -> OSError | None:
        unfinished = self.directory / draft.file
        try:
            unfinished.rename(self.directory / draft.name)
        except FileNotFoundError:
            pass  # another process saw it whole and adopted it: it is in the spool, or already in the history
        except OSError as error:
            return error  # it stays where it is: whoever can may adopt it
        return None

    def _let_go(self, draft: Draft) -> None:
        older: Draft | None = draft
        while older is not None:
            self.discard([older.file, older.name])  # by its name where its slot was over and somebody adopted it
            older = older.after

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
        return sum(1 for _ in self._waiting()) + self.unsettled()

    def unsettled(self) -> int:
        """How many of them are doubted readings whose slot is not over."""
        return sum(1 for _ in self.directory.glob(f".*{UNSETTLED}"))

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
                    elif is_hidden(name) and (adopted := self._adopt(name)):
                        yield adopted
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("cannot read the spool %s: %s", self.directory, error.strerror)

    def _adopt(self, unfinished: str) -> str | None:
        path = self.directory / unfinished
        try:
            age = age_seconds(path.stat().st_mtime)
            if is_held(unfinished, age):
                return None
            content = path.read_bytes()
        except OSError:
            return None
        try:
            decode(content)
        except NotUnderstood:
            if age > ABANDONED_AFTER_SECONDS:
                self._set_aside(unfinished, "torn: its writer died while writing it")
            return None
        name = final(unfinished)
        # Its writer may not have come to flush it. Where the disk refuses that, it is whole all the same, and is not to
        # come after what was read later.
        with suppress(OSError):
            flush_file(path)
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
                content = self._content(name)
                yield Entry(name, decode(content), content=content)
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
        return read_file(f"{self.directory}{os.sep}{name}")

    def _set_aside(self, name: str, why: str) -> None:
        log.warning("%s is set aside, in quarantine: %s", name, why)
        try:
            self.quarantine(name, "unreadable", why)
            self.damaged += 1
        except DiskError as error:
            log.error("%s", error)

    def discard(self, names: Iterable[str]) -> None:
        """Let go of outcomes that the history has. Called only after COMMIT; a replay of one that stays is harmless."""
        for name in names:
            try:
                os.unlink(f"{self.directory}{os.sep}{name}")  # noqa: PTH108 - as in _content
            except FileNotFoundError:
                continue
            except OSError as error:
                log.error("cannot remove %s: %s; it is stored, and loading it again is harmless", name, error.strerror)

    def quarantine(self, name: str, reason: str, detail: str) -> None:
        """Set a file aside with its reason, which is written first. Raises DiskError; the file then stays in place."""
        target = final(name)
        try:
            with alone(self.quarantine_directory):
                self._note(target, reason, detail)
                (self.directory / name).rename(self.quarantine_directory / target)
            flush_directory(self.quarantine_directory)
        except FileNotFoundError:
            return  # another process quarantined it first
        except OSError as error:
            raise DiskError(f"cannot quarantine {name}: {error.strerror}") from None

    def quarantine_unspooled(self, outcome: Outcome, reason: str, detail: str, name: str = "") -> None:
        """The same for an outcome that is not in the spool, nor ever is: it might be adopted. Raises DiskError."""
        name = name or name_of(outcome)
        try:
            self._note(name, reason, detail)
            self._reserve.write(self.quarantine_directory / name, encode(outcome))
            flush_directory(self.quarantine_directory)
        except OSError as error:
            raise DiskError(f"cannot quarantine the outcome of {outcome.account}: {error.strerror}") from None

    def _note(self, name: str, reason: str, detail: str) -> None:
        note = {"reason": reason, "detail": detail, "at": datetime.now(UTC)}
        self._reserve.write(self.quarantine_directory / f"{name}{NOTE}", msgspec.json.encode(note) + b"\n")

    def quarantined(self) -> list[Quarantined]:
        """What was set aside, oldest slot first."""
        return quarantined(self.quarantine_directory)

    def release(self, name: str) -> None:
        """Put a quarantined file back into the spool, to be loaded again. Raises DiskError."""
        try:
            with alone(self.quarantine_directory):  # by then it may have been loaded, and set aside once more
                (self.quarantine_directory / name).rename(self.directory / name)
                (self.quarantine_directory / f"{name}{NOTE}").unlink(missing_ok=True)
            flush_directory(self.directory)
        except FileNotFoundError:
            return  # another process released it first
        except OSError as error:
            raise DiskError(f"cannot release {name}: {error.strerror}") from None
