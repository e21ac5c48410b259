"""The history, to read: what `status`, `report`, `gaps` and `account list` show.

Every method is one transaction that is over before it returns: on SQLite an open reader keeps writers waiting.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import TypedDict, cast

from sqlalchemy import Connection, Select, exists, func, select

from etl.db.daily import Daily, daily_rows
from etl.db.engine import Database
from etl.db.reading import accounts_named, all_accounts
from etl.db.revision import check_revision
from etl.db.schema import account, failure, snapshot
from etl.db.views import equity, slot_gap
from etl.errors import NoSuchAccount
from etl.grid import format_duration
from etl.model import Schedule


class AccountRow(TypedDict):
    """An account. ``interval`` is that of its last schedule, in the form of the settings, None where it has none."""

    account: str
    uid: str | None
    environment: str
    interval: str | None
    created_at: datetime
    retired_at: datetime | None


class Latest(TypedDict):
    """An account's last snapshot that is not void, and how many slots after it have failed, the last one why.

    Everything about the snapshot is None where there is none yet; ``total_usdt`` is exact, None where it is partial.
    """

    account: str
    snapshot_id: int | None
    slot_at: datetime | None
    taken_at: datetime | None
    status: str | None
    provenance: str | None
    reason: str | None
    total_usdt: Decimal | None
    failures_since: int
    last_reason: str | None
    retired_at: datetime | None


class Doubted(TypedDict):
    """The last snapshot of an account that was doubted, and in ``reason`` what was, and whether it was confirmed."""

    account: str
    slot_at: datetime
    reason: str


class Gap(TypedDict):
    """A run of ``missed`` expected slots without a usable snapshot, ends inclusive. Reason None: nobody was there."""

    account: str
    gap_from: datetime
    gap_to: datetime
    missed: int
    reason: str | None


class History:
    """What was recorded. Raises SchemaNotAtHead where there is no schema, or another one, and NoSuchAccount."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def accounts(self) -> list[AccountRow]:
        """Every account, by name, retired ones too."""
        with self._database.read() as connection:
            check_revision(connection, self._database.address.name)
            stored = all_accounts(connection).values()
        return [
            AccountRow(
                account=a.name,
                uid=a.uid,
                environment=a.environment.value,
                interval=format_duration(a.schedules[-1].interval_seconds) if a.schedules else None,
                created_at=a.created_at,
                retired_at=a.retired_at,
            )
            for a in stored
        ]

    def schedules(self, name: str | None = None) -> list[Schedule]:
        """When slots were expected of an account, or of all."""
        with self._database.read() as connection:
            self._check(connection, name)
            stored = all_accounts(connection)
        return [each for a in stored.values() if name in {None, a.name} for each in a.schedules]

    def latest(self) -> list[Latest]:
        """Of every account, by name."""
        with self._database.read() as connection:
            check_revision(connection, self._database.address.name)
            rows = connection.execute(_latest()).mappings().all()
        return [cast("Latest", dict(row)) for row in rows]

    def doubted(self, since: datetime) -> list[Doubted]:
        """Of every account that has one since, by name; a person who has voided it needs no more telling."""
        query = (
            select(account.c.name.label("account"), snapshot.c.slot_at, snapshot.c.reason)
            .join_from(account, snapshot, snapshot.c.account_id == account.c.id)
            .where(snapshot.c.slot_at >= since.replace(microsecond=0), snapshot.c.reason.like("%doubted: %"))
            .where(exists().where(equity.c.snapshot_id == snapshot.c.id))
            .order_by(account.c.name, snapshot.c.slot_at)
        )
        with self._database.read() as connection:
            check_revision(connection, self._database.address.name)
            rows = connection.execute(query).mappings().all()
        return list({row["account"]: cast("Doubted", dict(row)) for row in rows}.values())

    def daily(self, name: str | None = None, since: date | None = None, until: date | None = None) -> list[Daily]:
        """The days of an account, or of all, from ``since`` to ``until``, both inclusive, with exact amounts."""
        with self._database.read() as connection:
            self._check(connection, name)
            return daily_rows(connection, name, since, until)

    def gaps(self, name: str | None = None, since: datetime | None = None, until: datetime | None = None) -> list[Gap]:
        """The gaps of an account, or of all, that reach into the time from ``since`` to ``until``; each one whole."""
        query = select(slot_gap).order_by(slot_gap.c.account, slot_gap.c.gap_from)
        if name is not None:
            query = query.where(slot_gap.c.account == name)
        if since is not None:
            query = query.where(slot_gap.c.gap_to >= since.replace(microsecond=0))
        if until is not None:
            query = query.where(slot_gap.c.gap_from <= until.replace(microsecond=0))
        with self._database.read() as connection:
            self._check(connection, name)
            rows = connection.execute(query).mappings().all()
        return [cast("Gap", dict(row)) for row in rows]

    def _check(self, connection: Connection, name: str | None) -> None:
        check_revision(connection, self._database.address.name)
        if name is not None and not accounts_named(connection, [name]):
            raise no_such_account(name)


def no_such_account(name: str) -> NoSuchAccount:
    """The error for a name that the history does not know."""
    return NoSuchAccount(f"the history has no account {name!r}: `bingx-etl account list` shows those it has")


def _latest() -> Select[tuple[object, ...]]:
    last = (
        select(equity.c.snapshot_id)
        .where(equity.c.account == account.c.name)
        .order_by(equity.c.slot_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    success = snapshot.alias()
    is_failed_since = (
        (failure.c.account_id == account.c.id)
        & (snapshot.c.slot_at.is_(None) | (failure.c.slot_at > snapshot.c.slot_at))
        & ~exists().where(success.c.account_id == failure.c.account_id, success.c.slot_at == failure.c.slot_at)
    )
    count = select(func.count()).select_from(failure).where(is_failed_since).correlate(account, snapshot)
    reason = select(failure.c.reason).where(is_failed_since).order_by(failure.c.slot_at.desc()).limit(1)
    return (
        select(
            account.c.name.label("account"),
            snapshot.c.id.label("snapshot_id"),
            snapshot.c.slot_at,
            snapshot.c.taken_at,
            snapshot.c.status,
            snapshot.c.provenance,
            snapshot.c.reason,
            snapshot.c.total_usdt,
            count.scalar_subquery().label("failures_since"),
            reason.correlate(account, snapshot).scalar_subquery().label("last_reason"),
            account.c.retired_at,
        )
        .select_from(account.outerjoin(snapshot, snapshot.c.id == last))
        .order_by(account.c.name)
    )
