"""Equity over time: snapshots in, the figures of periods out. Pure, but for the source that it asks for its pages."""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import partial, reduce
from typing import Final, NamedTuple, Protocol, TypedDict

from etl.report.expected import Due, Grid, Known, expected, together
from etl.report.periods import Every, Period, periods
from etl.report.points import Curve, Traced
from etl.report.series import EXACT, Figures, Series, change, percent

TOTAL: Final = ""
"""Among the amounts of a snapshot its total, where it stands for the account types: none of them is named so."""

EVERYBODY: Final = "(all)"
"""The name of all accounts together. No account can have it."""

COLUMNS: Final = (
    "account", "account_type", "period", "begins_at", "ends_at", "open_usdt", "high_usdt", "low_usdt", "close_usdt",
    "close_at", "change_usdt", "change_pct", "peak_usdt", "drawdown_usdt", "drawdown_pct", "snapshots", "expected",
    "coverage", "partial", "voided", "accounts",
)  # fmt: skip


class Seen(NamedTuple):
    """A snapshot: the amounts of its wallets, or its total as :data:`TOTAL`; None where it is partial."""

    account_id: int
    slot_at: datetime
    is_void: bool
    amounts: Mapping[str, Decimal] | None


class Source(Protocol):
    """Where the history is."""

    def accounts(self, name: str | None) -> list[Known]:
        """Every account by name, or the one of this name. Raises NoSuchAccount."""

    def pages(self, accounts: Sequence[Known], until: datetime, *, by_type: bool) -> Iterator[list[Seen]]:
        """Their snapshots up to a time, inclusive, in spans of time one after another; in each by account and slot."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: the periods that reach into the time after ``since`` and before ``until``; each one whole."""

    every: Every = Every.DAY
    zone: tzinfo = UTC
    by_type: bool = False
    account: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Row(TypedDict):
    """A period of an account, of one of its wallets, or of all accounts. Amounts are in USDT and exact.

    What rests on no snapshot is None. ``account_type`` is None for a total. ``change_…`` is measured from the close of
    the period before; ``drawdown_…`` from the highest snapshot ever until the close, to the close. Percentages have
    :data:`PERCENT_PLACES` decimals. ``coverage`` is the share of expected slots with a usable snapshot; ``snapshots``
    are all usable ones. ``partial`` and ``voided`` ones take no part in any figure. ``accounts`` is of how many the
    close is made.
    """

    account: str
    account_type: str | None
    period: str
    begins_at: datetime
    ends_at: datetime
    open_usdt: Decimal | None
    high_usdt: Decimal | None
    low_usdt: Decimal | None
    close_usdt: Decimal | None
    close_at: datetime | None
    change_usdt: Decimal | None
    change_pct: Decimal | None
    peak_usdt: Decimal | None
    drawdown_usdt: Decimal | None
    drawdown_pct: Decimal | None
    snapshots: int
    expected: int
    coverage: float | None
    partial: int
    voided: int
    accounts: int | None


class Report(NamedTuple):
    """The rows, by account, account type and time, those of all together last; how many snapshots took no part.

    ``curves`` are those of the totals, by account.
    """

    rows: list[Row]
    partial: int
    voided: int
    curves: Mapping[str, Curve] = {}


def report(source: Source, asked: Question, now: datetime, progress: Callable[[float], None] | None = None) -> Report:
    """The answer to a question. ``progress`` is told the share that is read, from 0 to 1.

    All of the history before ``since`` is read too: the peak that a drawdown is measured from may be there.
    """
    [found] = reports(source, asked, [asked.every], now, progress)
    return found


