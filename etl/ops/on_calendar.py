"""The beginnings of all slots of a day, as systemd's ``OnCalendar=`` has them (systemd.time(7))."""

from collections import defaultdict
from collections.abc import Collection

from etl.grid import DAY

HOUR, MINUTE = 3600, 60


def on_calendar(interval_seconds: int) -> list[str]:
    """As few expressions as there have to be, which together are due at each beginning of a slot and at no other time.

    One is enough wherever the interval fits into a minute or an hour, or is made of hours that fit into a day.
    """
    seconds_of: dict[tuple[int, int], set[int]] = defaultdict(set)
    for at in range(0, DAY, interval_seconds):
        seconds_of[at // HOUR, at % HOUR // MINUTE].add(at % MINUTE)
    # Minutes of an hour with the same seconds are put together, and then hours with the same minutes and seconds.
    minutes_of: dict[tuple[int, tuple[int, ...]], set[int]] = defaultdict(set)
    for (hour, minute), seconds in seconds_of.items():
        minutes_of[hour, tuple(sorted(seconds))].add(minute)
    hours_of: dict[tuple[tuple[int, ...], tuple[int, ...]], set[int]] = defaultdict(set)
    for (hour, seconds_together), minutes in minutes_of.items():
        hours_of[tuple(sorted(minutes)), seconds_together].add(hour)
    return [
        f"*-*-* {_listed(hours, 24)}:{_listed(minutes, 60)}:{_listed(seconds, 60)} UTC"
        for (minutes, seconds), hours in hours_of.items()
    ]


def _listed(numbers: Collection[int], limit: int) -> str:
    """``*`` for all of them, ``03/15`` for every fifteenth from the third on, or one by one."""
    first, *rest = sorted(numbers)
    if rest:
        step = rest[0] - first
        if [first, *rest] == list(range(first, limit, step)):
            return "*" if step == 1 else f"{first:02}/{step}"
    return ",".join(f"{number:02}" for number in (first, *rest))
