"""What must be true of everything that the exchange answered, whatever happened since: the invariants, on plain dicts.

The model knows what the exchange gave to whom and when, how far the program had come with it when it died, and what a
restored backup has taken away.
"""

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from enum import Enum, auto
from typing import Protocol

from etl.grid import slot_of
from etl.model import Failure, Outcome, Reading
from etl.spool.spool import Draft, Entry
from tests.trust.exchange import MEANINGLESS, Answer, Kind
from tests.trust.site import Place, Row, Seen, Site

TRUSTED_SKEW = timedelta(minutes=1)
# A clock offset that was measured before the clock was set again is believed as long as the exchange lets it pass.
TOLERANCE = timedelta(seconds=6)


class Fate(Enum):
    """How far the program had come with an answer."""

    RECEIVED = auto()  # it is in the memory of its program
    REFUSED = auto()  # it stays there, for the disk has refused it
    WRITTEN = auto()  # it outlives its program
    KEPT = auto()  # it outlives a cut of power as well
    EXCUSED = auto()  # nothing can have kept it


class Holder(Protocol):
    """A program, as far as the model knows it."""

    def has_in_memory(self, body: bytes) -> bool: ...


@dataclass(eq=False, slots=True)
class Told:
    """An answer and what became of it. ``kept_as`` is its number among all that was kept."""

    answer: Answer
    holder: Holder
    fate: Fate = Fate.RECEIVED
    kept_as: int = 0
    received_as: int = 0


