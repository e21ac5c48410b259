"""A history in memory that keeps the promises of :class:`etl.load.store.Store`; its own tests hold it to them."""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from etl.errors import RecordRefused
from etl.load.store import Added
from etl.model import (
    CompleteWallets,
    Environment,
    Failure,
    Mark,
    Provenance,
    Schedule,
    Snapshot,
    Status,
    StoredAccount,
)

Slot = tuple[int, datetime]


@dataclass
class FakeHistory:
    """What is stored: accounts by name, the rest by account id and slot; ``annotations`` are kind and text."""

    accounts: dict[str, StoredAccount] = field(default_factory=dict)
    snapshots: dict[Slot, Snapshot] = field(default_factory=dict)
    failures: dict[Slot, Failure] = field(default_factory=dict)
    annotations: dict[Slot, list[tuple[str, str]]] = field(default_factory=dict)


class FakeStore:
    """:class:`etl.load.store.Store` without a database. Transactions raise ``error`` unless it is None."""

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.history = FakeHistory()
        self.error: Exception | None = None
        self._now = now

    @contextmanager
    def transaction(self) -> Iterator["FakeTransaction"]:
        """What happened in it is forgotten when it raises."""
        if self.error is not None:
            raise self.error
        before = deepcopy(self.history)
        try:
            yield FakeTransaction(self.history, self._now())
        except BaseException:
            self.history = before
            raise


class FakeTransaction:
    """:class:`etl.load.store.Transaction` without a database."""

    def __init__(self, history: FakeHistory, now: datetime) -> None:
        self._history = history
        self._now = now

    def accounts(self, environments: Mapping[str, Environment]) -> dict[str, StoredAccount]:
        """Created where unknown."""
        for name, environment in environments.items():
            known = self._history.accounts
            _check(name)
            new = StoredAccount(len(known) + 1, name, None, environment, _cut(self._now), None, ())
            known.setdefault(name, new)
        return {name: self._history.accounts[name] for name in environments}

    def begun_at(self, mark: Mark | None = None) -> tuple[datetime | None, bool]:
        """By the first account."""
        begun_at = next((account.created_at for account in self._history.accounts.values()), None)
        if mark is None:
            return begun_at, False
        slot = mark.account_id, mark.slot_at
        if not mark.is_snapshot:
            return begun_at, slot in self._history.failures
        there = self._history.snapshots.get(slot)
        return begun_at, there is not None and there.provenance is Provenance.MEASURED

    def last_slot(self) -> datetime | None:
        """Of either."""
        return max((slot_at for _, slot_at in [*self._history.snapshots, *self._history.failures]), default=None)

    def owners(self, uids: Iterable[str]) -> dict[str, str]:
        """Names by UID."""
        wanted = set(uids)
        return {a.uid: a.name for a in self._history.accounts.values() if a.uid in wanted and a.uid is not None}

    def complete_wallets(self, spans: Mapping[int, tuple[datetime, datetime]]) -> dict[int, list[CompleteWallets]]:
        """In order of slots."""
        return {account_id: self._wallets(account_id, *span) for account_id, span in spans.items()}

    def _wallets(self, account_id: int, first: datetime, last: datetime) -> list[CompleteWallets]:
        found = []
        for (of, slot_at), snapshot in sorted(self._history.snapshots.items()):
            notes = self._history.annotations.get((of, slot_at), [])
            marks = [kind for kind, _ in notes if kind != "note"]
            is_reliable = snapshot.status is Status.COMPLETE and snapshot.provenance is Provenance.MEASURED
            if of != account_id or slot_at > last or not is_reliable or marks[-1:] == ["void"]:
                continue
            amounts = {b.account_type: b.amount for b in snapshot.balances if b.amount is not None}
            accepted = frozenset(text.removeprefix("accept ") for kind, text in notes if kind == "note")
            found.append(CompleteWallets(slot_at, amounts, accepted))
        before = [wallets for wallets in found if wallets.slot_at < first]
        return before[-1:] + [wallets for wallets in found if wallets.slot_at >= first]

    def set_uid(self, account_id: int, uid: str) -> None:
        """Once."""
        account = self._account(account_id)
        if account.uid not in {None, uid} or self.owners([uid]).get(uid, account.name) != account.name:
            raise RecordRefused("the account has another UID already, or the UID another account")
        self._history.accounts[account.name] = replace(account, uid=uid)

    def set_schedules(self, account_id: int, schedules: Sequence[Schedule]) -> None:
        """In place of those before."""
        account = self._account(account_id)
        is_open = bool(schedules) and schedules[-1].valid_to is None
        retired_at = None if is_open else account.retired_at
        self._history.accounts[account.name] = replace(account, schedules=tuple(schedules), retired_at=retired_at)

    def add_snapshots(self, account_ids: Mapping[str, int], snapshots: Sequence[Snapshot]) -> list[Added]:
        """The first of a slot wins; a measured one replaces an imported one."""
        return [self._add((account_ids[snapshot.account], snapshot.slot_at), snapshot) for snapshot in snapshots]

    def _add(self, slot: Slot, new: Snapshot) -> Added:
        types = [balance.account_type for balance in new.balances]
        if len(set(types)) < len(types) or any(b.amount is not None and not b.amount.is_finite() for b in new.balances):
            raise RecordRefused("a type twice, or no finite amount")
        if new.total is not None and not new.total.is_finite():
            raise RecordRefused("no finite amount")
        for text in (new.reason or "", *types):
            _check(text)
        old = self._history.snapshots.get(slot)
        if old is None or (new.provenance is Provenance.MEASURED and old.provenance is Provenance.IMPORTED):
            self._history.snapshots[slot] = new
            self._history.annotations.pop(slot, None)
            return Added.STORED
        is_same = old.provenance == new.provenance and new.requested_at is not None and old.requested_at is not None
        if is_same and _cut(new.requested_at) == _cut(old.requested_at):
            return Added.STORED
        return Added.DUPLICATE

    def add_failures(self, account_ids: Mapping[str, int], failures: Sequence[Failure]) -> None:
        """The first of a slot wins."""
        for failure in failures:
            _check(failure.detail)
            self._history.failures.setdefault((account_ids[failure.account], failure.slot_at), failure)

    def _account(self, account_id: int) -> StoredAccount:
        return next(account for account in self._history.accounts.values() if account.id == account_id)


def _cut(instant: datetime | None) -> datetime:
    """To milliseconds, as databases keep it."""
    assert instant is not None
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _check(text: str) -> None:
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise RecordRefused("a text that no database stores")


def no_thread(_: threading.Thread) -> None:
    """What a thread's ``start`` does where the system has none: a limit of processes, or of memory."""
    raise RuntimeError("can't start new thread")
