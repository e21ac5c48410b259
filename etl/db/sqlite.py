"""What SQLite needs: a private file, locks taken at the right moment, and nothing that could lose a commit."""

import os
import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

from etl.db.faults import UPGRADE
from etl.db.url import Address
from etl.errors import CannotCreate, SchemaNotAtHead, SettingsError

OLDEST = (3, 35, 0)  # RETURNING and MATERIALIZED
# What is noted of a connection: which file it is on, and which way it is set.
FILE, WRITING = "file", "writing"


def sqlite_engine(address: Address, path: Path, *, busy_seconds: float, foreign_keys: bool, keep: bool) -> Engine:
    """An engine on a file that exists. A missing one is SchemaNotAtHead when it is opened: none comes silently.

    With ``keep`` a connection outlives its transaction, for opening one costs as much as recording a slot; it is given
    up as soon as the file at the path is another one, as after a backup was put back.
    The journal mode stays what it is, a rollback journal unless the owner chose otherwise: WAL loses commits in most
    versions of SQLite that are about.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise SettingsError(f"Python was built with SQLite {sqlite3.sqlite_version}, and {needed} or newer is needed")

    def connect(_: object, entry: ConnectionPoolEntry, *__: object) -> sqlite3.Connection:
        file = entry.info[FILE] = _identity(path)
        if file is None:
            raise SchemaNotAtHead(f"there is no database at {path} yet: {UPGRADE}")
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

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")
        # With statistics (somebody ran ANALYZE) SQLite would rather index every snapshot anew than trust the index.
        connection.execute("PRAGMA automatic_index = OFF")

    def check_out(_: object, entry: ConnectionPoolEntry, __: object) -> None:
        if entry.info.get(FILE) != _identity(path):
            raise DisconnectionError

    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another writes meanwhile, whatever the
        # timeout; IMMEDIATE waits for its turn.
        writing = connection.get_execution_options()["writing"]
        if connection.info.get(WRITING) != writing:
            connection.exec_driver_sql(f"PRAGMA query_only = {int(not writing)}")
            connection.info[WRITING] = writing
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    pool: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1} if keep else {"poolclass": NullPool}
    engine = create_engine(address.url, hide_parameters=True, **pool)
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "checkout", check_out)
    event.listen(engine, "begin", begin)
    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    except OSError:
        return (0, 0)  # opening it will tell what is wrong
    return found.st_dev, found.st_ino


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
