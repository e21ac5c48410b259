"""The log of a slot: one line for it, one for each account in it that needs attention, and what needs a person."""

import logging
from collections import Counter

from etl.errors import EtlError
from etl.grid import slot_text
from etl.model import Outcome, Reading, Status
from etl.recorder import Recorded, Slot, Stored

log = logging.getLogger(__name__)

EVENT = "slot recorded"


def tell(slot: Slot, stored: Stored) -> None:
    """Write it all to the log. The keys are stable; amounts and UIDs are not among them."""
    if len(slot.recorded) > 1:
        _tell_together(slot.recorded)
    for recorded in slot.recorded:
        if len(slot.recorded) == 1 or _needs_attention(recorded):
            level = logging.WARNING if _needs_attention(recorded) else logging.INFO
            log.log(level, EVENT, extra={"fields": _fields(recorded)})
    if stored.earlier:
        log.info("stored %d more outcomes that waited in the spool", stored.earlier)
    for loaded in stored.quarantined:
        reason = loaded.failure.reason.value if loaded.failure else "unknown"
        log.warning("an earlier outcome of %s is in quarantine: %s", loaded.entry.outcome.account, reason)
    if slot.disk is not None:
        log.error("%s; what was read went straight to the database", slot.disk)
    if stored.trouble is not None:
        _tell_trouble(slot, stored.trouble)
    for outcome in stored.lost:
        _tell_lost(outcome)


def _tell_together(all_recorded: list[Recorded]) -> None:
    outcomes = Counter(_outcome(recorded) for recorded in all_recorded)
    fields = {
        "slot_at": slot_text(max(recorded.outcome.slot_at for recorded in all_recorded)),
        "accounts": len(all_recorded),
        **{outcome: outcomes[outcome] for outcome in ("complete", "partial", "failed")},
        "stored": sum(recorded.stored for recorded in all_recorded),
    }
    log.info(EVENT, extra={"fields": fields})


def _tell_trouble(slot: Slot, trouble: EtlError) -> None:
    waiting = sum(
        not recorded.stored and entry.name is not None
        for recorded, entry in zip(slot.recorded, slot.entries, strict=True)
    )
    log.error("%s. %d outcomes of this slot are safe in the spool; the next run stores them", trouble, waiting)


def _tell_lost(outcome: Outcome) -> None:
    log.error("LOST: neither the disk nor the database could take the outcome of %s", outcome.account)


def _outcome(recorded: Recorded) -> str:
    return "failed" if recorded.snapshot is None else recorded.snapshot.status.value


def _needs_attention(recorded: Recorded) -> bool:
    partial = recorded.snapshot is not None and recorded.snapshot.status is Status.PARTIAL
    return recorded.failure is not None or recorded.waits is not None or partial


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
