"""Outcomes that the history has, kept on disk for a while: what a restored backup lacks comes back from here.

After COMMIT an outcome is appended to a segment, an hour of them in a file, and only then leaves the spool. Each is the
content of its spool file, checksum included, after a line with its length; the line begins with a word that only the
name of the segment tells, so that nothing which BingX answers can look like one. What was torn is passed over. Marks,
at the beginning of each append, say what was stored last: a database that lacks that is older than what is kept. A
failure may be there because another host has put back its own; so the last snapshot is named beside it.

All of this is a second line of defence: it is not flushed, the oldest goes when space is scarce, and no refusal of the
disk keeps an outcome from being stored.
"""

import contextlib
import errno
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from etl.errors import CannotCreate, NotUnderstood
from etl.files import make_private_directory, read_file
from etl.grid import PROGRAM_BEGAN, from_ms, to_ms
from etl.model import Mark, Outcome
from etl.spool.spool_file import decode

log = logging.getLogger(__name__)

SEGMENT_SECONDS: Final = 3600
# The kept ones never take the last of a disk.
LEAST_FREE_BYTES: Final = 64 << 20
LEAST_FREE_SHARE: Final = 20  # one part of so many, on a small disk
COMPLAIN_EVERY_SECONDS: Final = 3600.0
# Numbers have no more digits than times can have, be a byte of them damaged or not.
NAME: Final = re.compile(r"([0-9]{8})\.([0-9]{1,11})\.([0-9a-f]{16})\.outcomes")

# When a history was begun, and what it has: what was stored last, and then what must be there besides.
Last: TypeAlias = tuple[datetime, tuple[Mark, ...]]


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of them: in order of ``number``, begun at a time in Unix seconds."""

    path: Path
    number: int
    begun: int
    word: bytes


class Retention:
    """The segments in a state directory. Several processes may append at once; each append is one write."""

    def __init__(
        self,
        state_dir: Path,
        keep_seconds: float,
        now: Callable[[], float] = time.time,
        *,
        held_at: Callable[[], float | None] = lambda: None,
    ) -> None:
        """``keep_seconds`` are kept at least, and an hour more at most; 0: nothing is.

        What was kept at ``held_at``, if that is any time, is kept until it is not any more: a person may need it.
        """
        self.directory = state_dir / "stored"
        self.keep_seconds = keep_seconds
        self._now = now
        self._held_at = held_at
        # Of our last append: the segment, its size after it, and what it said.
        self._last: tuple[Path, int, Last] | None = None
        self._complained_at = float("-inf")

    def add(
        self, begun_at: datetime, outcomes: Sequence[tuple[str, bytes]], mark: Mark, *, goes_on: bool = False
    ) -> None:
        """Keep these, by the names and contents of their files, of the history that was begun then.

        The history has them, and ``mark`` last; if it ``goes_on``, what was marked before as well. A disk that refuses
        is told now and then.
        """
        if not self.keep_seconds:
            drop_all(self.directory)
            return
        try:
            segment = self._present()
            history = to_ms(begun_at)
            last = self.last() if goes_on and not mark.is_snapshot else None
            before = [each for each in last[1] if each.is_snapshot] if last and last[0] == from_ms(history) else []
            marks = (mark, *before)
            parts = [
                b"\n%s mark %d %d %d %d\n"
                % (segment.word, history, each.account_id, round(each.slot_at.timestamp()), each.is_snapshot)
                for each in reversed(marks)
            ]
            parts += [
                b"\n%s outcome %d %d %s\n%s" % (segment.word, history, len(content), name.encode(), content)
                for name, content in outcomes
            ]
            self._make_room()
            size = self._append(segment.path, b"".join(parts))
            self._last = segment.path, size, (from_ms(history), marks)
        except (OSError, CannotCreate) as error:
            self._complain(error)

    def last(self, begun_at: datetime | None = None) -> Last | None:
        """When the history was begun of which an outcome was kept last, and its marks; None where that is not known.

        Of the history that was begun then, everything is looked through for its last marks.
        """
        if not self.keep_seconds:
            return None
        found = segments(self.directory)
        if begun_at is None and self._last is not None and found:
            newest = found[-1].path
            if (newest, _size(newest)) == self._last[:2]:
                return self._last[2]  # nobody else has stored anything since
        history = None if begun_at is None else from_ms(to_ms(begun_at))
        for segment in reversed(found):
            for last in reversed(_marks(_content(segment), segment.word)):
                if history in {None, last[0]}:
                    return last
        return None

    def last_history(self) -> datetime | None:
        """When the history was begun of which an outcome was kept last."""
        last = self.last()
        return None if last is None else last[0]

    def outcomes(self, begun_at: datetime | None, *, others: bool = False) -> Iterator[tuple[str, Outcome]]:
        """What is kept of the history that was begun then, or of all ``others``, in the order of storing."""
        history = -1 if begun_at is None else to_ms(begun_at)
        for segment in segments(self.directory):
            content = _content(segment)
            for head in _heads(content, segment.word):
                if (int(head[1]) == history) is others:
                    continue
                with contextlib.suppress(NotUnderstood):  # torn, or of a later program
                    yield head[3].decode(), decode(content[head.end() : head.end() + int(head[2])])

    def _present(self) -> Segment:
        """The segment of this hour, which another process may have begun: all append to the newest there is."""
        now = self._now()
        make_private_directory(self.directory)
        found = segments(self.directory)
        if not found or abs(now - found[-1].begun) >= SEGMENT_SECONDS:
            self._prune(found, now)
            number, word = found[-1].number + 1 if found else 1, secrets.token_hex(8)
            path = self.directory / f"{number:08d}.{int(now)}.{word}.outcomes"
            return Segment(path, number, int(now), word.encode())
        return found[-1]

    def _prune(self, found: Sequence[Segment], now: float) -> None:
        """By a clock that has lost the time nothing is old, and what one has kept is as old as what came after it."""
        began = PROGRAM_BEGAN.timestamp()
        held_at, at = self._held_at(), now
        for segment in reversed(found if now >= began else ()):
            with contextlib.suppress(FileNotFoundError):
                written = segment.path.stat().st_mtime
                at = written if written >= began else at
                if min(abs(moment - at) for moment in (now, held_at) if moment is not None) > self.keep_seconds:
                    segment.path.unlink()

    def _make_room(self) -> None:
        dropped = 0
        while _is_scarce(self.directory):
            if not drop_oldest(self.directory):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            dropped += 1
        if dropped:
            log.warning("the disk of %s is nearly full: the oldest of what was kept there went", self.directory)

    def _append(self, path: Path, data: bytes) -> int:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def _complain(self, error: OSError | CannotCreate) -> None:
        if time.monotonic() < self._complained_at + COMPLAIN_EVERY_SECONDS:
            return
        self._complained_at = time.monotonic()
        why = error.strerror if isinstance(error, OSError) else error
        log.warning("what is stored is not kept in %s as well: %s", self.directory, why)


def segments(directory: Path) -> list[Segment]:
    """What is there, oldest first; nothing where it is not made yet, or cannot be read: the next append tells that."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    matches = [match for name in names if (match := NAME.fullmatch(name))]
    return [Segment(directory / m[0], int(m[1]), int(m[2]), m[3].encode()) for m in matches]


