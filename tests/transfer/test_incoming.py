"""What comes from a file is a snapshot with every digit, or is refused with the number of its line."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import NotUnderstood
from etl.grid import instant_text, slot_text
from etl.load.judge import exact_sum
from etl.model import Balance, Environment, Provenance, Schedule, Snapshot, Status
from etl.transfer.incoming import EARLIEST, Incoming, assemble, placed, total_only
from etl.transfer.portable import Line
from tests.transfer.test_portable import PLAIN

NOW = datetime(2026, 12, 1, tzinfo=UTC)
OTHER = PLAIN._replace(account_type="grid", usdt_balance="7.50", raw_type=None)
TWO = [PLAIN, OTHER]
SECOND = timedelta(seconds=1)

AMOUNTS = st.decimals(-(10**12), 10**12, allow_nan=False, places=8) | st.sampled_from(
    [Decimal("0.00"), Decimal("99999.99999999999999"), Decimal("-1E-18"), Decimal("1" * 60), Decimal(f"0.{'1' * 60}")]
)
# 10**60 and 10**-60 add up to more digits than either has.
TYPES = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)


@st.composite
def incoming(draw: st.DrawFn) -> list[Incoming]:
    """Snapshots of several accounts in the order of an export."""
    found = []
    for account in ("a", "b"):
        for slot_at in sorted(draw(st.sets(st.integers(0, 10**8), max_size=3))):
            at = EARLIEST + slot_at * SECOND
            wallets = draw(st.dictionaries(TYPES, AMOUNTS, max_size=4))
            balances = tuple(Balance(name, amount) for name, amount in sorted(wallets.items()))
            total: Decimal | None = exact_sum(balances) if balances else draw(AMOUNTS)
            partial = draw(st.booleans())
            if partial:
                balances, total = tuple(b._replace(amount=draw(st.none() | AMOUNTS)) for b in balances), None
            snapshot = replace(
                total_only(account, at, Decimal(0)),
                taken_at=at + draw(st.integers(0, 999)) * timedelta(milliseconds=1),
                status=Status.PARTIAL if partial else Status.COMPLETE,
                reason=draw(st.none() | TYPES),
                total=total,
                balances=balances,
            )
            found.append(Incoming(0, snapshot, Environment.VST, draw(st.none() | TYPES)))
    return found


def lines_of(entry: Incoming) -> list[Line]:
    """As an export has them."""
    s = entry.snapshot
    whole = Line(
        account=s.account,
        slot_at=slot_text(s.slot_at),
        taken_at=instant_text(s.taken_at),
        account_type=None,
        usdt_balance=None,
        total_usdt=None if s.total is None else format(s.total, "f"),
        status=s.status.value,
        provenance="measured",
        voided=entry.voided,
        reason=s.reason,
        raw_type=None,
        environment="vst",
    )
    return [
        whole._replace(
            account_type=b.account_type,
            usdt_balance=None if b.amount is None else format(b.amount, "f"),
            raw_type=b.raw_type,
        )
        for b in s.balances
    ] or [whole]


def assembled(lines: Sequence[Line]) -> list[Incoming]:
    return list(assemble(enumerate(lines, 1), NOW))


def texts(snapshot: Snapshot) -> tuple[str, ...]:
    """What equality of decimals does not see: the scale."""
    return str(snapshot.total), *(str(b.amount) for b in snapshot.balances)


@settings(max_examples=50, deadline=None)
@given(incoming())
def test_snapshots_come_back_from_their_lines_with_every_digit(entries: list[Incoming]) -> None:
    found = assembled([line for entry in entries for line in lines_of(entry)])
    assert [replace(entry, line=0) for entry in found] == entries
    assert [texts(entry.snapshot) for entry in found] == [texts(entry.snapshot) for entry in entries]


@settings(max_examples=50, deadline=None)
@given(incoming(), st.data())
def test_a_line_that_got_lost_is_never_a_smaller_total(entries: list[Incoming], data: st.DataObject) -> None:
    lines = [line for entry in entries for line in lines_of(entry)]
    if not lines:
        return
    del lines[data.draw(st.integers(0, len(lines) - 1))]
    totals = {(e.snapshot.account, e.snapshot.slot_at): e.snapshot.total for e in entries}
    try:
        found = assembled(lines)
    except NotUnderstood:
        return
    assert all(totals[e.snapshot.account, e.snapshot.slot_at] == e.snapshot.total for e in found)


def test_what_is_imported_says_so_and_claims_nothing_of_a_request() -> None:
    [entry] = assembled(TWO)
    s = entry.snapshot
    assert (entry.line, entry.environment, s.provenance) == (1, Environment.LIVE, Provenance.IMPORTED)
    assert (s.requested_at, s.latency_ms, s.attempts, s.bodies) == (None, None, 0, ())
    assert s.balances == (Balance("spot", Decimal("100.00"), "sopt"), Balance("grid", Decimal("7.50")))
    assert s.taken_at - s.slot_at == timedelta(seconds=1.25)


LATER = "2026-11-22T15:25:00Z"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([*TWO, PLAIN._replace(slot_at=LATER), *TWO], "line 3: .*the wallets do not add up"),
        ([PLAIN], "line 1: the wallets do not add up to total_usdt"),
        ([*TWO, *TWO], "line 3: it contradicts|line 3: the same account type twice"),
        ([PLAIN, OTHER._replace(total_usdt="107.51")], "line 2: it contradicts line 1"),
        ([PLAIN, OTHER._replace(status="partial")], "line 2: it contradicts line 1"),
        ([PLAIN, OTHER._replace(taken_at=LATER)], "line 2: it contradicts line 1"),
        ([PLAIN, OTHER._replace(voided="x")], "line 2: it contradicts line 1"),
        ([*TWO, *(line._replace(slot_at="2026-11-22T15:15:00Z") for line in TWO)], "line 3: main has a later"),
        ([*TWO, *(x._replace(slot_at=LATER) for x in TWO), *TWO], "line 5: main has a later or the same slot"),
        ([PLAIN, OTHER._replace(account_type=None)], "line 2: an account type is missing"),
        ([PLAIN._replace(account_type=None)], "line 1: an account type is missing"),
        ([PLAIN, OTHER._replace(account_type=" ")], "line 2: an account type that is no name"),
        ([PLAIN, OTHER._replace(account_type="a\nb")], "line 2: an account type that is no name"),
        ([PLAIN, OTHER._replace(account_type="x" * 256)], "line 2: an account type that is no name"),
        ([PLAIN, OTHER._replace(raw_type="grid")], "line 2: raw_type"),
        ([PLAIN, OTHER._replace(usdt_balance=None)], "line 1: a complete snapshot has a total"),
        ([line._replace(total_usdt=None) for line in TWO], "line 1: a complete snapshot has a total"),
        ([line._replace(status="partial") for line in TWO], "line 1: a partial snapshot has no total"),
        ([line._replace(status="good") for line in TWO], "line 1: status is none of: complete, partial"),
        ([line._replace(provenance=None) for line in TWO], "line 1: provenance is none of"),
        ([line._replace(environment="Live") for line in TWO], "line 1: environment is none of"),
        (
            [*TWO, *(line._replace(slot_at=LATER, environment="vst") for line in TWO)],
            "line 3: main is of another environment",
        ),
        ([line._replace(account="../x") for line in TWO], "line 1: no account name"),
        ([line._replace(account=None) for line in TWO], "line 1: no account name"),
        ([line._replace(slot_at=None) for line in TWO], "line 1: slot_at is no time"),
        ([line._replace(slot_at="2026-02-30T00:00:00Z") for line in TWO], "line 1: slot_at is no time"),
        ([line._replace(slot_at="2026-11-22T15:20:00") for line in TWO], "line 1: slot_at is no time"),
        ([line._replace(slot_at="2026-11-22T15:20:00.5Z") for line in TWO], "line 1: slot_at is a whole second"),
        ([line._replace(slot_at="2026-12-01T00:02:00Z") for line in TWO], "line 1: .* is in the future"),
        ([line._replace(slot_at="2009-12-31T23:59:59Z") for line in TWO], "line 1: .* is before 2010"),
        ([line._replace(taken_at="0026-11-22T15:20:00Z") for line in TWO], "line 1: .* is before 2010"),
        ([line._replace(taken_at="22.11.2026 15:20") for line in TWO], "line 1: taken_at is no time"),
        ([line._replace(reason="a\0") for line in TWO], "line 1: reason is no text"),
        ([line._replace(voided="x" * 10_001) for line in TWO], "line 1: voided is no text"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(lines: list[Line], why: str) -> None:
    with pytest.raises(NotUnderstood, match=why) as caught:
        assembled(lines)
    assert "107" not in str(caught.value), "no amount is quoted"


@pytest.mark.parametrize(
    "amount", ["", "1e3", "NaN", "Infinity", "1,5", "01", ".5", "1.", "+1", "\u0661", "0x1", "1_0", "1" * 111, "- 1"]
)
def test_an_amount_is_plain_digits_or_nothing(amount: str) -> None:
    with pytest.raises(NotUnderstood, match="line 2: an amount that is no plain decimal number"):
        assembled([PLAIN, OTHER._replace(usdt_balance=amount)])


def test_minus_zero_is_zero_with_its_scale() -> None:
    [entry] = assembled([PLAIN._replace(usdt_balance="-0.00", total_usdt="-0.000")])
    assert (str(entry.snapshot.balances[0].amount), str(entry.snapshot.total)) == ("0.00", "0.000")


def test_only_in_a_schedule_a_snapshot_goes_into_its_slot() -> None:
    at = datetime(2026, 1, 1, 12, 3, 7, tzinfo=UTC)
    hour = datetime(2026, 1, 1, 12, tzinfo=UTC)
    snapshot = total_only("main", at, Decimal(1))
    assert placed(snapshot, ()) is snapshot
    assert placed(snapshot, [Schedule(300, hour)]).slot_at == hour
    assert placed(snapshot, [Schedule(60, hour)]).slot_at == at - 7 * SECOND
    assert placed(snapshot, [Schedule(300, hour)]).taken_at == at
    assert placed(snapshot, [Schedule(60, hour - 3600 * SECOND, hour)]) is snapshot, "over"
    assert placed(snapshot, [Schedule(60, hour + 3600 * SECOND)]) is snapshot, "not begun"
    both = [Schedule(3600, hour - 3600 * SECOND, hour), Schedule(300, hour)]
    assert placed(total_only("main", hour - SECOND, Decimal(1)), both).slot_at == hour - 3600 * SECOND
    assert placed(total_only("main", hour, Decimal(1)), both).slot_at == hour
