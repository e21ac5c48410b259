"""What SQLAlchemy and the drivers raise, in words of ours. Nothing of theirs leaves this package.

The drivers' own texts are never passed on: they quote parameters, which are amounts, and a whole row where a
constraint refuses one. What a reader needs of them is in the SQLSTATE or SQLite's name of the error.
"""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError, StatementError

from etl.db.url import Address
from etl.errors import DatabaseUnavailable, EtlError, RecordRefused, SchemaNotAtHead, SettingsError

UPGRADE = "run `bingx-etl db upgrade`"
CORRUPT = "is damaged: move it away and restore a backup"
REPLACED = "was moved away or replaced at this very moment: run again"

_SQLITE_WORDS = {
    "SQLITE_BUSY": "is locked: another program is reading or writing it",
    "SQLITE_LOCKED": "is locked: another program is reading or writing it",
    "SQLITE_FULL": "cannot grow: the disk is full",
    "SQLITE_READONLY": "is read-only for this user: mend the owner or the mode of the file and its directory",
    "SQLITE_CANTOPEN": "cannot be opened: look at the modes of the file and its directory",
    "SQLITE_PERM": "cannot be opened: look at the modes of the file and its directory",
    "SQLITE_NOTADB": "is no SQLite database: move it away, or restore a backup",
    "SQLITE_CORRUPT": CORRUPT,
    "SQLITE_IOERR": "cannot be read or written: the disk reports an input or output error",
    "SQLITE_PROTOCOL": "is locked: another program is reading or writing it",
    "SQLITE_NOMEM": "cannot be used: there is not enough memory",
}
_SQLITE_REFUSED = {"SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE"}

# By SQLSTATE, or by its first two digits, its class.
_POSTGRESQL_WORDS = {
    "08": "broke the connection",
    "25006": "is read-only: it is a standby, or set to read-only transactions",
    "28": "refuses this user: mend user, password or pg_hba.conf",
    "3D": "does not exist: create it, or mend database_url",
    "40": "ended the transaction because of another one",
    "42501": "does not permit this to its role: the README lists what to grant; `db upgrade` needs an owner",
    "53100": "cannot grow: its disk is full",
    "53300": "has no connection left",
    "53": "is short of resources",
    "55P03": "is locked: another program is changing the same rows or the schema",
    "57014": "took too long and was interrupted",
    "57P": "is shutting down or starting up",
    "58": "reports an input or output error",
    "XX": "is damaged",
}
# A connection that was not made has no SQLSTATE; these words of the server and of libpq are stable in practice.
_CONNECT_WORDS = (
    (r"password|authentication|pg_hba|role .* does not exist|no pg_hba", "28"),
    (r"database .* does not exist", "3D"),
    (r"starting up|shutting down|recovery", "57P"),
    (r"too many (clients|connections)|connection slots", "53300"),
)


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Everything that SQLAlchemy or a driver raises inside leaves as an error of ours, without its cause."""
    try:
        yield
    except EtlError:
        raise
    except (SQLAlchemyError, sqlite3.Error, OverflowError, UnicodeError) as error:
        raise _ours(error, address) from None
    except Exception as error:
        # psycopg is not imported here: most installations never need it.
        if not type(error).__module__.startswith("psycopg"):
            raise
        raise _ours(error, address) from None


def _ours(error: Exception, address: Address) -> EtlError:
    cause: BaseException = error
    if isinstance(error, StatementError) and error.orig is not None:
        cause = error.orig
    if isinstance(cause, EtlError):
        return cause
    if isinstance(cause, sqlite3.Error):
        return _of_sqlite(cause, address)
    if isinstance(cause, OverflowError):
        return RecordRefused("a record cannot be stored: a number in it is too large")
    if isinstance(cause, UnicodeError):
        return RecordRefused("a record cannot be stored: a text in it is no Unicode")
    if type(cause).__module__.startswith("psycopg"):
        return _of_postgresql(cause, address)
    return DatabaseUnavailable(f"the database {address.name} cannot be used ({type(cause).__name__})")


def _of_sqlite(cause: sqlite3.Error, address: Address) -> EtlError:
    # The extended name says more than is needed: SQLITE_BUSY_SNAPSHOT, SQLITE_IOERR_FSYNC.
    name = "_".join(str(getattr(cause, "sqlite_errorname", "")).split("_")[:2])
    if getattr(cause, "sqlite_errorname", "") == "SQLITE_READONLY_DBMOVED":
        return DatabaseUnavailable(f"the database {address.name} {REPLACED}")
    if name in _SQLITE_WORDS:
        return DatabaseUnavailable(f"the database {address.name} {_SQLITE_WORDS[name]}")
    if name in _SQLITE_REFUSED or isinstance(cause, (sqlite3.DataError, sqlite3.IntegrityError)):
        return RecordRefused(f"the database refused a record{_constraint(str(cause))}")
    if re.match(r"no such (table|column|view)|table .* has no column", str(cause)):
        return SchemaNotAtHead(f"the schema of {address.name} is not what this version needs: {UPGRADE}")
    return DatabaseUnavailable(f"the database {address.name} cannot be used ({name or type(cause).__name__})")


def _constraint(text: str) -> str:
    found = re.fullmatch(r"(?:CHECK|UNIQUE|NOT NULL|FOREIGN KEY) constraint failed(?:: ([\w., ]+))?", text)
    return f" ({found[1]})" if found and found[1] else ""


def _of_postgresql(cause: BaseException, address: Address) -> EtlError:
    state = str(getattr(cause, "sqlstate", None) or "")
    text = str(cause)
    if not state:
        state = next((code for pattern, code in _CONNECT_WORDS if re.search(pattern, text)), "")
    if state[:2] in {"22", "23"}:
        name = getattr(getattr(cause, "diag", None), "constraint_name", None)
        return RecordRefused("the database refused a record" + (f" ({name})" if name else ""))
    if state in {"42P01", "42703", "3F000"}:
        return SchemaNotAtHead(f"the schema of {address.name} is not what this version needs: {UPGRADE}")
    if state in {"42P07", "42P16"}:
        return SettingsError(f"{address.name} has a table of another program: use a database or a schema of its own")
    for code in (state, state[:3], state[:2]):
        if code in _POSTGRESQL_WORDS:
            return DatabaseUnavailable(f"the database {address.name} {_POSTGRESQL_WORDS[code]}")
    kind = type(cause).__name__
    if not state and kind == "DataError":  # psycopg itself refuses to send it
        return RecordRefused("a record cannot be stored: a text has a NUL in it")
    if not state and kind == "ProgrammingError" and "connection option" in text:
        return SettingsError("database_url has an option that PostgreSQL does not know")
    if not state and kind in {"OperationalError", "ConnectionTimeout"}:
        return DatabaseUnavailable(
            f"the database {address.name} cannot be reached, or broke the connection: start it, or mend database_url"
        )
    return DatabaseUnavailable(f"the database {address.name} cannot be used ({state or kind})")
