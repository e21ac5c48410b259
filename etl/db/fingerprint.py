"""What a history is made of, in counts and checksums, so that two can be compared, wherever they are."""

from collections.abc import Callable, Mapping
from contextlib import closing
from hashlib import blake2b
from typing import NamedTuple, TypeAlias

from sqlalchemy import Connection, func, select

from etl.db.canonical import TABLES, Side

MODULUS = 1 << 64


class Part(NamedTuple):
    """Rows of a table that belong to an account, and to a month (``2026-11``, of the slot, in UTC) unless to none."""

    table: str
    account_id: int | None
    month: str | None


class Sum(NamedTuple):
    """How many rows, and the sum of their checksums, which is the same in whatever order they come."""

    rows: int
    checksum: int


Fingerprint: TypeAlias = Mapping[Part, Sum]


def counts(connection: Connection) -> dict[str, int]:
    """How many rows each table has."""
    return {table.name: connection.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES}


def fingerprint(side: Side, advance: Callable[[int], None]) -> Fingerprint:
    """Of every column of every row of every table. ``advance`` is told how many rows more were read."""
    found: dict[Part, Sum] = {}

    def keep(part: Part, rows: int, checksum: int) -> None:
        before = found.get(part, Sum(0, 0))
        found[part] = Sum(before.rows + rows, (before.checksum + checksum) % MODULUS)
        advance(rows)

    for table in TABLES:
        part, rows, checksum = Part(table.name, None, None), 0, 0
        with closing(side.rows_of_months(table)) as found_rows:
            for row in found_rows:
                if row[0] != part.account_id or row[1] != part.month:
                    if rows:
                        keep(part, rows, checksum)
                    part, rows, checksum = Part(table.name, row[0], row[1]), 0, 0
                rows += 1
                # repr() tells NULL, numbers, bytes and texts apart, whatever is in a text.
                checksum += int.from_bytes(blake2b(repr(row).encode(), digest_size=8).digest(), "big")
        if rows:
            keep(part, rows, checksum)
    return found


def differences(source: Fingerprint, target: Fingerprint, names: Mapping[int | None, str]) -> list[str]:
    """In words, by table, account and month; amounts are not named."""
    nothing = Sum(0, 0)
    found = []
    for part in sorted(source.keys() | target.keys(), key=lambda part: tuple(str(each) for each in part)):
        here, there = source.get(part, nothing), target.get(part, nothing)
        if here != there:
            when = f" in {part.month}" if part.month else ""
            what = f"{here.rows} rows and {there.rows}" if here.rows != there.rows else "other values"
            found.append(f"{part.table} of {names.get(part.account_id, 'no account')}{when}: {what}")
    return found
