"""Which slots nobody recorded, and why."""

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl.daemon.absence import MOST_SLOTS, Absence
from etl.model import Environment, Failure, Reason
from tests.values import SLOT

INTERVAL = 300
STEP = timedelta(seconds=INTERVAL)


class Life:
    """A daemon's life as its absence sees it: slots by number, from :data:`SLOT` on."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.absence = Absence(state_dir)
        self.turns: dict[int, int] = {}

    def begin(self, slot: int) -> None:
        self.turns[slot] = self.absence.begin(SLOT + STEP * slot)

    def end(
        self, slot: int, accounts: tuple[str, ...] = ("main",), interval: int = INTERVAL, **filed_under: int
    ) -> list[Failure]:
        now = SLOT + STEP * slot + timedelta(seconds=2)
        outcomes = [(account, SLOT + STEP * filed_under.get(account, slot)) for account in accounts]
        failures = self.absence.attended(self.turns[slot], outcomes, interval, environment=Environment.SANDBOX, now=now)
        assert all(failure.environment is Environment.SANDBOX and failure.attempts == 0 for failure in failures)
        assert all(failure.first_at == failure.last_at == now for failure in failures)
        return failures

    def attend(self, slot: int, accounts: tuple[str, ...] = ("main",), interval: int = INTERVAL) -> list[Failure]:
        self.begin(slot)
        return self.end(slot, accounts, interval)

    @property
    def file(self) -> Path:
        return self.state_dir / "remembered" / "daemon.json"


@pytest.fixture
def life(tmp_path: Path) -> Life:
    """A first life."""
    return Life(tmp_path)


def missed(failures: list[Failure]) -> list[tuple[str, int, int, str]]:
    """By account: the first missed slot, how many, and why."""
    return [(f.account, (f.slot_at - SLOT) // STEP, f.slots, f.reason.value) for f in failures]


def test_slot_after_slot_nothing_is_missed(life: Life) -> None:
    assert [life.attend(slot) for slot in range(4)] == [[]] * 4


def test_a_first_run_has_missed_nothing(life: Life) -> None:
    assert life.attend(1000) == []


def test_what_was_missed_while_it_was_there_it_was_too_busy_for(life: Life) -> None:
    life.attend(0)
    assert missed(life.attend(3)) == [("main", 1, 2, "overrun")]
    assert life.attend(4) == []


@pytest.mark.parametrize(("stops", "reason"), [(True, "stopped"), (False, "crashed")])
def test_after_a_restart_the_slots_since_the_last_one_are_missing(life: Life, stops: bool, reason: str) -> None:
    life.attend(0)
    life.attend(1)
    if stops:
        life.absence.stopped()
    again = Life(life.state_dir)
    assert missed(again.attend(5)) == [("main", 2, 3, reason)]
    assert missed(again.attend(8)) == [("main", 6, 2, "overrun")], "the reason of a restart is used up"


def test_a_restart_within_the_slot_or_before_the_next_has_missed_nothing(life: Life) -> None:
    life.attend(0)
    assert Life(life.state_dir).attend(0) == []
    assert Life(life.state_dir).attend(1) == []


def test_a_mark_is_made_in_every_slot_so_that_a_crash_is_one_after_a_stop_as_well(life: Life) -> None:
    life.attend(0)
    life.absence.stopped()
    assert missed(Life(life.state_dir).attend(2)) == [("main", 1, 1, "stopped")]
    assert missed(Life(life.state_dir).attend(4)) == [("main", 3, 1, "crashed")]


@pytest.mark.parametrize("reason", [Reason.SUSPENDED, Reason.CLOCK_JUMPED])
def test_what_happened_to_time_is_the_reason_of_what_was_missed_by_it_alone(life: Life, reason: Reason) -> None:
    life.attend(0)
    life.absence.because(reason)
    assert missed(life.attend(4)) == [("main", 1, 3, reason.value)]
    assert missed(life.attend(6)) == [("main", 5, 1, "overrun")]


def test_a_slot_that_was_under_way_when_it_happened_does_not_use_up_the_reason(life: Life) -> None:
    life.attend(0)
    life.begin(1)
    life.absence.because(Reason.SUSPENDED)
    life.begin(6)
    assert life.end(1) == [], "its answer arrived after the machine woke up"
    assert missed(life.end(6)) == [("main", 2, 4, "suspended")]


def test_slots_that_are_still_being_read_are_not_missing(life: Life) -> None:
    life.attend(0)
    for slot in (1, 2, 4):
        life.begin(slot)
    assert missed(life.attend(6)) == [("main", 3, 1, "overrun"), ("main", 5, 1, "overrun")]
    assert [life.end(slot) for slot in (1, 4, 2)] == [[]] * 3
    assert life.attend(7) == []


def test_a_slot_whose_request_left_when_it_had_just_ended_is_missing(life: Life) -> None:
    """A reading is filed under the slot in which its request was sent: then its own slot has no outcome."""
    two = ("main", "other")
    life.attend(0, two)
    life.begin(1)
    assert missed(life.end(1, two, main=2)) == [("main", 1, 1, "overrun")], "the other one was in time"
    life.begin(2)
    assert life.end(2, two) == []


def test_so_it_is_where_the_next_slot_was_faster(tmp_path: Path) -> None:
    life = Life(tmp_path)

    def end(turn: int, filed_at: datetime) -> list[tuple[datetime, str]]:
        failures = life.absence.attended(turn, [("main", filed_at)], 1, environment=Environment.SANDBOX, now=filed_at)
        return [(failure.slot_at, failure.reason.value) for failure in failures]

    second = timedelta(seconds=1)
    first, slow, fast = (life.absence.begin(SLOT + second * number) for number in range(3))
    assert end(first, SLOT) == []
    assert end(fast, SLOT + second * 2) == []
    assert end(slow, SLOT + second * 2) == [(SLOT + second, "overrun")]


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_a_wrong_clock_calls_the_slot_is_not_missing(tmp_path: Path, hours: int) -> None:
    """Where our clock is far off, slots are filed by the exchange's."""
    life = Life(tmp_path)
    for number in range(4):
        at = SLOT + STEP * number
        turn = life.absence.begin(at + timedelta(hours=hours))
        assert life.absence.attended(turn, [("main", at)], INTERVAL, environment=Environment.SANDBOX, now=at) == []


