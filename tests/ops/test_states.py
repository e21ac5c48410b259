"""Which states hold, and what is told of them: once when they begin, once when they end."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from etl.model import Reason
from etl.ops.states import (
    HOST,
    Change,
    Memory,
    Seen,
    State,
    attend,
    forget,
    look_around,
    nobody_attended,
    not_told,
    seen_of,
    told,
    untold,
)
from etl.ops.waiting import Waiting
from etl.recorder import Recorded
from tests.values import failure, reading

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STEP = timedelta(minutes=5)
HOUR = timedelta(hours=1)


def at(slot: int) -> datetime:
    """The n-th slot of the day's second half."""
    return NOON + STEP * slot


class Life:
    """Slots of accounts, one after another, and what is told after each."""

    def __init__(self) -> None:
        self.memory = Memory()

    def slot(self, number: int, reason: Reason | None = None, *names: str, doubt: str = "") -> list[str]:
        """A slot with the same for all the accounts; what is told in it."""
        seen = [Seen(name, at(number), 300, reason, doubt) for name in names or ("main",)]
        attend(self.memory, seen, 3)
        return self.tell(at(number))

    def tell(self, now: datetime) -> list[str]:
        """What is untold, and now is told."""
        said = []
        while changes := untold(self.memory, now):
            said.append(f"{changes[0].name} {' '.join(changes[0].names)}".strip())
            told(self.memory, changes[0])
        # What is remembered is what another process will read.
        self.memory = msgspec.json.decode(msgspec.json.encode(self.memory), type=Memory)
        return said


DOWN, REFUSED = Reason.UNREACHABLE, Reason.KEY_REFUSED


def test_slots_missed_in_a_row_are_told_once_and_so_is_their_end() -> None:
    life = Life()
    assert life.slot(0) == []
    assert [life.slot(number, DOWN) for number in range(1, 7)] == [[], [], ["slots_missed begins main"], [], [], []]
    assert life.slot(7) == ["slots_missed ends main"]
    assert life.slot(8) == []


def test_slots_that_are_missed_now_and_then_are_not_in_a_row() -> None:
    life = Life()
    assert [life.slot(number, None if number % 3 == 0 else DOWN) for number in range(12)] == [[]] * 12


def test_when_nobody_was_there_the_next_reading_tells_both_that_and_its_end() -> None:
    life = Life()
    life.slot(0)
    assert life.slot(3) == [], "two were missed"
    assert life.slot(7) == ["slots_missed begins main", "slots_missed ends main"]
    assert life.slot(20, DOWN) == ["slots_missed begins main"], "thirteen, of which the last was tried"


def test_slots_in_which_nothing_could_begin_count_as_missed() -> None:
    life = Life()
    life.slot(0)
    for number in range(1, 4):
        nobody_attended(life.memory, ["main", "never seen"], at(number), 3)
        assert life.tell(at(number)) == (["slots_missed begins main"] if number == 3 else [])
    assert life.memory.holding[State.SLOTS_MISSED]["main"].reason == "none"
    assert life.slot(4) == ["slots_missed ends main"]


def test_an_account_that_was_never_read_is_missed_from_its_first_slot_on() -> None:
    life = Life()
    assert [life.slot(number, DOWN) for number in range(3)] == [[], [], ["slots_missed begins main"]]


def test_a_failure_that_stands_for_many_slots_counts_as_many() -> None:
    outcome = failure(slots=4, reason=Reason.CRASHED)
    seen = seen_of(Recorded(outcome, None, outcome, stored=True))
    assert (seen.slot_at, seen.reason) == (outcome.slot_at + 3 * STEP, Reason.CRASHED)


def test_after_another_interval_or_a_clock_that_was_set_back_nothing_is_known_of_what_was_before() -> None:
    life = Life()
    attend(life.memory, [Seen("main", NOON - timedelta(hours=12), 86_400, None)], 3)
    assert life.slot(0) == []
    life.slot(100_000)
    assert life.slot(1) == []
    assert [life.slot(number, DOWN) for number in (2, 3, 4)][-1] == ["slots_missed begins main"]


def test_a_slot_that_comes_later_than_its_successor_takes_nothing_back() -> None:
    life = Life()
    for number in (0, 2, 3, 4, 5, 1, 6):
        assert life.slot(number) == []


@pytest.mark.parametrize(
    "reason", ["key_missing", "key_refused", "ip_not_allowed", "permission_missing", "account_blocked"]
)
def test_a_key_that_needs_a_person_is_told_until_a_reading_comes_with_it(reason: str) -> None:
    life = Life()
    assert life.slot(0, Reason(reason)) == ["key_refused begins main"]
    assert life.memory.holding[State.KEY_REFUSED]["main"].reason == reason
    assert life.slot(1, Reason.BACKING_OFF) == []
    assert life.slot(2, Reason.UNREACHABLE) == ["slots_missed begins main"]
    assert life.slot(3, Reason(reason)) == []
    assert life.slot(4) == ["key_refused ends main", "slots_missed ends main"]


