"""The schema, made and changed by alembic. The only module that imports it, besides migrations/ themselves."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, select, text

from etl.db.backup import back_up
from etl.db.engine import open_engine, open_for_migration
from etl.db.revision import check_revision, is_foreign, revision_of
from etl.db.schema import HEAD, account, metadata
from etl.db.sqlite import create_file
from etl.db.views import VIEWS
from etl.errors import CannotCreate, DatabaseUnavailable, Disk, SchemaNotAtHead, SettingsError

# Any number that no other program is likely to lock: "bingxetl" in ASCII.
_ADVISORY_LOCK = int.from_bytes(b"bingxetl", "big")
_ADVISORY_SECONDS = 120


def upgrade(url: str) -> str:
    """Bring the schema to what this program needs, creating the file of SQLite; returns the revision."""
    address = open_engine(url).address
    if address.path is not None:
        ensure(url)
        return HEAD
    with migrating(url) as connection:
        with connection.begin():
            _refuse_newer(connection, address.name)
        _run(connection)  # outside of any transaction, so that each migration is one
    return HEAD


def current(url: str) -> str | None:
    """The revision of the schema, None where there is none."""
    with open_engine(url).read() as connection:
        return revision_of(connection)


def check(url: str) -> tuple[str, ...]:
    """What is wrong with the schema, one line each: another revision, a table or a view that is not as it should be."""
    database = open_engine(url)
    try:
        with database.read() as connection:
            check_revision(connection, database.address.name)
    except SchemaNotAtHead as error:
        return (str(error),)
    # PostgreSQL shows what a view of ours should be only by making one for a moment; SQLite needs no lock for this.
    with database.read() if database.address.path else database.write() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        drift = [
            f"differs from what this version expects: {_named(step)}" for step in compare_metadata(context, metadata)
        ]
        return (*drift, *(f"differs from what this version expects: view {name}" for name in _other_views(connection)))


def ensure(url: str) -> None:
    """Make a SQLite database ready: create it, or upgrade it after a backup was written beside it.

    Any number of processes may do so at once. SettingsError for a database of another program, SchemaNotAtHead for a
    newer one; neither is touched.
    """
    database = open_engine(url)
    path = database.address.path
    if path is None:
        raise SettingsError("only a SQLite database is upgraded by itself: run `bingx-etl db upgrade`")
    create_file(path)
    with migrating(url) as connection:
        found = revision_of(connection)
        if found == HEAD:
            return
        if is_foreign(connection):
            raise SettingsError(f"{path} is the database of another program: mend database_url")
        _refuse_newer(connection, database.address.name)
        if found is not None and connection.scalar(select(account.c.id).limit(1)) is not None:
            _back_up(url, path, found)
        _run(connection)


def create(connection: Connection, name: str) -> None:
    """Make the schema of a database without history, in the transaction of whoever asks: it comes with that, or not.

    SettingsError for a database of another program, SchemaNotAtHead for a newer schema.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
    found = revision_of(connection)
    if found == HEAD:
        return
    if is_foreign(connection):
        raise SettingsError(f"{name} is the database of another program: name an empty one")
    _refuse_newer(connection, name)
    _run(connection)


@contextmanager
def migrating(url: str) -> Iterator[Connection]:
    """A connection on which one program at a time changes the schema.

    On SQLite everything is one transaction, committed at the end. On PostgreSQL others are kept out by an advisory
    lock, and each migration is a transaction.
    """
    database = open_for_migration(url)
    if database.address.path is not None:
        create_file(database.address.path)
        with database.write() as connection:
            yield connection
            if connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
                raise DatabaseUnavailable(
                    "a migration left rows that refer to nothing and was undone: report this defect"
                )
        return
    with database.connection() as connection:
        with connection.begin():
            connection.execute(text(f"SELECT set_config('lock_timeout', '{_ADVISORY_SECONDS}s', true)"))
            connection.execute(text(f"SELECT pg_advisory_lock({_ADVISORY_LOCK})"))
        yield connection


def configuration() -> Config:
    """Alembic's; what it would print is thrown away."""
    config = Config(home() / "alembic.ini", stdout=io.StringIO())
    config.file_config.set("DEFAULT", "here", str(home()).replace("%", "%%"))  # which alembic forgets
    return config


def home() -> Path:
    """Where alembic.ini and migrations/ are: carried by the wheel, else at the top of the checkout."""
    carried = Path(__file__).parent / "_alembic"
    return carried if carried.is_dir() else Path(__file__).parents[2]


def _run(connection: Connection) -> None:
    config = configuration()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise SchemaNotAtHead(f"the schema cannot be upgraded: {error}") from None


def _refuse_newer(connection: Connection, name: str) -> None:
    """Nothing newer or foreign is touched; older and empty is what an upgrade is for."""
    found = revision_of(connection)
    if found is not None and not found < HEAD:
        check_revision(connection, name)


def _back_up(url: str, path: Path, revision: str) -> None:
    """A copy of the database as it was last committed, complete and on disk when this returns."""
    target = path.with_name(f"{path.name}.backup-{revision}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}")
    try:
        back_up(url, target)
    except Disk as error:
        raise CannotCreate(f"the schema was not upgraded: {error}") from None


def _named(step: Any) -> str:  # noqa: ANN401 - alembic's tuples, or lists of them
    """A difference in few words: ``add_column snapshot.note``."""
    if isinstance(step, list):
        return ", ".join(map(_named, step))
    verb, *things = step
    names = [getattr(thing, "name", thing) for thing in things if thing is not None and not isinstance(thing, dict)]
    return f"{verb} {'.'.join(map(str, names))}"


def _other_views(connection: Connection) -> list[str]:
    """The views that are missing or mean something else than this version's."""
    there = set(inspect(connection).get_view_names())
    same = _same_on_sqlite if connection.dialect.name == "sqlite" else _same_on_postgresql
    views = VIEWS[connection.dialect.name].items()
    return [name for name, sql in views if name not in there or not same(connection, name, sql)]


def _same_on_sqlite(connection: Connection, name: str, sql: str) -> bool:
    """SQLite keeps a view's text as it was written."""
    query = text("SELECT sql FROM sqlite_master WHERE type = 'view' AND name = :name")
    told = str(connection.scalar(query, {"name": name}))
    return told.split() == f"CREATE VIEW {name} AS {sql}".split()


def _same_on_postgresql(connection: Connection, name: str, sql: str) -> bool:
    """PostgreSQL keeps what it understood, so it has to understand ours first, for a moment.

    What pg_restore has brought back was understood twice: from what pg_dump was told.
    """
    query = text("SELECT pg_get_viewdef(CAST(:name AS regclass))")
    moment = connection.begin_nested()
    connection.execute(text(f"CREATE TEMPORARY VIEW etl_expected AS {sql}"))
    expected: str = connection.scalar(query, {"name": "etl_expected"})
    connection.exec_driver_sql(f"CREATE TEMPORARY VIEW etl_restored AS {expected}".replace("%", "%%"))
    same = connection.scalar(query, {"name": name}) in {expected, connection.scalar(query, {"name": "etl_restored"})}
    moment.rollback()
    return same
