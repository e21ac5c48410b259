"""What needs a person, for as long as it does: which states hold, since when, and which change nobody was told of yet.

Values and arithmetic; :mod:`etl.ops.changes` remembers them and tells. A state is told once when it begins and once
when it ends, each account's in its own time. A change stays untold until somebody has taken it, so that neither a crash
nor a broken command costs one.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from etl.doubt import is_resolved
from etl.grid import slot_text
from etl.load.lineage import Known
from etl.model import Reading, Reason
from etl.ops.waiting import Waiting
from etl.recorder import Recorded

# Spool, quarantine and history are no account's.
HOST = ""
NOBODY_THERE = "none"
# A slot may come later than its successors, but only by its deadlines; what is said to be later was by a wrong clock.
WRONG_CLOCK = timedelta(days=1)
# An account that is recorded no more is forgotten; two programs with other accounts may have one state directory.
FORGET_AFTER = timedelta(days=30)
NEEDS_KEY = {
    Reason.KEY_MISSING,
    Reason.KEY_REFUSED,
    Reason.IP_NOT_ALLOWED,
    Reason.PERMISSION_MISSING,
    Reason.ACCOUNT_BLOCKED,
    Reason.IDENTITY_MISMATCH,
}
MOST_NAMES = 5
FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)


class State(StrEnum):
    """What is told."""

    KEY_REFUSED = "key_refused"
    SLOTS_MISSED = "slots_missed"
    QUARANTINE = "quarantine_not_empty"
    SPOOL_OLD = "spool_old"
    DOUBTFUL = "doubtful_reading"
    BEGUN_ANEW = "history_begun_anew"


class Seen(NamedTuple):
    """What became of an account in a slot: its failure's reason, or of its reading what is still in doubt."""

    account: str
    slot_at: datetime
    interval_seconds: int
    reason: Reason | None
    doubt: str = ""


@dataclass(slots=True)
class Holding:
    """A state that holds, or has ended and nobody knows. ``told``: that it has begun."""

    since: datetime
    reason: str
    until: datetime | None = None
    told: bool = False


@dataclass(slots=True)
class Attendance:
    """The last slot of an account that has a reading, and the last that has any outcome, on a grid of this interval."""

    read_at: datetime
    interval_seconds: int
    last_at: datetime


@dataclass(slots=True)
class Retry:
    """So many times in a row a change could not be told; it is not tried again before ``not_before``."""

    times: int
    not_before: datetime


@dataclass(slots=True)
class Memory:
    """What is remembered from slot to slot. ``retries`` are by the :attr:`Change.name`."""

    accounts: dict[str, Attendance] = field(default_factory=dict)
    holding: dict[State, dict[str, Holding]] = field(default_factory=dict)
    retries: dict[str, Retry] = field(default_factory=dict)

    def begin(self, state: State, account: str, since: datetime, reason: str) -> None:
        """It holds from now on, unless it does already."""
        known = self.holding.setdefault(state, {}).setdefault(account, Holding(since, reason))
        known.until = None

    def end(self, state: State, account: str, until: datetime) -> None:
        """It holds no more."""
        known = self.holding.get(state, {}).get(account)
        if known is not None and known.until is None:
            known.until = until


