"""``gaps``: what is missing, and why."""

import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from etl.bootstrap import build_history
from etl.cli.bound import NOTHING_YET, Bound, require_order
from etl.cli.command import Command, account_option, settings
from etl.cli.exits import Exit
from etl.cli.output import format_option, write
from etl.grid import slot_text
from etl.model import Schedule

GAPS = ("account", "gap_from", "gap_to", "missed", "reason")


def _range_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--until", type=Bound(is_end=True), help="Up to this day or instant (UTC), itself included."),
        click.option("--since", type=Bound(is_end=False), help="From this day or instant on (UTC)."),
        account_option,
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
    require_order(since, until)
    history = build_history(settings())
    rows = history.gaps(account, since, until)
    write(rows, GAPS, form)
    schedules = history.schedules(account)
    if schedules:
        words = list(_words(schedules, since, until, found=bool(rows)))
    else:
        words = ["no slot was ever expected: all of it is imported" if history.accounts() else NOTHING_YET]
    sys.stderr.writelines(f"{line}\n" for line in words)
    return Exit.FOUND if rows else Exit.DONE


def _words(
    schedules: Sequence[Schedule], since: datetime | None, until: datetime | None, *, found: bool
) -> Iterator[str]:
    """For people: none is not the same where slots were expected, and where nobody expected any."""
    first = min(span.valid_from for span in schedules)
    now = datetime.now(UTC)
    is_expected = any(
        span.valid_from <= (until or now) and (since or span.valid_from) < (span.valid_to or now) for span in schedules
    )
    if not is_expected:
        yield "no slot was expected in that time, so nothing is missing: neither is anything known of it"
    elif not found:
        yield "no gaps"
    if since is not None and since < first:
        yield f"slots are expected from {slot_text(first)} on: what lies before is no gap"
