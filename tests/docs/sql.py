"""The SQL in Markdown files, and how it is asked: by the plain drivers, as a reader of the page would."""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

ROOT = Path(__file__).parents[2]
BOTH = ("sqlite", "postgresql")
DIALECTS = {"both": BOTH, "SQLite": ("sqlite",), "PostgreSQL": ("postgresql",)}
# Neither that of the servers nor that of the history: who reads may live anywhere.
ZONE_OF_THE_READER = "Asia/Kolkata"
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and the databases on which it is said to run."""

    title: str
    dialects: tuple[str, ...]
    sql: str


def queries(file: Path) -> Iterator[Query]:
    """Every statement of every block of SQL. Each begins with a comment that is its title: ``-- SQLite: days``."""
    for block in re.findall(r"^```sql\n(.*?)^```", file.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for statement in block.split(";\n"):
            if statement := statement.strip():
                first, _, sql = statement.partition("\n")
                match = re.fullmatch(r"-- (?:(both|SQLite|PostgreSQL): )?(.+)", first)
                assert match, f"a query without a title: {first}"
                yield Query(match[2], DIALECTS[match[1] or "both"], sql.strip().removesuffix(";"))


def ask(url: str, sql: str, parameters: Sequence[object] | dict[str, object] = ()) -> list[tuple[Any, ...]]:
    """The rows, by the database's own driver; instants as times, days as text."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)) as connection:
            found = connection.execute(sql, parameters).fetchall()
    else:
        with psycopg.connect(url, options=f"-c timezone={ZONE_OF_THE_READER}") as server:
            found = server.execute(sql.encode(), parameters or None).fetchall()
    return [tuple(map(plain, row)) for row in found]


def plain(cell: object) -> object:
    """A cell as it is compared: an instant as a time, a day as text."""
    if isinstance(cell, str) and _INSTANT.fullmatch(cell):
        return datetime.fromisoformat(cell)
    return cell.isoformat() if isinstance(cell, date) and not isinstance(cell, datetime) else cell


def same(found: Sequence[Sequence[object]], known: Sequence[Sequence[object]], *, in_order: bool = True) -> bool:
    """Whether the rows are those that are known.

    What is known as text must have come with all of its digits. A known Decimal may have come as a float, to 15 digits.
    """
    if not in_order:
        found, known = sorted(found, key=_as_text), sorted(known, key=_as_text)
    return len(found) == len(known) and all(
        len(row) == len(answer) and all(map(_same_cell, row, answer)) for row, answer in zip(found, known, strict=True)
    )


def _same_cell(found: object, known: object) -> bool:
    match found, known:
        case Decimal(), str():
            return format(found, "f") == known
        case float(), Decimal():
            return abs(Decimal(found) - known) <= abs(known) * Decimal("1e-13")
        case (int() | float() | Decimal(), int() | float() | Decimal()):
            return found == known
        case _:
            return type(found) is type(known) and found == known


def _as_text(row: Sequence[object]) -> list[str]:
    """Sorts by words only: figures come in different types."""
    return [str(cell) for cell in row if isinstance(cell, str | datetime)]
