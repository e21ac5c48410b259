"""A model of the report: every definition as it is said, hour by hour, without a thought for speed."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact
from fractions import Fraction
from typing import Any, NamedTuple

from etl.report.equity import EVERYBODY, Question
from etl.report.expected import Known
from etl.report.periods import Every

EXACT = Context(prec=3000, traps=[Inexact])
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


class Snap(NamedTuple):
    """A snapshot, partial where it has no wallets at all."""

    account: int
    slot_at: datetime
    wallets: dict[str, Decimal] | None
    is_void: bool

    @property
    def total(self) -> Decimal:
        """Their exact sum."""
        found = Decimal(0)
        for amount in (self.wallets or {}).values():
            found = EXACT.add(found, amount)
        return found


class Point(NamedTuple):
    """An amount, and of whom it is."""

    slot_at: datetime
    amount: Decimal
    who: frozenset[int]


def plain_rows(
    accounts: Sequence[Known], snaps: Sequence[Snap], asked: Question, now: datetime
) -> list[dict[str, Any]]:
    """The rows of a report on a history that has nothing but whole hours, and schedules with edges at half hours."""
    spans = {known.id: span for known in accounts if (span := _span(known, now)) is not None}
    if not spans:
        return []
    accounts = [known for known in accounts if known.id in spans]
    parts: list[tuple[str, list[Known], tuple[datetime, datetime]]] = [
        (known.name, [known], spans[known.id]) for known in accounts
    ]
    if len(accounts) > 1:
        whole = min(first for first, _ in spans.values()), max(last for _, last in spans.values())
        parts.append((EVERYBODY, accounts, whole))
    rows: list[dict[str, Any]] = []
    for name, members, (first, last) in parts:
        ticks = _ticks(first, last)
        labels = list(dict.fromkeys(_label(tick, asked) for tick in ticks))
        types = sorted({kind for s in snaps if s.account in {m.id for m in members} for kind in s.wallets or {}})
        for kind in types if asked.by_type else [None]:
            points = _points(members, snaps, kind, by_type=asked.by_type)
            begun = [_label(point.slot_at, asked) for point in points]
            for label in labels:
                if asked.by_type and (not begun or label < begun[0]):
                    continue
                row = _row((name, kind), label, labels, points, asked)
                begins_at, ends_at = row["begins_at"], row["ends_at"]
                if (asked.since and ends_at <= asked.since) or (asked.until and begins_at >= asked.until):
                    continue
                due = sum(
                    begins_at < t <= ends_at and t <= now and _is_due(members, t) for t in _ticks(begins_at, ends_at)
                )
                row["expected"] = due
                covered = [p for p in points if begins_at < p.slot_at <= ends_at and p.slot_at <= now]
                row["coverage"] = sum(_is_due(members, p.slot_at) for p in covered) / due if due else None
                of_members = [
                    s for s in snaps if s.account in {m.id for m in members} and begins_at < s.slot_at <= ends_at
                ]
                row["voided"] = sum(s.is_void for s in of_members)
                row["partial"] = sum(not s.is_void and s.wallets is None for s in of_members)
                rows.append(row)
    return rows


def _row(
    names: tuple[str, str | None], label: str, labels: Sequence[str], points: Sequence[Point], asked: Question
) -> dict[str, Any]:
    def of(wanted: str) -> list[Point]:
        return [point for point in points if _label(point.slot_at, asked) == wanted]

    within = of(label)
    close = within[-1] if within else None
    same = _of_the_same(within)
    so_far = _of_the_same([point for point in points if close and point.slot_at <= close.slot_at])
    place = labels.index(label)
    before = of(labels[place - 1]) if place else []
    is_comparable = close is not None and bool(before) and before[-1].who == close.who
    peak = _peak(so_far)
    begins_at, ends_at = _edges(label, asked)

    def pick(choose: Callable[[Sequence[Decimal]], Decimal]) -> Decimal | None:
        return choose([point.amount for point in same]) if same else None

    return {
        "account": names[0],
        "account_type": names[1],
        "period": label,
        "begins_at": begins_at,
        "ends_at": ends_at,
        "open_usdt": pick(lambda amounts: amounts[0]),
        "high_usdt": pick(max),
        "low_usdt": pick(min),
        "close_usdt": close and close.amount,
        "close_at": close and close.slot_at,
        "change_usdt": EXACT.subtract(close.amount, before[-1].amount) if close and is_comparable else None,
        "change_pct": _percent(close.amount, before[-1].amount) if close and is_comparable else None,
        "peak_usdt": peak,
        "drawdown_usdt": EXACT.subtract(close.amount, peak) if close and peak is not None else None,
        "drawdown_pct": _percent(close.amount, peak) if close and peak is not None else None,
        "snapshots": len(within),
        "accounts": close and len(close.who),
    }


def _peak(points: Sequence[Point]) -> Decimal | None:
    return max((point.amount for point in points), default=None)


def _of_the_same(points: Sequence[Point]) -> list[Point]:
    """The last ones, as far back as they are of the same accounts."""
    found: list[Point] = []
    for point in reversed(points):
        if point.who != points[-1].who:
            break
        found.insert(0, point)
    return found


def _percent(new: Decimal, base: Decimal) -> Decimal | None:
    if base <= 0:
        return None
    return Decimal(round(Fraction(EXACT.subtract(new, base)) / Fraction(base) * 1_000_000)) / 10_000


def _points(members: Sequence[Known], snaps: Sequence[Snap], kind: str | None, *, by_type: bool) -> list[Point]:
    found = []
    for slot_at in sorted({s.slot_at for s in snaps}):
        there = {
            s.account: s.wallets
            for s in snaps
            if s.slot_at == slot_at and s.wallets is not None and not s.is_void and s.account in {m.id for m in members}
            if s.wallets or not by_type
        }
        totals = {s.account: s.total for s in snaps if s.slot_at == slot_at}
        amounts = [w[kind] for w in there.values() if kind in w] if kind else [totals[account] for account in there]
        if amounts and all(member.id in there for member in members if _is_there(member, slot_at)):
            total = Decimal(0)
            for amount in amounts:
                total = EXACT.add(total, amount)
            found.append(Point(slot_at, total, frozenset(there)))
    return found


def _is_there(known: Known, instant: datetime) -> bool:
    """While it was expected; also from its first snapshot until then, and after that until its last one.

    Where nothing was ever expected, until it is retired, and then until its last one.
    """
    if any(s.valid_from <= instant and (s.valid_to is None or instant < s.valid_to) for s in known.schedules):
        return True
    if known.first_at is None or known.last_at is None:
        return False
    if known.schedules and instant < min(s.valid_from for s in known.schedules):
        return known.first_at <= instant
    if not known.schedules and not known.is_retired:
        return known.first_at <= instant
    is_over = all(s.valid_to is not None and instant >= s.valid_to for s in known.schedules)
    return is_over and (bool(known.schedules) or known.first_at <= instant) and instant <= known.last_at


def _is_due(members: Sequence[Known], instant: datetime) -> bool:
    there = [member for member in members if _is_there(member, instant)]
    return bool(there) and all(
        any(
            s.valid_from <= instant
            and (s.valid_to is None or instant < s.valid_to)
            and instant.timestamp() % s.interval_seconds == 0
            for s in member.schedules
        )
        for member in there
    )


def _span(known: Known, now: datetime) -> tuple[datetime, datetime] | None:
    instants = [i for i in (known.first_at, known.last_at) if i is not None]
    for s in known.schedules:
        first = s.valid_from
        while first.timestamp() % s.interval_seconds:
            first += HOUR / 2
        last = min(now, s.valid_to - SECOND) if s.valid_to else now
        if first <= last:
            instants += [first, last]
    return (min(instants), max(instants)) if instants else None


def _ticks(first: datetime, last: datetime) -> list[datetime]:
    """Every half hour within, and both ends."""
    found = [first]
    tick = first.replace(minute=0, second=0)
    while (tick := tick + HOUR / 2) < last:
        if tick > first:
            found.append(tick)
    return [*found, last] if last > first else found


def _label(instant: datetime, asked: Question) -> str:
    form = {Every.DAY: "%Y-%m-%d", Every.WEEK: "%G-W%V", Every.MONTH: "%Y-%m"}[asked.every]
    return (instant - SECOND).astimezone(asked.zone).strftime(form)


def _edges(label: str, asked: Question) -> tuple[datetime, datetime]:
    """Its two midnights. None of the zones of the tests changes its clocks at midnight."""
    zone = asked.zone
    form, first_of = {
        Every.DAY: ("%Y-%m-%d", label),
        Every.WEEK: ("%G-W%V-%u", f"{label}-1"),
        Every.MONTH: ("%Y-%m-%d", f"{label}-01"),
    }[asked.every]
    first = datetime.strptime(first_of, form).replace(tzinfo=zone)
    if asked.every is Every.MONTH:
        following = (first + timedelta(days=31)).replace(day=1)
    else:
        following = first + timedelta(days=7 if asked.every is Every.WEEK else 1)
    return first.astimezone(UTC), following.astimezone(UTC)
