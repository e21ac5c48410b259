"""Whether a database is ready to be recorded into, and making it so where that is this program's to do."""

from etl.db.engine import Database, open_engine
from etl.db.revision import revision_of
from etl.db.schema import HEAD
from etl.errors import SchemaNotAtHead


def prepare(url: str) -> None:
    """Make a SQLite database ready to be recorded into, as :func:`etl.db.migrate.ensure` does.

    Does nothing where it is ready, and nothing to PostgreSQL, which is upgraded by ``db upgrade`` alone.
    """
    if is_ready(url):
        return
    from etl.db.migrate import ensure  # noqa: PLC0415 - a third of a second, hardly ever needed

    ensure(url)


def is_ready(url: str) -> bool:
    """Whether :func:`prepare` has nothing to do there."""
    database = open_engine(url)
    return database.address.path is None or is_at_head(database)


def is_at_head(database: Database) -> bool:
    """Whether the schema is the one this program needs; False also where the file of SQLite is missing."""
    try:
        with database.read() as connection:
            return revision_of(connection) == HEAD
    except SchemaNotAtHead:
        return False
