"""The curve with fewer points, against the whole series: no peak, trough or gap of it may be lost."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from etl.report.expected import Grid
from etl.report.periods import Every, periods
from etl.report.points import MOST_PIECES, Curve, Point

START = datetime(2026, 3, 1, tzinfo=UTC)
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)
NEVER = START + 400 * DAY
ME, ALL = frozenset({1}), frozenset({1, 2})


def at(hours: float) -> datetime:
    return START + HOUR * hours


def point(hours: float, amount: str) -> Point:
    return Point(at(hours), Decimal(amount))


def drawn(
    series: Sequence[Point],
    grids: Sequence[Grid] = (Grid(3600, START, NEVER),),
    days: int = 10,
    most: int = 5000,
    now: datetime = NEVER,
) -> Curve:
    curve = Curve(grids, periods(Every.DAY, UTC, at(1), START + days * DAY), now, most)
    for each in series:
        curve.add(*each, ME)
    curve.end()
    return curve


def test_a_missing_slot_interrupts_the_line_and_is_counted() -> None:
    series = [point(1, "10"), point(2, "11"), point(5, "12"), point(6, "9")]
    curve = drawn(series, days=1, now=at(8.5))
    assert curve.points() == [*series[:2], None, *series[2:]]
    assert (curve.missed, curve.gaps) == (4, 2), "3 and 4, 7 and 8"
    assert (curve.began, curve.last, curve.is_reduced) == (series[0], series[-1], False)


def test_a_schedule_with_longer_steps_is_no_gap_and_one_with_shorter_steps_finds_more() -> None:
    grids = [Grid(3600, START, at(4)), Grid(7200, at(4), at(9)), Grid(1800, at(9), NEVER)]
    series = [point(hours, "1") for hours in (1, 2, 3, 4, 6, 8, 9, 9.5, 10, 11)]
    curve = drawn(series, grids, days=1, now=at(11))
    assert curve.points() == [*series[:9], None, series[9]]
    assert (curve.missed, curve.gaps) == (1, 1)


def test_imported_history_is_joined_from_period_to_period_and_no_further() -> None:
    series = [point(hours, "1") for hours in (1, 5, 30, 80)]
    curve = drawn(series, grids=())
    assert curve.points() == [*series[:3], None, series[3]]
    assert (curve.missed, curve.gaps) == (0, 0)


def test_totals_of_other_accounts_are_not_joined() -> None:
    curve = Curve([Grid(3600, START, NEVER)], periods(Every.DAY, UTC, at(1), at(20)), at(4))
    series = [point(1, "1"), point(2, "2"), point(3, "30"), point(4, "31")]
    for each, who in zip(series, (ME, ME, ALL, frozenset(ALL)), strict=True):
        curve.add(*each, who)
    curve.end()
    assert curve.points() == [*series[:2], None, *series[2:]]
    assert (curve.began, curve.has_changed_hands, curve.missed) == (series[2], True, 0)


def test_nothing_but_the_periods_that_are_shown_is_on_it() -> None:
    shown = periods(Every.DAY, UTC, at(25), at(48))
    curve = Curve([Grid(3600, START, NEVER)], shown, NEVER)
    for hours in range(1, 80):
        curve.add(*point(hours, "1"), ME)
    curve.end()
    assert [each.slot_at for each in curve.points() if each] == [at(hours) for hours in range(25, 49)]
    assert (curve.missed, curve.began) == (0, point(25, "1"))


def test_a_bucket_with_very_many_gaps_keeps_its_extremes_and_draws_no_line() -> None:
    series = [point(hours, str(amount)) for hours, amount in zip(range(1, 200, 2), [5, 9, 1, 6] * 25, strict=True)]
    curve = drawn(series, days=9, most=8)
    assert curve.is_reduced
    points = curve.points()
    assert all(one is None or other is None for one, other in pairwise(points))
    kept = [each for each in points if each]
    assert {each.amount for each in kept} >= {Decimal(1), Decimal(9)}
    assert (kept[0], kept[-1], len(kept)) == (series[0], series[-1], 8)


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Grid], list[Point]]:
    """Up to six days, with schedules that change or end, holes, and here and there something between the slots."""
    edges = sorted(draw(st.sets(st.integers(1, 140), min_size=2, max_size=4)))
    steps = draw(st.lists(st.sampled_from([3600, 7200, 14_400, 1800, None]), min_size=3, max_size=3))
    grids = [Grid(step, at(a), at(b)) for step, (a, b) in zip(steps, pairwise(edges), strict=False)]
    slots = draw(st.sets(st.integers(1, 144), max_size=120).map(lambda hours: {at(each) for each in hours}))
    if draw(st.booleans()):
        slots = {at(each) for each in range(1, 145)} - slots
    slots |= {at(each / 4) for each in draw(st.sets(st.integers(1, 570), max_size=6))}
    amounts = st.integers(-20, 20).map(Decimal)
    return grids, [Point(slot_at, draw(amounts)) for slot_at in sorted(slots)]


def expected_slots(grids: Sequence[Grid], until: datetime) -> set[datetime]:
    quarters = (START + QUARTER * number for number in range(1, int((until - START) / QUARTER) + 1))
    steps = [grid for grid in grids if grid.step]
    return {
        each
        for each in quarters
        if any(grid.begins_at <= each < grid.ends_at and each.timestamp() % (grid.step or 1) == 0 for grid in steps)
    }


def are_neighbours(one: datetime, other: datetime, due: set[datetime]) -> bool:
    """As it is said: nothing expected is between, and where ``other`` was not the next one expected, no whole day."""
    later = sorted(each for each in due if each > one)
    if any(each < other for each in later):
        return False
    second = timedelta(seconds=1)
    is_next = bool(later) and later[0] == other
    return is_next or ((other - second).date() - (one - second).date()).days <= 1


@settings(max_examples=300, deadline=None)
@given(histories(), st.integers(1, 60), st.sampled_from([144, 100, 37]))
def test_no_peak_trough_or_gap_is_lost(history: tuple[list[Grid], list[Point]], most: int, hours: int) -> None:
    grids, series = history
    now = at(hours)
    series = [each for each in series if each.slot_at <= now]
    curve = drawn(series, grids, days=6, most=most, now=now)
    due = expected_slots(grids, now)
    there = {each.slot_at for each in series}
    joined = {(a, b) for a, b in pairwise(series) if are_neighbours(a.slot_at, b.slot_at, due)}

    whole: list[Point | None] = []
    for number, each in enumerate(series):
        whole += [each] if not number or (series[number - 1], each) in joined else [None, each]
    points = curve.points()
    kept = [each for each in points if each]
    assert curve.is_reduced == (len(series) > most)
    if not curve.is_reduced:
        assert points == whole
    assert kept == sorted(set(kept))
    assert set(kept) <= set(series)

    # No line where there is a gap: whatever is drawn runs over neighbours alone.
    place = {each: number for number, each in enumerate(series)}
    for one, other in pairwise(points):
        if one and other:
            assert all(pair in joined for pair in pairwise(series[place[one] : place[other] + 1]))
    buckets: defaultdict[int, list[Point]] = defaultdict(list)
    for each in series:
        buckets[(each.slot_at - START) // curve.bucket_width].append(each)
    for bucket in buckets.values():
        amounts = [each.amount for each in bucket]
        of_bucket = [each for each in kept if bucket[0] <= each <= bucket[-1]]
        assert {min(amounts), max(amounts)} <= {each.amount for each in of_bucket}
        assert {bucket[0], bucket[-1]} <= set(of_bucket)
        gaps = [pair for pair in pairwise(bucket) if pair not in joined]
        if len(gaps) < MOST_PIECES:
            assert {each for gap in gaps for each in gap} <= set(of_bucket), "each gap begins and ends where it does"
            where = {each: number for number, each in enumerate(points) if each}
            assert all(points[where[one] + 1] is None for one, _ in gaps)

    missing = sorted(due - there)
    assert curve.missed == len(missing)
    stretches = sum(
        not number or bool(there & _between(missing[number - 1], each)) for number, each in enumerate(missing)
    )
    assert curve.gaps == stretches


def _between(one: datetime, other: datetime) -> set[datetime]:
    return {one + QUARTER * number for number in range(1, int((other - one) / QUARTER))}
