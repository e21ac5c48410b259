"""What comes from a file, as snapshots that a history can take. Pure decisions on values: no file, no database.

Everything is refused with the number of its line, by NotUnderstood, and no refusal quotes an amount.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeVar

from etl.grid import slot_of
from etl.load.judge import exact_sum
from etl.model import ACCOUNT_NAME, Balance, Environment, Provenance, Schedule, Snapshot, Status
from etl.transfer.portable import Line, at_line

W = TypeVar("W", bound=StrEnum)

EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)
"""There was no USDT before; a time like that is a number or a short year that was taken for a date."""

SKEW: Final = timedelta(minutes=1)
LONGEST_AMOUNT: Final = 110
"""Characters. BingX's amounts have a hundred digits at most, and a sum of them as many on each side of the point."""

LONGEST_TOTAL: Final = 250
LONGEST_TYPE: Final = 255
LONGEST_TEXT: Final = 10_000

_AMOUNT: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_INSTANT: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?Z")
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A snapshot of a file, and the line with which it begins.

    ``environment`` is None where the file does not say; ``voided`` is why it is marked as wrong, None where it is not.
    """

    line: int
    snapshot: Snapshot
    environment: Environment | None = None
    voided: str | None = None


def parse_amount(text: str, line: int, longest: int = LONGEST_AMOUNT) -> Decimal:
    """An amount with its digits, minus zero as zero. NotUnderstood for what is no plain decimal number."""
    if len(text) > longest or not _AMOUNT.fullmatch(text):
        raise at_line(line, "an amount that is no plain decimal number, such as 1234.50")
    amount = Decimal(text)
    return amount.copy_abs() if amount.is_zero() else amount


def check_moment(moment: datetime, now: datetime, line: int) -> None:
    """NotUnderstood for a time that nobody can have measured anything at."""
    if moment < EARLIEST:
        raise at_line(line, f"{moment:%Y-%m-%d} is before {EARLIEST:%Y}, when there was no USDT")
    if moment > now + SKEW:
        raise at_line(line, f"{moment:%Y-%m-%d %H:%M} UTC is in the future")


def total_only(account: str, moment: datetime, total: Decimal) -> Snapshot:
    """What a person once wrote down: a total at a moment, of wallets that nobody knows."""
    moment = moment.astimezone(UTC)
    return Snapshot(
        account=account,
        slot_at=moment.replace(microsecond=0),
        taken_at=moment,
        requested_at=None,
        latency_ms=None,
        status=Status.COMPLETE,
        reason=None,
        provenance=Provenance.IMPORTED,
        total=total,
        attempts=0,
        balances=(),
    )


def placed(snapshot: Snapshot, schedules: Sequence[Schedule]) -> Snapshot:
    """The snapshot in the slot that was expected at its time; as it is where none was.

    Between two slots of a schedule it would stand beside what was measured, in the same high, low and close.
    """
    for schedule in schedules:
        slot_at = slot_of(snapshot.slot_at, schedule.interval_seconds)
        if schedule.valid_from <= slot_at and (schedule.valid_to is None or slot_at < schedule.valid_to):
            return snapshot if slot_at == snapshot.slot_at else replace(snapshot, slot_at=slot_at)
    return snapshot


# --- the lines of an export -----------------------------------------------------------------------------------------


def assemble(lines: Iterable[tuple[int, Line]], now: datetime) -> Iterator[Incoming]:
    """The snapshots of an export of ours. Their lines stand together, and those of an account are in order of slots."""
    reader = _Reader(now)
    group: list[tuple[int, Line]] = []
    key: object = None
    for number, line in lines:
        if (line.account, line.slot_at) != key:
            if group:
                yield reader.snapshot(group)
            group, key = [], (line.account, line.slot_at)
        group.append((number, line))
    if group:
        yield reader.snapshot(group)


class _Reader:
    """What has to be known of the lines before."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self._last: dict[str, datetime] = {}
        self._environments: dict[str, Environment] = {}

    def snapshot(self, group: Sequence[tuple[int, Line]]) -> Incoming:
        """One snapshot of all of its lines."""
        number, first = group[0]
        account, environment = self._account(number, first)
        slot_at = self._instant(number, "slot_at", first.slot_at)
        if slot_at.microsecond:
            raise at_line(number, "slot_at is a whole second")
        if account in self._last and slot_at <= self._last[account]:
            raise at_line(
                number,
                f"{account} has a later or the same slot before this line: keep lines in the order of the export",
            )
        self._last[account] = slot_at
        _one_of(number, "provenance", Provenance, first.provenance)
        status = _one_of(number, "status", Status, first.status)
        taken_at = self._instant(number, "taken_at", first.taken_at)
        balances, total = _balances(group, status)
        return Incoming(
            number,
            Snapshot(
                account=account,
                slot_at=slot_at,
                taken_at=taken_at,
                requested_at=None,
                latency_ms=None,
                status=status,
                reason=_text(number, "reason", first.reason),
                provenance=Provenance.IMPORTED,
                total=total,
                attempts=0,
                balances=balances,
            ),
            environment,
            _text(number, "voided", first.voided),
        )

    def _account(self, number: int, line: Line) -> tuple[str, Environment]:
        if not ACCOUNT_NAME.fullmatch(line.account or ""):
            raise at_line(number, "no account name: at most 64 letters, digits, dots, dashes and underscores")
        account = str(line.account)
        environment = _one_of(number, "environment", Environment, line.environment)
        if self._environments.setdefault(account, environment) != environment:
            raise at_line(number, f"{account} is of another environment here than before")
        return account, environment

    def _instant(self, number: int, name: str, text: str | None) -> datetime:
        try:
            moment = datetime.fromisoformat(text or "") if _INSTANT.fullmatch(text or "") else None
        except ValueError:
            moment = None
        if moment is None:
            raise at_line(number, f"{name} is no time, such as 2026-12-31 23:55:00")
        check_moment(moment, self._now, number)
        return moment


