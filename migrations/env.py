"""What alembic runs for every command: one connection, one transaction per migration, nothing on stdout but data.

`alembic -x url=… upgrade head`, or without -x the database of the settings. `--sql` prints the statements instead, for
the dialect of the URL.
"""

import logging
import sys
from collections.abc import Iterable

from alembic import context
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from etl.db.migrate import migrating
from etl.db.schema import metadata
from etl.db.url import parse
from etl.errors import EtlError


def url() -> str:
    """Where to work: said on the command line, else set for the program."""
    given = context.get_x_argument(as_dictionary=True).get("url")
    if isinstance(given, str):
        return given
    from etl.config.settings import read_settings  # noqa: PLC0415 - not needed where a URL is given

    return read_settings().database_url


def number_the_revision(
    _: MigrationContext, __: str | Iterable[str | None] | Iterable[str], scripts: list[MigrationScript]
) -> None:
    """Revisions are numbered, so that a program can tell an older schema from a newer one."""
    heads = ScriptDirectory.from_config(context.config).get_heads()
    for script in scripts:
        script.rev_id = f"{max(map(int, heads), default=0) + 1:04d}"


def run(connection: Connection) -> None:
    """The command, on a connection. A batch is what SQLite needs to alter a table; autogenerate writes it so."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        render_as_batch=True,
        process_revision_directives=number_the_revision,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_offline() -> None:
    """The statements of the command, printed."""
    context.configure(
        dialect_name=parse(url()).url.get_backend_name(),
        target_metadata=metadata,
        literal_binds=True,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """On the connection of the program that called alembic, else on one of our own."""
    connection: Connection | None = context.config.attributes.get("connection")
    if connection is not None:
        run(connection)
        return
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    logging.getLogger("alembic").setLevel(logging.INFO)
    try:
        if context.is_offline_mode():
            run_offline()
        else:
            with migrating(url()) as own:
                run(own)
    except EtlError as error:
        raise CommandError(str(error)) from None


main()
