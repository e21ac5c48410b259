"""``gaps``: what is missing, and why."""

from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any

import click

from etl.bootstrap import build_history
from etl.cli.command import Command, settings
from etl.cli.exits import Exit
from etl.cli.output import format_option, write
from etl.grid import parse_instant

GAPS = ("account", "gap_from", "gap_to", "missed", "reason")


class Moment(click.ParamType[datetime]):
    """A day, or an instant with a time zone, as an aware UTC datetime."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's own
        """``2026-12-31`` is its midnight in UTC."""
        try:
            if len(value) == len("2026-12-31"):
                return datetime.combine(datetime.strptime(value, "%Y-%m-%d").date(), time(), UTC)  # noqa: DTZ007 - a date
            return parse_instant(value)
        except ValueError:
            self.fail(f"{value!r} is no time: write 2026-12-31, or 2026-12-31T23:00:00Z", param, ctx)


def _range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", type=Moment(), help="Up to this day or instant (UTC)."),
        click.option("--since", type=Moment(), help="From this day or instant (UTC)."),
        click.option("--account", metavar="NAME", help="Only this account."),
    ):
        command = option(command)
    return command


@click.command(cls=Command, short_help="What is missing, and why; exits with 1 if anything is.")
@_range_options
@format_option
def gaps(account: str | None, since: datetime | None, until: datetime | None, form: str) -> int:
    """Every run of expected slots without a usable snapshot, with its reason. Exits with 1 if there is any.

    A run without a reason is one when nobody was there to know: the machine or the program was off. A slot is expected
    from its first second on, so the present one is missing until its reading is stored.
    """
    history = build_history(settings())
    rows = history.gaps(account, since, until)
    write(rows, GAPS, form, "no gaps" if history.accounts() else "nothing recorded yet: bingx-etl snapshot records now")
    return Exit.FOUND if rows else Exit.DONE