def test_accounts_that_were_not_there_before_have_missed_nothing(life: Life) -> None:
    life.attend(0, ("main", "gone"))
    assert missed(life.attend(3, ("new", "main"))) == [("main", 1, 2, "overrun")]
    assert missed(life.attend(5, ("new", "main"))) == [("main", 4, 1, "overrun"), ("new", 4, 1, "overrun")]


def test_of_a_very_long_absence_only_the_end_is_told_slot_by_slot(life: Life) -> None:
    life.attend(0)
    [failure] = life.attend(MOST_SLOTS * 40)
    assert failure.slots == MOST_SLOTS
    assert failure.slot_at + STEP * failure.slots == SLOT + STEP * MOST_SLOTS * 40
    assert sum(1 for _ in failure.each()) == MOST_SLOTS


def test_with_another_interval_than_before_nothing_is_said_to_be_missing(life: Life) -> None:
    life.attend(0)
    again = Life(life.state_dir)
    assert again.attend(5, interval=60) == []
    again.begin(6)
    assert [f.slots for f in again.end(6, interval=60)] == [4], "and from then on by the new one"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 40,
        b"{",
        b"[]",
        b'{"slot_at":"2026-11-22T15:00:00","interval_seconds":300,"accounts":["main"]}',
        b'{"slot_at":"2026-11-22T15:00:00Z","interval_seconds":0,"accounts":["main"]}',
        b'{"slot_at":"2026-11-22T15:00:00Z","interval_seconds":-300,"accounts":["main"]}',
        b'{"slot_at":"2026-11-22T15:00:00Z","interval_seconds":300,"accounts":null}',
        b'{"slot_at":"2026-11-22T15:00:00Z","interval_seconds":300}',
    ],
    ids=repr,
)
def test_a_damaged_mark_is_none_and_is_replaced(life: Life, content: bytes) -> None:
    life.attend(0)
    life.file.write_bytes(content)
    again = Life(life.state_dir)
    assert again.attend(3) == []
    assert missed(again.attend(5)) == [("main", 4, 1, "overrun")]
    assert missed(Life(life.state_dir).attend(7)) == [("main", 6, 1, "crashed")]


def test_a_mark_that_a_wrong_clock_made_in_the_far_future_does_not_end_the_keeping_of_marks(life: Life) -> None:
    life.attend(5_000_000)
    again = Life(life.state_dir)
    assert again.attend(3) == []
    assert missed(again.attend(5)) == [("main", 4, 1, "overrun")]


def test_a_slot_of_1970_is_no_sign_of_life(tmp_path: Path) -> None:
    """A machine whose clock has no battery boots there; all the years since would be missing when the time is known."""
    life = Life(tmp_path)
    life.attend(0)
    again = Life(tmp_path)
    boot = datetime(1970, 1, 1, 0, 5, tzinfo=UTC)
    turn = again.absence.begin(boot)
    assert again.absence.attended(turn, [("main", boot)], INTERVAL, environment=Environment.SANDBOX, now=boot) == []
    again.absence.because(Reason.CLOCK_JUMPED)
    assert missed(again.attend(4)) == [("main", 1, 3, "clock_jumped")]


def test_a_mark_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "remembered").write_text("in the way")
    life = Life(tmp_path)
    assert life.attend(0) == []
    assert missed(life.attend(2)) == [("main", 1, 1, "overrun")]
    life.absence.stopped()


def test_who_comes_after_the_stop_is_no_sign_of_life(life: Life) -> None:
    life.attend(0)
    life.begin(1)
    life.absence.stopped()
    assert life.end(1) == []
    assert json.loads(life.file.read_bytes())["stopped"] is True


def test_a_stop_before_the_first_slot_leaves_no_mark(life: Life) -> None:
    life.absence.stopped()
    assert not life.file.exists()


def test_the_mark_is_private_and_names_no_more_than_it_must(life: Life) -> None:
    life.attend(0)
    assert life.file.stat().st_mode & 0o777 == 0o600
    assert set(json.loads(life.file.read_bytes())) == {"slot_at", "interval_seconds", "accounts", "stopped"}


def test_slots_that_end_in_any_order_and_at_once_are_each_missing_or_not_once(life: Life) -> None:
    life.attend(0)
    slots = [slot for slot in range(1, 60) if slot % 7]
    for slot in slots:
        life.begin(slot)
    found: list[Failure] = []
    threads = [threading.Thread(target=lambda slot=slot: found.extend(life.end(slot))) for slot in slots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found += life.attend(60)
    assert sorted(first + number for _, first, slots, _ in missed(found) for number in range(slots)) == [
        7, 14, 21, 28, 35, 42, 49, 56,
    ]  # fmt: skip


def test_an_instant_of_any_zone_is_the_same_slot(life: Life) -> None:
    life.attend(0)
    text = life.file.read_text().replace("Z", "+00:00")
    life.file.write_text(text)
    assert datetime.fromisoformat(json.loads(text)["slot_at"]).astimezone(UTC) == SLOT
    assert missed(Life(life.state_dir).attend(2)) == [("main", 1, 1, "crashed")]
