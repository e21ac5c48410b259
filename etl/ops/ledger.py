"""What the metrics tell, as values: what was counted so far, and what is known of each account.

Knows no library and no clock. Times are Unix seconds, so that they go to a file and into a metric as they are.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from etl.errors import SchemaNotAtHead
from etl.model import Reading, Reason, Status
from etl.recorder import Recorded, Slot, Stored

# Up to the most that request_timeout allows; most answers take a fraction of a second.
FETCH_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
# From one account into SQLite to a spool full after an outage, or a database that hangs.
LOAD_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0)
# The slot could not be read at all, so its accounts have no outcome; as in `gaps`, where nobody was there to know.
NONE = "none"
DUPLICATE = "duplicate"
# What is further in the future than this was noted by a wrong clock, and does not hide what comes after.
WRONG_CLOCK_SECONDS = 3600.0
# An account that is in the settings no more may come back, and two programs may have one state directory.
FORGET_AFTER_SECONDS = 30 * 86_400.0


@dataclass(slots=True)
class Histogram:
    """How many observations were at most so large; ``counts`` has one more than there are bounds, for the others."""

    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def observe(self, value: float, bounds: Sequence[float]) -> None:
        """Count one. What a version with other bounds has counted is let go of."""
        if len(self.counts) != len(bounds) + 1:
            self.counts, self.total = [0] * (len(bounds) + 1), 0.0
        self.counts[bisect_left(bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class AccountRecord:
    """One account. ``reason`` is why the last slot that was attended to, ``slot_at``, has no snapshot; "" if it has.

    ``read_at`` is when the last reading was taken that is safe, on the disk or in the database, ``stored_at`` when that
    which the database has; ``read_slot_at`` is the former's slot. ``counted_slot_at`` is the last that was counted as
    read. ``since``: it was first seen in the settings.
    """

    since: float
    slot_at: float | None = None
    reason: str = ""
    read_slot_at: float | None = None
    read_at: float | None = None
    stored_at: float | None = None
    doubted_at: float | None = None
    counted_slot_at: float | None = None

    def missed(self, interval_seconds: int) -> int:
        """How many slots in a row, up to the last one attended to, have no reading; with those nobody attended to."""
        if self.slot_at is None:
            return 0
        read = self.read_slot_at
        if read is None:
            read = (self.since // interval_seconds - 1) * interval_seconds
        return max(0, round((self.slot_at - read) / interval_seconds))


@dataclass(slots=True)
class Ledger:
    """Everything. ``slots`` counts by outcome and reason, with a space between; counters never go down."""

    accounts: dict[str, AccountRecord] = field(default_factory=dict)
    slots: dict[str, int] = field(default_factory=dict)
    attempts: int = 0
    doubted: int = 0
    fetches: Histogram = field(default_factory=Histogram)
    loads: Histogram = field(default_factory=Histogram)
    last_run_at: float | None = None
    clock_offset_seconds: float | None = None
    requests_left: int | None = None
    schema_at_head: bool | None = None
    schema_revision: int | None = None
    history_begun_anew: bool | None = None

    def expect(self, names: Iterable[str], now: float) -> None:
        """These accounts are in the settings; of the others, those not seen for long are forgotten."""
        expected = set(names)
        for name in expected - set(self.accounts):
            self.accounts[name] = AccountRecord(since=now)
        for record in self.accounts.values():
            if record.since > now + WRONG_CLOCK_SECONDS:
                record.since = now
        for name in set(self.accounts) - expected:
            if (self.accounts[name].slot_at or self.accounts[name].since) < now - FORGET_AFTER_SECONDS:
                del self.accounts[name]

    def note(self, slots: Sequence[Slot], stored: Stored, now: float, needed_revision: str) -> None:
        """Slots that were read, and one attempt to store them and all that waited."""
        for slot in slots:
            self._note_slot(slot, now)
        for name, taken_at in stored.newest.items():
            self._account(name, now).stored_at = _later(self._account(name, now).stored_at, taken_at, now)
        if slots:
            self.last_run_at = now
            left = [slot.requests_left for slot in slots if slot.requests_left is not None]
            self.requests_left = min(left) if left else self.requests_left
        something = any(recorded.stored for slot in slots for recorded in slot.recorded) or stored.earlier > 0
        if stored.seconds is not None and (something or stored.trouble is not None):
            self.loads.observe(stored.seconds, LOAD_SECONDS)
        if isinstance(stored.trouble, SchemaNotAtHead):
            self.schema_at_head, self.schema_revision = False, _number(stored.trouble.found)
        elif stored.trouble is None and something:
            self.schema_at_head, self.schema_revision = True, _number(needed_revision)

    def note_failed_run(self, names: Iterable[str], slot_at: float, now: float) -> None:
        """A slot that could not be read at all, for these accounts."""
        for name in names:
            account = self._account(name, now)
            if slot_at != account.slot_at:
                self._count("failed", NONE)
            self._attend(account, slot_at, NONE, now)
        self.last_run_at = now

    def _note_slot(self, slot: Slot, now: float) -> None:
        for failure in slot.missed:
            self._count("failed", failure.reason.value, failure.slots)
        for recorded, entry in zip(slot.recorded, slot.entries, strict=True):
            self._note_recorded(recorded, now, is_safe=recorded.stored or entry.spooled)
        offsets = [seconds for recorded in slot.recorded if (seconds := _clock_offset(recorded)) is not None]
        if offsets:
            self.clock_offset_seconds = median(offsets)

    def _note_recorded(self, recorded: Recorded, now: float, *, is_safe: bool) -> None:
        outcome, snapshot, failure = recorded.outcome, recorded.snapshot, recorded.failure
        self.attempts += outcome.attempts
        account = self._account(outcome.account, now)
        slot_at = outcome.slot_at.timestamp()
        reason = "" if snapshot is not None else (failure.reason if failure else Reason.DEFECT).value
        # Another process of the state directory may have been here before, and may have stored what we have read.
        is_attended, is_counted = slot_at == account.slot_at, slot_at == account.counted_slot_at
        self._attend(account, slot_at, reason, now)
        if isinstance(outcome, Reading):
            self.fetches.observe(outcome.latency_ms / 1000, FETCH_SECONDS)
            if outcome.doubt is not None:
                self.doubted += 1
                account.doubted_at = _later(account.doubted_at, outcome.requested_at, now)
        if snapshot is None:
            if not is_attended:
                self._count("failed", reason, failure.slots if failure else 1)
            return
        if recorded.duplicate or is_counted:
            self._count(DUPLICATE)
        else:
            self._count(snapshot.status.value)
            account.counted_slot_at = slot_at
        # Of a duplicate nothing is kept, and of the slot's first one no more is known than that it is of that slot.
        taken_at = outcome.slot_at if recorded.duplicate else snapshot.taken_at
        if is_safe:
            account.read_at = _later(account.read_at, taken_at, now)
            account.read_slot_at = _later(account.read_slot_at, outcome.slot_at, now)
        if recorded.stored:
            account.stored_at = _later(account.stored_at, taken_at, now)

    def _account(self, name: str, now: float) -> AccountRecord:
        return self.accounts.setdefault(name, AccountRecord(since=now))

    def _attend(self, account: AccountRecord, slot_at: float, reason: str, now: float) -> None:
        """A slot that was slow may come after its successor, of which more is to be told."""
        if account.slot_at is None or slot_at >= account.slot_at or account.slot_at > now + WRONG_CLOCK_SECONDS:
            account.slot_at, account.reason = slot_at, reason

    def _count(self, outcome: str, reason: str = "", slots: int = 1) -> None:
        key = f"{outcome} {reason}".rstrip()
        self.slots[key] = self.slots.get(key, 0) + slots


def all_kinds() -> list[tuple[str, str]]:
    """Every outcome and reason there can be, so that a counter is there, at 0, before it counts for the first time."""
    kinds = [(Status.COMPLETE.value, ""), (Status.PARTIAL.value, ""), (DUPLICATE, "")]
    return [*kinds, *(("failed", reason.value) for reason in Reason), ("failed", NONE)]


def _later(before: float | None, instant: datetime, now: float) -> float:
    seconds = instant.timestamp()
    return seconds if before is None or before > now + WRONG_CLOCK_SECONDS else max(before, seconds)


def _clock_offset(recorded: Recorded) -> float | None:
    """The exchange's clock minus ours: what it said, against the middle of the request."""
    snapshot = recorded.snapshot
    if snapshot is None or snapshot.requested_at is None or snapshot.latency_ms is None:
        return None
    return (snapshot.taken_at - snapshot.requested_at).total_seconds() - snapshot.latency_ms / 2000


def _number(revision: str | None) -> int | None:
    """A revision as a number; 0 for none, and None where it is no number of ours."""
    if revision is None:
        return 0
    return int(revision) if revision.isascii() and revision.isdigit() else None
