"""The log of a slot: one line for it, one for each account in it that needs attention, and what needs a person."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from etl.grid import slot_text
from etl.model import Outcome, Reading, Status
from etl.recorder import Recorded, Slot, Stored
from etl.watchers import Watcher

log = logging.getLogger(__name__)

EVENT = "slot recorded"
# Of a fleet that BingX answers nothing, so many accounts get a line of their own; the others are counted by reason.
MOST_LINES = 10
# Trouble that lasts is said again this often.
REMIND_SECONDS = 300.0


class Teller(Watcher):
    """Writes slots, and what became of them, to the log; lasting trouble now and then, and its end.

    The keys of an event are stable; amounts and UIDs are not among them.
    """

    def __init__(self, *, stays: bool = False, monotonic: Callable[[], float] = time.monotonic) -> None:
        """``stays``: the program goes on after this slot, and stores by itself what could not be stored now."""
        self._stays = stays
        self._monotonic = monotonic
        self._trouble = ""
        self._told_at = float("-inf")

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Slots that were read, and one attempt to store them and all that waited."""
        for slot in slots:
            _tell_slot(slot)
            if slot.disk is not None:
                log.error("%s; what was read goes straight to the database", slot.disk)
        self._tell_trouble(slots, stored)
        if stored.earlier:
            log.info("stored %d more outcomes that waited in the spool", stored.earlier)
        for loaded in stored.quarantined:
            reason = loaded.failure.reason.value if loaded.failure else "unknown"
            log.warning("an earlier outcome of %s is in quarantine: %s", loaded.entry.outcome.account, reason)

    def _tell_trouble(self, slots: Sequence[Slot], stored: Stored) -> None:
        before, self._trouble = self._trouble, "" if stored.trouble is None else str(stored.trouble)
        if not self._trouble:
            if before:
                log.info("the database takes outcomes again")
            return
        if self._trouble == before and self._monotonic() < self._told_at + REMIND_SECONDS:
            return
        self._told_at = self._monotonic()
        if self._stays:
            log.error("%s. What was read is safe in the spool, and stored as soon as it can be", self._trouble)
        else:
            waiting = sum(_waiting(slot) for slot in slots)
            text = "%s. %d outcomes of this slot are safe in the spool; the next run stores them"
            log.error(text, self._trouble, waiting)
        for outcome in stored.lost:
            self._tell_lost(outcome)

    def _tell_lost(self, outcome: Outcome) -> None:
        what = "IN MEMORY ONLY, until one of them recovers" if self._stays else "LOST"
        log.error("%s: neither the disk nor the database could take the outcome of %s", what, outcome.account)


def _tell_slot(slot: Slot) -> None:
    if len(slot.recorded) > 1:
        _tell_together(slot.recorded)
    needy = [recorded for recorded in slot.recorded if _needs_attention(recorded)]
    for recorded in needy[:MOST_LINES]:
        log.warning(EVENT, extra={"fields": _fields(recorded)})
    if len(needy) > MOST_LINES:
        others = Counter(_kind(recorded) for recorded in needy[MOST_LINES:])
        log.warning("%d more accounts like these", others.total(), extra={"fields": dict(others)})
    if len(slot.recorded) == 1 and not needy:
        log.info(EVENT, extra={"fields": _fields(slot.recorded[0])})


def _waiting(slot: Slot) -> int:
    return sum(
        not recorded.stored and entry.spooled for recorded, entry in zip(slot.recorded, slot.entries, strict=True)
    )


def _tell_together(all_recorded: list[Recorded]) -> None:
    outcomes = Counter(_outcome(recorded) for recorded in all_recorded)
    fields = {
        "slot_at": slot_text(max(recorded.outcome.slot_at for recorded in all_recorded)),
        "accounts": len(all_recorded),
        **{outcome: outcomes[outcome] for outcome in ("complete", "partial", "failed")},
        "stored": sum(recorded.stored for recorded in all_recorded),
    }
    log.info(EVENT, extra={"fields": fields})


def _outcome(recorded: Recorded) -> str:
    return "failed" if recorded.snapshot is None else recorded.snapshot.status.value


def _needs_attention(recorded: Recorded) -> bool:
    partial = recorded.snapshot is not None and recorded.snapshot.status is Status.PARTIAL
    doubted = isinstance(recorded.outcome, Reading) and recorded.outcome.doubt is not None
    return recorded.failure is not None or recorded.waits is not None or partial or doubted


def _kind(recorded: Recorded) -> str:
    """Why it needs attention, in a word: what is said of a snapshot names wallets, and differs from one to the next."""
    if recorded.failure is not None:
        return recorded.failure.reason.value
    if recorded.waits is not None:
        return "waits"
    return "partial" if _outcome(recorded) == Status.PARTIAL else "doubted"


def _fields(recorded: Recorded) -> dict[str, object]:
    outcome, snapshot, failure = recorded.outcome, recorded.snapshot, recorded.failure
    fields: dict[str, object] = {
        "account": outcome.account,
        "slot_at": slot_text(outcome.slot_at),
        "outcome": _outcome(recorded),
        "attempts": outcome.attempts,
        "stored": recorded.stored,
    }
    if isinstance(outcome, Reading):
        fields["latency_ms"] = outcome.latency_ms
    if recorded.duplicate:
        fields["duplicate"] = True
    if failure is not None:
        fields |= {"reason": failure.reason.value, "detail": failure.detail}
        if failure.slots > 1:
            fields["slots"] = failure.slots
    elif snapshot is not None and snapshot.reason:
        fields["reason"] = snapshot.reason
    if recorded.waits:
        fields["waits"] = recorded.waits
    return fields
