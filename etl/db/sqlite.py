"""What SQLite needs: a private file, locks taken at the right moment, and nothing that could lose a commit."""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from etl.db.faults import CORRUPT, REPLACED, UPGRADE
from etl.db.url import Address
from etl.errors import CannotCreate, DatabaseUnavailable, SchemaNotAtHead, SettingsError

OLDEST = (3, 35, 0)  # RETURNING and MATERIALIZED
# What is noted of a connection: which file it is on, as what it left that, which way it is set, the size of its pages.
FILE, LEFT, WRITING, PAGE = "file", "left", "writing", "page"


def sqlite_engine(address: Address, path: Path, *, busy_seconds: float, foreign_keys: bool, keep: bool) -> Engine:
    """An engine on a file that exists. A missing one is SchemaNotAtHead when it is opened: none comes silently.

    With ``keep`` a connection outlives its transaction, for opening one costs as much as recording a slot; it is given
    up as soon as the file at the path is another one, or was written by somebody else. A backup that is copied over the
    file may come to have the change counter that the connection remembers, by which SQLite believes its cache.
    The journal mode stays what it is, a rollback journal unless the owner chose otherwise: WAL loses commits in most
    versions of SQLite that are about.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise SettingsError(f"Python was built with SQLite {sqlite3.sqlite_version}, and {needed} or newer is needed")

    def connect(_: object, entry: ConnectionPoolEntry, *__: object) -> sqlite3.Connection:
        found = _stat(path)
        if found is None:
            raise SchemaNotAtHead(f"there is no database at {path} yet: {UPGRADE}")
        entry.info[FILE] = found[:2]
        # mode=rw, for a file that vanished meanwhile must not come back empty. isolation_level=None, for sqlite3's own
        # transactions begin too late and do not hold DDL.
        # A kept connection goes from thread to thread, but is used by one at a time.
        return sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw",
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,
            check_same_thread=not keep,
        )

    def prepare(connection: sqlite3.Connection, entry: ConnectionPoolEntry) -> None:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        # With statistics (somebody ran ANALYZE) SQLite would rather index every snapshot anew than trust the index.
        connection.execute("PRAGMA automatic_index = OFF")
        (entry.info[PAGE],) = connection.execute("PRAGMA page_size").fetchone()

    def check_in(_: object, entry: ConnectionPoolEntry) -> None:
        entry.info[LEFT] = _stat(path)

    def check_out(_: object, entry: ConnectionPoolEntry, __: object) -> None:
        found, left = _stat(path), entry.info.pop(LEFT, None)
        if found is None or found[:2] != entry.info.get(FILE) or (left is not None and left != found):
            raise DisconnectionError

    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another writes meanwhile, whatever the
        # timeout; IMMEDIATE waits for its turn.
        writing = connection.get_execution_options()["writing"]
        if connection.info.get(WRITING) != writing:
            connection.exec_driver_sql(f"PRAGMA query_only = {int(not writing)}")
            connection.info[WRITING] = writing
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")
        if writing and is_cut_off(path, connection.info[PAGE]):
            raise DatabaseUnavailable(f"the database {address.name} {CORRUPT}")

    pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1} if keep else {"poolclass": NullPool}
    engine = create_engine(address.url, hide_parameters=True, **pool)
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "checkin", check_in)
    event.listen(engine, "checkout", check_out)
    event.listen(engine, "begin", begin)
    return engine


def _stat(path: Path) -> tuple[int, int, int, int] | None:
    """Which file is there, and as what somebody left it last; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0, 0, 0)  # opening it will tell what is wrong
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def require_in_place(address: Address, path: Path, info: Mapping[Any, Any]) -> None:
    """DatabaseUnavailable where the file of a connection is not at its path: what was just committed may be nowhere."""
    found = _stat(path)
    if found is None or found[:2] != info.get(FILE):
        raise DatabaseUnavailable(f"the database {address.name} {REPLACED}")


def is_cut_off(path: Path, page: int) -> bool:
    """Whether a part of the last page is missing, which SQLite would take for zeros: of whole pages it keeps count.

    Asked while nobody else writes, and after a journal that was left behind has been played back.
    """
    found = _stat(path)
    return found is not None and found[3] % page != 0 and not path.with_name(f"{path.name}-wal").exists()


def create_file(path: Path) -> None:
    """An empty file that only its owner can read, where there is none. SettingsError or CannotCreate."""
    if not path.parent.is_dir():
        raise SettingsError(
            f"the directory {path.parent} of the database does not exist: create it, or mend database_url"
        )
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        if not path.is_file():
            raise SettingsError(f"the database {path} is not a file: mend database_url") from None
    except OSError as error:
        raise CannotCreate(f"the database {path} cannot be created: {error.strerror}") from None
