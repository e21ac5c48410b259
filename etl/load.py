"""Everything in the spool, parsed, judged and stored. Knows a Store, not SQL."""

import logging
from bisect import bisect_left, insort_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import Protocol

from etl.errors import DiskError, NotUnderstood, RecordRefused, SchemaNotAtHead
from etl.judge import Refused, Waits, check_environment, check_identity, judge, reschedule
from etl.model import (
    Answer,
    CompleteWallets,
    Environment,
    Failure,
    Outcome,
    Reading,
    Reason,
    Schedule,
    Snapshot,
    StoredAccount,
)
from etl.spool import Entry, Spool

log = logging.getLogger(__name__)

BATCH = 500
BATCH_BYTES = 8_000_000


class Added(StrEnum):
    """What became of one snapshot."""

    STORED = "stored"  # it is in the history now, or was already: a replay of the very same reading
    DUPLICATE = "duplicate"  # the slot had its snapshot: the first one wins


class Transaction(Protocol):
    """One transaction of the history: committed when its block ends, rolled back when it raises."""

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


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one entry. ``snapshot`` is what was stored, or would have been but for the slot's first one.

    ``failure`` is what was stored instead; ``quarantined`` says that the outcome itself was set aside, ``waits`` that
    it stays in the spool, and why.
    """

    entry: Entry
    snapshot: Snapshot | None = None
    failure: Failure | None = None
    duplicate: bool = False
    quarantined: bool = False
    waits: str | None = None


@dataclass(frozen=True, slots=True)
class Loader:
    """Drains the spool into the store.

    ``parse`` reads a body, ``uid_of`` knows who is behind a key's fingerprint, ``prepare`` brings the schema to head
    where that is this program's to do, and does nothing elsewhere.
    """

    spool: Spool
    store: Store
    parse: Callable[[bytes], Answer]
    uid_of: Callable[[str, str], str | None]
    prepare: Callable[[], None]

    def load(self, unspooled: Sequence[Entry] = (), *, report: Callable[[Loaded], None] = lambda _: None) -> None:
        """Store everything that waits, in batches, each batch one transaction; ``report`` hears of each after COMMIT.

        ``unspooled`` are outcomes that the disk refused. Raises TryAgain where the store cannot take anything now:
        what is not reported then still waits.
        """
        for batch in _batches(chain(unspooled, self.spool.read(self.spool.names()))):
            self._at_head(partial(self._load_batch, batch, report))

    def check(self) -> None:
        """Whether the store can take anything now; raises TryAgain if not."""
        self._at_head(self._open)

    def _at_head(self, call: Callable[[], None]) -> None:
        """The call, and once more after the schema was made ready: nothing of it has happened if it was not."""
        try:
            call()
        except SchemaNotAtHead:
            self.prepare()
            call()

    def _open(self) -> None:
        with self.store.transaction():
            pass

    def _load_batch(self, batch: Sequence[Entry], report: Callable[[Loaded], None]) -> None:
        answers = [self._understand(entry.outcome) for entry in batch]
        try:
            with self.store.transaction() as transaction:
                loaded = _Batch(transaction, self._uid).add(batch, answers)
        except RecordRefused as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._load_batch(batch[:middle], report)
                self._load_batch(batch[middle:], report)
                return
            log.error("the database refuses an outcome of %s: %s", batch[0].outcome.account, error)
            loaded = [self._refused_by_store(batch[0], str(error))]
        for result in loaded:
            if result.quarantined and result.failure:
                self._set_aside(result.entry, result.failure)
        done = [r.entry.name for r in loaded if r.entry.name and not r.quarantined and not r.waits]
        self.spool.discard(done)
        for result in loaded:
            report(result)

    def _understand(self, outcome: Outcome) -> Answer | NotUnderstood | None:
        if not isinstance(outcome, Reading):
            return None
        try:
            return self.parse(outcome.bodies[-1] if outcome.bodies else b"")
        except NotUnderstood as error:
            return error

    def _uid(self, reading: Reading) -> str | None:
        return reading.uid or self.uid_of(reading.account, reading.key_fingerprint)

    def _refused_by_store(self, entry: Entry, detail: str) -> Loaded:
        """The outcome goes to quarantine; its slot keeps the reason, if the store takes at least that."""
        failure = failure_of(entry.outcome, Reason.DEFECT, f"the database refuses it: {detail}")
        try:
            with self.store.transaction() as transaction:
                accounts = transaction.accounts({failure.account: failure.environment})
                transaction.add_failures({name: account.id for name, account in accounts.items()}, [failure])
        except RecordRefused:
            log.error("the database refuses even the failure of %s", failure.account)
        return Loaded(entry, failure=failure, quarantined=True)

    def _set_aside(self, entry: Entry, failure: Failure) -> None:
        try:
            if entry.name:
                self.spool.quarantine(entry.name, failure.reason, failure.detail)
            else:
                self.spool.quarantine_unspooled(entry.outcome, failure.reason, failure.detail)
        except DiskError as error:
            log.error("%s; the next load tries again", error)


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """At most so many entries, and so many bytes of bodies, at a time."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += sum(map(len, entry.outcome.bodies)) if isinstance(entry.outcome, Reading) else 0
        if len(batch) == BATCH or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def failure_of(outcome: Outcome, reason: Reason, detail: str) -> Failure:
    """The failure that an outcome leaves in the history when it cannot enter itself."""
    first_at = outcome.requested_at if isinstance(outcome, Reading) else outcome.first_at
    last_at = outcome.requested_at if isinstance(outcome, Reading) else outcome.last_at
    return Failure(
        account=outcome.account,
        environment=outcome.environment,
        slot_at=outcome.slot_at,
        interval_seconds=outcome.interval_seconds,
        reason=reason,
        detail=detail,
        attempts=outcome.attempts,
        first_at=first_at,
        last_at=last_at,
    )