class Model:
    """Takes notes while the programs run; :meth:`check` holds what there is against them."""

    def __init__(self, site: Site, interval_seconds: int) -> None:
        self._site = site
        self._interval_seconds = interval_seconds
        self.told: dict[bytes, Told] = {}
        self.owners: dict[str, str] = {}
        self.known: set[str] = set()
        self._failures: dict[str, Failure] = {}
        self._stored: dict[Place, bytes] = {}
        self._moment = 0
        self._is_surely_kept = True
        # What an older database lacks and has to get back.
        self._owed: set[bytes] = set()
        self._owed_failures: set[str] = set()

    # What happens

    def received(self, answer: Answer, holder: Holder) -> None:
        self._moment += 1
        self.told[answer.body] = Told(answer, holder, received_as=self._moment)

    def written(self, draft: Draft, *, is_safe: bool) -> None:
        """``is_safe``: a doubted reading, which is flushed with its name although it is to be read again."""
        for told in self._of(draft.outcome):
            if draft.refusal is None and told.fate is not Fate.KEPT:
                told.fate = Fate.KEPT if is_safe else Fate.WRITTEN
            elif told.fate is Fate.RECEIVED:
                told.fate = Fate.REFUSED

    def kept(self, entries: list[Entry], *, is_safe: bool) -> None:
        self._moment += 1
        for entry in entries:
            if isinstance(entry.outcome, Failure) and entry.spooled and is_safe:
                self._failures[entry.name] = entry.outcome
            for told in self._of(entry.outcome):
                if not entry.spooled:
                    told.fate = Fate.REFUSED
                elif is_safe:
                    told.fate, told.kept_as = Fate.KEPT, self._moment

    def refused_aside(self, outcome: Outcome) -> None:
        """The disk had no room in the quarantine for what the history must not have."""
        for told in self._of(outcome):
            told.fate = Fate.EXCUSED

    def died(self, holder: Holder) -> None:
        for told in self.told.values():
            if told.holder is holder and told.fate in {Fate.RECEIVED, Fate.REFUSED}:
                told.fate = Fate.EXCUSED

    def may_not_be_kept(self) -> None:
        """The disk may have refused, or lost, what is kept of stored outcomes: that is not waited for."""
        self._is_surely_kept = False

    def lost_power(self) -> None:
        self.may_not_be_kept()
        for told in self.told.values():
            if told.fate is Fate.WRITTEN:
                told.fate = Fate.EXCUSED

    def restored(self) -> None:
        """An older database is in place. What it does not have comes back from what is kept, or else is gone."""
        seen = self._site.look()
        stored = set(self._stored.values())
        for body, told in self.told.items():
            if seen.has(body) or told.holder.has_in_memory(body):
                continue
            if seen.is_kept(body):
                self._owed.add(body)
            else:
                assert not (self._is_surely_kept and body in stored), f"stored, and not kept: {told.answer}"
                told.fate = Fate.EXCUSED
        self._stored = {(row.account, row.slot_at): row.bodies[-1] for row in seen.snapshots}
        there = {name for name in self._failures if name in seen.spool}
        self._owed_failures |= {n for n in self._failures.keys() - there if seen.is_kept(f" {n}\n".encode())}
        self._failures = {n: failure for n, failure in self._failures.items() if n in there | self._owed_failures}

    def _of(self, outcome: Outcome) -> list[Told]:
        bodies = outcome.bodies if isinstance(outcome, Reading) else ()
        return [self.told[body] for body in bodies if body in self.told]

    def slots_of(self, answer: Answer) -> set[datetime]:
        """The slots under which it may be filed: that of its sending, by our clock unless that is known to be wrong."""
        skew = abs(answer.sent_by_clock - answer.sent_at)
        found = {answer.sent_by_clock} if skew <= TRUSTED_SKEW + TOLERANCE else set()
        if skew >= TRUSTED_SKEW - TOLERANCE:
            found |= {answer.sent_at - TOLERANCE, answer.sent_at, answer.sent_at + TOLERANCE}
        return {slot_of(instant, self._interval_seconds) for instant in found}

    # What must be true

    def check(self) -> Seen:
        """Invariants 1, 2, 3 and 8. Returns what was seen."""
        seen = self._site.look()
        stored = Counter(body for row in seen.snapshots for body in row.bodies)
        assert set(stored) <= set(self.told), "stored, but never answered"
        places = Counter((row.account, row.slot_at) for row in seen.snapshots)
        assert max(places.values(), default=1) == 1, f"two snapshots of one slot: {places}"
        self._forgive_what_was_dropped(seen)
        self._owed -= set(stored)
        for body, told in self.told.items():
            self._check_answer(body, told, stored[body], set(places), seen)
        for row in seen.snapshots:
            self._check_row(row)
        self._check_quarantine(seen)
        now = {(row.account, row.slot_at): row.bodies[-1] for row in seen.snapshots}
        for place, body in self._stored.items():
            assert now.get(place) == body, f"the snapshot of {place} was {self.told[body].answer}, and is not any more"
        begun = {(row.account, row.slot_at): row.bodies[0] for row in seen.snapshots}
        for place in now.keys() - self._stored.keys():
            self._check_first(place, self.told[now[place]], self.told[begun[place]], seen)
        self._stored = now
        self.known = seen.known
        for name, failure in self._failures.items():
            there = (failure.account, failure.slot_at) in seen.failures
            self._owed_failures -= {name} if there else set()
            assert there or name in seen.spool or name in self._owed_failures, f"a failure is LOST: {failure}"
        return seen

    def _forgive_what_was_dropped(self, seen: Seen) -> None:
        """A full disk, or a cut of power, may have taken what was kept before the older database could get it back."""
        if self._is_surely_kept:
            return
        for body in [body for body in self._owed if not seen.is_kept(body)]:
            self._owed.remove(body)
            self.told[body].fate = Fate.EXCUSED
        gone = {name for name in self._owed_failures if not seen.is_kept(f" {name}\n".encode())}
        self._owed_failures -= gone
        self._failures = {name: failure for name, failure in self._failures.items() if name not in gone}

    def check_refilled(self) -> None:
        """Whatever was kept when an older database was put in place is in it by now."""
        owed = [str(self.told[body].answer) for body in self._owed] + sorted(self._owed_failures)
        assert not owed, f"kept, and not put back into the older database: {owed}"

    def _check_answer(self, body: bytes, told: Told, times: int, places: set[Place], seen: Seen) -> None:
        assert times <= 1, f"stored {times} times: {told.answer}"
        aside = [name for name, content in seen.quarantine.items() if body in content]
        assert not (times and aside), f"stored, and set aside as well: {told.answer}"
        if aside:
            assert self._belongs_aside(told.answer), f"set aside for nothing: {told.answer}: {self._why(aside, seen)}"
            return
        if times:
            assert not self._belongs_aside(told.answer), f"must not be stored: {told.answer}"
            return
        if told.fate is Fate.EXCUSED or any(body in content for content in seen.spool.values()):
            return
        if told.holder.has_in_memory(body) or body in self._owed:
            return
        slots = self.slots_of(told.answer)
        is_duplicate = any((told.answer.account, slot) in places for slot in slots)
        is_lost = not is_duplicate or self._belongs_aside(told.answer)
        assert not is_lost, f"LOST, though it was {told.fate.name}: {told.answer}"

    def _belongs_aside(self, answer: Answer) -> bool:
        return (
            answer.kind in MEANINGLESS
            or answer.kind is Kind.DENIED_BY_STATUS
            or answer.key.uid != self.owners.setdefault(answer.account, answer.key.uid)
        )

    def _why(self, names: list[str], seen: Seen) -> list[bytes]:
        return [seen.quarantine.get(f"{name}.reason", b"?") for name in names]

    def _check_row(self, row: Row) -> None:
        answer = self.told[row.bodies[-1]].answer
        assert row.account == answer.account, f"filed under {row.account}: {answer}"
        slots = self.slots_of(answer)
        assert row.slot_at in slots, f"filed under {row.slot_at:%d %H:%M}, not {slots}: {answer}"
        wanted = {
            name: None if amount is None else _without_zero_sign(amount) for name, amount in answer.wallets.items()
        }
        assert row.amounts == wanted, f"other digits: {answer}"
        if row.status != "complete":
            assert row.total is None, f"partial with a total: {answer}"
            return
        assert None not in wanted.values(), f"complete without an amount: {answer}"
        with localcontext(prec=1000):
            total = sum((Decimal(amount) for amount in wanted.values() if amount is not None), Decimal(0))
        assert row.total is not None, f"complete without a total: {answer}"
        assert Decimal(row.total) == total, f"not the sum: {answer}"

    def _check_quarantine(self, seen: Seen) -> None:
        for name in seen.quarantine:
            if name.endswith(".reason") or name.startswith("."):
                continue
            note = seen.quarantine.get(f"{name}.reason", b"{}")
            assert json.loads(note or b"{}").get("reason"), f"in quarantine without a reason: {name}"

    def _check_first(self, place: Place, winner: Told, begun: Told, seen: Seen) -> None:
        """Of what waited in the spool, the first that was read is the slot's.

        An outcome counts from its first answer on: one that was doubted was on the disk before it was read again.
        """
        if winner.fate is Fate.REFUSED or winner.kept_as == 0:
            return
        for body, told in self.told.items():
            answer = told.answer
            if (
                told.fate is Fate.KEPT
                and 0 < told.kept_as < begun.received_as
                and answer.sent_by_clock < begun.answer.sent_by_clock
                and self.slots_of(answer) == {place[1]}
                and answer.account == place[0]
                and answer.key == winner.answer.key
                and not self._belongs_aside(answer)
                and not seen.has(body)
            ):
                raise AssertionError(f"{winner.answer} has the slot, though first there was {answer}")

    def check_slots(self, seen: Seen, until: datetime) -> None:
        """Invariant 4: every slot expected so far has a snapshot, a failure with its reason, or is in a gap."""
        usable = {(row.account, row.slot_at) for row in seen.snapshots}
        step = timedelta(seconds=self._interval_seconds)
        for account, first in seen.begins.items():
            expected = {first + number * step for number in range(int((until - first) / step))}
            reasons: dict[datetime, str | None] = {}
            for name, begin, end, reason in self._site.gaps():
                at = max(begin, first)
                while name == account and at <= min(end, until):
                    assert at not in reasons, f"{account} at {at} is in two gaps"
                    reasons[at] = reason
                    at += step
            for slot in expected:
                place = account, slot
                assert (place in usable) != (slot in reasons), f"{place} has both a snapshot and a gap, or neither"
                assert place in usable or reasons[slot] == seen.failures.get(place), f"{place}: another reason"


def _without_zero_sign(amount: str) -> str:
    return amount.lstrip("-") if not amount.strip("-0.") else amount
