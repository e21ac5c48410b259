"""One slot from BingX into the history: extract, spool, load. One-shot and daemon both call :meth:`Recorder.record`."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from etl.clock import Clock
from etl.errors import Disk, DiskError, EtlError, NotUnderstood
from etl.extract import Extraction
from etl.grid import slot_of
from etl.judge import judge
from etl.load import Loaded, Loader, failure_of
from etl.model import Failure, Outcome, Reading, Reason, Snapshot
from etl.patience import Plan
from etl.remembered import Remembered
from etl.source import Source, Stop
from etl.spool import Entry

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of one account in the slot.

    ``snapshot`` is None exactly where ``failure`` is not. ``stored`` is False while the outcome waits in the spool.
    ``waits`` says why one that could have been stored was not.
    """

    outcome: Outcome
    snapshot: Snapshot | None
    failure: Failure | None
    stored: bool
    duplicate: bool = False
    waits: str | None = None


@dataclass(slots=True)
class Slot:
    """What became of all of them. ``lost`` were refused by the disk and the database both."""

    recorded: list[Recorded] = field(default_factory=list)
    earlier: list[Loaded] = field(default_factory=list)  # quarantined now, of earlier slots
    earlier_stored: int = 0
    database: EtlError | None = None
    disk: Disk | None = None
    lost: list[Outcome] = field(default_factory=list)


class Recorder:
    """Reads accounts and stores what they answer; holds nothing between two slots but its parts."""

    def __init__(
        self,
        source: Source,
        remembered: Remembered,
        loader: Loader,
        plan: Plan,
        *,
        clock: Clock | None = None,
    ) -> None:
        self._source = source
        self._remembered = remembered
        self._loader = loader
        self._plan = plan
        self._clock = clock or Clock()

    def record(
        self,
        accounts: Sequence[str],
        keyless: Mapping[str, str],
        stop: Stop,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Slot:
        """Record the present slot of the accounts; ``keyless`` are those whose key could not be read, and why.

        ``progress`` is told how many more accounts have their outcome. Told to stop, it keeps what it has in the spool
        and loads nothing.
        """
        spool = self._loader.spool
        entries: list[Entry] = []
        slot = Slot()
        try:
            spool.prepare()
        except Disk as error:
            # Without a spool, a reading must not be asked for unless the database can take it at once.
            self._check_database(error)
            slot.disk = error

        def keep(outcomes: Sequence[Outcome]) -> None:
            kept, refusal = spool.put(outcomes)
            if refusal is not None and slot.disk is None:
                slot.disk = DiskError(f"the spool {spool.directory} cannot be written: {refusal.strerror}")
            entries.extend(kept)
            progress(len(kept))

        keep([self._keyless(account, why) for account, why in keyless.items()])
        extraction = Extraction(self._source, self._remembered, self._plan, keep=keep, stop=stop, clock=self._clock)
        extraction.run(accounts)
        loaded = {} if stop.is_set() and slot.disk is None else self._load(slot, entries)
        slot.lost = [e.outcome for e in entries if e.name is None and id(e.outcome) not in loaded]
        waiting = set(spool.names())
        slot.recorded = [self._recorded(entry, loaded.get(_key(entry)), waiting) for entry in entries]
        return slot

    def _check_database(self, refusal: Disk) -> None:
        try:
            self._loader.check()
        except EtlError as error:
            raise type(refusal)(f"{refusal}; nor can the database be used, so nothing was asked for: {error}") from None

    def _load(self, slot: Slot, entries: Iterable[Entry]) -> dict[str | int, Loaded]:
        ours = {_key(entry): entry for entry in entries}
        results: dict[str | int, Loaded] = {}

        def report(loaded: Loaded) -> None:
            if (key := _key(loaded.entry)) in ours:
                results[key] = loaded
            elif loaded.quarantined:
                slot.earlier.append(loaded)
            else:
                slot.earlier_stored += 1

        unspooled = [entry for entry in ours.values() if entry.name is None]
        try:
            self._loader.load(unspooled, report=report)
        except EtlError as error:
            slot.database = error
        return results

    def _keyless(self, account: str, why: str) -> Failure:
        now = self._clock.now()
        return Failure(
            account=account,
            environment=self._source.environment,
            slot_at=slot_of(now, self._plan.interval_seconds),
            interval_seconds=self._plan.interval_seconds,
            reason=Reason.KEY_MISSING,
            detail=why,
            attempts=0,
            first_at=now,
            last_at=now,
        )

    def _recorded(self, entry: Entry, loaded: Loaded | None, waiting: set[str]) -> Recorded:
        if loaded is not None:
            stored = loaded.waits is None
            if loaded.snapshot or loaded.failure:
                return Recorded(entry.outcome, loaded.snapshot, loaded.failure, stored, loaded.duplicate)
        # Not loaded by us: it waits, or another process that drained the same spool has stored it.
        stored = entry.name is not None and entry.name not in waiting
        waits = loaded.waits if loaded else None
        if isinstance(entry.outcome, Failure):
            return Recorded(entry.outcome, None, entry.outcome, stored, waits=waits)
        return self._unjudged(entry.outcome, stored, waits)

    def _unjudged(self, reading: Reading, stored: bool, waits: str | None) -> Recorded:
        """A reading that waits, as far as it can be understood without the history."""
        try:
            snapshot = judge(reading, self._loader.parse(reading.bodies[-1]), None)
        except NotUnderstood as error:
            return Recorded(reading, None, failure_of(reading, Reason.MALFORMED, str(error)), stored, waits=waits)
        return Recorded(reading, snapshot, None, stored, waits=waits)


def _key(entry: Entry) -> str | int:
    return entry.name or id(entry.outcome)
