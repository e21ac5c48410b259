"""The balances, page by page, as they leave: :class:`etl.transfer.portable.Line`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, Text, exists, func, literal, select, true, type_coerce
from sqlalchemy import cast as sql_cast
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from etl.db.engine import Database
from etl.db.history import no_such_account
from etl.db.reading import all_accounts
from etl.db.revision import check_revision
from etl.db.schema import AnnotationKind, annotation, balance, snapshot
from etl.grid import parse_instant
from etl.model import StoredAccount
from etl.transfer.portable import Line

PAGE = 2000
"""Snapshots that are read at a time: some hundredths of a second, in which nobody else can write into SQLite."""

_IN_ORDER: Final = itemgetter(Line._fields.index("slot_at"), Line._fields.index("account_type"))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which snapshots: of this account or of all, of slots from ``since`` to ``until``, both inclusive.

    ``voided`` those too that a person has marked as wrong.
    """

    account: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    voided: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same in SQL, but for the account."""
        found = []
        if self.since is not None:
            found.append(snapshot.c.slot_at >= self.since.replace(microsecond=0))
        if self.until is not None:
            found.append(snapshot.c.slot_at <= self.until.replace(microsecond=0))
        if not self.voided:
            found.append(~exists(_void()))
        return found


class Export:
    """The balances of a history. Raises SchemaNotAtHead and NoSuchAccount at once.

    Each page is a transaction of its own, over before it is handed on, and begins behind the last slot of the page
    before: no slot comes twice, whatever is recorded meanwhile. A snapshot is read by one statement, so it is whole.
    """

    def __init__(self, database: Database, wanted: Wanted, *, page: int = PAGE) -> None:
        self._database = database
        self._wanted = wanted
        self._page = page
        with database.read() as connection:
            check_revision(connection, database.address.name)
            accounts = all_accounts(connection)
        if wanted.account is not None and wanted.account not in accounts:
            raise no_such_account(wanted.account)
        self._accounts = [a for a in accounts.values() if wanted.account in {None, a.name}]

    def count(self) -> int:
        """How many snapshots there are at the moment."""
        ids = [account.id for account in self._accounts]
        query = select(func.count()).where(snapshot.c.account_id.in_(ids), *self._wanted.conditions())
        with self._database.read() as connection:
            return int(connection.scalar(query) or 0)

    def pages(self) -> Iterator[tuple[int, Sequence[Line]]]:
        """By account and slot: how many snapshots, and their lines. Those of a snapshot are never divided."""
        for account in self._accounts:
            after: datetime | None = None
            while True:
                with self._database.read() as connection:
                    rows = connection.execute(self._query(account, after)).all()
                if not rows:
                    break
                # By a statement that sorts it would take twice as long, and here it comes in order already.
                # A row has the names of a Line: to copy each into one would cost a fifth more.
                lines = cast("Sequence[Line]", sorted(rows, key=_IN_ORDER))
                yield len({line.slot_at for line in lines}), lines
                after = parse_instant(str(lines[-1].slot_at))

    def _query(self, account: StoredAccount, after: datetime | None) -> Select[Any]:
        """In the texts of :class:`Line`: to make times and decimals of them here would take several times as long."""
        c = snapshot.c
        void = _void().scalar_subquery()
        rows = (
            select(c.id, c.slot_at, c.taken_at, c.total_usdt, c.status, c.provenance, c.reason, void.label("voided"))
            .where(c.account_id == account.id, *self._wanted.conditions())
            .order_by(c.slot_at)
            .limit(self._page)
        )
        page = (rows if after is None else rows.where(c.slot_at > after)).subquery("page")
        is_sqlite = self._database.dialect == "sqlite"
        if is_sqlite:
            b: ReadOnlyColumnCollection[str, Any] = balance.c
            joined = page.outerjoin(balance, balance.c.snapshot_id == page.c.id)
        else:
            # As in etl.db.wallets: or the server may find it better to read every balance there is, for each page.
            of_page = select(balance).where(balance.c.snapshot_id == page.c.id).offset(0).correlate(page).lateral("b")
            b, joined = of_page.c, page.outerjoin(of_page, true())
        p = page.c
        texts: dict[str, ColumnElement[Any]] = {
            "account": literal(account.name),
            "slot_at": type_coerce(p.slot_at, Text) if is_sqlite else _utc(p.slot_at, ""),
            "taken_at": type_coerce(p.taken_at, Text) if is_sqlite else _utc(p.taken_at, ".MS"),
            "account_type": b.account_type,
            "usdt_balance": type_coerce(b.usdt_balance, Text) if is_sqlite else sql_cast(b.usdt_balance, Text),
            "total_usdt": type_coerce(p.total_usdt, Text) if is_sqlite else sql_cast(p.total_usdt, Text),
            "status": p.status,
            "provenance": p.provenance,
            "voided": p.voided,
            "reason": p.reason,
            "raw_type": b.raw_type,
            "environment": literal(account.environment.value),
        }
        return select(*(texts[name].label(name) for name in Line._fields)).select_from(joined)


def _void() -> Select[Any]:
    """The void in force of the snapshot outside of it."""
    void, undone = annotation.alias("v"), annotation.alias("u")
    is_undone = exists().where(
        undone.c.snapshot_id == void.c.snapshot_id, undone.c.kind == AnnotationKind.UNVOID, undone.c.id > void.c.id
    )
    # A void without a word, which only a hand can have written, must not read like none.
    text = func.coalesce(func.nullif(void.c.text, ""), AnnotationKind.VOID.value)
    return (
        select(text)
        .where(void.c.snapshot_id == snapshot.c.id, void.c.kind == AnnotationKind.VOID, ~is_undone)
        .order_by(void.c.id.desc())
        .limit(1)
        .correlate(snapshot)
    )


def _utc(time: ColumnElement[Any], fraction: str) -> ColumnElement[str]:
    pattern = f'YYYY-MM-DD"T"HH24:MI:SS{fraction}"Z"'
    return func.to_char(func.timezone("UTC", time), pattern)
