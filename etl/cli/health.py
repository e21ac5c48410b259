"""``health``: whether the recording goes on, for whoever asks every minute."""

import sys
import time

import click

from etl.cli.command import Command, settings
from etl.cli.exits import Exit
from etl.config.keys import account_names
from etl.grid import parse_duration
from etl.ops.health import INTERVALS, as_json, as_text, is_healthy


def _seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    try:
        seconds = parse_duration(value).total_seconds()
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not seconds:
        raise click.BadParameter("nothing is as young as that")
    return seconds


@click.command(cls=Command, short_help="Exit 0 while the last snapshot of every account is young enough.")
@click.option(
    "--max-age",
    metavar="DURATION",
    callback=_seconds,
    help="How old a last snapshot may be: 90s, 15m, 1d. Three intervals where this is left out.",
)
@click.option("--json", "as_object", is_flag=True, help="One JSON object on stdout, with every account.")
def health(max_age: float | None, *, as_object: bool) -> int:
    """Exit 0 while the last snapshot of every account is younger than that; for containers and monitoring.

    Exit 1 otherwise, with a line for each account that is too old, or has no snapshot yet. Accounts are those of the
    history, but for retired ones, and those of the settings. A partial snapshot counts, one that is void or imported
    does not. Exit 75 where the database cannot be asked.

    It only looks: nothing is created, no recorder is kept waiting, and BingX is not asked.
    """
    from etl.db.last_snapshots import last_snapshots  # noqa: PLC0415 - sqlite3 is for those who ask

    chosen = settings()
    now, most = time.time(), max_age or INTERVALS * chosen.interval_seconds
    taken = last_snapshots(chosen.database_url, account_names(chosen), now)
    sys.stdout.write((as_json if as_object else as_text)(taken, now, most))
    return Exit.DONE if is_healthy(taken, now, most) else Exit.FOUND
