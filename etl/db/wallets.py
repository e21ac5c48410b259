"""What complete snapshots said of each wallet: what the next one is compared with."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    BindParameter,
    ColumnElement,
    Connection,
    FromClause,
    Integer,
    Select,
    bindparam,
    cast,
    column,
    exists,
    func,
    null,
    select,
    true,
    union_all,
    values,
)
from sqlalchemy.types import TypeEngine

from etl.db.bulk import chunks
from etl.db.schema import AnnotationKind, annotation, balance, snapshot
from etl.db.types import Slot
from etl.model import CompleteWallets, Provenance, Status

ACCEPT = "accept "
"""A note that begins so says that a person has declared the wallet it names gone for good."""

# Amounts have a number, notes have none.
_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
_SAID = union_all(
    select(balance.c.snapshot_id, balance.c.account_type.label("word"), balance.c.usdt_balance).where(
        balance.c.snapshot_id.in_(_IDS), balance.c.usdt_balance.is_not(None)
    ),
    select(annotation.c.snapshot_id, annotation.c.text, cast(null(), balance.c.usdt_balance.type)).where(
        annotation.c.snapshot_id.in_(_IDS), annotation.c.kind == AnnotationKind.NOTE
    ),
)

_SPAN: dict[str, type[TypeEngine[Any]]] = {"account_id": Integer, "first": Slot, "last": Slot}


def complete_wallets(
    connection: Connection, spans: Mapping[int, tuple[datetime, datetime]]
) -> dict[int, list[CompleteWallets]]:
    """By account id: the complete, measured, unvoided snapshots of slots in [first, last], and the last one before."""
    found: dict[int, list[CompleteWallets]] = {account_id: [] for account_id in spans}
    is_sqlite = connection.dialect.name == "sqlite"
    for chunk in chunks(spans.items()):
        if len(chunk) == 1:
            [(account_id, (first, last))] = chunk
            given = {"account_id": account_id, "first": first, "last": last}
            rows = connection.execute(_of_one(is_sqlite=is_sqlite), given).all()
        else:
            rows = connection.execute(_snapshots(_table_of(chunk), is_sqlite=is_sqlite)).all()
        said = _said(connection, [row.id for row in rows if row.id is not None])
        for row in rows:
            if row.id is not None:
                amounts, accepted = said.get(row.id, ({}, frozenset()))
                found[row.account_id].append(CompleteWallets(row.slot_at, amounts, accepted))
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


@cache
def _of_one(*, is_sqlite: bool) -> Select[Any]:
    """The same for one account, put together and compiled once: the daemon of one account asks it in every slot."""
    given = [bindparam(name, type_=kind).label(name) for name, kind in _SPAN.items()]
    return _snapshots(select(*given).cte("span"), is_sqlite=is_sqlite)


def _snapshots(span: CTE, *, is_sqlite: bool) -> Select[Any]:
    """Ids and slots. The database must look up each span by the index, whatever it believes to know of the tables.

    A planner without statistics, or with them, may find it better to read every snapshot there is, which takes minutes.
    SQLite keeps to the order of an outer join (with rows of nothing), PostgreSQL to that of a subquery with an OFFSET.
    """
    before = snapshot.alias()
    start = (
        select(before.c.slot_at)
        .where(before.c.account_id == span.c.account_id, before.c.slot_at < span.c.first, reliable(before))
        .order_by(before.c.slot_at.desc())
        .limit(1)
        .correlate(span)
        .scalar_subquery()
    )
    is_in_span = (
        (snapshot.c.account_id == span.c.account_id)
        & (snapshot.c.slot_at >= func.coalesce(start, span.c.first))
        & (snapshot.c.slot_at <= span.c.last)
        & reliable(snapshot)
    )
    found: FromClause
    if is_sqlite:
        found, joined = snapshot, span.outerjoin(snapshot, is_in_span)
    else:
        columns = select(snapshot.c.id, snapshot.c.slot_at).where(is_in_span).correlate(span)
        found = columns.order_by(snapshot.c.slot_at).offset(0).lateral("found")
        joined = span.join(found, true())
    return (
        select(span.c.account_id, found.c.id, found.c.slot_at)
        .select_from(joined)
        .order_by(span.c.account_id, found.c.slot_at)
    )


def _said(connection: Connection, snapshot_ids: Iterable[int]) -> dict[int, tuple[dict[str, Decimal], frozenset[str]]]:
    """By snapshot, the amounts of its wallets, and the account types that its notes declare gone."""
    found: dict[int, tuple[dict[str, Decimal], frozenset[str]]] = {}
    for ids in chunks(snapshot_ids):
        for row in connection.execute(_SAID, {"ids": ids}):
            amounts, gone = found.get(row.snapshot_id, ({}, frozenset()))
            if row.usdt_balance is not None:
                amounts[row.word] = row.usdt_balance
            elif row.word.startswith(ACCEPT):
                gone |= {row.word.removeprefix(ACCEPT)}
            found[row.snapshot_id] = amounts, gone
    return found


def _table_of(spans: Iterable[tuple[int, tuple[datetime, datetime]]]) -> CTE:
    """The spans as a table of the statement."""
    columns = [column(name, kind) for name, kind in _SPAN.items()]
    rows = [(account_id, first, last) for account_id, (first, last) in spans]
    return values(*columns, name="given").data(rows).cte("span")
