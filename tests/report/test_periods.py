"""Days, weeks and months between midnights of a time zone."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.report.periods import Every, midnight, periods

BERLIN = ZoneInfo("Europe/Berlin")
# Clocks go forward over midnight in Cairo and Havana, back to it in Havana, over it in Nuuk, by half an hour on Lord
# Howe; Apia had no 30 December 2011.
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Africa/Cairo", "America/Havana", "America/Nuuk",
    "Australia/Lord_Howe", "Pacific/Apia", "America/St_Johns", "Africa/Casablanca",
]  # fmt: skip


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def named(every: Every, first: str, last: str, zone: str = "UTC") -> list[str]:
    return [period.name for period in periods(every, ZoneInfo(zone), utc(first), utc(last))]


def test_midnight_belongs_to_the_day_that_ends_with_it() -> None:
    assert named(Every.DAY, "2026-01-01T00:00", "2026-01-01T00:00") == ["2025-12-31"]
    assert named(Every.DAY, "2026-01-01T00:00:01", "2026-01-02T00:00") == ["2026-01-01"]
    assert named(Every.DAY, "2026-01-01T00:00:01", "2026-01-02T00:00:01") == ["2026-01-01", "2026-01-02"]
    assert named(Every.DAY, "2025-12-31T23:00", "2025-12-31T23:00:01", "Europe/Berlin") == ["2025-12-31", "2026-01-01"]


def test_weeks_are_those_of_iso_8601_and_months_end_when_they_end() -> None:
    weeks = periods(Every.WEEK, UTC, utc("2026-12-31T12:00"), utc("2027-01-04T00:00:01"))
    assert [tuple(week) for week in weeks] == [
        ("2026-W53", utc("2026-12-28"), utc("2027-01-04")),
        ("2027-W01", utc("2027-01-04"), utc("2027-01-11")),
    ]
    months = periods(Every.MONTH, BERLIN, utc("2028-01-31T12:00"), utc("2028-02-29T23:00:01"))
    assert [tuple(month) for month in months] == [
        ("2028-01", utc("2027-12-31T23:00"), utc("2028-01-31T23:00")),
        ("2028-02", utc("2028-01-31T23:00"), utc("2028-02-29T23:00")),
        ("2028-03", utc("2028-02-29T23:00"), utc("2028-03-31T22:00")),
    ]


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Berlin", "2026-03-29", 23),
        ("Europe/Berlin", "2026-10-25", 25),
        ("Africa/Cairo", "2026-04-24", 23),
        ("America/Havana", "2026-11-01", 25),
        ("America/Nuuk", "2026-03-28", 23),
        ("America/Nuuk", "2026-10-24", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Asia/Kathmandu", "2026-04-05", 24),
    ],
)
def test_a_day_has_the_hours_that_it_has(zone: str, day: str, hours: float) -> None:
    noon = datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    [found] = periods(Every.DAY, ZoneInfo(zone), noon, noon)
    assert found.name == day
    assert found.ends_at - found.begins_at == timedelta(hours=hours)


def test_a_day_that_was_left_out_is_none() -> None:
    names = named(Every.DAY, "2011-12-30T00:00", "2011-12-31T12:00", "Pacific/Apia")
    assert names == ["2011-12-29", "2011-12-31", "2012-01-01"]


@given(
    zone=st.sampled_from(ZONES).map(ZoneInfo),
    every=st.sampled_from(Every),
    first=st.integers(0, 29 * 365 * 86_400).map(lambda seconds: utc("2011-01-01") + timedelta(seconds=seconds)),
    length=st.integers(0, 100 * 86_400).map(lambda seconds: timedelta(seconds=seconds)),
)
def test_periods_follow_each_other_and_hold_what_is_called_so_there(
    zone: ZoneInfo, every: Every, first: datetime, length: timedelta
) -> None:
    found = periods(every, zone, first, first + length)
    assert found[0].begins_at < first <= found[0].ends_at
    assert found[-1].begins_at < first + length <= found[-1].ends_at
    for before, after in pairwise(found):
        assert before.ends_at == after.begins_at
        assert before.name < after.name
    form = {Every.DAY: "%Y-%m-%d", Every.WEEK: "%G-W%V", Every.MONTH: "%Y-%m"}[every]
    for period in found:
        for within in (period.begins_at, (period.ends_at - timedelta(seconds=1))):
            assert within.astimezone(zone).strftime(form) == period.name


@given(zone=st.sampled_from(ZONES).map(ZoneInfo), day=st.dates(date(2011, 1, 1), date(2040, 1, 1)))
def test_a_day_begins_with_its_first_second(zone: ZoneInfo, day: date) -> None:
    begins_at = midnight(day, zone)
    assert begins_at.astimezone(zone).date() >= day
    assert (begins_at - timedelta(seconds=1)).astimezone(zone).date() < day
