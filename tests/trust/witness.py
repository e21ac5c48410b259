"""What an exchange answered, and everything that the program left behind: what the invariants are asserted over."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from etl.db.payload import decode
from etl.sandbox.exchange import Answered, Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.rules import BALANCES
from tests.reading import rows

TABLES = ("account", "schedule", "snapshot", "balance", "failure", "payload", "annotation")
# Our clock and the sandbox's are the same; instants are kept in whole milliseconds, rounded down.
ROUNDING = 0.002


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole ``code: 0`` answer as the exchange sent it: to whom, when by its clock (Unix seconds), which bytes."""

    account: str
    at: float
    body: bytes

    def __str__(self) -> str:
        at = datetime.fromtimestamp(self.at, UTC).isoformat()
        return f"the answer to {self.account} at {at}: {self.body[:80]!r}…"


class Witness(Exchange):
    """A sandbox that keeps what it answered. What a fault replaced or cut is not an answer received whole."""

    def __init__(self, accounts: int = 1, seed: int = 0, now: Callable[[], float] = time.time, **options: Any) -> None:
        """As the sandbox, but without limits and without memory for signatures unless they are asked for."""
        super().__init__(accounts, seed, now, **{"limits": NO_LIMITS, "refuse_replays": False, **options})
        self._noting = Lock()
        self._answered: list[Answer] = []
        self._seen_signatures: set[str] = set()
        self._seen_keys: set[str] = set()

    @property
    def answered(self) -> tuple[Answer, ...]:
        """All of them, oldest first."""
        with self._noting:
            return tuple(self._answered)

    def forget_answers(self) -> None:
        """Whoever was answered has thrown everything away, and begins anew."""
        with self._noting:
            self._answered.clear()

    @property
    def secrets(self) -> frozenset[str]:
        """Every key and secret there is or was asked with, and every signature that arrived."""
        with self._noting:
            own = {text for account in self.accounts for text in (account.api_key, account.api_secret)}
            return frozenset(own | self._seen_keys | self._seen_signatures)

    def answer(self, method: str, target: str, api_key: str | None, address: str) -> Answered:
        """Judge one request, and note what is answered."""
        path, _, query = target.partition("?")
        at = self.now()
        account = next((each.name for each in self.accounts if each.api_key == api_key), None)
        answered = super().answer(method, target, api_key, address)
        with self._noting:
            self._seen_signatures.update(parse_qs(query).get("signature", ()))
            if api_key:
                self._seen_keys.add(api_key)
            if account and path == BALANCES and not answered.delivery and _is_success(answered.reply.body):
                self._answered.append(Answer(account, at, answered.reply.body))
        return answered


@dataclass(frozen=True, slots=True)
class Kept:
    """One snapshot as the database has it; ``exact`` are the digits of the view, by account type."""

    id: int
    account: str
    slot_at: float
    requested_at: float
    latency_ms: int
    status: str
    total: str | None
    exact: dict[str, str | None]
    bodies: tuple[bytes, ...]


