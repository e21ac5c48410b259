"""What the database comes to: is it there, is its schema the right one, may this role record, is a commit safe."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, TypeVar

from etl.db.examination import Rights, Server
from etl.errors import EtlError, SchemaNotAtHead
from etl.extract.workers import Lost
from etl.grid import slot_text
from etl.load.lineage import Known
from etl.model import StoredAccount
from etl.ops.finding import Finding, Verdict

T = TypeVar("T")
# Of these and later ones WAL is known to lose no commit; so of older lines from these on.
SAFE_WAL = (3, 51, 3)
SAFE_WAL_IN_LINES = ((3, 50, 7), (3, 44, 6))
FIRST_WAL = (3, 7, 0)
# So many of an account's last slots are looked at.
SLOTS = 13


class Database(Protocol):
    """The facts, of :mod:`etl.db.examination`. ``name`` is for people, without a password."""

    name: str
    path: Path | None

    def server(self) -> Server:
        """Which it is."""

    def schema(self) -> str:
        """Its revision; raises SchemaNotAtHead."""

    def is_older(self) -> bool:
        """Whether this program upgrades it by itself."""

    def begun_at(self) -> datetime | None:
        """When its history was begun; None where there is none."""

    def is_whole(self) -> bool:
        """Whether no page of its file is damaged."""

    def rights(self) -> Rights:
        """What the role may do."""

    def accounts(self) -> dict[str, StoredAccount]:
        """Of the history."""

    def last_slots(self, accounts: Sequence[StoredAccount], most: int) -> dict[str, list[datetime]]:
        """In which somebody was there."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out, or the exception that came instead; None where it was not asked."""

    path: Path | None
    server: Server | Exception
    schema: str | Exception | None = None
    is_older: bool = False
    rights: Rights | Exception | None = None
    accounts: Mapping[str, StoredAccount] | Exception | None = None
    slots: Mapping[str, Sequence[datetime]] | Exception | None = None
    name: str = "the database"
    begun_at: datetime | Exception | None = None


def gather(database: Database) -> Facts:
    """Ask it everything, as long as it answers. Raises nothing."""
    path = database.path
    if path is not None and not path.exists():
        return Facts(
            path, SchemaNotAtHead(f"there is no database at {path} yet: the first run makes it"), is_older=True
        )
    try:
        server = database.server()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what there is to say of the database
        return Facts(path, error, begun_at=error)
    begun_at = _found(database.begun_at)
    schema, is_older = _found(database.schema), False
    if isinstance(schema, SchemaNotAtHead):
        is_older = isinstance(older := _found(database.is_older), bool) and older
        return Facts(path, server, schema, is_older, name=database.name, begun_at=begun_at)
    accounts = _found(database.accounts)
    rights = _found(database.rights) if path is None else None
    slots = None
    if not isinstance(accounts, Exception):
        current = [each for each in accounts.values() if each.retired_at is None]
        slots = _found(lambda: database.last_slots(current, SLOTS))
    return Facts(path, server, schema, is_older, rights, accounts, slots, database.name, begun_at)


def read_through(database: Database) -> bool | None:
    """Whether no page of its file is damaged; None where it is no file of ours. Raises what the database comes to."""
    return database.is_whole() if database.path is not None and database.path.exists() else None


def _found(ask: Callable[[], T]) -> T | Exception:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - as above: one question's trouble is no other's
        return error


def words(error: object) -> str:
    """Why it could not be asked."""
    if isinstance(error, EtlError):
        return str(error)
    return "it gave no answer in time" if isinstance(error, Lost) else f"the check failed ({type(error).__name__})"


def check_database(facts: Facts) -> Iterator[Finding]:
    """Whether it can be reached."""
    check, server = "database", facts.server
    if isinstance(server, SchemaNotAtHead) and facts.is_older:
        yield Finding(check, Verdict.OK, str(server))
    elif isinstance(server, Exception):
        is_ours = isinstance(server, EtlError | Lost)
        yield Finding(check, Verdict.PROBLEM if is_ours else Verdict.UNKNOWN, words(server))
    elif server.is_standby:
        says = f"{server.product} {server.version} is a standby, which takes no readings"
        yield Finding(check, Verdict.PROBLEM, says, "let database_url name the primary")
    elif unread := [each for each in (facts.accounts, facts.slots) if isinstance(each, EtlError)]:
        yield Finding(check, Verdict.PROBLEM, words(unread[0]))  # it answers, and its tables are locked or damaged
    else:
        yield Finding(check, Verdict.OK, f"{facts.name} answers: {server.product} {server.version}")


def check_schema(facts: Facts) -> Iterator[Finding]:
    """Whether it is the one that this program needs."""
    check, schema = "schema", facts.schema
    if schema is None:
        yield Finding(check, Verdict.SKIPPED, "there is no database to look at")
    elif isinstance(schema, str):
        yield Finding(check, Verdict.OK, f"at {schema}, which this program needs")
    elif not isinstance(schema, SchemaNotAtHead):
        yield Finding(check, Verdict.UNKNOWN, words(schema))
    elif facts.path is not None and facts.is_older:
        yield Finding(check, Verdict.WARNING, "it is older than this program needs", "the next run upgrades it")
    else:
        yield Finding(check, Verdict.PROBLEM, str(schema))


