"""``db``: the schema."""

import sys

import click

from etl.bootstrap import database_file, migrations, upgrade_database
from etl.cli.command import Command, Group, settings
from etl.cli.exits import Exit


@click.group(cls=Group, short_help="The schema of the database.")
def db() -> None:
    """The schema of the database, through alembic.

    SQLite is created and upgraded by itself, with a backup beside it. PostgreSQL is upgraded by `db upgrade` alone,
    by a role that may create tables; recording needs none of those rights.
    """


@db.command(cls=Command)
def upgrade() -> None:
    """Create the schema, or bring it to the revision that this program needs.

    A SQLite database that has data is copied beside itself first. Nothing happens to one that is up to date, that a
    newer version has upgraded, or that belongs to another program.
    """
    chosen = settings()
    upgrade_database(chosen)
    sys.stderr.write(f"the schema is at {migrations().current(chosen.database_url)}\n")


@db.command(cls=Command)
def current() -> None:
    """The revision of the schema, on stdout; nothing where there is no schema.

    Revisions are numbers: `bingx-etl db check` says whether it is the one that this program needs.
    """
    chosen = settings()
    file = database_file(chosen)
    revision = None if file is not None and not file.exists() else migrations().current(chosen.database_url)
    if revision is None:
        sys.stderr.write("there is no schema yet: bingx-etl db upgrade creates it\n")
    else:
        sys.stdout.write(f"{revision}\n")


@db.command(cls=Command)
def check() -> int:
    """Exit 0 where the schema is what this program needs, 1 with the differences where it is not."""
    differences = migrations().check(settings().database_url)
    for difference in differences:
        sys.stdout.write(f"{difference}\n")
    return Exit.FOUND if differences else Exit.DONE
