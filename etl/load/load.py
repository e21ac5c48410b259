"""Everything in the spool, parsed, judged and stored. Knows a Store, not SQL."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from heapq import merge
from typing import Self

from etl.clock import TRUSTED_SKEW
from etl.errors import DiskError, NotUnderstood, RecordRefused, SchemaNotAtHead
from etl.files import alone
from etl.grid import slot_of
from etl.load.batch import Batch, Loaded, failure_of
from etl.load.lineage import Lineage
from etl.load.refill import HistoryIsOlder, Refilled, keep, kept_entries, require_not_older
from etl.load.store import Store
from etl.model import Answer, Failure, Outcome, Reading, Reason
from etl.remembered import HostMemory, Remembered
from etl.spool.retention import Retention
from etl.spool.spool import Entry, Spool

log = logging.getLogger(__name__)

BATCH = 2000
BATCH_BYTES = 8_000_000
NAMES = 10_000  # known at a time: after a long outage there are very many
BYTES_A_SLOT = 200  # of a failure that stands for many
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Loader:
    """Drains the spool into the store.

    ``parse`` reads a body, ``remembered`` knows what was learned after a reading was kept, ``prepare`` brings the
    schema to head where that is this program's to do, and does nothing elsewhere. ``retention`` keeps what was stored
    for a while; None: nothing is kept. ``lineage`` remembers which history that was. What is refused is set aside, but
    not where it ``leaves_out`` that.
    """

    spool: Spool
    store: Store
    parse: Callable[[bytes], Answer]
    remembered: Remembered
    prepare: Callable[[], None]
    retention: Retention | None = None
    lineage: Lineage | None = None
    leaves_out: bool = False

    def load(self, unspooled: Sequence[Entry] = (), *, report: Callable[[Loaded], None] = lambda _: None) -> None:
        """Store everything that waits, in batches, each batch one transaction; ``report`` hears of each after COMMIT.

        It hears first of what is put back into an older database, of which ``entry.kept`` is true.
        ``unspooled`` are outcomes that the disk refused. Raises TryAgain where the store cannot take anything now:
        what is not reported then still waits.
        """
        # Somebody may put an older one in its place between two batches; once in a load it gets back what it lacks.
        is_checked = self.retention is None
        with _Discarding(self.spool) as discarding:
            for batch in _batches(merge(sorted(unspooled, key=_name), self._waiting(), key=_name)):
                try:
                    self._at_head(partial(self._load_batch, batch, report, discarding, is_checked=is_checked))
                except HistoryIsOlder as older:
                    self._refill(older, discarding, report)
                    self._at_head(partial(self._load_batch, batch, report, discarding, is_checked=True))
                    is_checked = True

    def refill(self, *, report: Callable[[Loaded], None] = lambda _: None) -> None:
        """Put back what the database lacks of what is kept, though nothing may wait; any load does that first."""
        if self.retention is None or self.retention.last() is None:
            return
        try:
            self._at_head(self._look)
        except HistoryIsOlder as older:
            with _Discarding(self.spool) as discarding:
                self._refill(older, discarding, report)

    def _look(self) -> None:
        begun_at: datetime | None = None
        with alone(self.spool.directory):
            with self.store.transaction() as transaction:
                if self.retention is not None:
                    begun_at = require_not_older(transaction, self.retention)
            self._note(begun_at)

    def _note(self, begun_at: datetime | None, *, is_new: bool = False) -> None:
        """Before anything more is kept: what was stored last may be all that tells of the history before."""
        if self.lineage is not None and self.retention is not None and begun_at is not None:
            self.lineage.note(begun_at, self.retention.last_history, is_new=is_new)

    def _refill(self, older: HistoryIsOlder, discarding: "_Discarding", report: Callable[[Loaded], None]) -> None:
        if self.retention is None:
            return
        self._note(older.begun_at)
        refilled = Refilled(older, report)
        for batch in _batches(kept_entries(self.store, self.retention, older.begun_at)):
            self._load_batch(batch, refilled, discarding, is_checked=True)
        refilled.tell()

    def put_in(self, kept: Iterable[Entry], report: Callable[[Loaded], None]) -> None:
        """Store these, which were stored before, in whatever history; of each, ``report`` hears after COMMIT."""
        with _Discarding(self.spool) as discarding:
            for batch in _batches(kept):
                self._load_batch(batch, report, discarding, is_checked=True)

    def _waiting(self) -> Iterator[Entry]:
        after = ""
        while names := self.spool.names(after, NAMES):
            yield from self.spool.read(names)
            after = names[-1]

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

    def _load_batch(
        self,
        batch: Sequence[Entry],
        report: Callable[[Loaded], None],
        discarding: "_Discarding",
        *,
        is_checked: bool,
    ) -> None:
        host = self.remembered.host()
        answers = [self._understand(entry.outcome) for entry in batch]
        batch = [self._enrich(entry, answer, host) for entry, answer in zip(batch, answers, strict=True)]
        try:
            with alone(self.spool.directory):
                loaded = self._store(batch, answers, is_checked=is_checked)
        except RecordRefused as error:
            if len(batch) > 1:
                middle = len(batch) // 2
                self._load_batch(batch[:middle], report, discarding, is_checked=is_checked)
                self._load_batch(batch[middle:], report, discarding, is_checked=True)
                return
            log.error("the database refuses an outcome of %s: %s", batch[0].outcome.account, error)
            loaded = [self._set_aside(self._refused_by_store(batch[0], str(error)))]
        for result in loaded:
            report(result)
        discarding.add(loaded)

    def _store(
        self, batch: Sequence[Entry], answers: Sequence[Answer | NotUnderstood | None], *, is_checked: bool
    ) -> list[Loaded]:
        """One transaction, and what is noted of it before anybody of this state directory looks at the history."""
        begun_at: datetime | None = None
        is_new = False
        with self.store.transaction() as transaction:
            if self.retention is not None and not is_checked:
                begun_at = require_not_older(transaction, self.retention)
                is_new = begun_at is None
            loaded = Batch(transaction, self._same_owner, self._begin).add(batch, answers)
            if self.retention is not None and begun_at is None:
                begun_at, _ = transaction.begun_at()
        if not is_checked:
            self._note(begun_at, is_new=is_new)
        if self.retention is not None and begun_at is not None:
            keep(self.retention, loaded, begun_at, goes_on=not is_checked)
        return [self._set_aside(result) for result in loaded]

    def _understand(self, outcome: Outcome) -> Answer | NotUnderstood | None:
        if not isinstance(outcome, Reading):
            return None
        try:
            return self.parse(outcome.bodies[-1] if outcome.bodies else b"")
        except NotUnderstood as error:
            return error

    def _enrich(self, entry: Entry, answer: Answer | NotUnderstood | None, host: HostMemory) -> Entry:
        """The entry with what was learned since it was kept: whose key it was, and how wrong the clock was.

        The latter only where the answer's own clock agrees: ours may have been right then, and set since. What was
        stored before stays in the slot that it had.
        """
        reading = entry.outcome
        if not isinstance(reading, Reading):
            return entry
        if reading.uid is None:
            uid = self.remembered.account(reading.account).uids.get(reading.key_fingerprint)
            reading = replace(reading, uid=uid)
        if entry.kept:
            return replace(entry, outcome=reading)
        offset_ms = host.offset_near(reading.requested_at)
        if offset_ms is not None and abs(offset_ms - (reading.clock_offset_ms or 0)) > TRUSTED_SKEW // MILLISECOND:
            offset = timedelta(milliseconds=offset_ms)
            sent_at = reading.requested_at + (offset if abs(offset) > TRUSTED_SKEW else timedelta(0))
            slot_at = slot_of(sent_at, reading.interval_seconds)
            moved = replace(reading, slot_at=slot_at, clock_offset_ms=offset_ms)
            said = answer.exchange_at if isinstance(answer, Answer) else None
            if said is not None and abs(said - moved.observed_at) <= TRUSTED_SKEW:
                reading = moved
        return entry if reading is entry.outcome else replace(entry, outcome=reading, content=b"")

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
        if entry.kept:
            return Loaded(entry, waits=detail)
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
        if not loaded.quarantined or failure is None or self.leaves_out:
            return loaded
        try:
            if entry.spooled:
                self.spool.quarantine(entry.name, failure.reason, failure.detail)
            else:
                name = entry.name if entry.kept else ""  # it may be there from the last time
                self.spool.quarantine_unspooled(entry.outcome, failure.reason, failure.detail, name)
        except DiskError as error:
            return replace(loaded, quarantined=False, waits=str(error))
        return loaded


class _Discarding:
    """Lets go of what was stored while the next batch is being stored; done when the block ends.

    To remove a file can take as long as to store what was in it, and waits for the disk.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.join()

    def add(self, loaded: Sequence[Loaded]) -> None:
        """These are stored: COMMIT has returned."""
        names = [r.entry.name for r in loaded if r.entry.spooled and not r.quarantined and not r.waits]
        self.__exit__()
        self._thread = None
        if len(loaded) < BATCH // 2:
            self._spool.discard(names)
        else:
            self._thread = threading.Thread(target=self._spool.discard, args=(names,), name="discard", daemon=True)
            self._thread.start()


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


def _name(entry: Entry) -> str:
    return entry.name
