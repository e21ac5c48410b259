"""Everything in the spool, parsed, judged and stored. Knows a Store, not SQL."""

import logging
from bisect import bisect_left, insort_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain

from etl.clock import TRUSTED_SKEW
from etl.errors import DiskError, NotUnderstood, RecordRefused, SchemaNotAtHead
from etl.grid import slot_of
from etl.judge import Refused, Waits, check_environment, check_identity, judge, reschedule
from etl.model import (
    Answer,
    CompleteWallets,
    Failure,
    Outcome,
    Reading,
    Reason,
    Snapshot,
    StoredAccount,
)
from etl.remembered import Remembered
from etl.spool import Entry, Spool
from etl.store import Added, Store, Transaction

log = logging.getLogger(__name__)

BATCH = 2000
BATCH_BYTES = 8_000_000
BYTES_A_SLOT = 200  # of a failure that stands for many
MILLISECOND = timedelta(milliseconds=1)


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

    ``parse`` reads a body, ``remembered`` knows what was learned after a reading was kept, ``prepare`` brings the
    schema to head where that is this program's to do, and does nothing elsewhere.
    """

    spool: Spool
    store: Store
    parse: Callable[[bytes], Answer]
    remembered: Remembered
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
        batch = [self._enrich(entry) for entry in batch]
        answers = [self._understand(entry.outcome) for entry in batch]
        try:
            with self.store.transaction() as transaction:
                loaded = _Batch(transaction, self._same_owner, self._begin).add(batch, answers)
        except RecordRefused as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._load_batch(batch[:middle], report)
                self._load_batch(batch[middle:], report)
                return
            log.error("the database refuses an outcome of %s: %s", batch[0].outcome.account, error)
            loaded = [self._refused_by_store(batch[0], str(error))]
        loaded = [self._set_aside(result) for result in loaded]
        for result in loaded:
            report(result)
        self.spool.discard(r.entry.name for r in loaded if r.entry.spooled and not r.quarantined and not r.waits)

    def _understand(self, outcome: Outcome) -> Answer | NotUnderstood | None:
        if not isinstance(outcome, Reading):
            return None
        try:
            return self.parse(outcome.bodies[-1] if outcome.bodies else b"")
        except NotUnderstood as error:
            return error

    def _enrich(self, entry: Entry) -> Entry:
        """The entry with what was learned since it was kept: whose key it was, and how wrong the clock was."""
        reading = entry.outcome
        if not isinstance(reading, Reading):
            return entry
        if reading.uid is None:
            uid = self.remembered.account(reading.account).uids.get(reading.key_fingerprint)
            reading = replace(reading, uid=uid)
        offset_ms = self.remembered.offset_near(reading.requested_at)
        if offset_ms is not None and abs(offset_ms - (reading.clock_offset_ms or 0)) > TRUSTED_SKEW // MILLISECOND:
            offset = timedelta(milliseconds=offset_ms)
            sent_at = reading.requested_at + (offset if abs(offset) > TRUSTED_SKEW else timedelta(0))
            slot_at = slot_of(sent_at, reading.interval_seconds)
            reading = replace(reading, slot_at=slot_at, clock_offset_ms=offset_ms)
        return entry if reading is entry.outcome else replace(entry, outcome=reading)

    def _begin(self, reading: Reading) -> None:
        """A history begins, or goes on, with a reading of nobody knows whom: its key is remembered."""
        memory = self.remembered.account(reading.account)
        if memory.begun_with is None:
            self.remembered.keep_account(reading.account, replace(memory, begun_with=reading.key_fingerprint))

    def _same_owner(self, reading: Reading) -> bool:
        """Whether a reading's key is, as far as is known, of the user with whose key its account was begun."""
        memory = self.remembered.account(reading.account)
        if memory.begun_with is None or memory.begun_with == reading.key_fingerprint:
            return True
        return reading.uid is not None and memory.uids.get(memory.begun_with) == reading.uid

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

    def _set_aside(self, loaded: Loaded) -> Loaded:
        """Quarantine what has to be. Where the disk refuses, it stays in the spool, and the next load tries again."""
        entry, failure = loaded.entry, loaded.failure
        if not loaded.quarantined or failure is None:
            return loaded
        try:
            if entry.spooled:
                self.spool.quarantine(entry.name, failure.reason, failure.detail)
            else:
                self.spool.quarantine_unspooled(entry.outcome, failure.reason, failure.detail)
        except DiskError as error:
            return replace(loaded, quarantined=False, waits=str(error))
        return loaded


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """At most so many entries, rows of failures and bytes of bodies at a time."""
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        batch.append(entry)
        size += entry.outcome.slots * BYTES_A_SLOT if isinstance(entry.outcome, Failure) else 0
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

    def __init__(
        self, transaction: Transaction, same_owner: Callable[[Reading], bool], begin: Callable[[Reading], None]
    ) -> None:
        self._transaction = transaction
        self._same_owner = same_owner
        self._begin = begin

    def add(self, batch: Sequence[Entry], answers: Sequence[Answer | NotUnderstood | None]) -> list[Loaded]:
        outcomes = [entry.outcome for entry in batch]
        self._accounts = self._transaction.accounts({outcome.account: outcome.environment for outcome in outcomes})
        uids = {o.uid for o in outcomes if isinstance(o, Reading) and self._accounts[o.account].uid is None}
        self._owners = self._transaction.owners(filter(None, uids))
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
            same_owner = account.uid is not None or self._same_owner(outcome)
            refused = check_identity(account, outcome.uid, self._owners.get, same_owner=same_owner)
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
        uid = reading.uid
        if uid is None and account.uid is None:
            self._begin(reading)
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
        return [replace(r, duplicate=True) if r.snapshot and next(added) is Added.DUPLICATE else r for r in loaded]


def _slot_at(wallets: CompleteWallets) -> datetime:
    return wallets.slot_at
