"""What a restored backup lacks, put back from what is kept of stored outcomes."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from etl.grid import from_ms, slot_text, to_ms
from etl.load.batch import Loaded
from etl.load.store import Store, Transaction
from etl.model import Mark, Reading
from etl.spool.retention import Retention
from etl.spool.spool import Entry
from etl.spool.spool_file import encode

log = logging.getLogger(__name__)


class HistoryIsOlder(Exception):
    """The history lacks what was stored in it last: somebody has put an older backup in its place."""

    def __init__(self, begun_at: datetime, last_slot: datetime | None) -> None:
        super().__init__()
        self.begun_at = begun_at
        self.last_slot = last_slot


def keep(retention: Retention, loaded: Sequence[Loaded], begun_at: datetime, *, goes_on: bool = False) -> None:
    """Keep what was stored in the history that was begun then: the outcome itself, or the failure in its place.

    A duplicate was not stored: of its slot another outcome is kept. ``goes_on``: the history lacked nothing before.
    """
    outcomes: list[tuple[str, bytes]] = []
    mark: Mark | None = None
    for each in loaded:
        if each.entry.kept or each.waits or each.duplicate or each.account_id is None:
            continue
        outcome = each.failure if each.quarantined and each.failure else each.entry.outcome
        content = each.entry.content if outcome is each.entry.outcome else b""
        outcomes.append((each.entry.name, content or encode(outcome)))
        if mark is None or not mark.is_snapshot or each.snapshot is not None:
            mark = Mark(each.account_id, outcome.slot_at, is_snapshot=each.snapshot is not None)
    if mark is not None:
        retention.add(begun_at, outcomes, mark, goes_on=goes_on)


def require_not_older(transaction: Transaction, retention: Retention) -> datetime | None:
    """When the history was begun; HistoryIsOlder where it lacks what is kept of it. One question, as a rule.

    Another history than that of the last outcome is none that lacks it: a new one stays empty.
    """
    last = retention.last()
    begun_at, has_last = transaction.begun_at(last and last[1][0])
    if begun_at is None:
        return None
    if last is None or last[0] != from_ms(to_ms(begun_at)):
        last = retention.last(begun_at)
        has_last = last is None or transaction.begun_at(last[1][0])[1]
    if has_last and last is not None:
        has_last = all(transaction.begun_at(mark)[1] for mark in last[1][1:])
    if not has_last:
        raise HistoryIsOlder(begun_at, transaction.last_slot())
    return begun_at


def kept_entries(
    store: Store, retention: Retention, begun_at: datetime | None, *, others: bool = False
) -> Iterator[Entry]:
    """What is kept of a history, or of all ``others``, in the order in which it was stored.

    An account is its UID: what was kept under another name than it has now is put back under the present one.
    """
    first: dict[str, str] = {}
    uids: set[str] = set()
    for _, outcome in retention.outcomes(begun_at, others=others):
        if isinstance(outcome, Reading) and outcome.uid is not None:
            first.setdefault(outcome.account, outcome.uid)
            uids.add(outcome.uid)
    with store.transaction() as transaction:
        owners = transaction.owners(uids)
    whose = dict(first)
    for name, outcome in retention.outcomes(begun_at, others=others):
        if isinstance(outcome, Reading) and outcome.uid is not None:
            whose[outcome.account] = outcome.uid
        uid = whose.get(outcome.account)
        account = outcome.account if uid is None else owners.get(uid, outcome.account)
        yield Entry(name, replace(outcome, account=account), spooled=False, kept=True, uid=uid)


@dataclass(slots=True)
class Refilled:
    """What became of the kept outcomes, to be told in one line."""

    older: HistoryIsOlder
    report: Callable[[Loaded], None]
    outcomes: int = 0
    first: datetime | None = None
    until: datetime | None = None
    step: timedelta = timedelta(0)
    refused: Counter[str] = field(default_factory=Counter)
    set_aside: int = 0

    def __call__(self, loaded: Loaded) -> None:
        """One more."""
        self.report(loaded)
        slot_at = loaded.entry.outcome.slot_at
        self.step = timedelta(seconds=loaded.entry.outcome.interval_seconds)
        self.outcomes += 1
        self.first, self.until = min(self.first or slot_at, slot_at), max(self.until or slot_at, slot_at)
        if loaded.waits:
            self.refused[loaded.waits] += 1
            self.set_aside += loaded.quarantined

    def tell(self) -> None:
        """What a person has to know, and to do."""
        last = "nothing" if self.older.last_slot is None else slot_text(self.older.last_slot)
        if self.first is None or self.until is None:
            log.warning(
                "the database is older than what was stored, ends with %s, and nothing is kept to put back", last
            )
            return
        log.warning(
            "the database is older than what was stored: it ended with %s, and what it lacked of %d kept outcomes"
            " from %s to %s is put back; void, accept, rename and retire since then have to be said again",
            last,
            self.outcomes,
            slot_text(self.first),
            slot_text(self.until),
        )
        if self.older.last_slot is not None and self.first > self.older.last_slot + self.step:
            text = "of what was stored after %s and before %s nothing is kept: look at bingx-etl gaps"
            log.warning(text, last, slot_text(self.first))
        for why, number in self.refused.items():
            log.warning("%d kept outcomes do not belong into this history any more: %s", number, why)
        if self.set_aside:
            text = "%d kept readings are in quarantine: when rename is said again, bingx-etl spool quarantine --retry"
            log.warning(text, self.set_aside)