class _Batch:
    """One transaction: gather what the history knows, decide on each outcome in order of slots, apply."""

    def __init__(self, transaction: Transaction, uid: Callable[[Reading], str | None]) -> None:
        self._transaction = transaction
        self._uid = uid

    def add(self, batch: Sequence[Entry], answers: Sequence[Answer | NotUnderstood | None]) -> list[Loaded]:
        outcomes = [entry.outcome for entry in batch]
        self._accounts = self._transaction.accounts({outcome.account: outcome.environment for outcome in outcomes})
        uids = {uid for outcome in outcomes if isinstance(outcome, Reading) and (uid := self._uid(outcome))}
        self._owners = self._transaction.owners(uids)
        self._wallets = self._transaction.complete_wallets(self._spans(outcomes))
        loaded = [self._decide(entry, answer) for entry, answer in zip(batch, answers, strict=True)]
        return self._apply(loaded)

    def _spans(self, outcomes: Sequence[Outcome]) -> dict[int, tuple[datetime, datetime]]:
        spans: dict[int, tuple[datetime, datetime]] = {}
        for outcome in outcomes:
            account_id = self._accounts[outcome.account].id
            first, last = spans.get(account_id, (outcome.slot_at, outcome.slot_at))
            spans[account_id] = (min(first, outcome.slot_at), max(last, outcome.slot_at))
        return spans

    def _decide(self, entry: Entry, answer: Answer | NotUnderstood | None) -> Loaded:
        outcome, account = entry.outcome, self._accounts[entry.outcome.account]
        refused: Refused | Waits | None = check_environment(account, outcome)
        if refused is None and isinstance(outcome, Reading):
            refused = check_identity(account, self._uid(outcome), self._owners.get)
        if isinstance(refused, Waits):
            return Loaded(entry, waits=refused.detail)
        if refused is None:
            refused = self._schedule(account, outcome)
        if refused is None and isinstance(answer, NotUnderstood):
            refused = Refused(Reason.MALFORMED, str(answer))
        if isinstance(refused, Refused):
            return Loaded(entry, failure=failure_of(outcome, refused.reason, refused.detail), quarantined=True)
        if isinstance(outcome, Failure):
            return Loaded(entry, failure=outcome)
        if not isinstance(answer, Answer):
            raise TypeError("a reading without an answer")
        self._identify(account, outcome)
        return Loaded(entry, snapshot=self._judge(account, outcome, answer))

    def _schedule(self, account: StoredAccount, outcome: Outcome) -> Refused | None:
        schedules = reschedule(account.schedules, outcome.slot_at, outcome.interval_seconds)
        if isinstance(schedules, Refused):
            return schedules
        if schedules != account.schedules:
            self._transaction.set_schedules(account.id, schedules)
            self._accounts[account.name] = replace(account, schedules=schedules)
        return None

    def _identify(self, account: StoredAccount, reading: Reading) -> None:
        uid = self._uid(reading)
        if uid and account.uid is None:
            self._transaction.set_uid(account.id, uid)
            self._accounts[account.name] = replace(self._accounts[account.name], uid=uid)
            self._owners[uid] = account.name

    def _judge(self, account: StoredAccount, reading: Reading, answer: Answer) -> Snapshot:
        known = self._wallets.setdefault(account.id, [])
        before = bisect_left(known, reading.slot_at, key=_slot_at)
        snapshot = judge(reading, answer, known[before - 1] if before else None)
        if snapshot.total is not None:
            amounts = {b.account_type: b.amount for b in snapshot.balances if b.amount is not None}
            insort_left(known, CompleteWallets(snapshot.slot_at, amounts), key=_slot_at)
        return snapshot

    def _apply(self, loaded: Sequence[Loaded]) -> list[Loaded]:
        ids = {name: account.id for name, account in self._accounts.items()}
        snapshots = [result.snapshot for result in loaded if result.snapshot]
        added = iter(self._transaction.add_snapshots(ids, snapshots))
        self._transaction.add_failures(
            ids, [each for result in loaded if result.failure for each in result.failure.each()]
        )
        return [replace(r, duplicate=next(added) is Added.DUPLICATE) if r.snapshot else r for r in loaded]


def _slot_at(wallets: CompleteWallets) -> datetime:
    return wallets.slot_at
