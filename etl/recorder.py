"""One slot from BingX into the history: extract, spool, load. One-shot and daemon both call :meth:`Recorder.record`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from etl.clock import Clock
from etl.doubt import Doubter
from etl.errors import Disk, DiskError, EtlError, NotUnderstood
from etl.extract.extract import Extraction
from etl.extract.patience import Plan
from etl.extract.source import Source, Stop
from etl.extract.workers import Threads
from etl.grid import slot_of
from etl.load.batch import Loaded, failure_of
from etl.load.judge import judge
from etl.load.load import Loader
from etl.model import Failure, Outcome, Reading, Reason, Snapshot
from etl.remembered import Remembered
from etl.spool.spool import Draft, Entry

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
    """One slot of the accounts: what is in the spool, or was refused by its disk, and what became of it when stored.

    ``missed`` are failures of slots before it, which nobody attended to. ``requests_left``: the fewest that BingX said
    were left to this address while the slot was read; None where it said nothing.
    """

    entries: list[Entry] = field(default_factory=list)
    recorded: list[Recorded] = field(default_factory=list)
    disk: Disk | None = None
    missed: Sequence[Failure] = ()
    requests_left: int | None = None


@dataclass(slots=True)
class Stored:
    """One load of the spool, as far as it was not about the slots it was asked for.

    ``earlier`` outcomes that waited were stored, others ``quarantined``; so many files were ``damaged``. ``trouble``
    kept the rest from being stored. ``lost`` were refused by the disk before, and by the database now.
    ``newest``: when the newest snapshot was taken of each account of which it stored any. It took ``seconds``; None
    where nothing was tried.
    """

    earlier: int = 0
    quarantined: list[Loaded] = field(default_factory=list)
    damaged: int = 0
    trouble: EtlError | None = None
    lost: list[Outcome] = field(default_factory=list)
    newest: dict[str, datetime] = field(default_factory=dict)
    seconds: float | None = None

    def note(self, snapshot: Snapshot, *, duplicate: bool) -> None:
        """It is in the history, or of a ``duplicate`` the first one of its slot, which was taken since that began."""
        taken_at = snapshot.slot_at if duplicate else snapshot.taken_at
        known = self.newest.get(snapshot.account)
        if known is None or taken_at > known:
            self.newest[snapshot.account] = taken_at


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
        requests_left: Callable[[], int | None] = lambda: None,
    ) -> None:
        """``requests_left``: the fewest that BingX said were left since it was asked last; None for nothing."""
        self._source = source
        self._remembered = remembered
        self._loader = loader
        self._plan = plan
        self._clock = clock or Clock()
        self._threads = Threads()
        self._requests_left = requests_left

    @property
    def longest_reading_seconds(self) -> float:
        """A slot is read for no longer than this: until it ends, and then until the last request does."""
        return self._plan.interval_seconds + self._plan.longest_call_seconds

    def record(
        self,
        accounts: Sequence[str],
        keyless: Mapping[str, str],
        stop: Stop,
        progress: Callable[[int], None] = lambda _: None,
    ) -> tuple[Slot, Stored]:
        """Record the present slot of the accounts, once. Told to stop, it keeps what it has in the spool.

        Takes what :meth:`read` takes.
        """
        slot = self.read(accounts, keyless, stop, progress)
        if stop.is_set() and slot.disk is None:
            slot.recorded = [self._recorded(entry, None) for entry in slot.entries]
            return slot, Stored()
        return slot, self.store([slot])

    def read(
        self,
        accounts: Sequence[str],
        keyless: Mapping[str, str],
        stop: Stop,
        progress: Callable[[int], None] = lambda _: None,
    ) -> Slot:
        """Ask for the accounts and put their outcomes into the spool.

        ``keyless`` are the accounts whose key could not be read, and why. ``progress`` is told how many more have their
        outcome. Raises Disk, and asks for nothing, where neither the spool nor the database could take an answer.
        """
        spool = self._loader.spool
        slot = Slot()
        try:
            spool.prepare()
        except Disk as error:
            self._check_database(error)
            slot.disk = error

        def keep(drafts: Sequence[Draft]) -> None:
            self._keep(slot, drafts)
            progress(len(drafts))

        keep([spool.write(self._keyless(account, why)) for account, why in keyless.items()])
        extraction = Extraction(
            self._source,
            self._remembered,
            self._plan,
            write=spool.write,
            keep=keep,
            set_aside=self._set_aside,
            stop=stop,
            doubter=Doubter(self._loader.parse, self._plan.doubt_above),
            clock=self._clock,
            threads=self._threads,
        )
        extraction.run(accounts)
        slot.requests_left = self._requests_left()
        return slot

    def keep(self, slot: Slot, outcomes: Sequence[Outcome]) -> None:
        """Put outcomes of a slot into the spool; those that its disk refuses stay with the slot."""
        self._keep(slot, [self._loader.spool.write(outcome) for outcome in outcomes])

    def _keep(self, slot: Slot, drafts: Sequence[Draft]) -> None:
        spool = self._loader.spool
        kept, refusal = spool.keep(drafts)
        if refusal is not None and slot.disk is None:
            slot.disk = DiskError(f"the spool {spool.directory} cannot be written: {refusal.strerror}")
        slot.entries += kept

    def store(self, slots: Sequence[Slot], progress: Callable[[int], None] = lambda _: None) -> Stored:
        """Load whatever the spool has, these slots and all that waited, and note in each slot what became of it.

        ``progress`` is told how many more outcomes were dealt with.
        """
        stored = Stored()
        results: dict[str, Loaded] = {}
        ours = {entry.name for slot in slots for entry in slot.entries}

        def report(loaded: Loaded) -> None:
            progress(1)
            if loaded.entry.kept:
                return  # it was told of when it was stored
            if loaded.snapshot is not None and loaded.waits is None:
                stored.note(loaded.snapshot, duplicate=loaded.duplicate)
            if loaded.entry.name in ours:
                results[loaded.entry.name] = loaded
            elif loaded.quarantined:
                stored.quarantined.append(loaded)
            elif loaded.waits is None:
                stored.earlier += 1

        damaged = self._loader.spool.damaged
        began = self._clock.monotonic()
        unspooled = [entry for slot in slots for entry in slot.entries if not entry.spooled]
        try:
            self._loader.load(unspooled, report=report)
            if gone := self._taken_by_others(slots, results):
                self._loader.load(gone, report=report)
        except EtlError as error:
            stored.trouble = error
        stored.seconds = self._clock.monotonic() - began
        stored.damaged = self._loader.spool.damaged - damaged
        taken = {key for key, loaded in results.items() if loaded.waits is None}
        for slot in slots:
            slot.entries = [e if e.spooled or e.name in taken else self._spool_again(e) for e in slot.entries]
            stored.lost += [e.outcome for e in slot.entries if not e.spooled and e.name not in taken]
            slot.recorded = [self._recorded(entry, results.get(entry.name)) for entry in slot.entries]
        return stored

    def _taken_by_others(self, slots: Sequence[Slot], results: Mapping[str, Loaded]) -> list[Entry]:
        """What left the spool by another process: only the history can say whether it was stored, and as what."""
        spooled = [entry for slot in slots for entry in slot.entries if entry.spooled and entry.name not in results]
        return [entry for entry in spooled if not self._loader.spool.has(entry.name)]

    def _spool_again(self, entry: Entry) -> Entry:
        """What was in memory only and is not in the history either: there may be room on the disk by now."""
        if self._loader.spool.has(entry.name):  # it was whole, though not flushed, and has been adopted
            return replace(entry, spooled=True)
        [again], _ = self._loader.spool.put([entry.outcome])
        return again

    def _set_aside(self, outcome: Outcome, reason: str, detail: str) -> None:
        try:
            self._loader.spool.quarantine_unspooled(outcome, reason, detail)
        except Disk as error:
            log.error("%s", error)

    def _check_database(self, refusal: Disk) -> None:
        try:
            self._loader.check()
        except EtlError as error:
            raise type(refusal)(f"{refusal}; nor can the database be used, so nothing was asked for: {error}") from None

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

    def _recorded(self, entry: Entry, loaded: Loaded | None) -> Recorded:
        if loaded is not None and (loaded.snapshot or loaded.failure):
            return Recorded(
                entry.outcome,
                loaded.snapshot,
                loaded.failure,
                stored=loaded.waits is None,
                duplicate=loaded.duplicate,
                waits=loaded.waits,
            )
        # Not loaded by us: it waits, or another process that drained the same spool has stored it.
        waiting = not entry.spooled or self._loader.spool.has(entry.name)
        waits = loaded.waits if loaded else None
        if isinstance(entry.outcome, Failure):
            return Recorded(entry.outcome, None, entry.outcome, stored=not waiting, waits=waits)
        return self._unjudged(entry.outcome, stored=not waiting, waits=waits)

    def _unjudged(self, reading: Reading, *, stored: bool, waits: str | None) -> Recorded:
        """A reading that waits, as far as it can be understood without the history."""
        try:
            snapshot = judge(reading, self._loader.parse(reading.bodies[-1]), None)
        except NotUnderstood as error:
            failure = failure_of(reading, Reason.MALFORMED, str(error))
            return Recorded(reading, None, failure, stored=stored, waits=waits)
        return Recorded(reading, snapshot, None, stored=stored, waits=waits)
