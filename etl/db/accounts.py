"""What a person changes about the accounts of the history."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, func, insert, select, update

from etl.db.engine import Database
from etl.db.history import no_such_account
from etl.db.reading import accounts_named
from etl.db.revision import check_revision
from etl.db.schema import AnnotationKind, account, annotation, balance, failure, schedule, snapshot
from etl.db.wallets import ACCEPT, accepted_types, reliable
from etl.errors import SettingsError
from etl.grid import slot_text
from etl.model import ACCOUNT_NAME, StoredAccount


class Accounts:
    """The accounts of the history, to change. Raises NoSuchAccount for a name that it does not know."""

    def __init__(self, database: Database, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._database = database
        self._now = now

    def rename(self, name: str, new: str) -> None:
        """Give an account another name. SettingsError where it is none, or that of another account."""
        if not ACCOUNT_NAME.fullmatch(new):
            raise SettingsError(
                f"an account cannot be named {new!r}: use letters, digits, '.', '_' and '-', 64 at most"
            )
        with self._locked(name) as (connection, stored):
            there = accounts_named(connection, [new], lock=True).get(new) if new != name else None
            if there is not None and not _remove_if_empty(connection, there):
                raise SettingsError(f"the history has an account {new!r} already: choose another name")
            connection.execute(update(account).where(account.c.id == stored.id).values(name=new))

    def retire(self, name: str, at: datetime) -> None:
        """Expect no slot of the account that begins at ``at`` or later. SettingsError where it is retired already."""
        with self._locked(name) as (connection, stored):
            if stored.retired_at is not None:
                raise SettingsError(f"{name} is retired since {slot_text(stored.retired_at)}")
            # Schedules end at whole seconds; rounded up, so that a slot which has begun stays expected.
            end = at if not at.microsecond else at.replace(microsecond=0) + timedelta(seconds=1)
            is_open = (schedule.c.account_id == stored.id) & schedule.c.valid_to.is_(None)
            connection.execute(delete(schedule).where(is_open, schedule.c.valid_from >= end))
            connection.execute(update(schedule).where(is_open).values(valid_to=end))
            connection.execute(update(account).where(account.c.id == stored.id).values(retired_at=at))

    def accept(self, name: str, account_type: str) -> None:
        """No longer miss a wallet that is gone for good: a note on the last snapshot that had it.

        SettingsError where the last complete snapshot has no such wallet with an amount that could be missed.
        """
        with self._locked(name) as (connection, stored):
            is_last = (snapshot.c.account_id == stored.id) & reliable(snapshot)
            last = connection.scalar(select(snapshot.c.id).where(is_last).order_by(snapshot.c.slot_at.desc()).limit(1))
            of_last = select(balance.c.account_type, balance.c.usdt_balance).where(balance.c.snapshot_id == last)
            wallets = {row.account_type: row.usdt_balance for row in connection.execute(of_last)}
            if last is None or not wallets.get(account_type):
                missed = ", ".join(sorted(wallet for wallet, amount in wallets.items() if amount)) or "none"
                raise SettingsError(
                    f"nothing to accept: the last complete snapshot of {name} has no amount in {account_type!r}"
                    f" (wallets with one: {missed})"
                )
            if account_type not in accepted_types(connection, [last]).get(last, frozenset()):
                connection.execute(
                    insert(annotation).values(
                        snapshot_id=last, kind=AnnotationKind.NOTE, text=ACCEPT + account_type, created_at=self._now()
                    )
                )

    @contextmanager
    def _locked(self, name: str) -> Iterator[tuple[Connection, StoredAccount]]:
        with self._database.write() as connection:
            check_revision(connection, self._database.address.name)
            stored = accounts_named(connection, [name], lock=True).get(name)
            if stored is None:
                raise no_such_account(name)
            yield connection, stored


def _remove_if_empty(connection: Connection, stored: StoredAccount) -> bool:
    """Remove an account that is but a name, as a run with the old settings after a rename leaves it; whether it was."""
    has_snapshot = select(snapshot.c.id).where(snapshot.c.account_id == stored.id).limit(1)
    if stored.uid is not None or connection.scalar(has_snapshot) is not None:
        return False
    for rows in (failure, schedule):
        connection.execute(delete(rows).where(rows.c.account_id == stored.id))
    connection.execute(delete(account).where(account.c.id == stored.id))
    # A history is known by when its first account came, and stays the same one.
    first = select(func.min(account.c.id)).scalar_subquery()
    later = (account.c.id == first) & (account.c.id > stored.id)
    connection.execute(update(account).where(later).values(created_at=stored.created_at))
    return True
