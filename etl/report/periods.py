"""Days, ISO weeks and months of a time zone, as spans between two midnights there."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from typing import NamedTuple

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)


class Every(StrEnum):
    """How long a period is. Weeks begin on Monday and are numbered as in ISO 8601."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Period(NamedTuple):
    """From a midnight, exclusive, to another, inclusive: what is read at midnight closes the period that ends then.

    ``name`` is ``2026-12-31``, ``2026-W53`` or ``2026-12``.
    """

    name: str
    begins_at: datetime
    ends_at: datetime


def midnight(day: date, zone: tzinfo) -> datetime:
    """The instant, in UTC, at which a day begins there: its first one, where clocks are changed at midnight.

    OverflowError where no datetime is that early or late.
    """
    late = datetime.combine(day, time(), zone)
    begins, early = late.astimezone(UTC), late.replace(fold=1).astimezone(UTC)
    if begins.astimezone(zone).date() == day and begins <= early:
        return begins
    # There is no midnight, for clocks go forward over it. `early` is before that happens, `begins` after it.
    while begins - early > _SECOND:
        middle = early + (begins - early) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).date() < day:
            early = middle
        else:
            begins = middle
    return begins


def periods(every: Every, zone: tzinfo, first: datetime, last: datetime) -> list[Period]:
    """Those from the one that contains ``first`` to the one that contains ``last``, without holes between them."""
    return list(_from(every, zone, first, last))


def _from(every: Every, zone: tzinfo, first: datetime, last: datetime) -> Iterator[Period]:
    # Midnight itself belongs to the day before it. Slots are whole seconds.
    day = _beginning(every, (first - _SECOND).astimezone(zone).date())
    begins_at = midnight(day, zone)
    while begins_at < last:
        following = _beginning(every, day + _DAY * _DAYS_TO_NEXT[every])
        ends_at = midnight(following, zone)
        if begins_at < ends_at:  # a day that was left out, as where the date line was moved, is none
            yield Period(_name(every, day), begins_at, ends_at)
        day, begins_at = following, ends_at


# Enough to be in the next period, and not in the one after it.
_DAYS_TO_NEXT = {Every.DAY: 1, Every.WEEK: 7, Every.MONTH: 31}


def _beginning(every: Every, day: date) -> date:
    match every:
        case Every.DAY:
            return day
        case Every.WEEK:
            return day - _DAY * day.weekday()
        case Every.MONTH:
            return day.replace(day=1)


def _name(every: Every, day: date) -> str:
    match every:
        case Every.DAY:
            return day.isoformat()
        case Every.WEEK:
            year, week, _ = day.isocalendar()
            return f"{year:04}-W{week:02}"
        case Every.MONTH:
            return f"{day:%Y-%m}"
