"""A database URL, understood: which of the two dialects, and how it may be named to people. Never shows a password."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from etl.errors import SettingsError

FORMS = "sqlite:////absolute/path/balances.db or postgresql://user@host/name"

_POSTGRESQL = {"postgres", "postgresql", "postgresql+psycopg"}
_SQLITE = {"sqlite", "sqlite+pysqlite"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is. ``path`` is the file of SQLite, ``url`` what SQLAlchemy gets, ``name`` what people read."""

    url: URL = field(repr=False)
    name: str
    path: Path | None


def parse(text: str) -> Address:
    """The address in a database URL; SettingsError, without quoting the URL, for anything but a file or PostgreSQL."""
    try:
        url = make_url(text)
    except (SQLAlchemyError, ValueError, TypeError):
        raise SettingsError(f"database_url cannot be understood: write {FORMS}") from None
    if url.drivername in _SQLITE:
        return _sqlite(url)
    if url.drivername in _POSTGRESQL:
        return _postgresql(url)
    # What stands before :// is shown only where it looks like the name of a dialect.
    shown = f" ({url.drivername})" if re.fullmatch(r"[a-z0-9_]{1,20}(\+[a-z0-9_]{1,20})?", url.drivername) else ""
    raise SettingsError(f"database_url names neither SQLite nor PostgreSQL{shown}: write {FORMS}")


def _sqlite(url: URL) -> Address:
    if url.host or url.username or url.password or url.port:
        raise SettingsError("database_url needs three slashes before a path: sqlite:////absolute/path/balances.db")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise SettingsError("database_url must name a file that stays: sqlite:////absolute/path/balances.db")
    if url.query:
        raise SettingsError("database_url takes no options (?…) for SQLite")
    # A slash too many (sqlite:////$HOME/x.db) means the same to the system, and a host to SQLite.
    path = Path(re.sub(r"^//+", "/", url.database)).absolute()
    return Address(URL.create("sqlite+pysqlite", database=str(path)), str(path), path)


def _postgresql(url: URL) -> Address:
    hosts = url.query.get("host", ())
    host = url.host or (hosts if isinstance(hosts, str) else ",".join(hosts)) or "the local server"
    port = f":{url.port}" if url.port else ""
    name = f"{url.database} at {host}{port}" if url.database else f"PostgreSQL at {host}{port}"
    return Address(url.set(drivername="postgresql+psycopg"), name, None)
