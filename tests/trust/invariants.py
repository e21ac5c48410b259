"""The invariants of trust, asserted over what an exchange answered and everything that the program left behind.

    exchange = Witness(1, 7)                      # a sandbox that keeps what it answered, and every signature it saw
    ... runs, faults, restarts against it ...
    left = Left(state_dir, database_url)          # the database, the spool and the quarantine, read now
    check(exchange, left)                         # conservation, one snapshot, digits, slots, gaps
    check_drained(left)                           # once the faults have stopped and the program ran again
    check_silence(exchange, left, said)           # no key, secret or signature in anything written or said

:func:`check` raises AssertionError that names the answer and the invariant. It does not tolerate a loss: an answer
that cannot have been kept (its process was killed before it wrote anything down) has to be named by ``lost``, and the
test has to know that from somewhere else than the result. What is compared is read past all of our own code but the
decoding of payloads: amounts come from the answer's JSON by a parser of their own.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from urllib.parse import quote

from etl.sandbox.exchange import Exchange
from tests.trust.witness import ROUNDING, Answer, Kept, Left, Witness

SIGNATURE = re.compile(rb"[0-9a-f]{64}")
SIGNATURES = re.compile(rb"(?=([0-9a-f]{64}))")  # wherever it begins, also in a longer run of such letters
__all__ = ["Answer", "Kept", "Left", "Witness", "check", "check_budget", "check_drained", "check_silence"]


def check(exchange: Witness, left: Left, *, lost: Collection[bytes] = (), first_wins: bool = True) -> None:
    """Invariants 1 to 4 and 8, for every answer of the exchange. Holds at any time, also while a reading waits.

    ``lost`` are the bodies of answers that cannot have been kept. ``first_wins`` asks for the first answer of a slot
    to be its snapshot once nothing of that slot waits; where two programs run at once, the first to be stored wins.
    """
    check_conservation(exchange, left, lost=lost)
    check_one_snapshot(left)
    if first_wins:
        check_first_wins(exchange, left, lost=lost)
    for kept in left.snapshots:
        check_digits(kept)
        check_slot(exchange, left, kept)
    check_every_slot(left)


def check_conservation(exchange: Witness, left: Left, *, lost: Collection[bytes] = ()) -> None:
    """1: every answer is in the database once, or in the spool, or in quarantine with its reason, or a duplicate."""
    stored = Counter(body for kept in left.snapshots for body in kept.bodies)
    again = [body for body, times in stored.items() if times > 1]
    assert not again, f"stored twice: {again}"
    sent = {answer.body for answer in exchange.answered}
    invented = [body for body in stored if body not in sent]
    assert not invented, f"stored, but never answered: {invented}"
    copies = Counter(answer.body for answer in exchange.answered)
    for answer in exchange.answered:
        in_spool = [name for name, content in left.spool.items() if answer.body in content]
        aside = [name for name, content in left.quarantine.items() if answer.body in content]
        assert len(in_spool) <= copies[answer.body], f"waits twice, {in_spool}: {answer}"
        assert len(aside) <= copies[answer.body], f"set aside twice, {aside}: {answer}"
        for name in aside:
            note = left.quarantine.get(f"{name}.reason", b"")
            assert json.loads(note or b"{}").get("reason"), f"in quarantine without a reason, {name}: {answer}"
            assert not stored[answer.body], f"stored and set aside: {answer}"
        if stored[answer.body] + len(in_spool) + len(aside) >= copies[answer.body] or answer.body in lost:
            continue
        assert any(
            kept.account == answer.account
            and kept.slot_at in _slots_of(answer, left)
            and kept.requested_at <= answer.at + ROUNDING
            for kept in left.snapshots
        ), f"LOST: {answer}"


def check_one_snapshot(left: Left) -> None:
    """2: at most one snapshot per account and slot."""
    many = [key for key, n in Counter((kept.account, kept.slot_at) for kept in left.snapshots).items() if n > 1]
    assert not many, f"more than one snapshot: {many}"


def check_first_wins(exchange: Witness, left: Left, *, lost: Collection[bytes] = ()) -> None:
    """2: the snapshot of a slot is the first answer of that slot that was kept, or was read together with it."""
    # Neither what waits nor what was set aside has had its turn, or ever will.
    waiting = b"\n".join([*left.spool.values(), *left.quarantine.values()])
    stored = {body for kept in left.snapshots for body in kept.bodies}
    first: dict[tuple[str, float], Answer] = {}
    for answer in exchange.answered:
        slots = _slots_of(answer, left)
        if len(slots) == 1 and answer.body not in lost and (answer.body in stored or answer.body not in waiting):
            first.setdefault((answer.account, slots.pop()), answer)
    sent_at = {answer.body: answer.at for answer in reversed(exchange.answered)}
    for kept in left.snapshots:
        earlier = first.get((kept.account, kept.slot_at))
        at = min(sent_at[body] for body in kept.bodies)
        assert earlier is None or earlier.at >= at, (
            f"snapshot {kept.id} is not the first answer of its slot; before it came {earlier}"
        )


def check_digits(kept: Kept) -> None:
    """3: from the body to the view's exact column, digit by digit; the total is the exact sum."""
    wanted = amounts(kept.bodies[-1])
    if "spot" not in wanted and "sopt" in wanted:
        wanted["spot"] = wanted.pop("sopt")
    assert kept.exact == wanted, f"the digits of snapshot {kept.id} are not those of its body"
    if kept.status != "complete":
        assert kept.total is None, f"snapshot {kept.id} is {kept.status} and has a total"
        return
    with localcontext(prec=1000):
        total = sum((Decimal(digits) for digits in wanted.values() if digits is not None), Decimal(0))
    assert kept.total is not None, f"snapshot {kept.id} is complete and has no total"
    assert Decimal(kept.total) == total, f"the total of snapshot {kept.id} is not the sum of its wallets"


