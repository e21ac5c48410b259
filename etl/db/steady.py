"""A history as it is at one moment, however long it is looked at, and without keeping whoever records waiting."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from etl.db.aside import file_beside
from etl.db.backup import back_up
from etl.db.engine import open_engine, open_for_migration
from etl.db.revision import check_revision


@contextmanager
def steady_view(url: str) -> Iterator[Connection]:
    """A transaction that changes nothing and sees one moment. SchemaNotAtHead where the schema is not this program's.

    On PostgreSQL it is one of REPEATABLE READ. A reader of SQLite's file would keep writers waiting, so there it is one
    on a copy of the file, beside it, which goes with the block.
    """
    database = open_for_migration(url)
    path = database.address.path
    with database.read(steady=True) as connection:
        check_revision(connection, database.address.name)
        if path is None:
            yield connection
            return
    with file_beside(path.resolve(), "copied") as file:
        back_up(url, file, overwrite=True)
        url_of_file = database.address.url.set(database=str(file)).render_as_string()
        with open_engine(url_of_file).read() as connection:
            yield connection
