"""A person's own two columns, time and total, as snapshots. What could mean two things is refused, with its line.

Time and total are understood in the forms that spreadsheets write. A day alone stands for its end, midnight: what was
written down for a day is its close.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from itertools import chain
from typing import Final, NamedTuple

from etl.transfer.incoming import Incoming, check_moment, parse_amount, total_only
from etl.transfer.portable import at_line, csv_records, separator_of

DAY_FIRST, MONTH_FIRST = "day-first", "month-first"

_SANE_YEARS: Final = range(2000, 2200)
_YEAR_FIRST: Final = re.compile(r"([0-9]{4})([-/.])([0-9]{1,2})\2([0-9]{1,2})")
_YEAR_LAST: Final = re.compile(r"([0-9]{1,2})([-/.])([0-9]{1,2})\2([0-9]{4})")
_CLOCK: Final = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,6}))?)?")
_ZONE: Final = re.compile(r"\s*(?:(Z|UTC)|([+-])([0-9]{2}):?([0-9]{2}))$", re.IGNORECASE)
_GROUP: Final = ".,' \u00a0\u202f"  # two of them spaces that spreadsheets put between thousands
_PLAIN: Final = re.compile(r"([-+]?[0-9]+)(?:([.,])([0-9]+))?")
_GROUPED: Final = re.compile(rf"([-+]?[0-9]{{1,3}}(?:([{_GROUP}])[0-9]{{3}})(?:\2[0-9]{{3}})*)(?:([.,])([0-9]+))?")


@dataclass(frozen=True, slots=True)
class Habits:
    """What a file cannot say of itself. None where nobody has said it either.

    ``zone`` of times without one, ``dates`` :data:`DAY_FIRST` or :data:`MONTH_FIRST` for 03/04/2026, ``decimal`` the
    mark before the fraction.
    """

    zone: tzinfo | None = None
    dates: str | None = None
    decimal: str | None = None


class _Day(NamedTuple):
    day: date
    rest: str


def read_totals(lines: Iterable[tuple[int, str]], account: str, habits: Habits, now: datetime) -> Iterator[Incoming]:
    """The snapshots of a file of two columns, with or without a header, in any order."""
    lines = iter(lines)
    first = next(lines)
    separator = separator_of(first[1])
    seen: dict[datetime, int] = {}
    for place, (number, cells) in enumerate(csv_records(chain([first], lines), separator)):
        filled = [cell.strip() for cell in cells]
        while len(filled) > 2 and not filled[-1]:  # noqa: PLR2004 - columns that were emptied
            filled.pop()
        if len(filled) != 2:  # noqa: PLR2004 - time and total
            raise at_line(
                number, f"{len(filled)} columns instead of two, time and total, divided by comma, semicolon or tab"
            )
        if place == 0 and not any(re.match(r"[-+]?[0-9]", cell) for cell in filled):
            continue
        moment = parse_time(filled[0], habits, number)
        if moment > now and ":" not in filled[0]:
            raise at_line(number, f"{filled[0]} is not over yet: a day alone stands for its end")
        check_moment(moment, now, number)
        if moment in seen:
            raise at_line(number, f"the same time as in line {seen[moment]}")
        seen[moment] = number
        yield Incoming(number, total_only(account, moment, parse_total(filled[1], habits.decimal, number)))


def parse_time(text: str, habits: Habits, line: int) -> datetime:
    """A moment in UTC. NotUnderstood where it is none, or where it could be two."""
    day, rest = _day(text, habits.dates, line)
    zone, match = habits.zone, _ZONE.search(rest)
    if match:
        rest = rest[: match.start()]
        zone = UTC if match[1] else _offset(match, line)
    if zone is None:
        raise at_line(line, f"{text} has no time zone: say which by --tz, such as --tz Europe/Berlin or --tz UTC")
    is_divided = not rest or rest[0] in " T,"
    rest = rest.strip(" T,")
    if not rest:
        return _local(day + timedelta(days=1), timedelta(0), zone, line, is_end_of_day=True)
    clock = _CLOCK.fullmatch(rest)
    if clock is None or not is_divided:
        raise at_line(line, f"{text} is no time: write 2026-12-31 17:00")
    hour, minute, second = int(clock[1]), int(clock[2]), int(clock[3] or 0)
    since_midnight = timedelta(
        hours=hour, minutes=minute, seconds=second, milliseconds=int((clock[4] or "").ljust(3, "0")[:3])
    )
    if minute > 59 or second > 59 or since_midnight > timedelta(days=1):  # noqa: PLR2004 - 24:00 is the end of a day
        raise at_line(line, f"{text} is no time of a day")
    return _local(day, since_midnight, zone, line)


def parse_total(text: str, decimal: str | None, line: int) -> Decimal:
    """A number as spreadsheets write it. NotUnderstood where it is none, or where it could be two."""
    plain, grouped = _PLAIN.fullmatch(text), _GROUPED.fullmatch(text)
    if grouped and grouped[2] == grouped[3]:
        grouped = None
    if plain and plain[2] and grouped and decimal is None:
        # One mark and three digits: 1.234 is one and a bit, or more than a thousand.
        if not plain[1].lstrip("-+").startswith("0"):
            raise at_line(
                line, "a total that could mean two numbers: say by --decimal which mark is before the fraction"
            )
        grouped = None
    if plain and (plain[2] is None or plain[2] == decimal or (decimal is None and not grouped)):
        whole, fraction = plain[1], plain[3]
    elif grouped and grouped[2] != decimal and grouped[3] in {None, decimal or grouped[3]}:
        whole, fraction = re.sub(f"[{_GROUP}]", "", grouped[1]), grouped[4]
    else:
        raise at_line(line, "a total that is no plain number, such as 1234.50")
    sign, digits = ("-" if whole.startswith("-") else ""), whole.lstrip("-+").lstrip("0") or "0"
    return parse_amount(f"{sign}{digits}.{fraction}" if fraction else sign + digits, line)


def _day(text: str, order: str | None, line: int) -> _Day:
    match = _YEAR_FIRST.match(text)
    if match:
        year, month, day = int(match[1]), int(match[3]), int(match[4])
    else:
        match = _YEAR_LAST.match(text)
        if match is None:
            raise at_line(line, "no time with a year of four digits: write 2026-12-31 or 2026-12-31 17:00")
        first, second, year = int(match[1]), int(match[3]), int(match[4])
        is_told = match[2] == "." or order is not None or first == second or max(first, second) > 12  # noqa: PLR2004 - months
        if not is_told:
            raise at_line(
                line,
                f"{match[0]} could be two days: write {year}-{second:02}-{first:02} or {year}-{first:02}-{second:02}, "
                f"or say --dates {DAY_FIRST} or --dates {MONTH_FIRST}",
            )
        is_month_first = match[2] != "." and (order == MONTH_FIRST if order else second > 12)  # noqa: PLR2004
        month, day = (first, second) if is_month_first else (second, first)
    if year not in _SANE_YEARS:
        raise at_line(line, f"{match[0]} is of no year of our days")
    try:
        return _Day(date(year, month, day), text[match.end() :])
    except ValueError:
        raise at_line(line, f"{match[0]} is no day of the calendar") from None


def _offset(match: re.Match[str], line: int) -> tzinfo:
    offset = timedelta(hours=int(match[3]), minutes=int(match[4]))
    if offset >= timedelta(days=1):
        raise at_line(line, "an offset from UTC of a day or more")
    return timezone(-offset if match[2] == "-" else offset)


def _local(day: date, since_midnight: timedelta, zone: tzinfo, line: int, *, is_end_of_day: bool = False) -> datetime:
    """The moment at which clocks in the zone showed that."""
    naive = datetime(day.year, day.month, day.day) + since_midnight  # noqa: DTZ001 - of a clock on the wall
    early, late = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
    moment = early.astimezone(UTC)
    # Where a day begins without midnight, the moment at which it begins is the end of the one before.
    if early.utcoffset() != late.utcoffset() and not is_end_of_day:
        if moment.astimezone(zone).replace(tzinfo=None) != naive:
            raise at_line(line, f"{naive:%Y-%m-%d %H:%M} was skipped by the clocks of that time zone")
        raise at_line(
            line, f"{naive:%Y-%m-%d %H:%M} came twice in that time zone: write it with its offset, {naive:%H:%M}+02:00"
        )
    return moment
