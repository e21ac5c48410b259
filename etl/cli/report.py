"""``report``: equity over time, for people and for programs."""

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click
from click.core import ParameterSource

from etl.bootstrap import build_equity
from etl.cli.bound import hint, require_order
from etl.cli.command import Command, account_option, settings
from etl.cli.html import write_page
from etl.cli.output import format_option
from etl.cli.progress import progress_of
from etl.grid import parse_instant
from etl.report.curve import can_show_blocks
from etl.report.equity import COLUMNS, Question, Report
from etl.report.equity import report as ask
from etl.report.equity_table import draw
from etl.report.periods import Every, midnight
from etl.report.render import render

STEPS = 100


class Zone(click.ParamType[tzinfo]):
    """A time zone by its IANA name."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:  # noqa: ANN401 - click's own
        """``UTC`` needs no data of this machine's."""
        if isinstance(value, tzinfo):
            return value
        try:
            return UTC if value == "UTC" else ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            self.fail(
                f"{value!r} is no time zone that this machine knows: write Europe/Berlin or America/New_York (where it"
                " knows none but UTC, install tzdata)",
                param,
                ctx,
            )


class DayOrInstant(click.ParamType["date | datetime"]):
    """A day, whose midnights depend on the time zone, or an instant with a time zone."""

    name = "time"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> date | datetime:
        """A ``datetime`` is an instant, in UTC."""
        try:
            if len(value) == len("2026-12-31"):
                return datetime.strptime(value, "%Y-%m-%d").date()  # noqa: DTZ007 - a date
            return parse_instant(value)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is no time: write 2026-12-31, or 2026-12-31T23:00:00Z", param, ctx)


@click.command(cls=Command, short_help="Equity over time: by day, week or month, in any time zone.")
@account_option
@click.option("--since", type=DayOrInstant(), help="From the period with this day or instant on.")
@click.option("--until", type=DayOrInstant(), help="Up to the period with this day or instant.")
@click.option(
    "--every", type=click.Choice(list(map(str, Every))), default="day", show_default=True, help="How long a period is."
)
@click.option("--tz", "zone", type=Zone(), default="UTC", show_default=True, help="Whose midnights: Europe/Berlin.")
@click.option(
    "--by", type=click.Choice(["total", "account-type"]), default="total", show_default=True, help="Totals, or wallets."
)
@format_option
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with charts there, and print nothing.",
)
def report(
    *,
    account: str | None,
    since: date | datetime | None,
    until: date | datetime | None,
    every: str,
    zone: tzinfo,
    by: str,
    form: str,
    html: Path | None,
) -> None:
    """Equity over time, by day, ISO week or month: open, high, low, close, change, drawdown and coverage.

    A period runs from a midnight of the time zone, exclusive, to another, inclusive: the reading at midnight closes the
    period that ends then. Change is the close minus the close of the period before, and left open where that has none.
    It includes deposits and withdrawals, as does the drawdown, which is measured from the highest snapshot so far to
    the close. Coverage is the share of the expected snapshots that are there and usable.

    With several accounts, (all) adds up only the slots of which every account that was there then has a snapshot, and
    compares only totals of the same accounts.

    The table rounds amounts to 2 decimals; json and csv have every digit, and more columns.

    \b
      bingx-etl report --html equity.html     curve, wallets, drawdown, changes, coverage, months: to look at and mail

    The page is one file that needs no network. It shows the totals and the wallets at each close; --by
    account-type adds the periods of each wallet.
    """
    if html is not None and click.get_current_context().get_parameter_source("form") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--format is how rows are printed, and --html prints none: leave one of the two out")
    if isinstance(since, datetime) == isinstance(until, datetime):
        require_order(since, until)
    asked = Question(
        every=Every(every),
        zone=zone,
        by_type=by == "account-type",
        account=account,
        since=_since(since, zone),
        until=_until(until, zone),
    )
    require_order(asked.since, asked.until)
    source = build_equity(settings())
    if html is not None:
        with _progress() as progress:
            is_filled = write_page(source, asked, datetime.now(UTC), html, progress)
        sys.stderr.write(("" if is_filled else hint(since, until) + "\n") + f"the page is {html}\n")
        return
    with _progress() as progress:
        found = ask(source, asked, datetime.now(UTC), progress)
    if form == "table":
        _table(found)
    else:
        columns = [name for name in COLUMNS if name != "account_type" or asked.by_type]
        sys.stdout.write(render(found.rows, columns, form))
    if not found.rows:
        sys.stderr.write(hint(since, until) + "\n")


def _since(given: date | datetime | None, zone: tzinfo) -> datetime | None:
    return given if given is None or isinstance(given, datetime) else _midnight(given, zone)


def _until(given: date | datetime | None, zone: tzinfo) -> datetime | None:
    """A day as its end."""
    if given is None or isinstance(given, datetime):
        return given
    return None if given == date.max else _midnight(given + timedelta(days=1), zone)


def _midnight(day: date, zone: tzinfo) -> datetime:
    try:
        return midnight(day, zone)
    except OverflowError:
        raise click.BadParameter(f"{day} is out of range: write a day like 2026-12-31") from None


@contextmanager
def _progress() -> Iterator[Callable[[float], None]]:
    done = 0
    with progress_of("reading", STEPS) as advance:

        def progress(share: float) -> None:
            nonlocal done
            more = max(0, round(share * STEPS) - done)
            done += more
            advance(more)

        yield progress


def _table(found: Report) -> None:
    is_terminal = sys.stdout.isatty()
    # COLUMNS wins, as everywhere; a pipe has no width, and gets every column.
    width = shutil.get_terminal_size().columns if is_terminal else None
    blocks = is_terminal and can_show_blocks(sys.stdout.encoding)
    drawn = draw(found.rows, width=width, is_terminal=is_terminal, blocks=blocks)
    sys.stdout.write(drawn.text)
    notes = []
    if found.partial or found.voided:
        notes.append(f"took no part: {found.partial} partial and {found.voided} voided snapshots")
    if drawn.left_out:
        notes.append(f"no room for: {', '.join(drawn.left_out)}")
    if drawn.is_rounded:
        notes.append("amounts are rounded to 2 decimals: --format json or csv has every digit")
    if found.rows and notes:
        sys.stdout.flush()
        sys.stderr.write("\n" * is_terminal + "\n".join(notes) + "\n")