def reports(
    source: Source,
    asked: Question,
    everies: Sequence[Every],
    now: datetime,
    progress: Callable[[float], None] | None = None,
    *,
    points: int = 0,
) -> list[Report]:
    """The same question with periods of each of these lengths; the history is read once.

    With ``points``, the first has curves, each of about so many.
    """
    spans = {known: span for known in source.accounts(asked.account) if (span := known.span(now)) is not None}
    if not spans:
        return [Report([], 0, 0) for _ in everies]
    first, last = min(first for first, _ in spans.values()), max(last for _, last in spans.values())
    end = last if asked.until is None else min(last, asked.until)
    calendars = [periods(every, asked.zone, first, end) for every in everies]
    if not calendars[0]:
        return [Report([], 0, 0) for _ in everies]
    books = [_Book(list(spans), calendar, now, by_type=asked.by_type) for calendar in calendars]
    if points:
        books[0].trace(spans, asked.since, now, points)
    until = max(calendar[-1].ends_at for calendar in calendars if calendar)
    for page in source.pages(list(spans), until, by_type=asked.by_type):
        for book in books:
            book.add(page)
        if progress is not None and page:
            progress((page[-1].slot_at - first) / max(until - first, until.resolution))
    return [book.report(spans, asked.since, now) for book in books]


class _Book:
    """All lines of figures, and what was left out of them."""

    def __init__(self, accounts: Sequence[Known], calendar: Sequence[Period], now: datetime, *, by_type: bool) -> None:
        self._calendar = calendar
        self._ends = [period.ends_at for period in calendar]
        self._by_type = by_type
        self._of: dict[int, defaultdict[str, Series]] = {
            known.id: defaultdict(partial(self._line, known.name)) for known in accounts
        }
        self._alone = {known.id: frozenset((known.id,)) for known in accounts}
        self._due = {known.id: Due(known.grids(), now) for known in accounts}
        self._all: defaultdict[str, Series] = defaultdict(partial(self._line, EVERYBODY))
        self._curves: dict[str, Curve] = {}
        self._spans = together(accounts) if len(accounts) > 1 else []
        self._span = 0
        self._due_of_all = Due([span.grid for span in self._spans], now)
        self._partial: Counter[tuple[int, int]] = Counter()
        self._voided: Counter[tuple[int, int]] = Counter()

    def _line(self, name: str) -> Series:
        curve = self._curves.get(name)
        return Traced(self._calendar, self._ends, curve) if curve else Series(self._calendar, self._ends)

    def trace(self, accounts: Iterable[Known], since: datetime | None, now: datetime, points: int) -> None:
        """Keep the curves of the totals too, from ``since`` on. To be called before anything is added."""
        if shown := self._calendar[self._begin(since) :]:
            self._curves = {known.name: Curve(known.grids(), shown, now, points) for known in accounts}
            if self._spans:
                self._curves[EVERYBODY] = Curve([span.grid for span in self._spans], shown, now, points)

    def _begin(self, since: datetime | None) -> int:
        return 0 if since is None else bisect_right(self._ends, since)

    def add(self, page: Sequence[Seen]) -> None:
        """The snapshots of the next span of time."""
        slots: defaultdict[datetime, dict[int, Mapping[str, Decimal]]] = defaultdict(dict)
        for account_id, slot_at, is_void, amounts in page:
            if is_void or amounts is None:
                left_out = self._voided if is_void else self._partial
                left_out[account_id, bisect_left(self._ends, slot_at)] += 1
                continue
            lines, who = self._of[account_id], self._alone[account_id]
            is_due = self._due[account_id].has(slot_at)
            for key, amount in amounts.items():
                lines[key].add(slot_at, amount, who, is_due=is_due)
            if self._spans and amounts:
                slots[slot_at][account_id] = amounts
        for slot_at in sorted(slots):
            self._add_together(slot_at, slots[slot_at])

    def _add_together(self, slot_at: datetime, there: Mapping[int, Mapping[str, Decimal]]) -> None:
        """A slot counts for all together where every account that was there then has a usable snapshot of it."""
        while self._span < len(self._spans) - 1 and self._spans[self._span].grid.ends_at <= slot_at:
            self._span += 1
        span = self._spans[self._span]
        needed = span.accounts if span.grid.begins_at <= slot_at < span.grid.ends_at else frozenset[int]()
        if not needed <= there.keys():
            return
        who = needed if len(needed) == len(there) else frozenset(there)
        is_due = self._due_of_all.has(slot_at)
        for key in dict.fromkeys(key for amounts in there.values() for key in amounts):
            amounts = (each[key] for each in there.values() if key in each)
            self._all[key].add(slot_at, reduce(EXACT.add, amounts), who, is_due=is_due)

    def report(self, spans: Mapping[Known, tuple[datetime, datetime]], since: datetime | None, now: datetime) -> Report:
        """The rows of the periods that reach beyond ``since``."""
        begin = self._begin(since)
        parts = [
            _Part(known.name, self._of[known.id], {known.id}, span, known.grids()) for known, span in spans.items()
        ]
        if self._spans:
            whole = min(first for first, _ in spans.values()), max(last for _, last in spans.values())
            grids = [span.grid for span in self._spans]
            parts.append(_Part(EVERYBODY, self._all, {known.id for known in spans}, whole, grids))
        lacking, voided = (
            sum(count for (_, number), count in left_out.items() if begin <= number < len(self._ends))
            for left_out in (self._partial, self._voided)
        )
        for curve in self._curves.values():
            curve.end()
        rows = [row for part in parts for row in self._rows(part, begin, now)]
        return Report(rows, lacking, voided, self._curves)

    def _rows(self, part: "_Part", begin: int, now: datetime) -> Iterator[Row]:
        first, last = (bisect_left(self._ends, instant) for instant in part.span)
        numbers = range(max(first, begin), min(last + 1, len(self._ends)))
        plain: dict[int, Row] = {}
        for number in numbers:
            row = _empty(part.name, self._calendar[number])
            row["expected"] = expected(part.grids, self._calendar[number], now)
            row["partial"] = sum(self._partial[who, number] for who in part.accounts)
            row["voided"] = sum(self._voided[who, number] for who in part.accounts)
            plain[number] = row
        for key in sorted(part.lines) if self._by_type else [TOTAL]:
            figures = part.lines[key].figures if key in part.lines else {}
            # A wallet begins where it is first named; before, there was nothing to miss.
            for number in numbers[bisect_left(numbers, next(iter(figures))) :] if key else numbers:
                yield _filled(plain[number], key or None, figures, number)


