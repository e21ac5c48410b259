"""Noticing that time did not pass as it should."""

import time

import pytest

from etl.daemon.vigil import HALT_SECONDS, TOLERANCE_SECONDS, Vigil, since_boot
from etl.model import Reason


class Clocks:
    """Three clocks that a test moves."""

    def __init__(self) -> None:
        self.wall, self.monotonic, self.boottime = 1.8e9, 500.0, 900.0
        self.vigil = Vigil(lambda: self.wall, lambda: self.monotonic, lambda: self.boottime)
        self.vigil.look(0)

    def pass_by(self, seconds: float, *, set_by: float = 0, slept: float = 0) -> Reason | None:
        """Let time pass, the clock be set, the machine sleep; what a look after a second's wait says."""
        self.monotonic += seconds
        self.boottime += seconds + slept
        self.wall += seconds + slept + set_by
        return self.vigil.look(1.0)


@pytest.fixture
def clocks() -> Clocks:
    """Clocks that agree."""
    return Clocks()


def test_the_first_look_compares_with_nothing() -> None:
    assert Vigil().look(0) is None


def test_of_time_that_passes_as_it_should_there_is_nothing_to_say(clocks: Clocks) -> None:
    assert [clocks.pass_by(seconds) for seconds in (0, 0.3, 1, 1.2, 3)] == [None] * 5


@pytest.mark.parametrize("seconds", [3, -3, 3600, -3600, 1e9])
def test_a_clock_that_is_set_is_noticed_once(clocks: Clocks, seconds: float) -> None:
    assert clocks.pass_by(1, set_by=seconds) is Reason.CLOCK_JUMPED
    assert clocks.pass_by(1) is None


def test_a_clock_that_is_slewed_is_not(clocks: Clocks) -> None:
    assert {clocks.pass_by(1, set_by=TOLERANCE_SECONDS * 0.4) for _ in range(100)} == {None}


def test_a_machine_that_slept_is_noticed_though_nothing_ran_on_it(clocks: Clocks) -> None:
    assert clocks.pass_by(0.5, slept=30) is Reason.SUSPENDED
    assert clocks.pass_by(1) is None


def test_a_process_that_was_halted_is_noticed(clocks: Clocks) -> None:
    assert clocks.pass_by(1 + HALT_SECONDS + 0.1) is Reason.SUSPENDED
    assert clocks.pass_by(1 + HALT_SECONDS - 0.1) is None, "a busy machine is no halted one"


def test_whoever_slept_and_had_the_clock_set_meanwhile_was_away_in_the_first_place(clocks: Clocks) -> None:
    assert clocks.pass_by(1, slept=30, set_by=-7) is Reason.SUSPENDED


def test_the_real_clocks_agree_with_each_other() -> None:
    vigil = Vigil()
    vigil.look(0)
    time.sleep(0.05)
    assert vigil.look(0.05) is None
    assert since_boot() > 0