def check_history(facts: Facts, known: Known | None) -> Iterator[Finding]:
    """Whether it holds the history that is recorded into, and not one that was begun in its place."""
    check, begun_at = "history", facts.begun_at
    now = known
    if known is not None and isinstance(begun_at, datetime):
        now = known.now_in(begun_at, datetime.now(UTC))
    remedy = "put the one before back (mount its disk, mend database_url), or go on with this one: bingx-etl db adopt"
    if known is not None and begun_at is None:
        says = f"it is not in the database, though accounts were recorded: it was begun at {slot_text(known.begun_at)}"
        yield Finding(check, Verdict.PROBLEM, says, remedy)
    elif now is not None and now.instead is not None:
        begun, since = slot_text(now.instead.begun_at), slot_text(now.instead.since)
        says = (
            f"since {since} another one, begun at {begun}, is in the place of that begun at {slot_text(now.begun_at)}"
        )
        yield Finding(check, Verdict.PROBLEM, says, remedy)
    elif isinstance(begun_at, Exception):
        yield Finding(check, Verdict.SKIPPED, "there is no database to look at")
    elif begun_at is None:
        yield Finding(check, Verdict.SKIPPED, "nothing was recorded yet")
    else:
        yield Finding(check, Verdict.OK, f"it was begun at {slot_text(begun_at)}, and is the one that is recorded into")


def check_rights(facts: Facts) -> Iterator[Finding]:
    """Whether this user may record, and no more than that."""
    check, rights = "rights", facts.rights
    if facts.path is not None:
        yield from _check_file(facts.path)
    elif rights is None:
        yield Finding(check, Verdict.SKIPPED, "there are no tables to look at")
    elif isinstance(rights, Exception):
        yield Finding(check, Verdict.UNKNOWN, words(rights))
    elif rights.missing:
        says = f"the role lacks {', '.join(rights.missing)}"
        yield Finding(check, Verdict.PROBLEM, says, "grant what the README lists")
    elif rights.needless:
        says = f"the role {', '.join(rights.needless)}, which recording never needs"
        yield Finding(check, Verdict.WARNING, says, "record by a role with the grants that the README lists")
    else:
        yield Finding(check, Verdict.OK, "the role may do what recording needs, and cannot change the schema")


def _check_file(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding("rights", Verdict.SKIPPED, "there is no file to look at")
        return
    # SQLite needs to put its journal beside it.
    shut = [
        place
        for place, mode in ((path, os.R_OK | os.W_OK), (path.parent, os.W_OK | os.X_OK))
        if not os.access(place, mode)
    ]
    for place in shut:
        remedy = "mend its owner, its mode or its disk; or run as the user who records"
        yield Finding("rights", Verdict.PROBLEM, f"{place} cannot be written by this user", remedy)
    if not shut:
        yield Finding("rights", Verdict.OK, "the file and its directory can be written")


def check_journal(facts: Facts) -> Iterator[Finding]:
    """Whether a commit of SQLite's can be relied upon."""
    check, server = "journal", facts.server
    if facts.path is None or isinstance(server, Exception):
        yield Finding(check, Verdict.SKIPPED, "this is for a SQLite that can be asked")
        return
    says = f"SQLite {server.version} with journal_mode {server.journal_mode}"
    if server.journal_mode == "wal" and not is_wal_safe(server.version):
        remedy = "PRAGMA journal_mode=DELETE while nothing records, or a SQLite from 3.51.3 on"
        yield Finding(check, Verdict.PROBLEM, f"{says} can lose what was committed", remedy)
    elif server.journal_mode in {"off", "memory"}:
        remedy = "PRAGMA journal_mode=DELETE"
        yield Finding(check, Verdict.PROBLEM, f"{says} is damaged by a loss of power", remedy)
    else:
        yield Finding(check, Verdict.OK, says)


def check_integrity(facts: Facts, is_whole: object) -> Iterator[Finding]:
    """Whether SQLite's file is: of damage in old pages nobody would hear before somebody asks for them, years later."""
    check = "integrity"
    if is_whole is None or isinstance(facts.server, Exception):
        yield Finding(check, Verdict.SKIPPED, "this is for a SQLite that can be asked")
    elif is_whole is True:
        yield Finding(check, Verdict.OK, "every page was read, and none is damaged")
    elif isinstance(is_whole, Lost):
        yield Finding(check, Verdict.UNKNOWN, "not every page could be read in time", "sqlite3: PRAGMA quick_check")
    elif is_whole is False:
        remedy = "move it away and restore a backup; the next run puts back what is kept of what that lacks"
        yield Finding(check, Verdict.PROBLEM, f"pages of {facts.path} are damaged", remedy)
    else:
        is_ours = isinstance(is_whole, EtlError)
        yield Finding(check, Verdict.PROBLEM if is_ours else Verdict.UNKNOWN, words(is_whole))


def is_wal_safe(version: str) -> bool:
    """Whether this SQLite is free of the WAL-reset bug, which 3.7.0 to 3.51.2 have but for two older lines."""
    number = tuple(int(part) for part in re.findall(r"[0-9]+", version)[:3])
    in_line = any(number[:2] == first[:2] and number >= first for first in SAFE_WAL_IN_LINES)
    return number < FIRST_WAL or number >= SAFE_WAL or in_line
