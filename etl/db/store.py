"""The history in a database: :class:`etl.load.store.Store`, as SQL."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update

from etl.db.bulk import chunks, insert_or_skip
from etl.db.engine import Database
from etl.db.reading import BEGUN_AT, accounts_named, schedules_of
from etl.db.revision import check_revision
from etl.db.schema import account, failure, schedule, snapshot
from etl.db.snapshots import add_snapshots
from etl.db.wallets import complete_wallets
from etl.errors import RecordRefused
from etl.load.store import Added
from etl.model import CompleteWallets, Environment, Failure, Mark, Provenance, Schedule, Snapshot, StoredAccount

_BEGUN = BEGUN_AT.scalar_subquery()
_IS_SNAPSHOT = exists().where(
    snapshot.c.account_id == bindparam("account_id"),
    snapshot.c.slot_at == bindparam("slot_at"),
    snapshot.c.provenance == Provenance.MEASURED,
)
_IS_FAILURE = exists().where(failure.c.account_id == bindparam("account_id"), failure.c.slot_at == bindparam("slot_at"))
# Asked in every slot, and so composed once.
_BEGUN_AND_HAS_SNAPSHOT, _BEGUN_AND_HAS_FAILURE = select(_BEGUN, _IS_SNAPSHOT), select(_BEGUN, _IS_FAILURE)


class SqlStore:
    """The history on SQLite or PostgreSQL. ``now`` tells when a row was recorded."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @contextmanager
    def transaction(self) -> Iterator["SqlTransaction"]:
        """One transaction; SchemaNotAtHead before it does anything, where the schema is not this program's."""
        with self._database.write() as connection:
            check_revision(connection, self._database.address.name)
            yield SqlTransaction(connection, self._now())


class SqlTransaction:
    """:class:`etl.load.store.Transaction`. Few statements, whatever the number of rows."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def accounts(self, environments: Mapping[str, Environment]) -> dict[str, StoredAccount]:
        """The named accounts, created where they are not known. On PostgreSQL their rows are locked, in order of id."""
        stored: dict[str, StoredAccount] = {}
        # Sorted, so that two writers that create the same accounts wait for each other in one order only.
        for names in chunks(sorted(environments)):
            if self._connection.dialect.name == "sqlite":
                # Its one lock is taken already, and nearly always they are all there.
                there = accounts_named(self._connection, names)
                if len(there) == len(names):
                    stored |= there
                    continue
            known = set(self._connection.scalars(select(account.c.name).where(account.c.name.in_(names))))
            new = [
                {"name": name, "environment": environments[name], "created_at": self._now}
                for name in names
                if name not in known
            ]
            if new:
                self._connection.execute(insert_or_skip(self._connection.dialect.name, account), new)
            stored |= accounts_named(self._connection, names, lock=True)
        return stored

    def begun_at(self, mark: Mark | None = None) -> tuple[datetime | None, bool]:
        """One question for both."""
        if mark is None:
            return self._connection.scalar(BEGUN_AT), False
        values = {"account_id": mark.account_id, "slot_at": mark.slot_at}
        question = _BEGUN_AND_HAS_SNAPSHOT if mark.is_snapshot else _BEGUN_AND_HAS_FAILURE
        begun_at, has_mark = self._connection.execute(question, values).one()
        return begun_at, bool(has_mark)

    def last_slot(self) -> datetime | None:
        """By account, for there is no index on the slot alone."""
        found = [
            self._connection.scalar(
                select(
                    func.max(
                        select(func.max(each.c.slot_at)).where(each.c.account_id == account.c.id).scalar_subquery()
                    )
                )
            )
            for each in (snapshot, failure)
        ]
        return max((end for end in found if end is not None), default=None)

    def owners(self, uids: Iterable[str]) -> dict[str, str]:
        """The name of the account that has each UID, for those that are known."""
        found: dict[str, str] = {}
        for chunk in chunks(uids):
            rows = self._connection.execute(select(account.c.uid, account.c.name).where(account.c.uid.in_(chunk)))
            found |= {row.uid: row.name for row in rows}
        return found

    def complete_wallets(self, spans: Mapping[int, tuple[datetime, datetime]]) -> dict[int, list[CompleteWallets]]:
        """By account id, in order of slots; an account without any has an empty list."""
        return complete_wallets(self._connection, spans)

    def set_uid(self, account_id: int, uid: str) -> None:
        """RecordRefused where the account has another UID, or another account has this one."""
        is_free = account.c.uid.is_(None) | (account.c.uid == uid)
        changed = self._connection.execute(
            update(account).where(account.c.id == account_id, is_free).values(uid=uid)
        ).rowcount
        if not changed:
            raise RecordRefused("the account has another UID already")

    def set_schedules(self, account_id: int, schedules: Sequence[Schedule]) -> None:
        """Rows that stay keep their ids."""
        there = schedules_of(self._connection, [account_id])[account_id]
        wanted = {s.valid_from: s for s in schedules}
        of_account = schedule.c.account_id == account_id
        for valid_from, old in there.items():
            is_old = of_account & (schedule.c.valid_from == valid_from)
            new = wanted.pop(valid_from, None)
            if new is None:
                self._connection.execute(delete(schedule).where(is_old))
            elif new != old:
                values = {"interval_seconds": new.interval_seconds, "valid_to": new.valid_to}
                self._connection.execute(update(schedule).where(is_old).values(values))
        new_rows = [
            {
                "account_id": account_id,
                "interval_seconds": s.interval_seconds,
                "valid_from": s.valid_from,
                "valid_to": s.valid_to,
            }
            for s in wanted.values()
        ]
        if new_rows:
            self._connection.execute(insert(schedule), new_rows)
        if schedules and schedules[-1].valid_to is None:
            is_retired = (account.c.id == account_id) & account.c.retired_at.is_not(None)
            self._connection.execute(update(account).where(is_retired).values(retired_at=None))

    def add_snapshots(self, account_ids: Mapping[str, int], snapshots: Sequence[Snapshot]) -> list[Added]:
        """Store each unless its slot has one; a measured one replaces an imported one."""
        return add_snapshots(self._connection, account_ids, snapshots, self._now)

    def add_failures(self, account_ids: Mapping[str, int], failures: Sequence[Failure]) -> None:
        """Store each unless its slot has one already."""
        rows = [
            {
                "account_id": account_ids[f.account],
                "slot_at": f.slot_at,
                "reason": f.reason,
                "detail": f.detail,
                "attempts": f.attempts,
                "first_at": f.first_at,
                "last_at": f.last_at,
            }
            for f in failures
        ]
        if rows:
            # Asked to return something, SQLAlchemy writes many rows into one statement.
            statement = insert_or_skip(self._connection.dialect.name, failure).returning(failure.c.account_id)
            self._connection.execute(statement, rows)
