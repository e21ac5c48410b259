"""Which slots were expected, of an account and of all together, and which accounts a total must have."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import lcm
from typing import NamedTuple

from etl.model import Schedule
from etl.report.periods import Period

_SECOND = timedelta(seconds=1)
_NEVER = datetime.max.replace(tzinfo=UTC, microsecond=0)


@dataclass(frozen=True, slots=True)
class Known:
    """An account as the history knows it: its schedules in order of time, the slots of its first and last snapshot.

    ``is_retired`` where a person has said that there is nothing more to come.
    """

    id: int
    name: str
    schedules: tuple[Schedule, ...]
    first_at: datetime | None = None
    last_at: datetime | None = None
    is_retired: bool = False

    def span(self, now: datetime) -> tuple[datetime, datetime] | None:
        """From its first slot to its last, or to now where it goes on; None where it has none."""
        grids = [(grid.first(), grid.last(now)) for grid in self.grids()]
        known = [(first, last) for first, last in grids if first <= last]
        if self.first_at is not None and self.last_at is not None:
            known.append((self.first_at, self.last_at))
        return (min(first for first, _ in known), max(last for _, last in known)) if known else None

    def grids(self) -> "list[Grid]":
        """What was expected."""
        return [Grid(s.interval_seconds, s.valid_from, s.valid_to or _NEVER) for s in self.schedules]

    def present(self) -> "list[Grid]":
        """When it was there: while it was expected, and as far as imported snapshots reach beyond that.

        One that was never expected, for all of it was imported, is there until it is retired: the next import may be
        late, and that must not look like a smaller total.
        """
        there = self.grids()
        if self.first_at is not None and self.last_at is not None:
            last = self.last_at + _SECOND if self.is_retired else _NEVER
            begins = there[0].begins_at if there else last
            ends = there[-1].ends_at if there else last
            if self.first_at < begins:
                there.insert(0, Grid(None, self.first_at, begins))
            if self.last_at >= ends:
                there.append(Grid(None, ends, self.last_at + _SECOND))
        return there


class Grid(NamedTuple):
    """Every multiple of ``step`` seconds from ``begins_at`` on and before ``ends_at``; none where the step is None."""

    step: int | None
    begins_at: datetime
    ends_at: datetime

    def first(self) -> datetime:
        """Its first slot."""
        step = self.step or 1
        return datetime.fromtimestamp(-(-_seconds(self.begins_at) // step) * step, UTC)

    def last(self, now: datetime) -> datetime:
        """Where it ends, or now."""
        return min(self.ends_at - _SECOND, now.replace(microsecond=0))

    def slots(self, period: Period, now: datetime) -> int:
        """How many of a period have begun."""
        if self.step is None or self.ends_at <= period.begins_at or self.begins_at > period.ends_at:
            return 0
        first = max(_seconds(self.begins_at), _seconds(period.begins_at) + 1)
        last = _seconds(min(self.ends_at - _SECOND, period.ends_at, now))
        return max(0, last // self.step - (first - 1) // self.step)


class Due:
    """Tells of one slot after another, in order of time, whether it was expected until now."""

    def __init__(self, grids: Iterable[Grid], now: datetime) -> None:
        """``grids`` are in order of time."""
        self._grids = [(grid.step, grid.begins_at, grid.last(now)) for grid in grids if grid.step is not None]
        self._number = 0
        self._next: datetime | None = None
        self._last = _NEVER
        self._step = _SECOND

    def has(self, slot_at: datetime) -> bool:
        """Whether it is one of a grid. Where slots follow in its steps, this costs next to nothing."""
        if slot_at == self._next and slot_at <= self._last:
            self._next = slot_at + self._step
            return True
        while self._number < len(self._grids) and self._grids[self._number][2] < slot_at:
            self._number += 1
        if self._number == len(self._grids):
            return False
        step, begins_at, last = self._grids[self._number]
        if slot_at < begins_at or _seconds(slot_at) % step:
            return False
        self._step = timedelta(seconds=step)
        self._next, self._last = slot_at + self._step, last
        return True


class Together(NamedTuple):
    """A span of time through which the same accounts are there, and the slots that all of them are expected in."""

    accounts: frozenset[int]
    grid: Grid


def together(accounts: Iterable[Known]) -> list[Together]:
    """The history cut wherever an account comes, goes, or changes its interval; without spans that nobody was in."""
    there = [(account.id, grid) for account in accounts for grid in account.present()]
    edges = sorted({edge for _, grid in there for edge in (grid.begins_at, grid.ends_at)})
    there.sort(key=lambda each: each[1].begins_at)
    spans: list[Together] = []
    entering, within = iter([*there, None]), list[tuple[int, Grid]]()
    coming = next(entering)
    for begins_at, ends_at in pairwise(edges):
        within = [each for each in within if each[1].ends_at > begins_at]
        while coming is not None and coming[1].begins_at <= begins_at:
            within.append(coming)
            coming = next(entering)
        if within:
            steps = [grid.step for _, grid in within if grid.step is not None]
            step = lcm(*steps) if len(steps) == len(within) else None
            spans.append(Together(frozenset(who for who, _ in within), Grid(step, begins_at, ends_at)))
    return spans


def expected(grids: Sequence[Grid], period: Period, now: datetime) -> int:
    """How many slots of a period were expected until now."""
    return sum(grid.slots(period, now) for grid in grids)


def _seconds(instant: datetime) -> int:
    return int(instant.timestamp())
