"""History of a person's own, into the database. It stays recognisable, and is never in the way of what was measured."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import Connection, insert, select

from etl.db.bulk import chunks
from etl.db.engine import Database
from etl.db.reading import accounts_named
from etl.db.revision import check_revision
from etl.db.schema import AnnotationKind, annotation, snapshot
from etl.db.store import SqlTransaction
from etl.errors import SettingsError
from etl.load.store import Added
from etl.model import Environment, Provenance, Snapshot, StoredAccount
from etl.transfer.incoming import Incoming, placed


class Imports:
    """Imported snapshots. No schedule is begun by them: nobody expected their slots, so none between them is a gap."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def environments(
        self, said: Mapping[str, Environment | None], otherwise: Environment
    ) -> dict[str, tuple[Environment, bool]]:
        """By account, its environment, and whether it is new: by the history, else the file, else ``otherwise``.

        SettingsError where the file has another one than the history.
        """
        with self._database.read() as connection:
            check_revision(connection, self._database.address.name)
            known = accounts_named(connection, said)
        for name, account in known.items():
            _check(account, said[name])
        return {
            name: (known[name].environment if name in known else environment or otherwise, name not in known)
            for name, environment in said.items()
        }

    def add(self, batch: Sequence[Incoming], environments: Mapping[str, Environment]) -> int:
        """Store those whose slot has no snapshot yet, in one transaction; how many. Accounts come into being as needed.

        Where a schedule is in force, a snapshot goes into the slot of its time.
        """
        names = {entry.snapshot.account for entry in batch}
        with self._database.write() as connection:
            check_revision(connection, self._database.address.name)
            now = self._now()
            transaction = SqlTransaction(connection, now)
            accounts = transaction.accounts({name: environments[name] for name in names})
            for name, account in accounts.items():
                _check(account, environments[name])
            ids = {name: account.id for name, account in accounts.items()}
            snapshots = [placed(entry.snapshot, accounts[entry.snapshot.account].schedules) for entry in batch]
            added = transaction.add_snapshots(ids, snapshots)
            for entry, stored, outcome in zip(batch, snapshots, added, strict=True):
                if outcome is Added.STORED and entry.voided is not None:
                    _void(connection, ids[stored.account], stored, entry.voided, now)
        return sum(outcome is Added.STORED for outcome in added)

    def unlike(self, batch: Sequence[Incoming]) -> list[Snapshot]:
        """Those whose slot was imported before with another total; to be asked before ``add``, which leaves it."""
        with self._database.read() as connection:
            accounts = accounts_named(connection, {entry.snapshot.account for entry in batch})
            known = [entry.snapshot for entry in batch if entry.snapshot.account in accounts]
            incoming = [placed(each, accounts[each.account].schedules) for each in known]
            there: dict[tuple[str, datetime], Decimal | None] = {}
            for name, account in accounts.items():
                for slots in chunks(each.slot_at for each in incoming if each.account == name):
                    query = select(snapshot.c.slot_at, snapshot.c.total_usdt).where(
                        snapshot.c.account_id == account.id,
                        snapshot.c.slot_at.in_(slots),
                        snapshot.c.provenance == Provenance.IMPORTED,
                    )
                    there |= {(name, slot_at): total for slot_at, total in connection.execute(query)}
        return [each for each in incoming if there.get((each.account, each.slot_at), each.total) != each.total]


def _check(account: StoredAccount, environment: Environment | None) -> None:
    if environment not in {None, account.environment}:
        raise SettingsError(
            f"the history of {account.name} is from {account.environment}, the file's is from {environment}: use "
            "another database, or another name in the file"
        )


def _void(connection: Connection, account_id: int, stored: Snapshot, why: str, now: datetime) -> None:
    is_it = (snapshot.c.account_id == account_id) & (snapshot.c.slot_at == stored.slot_at)
    row = {"snapshot_id": connection.scalar(select(snapshot.c.id).where(is_it))}
    connection.execute(insert(annotation).values(row | {"kind": AnnotationKind.VOID, "text": why, "created_at": now}))
