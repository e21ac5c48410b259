"""How long ago each account was read, asked for by the drivers alone: a check that runs every minute must cost little.

Only looks: a SQLite file is opened read-only, and a missing one is not created. Void and imported snapshots are no sign
of life; one of the future is none either, since a clock that was wrong for a while must not vouch for years to come.
"""

import os
import re
import sqlite3
import stat
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime

from etl.db.views_shared import VOIDED
from etl.errors import DatabaseUnavailable, EtlError
from etl.grid import from_ms, slot_text

BUSY_SECONDS = 3.0
"""How long to wait while a recorder commits."""
DEADLINE_SECONDS = 5
"""How long a PostgreSQL may take for it all."""
SKEW_SECONDS = 60
"""By how much another host's clock may be ahead of ours."""

# What SQLAlchemy and libpq understand alike; whatever is less plain is taken apart by SQLAlchemy.
PLAIN_POSTGRESQL = r"postgres(ql)?(\+psycopg)?://([\w.-]+(:[^@/?#:\[\]]*)?@)?[\w.-]*(:[0-9]+)?/[\w.-]+"

_LAST = f"""\
SELECT a.name, a.retired_at IS NOT NULL, (
    SELECT {{taken_at}}
    FROM snapshot AS s
    WHERE s.account_id = a.id AND s.provenance = 'measured' AND s.slot_at <= {{now}} AND s.id NOT IN ({VOIDED})
    ORDER BY s.slot_at DESC
    LIMIT 1
  )
FROM account AS a"""  # noqa: S608 - nothing of a user's gets in
_SQLITE = _LAST.format(taken_at="s.taken_at", now="?")
_POSTGRESQL = _LAST.format(taken_at="extract(epoch FROM s.taken_at)::float8", now="%s::timestamptz")


def sqlite_file(url: str) -> str | None:
    """The file that a URL names in the plain form; None for any other URL."""
    for form in ("sqlite:///", "sqlite+pysqlite:///"):
        path = url.removeprefix(form)
        if path != url and path not in {"", ":memory:"} and not path.startswith("file:") and not {"?", "%"} & {*path}:
            path = path if path[:2] != "//" else "/" + path.lstrip("/")
            return os.path.join(os.getcwd(), path)  # noqa: PTH109, PTH118 - pathlib takes as long as all the rest
    return None


def last_snapshots(url: str, names: Iterable[str], now: float) -> dict[str, float | None]:
    """When each account was read last, in Unix seconds, None for never: all but the retired ones, by name.

    Those are the accounts of the history, and these ``names`` as well. ``now`` is in Unix seconds. Raises the errors of
    a database that cannot be asked; one that is not there yet, or has no tables, knows of no snapshot.
    """
    path = sqlite_file(url)
    try:
        rows = of_file(path, now) if path is not None else _of_url(url, now)
    except EtlError:
        raise
    except Exception as error:
        from etl.db.faults import translated  # noqa: PLC0415 - brings SQLAlchemy, which costs a quarter of a second
        from etl.db.url import parse  # noqa: PLC0415

        with translated(parse(url)):
            raise error from None
    return expected(rows, names)


def expected(rows: Iterable[tuple[str, bool, float | None]], names: Iterable[str]) -> dict[str, float | None]:
    """Of name, whether retired, and last time: those of whom snapshots are expected."""
    known = {name: (retired, taken_at) for name, retired, taken_at in rows}
    found = {name: taken_at for name, (retired, taken_at) in known.items() if not retired}
    return dict(sorted({**{name: None for name in names if name not in known}, **found}.items()))


def of_file(path: str, now: float) -> list[tuple[str, bool, float | None]]:
    """Name, whether retired, and last time of every account in a SQLite file.

    Raises sqlite3.Error and OSError, and DatabaseUnavailable for what is no file, or holds what is no time.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)  # noqa: PTH116 - as above
    except FileNotFoundError:
        return []
    if kind != stat.S_IFREG:  # SQLite would wait for a FIFO for ever, and take a device for an empty database
        raise DatabaseUnavailable(f"the database {path} is not a file: mend database_url")
    quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    with closing(sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, timeout=BUSY_SECONDS)) as connection:
        try:
            rows = connection.execute(_SQLITE, (_horizon(now),)).fetchall()
        except sqlite3.OperationalError as error:
            if str(error) != "no such table: account":
                raise
            return []
    try:
        return [
            (name, bool(retired), None if at is None else datetime.fromisoformat(at).timestamp())
            for name, retired, at in rows
        ]
    except (ValueError, TypeError):
        from etl.db.types import damaged  # noqa: PLC0415 - as above

        raise damaged() from None


def _of_url(url: str, now: float) -> list[tuple[str, bool, float | None]]:
    """The same of any database. Raises what a driver raises, and SettingsError."""
    if re.fullmatch(PLAIN_POSTGRESQL, url, re.ASCII):
        return _of_postgresql(f"postgresql://{url.partition('://')[2]}", {}, now)
    from etl.db.url import parse  # noqa: PLC0415

    address = parse(url)
    if address.path is not None:
        return of_file(str(address.path), now)
    return _of_postgresql("", address.url.get_dialect()().create_connect_args(address.url)[1], now)


def _of_postgresql(
    conninfo: str, more: Mapping[str, str | int | None], now: float
) -> list[tuple[str, bool, float | None]]:
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    from etl.db.deadline import SocketDeadline  # noqa: PLC0415

    whole = make_conninfo(conninfo, **{"connect_timeout": DEADLINE_SECONDS, "client_encoding": "utf8", **more})
    with closing(psycopg.connect(whole, autocommit=True, prepare_threshold=None)) as connection:
        deadline = SocketDeadline(connection.fileno(), DEADLINE_SECONDS)
        try:
            return connection.execute(_POSTGRESQL, (_horizon(now),)).fetchall()
        except psycopg.errors.UndefinedTable:
            return []
        finally:
            deadline.cancel()


def _horizon(now: float) -> str:
    return slot_text(from_ms(int((now + SKEW_SECONDS) * 1000)))
