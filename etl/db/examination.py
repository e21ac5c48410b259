"""What `doctor` asks of a database: facts, each in a short transaction that changes nothing."""

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, inspect, literal, select, text, union_all

from etl.db.engine import Database
from etl.db.reading import BEGUN_AT, all_accounts
from etl.db.revision import check_revision, is_foreign, revision_of
from etl.db.schema import HEAD, account, alembic_version, failure, metadata, snapshot
from etl.db.views import VIEWS
from etl.errors import SettingsError
from etl.model import Reason, StoredAccount

NEEDED: Mapping[str, tuple[str, ...]] = {
    "SELECT": (*metadata.tables, alembic_version.name, *VIEWS["postgresql"]),
    "INSERT": tuple(metadata.tables),
    "UPDATE": ("account", "schedule"),
    "DELETE": ("schedule", "snapshot"),
}
"""The grants of the README: what recording and everything but `db upgrade` needs on PostgreSQL."""

# Written afterwards by a daemon that was not there: they are no sign that somebody came in the slot.
NOBODY_CAME = (Reason.STOPPED, Reason.CRASHED, Reason.SUSPENDED, Reason.CLOCK_JUMPED)


@dataclass(frozen=True, slots=True)
class Server:
    """Which database it is. ``journal_mode`` is that of SQLite; ``is_standby`` where PostgreSQL only takes readers."""

    product: str
    version: str
    journal_mode: str | None = None
    is_standby: bool = False


@dataclass(frozen=True, slots=True)
class Rights:
    """What the role lacks on PostgreSQL, as ``INSERT ON snapshot``, and what it could do without ever having to."""

    missing: tuple[str, ...]
    needless: tuple[str, ...]


class Examination:
    """The facts. Every method raises the errors of ours that the database comes to."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.name = database.address.name
        self.path = database.address.path

    def server(self) -> Server:
        """Whether it answers at all, and what it is."""
        with self._database.read() as connection:
            if self.path is not None:
                mode = str(connection.scalar(text("PRAGMA journal_mode")))
                if is_foreign(connection):
                    raise SettingsError(f"{self.path} is the database of another program: mend database_url")
                return Server("SQLite", sqlite3.sqlite_version, journal_mode=mode)
            version, is_standby = connection.execute(
                text("SELECT current_setting('server_version'), pg_is_in_recovery()")
            ).one()
            return Server("PostgreSQL", str(version).split()[0], is_standby=is_standby)

    def schema(self) -> str:
        """The revision, where it is the one that this program needs; raises SchemaNotAtHead where it is not."""
        with self._database.read() as connection:
            check_revision(connection, self.name)
        return HEAD

    def is_older(self) -> bool:
        """Whether there is an older schema, or none yet, which this program upgrades by itself on SQLite."""
        with self._database.read() as connection:
            found = revision_of(connection)
        return found is None or (found.isdigit() and found < HEAD)

    def begun_at(self) -> datetime | None:
        """When the first account of the history came, of whatever schema it is; None where there is no history."""
        with self._database.read() as connection:
            if not inspect(connection).has_table(account.name):
                return None
            return connection.scalar(BEGUN_AT)

    def is_whole(self) -> bool:
        """Whether no page of SQLite's file is damaged. All of it is read, and a COMMIT waits for that meanwhile."""
        with self._database.read() as connection:
            return bool(connection.scalar(text("PRAGMA quick_check(1)")) == "ok")

    def rights(self) -> Rights:
        """What the role may do on PostgreSQL, as far as it matters."""
        with self._database.read() as connection:
            missing = [
                f"{right} ON {table}"
                for right, tables in NEEDED.items()
                for table in tables
                if not connection.scalar(_MAY, {"table": table, "right": right})
            ]
            superuser, creates, owns = connection.execute(_MORE, {"table": snapshot.name}).one()
        could = {"is a superuser": superuser, "may create tables": creates, "owns the tables": owns}
        return Rights(tuple(missing), tuple(words for words, does in could.items() if does))

    def accounts(self) -> dict[str, StoredAccount]:
        """The accounts of the history."""
        with self._database.read() as connection:
            return all_accounts(connection)

    def last_slots(self, accounts: Iterable[StoredAccount], most: int) -> dict[str, list[datetime]]:
        """By account, the last slots of its present schedule in which somebody was there, the newest first."""
        found: dict[str, list[datetime]] = {}
        for each in accounts:
            if each.schedules:
                with self._database.read() as connection:
                    found[each.name] = _last_slots(connection, each.id, each.schedules[-1].valid_from, most)
        return found


_MAY = text("SELECT has_table_privilege(to_regclass(:table), :right)")
_MORE = text(
    "SELECT r.rolsuper, has_schema_privilege(c.relnamespace, 'CREATE'), pg_has_role(c.relowner, 'USAGE')"
    " FROM pg_roles AS r CROSS JOIN pg_class AS c WHERE r.rolname = current_user AND c.oid = to_regclass(:table)"
)


def _last_slots(connection: Connection, account_id: int, since: datetime, most: int) -> list[datetime]:
    of_snapshots = (
        select(snapshot.c.slot_at)
        .where(
            snapshot.c.account_id == account_id,
            snapshot.c.slot_at >= since,
            snapshot.c.provenance == literal("measured"),
        )
        .order_by(snapshot.c.slot_at.desc())
        .limit(most)
        .subquery()
    )
    of_failures = (
        select(failure.c.slot_at)
        .where(failure.c.account_id == account_id, failure.c.slot_at >= since, failure.c.reason.not_in(NOBODY_CAME))
        .order_by(failure.c.slot_at.desc())
        .limit(most)
        .subquery()
    )
    rows = connection.scalars(union_all(select(of_snapshots.c.slot_at), select(of_failures.c.slot_at))).all()
    return sorted(set(rows), reverse=True)[:most]
