"""A curve in one line."""

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from etl.report.curve import LEVELS, can_show_blocks, curve

AMOUNTS = st.none() | st.decimals(-(10**9), 10**9, places=8)


def of(*values: int | None) -> list[Decimal | None]:
    return [None if value is None else Decimal(value) for value in values]


def test_the_lowest_is_at_the_bottom_the_highest_at_the_top_and_a_gap_is_a_gap() -> None:
    assert curve(of(0, 1, 2, 3, 4, 5, 6, 7), 80) == LEVELS
    assert curve(of(-7, None, None, 0, -7), 80) == "▁  █▁"
    assert curve(of(5, 5, None), 80) == "▅▅ "


def test_nothing_is_no_curve() -> None:
    assert curve([], 80) == curve(of(None, None), 80) == curve(of(1, 2), 0) == ""


def test_more_values_than_columns_are_shown_by_the_last_of_each_share() -> None:
    assert curve(of(0, 7, 7, 0, None, None, 7, None), 4) == "█▁ █"


@given(values=st.lists(AMOUNTS, max_size=40), width=st.integers(1, 30))
def test_it_is_as_wide_as_it_may_be_and_no_wider(values: list[Decimal | None], width: int) -> None:
    drawn = curve(values, width)
    assert len(drawn) == (min(width, len(values)) if any(value is not None for value in values) else 0)
    assert set(drawn) <= {*LEVELS, " "}


def test_only_who_can_show_it_gets_one() -> None:
    assert can_show_blocks("utf-8")
    for encoding in ("ascii", "latin-1", "no such", None):
        assert not can_show_blocks(encoding)
