"""``db copy``: a whole history into another database."""

import sys
from pathlib import Path

import click

from etl.bootstrap import copy_database
from etl.cli.command import Command, settings
from etl.cli.output import format_option, write
from etl.cli.progress import progress_of
from etl.config.forms import parse_database_url
from etl.config.secret_files import read_secret_file

COLUMNS = ("account", "month", "schedules", "snapshots", "balances", "failures", "payloads", "annotations", "checksum")


@click.command("copy", cls=Command, short_help="The whole history into another database, of either kind.")
@click.option("--to", metavar="URL", help="Where to: sqlite:////absolute/path.db or postgresql://user@host/name.")
@click.option("--to-file", type=click.Path(path_type=Path), metavar="FILE", help="A private file that holds the URL.")
@format_option
def copy(to: str | None, to_file: Path | None, form: str) -> None:
    """Copy the whole history into an empty database, between SQLite and PostgreSQL in either direction.

    \b
      bingx-etl db copy --to postgresql://owner@db.example/balances

    Everything goes along, as it is: accounts, schedules, snapshots with their ids and provenance, every digit, the
    answers as they came, failures, marks. The tables are created. Then every row of both sides is read again and
    compared. It is all or nothing: whatever happens before the end, the target is left as it was. A target that has
    another history is refused; with one that has exactly this history, nothing is left to do.

    Recording may go on meanwhile; what is recorded after the beginning is not in the copy. To move: stop what records,
    copy, change database_url, start again. The source is left as it is.

    The table has a line for each account and month (UTC), and one without a month for what belongs to the account
    itself; the checksum is the same wherever the same rows are. A password is better in --to-file, ~/.pgpass or
    PGPASSWORD: others can see the arguments of a program.
    """
    chosen = settings()
    copied = copy_database(chosen, _target(to, to_file), progress_of)
    write(copied.months, COLUMNS, form, "nothing recorded yet: the copy is empty too")
    snapshots = sum(month["snapshots"] for month in copied.months)
    if copied.was_there:
        said = f"{copied.name} has exactly this history already"
    else:
        said = f"copied to {copied.name} and compared"
    sys.stderr.write(f"{said}: {snapshots} snapshots; database_url still names the old one\n")


def _target(to: str | None, to_file: Path | None) -> str:
    if (to is None) == (to_file is None):
        raise click.UsageError("say where to, by --to URL or by --to-file FILE")
    name = "--to" if to_file is None else "--to-file"
    url = to if to_file is None else read_secret_file(to_file, name, {})
    try:
        return parse_database_url((url or "").strip())
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}") from None