def size_and_beginning(directory: Path) -> tuple[int, datetime | None]:
    """How many bytes are kept, and since when."""
    found = segments(directory)
    size = 0
    for segment in found:
        with contextlib.suppress(OSError):
            size += segment.path.stat().st_size
    return size, datetime.fromtimestamp(found[0].begun, UTC) if found else None


def drop_oldest(directory: Path) -> bool:
    """Give the space of the oldest segment back; False where there is none."""
    for segment in segments(directory):
        with contextlib.suppress(OSError):
            segment.path.unlink()
            return True
    return False


def drop_all(directory: Path) -> None:
    """Nothing is kept any more."""
    while drop_oldest(directory):
        pass


def _is_scarce(directory: Path) -> bool:
    found = os.statvfs(directory)
    free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    return free < min(LEAST_FREE_BYTES, whole // LEAST_FREE_SHARE)


def _content(segment: Segment) -> bytes:
    try:
        return read_file(str(segment.path))
    except FileNotFoundError:
        return b""  # another process has pruned it
    except OSError as error:
        log.error("cannot read %s: %s", segment.path, error.strerror)
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _heads(content: bytes, word: bytes) -> Iterator[re.Match[bytes]]:
    """The line before each outcome. Those within an outcome that is whole are its own and are not looked at."""
    pattern = re.compile(rb"\n%s outcome ([0-9]{1,15}) ([0-9]{1,12}) ([A-Za-z0-9._-]+)\n" % word)
    at = 0
    while head := pattern.search(content, at):
        yield head
        at = head.end()


def _marks(content: bytes, word: bytes) -> list[Last]:
    """When the history was begun, and what was stored in it, of each append."""
    found: list[Last] = []
    end = -1
    for m in re.finditer(rb"\n%s mark ([0-9]{1,14}) ([0-9]{1,12}) ([0-9]{1,11}) ([01])\n" % word, content):
        begun_at = from_ms(int(m[1]))
        marks: tuple[Mark, ...] = (Mark(int(m[2]), datetime.fromtimestamp(int(m[3]), UTC), m[4] == b"1"),)
        if m.start() == end and found[-1][0] == begun_at:
            marks += found.pop()[1]
        found.append((begun_at, marks))
        end = m.end()
    return found