@dataclass(frozen=True, slots=True)
class Change:
    """A state that begins or ends, for some accounts at once, or for none where it is the host's."""

    state: State
    begins: bool
    accounts: dict[str, Holding]

    @property
    def name(self) -> str:
        """Of all changes of this kind."""
        return f"{self.state} {self.word}"

    @property
    def word(self) -> str:
        """``begins`` or ``ends``."""
        return "begins" if self.begins else "ends"

    @property
    def since(self) -> datetime:
        """When the first of them began."""
        return min(holding.since for holding in self.accounts.values())

    @property
    def names(self) -> list[str]:
        """The accounts."""
        return sorted(account for account in self.accounts if account != HOST)

    @property
    def reasons(self) -> list[str]:
        """Each once."""
        return sorted({holding.reason for holding in self.accounts.values()})

    @property
    def text(self) -> str:
        """For people, in one line."""
        more = len(self.names) - MOST_NAMES
        names = ", ".join(self.names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
        whose = f" of {names}" if names else ""
        return f"{self.state} {self.word}{whose}: {', '.join(self.reasons[:3])}; since {slot_text(self.since)}"


def seen_of(recorded: Recorded) -> Seen:
    """What of an outcome matters here."""
    outcome, failure = recorded.outcome, recorded.failure
    doubt = (outcome.doubt or "") if isinstance(outcome, Reading) else ""
    last_at = outcome.slot_at
    if failure is not None:
        last_at += timedelta(seconds=outcome.interval_seconds * (failure.slots - 1))
    return Seen(
        outcome.account,
        last_at,
        outcome.interval_seconds,
        None if failure is None else failure.reason,
        "" if is_resolved(doubt) else doubt,
    )


def attend(memory: Memory, seen: Iterable[Seen], missed_in_a_row: int) -> None:
    """Note what became of accounts."""
    for each in sorted(seen, key=lambda each: each.slot_at):
        known = _attendance(memory, each)
        missed = (each.slot_at - known.read_at) // timedelta(seconds=each.interval_seconds) - (each.reason is None)
        if missed >= missed_in_a_row:
            first_at = known.read_at + timedelta(seconds=each.interval_seconds)
            why = NOBODY_THERE if each.reason is None else each.reason.value
            memory.begin(State.SLOTS_MISSED, each.account, first_at, why)
        if each.reason in NEEDS_KEY:
            memory.begin(State.KEY_REFUSED, each.account, each.slot_at, str(each.reason))
        if each.reason is None:
            memory.end(State.SLOTS_MISSED, each.account, each.slot_at)
            memory.end(State.KEY_REFUSED, each.account, each.slot_at)
            if each.doubt:
                memory.begin(State.DOUBTFUL, each.account, each.slot_at, each.doubt)
            else:
                memory.end(State.DOUBTFUL, each.account, each.slot_at)
            known.read_at = max(known.read_at, each.slot_at)
        known.last_at = max(known.last_at, each.slot_at)


def nobody_attended(memory: Memory, accounts: Iterable[str], slot_at: datetime, missed_in_a_row: int) -> None:
    """Note that in this slot nothing was asked for."""
    for account in accounts:
        if (known := memory.accounts.get(account)) is not None:
            step = timedelta(seconds=known.interval_seconds)
            if (slot_at - known.read_at) // step >= missed_in_a_row:
                memory.begin(State.SLOTS_MISSED, account, known.read_at + step, NOBODY_THERE)


def look_around(memory: Memory, spool: Waiting, quarantine: Waiting, now: datetime, longest: timedelta) -> None:
    """Note what waits; ``longest`` is how long an outcome may."""
    oldest_at = None if spool.oldest_at is None else datetime.fromtimestamp(spool.oldest_at, now.tzinfo)
    if oldest_at is not None and now - oldest_at > longest:
        memory.begin(State.SPOOL_OLD, HOST, oldest_at, f"{spool.outcomes} outcomes wait")
    else:
        memory.end(State.SPOOL_OLD, HOST, now)
    if quarantine.outcomes:
        memory.begin(State.QUARANTINE, HOST, now, f"{quarantine.outcomes} files")
    else:
        memory.end(State.QUARANTINE, HOST, now)


def look_at_history(memory: Memory, known: Known | None, now: datetime) -> None:
    """Note whether another history has taken the place of the one that is known."""
    if known is not None and known.instead is not None:
        why = (
            f"the database has a history that was begun at {slot_text(known.instead.begun_at)}, and not the one before"
        )
        memory.begin(State.BEGUN_ANEW, HOST, known.instead.since, f"{why}, of {slot_text(known.begun_at)}")
    else:
        memory.end(State.BEGUN_ANEW, HOST, now)


def forget(memory: Memory, now: datetime) -> None:
    """Let go of accounts that nobody has recorded for long, and of what holds of them."""
    for account, known in list(memory.accounts.items()):
        if now - known.last_at > FORGET_AFTER:
            del memory.accounts[account]
            for accounts in memory.holding.values():
                accounts.pop(account, None)


def untold(memory: Memory, now: datetime) -> list[Change]:
    """What is to be told now: for each state, whose begins, and then whose ends. What failed lately has to wait."""
    changes = []
    for state in State:
        accounts = memory.holding.get(state, {})
        begun = {account: holding for account, holding in accounts.items() if not holding.told}
        over = {account: each for account, each in accounts.items() if each.told and each.until is not None}
        changes += [Change(state, begins, each) for begins, each in ((True, begun), (False, over)) if each]
    return [change for change in changes if not _is_held_back(memory.retries.get(change.name), now)]


def told(memory: Memory, change: Change) -> None:
    """Somebody has taken the change. What has changed since is left to be told."""
    memory.retries.pop(change.name, None)
    accounts = memory.holding.get(change.state, {})
    for account in change.accounts:
        known = accounts.get(account)
        if known is None:
            continue
        if change.begins:
            known.told = True
        elif known.until is not None:
            del accounts[account]
        else:
            known.told = False  # it has begun again, and who was told of its end does not know


def not_told(memory: Memory, change: Change, now: datetime) -> None:
    """Nobody took it: it is told later, and less and less often, but it is told."""
    before = memory.retries.get(change.name)
    times = 1 if before is None else before.times + 1
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(times - 1, 10))
    memory.retries[change.name] = Retry(times, now + pause)


def _attendance(memory: Memory, seen: Seen) -> Attendance:
    known = memory.accounts.get(seen.account)
    step = timedelta(seconds=seen.interval_seconds)
    if known is None or known.interval_seconds != seen.interval_seconds or known.read_at - seen.slot_at > WRONG_CLOCK:
        # Nothing is known of the slots before.
        known = memory.accounts[seen.account] = Attendance(seen.slot_at - step, seen.interval_seconds, seen.slot_at)
    return known


def _is_held_back(retry: Retry | None, now: datetime) -> bool:
    # A time further ahead than any pause was noted before the clock was set.
    return retry is not None and now < retry.not_before <= now + LONGEST_PAUSE
