"""Pure arithmetic on time: intervals, slots and the text forms of instants."""

import re
from datetime import UTC, datetime, timedelta

DAY = 86_400
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": DAY}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Nothing that this program did is older. A clock that says so has lost the time, as after a boot without its battery.
PROGRAM_BEGAN = datetime(2025, 1, 1, tzinfo=UTC)


def parse_duration(text: str) -> timedelta:
    """``250ms``, ``30s``, ``5m``, ``1h``, ``1d`` as a timedelta; ValueError with the forms that are understood."""
    match = re.fullmatch(r"([0-9]{1,9})(ms|s|m|h|d)", text.strip())
    if match is None:
        raise ValueError("write a whole number and a unit: 30s, 5m, 1h, 1d")
    return timedelta(seconds=int(match[1]) * UNITS[match[2]])


def format_duration(seconds: float) -> str:
    """The shortest form that :func:`parse_duration` reads back, for whole seconds: 300 is ``5m``."""
    whole = round(seconds)
    for unit in ("d", "h", "m"):
        size = int(UNITS[unit])
        if whole and whole % size == 0:
            return f"{whole // size}{unit}"
    return f"{whole}s"


def parse_interval(text: str) -> int:
    """An interval in whole seconds; raises ValueError unless it divides a day, so that every day has the same slots."""
    seconds = parse_duration(text).total_seconds()
    if seconds < 1 or seconds != int(seconds) or DAY % int(seconds):
        raise ValueError("an interval is at least 1s and divides a day: 1s, 30s, 1m, 5m, 15m, 1h, 4h, 1d")
    return int(seconds)


def slot_of(instant: datetime, interval_seconds: int) -> datetime:
    """The slot that contains ``instant``: the last multiple of the interval since the epoch, in UTC."""
    return EPOCH + (instant - EPOCH) // timedelta(seconds=interval_seconds) * timedelta(seconds=interval_seconds)


def slot_end(slot_at: datetime, interval_seconds: int) -> datetime:
    """The first instant that is no longer in the slot."""
    return slot_at + timedelta(seconds=interval_seconds)


def from_ms(milliseconds: int) -> datetime:
    """A Unix time in milliseconds as an instant; raises ValueError or OverflowError outside the years 1 to 9999."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def to_ms(instant: datetime) -> int:
    """An instant as Unix time in milliseconds, rounded down."""
    return (instant - EPOCH) // timedelta(milliseconds=1)


def slot_text(slot_at: datetime) -> str:
    """``2026-11-22T15:20:00Z``: the form of slots, fixed in width so that text compares like time."""
    return slot_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant_text(instant: datetime) -> str:
    """``2026-11-22T15:20:01.250Z``: the form of instants, in milliseconds, rounded down."""
    instant = instant.astimezone(UTC)
    return f"{instant:%Y-%m-%dT%H:%M:%S}.{instant.microsecond // 1000:03d}Z"


def parse_instant(text: str) -> datetime:
    """Either form read back as an aware UTC datetime; raises ValueError."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return instant.astimezone(UTC)
