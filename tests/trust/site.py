"""Where a world of the model test is, and what the programs have left there.

The database is read past all of our code but the decoding of bodies, and amounts by the exact columns of the views.
"""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

from etl.db.payload import decode
from tests.reading import rows

TABLES = "annotation, payload, balance, failure, snapshot, schedule, account"
# An account and a slot.
Place = tuple[str, datetime]
Gap = tuple[str, datetime, datetime, str | None]


@dataclass(frozen=True, slots=True)
class Row:
    """A snapshot as it is in the database, its amounts and its total in the digits of the views."""

    account: str
    slot_at: datetime
    status: str
    total: str | None
    amounts: dict[str, str | None]
    bodies: tuple[bytes, ...]


@dataclass(frozen=True)
class Seen:
    """Everything that is there now."""

    snapshots: list[Row]
    failures: dict[Place, str]
    begins: dict[str, datetime]
    known: set[str]
    spool: dict[str, bytes]
    quarantine: dict[str, bytes]
    kept: dict[str, bytes]

    def has(self, body: bytes) -> bool:
        """Whether it is in the database or, whole, in a file."""
        return any(body in row.bodies for row in self.snapshots) or self.is_on_disk(body)

    def is_kept(self, content: bytes) -> bool:
        """Whether it is among what was stored before, for an older database to get it back."""
        return any(content in segment for segment in self.kept.values())

    def is_on_disk(self, body: bytes) -> bool:
        """Whether a file has it, whole."""
        return any(body in content for content in [*self.spool.values(), *self.quarantine.values()])


@dataclass(frozen=True)
class Site:
    """A state directory, and the URL of a database that has its schema."""

    state: Path
    url: str

    @property
    def file(self) -> Path | None:
        """That of SQLite."""
        return Path(self.url.removeprefix("sqlite:///")) if self.url.startswith("sqlite:") else None

    def look(self) -> Seen:
        """What is there now."""
        with closing(_Reader(self.url)) as reader:
            return _seen(self.state, reader.rows)

    def gaps(self) -> list[Gap]:
        """Account, first and last slot, reason."""
        found = rows(self.url, "SELECT account, gap_from, gap_to, reason FROM slot_gap")
        return [(name, _instant(first), _instant(last), reason) for name, first, last, reason in found]


class Sites:
    """Fresh state directories and databases, one after the other, in one directory."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url
        self.empty = directory / "empty.db"
        if url.startswith("sqlite:"):
            shutil.copyfile(url.removeprefix("sqlite:///"), self.empty)

    def fresh(self) -> Site:
        """One in which nothing has happened."""
        home = self.directory / "home"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        url = self.url
        if url.startswith("sqlite:"):
            url = f"sqlite:///{home / 'balances.db'}"
            shutil.copyfile(self.empty, home / "balances.db")
        else:
            rows(url, f"TRUNCATE {TABLES} RESTART IDENTITY")
        return Site(home / "state", url)


def _seen(state: Path, rows: Callable[[str], list[tuple[Any, ...]]]) -> Seen:
    amounts: dict[int, dict[str, str | None]] = {}
    for number, name, amount in rows(
        "SELECT snapshot_id, account_type, CAST(usdt_balance_exact AS text) FROM balance_history"
    ):
        amounts.setdefault(number, {})[name] = amount
    bodies: dict[int, list[bytes]] = {}
    for number, encoding, body in rows("SELECT snapshot_id, encoding, body FROM payload ORDER BY snapshot_id, seq"):
        bodies.setdefault(number, []).append(decode(encoding, bytes(body)))
    totals = dict(rows("SELECT snapshot_id, CAST(total_usdt_exact AS text) FROM equity"))
    snapshots = rows("SELECT s.id, a.name, slot_at, status FROM snapshot s JOIN account a ON a.id = account_id")
    failures = rows("SELECT a.name, slot_at, reason FROM failure f JOIN account a ON a.id = account_id")
    begins = rows("SELECT a.name, min(valid_from) FROM schedule s JOIN account a ON a.id = account_id GROUP BY 1")
    return Seen(
        snapshots=[
            Row(name, _instant(at), status, totals.get(number), amounts.get(number, {}), tuple(bodies[number]))
            for number, name, at, status in snapshots
        ],
        failures={(name, _instant(at)): reason for name, at, reason in failures},
        begins={name: _instant(at) for name, at in begins},
        known={name for (name,) in rows("SELECT name FROM account WHERE uid IS NOT NULL")},
        spool=_files(state / "spool"),
        quarantine=_files(state / "quarantine"),
        kept=_files(state / "stored"),
    )


def _instant(value: str | datetime) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


class _Reader:
    """The database, asked directly, by one connection."""

    def __init__(self, url: str) -> None:
        self._connection: Any = (
            sqlite3.connect(url.removeprefix("sqlite:///")) if url.startswith("sqlite:") else psycopg.connect(url)
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._connection.execute(sql).fetchall()
        return found

    def close(self) -> None:
        self._connection.close()


def _files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*")} if directory.is_dir() else {}
