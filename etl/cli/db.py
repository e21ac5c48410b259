"""``db``: the schema, a backup, a copy in another database, and which history is to go on."""

import sys
from pathlib import Path

import click

from etl.bootstrap import back_up_database, database_file, migrations, pg_dump_command, upgrade_database
from etl.cli.command import Command, Group, settings
from etl.cli.db_adopt import adopt
from etl.cli.db_copy import copy
from etl.cli.exits import Exit
from etl.cli.progress import progress_of

MEGABYTE = 1 << 20


@click.group(cls=Group, short_help="The schema of the database, a backup of it, and moving to another.")
def db() -> None:
    """The schema of the database, through alembic, a backup of the whole, and a copy in another database.

    SQLite is created and upgraded by itself, with a backup beside it. PostgreSQL is upgraded by `db upgrade` alone,
    by a role that may create tables; recording needs none of those rights.
    """


db.add_command(copy)
db.add_command(adopt)


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


@db.command(cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Take the place of a file that is there.")
def backup(file: Path, *, force: bool) -> int:
    """Copy the SQLite database to FILE, while recording goes on.

    \b
      bingx-etl db backup ~/backups/balances-$(date +%F).db

    The copy is whole, as of one moment, checked by SQLite and on the disk before it gets its name; only its owner can
    read it. A file that is there is left alone, unless you say --force. Where SQLite cannot copy between two writes, a
    writer waits until it has: what was read meanwhile is in the spool, and stored after.

    For PostgreSQL it says how to call pg_dump, and does nothing (2).
    """
    chosen = settings()
    source = database_file(chosen)
    if source is None:
        sys.stderr.write(f"bingx-etl: PostgreSQL has its own: {pg_dump_command(chosen, file)}\n")
        return Exit.USAGE
    total = source.stat().st_size // MEGABYTE if source.exists() else None
    with progress_of("copying (MB)", total) as advance:
        back_up_database(chosen, file, overwrite=force, advance=advance)
    sys.stderr.write(f"{file}: {file.stat().st_size / MEGABYTE:.1f} MB, checked\n")
    return Exit.DONE
