"""Which schema a database has, found out cheaply: alembic is imported only where there is work for it."""

import re

from sqlalchemy import Connection, inspect, select
from sqlalchemy.exc import OperationalError

from etl.db.faults import UPGRADE
from etl.db.schema import HEAD, alembic_version
from etl.errors import SchemaNotAtHead

_REVISIONS = select(alembic_version.c.version_num)


def check_revision(connection: Connection, name: str) -> None:
    """SchemaNotAtHead, with the remedy, unless the schema of the database ``name`` is the one this program needs."""
    found = revision_of(connection)
    if found == HEAD:
        return
    if found is None:
        raise SchemaNotAtHead(f"the database {name} has no tables yet: {UPGRADE}")
    if not re.fullmatch(r"[0-9]{4}", found):
        raise SchemaNotAtHead(f"the database {name} has a schema of another program: mend database_url", found)
    if found < HEAD:
        text = f"the schema of {name} is older ({found}) than this version needs ({HEAD}): {UPGRADE}"
        raise SchemaNotAtHead(text, found)
    raise newer(name, found)


def is_foreign(connection: Connection) -> bool:
    """Whether the database has tables, and nothing that says which revision they are: another program's."""
    tables = {*inspect(connection).get_table_names()}
    if not tables - {alembic_version.name}:
        return False
    return alembic_version.name not in tables or connection.scalars(_REVISIONS).first() is None


def newer(name: str, found: str) -> SchemaNotAtHead:
    """The error for a schema that a later version has made."""
    return SchemaNotAtHead(
        f"the schema of {name} is newer ({found}) than this version knows ({HEAD}): upgrade bingx-etl", found
    )


def revision_of(connection: Connection) -> str | None:
    """The revision in the database, None where it has none. SchemaNotAtHead where it has several."""
    if connection.dialect.name == "sqlite":
        # Asked at the beginning of every transaction: whether there is a table need not be a question of its own.
        try:
            found = connection.scalars(_REVISIONS).all()
        except OperationalError as error:
            if "no such table" not in str(error.orig):
                raise
            return None
    elif connection.dialect.has_table(connection, alembic_version.name):
        found = connection.scalars(_REVISIONS).all()
    else:
        return None
    if len(found) > 1:
        raise SchemaNotAtHead("the schema has several revisions at once: restore a backup")
    return found[0] if found else None
