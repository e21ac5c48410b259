"""Files beside a database that nobody is to take for it: private, gone at the end, and removed when they were left."""

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from glob import escape
from pathlib import Path

from etl.errors import CannotCreate, SettingsError

_SUFFIXES = ("", "-journal", "-wal", "-shm")


@contextmanager
def file_beside(path: Path, ending: str) -> Iterator[Path]:
    """An empty file that only its owner can read, in the directory of ``path``, for as long as the block lasts.

    Those that programs left when they were killed are removed first. SettingsError, CannotCreate.
    """
    if not path.parent.is_dir():
        raise SettingsError(f"the directory {path.parent} of the database does not exist: create it")
    for left in _left(path, ending):
        if not _is_used(left):
            _remove(left)
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}.{ending}")
    try:
        os.close(os.open(own, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CannotCreate(f"{own} cannot be created: {error.strerror}") from None
    try:
        yield own
    finally:
        _remove(own)


def _left(path: Path, ending: str) -> list[Path]:
    """Such files, and those that a backup into one of them had begun."""
    names = f".{escape(path.name)}.*.{ending}"
    return [*path.parent.glob(names), *path.parent.glob(f"{names}.*.partial")]


def _is_used(path: Path) -> bool:
    """Whether a program works on it at the moment: whoever does holds a lock of SQLite's on it."""
    try:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
    return False


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
