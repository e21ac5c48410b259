"""Snapshots into the history: the first of a slot wins, by the database's own uniqueness and by nothing else."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Row, delete, select, tuple_

from etl.db.bulk import chunks, insert_or_skip, insert_rows
from etl.db.payload import encode
from etl.db.schema import balance, payload, snapshot
from etl.db.types import amount_text, checked_text, checked_time
from etl.errors import DatabaseUnavailable
from etl.load.store import Added
from etl.model import Provenance, Snapshot

Key = tuple[int, datetime]


@dataclass(frozen=True, slots=True)
class _Entry:
    place: int
    key: Key
    snapshot: Snapshot


def add_snapshots(
    connection: Connection, account_ids: Mapping[str, int], snapshots: Sequence[Snapshot], recorded_at: datetime
) -> list[Added]:
    """Store each unless its slot has one; what became of each, in the same order."""
    entries = [_Entry(place, (account_ids[s.account], s.slot_at), s) for place, s in enumerate(snapshots)]
    added: dict[int, Added] = {}
    while entries:
        # A slot that comes twice is stored in two rounds, so that the second one meets the first as if it came later.
        first = {entry.key: entry for entry in reversed(entries)}
        _add_distinct(connection, list(reversed(first.values())), recorded_at, added)
        entries = [entry for entry in entries if first[entry.key] is not entry]
    return [added[place] for place in range(len(snapshots))]


def _add_distinct(
    connection: Connection, entries: Sequence[_Entry], recorded_at: datetime, added: dict[int, Added]
) -> None:
    ids = _insert(connection, entries, recorded_at)
    conflicts = [entry for entry in entries if entry.key not in ids]
    if conflicts:
        there = _existing(connection, conflicts)
        replacing = [entry for entry in conflicts if _replaces(entry.snapshot, there[entry.key])]
        if replacing:
            for chunk in chunks(there[entry.key].id for entry in replacing):
                connection.execute(delete(snapshot).where(snapshot.c.id.in_(chunk)))
            ids |= _insert(connection, replacing, recorded_at)
        for entry in conflicts:
            same = _is_same_reading(entry.snapshot, there[entry.key])
            added[entry.place] = Added.STORED if same else Added.DUPLICATE
    stored = [entry for entry in entries if entry.key in ids]
    added.update((entry.place, Added.STORED) for entry in stored)
    insert_rows(connection, balance, _balances(stored, ids))
    insert_rows(connection, payload, _payloads(stored, ids))


def _insert(connection: Connection, entries: Sequence[_Entry], recorded_at: datetime) -> dict[Key, int]:
    """The ids of those that were inserted; the others' slots have their snapshot."""
    rows = [
        {
            "account_id": entry.key[0],
            "slot_at": s.slot_at,
            "taken_at": s.taken_at,
            "requested_at": s.requested_at,
            "latency_ms": s.latency_ms,
            "recorded_at": recorded_at,
            "status": s.status,
            "reason": s.reason,
            "provenance": s.provenance,
            "total_usdt": s.total,
            "attempts": s.attempts,
        }
        for entry in entries
        for s in (entry.snapshot,)
    ]
    return {
        (row.account_id, row.slot_at): row.id
        for row in connection.execute(_insert_or_skip(connection.dialect.name), rows)
    }


@cache
def _insert_or_skip(dialect: str) -> Any:  # noqa: ANN401 - the two classes share no base
    return insert_or_skip(dialect, snapshot).returning(snapshot.c.id, snapshot.c.account_id, snapshot.c.slot_at)


def _existing(connection: Connection, entries: Sequence[_Entry]) -> dict[Key, Row[Any]]:
    c = snapshot.c
    columns = select(c.id, c.account_id, c.slot_at, c.requested_at, c.provenance)
    found: dict[Key, Row[Any]] = {}
    for chunk in chunks(entries):
        keys = tuple_(c.account_id, c.slot_at).in_([entry.key for entry in chunk])
        found |= {(row.account_id, row.slot_at): row for row in connection.execute(columns.where(keys))}
    if any(entry.key not in found for entry in entries):
        raise DatabaseUnavailable("another program is deleting snapshots at this moment: run again")
    return found


def _replaces(new: Snapshot, old: Row[Any]) -> bool:
    return new.provenance is Provenance.MEASURED and old.provenance == Provenance.IMPORTED


def _is_same_reading(new: Snapshot, old: Row[Any]) -> bool:
    """Whether it is a replay: asked for at the very same time. Imported lines may not know when they were."""
    if new.requested_at is None or new.provenance != old.provenance:
        return False
    return bool(checked_time(new.requested_at) == old.requested_at)


def _balances(entries: Sequence[_Entry], ids: Mapping[Key, int]) -> Iterator[tuple[object, ...]]:
    for entry in entries:
        for wallet in entry.snapshot.balances:
            amount = None if wallet.amount is None else amount_text(wallet.amount)
            raw = None if wallet.raw_type is None else checked_text(wallet.raw_type)
            yield ids[entry.key], checked_text(wallet.account_type), amount, raw


def _payloads(entries: Sequence[_Entry], ids: Mapping[Key, int]) -> Iterator[tuple[object, ...]]:
    for entry in entries:
        for seq, body in enumerate(entry.snapshot.bodies, 1):
            yield ids[entry.key], seq, *encode(body)
