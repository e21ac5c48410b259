"""Intervals, slots and the text forms of instants."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.grid import (
    DAY,
    format_duration,
    from_ms,
    instant_text,
    parse_duration,
    parse_instant,
    parse_interval,
    slot_end,
    slot_of,
    slot_text,
    to_ms,
)

INSTANTS = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
INTERVALS = st.sampled_from([seconds for seconds in range(1, DAY + 1) if DAY % seconds == 0])


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("30s", 30), ("5m", 300), ("1h", 3600), ("1d", 86400), ("1000ms", 1)]
)
def test_an_interval_that_divides_a_day_is_understood(text: str, seconds: int) -> None:
    assert parse_interval(text) == seconds


@pytest.mark.parametrize(
    "text", ["7m", "0s", "500ms", "1.5m", "5", "m", "-5m", "2d", "1w", "", "5 m", "٥m", "1500ms", "999999999999d"]
)
def test_any_other_interval_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"write a whole number|divides a day"):
        parse_interval(text)


@given(INSTANTS, INTERVALS)
def test_every_instant_is_in_exactly_one_slot_and_days_begin_with_one(instant: datetime, interval: int) -> None:
    slot = slot_of(instant, interval)
    assert slot <= instant < slot_end(slot, interval)
    midnight = slot.replace(hour=0, minute=0, second=0, microsecond=0)
    assert (slot - midnight) % timedelta(seconds=interval) == timedelta(0)


@given(INSTANTS)
def test_the_text_forms_compare_like_time_and_read_back(instant: datetime) -> None:
    later = instant + timedelta(seconds=1)
    assert instant_text(instant) < instant_text(later)
    assert slot_text(instant) < slot_text(later)
    assert abs(parse_instant(instant_text(instant)) - instant) < timedelta(milliseconds=1)
    assert abs(from_ms(to_ms(instant)) - instant) < timedelta(milliseconds=1)


def test_the_text_forms_are_those_of_the_contract() -> None:
    instant = datetime(2026, 11, 22, 15, 20, 1, 250_999, UTC)
    assert slot_text(slot_of(instant, 300)) == "2026-11-22T15:20:00Z"
    assert instant_text(instant) == "2026-11-22T15:20:01.250Z"


@given(st.integers(0, 10**6))
def test_a_duration_reads_back_from_its_shortest_form(seconds: int) -> None:
    assert parse_duration(format_duration(seconds)) == timedelta(seconds=seconds)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        parse_instant("2026-11-22T15:20:00")
