"""A disk that can fill up, fail, lose power and stop the program at any step, under the functions of ``os``.

The files are real and lie below ``root``; what the program does to them passes through here. Of every file it is known
which bytes were flushed, of every change to a directory whether it was: a cut of power leaves no more than that, and
a part of the rest. SQLite's own files are not seen here; a transaction that is cut off is rolled back.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from unittest import mock

# The file that holds space for the readings in flight, and how much of it there is here.
RESERVE, RESERVED_BYTES = "reserve", 1500
Name: TypeAlias = str | bytes | int | os.PathLike[str]
# Says whether it has done what it was set for; if not, it is asked again at the next step.
Trap = Callable[[str], bool]


class Crash(BaseException):
    """The program ends here. Whatever it still tries to do to a file, on its way out, does not happen either."""


@dataclass(eq=False, slots=True)
class _File:
    """``flushed`` are the bytes that a cut of power cannot take; None: none were."""

    flushed: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Change:
    """A name that came, went or moved, not yet flushed. ``old`` or ``new`` is None where it came or went."""

    old: Path | None
    new: Path | None
    file: _File

    def concerns(self, directory: Path) -> bool:
        return directory in {path.parent for path in (self.old, self.new) if path is not None}

    def apply(self, names: dict[Path, _File]) -> None:
        if self.old is not None:
            names.pop(self.old, None)
        if self.new is not None:
            names[self.new] = self.file


class Disk:
    """``room`` bytes can still be written, None for any number. ``steps`` counts what was done to files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.room: int | None = None
        self.dead = False
        self.steps = 0
        self._trap: tuple[int, Trap] | None = None
        self._open: dict[int, Path] = {}
        self._files: dict[int, _File | None] = {}
        self._names: dict[Path, _File] = {}
        self._safe_names: dict[Path, _File] = {}
        self._unsafe: list[_Change] = []
        self._real = {name: getattr(os, name) for name in ("open", "close", "write", "fsync", "rename", "unlink")}
        self._real["posix_fallocate"] = getattr(os, "posix_fallocate", None)

    @contextmanager
    def under(self) -> Iterator[None]:
        """Everything in this block that goes through ``os`` goes through here."""
        ours: dict[str, Any] = {
            "open": self._on_open,
            "close": self._on_close,
            "write": self._on_write,
            "fsync": self._on_flush,
            "fdatasync": self._on_flush,
            "rename": self._on_rename,
            "replace": self._on_rename,
            "unlink": self._on_unlink,
            "remove": self._on_unlink,
        }
        with ExitStack() as patched:
            if self._real["posix_fallocate"] is not None:
                ours["posix_fallocate"] = self._on_allocate
            for name, function in ours.items():
                patched.enter_context(mock.patch.object(os, name, function))
            yield

    @contextmanager
    def trap(self, at: int, trap: Trap) -> Iterator[None]:
        """Set a trap at the ``at``-th step from now, counted from 1."""
        self._trap = (at, trap)
        try:
            yield
        finally:
            self._trap = None
            self.dead = False

    def step(self, what: str) -> None:
        """Something is about to be done. Raises whatever the trap raises, and Crash when the program is dead."""
        if self.dead:
            raise Crash(what)
        self.steps += 1
        if self._trap is None:
            return
        at, trap = self._trap
        self._trap = (at - 1, trap) if at > 1 else None
        if at <= 1 and not trap(what):
            self._trap = (1, trap)

    def die(self, _: str = "") -> bool:
        """The program ends here."""
        self.dead = True
        raise Crash

    def cut_power(self, share: float) -> None:
        """The machine stops. ``share`` of what was not flushed is on the disk all the same, of names and of bytes."""
        names = dict(self._safe_names)
        for change in self._unsafe[: round(share * len(self._unsafe))]:
            change.apply(names)
        cached = {file: path.read_bytes() for path, file in self._names.items() if path.exists()}
        for path in self._names:
            path.unlink(missing_ok=True)
        for path, file in names.items():
            content = cached.get(file, b"") if file.flushed is None else file.flushed
            kept = len(content) if file.flushed is not None else round(share * len(content))
            path.write_bytes(content[:kept])
            file.flushed = content[:kept]
        self._names, self._safe_names, self._unsafe = dict(names), dict(names), []

    # The functions of ``os``

    def _on_open(self, path: Name, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        place = self._place(path, dir_fd)
        if place is None or not flags & os.O_CREAT:
            descriptor: int = self._real["open"](path, flags, mode, dir_fd=dir_fd)
        else:
            self.step("create")
            descriptor = self._real["open"](path, flags, mode, dir_fd=dir_fd)
            if place not in self._names:
                self._change(None, place, _File())
            elif flags & os.O_TRUNC:
                self._names[place].flushed = None
        if place is not None:
            self._open[descriptor] = place
            # Whatever happens to its name meanwhile.
            self._files[descriptor] = self._names.get(place)
        return descriptor

    def _on_close(self, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        self._files.pop(descriptor, None)
        self._real["close"](descriptor)

    def _on_write(self, descriptor: int, data: bytes | memoryview) -> int:
        if descriptor not in self._open:
            return int(self._real["write"](descriptor, data))
        try:
            self.step("write")
        except Crash:
            self._real["write"](descriptor, bytes(data)[: len(data) // 2])
            raise
        if self.room is not None:
            data = bytes(data)[: self.room]
            self.room -= len(data)
            if not data:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self._real["write"](descriptor, data))

    def _on_flush(self, descriptor: int) -> None:
        place = self._open.get(descriptor)
        if place is None:
            self._real["fsync"](descriptor)
            return
        self.step("flush")
        if place.is_dir():
            self._flush_names(place)
        for path, file in self._names.items():
            if file is self._files[descriptor]:
                file.flushed = path.read_bytes()

    def _on_rename(self, old: Name, new: Name, *, src_dir_fd: int | None = None, dst_dir_fd: int | None = None) -> None:
        source, target = self._place(old, src_dir_fd), self._place(new, dst_dir_fd)
        if source is not None:
            self.step("rename")
        self._real["rename"](old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if source is not None:
            self._change(source, target, self._names.get(source) or _File())

    def _on_unlink(self, path: str | os.PathLike[str], *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        if place is not None:
            self.step("unlink")
        self._real["unlink"](path, dir_fd=dir_fd)
        if place is not None:
            self._change(place, None, self._names.get(place) or _File())
        elif self.room is not None and Path(os.fsdecode(path)) == self.root / RESERVE:
            self.room += RESERVED_BYTES

    def _on_allocate(self, descriptor: int, offset: int, size: int) -> None:
        if self.room is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._real["posix_fallocate"](descriptor, offset, min(size, RESERVED_BYTES))

    # What is known of them

    def _place(self, path: Name, dir_fd: int | None) -> Path | None:
        if isinstance(path, int):
            return self._open.get(path)
        place = Path(os.fsdecode(path))
        if dir_fd is not None and not place.is_absolute():
            parent = self._open.get(dir_fd)
            place = place if parent is None else parent / place
        if not place.is_relative_to(self.root):
            return None
        # What many processes write in place is a hint, and not looked at: the limiter's file.
        return place if place.parent != self.root or place.is_dir() else None

    def _change(self, old: Path | None, new: Path | None, file: _File) -> None:
        change = _Change(old, new, file)
        change.apply(self._names)
        self._unsafe.append(change)

    def _flush_names(self, directory: Path) -> None:
        """As journals do it: whatever came before the last change of this directory is safe with it."""
        last = max((at for at, change in enumerate(self._unsafe, 1) if change.concerns(directory)), default=0)
        for change in self._unsafe[:last]:
            change.apply(self._safe_names)
        del self._unsafe[:last]
