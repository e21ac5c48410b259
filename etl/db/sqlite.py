"""What SQLite needs: a private file, locks taken at the right moment, and nothing that could lose a commit."""

import os
import sqlite3
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine, event

from etl.db.faults import UPGRADE
from etl.db.url import Address
from etl.errors import CannotCreate, SchemaNotAtHead, SettingsError

OLDEST = (3, 35, 0)  # RETURNING and MATERIALIZED


def sqlite_engine(address: Address, path: Path, *, busy_seconds: float, foreign_keys: bool) -> Engine:
    """An engine on a file that exists. A missing one is SchemaNotAtHead when it is opened: none comes silently.

    The journal mode stays what it is, a rollback journal unless the owner chose otherwise: WAL loses commits in most
    versions of SQLite that are about.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise SettingsError(f"Python was built with SQLite {sqlite3.sqlite_version}, and {needed} or newer is needed")

    def connect(*_: object) -> sqlite3.Connection:
        if not path.exists():
            raise SchemaNotAtHead(f"there is no database at {path} yet: {UPGRADE}")
        # mode=rw, for a file that vanished meanwhile must not come back empty. isolation_level=None, for sqlite3's own
        # transactions begin too late and do not hold DDL.
        return sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=busy_seconds, isolation_level=None)

    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA synchronous = EXTRA")
        connection.execute(f"PRAGMA foreign_keys = {int(foreign_keys)}")

    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later fails at once when another writes meanwhile, whatever the
        # timeout; IMMEDIATE waits for its turn.
        if connection.get_execution_options()["writing"]:
            # With statistics (somebody ran ANALYZE) SQLite would rather index every snapshot anew than trust the index.
            connection.exec_driver_sql("PRAGMA automatic_index = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("PRAGMA query_only = ON")
            connection.exec_driver_sql("BEGIN")

    engine = create_engine(address.url, poolclass=NullPool, hide_parameters=True)
    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", prepare)
    event.listen(engine, "begin", begin)
    return engine


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