def check_slot(exchange: Witness, left: Left, kept: Kept) -> None:
    """8: the slot is the one in which the request was sent, and the request that of this very answer."""
    answer = next(each for each in reversed(exchange.answered) if each.body == kept.bodies[-1])
    assert answer.account == kept.account, f"snapshot {kept.id} is filed under {kept.account}: {answer}"
    steps = [
        step
        for name, step, first, last in left.schedules
        if name == kept.account and first <= kept.slot_at and (last is None or kept.slot_at < last)
    ]
    assert steps, f"snapshot {kept.id} is of a slot that no schedule knows"
    first_asked = kept.requested_at
    assert kept.slot_at <= first_asked < kept.slot_at + steps[0], f"snapshot {kept.id} is not of its slot: {answer}"
    if len(kept.bodies) == 1:
        arrived = first_asked - ROUNDING <= answer.at <= first_asked + kept.latency_ms / 1000 + ROUNDING
        assert arrived, f"snapshot {kept.id} says that it was asked for at another time: {answer}"


def check_every_slot(left: Left) -> None:
    """4: every expected slot has a snapshot, or a failure with its reason, or is in a gap; no two of them at once."""
    usable = {(kept.account, kept.slot_at) for kept in left.snapshots}
    now = datetime.now(UTC).timestamp()
    for account, step, first, last in left.schedules:
        mine = [gap for gap in left.gaps if gap[0] == account]
        # The slot of now may begin between one query and the next.
        until = min(last if last is not None else now - 2 * step - 5, now - 2 * step - 5)
        slot = -(-first // step) * step
        while slot < until:
            reasons = [reason for _, begin, end, reason in mine if begin <= slot <= end]
            if (account, slot) in usable:
                assert not reasons, f"{account} has a snapshot at {slot} and a gap as well"
            else:
                assert len(reasons) == 1, f"{account} at {slot}: neither snapshot nor one gap, but {reasons}"
                assert reasons[0] == left.failures.get((account, slot)), f"{account} at {slot}: another reason"
            slot += step


def check_drained(left: Left, *, torn: int = 0) -> None:
    """5: nothing waits any more but so many torn files of writers that died while writing."""
    whole = [name for name in left.spool if name.endswith(".outcome")]
    assert not whole, f"still in the spool: {whole}"
    rest = [name for name in left.spool if not name.endswith(".outcome")]
    assert len(rest) <= torn, f"unfinished files in the spool, of which {torn} may be: {rest}"


def check_silence(exchange: Witness, left: Left, said: Iterable[str | bytes] = ()) -> None:
    """6: no key, secret or signature in any file, row or word."""
    texts = [("what was said", text.encode() if isinstance(text, str) else text) for text in said]
    secrets = {form.lower().encode() for secret in exchange.secrets for form in (secret, quote(secret, safe=""))}
    # There are very many signatures after a while: whatever looks like one is looked up instead.
    signatures = {secret for secret in secrets if SIGNATURE.fullmatch(secret)}
    for place, content in [*left.everything(), *texts]:
        lowered = content.lower()
        assert not any(secret in lowered for secret in secrets - signatures), f"a key or its secret is in {place}"
        assert signatures.isdisjoint(SIGNATURES.findall(lowered)), f"a signature is in {place}"


def check_budget(exchange: Exchange, *, requests: int = 300, seconds: float = 10) -> None:
    """7: the most requests of one endpoint in any such time, counted by the server."""
    for path in {request.path for request in exchange.requests}:
        most = exchange.busiest(path, seconds)
        assert most <= requests, f"{most} requests of {path} within {seconds} s"


def amounts(body: bytes) -> dict[str, str | None]:
    """The digits of each wallet as the exchange sent them; for bodies as the sandbox makes them."""
    data = json.loads(body)["data"]
    listed = data["result"] if isinstance(data, dict) else data
    return {row["accountType"]: row["usdtBalance"] or None for row in listed}


def _slots_of(answer: Answer, left: Left) -> set[float]:
    """The slots in which its request may have been sent: it was so shortly before the answer was made."""
    found = set()
    for name, step, first, last in left.schedules:
        for at in (answer.at, answer.at - 0.25):
            slot = at // step * step
            if name == answer.account and first <= slot and (last is None or slot < last):
                found.add(slot)
    return found