class Left:
    """What the program has left behind, read when it is first asked for; make a new one after every run."""

    def __init__(self, state: Path, database_url: str) -> None:
        self.state = state
        self.database_url = database_url

    @cached_property
    def snapshots(self) -> list[Kept]:
        """Every measured snapshot. None where there is no schema yet."""
        if not self._has_schema:
            return []
        exact: dict[int, dict[str, str | None]] = {}
        for number, name, amount in self._rows(
            "SELECT snapshot_id, account_type, usdt_balance_exact FROM balance_history"
        ):
            exact.setdefault(number, {})[name] = _digits(amount)
        bodies: dict[int, list[bytes]] = {}
        for number, encoding, body in self._rows(
            "SELECT snapshot_id, encoding, body FROM payload ORDER BY snapshot_id, seq"
        ):
            bodies.setdefault(number, []).append(decode(encoding, bytes(body)))
        sql = (
            "SELECT s.id, a.name, s.slot_at, s.requested_at, s.latency_ms, s.status, e.total_usdt_exact"
            " FROM snapshot s JOIN account a ON a.id = s.account_id LEFT JOIN equity e ON e.snapshot_id = s.id"
            " WHERE s.provenance = 'measured' ORDER BY s.slot_at"
        )
        return [
            Kept(
                id=number,
                account=name,
                slot_at=_unix(slot_at),
                requested_at=_unix(requested_at),
                latency_ms=latency_ms,
                status=status,
                total=_digits(total),
                exact=exact.get(number, {}),
                bodies=tuple(bodies.get(number, ())),
            )
            for number, name, slot_at, requested_at, latency_ms, status, total in self._rows(sql)
        ]

    @cached_property
    def failures(self) -> dict[tuple[str, float], str]:
        """The reason by account and slot."""
        sql = "SELECT a.name, f.slot_at, f.reason FROM failure f JOIN account a ON a.id = f.account_id"
        found = self._rows(sql) if self._has_schema else []
        return {(name, _unix(slot_at)): reason for name, slot_at, reason in found}

    @cached_property
    def gaps(self) -> list[tuple[str, float, float, str | None]]:
        """Account, first and last slot, reason."""
        found = self._rows("SELECT account, gap_from, gap_to, reason FROM slot_gap") if self._has_schema else []
        return [(name, _unix(first), _unix(last), reason) for name, first, last, reason in found]

    @cached_property
    def schedules(self) -> list[tuple[str, int, float, float | None]]:
        """Account, interval, from, to (exclusive; None: still)."""
        sql = (
            "SELECT a.name, p.interval_seconds, p.valid_from, p.valid_to"
            " FROM schedule p JOIN account a ON a.id = p.account_id ORDER BY p.valid_from"
        )
        found = self._rows(sql) if self._has_schema else []
        return [(name, step, _unix(first), None if last is None else _unix(last)) for name, step, first, last in found]

    @cached_property
    def spool(self) -> dict[str, bytes]:
        """Every file in the spool, also those without their final name."""
        return _files(self.state / "spool")

    @cached_property
    def quarantine(self) -> dict[str, bytes]:
        """Every file in the quarantine, the notes included."""
        return _files(self.state / "quarantine")

    def everything(self) -> Iterator[tuple[str, bytes]]:
        """Every byte under the state directory and every row of the database, by the place where it is."""
        for path in self.state.rglob("*"):
            if path.is_file():
                yield str(path), path.name.encode() + path.read_bytes()
        if self._has_schema:
            for table in TABLES:
                yield table, repr(self._rows(f"SELECT * FROM {table}")).encode()
            for kept in self.snapshots:
                yield "payload", b"".join(kept.bodies)

    @cached_property
    def _has_schema(self) -> bool:
        if self.database_url.startswith("sqlite:///"):
            # Looking must not create the file.
            path = Path(self.database_url.removeprefix("sqlite:///"))
            there = path.is_file() and rows(self.database_url, "SELECT 1 FROM sqlite_schema WHERE name = 'slot_gap'")
        else:
            there = rows(self.database_url, "SELECT 1 FROM pg_views WHERE viewname = 'slot_gap'")
        return bool(there)

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return rows(self.database_url, sql)


def _is_success(body: bytes) -> bool:
    """Whether it says code 0, whatever else is wrong with it."""
    return body.lstrip().replace(b" ", b"").startswith(b'{"code":0,')


def _digits(amount: object) -> str | None:
    if amount is None:
        return None
    return format(amount, "f") if isinstance(amount, Decimal) else str(amount)


def _unix(instant: str | datetime) -> float:
    return (instant if isinstance(instant, datetime) else datetime.fromisoformat(instant)).timestamp()


def _files(directory: Path) -> dict[str, bytes]:
    found = {}
    for path in directory.glob("*") if directory.is_dir() else ():
        try:
            found[path.name] = path.read_bytes()
        except FileNotFoundError:
            continue  # taken by a program that still runs
    return found
