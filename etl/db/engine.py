"""One database, and transactions on it.

A transaction on PostgreSQL is a connection of its own, so that none is ever found stale after an outage. What records
into SQLite keeps its connection: there is no peer that could leave, and the file itself is looked at each time.
"""

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from etl.db.deadline import SocketDeadline
from etl.db.faults import translated
from etl.db.postgresql import postgresql_engine
from etl.db.sqlite import require_in_place, sqlite_engine
from etl.db.url import Address, parse
from etl.errors import DatabaseUnavailable

LOCK_SECONDS = 10
"""How long to wait for another program's lock."""

DEADLINE_SECONDS = 30.0
"""How long a whole transaction on PostgreSQL may take. A batch of the spool takes a second."""


class Database:
    """A database that can be read and written in transactions. Raises errors of ours only."""

    def __init__(self, address: Address, engine: Engine, *, deadline_seconds: float | None) -> None:
        self.address = address
        self.dialect = engine.dialect.name
        self._engine = engine
        self._deadline_seconds = deadline_seconds
        weakref.finalize(self, engine.dispose)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that takes SQLite's lock for writing at once: commits at its end, rolls back when it raises."""
        with self._transaction(writing=True) as connection:
            yield connection

    @contextmanager
    def read(self, *, steady: bool = False) -> Iterator[Connection]:
        """A transaction that changes nothing. Fetch, then leave it: on SQLite a reader keeps writers waiting.

        ``steady``: all of its statements see the same, as they always do on SQLite.
        """
        with self._transaction(writing=False, steady=steady) as connection:
            yield connection

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection for writing whose transactions are begun and ended by whoever asked for it."""
        with translated(self.address), self._engine.connect() as opened:
            yield opened.execution_options(writing=True)

    @contextmanager
    def _transaction(self, *, writing: bool, steady: bool = False) -> Iterator[Connection]:
        with translated(self.address), self._engine.connect() as opened:
            connection = opened.execution_options(writing=writing)
            if steady and self.dialect == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            deadline: SocketDeadline | None = connection.info.get("deadline")
            try:
                with connection.begin():
                    yield connection
                if writing and self.address.path is not None:
                    require_in_place(self.address, self.address.path, connection.info)
            except Exception:
                opened.invalidate()  # whatever it was, the next transaction does not inherit it
                if deadline is not None and deadline.passed:
                    raise DatabaseUnavailable(
                        f"the database {self.address.name} gave no answer within {self._deadline_seconds:g} s"
                    ) from None
                raise


def open_engine(url: str, *, deadline_seconds: float = DEADLINE_SECONDS, keep: bool = False) -> Database:
    """The database at a URL, not yet connected to. SettingsError for a URL that is neither SQLite nor PostgreSQL.

    ``keep`` is for whoever writes again and again: on SQLite the connection then stays open.
    """
    address = parse(url)
    if address.path is not None:
        engine = sqlite_engine(address, address.path, busy_seconds=LOCK_SECONDS, foreign_keys=True, keep=keep)
        return Database(address, engine, deadline_seconds=None)
    limits = {
        "statement_timeout": f"{round(deadline_seconds * 1000)}ms",
        "lock_timeout": f"{LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{round(deadline_seconds * 2000)}ms",
    }
    engine = postgresql_engine(address, deadline_seconds=deadline_seconds, settings=limits)
    return Database(address, engine, deadline_seconds=deadline_seconds)


def open_for_migration(url: str) -> Database:
    """The same for changing the schema, or copying all there is: no deadline, and on SQLite no foreign keys.

    A table is changed there by copying it, which would delete what refers to it. Whoever uses it looks for dangling
    references before it commits.
    """
    address = parse(url)
    if address.path is not None:
        engine = sqlite_engine(address, address.path, busy_seconds=60, foreign_keys=False, keep=False)
    else:
        # What an administrator has set for everybody is not meant for work that takes its time.
        limits = {
            "statement_timeout": "0",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": "0",
        }
        engine = postgresql_engine(address, deadline_seconds=None, settings=limits)
    return Database(address, engine, deadline_seconds=None)


def is_sqlite(url: str) -> bool:
    """Whether the database is a file of SQLite's. SettingsError for a URL that cannot be understood."""
    return parse(url).path is not None
