"""A whole history into another database, of either kind: all of it, the same on both sides, or nothing.

Everything happens in one transaction of the target, from its tables to the comparison of both sides. A file of SQLite
that is not there yet is filled under another name, and gets its own when it is complete and on the disk.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

from sqlalchemy import Connection, select, text

from etl.db import migrate
from etl.db.aside import file_beside
from etl.db.bulk import insert_rows
from etl.db.canonical import TABLES, Side
from etl.db.engine import Database, open_for_migration
from etl.db.fingerprint import MODULUS, Fingerprint, counts, differences, fingerprint
from etl.db.revision import check_revision, revision_of
from etl.db.schema import HEAD, account, snapshot
from etl.db.steady import steady_view
from etl.db.types import Instant
from etl.db.url import Address, parse
from etl.errors import CannotCreate, CopyDiffers, SettingsError, TryAgain
from etl.files import flush_directory

Progress: TypeAlias = Callable[[str, int | None], AbstractContextManager[Callable[[int], None]]]
"""Given what is done, and of how many rows, gives a function to be told how many more are done."""

_AT_A_TIME = 1000
_NAMED = 3


class Month(TypedDict):
    """Rows of an account: those of the slots of a month (UTC), or with ``month`` None the account and its schedules.

    ``checksum`` is of every column of all of them, and the same on both databases.
    """

    account: str
    month: str | None
    schedules: int
    snapshots: int
    balances: int
    failures: int
    payloads: int
    annotations: int
    checksum: str


class Copied(NamedTuple):
    """What the target, called ``name``, has now. ``was_there``: it had exactly this before, so nothing was written."""

    name: str
    months: list[Month]
    was_there: bool


def copy_history(source_url: str, target_url: str, progress: Progress) -> Copied:
    """Copy the history at one URL into the empty database at another, creating its tables, and compare the two.

    Whoever records into the source is not kept waiting; what is recorded after the beginning is not copied.
    SettingsError where the two are one database, or the target has another history; SchemaNotAtHead where the source's
    schema is not this program's. CopyDiffers where both sides are not the same in the end, and nothing is left then.
    """
    source, target = parse(source_url), parse(target_url)
    if source.path is not None and target.path is not None and _is_one_file(source.path, target.path):
        raise _itself(target)
    with steady_view(source_url) as connection:
        if source.path is None and target.path is None:
            _refuse_itself(connection, target_url)
        if source.path is None and target.path is not None:
            _refuse_finer_times(connection)
        was_there = _has_history(target_url)
        copy = _Copy(Side(connection, source), target, progress)
        if was_there:
            copy.compare_with(target_url)
        elif target.path is not None and not target.path.exists():
            copy.into_new_file(target.path.resolve())
        else:
            copy.into(open_for_migration(target_url))
        return Copied(target.name, copy.months(), was_there)


class _Copy:
    """One copy, of what the source's connection sees."""

    def __init__(self, source: Side, target: Address, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._progress = progress
        self._counts = counts(source.connection)
        accounts = source.connection.execute(select(account.c.id, account.c.name))
        self._names: Mapping[int | None, str] = {row.id: row.name for row in accounts}
        self._fingerprint: Fingerprint = {}

    def into_new_file(self, path: Path) -> None:
        """A file of SQLite, which appears complete."""
        with file_beside(path, "copying") as file:
            self.into(open_for_migration(self._target.url.set(database=str(file)).render_as_string()))
            _give_name(file, path)

    def into(self, target: Database) -> None:
        """A database without history, in one transaction that also compares the two."""
        with target.write() as connection:
            migrate.create(connection, self._target.name)
            is_sqlite = connection.dialect.name == "sqlite"
            if not is_sqlite:
                connection.execute(text(f"LOCK TABLE {', '.join(t.name for t in TABLES)} IN SHARE ROW EXCLUSIVE MODE"))
            if any(counts(connection).values()):
                raise self._has_another(connection)
            with self._progress("copying", sum(self._counts.values())) as advance:
                for table in TABLES:
                    with closing(self._source.rows(table)) as rows:
                        insert_rows(connection, table, _told(rows, advance))
            (_complete_sqlite if is_sqlite else _complete_postgresql)(connection)
            if found := self._differences(connection):
                raise CopyDiffers(
                    f"the copy in {self._target.name} is not the same and was undone ({_few(found)}): if nobody has"
                    " written into the tables by hand, report this defect"
                )

    def compare_with(self, target_url: str) -> None:
        """SettingsError unless the target has exactly this history."""
        with steady_view(target_url) as connection:
            if counts(connection) != self._counts or self._differences(connection):
                raise self._has_another(connection)

    def months(self) -> list[Month]:
        """What was compared, by account and month."""
        parts = sorted(self._fingerprint, key=lambda part: (self._names.get(part.account_id, ""), part.month or ""))
        found = []
        for (account_id, month), group in groupby(parts, lambda part: (part.account_id, part.month)):
            sums = {part.table: self._fingerprint[part] for part in group}
            rows = {name: each.rows for name, each in sums.items()}
            found.append(
                Month(
                    account=self._names.get(account_id, ""),
                    month=month,
                    schedules=rows.get("schedule", 0),
                    snapshots=rows.get("snapshot", 0),
                    balances=rows.get("balance", 0),
                    failures=rows.get("failure", 0),
                    payloads=rows.get("payload", 0),
                    annotations=rows.get("annotation", 0),
                    checksum=f"{sum(each.checksum for each in sums.values()) % MODULUS:016x}",
                )
            )
        return found

    def _differences(self, target: Connection) -> list[str]:
        """Each side is read anew, by itself."""
        with self._progress("comparing", 2 * sum(self._counts.values())) as advance:
            self._fingerprint = fingerprint(self._source, advance)
            there = fingerprint(Side(target, self._target), advance)
        return differences(self._fingerprint, there, self._names)

    def _has_another(self, target: Connection) -> SettingsError:
        names = target.scalars(select(account.c.name).order_by(account.c.name)).all()
        shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        return SettingsError(
            f"{self._target.name} has another history ({counts(target)[snapshot.name]} snapshots of"
            f" {shown or 'no account'}) and was left as it is: name an empty database, or remove that one first if it"
            " is an earlier copy"
        )


def _itself(target: Address) -> SettingsError:
    return SettingsError(f"{target.name} is the very database that is to be copied: name another one")


def _is_one_file(source: Path, target: Path) -> bool:
    if source.resolve() == target.resolve():
        return True
    return source.exists() and target.exists() and source.samefile(target)


def _refuse_itself(source: Connection, target_url: str) -> None:
    """By what the server says: one database has many URLs, and may have a history in each of several schemas."""
    which = text(
        "SELECT pg_postmaster_start_time(), to_regclass('account')::oid,"
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    database = open_for_migration(target_url)
    with database.read() as target:
        if tuple(source.execute(which).one()) == tuple(target.execute(which).one()):
            raise _itself(database.address)


def _refuse_finer_times(source: Connection) -> None:
    """The program writes no such times, but a person with psql may have."""
    for table in TABLES:
        times = [column.name for column in table.columns if isinstance(column.type, Instant)]
        if not times:
            continue
        finer = " OR ".join(f"{name} <> date_trunc('milliseconds', {name}) OR {name} > '9999-12-31'" for name in times)
        number = source.scalar(text(f"SELECT count(*) FROM {table.name} WHERE {finer}"))  # noqa: S608 - names of our own
        if number:
            raise SettingsError(
                f"{number} rows of {table.name} have times that SQLite's form has no place for: round"
                f" {' and '.join(times)} down by date_trunc('milliseconds', …), then copy again"
            )


def _has_history(url: str) -> bool:
    """Whether somebody's accounts are there. Whatever else is in the way, making the tables will tell."""
    database = open_for_migration(url)
    if database.address.path is not None and not database.address.path.exists():
        return False
    with database.read() as connection:
        found = revision_of(connection)
        if found is None:
            return False
        if found > HEAD:
            check_revision(connection, database.address.name)
        return connection.scalar(select(account.c.id).limit(1)) is not None


def _told(rows: Iterator[tuple[Any, ...]], advance: Callable[[int], None]) -> Iterator[tuple[Any, ...]]:
    number = 0
    for row in rows:
        yield row
        number += 1
        if number == _AT_A_TIME:
            advance(number)
            number = 0
    advance(number)


def _complete_postgresql(connection: Connection) -> None:
    """The next row gets the next number; and the server knows its tables before it is asked."""
    for table in TABLES:
        if "id" in table.c:
            last = f"max(id)) FROM {table.name} HAVING max(id) > 0"
            connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), {last}"))
    connection.execute(text(f"ANALYZE {', '.join(table.name for table in TABLES)}"))


def _complete_sqlite(connection: Connection) -> None:
    if connection.execute(text("PRAGMA foreign_key_check")).first() is not None:
        raise CopyDiffers("the history has rows that refer to nothing: it was damaged by hand, and was not copied")


def _give_name(file: Path, path: Path) -> None:
    """Nothing is ever put in the place of another file."""
    try:
        os.link(file, path)
    except FileExistsError:
        raise TryAgain(f"{path} was made by somebody else meanwhile, and was left as it is: run again") from None
    except OSError as error:
        # Some file systems have no second names.
        if path.exists():
            raise TryAgain(f"{path} was made by somebody else meanwhile, and was left as it is: run again") from None
        try:
            file.rename(path)
        except OSError:
            raise CannotCreate(f"{path} cannot be created: {error.strerror}") from None
    flush_directory(path.parent)


def _few(found: list[str]) -> str:
    return "; ".join(found[:_NAMED]) + (f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
