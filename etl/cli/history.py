"""``gaps``: what is missing, and why."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from etl.bootstrap import build_history
from etl.cli.bound import Bound
from etl.cli.command import Command, settings
from etl.cli.exits import Exit
from etl.cli.output import format_option, write

GAPS = ("account", "gap_from", "gap_to", "missed", "reason")


def _range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", type=Bound(is_end=True), help="Up to this day or instant (UTC), itself included."),
        click.option("--since", type=Bound(is_end=False), help="From this day or instant on (UTC)."),
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