class _Part(NamedTuple):
    """What rows are made of: of an account, or of all."""

    name: str
    lines: Mapping[str, Series]
    accounts: Collection[int]
    span: tuple[datetime, datetime]
    grids: Sequence[Grid]


def _filled(empty: Row, account_type: str | None, figures: Mapping[int, Figures], number: int) -> Row:
    row = empty.copy()
    row["account_type"] = account_type
    row["change_usdt"], row["change_pct"] = change(figures, number)
    if (now := figures.get(number)) is not None:
        row["open_usdt"], row["high_usdt"], row["low_usdt"], row["close_usdt"] = now.open, now.high, now.low, now.close
        row["close_at"] = now.close_at
        row["peak_usdt"] = now.peak
        row["drawdown_usdt"] = EXACT.subtract(now.close, now.peak)
        row["drawdown_pct"] = percent(now.close, now.peak)
        row["snapshots"] = now.snapshots
        row["accounts"] = len(now.who)
    if row["expected"]:
        row["coverage"] = now.covered / row["expected"] if now else 0.0
    return row


def _empty(account: str, period: Period) -> Row:
    return Row(
        account=account,
        account_type=None,
        period=period.name,
        begins_at=period.begins_at,
        ends_at=period.ends_at,
        open_usdt=None,
        high_usdt=None,
        low_usdt=None,
        close_usdt=None,
        close_at=None,
        change_usdt=None,
        change_pct=None,
        peak_usdt=None,
        drawdown_usdt=None,
        drawdown_pct=None,
        snapshots=0,
        expected=0,
        coverage=None,
        partial=0,
        voided=0,
        accounts=None,
    )
