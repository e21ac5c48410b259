"""What complete snapshots said of each wallet: what the next one is compared with."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, FromClause, Integer, Select, column, exists, func, select, values

from etl.db.bulk import chunks
from etl.db.schema import AnnotationKind, annotation, balance, snapshot
from etl.db.types import Slot
from etl.model import CompleteWallets, Provenance, Status

ACCEPT = "accept "
"""A note that begins so says that a person has declared the wallet it names gone for good."""


def complete_wallets(
    connection: Connection, spans: Mapping[int, tuple[datetime, datetime]]
) -> dict[int, list[CompleteWallets]]:
    """By account id: the complete, measured, unvoided snapshots of slots in [first, last], and the last one before."""
    found: dict[int, list[CompleteWallets]] = {account_id: [] for account_id in spans}
    for chunk in chunks(spans.items()):
        at: dict[int, tuple[int, datetime]] = {}
        amounts: dict[int, dict[str, Decimal]] = {}
        for row in connection.execute(_query(chunk)):
            at[row.id] = (row.account_id, row.slot_at)
            wallets = amounts.setdefault(row.id, {})
            if row.usdt_balance is not None:
                wallets[row.account_type] = row.usdt_balance
        accepted = accepted_types(connection, at)
        for snapshot_id, (account_id, slot_at) in at.items():
            gone = accepted.get(snapshot_id, frozenset())
            found[account_id].append(CompleteWallets(slot_at, amounts[snapshot_id], gone))
    return found


def accepted_types(connection: Connection, snapshot_ids: Iterable[int]) -> dict[int, frozenset[str]]:
    """By snapshot, the account types that its notes declare gone."""
    found: dict[int, frozenset[str]] = {}
    for ids in chunks(snapshot_ids):
        notes = select(annotation.c.snapshot_id, annotation.c.text).where(
            annotation.c.snapshot_id.in_(ids), annotation.c.kind == AnnotationKind.NOTE
        )
        for row in connection.execute(notes):
            if row.text.startswith(ACCEPT):
                found[row.snapshot_id] = found.get(row.snapshot_id, frozenset()) | {row.text.removeprefix(ACCEPT)}
    return found


def reliable(rows: FromClause) -> ColumnElement[bool]:
    """Snapshots that tell which wallets there are: complete, measured, not voided."""
    void, undone = annotation.alias(), annotation.alias()
    is_undone = exists().where(
        undone.c.snapshot_id == void.c.snapshot_id, undone.c.kind == AnnotationKind.UNVOID, undone.c.id > void.c.id
    )
    is_voided = exists().where(void.c.snapshot_id == rows.c.id, void.c.kind == AnnotationKind.VOID, ~is_undone)
    return (rows.c.status == Status.COMPLETE) & (rows.c.provenance == Provenance.MEASURED) & ~is_voided


def _query(spans: Iterable[tuple[int, tuple[datetime, datetime]]]) -> Select[Any]:
    span = _table_of(spans)
    before = snapshot.alias()
    start = (
        select(before.c.slot_at)
        .where(before.c.account_id == span.c.account_id, before.c.slot_at < span.c.first, reliable(before))
        .order_by(before.c.slot_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    s = snapshot
    in_span = (
        (s.c.account_id == span.c.account_id)
        & (s.c.slot_at >= func.coalesce(start, span.c.first))
        & (s.c.slot_at <= span.c.last)
        & reliable(s)
    )
    return (
        select(s.c.id, s.c.account_id, s.c.slot_at, balance.c.account_type, balance.c.usdt_balance)
        .select_from(span.join(s, in_span).outerjoin(balance, balance.c.snapshot_id == s.c.id))
        .order_by(s.c.account_id, s.c.slot_at)
    )


def _table_of(spans: Iterable[tuple[int, tuple[datetime, datetime]]]) -> CTE:
    """The spans as a table of the statement."""
    columns = column("account_id", Integer), column("first", Slot), column("last", Slot)
    rows = [(account_id, first, last) for account_id, (first, last) in spans]
    return values(*columns, name="given").data(rows).cte("span")
