"""A copy of a SQLite database, whole and checked, while others go on recording into it."""

import os
import secrets
import shlex
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from etl.db.faults import CORRUPT, translated
from etl.db.sqlite import is_cut_off
from etl.db.url import Address, parse
from etl.errors import CannotCreate, DatabaseUnavailable, DiskError, SettingsError
from etl.files import flush_directory, flush_file

# A step of a megabyte takes some milliseconds, in which a writer waits; between two of them it has its turn.
STEP_PAGES = 256
PAUSE_SECONDS = 0.02
# Whenever somebody has written, SQLite begins its copy anew. After so many times writers wait until it is done.
MOST_RESTARTS = 3
LOCK_SECONDS = 10
STUCK_SECONDS = 60
MEGABYTE = 1 << 20
# Nothing else is written.
_OF_THE_COPY = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_TRUNCATE")


def back_up(
    url: str, target: Path, *, overwrite: bool = False, advance: Callable[[int], None] = lambda _: None
) -> None:
    """Copy the database as it was last committed to ``target``: complete, checked and on the disk when this returns.

    ``advance`` hears of every further megabyte; a negative number says that the copy begins anew. Raises CannotCreate,
    DiskError, DatabaseUnavailable where the database is locked or damaged, SettingsError where it is not there. Then
    nothing is left behind, and a file that was at ``target`` stays.
    """
    address = parse(url)
    if address.path is None:
        raise SettingsError("only a SQLite database is copied by this program: for PostgreSQL there is pg_dump")
    _refuse(address.path, target, overwrite=overwrite)
    partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise CannotCreate(
            f"the backup {target} cannot be created: {error.strerror}; name another place, or make that"
        ) from None
    try:
        with translated(address):
            _fill(address, partial, target, advance)
        flush_file(partial)
        with translated(address):
            _check(address, partial)
        partial.rename(target)
        flush_directory(target.parent)
    except OSError as error:
        raise DiskError(f"the backup {target} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)


def pg_dump_command(url: str, target: Path) -> str:
    """What to type for a backup of this PostgreSQL, without its password."""
    url_of = parse(url).url.set(drivername="postgresql")._replace(password=None)
    return shlex.join(["pg_dump", "--format=custom", f"--file={target}", url_of.render_as_string()])


def _refuse(source: Path, target: Path, *, overwrite: bool) -> None:
    if not source.is_file() or not source.stat().st_size:
        raise SettingsError(f"there is no database at {source} to be copied: mend database_url, or record first")
    if target.is_dir():
        raise CannotCreate(f"{target} is a directory: name a file in it")
    if target.exists() and target.samefile(source):
        raise CannotCreate(f"{target} is the database itself: name another file")
    if target.exists() and not overwrite:
        raise CannotCreate(f"{target} is there already: name another file, or say --force")


class _BeganAnew(Exception):
    """Somebody has written to the database so often that the copy does not come to its end."""


def _fill(address: Address, partial: Path, target: Path, advance: Callable[[int], None]) -> None:
    # mode=rw, for what a writer that died has left behind is put right first; whoever may not write can still read.
    source_name = f"file:{quote(str(address.path))}?mode=rw"
    with closing(sqlite3.connect(source_name, uri=True, timeout=LOCK_SECONDS, isolation_level=None)) as source:
        is_wal = _look(address, source)
        progress = _Progress(address, advance)
        try:
            try:
                _copy(source, partial, progress, writers_wait=is_wal)  # with a WAL they do not have to
            except _BeganAnew:
                os.truncate(partial, 0)  # without a journal, what was begun is no database
                _copy(source, partial, progress, writers_wait=True)
        except sqlite3.Error as error:
            if str(getattr(error, "sqlite_errorname", "")).startswith(_OF_THE_COPY):
                raise DiskError(f"the backup {target} cannot be written: the disk is full or has an error") from None
            raise


def _look(address: Address, source: sqlite3.Connection) -> bool:
    """Refuse what is not worth a copy; whether the database has a write-ahead log."""
    source.execute("BEGIN")
    (tables,) = source.execute("SELECT count(*) FROM sqlite_master").fetchone()
    (page,) = source.execute("PRAGMA page_size").fetchone()
    (mode,) = source.execute("PRAGMA journal_mode").fetchone()
    is_damaged = address.path is not None and is_cut_off(address.path, page)
    source.execute("COMMIT")
    if is_damaged:
        raise DatabaseUnavailable(f"the database {address.name} {CORRUPT}")
    if not tables:
        raise SettingsError(f"the database {address.name} has no tables: mend database_url, or record first")
    return str(mode) == "wal"


def _copy(source: sqlite3.Connection, partial: Path, progress: "_Progress", *, writers_wait: bool) -> None:
    with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
        # Until it is flushed and has its name, nobody needs the copy.
        copy.execute("PRAGMA journal_mode = OFF")
        copy.execute("PRAGMA synchronous = OFF")
        if writers_wait:
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        try:
            source.backup(copy, pages=STEP_PAGES, progress=progress, sleep=PAUSE_SECONDS)
        finally:
            if source.in_transaction:
                source.execute("COMMIT")


class _Progress:
    """What SQLite calls after every step."""

    def __init__(self, address: Address, advance: Callable[[int], None]) -> None:
        self._address = address
        self._advance = advance
        self._restarts = self._copied = self._told = 0
        self._moved_at = time.monotonic()

    def __call__(self, status: int, remaining: int, total: int) -> None:
        copied = total - remaining
        if copied != self._copied:
            self._moved_at = time.monotonic()
        elif status == sqlite3.SQLITE_BUSY and time.monotonic() > self._moved_at + STUCK_SECONDS:
            raise DatabaseUnavailable(f"the database {self._address.name} is locked: another program is writing it")
        self._restarts += copied < self._copied
        self._copied = copied
        told = copied * 4096 // MEGABYTE  # as good as any size of page, for a bar
        self._advance(told - self._told)
        self._told = told
        if self._restarts == MOST_RESTARTS:
            self._restarts += 1  # raised once: with the writers waiting, the next beginning is the last
            raise _BeganAnew


def _check(address: Address, partial: Path) -> None:
    """DatabaseUnavailable where the copy is not sound, which it owes to the database."""
    with closing(sqlite3.connect(f"file:{quote(str(partial))}?mode=ro&immutable=1", uri=True)) as copy:
        found = copy.execute("PRAGMA quick_check(1)").fetchall()
    if found != [("ok",)]:
        raise DatabaseUnavailable(f"the database {address.name} {CORRUPT}; no backup was made of it")
