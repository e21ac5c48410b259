"""What a reading means for the history."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.load.judge import Refused, Waits, check_environment, check_identity, exact_sum, judge, reschedule
from etl.model import Answer, Balance, CompleteWallets, Environment, Reason, Schedule, Status, StoredAccount
from tests.values import ASKED, SLOT, failure, reading

FIVE_MINUTES = timedelta(minutes=5)


def answer(**amounts: str | None) -> Answer:
    """An understood answer, taken when the reading was asked for."""
    return Answer(
        ASKED, tuple(Balance(name, None if text is None else Decimal(text)) for name, text in amounts.items())
    )


def wallets(*accepted: str, **amounts: str) -> CompleteWallets:
    """What the last complete snapshot said."""
    return CompleteWallets(SLOT - FIVE_MINUTES, {k: Decimal(v) for k, v in amounts.items()}, frozenset(accepted))


def account(uid: str | None = None, *schedules: Schedule) -> StoredAccount:
    """``main`` as the history knows it."""
    return StoredAccount(1, "main", uid, Environment.SANDBOX, ASKED, None, schedules)


def test_the_total_is_the_exact_sum_with_its_digits() -> None:
    snapshot = judge(reading(), answer(spot="100.00", USDTMPerp="7.50"), None)
    assert (snapshot.status, str(snapshot.total), snapshot.reason) == (Status.COMPLETE, "107.50", None)


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=20, min_value=-(10**20), max_value=10**20)))
def test_no_digit_of_a_sum_is_ever_rounded(amounts: list[Decimal]) -> None:
    total = exact_sum(tuple(Balance(str(number), amount) for number, amount in enumerate(amounts)))
    assert Fraction(total) == sum(map(Fraction, amounts))


def test_a_sum_beyond_28_digits_is_exact() -> None:
    amounts = ("99999999999999999999.99999999999999999999", "0.00000000000000000001")
    assert (
        str(exact_sum(tuple(Balance(text, Decimal(text)) for text in amounts)))
        == "100000000000000000000.00000000000000000000"
    )


def test_a_wallet_without_an_amount_makes_the_snapshot_partial_and_never_counts_as_zero() -> None:
    snapshot = judge(reading(), answer(spot="1", grid=None), None)
    assert (snapshot.status, snapshot.total, snapshot.reason) == (Status.PARTIAL, None, "no amount: grid")


def test_a_wallet_that_held_something_and_is_gone_makes_the_snapshot_partial() -> None:
    snapshot = judge(reading(), answer(spot="1"), wallets(spot="1", grid="0.5", eran="2"))
    assert (snapshot.status, snapshot.total, snapshot.reason) == (Status.PARTIAL, None, "missing: eran, grid")


def test_a_wallet_that_was_zero_may_be_absent() -> None:
    assert judge(reading(), answer(spot="1"), wallets(spot="1", c2c="0.00")).status is Status.COMPLETE


def test_a_wallet_accepted_as_gone_is_not_missed() -> None:
    assert judge(reading(), answer(spot="1"), wallets("grid", spot="1", grid="0.5")).status is Status.COMPLETE


def test_an_answer_without_any_wallet_is_not_a_total_of_zero() -> None:
    snapshot = judge(reading(), Answer(ASKED, ()), None)
    assert (snapshot.status, snapshot.total) == (Status.PARTIAL, None)


def test_what_was_doubted_is_said_and_changes_no_status() -> None:
    doubt = "doubted: spot at 0 (confirmed)"
    snapshot = judge(reading(doubt=doubt), answer(spot="0"), wallets(spot="5"))
    assert (snapshot.status, str(snapshot.total), snapshot.reason) == (Status.COMPLETE, "0", doubt)
    snapshot = judge(reading(doubt="doubted: grid missing (confirmed)"), answer(spot="1"), wallets(spot="1", grid="5"))
    assert (snapshot.status, snapshot.total) == (Status.PARTIAL, None)
    assert snapshot.reason == "missing: grid; doubted: grid missing (confirmed)"


def test_it_was_taken_when_the_exchange_says() -> None:
    said = ASKED + timedelta(seconds=59)
    assert judge(reading(), Answer(said, (Balance("spot", Decimal(1)),)), None).taken_at == said


@pytest.mark.parametrize("minutes", [-2, 2, 10**6])
def test_an_absurd_exchange_time_is_replaced_by_the_middle_of_the_request_and_said(minutes: int) -> None:
    said = ASKED + timedelta(minutes=minutes)
    snapshot = judge(reading(latency_ms=100), Answer(said, (Balance("spot", Decimal(1)),)), None)
    assert snapshot.taken_at == ASKED + timedelta(milliseconds=50)
    assert snapshot.reason is not None
    assert "absurd" in snapshot.reason
    assert snapshot.status is Status.COMPLETE


def test_an_answer_without_a_time_was_taken_in_the_middle_of_the_request() -> None:
    snapshot = judge(reading(latency_ms=100), Answer(None, (Balance("spot", Decimal(1)),)), None)
    assert snapshot.taken_at == ASKED + timedelta(milliseconds=50)
    assert snapshot.reason is not None
    assert "no usable timestamp" in snapshot.reason


def test_an_exchange_time_is_judged_by_the_corrected_clock() -> None:
    hour = timedelta(hours=1)
    outcome = reading(clock_offset_ms=3_600_000)
    assert judge(outcome, Answer(ASKED + hour, (Balance("spot", Decimal(1)),)), None).taken_at == ASKED + hour


def nobody(_: str) -> str | None:
    """No UID is known."""
    return None


def test_a_first_uid_is_taken_and_the_same_uid_continues_the_history() -> None:
    assert check_identity(account(None), "1001", nobody) is None
    assert check_identity(account("1001"), "1001", nobody) is None
    assert check_identity(account(None), None, nobody) is None


def test_another_uid_under_the_same_name_is_refused() -> None:
    refused = check_identity(account("1001"), "1002", nobody)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.IDENTITY_MISMATCH


def test_a_second_name_for_one_uid_is_refused() -> None:
    refused = check_identity(account(None), "1001", {"1001": "old"}.get)
    assert isinstance(refused, Refused)
    assert "old" in refused.detail


def test_a_reading_of_an_unknown_owner_waits_rather_than_joining_anothers_history() -> None:
    assert isinstance(check_identity(account("1001"), None, nobody), Waits)


def test_play_money_never_enters_the_history_of_real_money() -> None:
    refused = check_environment(account(), failure(environment=Environment.LIVE))
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.IDENTITY_MISMATCH
    assert check_environment(account(), failure()) is None


def at(minutes: float) -> timedelta:
    """Shorthand."""
    return timedelta(minutes=minutes)


def test_a_schedule_begins_with_the_first_outcome_and_goes_on_with_the_same_interval() -> None:
    begun = reschedule((), SLOT, 300)
    assert begun == (Schedule(300, SLOT),)
    assert reschedule(begun, SLOT + at(60), 300) == begun


def test_another_interval_changes_the_schedule_where_it_comes() -> None:
    changed = reschedule((Schedule(300, SLOT),), SLOT + at(7), 60)
    assert changed == (Schedule(300, SLOT, SLOT + at(7)), Schedule(60, SLOT + at(7)))


def test_a_second_change_within_the_hour_is_refused_and_after_it_is_not() -> None:
    changed = (Schedule(300, SLOT, SLOT + at(10)), Schedule(60, SLOT + at(10)))
    refused = reschedule(changed, SLOT + at(65), 300)
    assert isinstance(refused, Refused)
    assert refused.reason is Reason.SCHEDULE_CONFLICT
    assert reschedule(changed, SLOT + at(70), 300) == (
        changed[0],
        Schedule(60, SLOT + at(10), SLOT + at(70)),
        Schedule(300, SLOT + at(70)),
    )


def test_another_interval_in_the_very_slot_in_which_a_schedule_begins_does_not_change_it() -> None:
    assert reschedule((Schedule(300, SLOT),), SLOT, 60) == (Schedule(300, SLOT),)


def test_a_flip_flop_of_two_programs_is_refused_from_the_first_flop_on() -> None:
    schedules: tuple[Schedule, ...] = ()
    refusals = 0
    for minute in range(0, 60, 5):
        for interval in (300, 60):
            result = reschedule(schedules, SLOT + at(minute), interval)
            if isinstance(result, Refused):
                refusals += 1
            else:
                schedules = result
    assert len(schedules) == 2
    assert refusals == 10


def test_an_outcome_after_retirement_begins_anew_and_one_from_before_it_does_not() -> None:
    retired = (Schedule(300, SLOT, SLOT + at(30)),)
    assert reschedule(retired, SLOT + at(60), 60) == (*retired, Schedule(60, SLOT + at(60)))
    assert reschedule(retired, SLOT + at(20), 300) == retired


def test_an_outcome_from_before_the_first_schedule_extends_it_back() -> None:
    assert reschedule((Schedule(300, SLOT),), SLOT - at(10), 300) == (Schedule(300, SLOT - at(10)),)


@pytest.mark.parametrize("interval", [300, 60])
def test_what_a_clock_that_has_lost_the_time_calls_a_slot_begins_no_schedule_and_extends_none(interval: int) -> None:
    lost = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    assert reschedule((), lost, interval) == ()
    assert reschedule((Schedule(300, SLOT),), lost, interval) == (Schedule(300, SLOT),)
    assert reschedule((Schedule(300, SLOT),), SLOT - at(10), 60) == (
        Schedule(60, SLOT - at(10), SLOT),
        Schedule(300, SLOT),
    )


def test_a_late_outcome_of_an_earlier_schedule_changes_nothing() -> None:
    schedules = (Schedule(300, SLOT, SLOT + at(10)), Schedule(60, SLOT + at(10)))
    assert reschedule(schedules, SLOT + at(5), 300) == schedules
