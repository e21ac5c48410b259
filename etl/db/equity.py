"""Snapshots to report on, in pages of a short transaction each: on SQLite a reader keeps writers waiting."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Select, func, select

from etl.db.bulk import chunks
from etl.db.engine import Database
from etl.db.history import no_such_account
from etl.db.reading import accounts_named, all_accounts
from etl.db.revision import check_revision
from etl.db.schema import AnnotationKind, account, annotation, balance, snapshot
from etl.model import Status
from etl.report.equity import TOTAL, Seen
from etl.report.expected import Known

PAGE_SNAPSHOTS = 10_000
"""How many snapshots a page has at most, of all accounts, as long as each gets :data:`FEWEST_OF_ACCOUNT`."""

FEWEST_OF_ACCOUNT = 100

WALLETS_AT_ONCE = 500
"""In so many slots an account's wallets are looked up together."""


class Equity:
    """The snapshots of a history. Raises SchemaNotAtHead, and NoSuchAccount for a name that it does not know."""

    def __init__(self, database: Database, *, page_snapshots: int = PAGE_SNAPSHOTS) -> None:
        self._database = database
        self._page_snapshots = page_snapshots

    def accounts(self, name: str | None) -> list[Known]:
        """Every account by name, or the one of this name."""
        of_account = snapshot.c.account_id == account.c.id
        first, last = (
            select(extreme(snapshot.c.slot_at)).where(of_account).scalar_subquery() for extreme in (func.min, func.max)
        )
        with self._database.read() as connection:
            check_revision(connection, self._database.address.name)
            stored = all_accounts(connection) if name is None else accounts_named(connection, [name])
            rows = connection.execute(select(account.c.id, first, last)).all()
        if name is not None and name not in stored:
            raise no_such_account(name)
        known = {key: (begins, ends) for key, begins, ends in rows}
        return [
            Known(each.id, each.name, each.schedules, *known[each.id], is_retired=each.retired_at is not None)
            for each in stored.values()
        ]

    def pages(self, accounts: Sequence[Known], until: datetime, *, by_type: bool) -> Iterator[list[Seen]]:
        """Their snapshots up to a time, inclusive, in spans of time one after another; in each by account and slot.

        What is recorded or voided while this goes on may be seen or not.
        """
        ids = [known.id for known in accounts]
        firsts = [known.first_at for known in accounts if known.first_at is not None]
        lasts = [known.last_at for known in accounts if known.last_at is not None]
        if not firsts:
            return
        after, until = min(firsts) - timedelta(seconds=1), min(until, max(lasts))
        most = max(self._page_snapshots // len(ids), min(FEWEST_OF_ACCOUNT, self._page_snapshots))
        while after < until:
            with self._database.read() as connection:
                end = min([until, *_ends(connection, ids, after, most)])
                snapshots = _fetch(connection, _SNAPSHOTS, ids, after, end)
                wallets = _fetch(connection, _WALLETS, ids, after, end) if by_type else None
            yield _seen(snapshots, wallets)
            after = end

    def wallets(self, account_id: int, slots: Sequence[datetime]) -> Iterator[tuple[datetime, Mapping[str, Decimal]]]:
        """The wallets of an account in these slots, by slot, where it has a usable snapshot with wallets there."""
        for some in chunks(slots, WALLETS_AT_ONCE):
            of_slots = (snapshot.c.account_id == account_id) & snapshot.c.slot_at.in_(some)
            with self._database.read() as connection:
                rows = connection.execute(_WALLETS_BY_SLOT.where(of_slots)).all()
            for slot_at, wallets in groupby(rows, key=lambda row: row.slot_at):
                yield slot_at, {row.account_type: row.usdt_balance for row in wallets}


def _ends(connection: Connection, ids: Sequence[int], after: datetime, most: int) -> list[datetime]:
    """Where each page may end at the latest: no account has more than ``most`` snapshots until then."""
    end = (
        select(snapshot.c.slot_at)
        .where(snapshot.c.account_id == account.c.id, snapshot.c.slot_at > after)
        .order_by(snapshot.c.slot_at)
        .offset(most - 1)
        .limit(1)
        .scalar_subquery()
    )
    found = (connection.scalars(select(end).where(account.c.id.in_(chunk))).all() for chunk in chunks(ids))
    return [slot_at for each in found for slot_at in each if slot_at is not None]


def _fetch(connection: Connection, query: Select[Any], ids: Sequence[int], after: datetime, end: datetime) -> list[Any]:
    is_in_page = (snapshot.c.slot_at > after) & (snapshot.c.slot_at <= end)
    pages = (query.where(snapshot.c.account_id.in_(chunk), is_in_page) for chunk in chunks(ids))
    return [row for page in pages for row in connection.execute(page).all()]


def _voided() -> Select[Any]:
    """Without a later unvoid, the void is the last word on its snapshot."""
    unvoid = annotation.alias()
    is_undone = select(unvoid.c.id).where(
        unvoid.c.snapshot_id == annotation.c.snapshot_id,
        unvoid.c.kind == AnnotationKind.UNVOID,
        unvoid.c.id > annotation.c.id,
    )
    return select(annotation.c.snapshot_id).where(annotation.c.kind == AnnotationKind.VOID, ~is_undone.exists())


_SNAPSHOTS = select(
    snapshot.c.id,
    snapshot.c.account_id,
    snapshot.c.slot_at,
    snapshot.c.id.in_(_voided()).label("is_void"),
    snapshot.c.total_usdt,
).order_by(snapshot.c.account_id, snapshot.c.slot_at)
_WALLETS = (
    select(balance.c.snapshot_id, balance.c.account_type, balance.c.usdt_balance)
    .join_from(snapshot, balance)
    .where(snapshot.c.status == Status.COMPLETE, balance.c.usdt_balance.is_not(None))
)

_WALLETS_BY_SLOT = (
    select(snapshot.c.slot_at, balance.c.account_type, balance.c.usdt_balance)
    .join_from(snapshot, balance)
    .where(
        snapshot.c.status == Status.COMPLETE,
        snapshot.c.id.not_in(_voided()),
        balance.c.usdt_balance.is_not(None),
    )
    .order_by(snapshot.c.slot_at, balance.c.account_type)
)


def _seen(snapshots: Sequence[Any], wallets: Sequence[Any] | None) -> list[Seen]:
    """A complete snapshot without wallets, which was imported, has no amounts among them, and is not partial."""
    if wallets is None:
        return [
            Seen(account_id, slot_at, bool(is_void), None if total is None else {TOTAL: total})
            for _, account_id, slot_at, is_void, total in snapshots
        ]
    amounts: dict[int, dict[str, Decimal]] = {}
    for key, account_type, amount in wallets:
        if (of_snapshot := amounts.get(key)) is None:
            of_snapshot = amounts[key] = {}
        of_snapshot[account_type] = amount
    return [
        Seen(account_id, slot_at, bool(is_void), None if total is None else amounts.get(key, {}))
        for key, account_id, slot_at, is_void, total in snapshots
    ]