def _balances(group: Sequence[tuple[int, Line]], status: Status) -> tuple[tuple[Balance, ...], Decimal | None]:
    """The wallets of a snapshot and its total, of which each line has a copy."""
    number, first = group[0]
    found: dict[str, Balance] = {}
    for at, line in group:
        if _shared(line) != _shared(first):
            raise at_line(at, f"it contradicts line {number}, which is of the same snapshot")
        if line.account_type is None:
            if len(group) > 1 or line.usdt_balance is not None or line.raw_type is not None:
                raise at_line(at, "an account type is missing")
            break
        balance = Balance(
            _type(at, line.account_type),
            None if line.usdt_balance is None else parse_amount(line.usdt_balance, at),
            None if line.raw_type is None else _type(at, line.raw_type),
        )
        if balance.raw_type == balance.account_type:
            raise at_line(at, "raw_type is empty where it is the same as account_type")
        if found.setdefault(balance.account_type, balance) is not balance:
            raise at_line(at, "the same account type twice in one snapshot")
    balances = tuple(found.values())
    if status is Status.PARTIAL:
        if first.total_usdt is not None:
            raise at_line(number, "a partial snapshot has no total")
        return balances, None
    if first.total_usdt is None or any(balance.amount is None for balance in balances):
        raise at_line(number, "a complete snapshot has a total, and each of its wallets an amount")
    total = parse_amount(first.total_usdt, number, LONGEST_TOTAL)
    if balances and exact_sum(balances) != total:
        raise at_line(number, "the wallets do not add up to total_usdt: lines or digits are missing")
    return balances, total


def _shared(line: Line) -> tuple[str | None, ...]:
    """What is the same on all lines of a snapshot."""
    return (*line[:3], *line[5:10], line.environment)


def _type(number: int, text: str) -> str:
    if len(text) > LONGEST_TYPE or not text.strip() or not text.isprintable():
        raise at_line(number, "an account type that is no name")
    return text


def _text(number: int, name: str, text: str | None) -> str | None:
    if text is not None and (len(text) > LONGEST_TEXT or _UNSTORABLE.search(text)):
        raise at_line(number, f"{name} is no text that a database keeps")
    return text


def _one_of(number: int, name: str, words: type[W], text: str | None) -> W:
    try:
        return words(text or "")
    except ValueError:
        raise at_line(number, f"{name} is none of: {', '.join(words)}") from None
