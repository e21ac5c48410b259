"""One transaction's worth of outcomes: what the history knows is gathered, each is decided on, the rest follows."""

from bisect import bisect_left, insort_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from etl.errors import NotUnderstood
from etl.load.judge import Refused, Waits, check_environment, check_identity, judge, reschedule
from etl.load.store import Added, Transaction
from etl.model import Answer, CompleteWallets, Failure, Outcome, Reading, Reason, Snapshot, StoredAccount
from etl.spool.spool import Entry


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of one entry. ``snapshot`` is what was stored, or would have been but for the slot's first one.

    ``failure`` is what was stored instead; ``quarantined`` says that the outcome itself was set aside, ``waits`` that
    it stays in the spool, and why. ``account_id`` is that of its account, where it was stored. Of one that was ``kept``
    nothing waits, nor is a failure stored instead: ``waits`` is then why it was not put back.
    """

    entry: Entry
    snapshot: Snapshot | None = None
    failure: Failure | None = None
    duplicate: bool = False
    quarantined: bool = False
    waits: str | None = None
    account_id: int | None = None


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


class Batch:
    """One transaction: gather what the history knows, decide on each outcome in order of slots, apply."""

    def __init__(
        self, transaction: Transaction, same_owner: Callable[[Reading], bool], begin: Callable[[Reading], None]
    ) -> None:
        self._transaction = transaction
        self._same_owner = same_owner
        self._begin = begin

    def add(self, batch: Sequence[Entry], answers: Sequence[Answer | NotUnderstood | None]) -> list[Loaded]:
        """Decide on the outcomes, in order of slots, and store what comes of them. ``answers`` are their bodies."""
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
        if refused is not None and entry.kept:
            return Loaded(entry, waits=refused.detail)  # it is in the history where it belongs
        if refused is None and isinstance(outcome, Reading):
            same_owner = account.uid is not None or self._same_owner(outcome)
            refused = check_identity(account, outcome.uid, self._owners.get, same_owner=same_owner)
        elif refused is None and entry.uid is not None:
            refused = check_identity(account, entry.uid, self._owners.get)  # a failure says nothing of whose it is
        if isinstance(refused, Waits):
            return Loaded(entry, waits=refused.detail)
        if refused is None:
            refused = self._schedule(account, outcome)
        if refused is None and isinstance(answer, NotUnderstood):
            refused = Refused(Reason.MALFORMED, str(answer))
        if isinstance(refused, Refused) and entry.kept and isinstance(outcome, Failure):
            return Loaded(entry, waits=refused.detail)  # it is in no slot's way, and has been judged before
        if isinstance(refused, Refused):
            failure = failure_of(outcome, refused.reason, refused.detail)
            waits = refused.detail if entry.kept else None
            return Loaded(entry, failure=failure, quarantined=True, waits=waits, account_id=account.id)
        if isinstance(outcome, Failure):
            return Loaded(entry, failure=outcome, account_id=account.id)
        if not isinstance(answer, Answer):
            raise TypeError("a reading without an answer")
        self._identify(account, outcome)
        return Loaded(entry, snapshot=self._judge(account, outcome, answer), account_id=account.id)

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
            ids, [each for r in loaded if r.failure and not r.waits for each in r.failure.each()]
        )
        return [replace(r, duplicate=True) if r.snapshot and next(added) is Added.DUPLICATE else r for r in loaded]


def _slot_at(wallets: CompleteWallets) -> datetime:
    return wallets.slot_at
