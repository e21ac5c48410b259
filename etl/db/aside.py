"""Files beside a database that nobody is to take for it: private, gone at the end, and removed when they were left."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from glob import escape
from pathlib import Path

from etl.errors import CannotCreate, SettingsError
from etl.files import alone, lock

_SUFFIXES = ("", "-journal", "-wal", "-shm")
# A file beside the file, which whoever works on that has locked: at times, nobody has the database in it open.
_HELD = ".held"


@contextmanager
def file_beside(path: Path, ending: str) -> Iterator[Path]:
    """An empty file that only its owner can read, in the directory of ``path``, for as long as the block lasts.

    Those that programs left when they were killed are removed first. SettingsError, CannotCreate.
    """
    if not path.parent.is_dir():
        raise SettingsError(f"the directory {path.parent} of the database does not exist: create it")
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")
    held = own.with_name(own.name + _HELD)
    try:
        with alone(path.parent):
            for left in _left(path, ending):
                if not _is_used(left, ending):
                    _remove(left)
            descriptor = _create(held)
            with suppress(OSError):
                lock(descriptor, 0.0)
        try:
            os.close(_create(own))
            yield own
        finally:
            os.close(descriptor)
    finally:
        _remove(own)
        _remove(held)


def _create(path: Path) -> int:
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotCreate(f"{path} cannot be created: {error.strerror}") from None


def _left(path: Path, ending: str) -> list[Path]:
    """Such files, those that a backup into one of them had begun, and those that were locked."""
    names = f".{escape(path.name)}.*.{ending}"
    return [found for more in ("", ".*.partial", _HELD) for found in path.parent.glob(names + more)]


def _is_used(path: Path, ending: str) -> bool:
    """Whether a program works on it at the moment: whoever does holds a lock on the file beside it, or SQLite's."""
    begun = path.name.rpartition(f".{ending}")[0]
    with suppress(OSError):
        descriptor = os.open(path.with_name(f"{begun}.{ending}{_HELD}"), os.O_RDWR | os.O_CLOEXEC)
        try:
            lock(descriptor, 0.0)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
    if path.name.endswith(_HELD):
        return False
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    return False


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
