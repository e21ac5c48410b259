"""``--since`` and ``--until``, and what to say where nothing is in between."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import click

from etl.grid import parse_instant

NOTHING_YET = "nothing recorded yet: bingx-etl snapshot records now"
NOTHING_THEN = "nothing recorded in that time"
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
LAST = datetime.max.replace(tzinfo=UTC, microsecond=0)


class Bound(click.ParamType[datetime]):
    """The first or the last slot of a range: an instant, or a day in UTC, which begins after its midnight."""

    name = "time"

    def __init__(self, *, is_end: bool) -> None:
        self._is_end = is_end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's own
        """A day runs from midnight, exclusive, to the next one, inclusive, as in every view and report."""
        try:
            if len(value) != len("2026-12-31"):
                return parse_instant(value)
            day = datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - a date
            if self._is_end:
                return datetime.combine(day, time(), UTC) + DAY if day < date.max else LAST
            return datetime.combine(day, time(), UTC) + SECOND
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2026-12-31, or 2026-12-31T23:00:00Z", param, ctx)


def require_order(since: date | None, until: date | None) -> None:
    """Refuse a range that ends before it begins: no answer to that would be true. Both are days, or both instants."""
    if since is not None and until is not None and since > until:
        raise click.UsageError("--since is after --until: nothing is in between")


def hint(*bounds: object) -> str:
    """What to say of a history in which nothing was found, asked for between these."""
    return NOTHING_YET if all(bound is None for bound in bounds) else NOTHING_THEN
