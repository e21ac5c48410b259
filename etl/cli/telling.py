"""The log of a slot: an event for each account in it, one for all of them together, and what needs a person."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence

from etl.grid import slot_text
from etl.model import Outcome, Reading, Status
from etl.recorder import Recorded, Slot, Stored
from etl.watchers import Watcher

log = logging.getLogger(__name__)

# The names of events and their keys are documented: programs read them.
RECORDED = "slot recorded"
SUMMARY = "slot summary"
# Trouble that lasts is said again this often.
REMIND_SECONDS = 300.0


class Teller(Watcher):
    """Writes slots, and what became of them, to the log; lasting trouble now and then, and its end.

    The keys of an event are stable; amounts and UIDs are not among them, unless somebody has asked for them.
    """

    def __init__(
        self,
        *,
        stays: bool = False,
        is_private: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``stays``: the program goes on after this slot, and stores by itself what could not be stored now.

        ``is_private``: whether the log is for eyes that may see totals and UIDs.
        """
        self._stays = stays
        self._is_private = is_private
        self._monotonic = monotonic
        self._trouble = ""
        self._told_at = float("-inf")

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Slots that were read, and one attempt to store them and all that waited."""
        for slot in slots:
            _tell_slot(slot, with_private=self._is_private())
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


def _tell_slot(slot: Slot, *, with_private: bool) -> None:
    for recorded in slot.recorded:
        level = logging.WARNING if _needs_attention(recorded) else logging.INFO
        log.log(level, RECORDED, extra={"fields": _fields(recorded) | (_private(recorded) if with_private else {})})
    if len(slot.recorded) > 1:
        _tell_together(slot.recorded)


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
    log.info(SUMMARY, extra={"fields": fields})


def _outcome(recorded: Recorded) -> str:
    return "failed" if recorded.snapshot is None else recorded.snapshot.status.value


def _needs_attention(recorded: Recorded) -> bool:
    partial = recorded.snapshot is not None and recorded.snapshot.status is Status.PARTIAL
    doubted = isinstance(recorded.outcome, Reading) and recorded.outcome.doubt is not None
    return recorded.failure is not None or recorded.waits is not None or partial or doubted


def _fields(recorded: Recorded) -> dict[str, object]:
    outcome, snapshot, failure = recorded.outcome, recorded.snapshot, recorded.failure
    said = snapshot.reason if snapshot is not None else None
    fields: dict[str, object] = {
        "account": outcome.account,
        "slot_at": slot_text(outcome.slot_at),
        "outcome": _outcome(recorded),
        "reason": said if failure is None else failure.reason.value,
        "attempts": outcome.attempts,
        "latency_ms": outcome.latency_ms if isinstance(outcome, Reading) else None,
        "stored": recorded.stored,
    }
    if recorded.duplicate:
        fields["duplicate"] = True
    if failure is not None:
        fields["detail"] = failure.detail
        if failure.slots > 1:
            fields["slots"] = failure.slots
    if recorded.waits:
        fields["waits"] = recorded.waits
    return fields


def _private(recorded: Recorded) -> dict[str, object]:
    outcome, snapshot = recorded.outcome, recorded.snapshot
    total = None if snapshot is None or snapshot.total is None else format(snapshot.total, "f")
    return {"total_usdt": total, "uid": outcome.uid if isinstance(outcome, Reading) else None}
