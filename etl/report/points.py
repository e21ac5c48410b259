"""The curve of all snapshots, with fewer points where they are very many: every peak, trough and gap of it stays.

The reduction is M4 (Jugel and others, 2014): of each bucket of time, the first, lowest, highest and last snapshot, at
their own times. A gap within a bucket divides it, and each side keeps its four.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Final, NamedTuple

from etl.report.expected import Grid, expected
from etl.report.periods import Period
from etl.report.series import Series

MOST_POINTS: Final = 5_000
"""So many snapshots are all shown. Of more, there are so many buckets that they have about this number of points."""

MOST_PIECES: Final = 8
"""Into how many pieces gaps may divide a bucket. With more, its points stand alone, without a line between them."""

_SECOND = timedelta(seconds=1)
_DAY_SECONDS = 86_400
# Widths that a person can read, in seconds; then whole days.
_WIDTHS = (60, 300, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200)


class Point(NamedTuple):
    """A snapshot on the curve."""

    slot_at: datetime
    amount: Decimal


@dataclass(slots=True)
class Piece:
    """Neighbouring snapshots within a bucket; of a crowded bucket all, neighbours or not."""

    first: Point
    low: Point
    high: Point
    last: Point
    follows: bool
    """Whether the snapshot before its first is a neighbour."""
    is_crowded: bool = False

    def points(self) -> list[Point]:
        """The four, as far as they are different ones, in order of time."""
        return sorted({self.first, self.low, self.high, self.last})


class Curve:
    """Collects the snapshots of one line, and counts what was expected and is not there.

    Two snapshots are neighbours, so that a line may be drawn between them, where no expected slot lies between; where
    none was expected for a while, as in imported history, no whole period may lie between either. Totals of different
    accounts are no neighbours.
    """

    def __init__(
        self, grids: Sequence[Grid], periods: Sequence[Period], now: datetime, most: int = MOST_POINTS
    ) -> None:
        """``grids`` are in order of time; ``periods`` are those that are shown, at least one."""
        self._grids = [grid for grid in grids if grid.step is not None]
        self._beginnings = [grid.begins_at for grid in self._grids]
        self._ended = 0
        self._begins_at, self._ends_at = periods[0].begins_at, periods[-1].ends_at
        self._ends = [period.ends_at for period in periods]
        self._now = now
        self._most = most
        self.bucket_width = _width(self._ends_at - self._begins_at, most)
        self.began: Point | None = None
        """The first snapshot from which on the accounts are those of the last one."""
        self.has_changed_hands = False
        """Whether there were snapshots of other accounts before that."""
        self.missed = 0
        """Expected slots without a usable snapshot, so far."""
        self.gaps = 0
        """In how many stretches they lie."""
        self._all: list[tuple[Point, bool]] | None = []
        self._pieces: list[Piece] = []
        self._in_bucket = 0
        self._bucket_ends_at = self._begins_at
        # No point of each: five years of them are dear.
        self._last_at: datetime | None = None
        self._last_amount = Decimal(0)
        self._who: Collection[int] | None = None
        self._due: datetime | None = None
        self._step = _SECOND
        self._due_before = self._begins_at

    def add(self, slot_at: datetime, amount: Decimal, who: Collection[int]) -> None:
        """The next amount, in order of time. What lies before the first period or after the last is left out."""
        follows = True
        if slot_at == self._due and who is self._who:
            self._due = slot_at + self._step
            if self._due >= self._due_before:
                self._expect_after(slot_at)
        elif self._begins_at < slot_at <= self._ends_at:
            follows = self._follows(slot_at, who)
            self._expect_after(slot_at)
        else:
            return
        if self.began is None:
            self.began = Point(slot_at, amount)
        if slot_at >= self._bucket_ends_at:
            self._next_bucket(Point(slot_at, amount), follows=follows)
        else:
            piece = self._pieces[-1]
            if not follows and not piece.is_crowded:
                self._end_piece()
                piece = self._divide(Point(slot_at, amount))
            if amount > piece.high.amount:
                piece.high = Point(slot_at, amount)
            elif amount < piece.low.amount:
                piece.low = Point(slot_at, amount)
        self._last_at, self._last_amount = slot_at, amount
        if self._all is not None:
            self._all.append((Point(slot_at, amount), follows))
            if len(self._all) > self._most:
                self._all = None

    def end(self) -> None:
        """What is missing after the last snapshot counts too. To be called once."""
        self._end_piece()
        self._count(self._last_at or self._begins_at, self._ends_at)

    @property
    def last(self) -> Point | None:
        """The last snapshot."""
        return None if self._last_at is None else Point(self._last_at, self._last_amount)

    @property
    def is_reduced(self) -> bool:
        """Whether the points leave snapshots out."""
        return self._all is None

    def points(self) -> list[Point | None]:
        """In order of time, with None wherever no line may be drawn."""
        if self._all is not None:
            found = self._all
        else:
            found = [
                (point, not piece.is_crowded if number else piece.follows)
                for piece in self._pieces
                for number, point in enumerate(piece.points())
            ]
        points: list[Point | None] = []
        for point, follows in found:
            points += [point] if follows or not points else [None, point]
        return points

    def _follows(self, slot_at: datetime, who: Collection[int]) -> bool:
        """Whether the one before it is its neighbour; what is missing between them is counted."""
        before = self._last_at
        missed = self._count(before or self._begins_at, slot_at - _SECOND)
        if self._who != who:
            self.has_changed_hands = self._who is not None
            self._who, self.began = who, None
            return False
        if before is None or missed:
            return False
        return slot_at == self._due or bisect_left(self._ends, slot_at) - bisect_left(self._ends, before) <= 1

    def _count(self, after: datetime, until: datetime) -> int:
        # Of hundreds of accounts together there are very many grids, but few at a time.
        grids = self._grids[self._ended : bisect_right(self._beginnings, until)]
        missed = expected(grids, Period("", after, until), self._now) if after < until else 0
        self.missed += missed
        self.gaps += missed > 0
        return missed

    def _end_piece(self) -> None:
        if self._pieces and self._last_at is not None:
            self._pieces[-1].last = Point(self._last_at, self._last_amount)

    def _next_bucket(self, point: Point, *, follows: bool) -> None:
        self._end_piece()
        number = (point.slot_at - self._begins_at) // self.bucket_width
        self._bucket_ends_at = self._begins_at + (number + 1) * self.bucket_width
        self._in_bucket = 1
        self._pieces.append(Piece(point, point, point, point, follows))

    def _divide(self, point: Point) -> Piece:
        """A gap in the bucket: another piece of it, or, where it has too many already, all of it as one."""
        self._in_bucket += 1
        if self._in_bucket <= MOST_PIECES:
            self._pieces.append(Piece(point, point, point, point, follows=False))
        else:
            pieces = self._pieces[1 - self._in_bucket :]
            del self._pieces[2 - self._in_bucket :]
            first = pieces[0]
            first.low = min((piece.low for piece in pieces), key=lambda low: low.amount)
            first.high = max((piece.high for piece in pieces), key=lambda high: high.amount)
            first.is_crowded = True
        return self._pieces[-1]

    def _expect_after(self, slot_at: datetime) -> None:
        """Which slot is due next, and until when those after it follow in the same steps."""
        while self._ended < len(self._grids) and self._grids[self._ended].ends_at <= slot_at:
            self._ended += 1
        self._due = None
        for grid in islice(self._grids, self._ended, None):
            if self._due is not None and grid.begins_at > self._due:
                break
            due = Grid(grid.step, max(grid.begins_at, slot_at + _SECOND), grid.ends_at).first()
            if due < grid.ends_at and due <= self._ends_at and (self._due is None or due < self._due):
                self._due, self._step = due, timedelta(seconds=grid.step or 1)
                self._due_before = min(grid.ends_at, self._ends_at + _SECOND)


class Traced(Series):
    """A line of figures that keeps its curve too."""

    def __init__(self, periods: Sequence[Period], ends: Sequence[datetime], curve: Curve) -> None:
        super().__init__(periods, ends)
        self.curve = curve

    def add(self, slot_at: datetime, amount: Decimal, who: Collection[int], *, is_due: bool) -> None:
        """The next amount, in order of time, and whether it was expected."""
        super().add(slot_at, amount, who, is_due=is_due)
        self.curve.add(slot_at, amount, who)


def _width(span: timedelta, most: int) -> timedelta:
    """Of buckets with at most so many points in all."""
    seconds = span.total_seconds() / max(1, most // 4)
    readable = (width for width in _WIDTHS if seconds <= width)
    return timedelta(seconds=next(readable, -(-seconds // _DAY_SECONDS) * _DAY_SECONDS))
