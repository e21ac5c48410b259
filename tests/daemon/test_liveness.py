"""When work counts as stuck, by a clock that a test sets."""

import logging

import pytest

from etl.daemon.liveness import READING_SECONDS, STORING_SECONDS, Liveness
from etl.daemon.supervisor import Supervisor
from etl.db.engine import DEADLINE_SECONDS


class Counting(Supervisor):
    """Counts the signs of life."""

    def __init__(self) -> None:
        super().__init__({})
        self.wants_life_every = 60.0
        self.alive_at: list[float] = []
        self.now = 1000.0

    def alive(self) -> None:
        self.alive_at.append(self.now)


@pytest.fixture
def supervisor() -> Counting:
    return Counting()


@pytest.fixture
def liveness(supervisor: Counting) -> Liveness:
    return Liveness(supervisor, lambda: supervisor.now)


def test_work_is_stuck_when_its_last_sign_of_life_is_too_long_ago(supervisor: Counting, liveness: Liveness) -> None:
    with liveness.of("reading", 10) as work:
        supervisor.now += 10
        assert liveness.check()
        work.got_on()
        supervisor.now += 10
        assert liveness.check()
        supervisor.now += 0.1
        assert not liveness.check()
        work.got_on()
        assert liveness.check()
        supervisor.now += 11
    assert liveness.check(), "what has ended is not stuck"


def test_work_that_never_ends_is_stuck_whatever_it_says(supervisor: Counting, liveness: Liveness) -> None:
    with liveness.of("reading", 10, at_most_seconds=100) as work:
        for _ in range(20):
            supervisor.now += 5
            work.got_on()
            assert liveness.check()
        supervisor.now += 1
        work.got_on()
        assert not liveness.check()


def test_one_that_is_stuck_among_many_keeps_the_watchdog_from_being_fed(
    supervisor: Counting, liveness: Liveness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stuck, well = liveness.begin("the scheduler", 10), liveness.begin("the storekeeper", 10)
    for _ in range(40):
        supervisor.now += 5
        well.got_on()
        liveness.check()
    assert supervisor.alive_at == [1005.0]
    assert caplog.messages == ["no sign of life any more: the scheduler"], "once, and not at every look"
    stuck.got_on()
    liveness.check()
    assert len(supervisor.alive_at) == 2
    assert caplog.messages[1:] == ["all of it gets on again"]


def test_it_is_fed_four_times_in_what_systemd_waits_for(supervisor: Counting, liveness: Liveness) -> None:
    for _ in range(600):
        supervisor.now += 1
        liveness.check()
    assert len(supervisor.alive_at) == 40


def test_after_a_halt_everything_has_its_whole_time_again(supervisor: Counting, liveness: Liveness) -> None:
    with liveness.of("reading", 10):
        supervisor.now += 3600
        liveness.forgive()
        assert liveness.check()


def test_a_database_that_is_down_for_a_day_is_no_hang(supervisor: Counting, liveness: Liveness) -> None:
    """Each attempt comes to its deadlines; between two of them nothing is under way."""
    end = supervisor.now + 86_400
    while supervisor.now < end:
        with liveness.of("storing", STORING_SECONDS):
            supervisor.now += 3 * DEADLINE_SECONDS
            assert liveness.check()
        supervisor.now += 15
    assert READING_SECONDS > 3 * DEADLINE_SECONDS, "nor does it count who only looks whether it is there"
