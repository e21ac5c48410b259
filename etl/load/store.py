"""Where outcomes go, as :mod:`etl.load` needs it: a database, or a test's fake."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from etl.model import CompleteWallets, Environment, Failure, Mark, Schedule, Snapshot, StoredAccount


class Added(StrEnum):
    """What became of one snapshot."""

    STORED = "stored"  # it is in the history now, or was already: a replay of the very same reading
    DUPLICATE = "duplicate"  # the slot had its snapshot: the first one wins


class Transaction(Protocol):
    """One transaction of the history: committed when its block ends, rolled back when it raises."""

    def begun_at(self, mark: Mark | None = None) -> tuple[datetime | None, bool]:
        """When the history was begun, None before its first account; and whether it has what is marked."""

    def last_slot(self) -> datetime | None:
        """The last slot that has a snapshot or a failure."""

    def accounts(self, environments: Mapping[str, Environment]) -> dict[str, StoredAccount]:
        """The named accounts, created where the history does not know them, locked until the end."""

    def owners(self, uids: Iterable[str]) -> dict[str, str]:
        """The name of the account that has each UID, for those that are known."""

    def complete_wallets(self, spans: Mapping[int, tuple[datetime, datetime]]) -> dict[int, list[CompleteWallets]]:
        """By account id, in order: the complete, measured, unvoided snapshots in [first, last], and the last before."""

    def set_uid(self, account_id: int, uid: str) -> None:
        """Give an account that has none its UID."""

    def set_schedules(self, account_id: int, schedules: Sequence[Schedule]) -> None:
        """Make these the account's schedules; an account with an open schedule is not retired any more."""

    def add_snapshots(self, account_ids: Mapping[str, int], snapshots: Sequence[Snapshot]) -> list[Added]:
        """Store each unless its slot has one; a measured one replaces an imported one."""

    def add_failures(self, account_ids: Mapping[str, int], failures: Sequence[Failure]) -> None:
        """Store each unless its slot has one already."""


class Store(Protocol):
    """The history. Raises TryAgain where it cannot be reached and RecordRefused where it will not take a record."""

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin; the lock for writing is taken at once."""
