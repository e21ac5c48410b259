"""Whether a slot was expected: told of one after another, and the same as of each for itself."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st

from etl.report.expected import Due, Grid, expected
from etl.report.periods import Period

START = datetime(2026, 3, 2, tzinfo=UTC)
MINUTES = st.integers(0, 60)


def at(minutes: int) -> datetime:
    return START + timedelta(minutes=minutes)


@given(
    edges=st.lists(MINUTES, min_size=2, max_size=6, unique=True).map(sorted),
    steps=st.tuples(*[st.sampled_from([1, 2, 3, 5, None])] * 3),
    slots=st.sets(st.integers(-5, 65)),
    now=st.integers(0, 70),
)
@example(edges=[0, 9], steps=(2, 1, 1), slots={6, 8, 9, 10}, now=70)
@example(edges=[0, 9, 20, 30], steps=(4, 5, 1), slots={4, 8, 9, 12, 20, 25}, now=70)
@example(edges=[0, 9, 11, 30], steps=(4, 5, 1), slots={4, 8, 9, 12, 20, 25}, now=22)
def test_each_slot_is_told_of_as_if_it_were_alone(
    edges: list[int], steps: tuple[int | None, ...], slots: set[int], now: int
) -> None:
    spans = zip(steps, edges[::2], edges[1::2], strict=False)
    grids = [Grid(step and step * 60, at(begin), at(end)) for step, begin, end in spans]
    due = Due(grids, at(now))
    for slot in sorted(slots):
        alone = Period("", at(slot) - timedelta(seconds=1), at(slot))
        assert due.has(at(slot)) == (expected(grids, alone, at(now)) == 1), slot
