"""What is counted, and what is known of each account."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, TypeVar

import pytest

from etl.errors import DatabaseUnavailable, EtlError, SchemaNotAtHead
from etl.load.judge import judge
from etl.model import Answer, Balance, Outcome, Reading, Reason, Snapshot
from etl.ops.ledger import FETCH_SECONDS, FORGET_AFTER_SECONDS, Histogram, Ledger
from etl.recorder import Recorded, Slot, Stored
from etl.spool.spool import Entry
from tests.values import ASKED, SLOT, failure, reading

NOW = ASKED.timestamp() + 3
INTERVAL = 300
STEP = timedelta(seconds=INTERVAL)
T = TypeVar("T", bound=Outcome)


def snapshot_of(outcome: Reading) -> Snapshot:
    return judge(outcome, Answer(outcome.requested_at, (Balance("spot", Decimal(1)),)), None)


def slot(*outcomes: Outcome, stored: bool = True, spooled: bool = True, duplicate: bool = False, **more: Any) -> Slot:
    recorded = [
        Recorded(each, snapshot_of(each), None, stored=stored, duplicate=duplicate)
        if isinstance(each, Reading)
        else Recorded(each, None, each, stored=stored)
        for each in outcomes
    ]
    return Slot([Entry("x", each, spooled=spooled) for each in outcomes], recorded, **more)


def later(outcome: T, slots: int) -> T:
    """The same outcome so many slots later."""
    changes: dict[str, Any] = {"slot_at": outcome.slot_at + STEP * slots}
    if isinstance(outcome, Reading):
        changes["requested_at"] = outcome.requested_at + STEP * slots
    return replace(outcome, **changes)


def noted(*slots: Slot, stored: Stored | None = None, now: float = NOW, ledger: Ledger | None = None) -> Ledger:
    ledger = ledger or Ledger()
    ledger.note(slots, stored or Stored(seconds=0.01), now, "0007")
    return ledger


def test_slots_are_counted_by_outcome_and_reason_and_attempts_by_their_number() -> None:
    ledger = noted(
        slot(reading(), failure(account="b"), failure(account="c", reason=Reason.KEY_REFUSED, attempts=1)),
        slot(later(reading(attempts=2), 1), later(failure(account="b"), 1)),
        slot(reading(account="d"), duplicate=True),
    )
    assert ledger.slots == {"complete": 2, "failed unavailable": 2, "failed key_refused": 1, "duplicate": 1}
    assert ledger.attempts == 1 + 3 + 1 + 2 + 3 + 1


def test_slots_that_nobody_attended_to_are_counted_with_their_reason() -> None:
    missed = [failure(reason=Reason.CRASHED, attempts=0, slots=40), failure(reason=Reason.STOPPED, attempts=0)]
    ledger = noted(slot(reading(), missed=missed))
    assert ledger.slots == {"complete": 1, "failed crashed": 40, "failed stopped": 1}
    assert ledger.accounts["main"].missed(INTERVAL) == 0


def test_a_success_is_in_the_database_and_a_reading_is_safe_somewhere() -> None:
    account = noted(slot(reading(), stored=False), stored=Stored(trouble=DatabaseUnavailable("down"))).accounts["main"]
    assert (account.read_at, account.stored_at) == (ASKED.timestamp(), None)
    account = noted(slot(reading(), stored=False, spooled=False)).accounts["main"]
    assert (account.read_at, account.stored_at, account.missed(INTERVAL)) == (None, None, 1)
    account = noted(slot(reading(), spooled=False)).accounts["main"]
    assert (account.read_at, account.stored_at) == (ASKED.timestamp(), ASKED.timestamp())


def test_a_slot_is_counted_once_by_however_many_it_was_attended_to() -> None:
    """Daemon and cron over one state directory: who finds its outcome stored by the other knows no duplicate."""
    ledger = noted(slot(failure(reason=Reason.UNREACHABLE)))
    for _ in range(2):
        noted(slot(failure(attempts=1)), ledger=ledger)
    for number in (0, 1):
        for is_known in (number == 1, False, False):  # to be a duplicate; whose it is may be noted later
            outcome = later(reading(), number)
            noted(slot(outcome, duplicate=is_known), ledger=ledger, now=NOW + number * INTERVAL)
        noted(slot(later(failure(), number)), ledger=ledger, now=NOW + number * INTERVAL)
    for _ in range(2):
        ledger.note_failed_run(["main"], SLOT.timestamp() + 2 * INTERVAL, NOW + 2 * INTERVAL)
    assert ledger.slots == {"failed unreachable": 1, "complete": 2, "duplicate": 4, "failed none": 1}


def test_a_duplicate_tells_of_the_slot_and_not_of_a_time_that_is_nowhere() -> None:
    """The second reading of a day, in its evening, is not kept: the one in the database is of its morning."""
    ledger = noted(slot(reading()))
    evening = replace(reading(), requested_at=ASKED + timedelta(hours=8))
    for ledger_, expected in ((ledger, ASKED), (Ledger(), SLOT)):
        account = noted(slot(evening, duplicate=True), ledger=ledger_, now=NOW + 8 * 3600).accounts["main"]
        assert (account.read_at, account.stored_at) == (expected.timestamp(), expected.timestamp())


def test_what_waited_is_a_success_as_soon_as_it_is_stored() -> None:
    ledger = noted(slot(reading(), stored=False))
    noted(stored=Stored(earlier=1, newest={"main": ASKED}, seconds=1.0), ledger=ledger)
    assert ledger.accounts["main"].stored_at == ASKED.timestamp()


def test_missed_slots_in_a_row_include_those_that_nobody_attended_to_and_end_with_a_reading() -> None:
    ledger = noted(slot(reading()))
    missed = []
    for number in (1, 2, 5):
        noted(slot(later(failure(), number)), ledger=ledger, now=NOW + number * INTERVAL)
        missed.append(ledger.accounts["main"].missed(INTERVAL))
    assert (missed, ledger.accounts["main"].reason) == ([1, 2, 5], "unavailable")
    noted(slot(later(reading(), 6)), ledger=ledger, now=NOW + 6 * INTERVAL)
    assert (ledger.accounts["main"].missed(INTERVAL), ledger.accounts["main"].reason) == (0, "")


def test_an_account_that_was_never_read_has_missed_every_slot_since_it_was_in_the_settings() -> None:
    ledger = Ledger()
    ledger.expect(["main"], NOW)
    assert ledger.accounts["main"].missed(INTERVAL) == 0, "nobody has attended to anything yet"
    noted(slot(failure()), ledger=ledger)
    noted(slot(later(failure(), 1)), ledger=ledger, now=NOW + INTERVAL)
    assert ledger.accounts["main"].missed(INTERVAL) == 2


def test_a_slow_slot_that_comes_after_its_successor_does_not_hide_it() -> None:
    ledger = noted(slot(later(reading(), 1)), now=NOW + INTERVAL)
    noted(slot(failure()), ledger=ledger, now=NOW + INTERVAL)
    account = ledger.accounts["main"]
    assert (account.reason, account.missed(INTERVAL)) == ("", 0)
    noted(slot(reading()), ledger=ledger, now=NOW + INTERVAL)
    assert account.read_at == (ASKED + STEP).timestamp()


def test_what_a_wrong_clock_noted_does_not_hide_what_comes_after() -> None:
    far = 1_000_000
    ledger = noted(slot(later(reading(), far)), now=NOW + far * INTERVAL)
    noted(slot(failure()), ledger=ledger)
    assert ledger.accounts["main"].reason == "unavailable"
    noted(slot(reading()), ledger=ledger)
    account = ledger.accounts["main"]
    assert (account.read_at, account.stored_at, account.missed(INTERVAL)) == (ASKED.timestamp(), ASKED.timestamp(), 0)


def test_an_account_that_a_wrong_clock_saw_first_is_missed_as_soon_as_the_clock_is_right() -> None:
    ledger = Ledger()
    ledger.expect(["main"], NOW + 86_400 * 365)
    ledger.expect(["main"], NOW)
    assert ledger.accounts["main"].since == NOW
    ledger.expect(["main"], NOW + INTERVAL)
    assert ledger.accounts["main"].since == NOW


def test_a_doubted_reading_is_counted_and_its_time_is_known() -> None:
    ledger = noted(slot(reading(), reading(account="b", doubt="doubted: spot at 0 (confirmed)")))
    assert ledger.doubted == 1
    assert {name: account.doubted_at for name, account in ledger.accounts.items()} == {
        "main": None,
        "b": ASKED.timestamp(),
    }


def test_the_clock_offset_is_the_median_of_a_slot_and_stays_where_nothing_was_read() -> None:
    def off(account: str, seconds: float) -> Reading:
        return reading(account=account, requested_at=ASKED - timedelta(seconds=seconds), latency_ms=0)

    def snapshot(outcome: Reading) -> Recorded:
        return Recorded(outcome, replace(snapshot_of(outcome), taken_at=ASKED), None, stored=True)

    outcomes = [off("a", 2.0), off("b", 2.5), off("c", 50.0)]
    one = Slot([Entry("x", each) for each in outcomes], [snapshot(each) for each in outcomes])
    ledger = noted(one)
    assert ledger.clock_offset_seconds == pytest.approx(2.5)
    noted(slot(failure()), ledger=ledger)
    assert ledger.clock_offset_seconds == pytest.approx(2.5)


def test_the_fewest_requests_left_are_those_of_the_last_slots_that_were_told_any() -> None:
    ledger = noted(slot(reading(), requests_left=250), slot(reading(), requests_left=20), slot(reading()))
    assert ledger.requests_left == 20
    noted(slot(reading()), ledger=ledger)
    assert ledger.requests_left == 20
    noted(slot(reading(), requests_left=299), ledger=ledger)
    assert ledger.requests_left == 299


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (None, (True, 7)),
        (SchemaNotAtHead("older", "0003"), (False, 3)),
        (SchemaNotAtHead("no tables"), (False, 0)),
        (SchemaNotAtHead("another program's", "a1b2"), (False, None)),
        (DatabaseUnavailable("down"), (None, None)),
    ],
)
def test_the_schema_is_known_from_what_became_of_storing(
    trouble: EtlError | None, expected: tuple[bool | None, int | None]
) -> None:
    ledger = noted(slot(reading(), stored=trouble is None), stored=Stored(trouble=trouble, seconds=0.1))
    assert (ledger.schema_at_head, ledger.schema_revision) == expected


def test_nothing_is_known_of_the_schema_where_nothing_was_stored() -> None:
    ledger = noted(stored=Stored(seconds=0.001))
    assert (ledger.schema_at_head, ledger.loads.counts, ledger.last_run_at) == (None, [], None)


def test_durations_fall_into_the_bucket_that_ends_with_them() -> None:
    ledger = noted(slot(reading(latency_ms=50), reading(latency_ms=51), failure(), reading(latency_ms=400_000)))
    assert ledger.fetches.counts == [1, 1, *[0] * (len(FETCH_SECONDS) - 2), 1]
    assert ledger.fetches.total == pytest.approx(400.101)
    assert sum(ledger.loads.counts) == 1


def test_counts_of_other_buckets_are_let_go_of() -> None:
    histogram = Histogram([4, 4], 9.0)
    histogram.observe(0.07, FETCH_SECONDS)
    assert (sum(histogram.counts), histogram.total) == (1, 0.07)


def test_a_slot_that_could_not_be_read_at_all_is_a_miss_of_every_account() -> None:
    ledger = noted(slot(reading()))
    ledger.note_failed_run(["main", "b"], (SLOT + STEP).timestamp(), NOW + INTERVAL)
    assert ledger.slots["failed none"] == 2
    assert {name: (a.reason, a.missed(INTERVAL)) for name, a in ledger.accounts.items()} == {
        "main": ("none", 1),
        "b": ("none", 1),
    }
    assert ledger.last_run_at == NOW + INTERVAL


def test_an_account_that_is_in_the_settings_no_more_is_forgotten_after_a_month_and_not_before() -> None:
    ledger = noted(slot(reading(), reading(account="gone")))
    ledger.expect(["main"], NOW + FORGET_AFTER_SECONDS - 60)
    assert set(ledger.accounts) == {"main", "gone"}
    ledger.expect(["main"], NOW + FORGET_AFTER_SECONDS + 60)
    assert set(ledger.accounts) == {"main"}


def test_an_outcome_in_quarantine_is_no_success() -> None:
    outcome = reading()
    one = Slot([Entry("x", outcome)], [Recorded(outcome, None, failure(reason=Reason.MALFORMED), stored=True)])
    account = noted(one).accounts["main"]
    assert (account.reason, account.missed(INTERVAL)) == ("malformed", 1)
    assert (account.read_at, account.stored_at) == (None, None)
