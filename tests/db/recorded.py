"""A history for the tests of what reads it, written row by row: none of the store's code is between."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import Connection, insert, select

from etl.db.engine import open_engine
from etl.db.schema import account, annotation, balance, failure, schedule, snapshot

START = datetime(2026, 1, 1, tzinfo=UTC)
Time: TypeAlias = str | datetime


def at(text: str) -> datetime:
    """``01-02 03:00`` of 2026, in UTC."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def _time(given: Time) -> datetime:
    return at(given) if isinstance(given, str) else given


class Recorded:
    """Rows of a history. Times are aware or in the form of :func:`at`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = open_engine(url)
        self._open: Connection | None = None

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """One transaction for all that is written inside: many are slow."""
        with self.database.write() as self._open:
            yield
        self._open = None

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        if self._open is not None:
            yield self._open
        else:
            with self.database.write() as connection:
                yield connection

    def account(self, name: str = "main", *schedules: tuple[int, Time, Time | None], **changes: Any) -> int:
        """An account with its schedules: seconds, from, to."""
        row = {"name": name, "environment": "live", "created_at": START} | changes
        with self._write() as connection:
            key: int = connection.execute(insert(account).values(row).returning(account.c.id)).scalar_one()
            for seconds, first, last in schedules:
                row = {"account_id": key, "interval_seconds": seconds, "valid_from": _time(first)}
                connection.execute(insert(schedule).values(row | {"valid_to": None if last is None else _time(last)}))
        return key

    def snapshot(
        self,
        slot: Time,
        total: str | None = "1",
        wallets: Mapping[str, str | None] | None = None,
        of: int = 1,
        **changes: Any,
    ) -> int:
        """A snapshot, partial where it has no total; its wallets only where a test means something by them."""
        slot_at = _time(slot)
        row = {
            "account_id": of,
            "slot_at": slot_at,
            "taken_at": slot_at,
            "requested_at": slot_at,
            "latency_ms": 1,
            "recorded_at": slot_at,
            "status": "partial" if total is None else "complete",
            "provenance": "measured",
            "total_usdt": None if total is None else Decimal(total),
            "attempts": 1,
        }
        with self._write() as connection:
            statement = insert(snapshot).values(row | changes).returning(snapshot.c.id)
            key: int = connection.execute(statement).scalar_one()
            for name, amount in (wallets or {}).items():
                wallet = {"snapshot_id": key, "account_type": name, "usdt_balance": amount and Decimal(amount)}
                connection.execute(insert(balance).values(wallet))
        return key

    def failure(self, slot: Time, reason: str = "unreachable", of: int = 1) -> None:
        """A failure."""
        slot_at = _time(slot)
        row = {"account_id": of, "slot_at": slot_at, "reason": reason, "detail": "", "attempts": 1}
        with self._write() as connection:
            connection.execute(insert(failure).values(row | {"first_at": slot_at, "last_at": slot_at}))

    def mark(self, snapshot_id: int, *kinds: str, text: str = "") -> None:
        """Annotations, in this order."""
        with self._write() as connection:
            for kind in kinds:
                row = {"snapshot_id": snapshot_id, "kind": kind, "text": text, "created_at": START}
                connection.execute(insert(annotation).values(row))

    def rows(self, view: Any, *columns: str) -> list[tuple[Any, ...]]:  # noqa: ANN401 - any selectable
        """These columns of a view, in order of themselves as far as they can be ordered."""
        names = [view.c[name] for name in columns] if columns else list(view.c)
        with self.database.read() as connection:
            return [tuple(row) for row in connection.execute(select(*names).order_by(*names[:2]))]
