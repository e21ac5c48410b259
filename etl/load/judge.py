"""What a reading means for the history: pure decisions on values, no database, no clock."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation

from etl.grid import PROGRAM_BEGAN, instant_text
from etl.model import (
    Answer,
    Balance,
    CompleteWallets,
    Outcome,
    Provenance,
    Reading,
    Reason,
    Schedule,
    Snapshot,
    Status,
    StoredAccount,
)

# An exchange time further than this from our corrected clock is absurd, and the middle of the request is taken instead.
PLAUSIBLE_SKEW = timedelta(minutes=1)
# Two changes of an account's interval within this are two programs that write one history.
CHANGE_AT_MOST_EVERY = timedelta(hours=1)
# Amounts have at most 100 digits before and 100 after the point: a sum of any number of them fits, or raises.
EXACT = Context(prec=300, Emax=999_999, Emin=-999_999, traps=[Inexact, InvalidOperation])


@dataclass(frozen=True, slots=True)
class Refused:
    """The outcome must not enter the history: it is quarantined, and its slot gets a failure with this reason."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Waits:
    """The outcome cannot be judged yet; it stays in the spool."""

    detail: str


def exact_sum(balances: tuple[Balance, ...]) -> Decimal:
    """The sum of the amounts with no digit rounded away; a missing amount is the caller's business, not a zero."""
    total = Decimal(0)
    for balance in balances:
        if balance.amount is not None:
            total = EXACT.add(total, balance.amount)
    return total


def judge(reading: Reading, answer: Answer, before: CompleteWallets | None) -> Snapshot:
    """The snapshot of an understood reading: complete, or partial against the last complete one before it."""
    notes = []
    nameless = [balance.account_type for balance in answer.balances if balance.amount is None]
    present = {balance.account_type for balance in answer.balances}
    missing = [
        name
        for name, amount in (before.amounts.items() if before else ())
        if amount != 0 and name not in present and before is not None and name not in before.accepted
    ]
    if nameless:
        notes.append(f"no amount: {', '.join(sorted(nameless))}")
    if missing:
        notes.append(f"missing: {', '.join(sorted(missing))}")
    if not answer.balances:
        notes.append("no wallet at all in the answer")
    partial = bool(notes)
    if reading.doubt:
        notes.append(reading.doubt)
    taken_at, why = _taken_at(reading, answer.exchange_at)
    if why:
        notes.append(why)
    return Snapshot(
        account=reading.account,
        slot_at=reading.slot_at,
        taken_at=taken_at,
        requested_at=reading.requested_at,
        latency_ms=reading.latency_ms,
        status=Status.PARTIAL if partial else Status.COMPLETE,
        reason="; ".join(notes) or None,
        provenance=Provenance.MEASURED,
        total=None if partial else exact_sum(answer.balances),
        attempts=reading.attempts,
        balances=answer.balances,
        bodies=reading.bodies,
    )


def _taken_at(reading: Reading, exchange_at: datetime | None) -> tuple[datetime, str | None]:
    if exchange_at is None:
        return reading.observed_at, "taken_at: the answer has no usable timestamp, so the middle of the request"
    if abs(exchange_at - reading.observed_at) > PLAUSIBLE_SKEW:
        said = instant_text(exchange_at)
        return reading.observed_at, f"taken_at: the answer's timestamp is absurd ({said}), so the middle of the request"
    return exchange_at, None


def check_environment(account: StoredAccount, outcome: Outcome) -> Refused | None:
    """Real and play money are never mixed under one name."""
    if outcome.environment == account.environment:
        return None
    return Refused(
        Reason.IDENTITY_MISMATCH,
        f"the history of {account.name} is from {account.environment}, this is from {outcome.environment}: "
        f"use another account name, or another database",
    )


def check_identity(
    account: StoredAccount, uid: str | None, owner_of: Callable[[str], str | None], *, same_owner: bool = True
) -> Refused | Waits | None:
    """An account is its UID: None lets the reading in, with the UID for an account that has none yet.

    ``same_owner`` is False where the account has no UID and was begun with another key, of nobody knows whom.
    """
    if account.uid is None and not same_owner:
        return Waits("the history of the name was begun with another key, and whose that was is not known")
    if uid is None:
        if account.uid is None:
            return None
        return Waits("the UID behind its key is not known yet, and the history of the name belongs to one")
    if account.uid is None:
        owner = owner_of(uid)
        if owner is None or owner == account.name:
            return None
        return Refused(Reason.IDENTITY_MISMATCH, f"its key belongs to the account that is recorded as {owner}")
    if account.uid == uid:
        return None
    return Refused(Reason.IDENTITY_MISMATCH, "its key belongs to another UID than the history of this name")


def reschedule(
    schedules: tuple[Schedule, ...], slot_at: datetime, interval_seconds: int
) -> tuple[Schedule, ...] | Refused:
    """The schedules after an outcome of this slot and interval; the same ones where nothing changes.

    A schedule begins with an account's first outcome, and anew with the first after ``retire``; it changes when an
    outcome comes with another interval. A second change within the hour is refused: two programs write one history.
    A slot of before this program was written changes nothing: nobody expected it, a clock had lost the time.
    """
    if slot_at < PROGRAM_BEGAN:
        return schedules
    fresh = Schedule(interval_seconds, slot_at)
    if not schedules:
        return (fresh,)
    first, last = schedules[0], schedules[-1]
    if slot_at < first.valid_from:
        if first.interval_seconds == interval_seconds:
            return (Schedule(interval_seconds, slot_at, first.valid_to), *schedules[1:])
        return (Schedule(interval_seconds, slot_at, first.valid_from), *schedules)
    if last.valid_to is not None and slot_at >= last.valid_to:
        return (*schedules, fresh)
    if slot_at <= last.valid_from or last.valid_to is not None or last.interval_seconds == interval_seconds:
        return schedules
    changed_before = len(schedules) > 1 and schedules[-2].valid_to == last.valid_from
    if changed_before and slot_at - last.valid_from < CHANGE_AT_MOST_EVERY:
        return Refused(
            Reason.SCHEDULE_CONFLICT,
            f"the interval changed to {last.interval_seconds}s at {instant_text(last.valid_from)} and would change to "
            f"{interval_seconds}s within the hour: two programs with different intervals write one history",
        )
    return (*schedules[:-1], Schedule(last.interval_seconds, last.valid_from, slot_at), fresh)