def test_of_a_fleet_those_to_whom_it_happens_together_are_told_together_and_later_ones_as_well() -> None:
    life = Life()
    fleet = [f"a{number}" for number in range(500)]
    for number in range(2):
        assert life.slot(number, DOWN, *fleet) == []
    assert life.slot(2, DOWN, *fleet) == [f"slots_missed begins {' '.join(sorted(fleet))}"]
    assert life.slot(3, REFUSED, "late") == ["key_refused begins late"]
    assert life.slot(3, None, *fleet[:499]) == [f"slots_missed ends {' '.join(sorted(fleet[:499]))}"]
    assert life.slot(4, None, fleet[499]) == [f"slots_missed ends {fleet[499]}"]


def test_a_reading_is_doubtful_while_its_doubt_stays_and_not_where_reading_again_has_settled_it() -> None:
    life = Life()
    assert life.slot(0, doubt="doubted: spot at 0 (confirmed)") == ["doubtful_reading begins main"]
    assert life.slot(1, doubt="doubted: spot missing (not read again)") == []
    assert life.slot(2, DOWN) == [], "a failure says nothing of it"
    assert life.slot(3) == ["doubtful_reading ends main"]

    def doubt(said: str) -> str:
        outcome = reading(doubt=said)
        return seen_of(Recorded(outcome, None, None, stored=True)).doubt

    assert doubt("doubted: spot at 0 (not so when read again)") == ""
    assert doubt("doubted: spot at 0 (confirmed), a missing (not so when read again)") != ""


def test_spool_and_quarantine_are_told_by_what_is_there() -> None:
    life = Life()

    def look(minutes: int, spool: Waiting, files: int) -> list[str]:
        now = NOON + timedelta(minutes=minutes)
        look_around(life.memory, spool, Waiting(files), now, HOUR)
        return life.tell(now)

    old = Waiting(3, NOON.timestamp())
    assert look(0, Waiting(), 0) == []
    assert look(60, old, 0) == []
    assert look(61, old, 0) == ["spool_old begins"]
    assert life.memory.holding[State.SPOOL_OLD][HOST].since == NOON
    assert look(90, Waiting(9, NOON.timestamp()), 2) == ["quarantine_not_empty begins"]
    assert look(95, Waiting(), 3) == ["spool_old ends"]
    assert look(99, Waiting(), 0) == ["quarantine_not_empty ends"]
    assert look(99, Waiting(), 0) == []


def test_what_nobody_took_is_told_later_and_less_often_and_holds_up_nothing_else() -> None:
    life = Life()
    now = NOON
    tries = []
    life.memory.begin(State.KEY_REFUSED, "main", NOON, "x")
    for _ in range(24 * 60):
        now += timedelta(minutes=1)
        for change in untold(life.memory, now):
            tries.append(now)
            not_told(life.memory, change, now)
    assert tries[0] == NOON + timedelta(minutes=1)
    assert 24 <= len(tries) <= 32
    life.memory.begin(State.QUARANTINE, HOST, now, "1 files")
    assert [change.name for change in untold(life.memory, now)] == ["quarantine_not_empty begins"]
    before = untold(life.memory, now - timedelta(days=400))
    assert len(before) == 2, "a clock that was set back is not waited for"


def test_what_began_and_ended_untold_is_told_in_that_order() -> None:
    life = Life()
    attend(life.memory, [Seen("main", at(0), 300, REFUSED)], 3)
    attend(life.memory, [Seen("main", at(1), 300, None)], 3)
    assert life.tell(at(1)) == ["key_refused begins main", "key_refused ends main"]


def test_what_changed_while_it_was_told_is_told_afterwards() -> None:
    life = Life()
    life.slot(0, REFUSED)
    attend(life.memory, [Seen("main", at(1), 300, None)], 3)
    [end] = untold(life.memory, at(1))
    attend(life.memory, [Seen("main", at(2), 300, REFUSED)], 3)
    told(life.memory, end)
    assert life.tell(at(2)) == ["key_refused begins main"]


def test_an_end_that_was_not_told_before_it_began_again_never_was() -> None:
    life = Life()
    life.slot(0, REFUSED)
    attend(life.memory, [Seen("main", at(1), 300, None)], 3)
    attend(life.memory, [Seen("main", at(2), 300, REFUSED)], 3)
    assert life.tell(at(2)) == []


def test_an_account_that_is_recorded_no_more_is_forgotten_after_a_month() -> None:
    life = Life()
    life.slot(0, REFUSED, "gone", "main")
    forget(life.memory, at(0) + timedelta(days=29))
    assert set(life.memory.accounts) == {"gone", "main"}
    life.slot(8000, REFUSED, "main")
    forget(life.memory, at(0) + timedelta(days=31))
    assert set(life.memory.accounts) == set(life.memory.holding[State.KEY_REFUSED]) == {"main"}


def test_the_text_for_people_is_a_line_whatever_the_number_of_accounts() -> None:
    memory = Memory()
    for number in range(300):
        memory.begin(State.SLOTS_MISSED, f"a{number:03}", at(number % 3), "unreachable")
    [change] = untold(memory, at(9))
    assert isinstance(change, Change)
    assert change.text == (
        "slots_missed begins of a000, a001, a002, a003, a004 and 295 more: unreachable; since 2026-11-22T12:00:00Z"
    )
