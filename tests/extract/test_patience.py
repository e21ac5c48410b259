"""When to ask again."""

from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import KeyRefused, RateLimited
from etl.extract.patience import (
    LONGEST_BACK_OFF,
    LONGEST_BLOCK,
    MAX_PAUSE_SECONDS,
    UNNAMED_BLOCK,
    held_off,
    pause_seconds,
    refuse,
    still_blocked,
    unblocked_at,
)
from etl.remembered import Block, Refusal
from tests.values import ASKED, SLOT

FIVE = timedelta(minutes=5)
SECOND = timedelta(seconds=1)
TROUBLE = KeyRefused("key_refused", "code 100413")


def refused(before: Refusal | None, slot_at: datetime = SLOT, interval: timedelta = FIVE, key: str = "f1") -> Refusal:
    """What is remembered after a refusal in this slot."""
    return refuse(before, TROUBLE, fingerprint=key, slot_at=slot_at, interval=interval, now=slot_at + SECOND)


@given(st.integers(1, 50), st.floats(0, 1))
def test_pauses_grow_with_jitter_up_to_a_bound(attempts: int, chance: float) -> None:
    full = min(MAX_PAUSE_SECONDS, 2.0 ** (attempts - 1))
    assert full / 2 <= pause_seconds(attempts, chance) <= full
    assert pause_seconds(attempts, 0.0) < pause_seconds(attempts, 1.0)


@given(st.floats(0, 1))
def test_bingx_names_the_end_of_a_block_and_is_never_asked_before_it(chance: float) -> None:
    until = ASKED + timedelta(minutes=7)
    assert until <= unblocked_at(RateLimited("rate_limited", "", until), ASKED, chance, again=False) <= until + SECOND


@pytest.mark.parametrize("until", [None, ASKED + LONGEST_BLOCK + SECOND])
def test_a_block_without_an_end_that_can_be_believed_is_five_minutes(until: datetime | None) -> None:
    unblocked = unblocked_at(RateLimited("rate_limited", "", until), ASKED, 0.0, again=False)
    assert unblocked == ASKED + UNNAMED_BLOCK == ASKED + FIVE


def test_a_block_that_is_over_by_our_clock_is_believed_once_and_after_a_pause() -> None:
    over = RateLimited("rate_limited", "", ASKED - FIVE)
    assert ASKED < unblocked_at(over, ASKED, 0.0, again=False) <= ASKED + SECOND
    assert unblocked_at(over, ASKED, 0.0, again=True) == ASKED + FIVE


def test_the_latest_block_that_is_still_to_come_counts() -> None:
    def blocks(*until: datetime) -> list[Block]:
        return [Block(ASKED - FIVE, each) for each in until]

    assert still_blocked(ASKED, None, *blocks(ASKED + SECOND, ASKED + FIVE)) == ASKED + FIVE
    assert still_blocked(ASKED, None, *blocks(ASKED - SECOND, ASKED)) is None
    assert still_blocked(ASKED) is None


def test_a_block_noted_by_a_clock_that_was_ahead_ends_when_the_clock_is_set_right() -> None:
    # Found by the model: five minutes, noted by a clock an hour ahead, kept the account from being asked for an hour.
    noted_at = ASKED + timedelta(hours=1)
    assert still_blocked(ASKED, Block(noted_at, noted_at + FIVE)) is None
    noted_at = ASKED + SECOND
    assert still_blocked(ASKED, Block(noted_at, noted_at + FIVE)) == noted_at + FIVE, (
        "clocks are set back a little, too"
    )


def test_a_refused_key_is_left_out_for_twice_as_many_slots_each_time_and_an_hour_at_most() -> None:
    refusal, asked = None, [SLOT]
    for _ in range(8):
        refusal = refused(refusal, asked[-1])
        asked.append(refusal.ask_again_at)
    minutes = [round((later - earlier).total_seconds() / 60) for earlier, later in pairwise(asked)]
    assert minutes == [10, 20, 40, 60, 60, 60, 60, 60]
    assert refusal is not None
    assert refusal.since == SLOT + SECOND, "the first of them"
    assert refusal.times == 8


@pytest.mark.parametrize("interval", [timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)])
def test_however_long_the_interval_a_mended_key_is_noticed_within_an_hour(interval: timedelta) -> None:
    refusal = None
    for _ in range(40):
        refusal = refused(refusal, interval=interval)
        assert SLOT < refusal.ask_again_at <= SLOT + LONGEST_BACK_OFF


def test_a_new_key_starts_afresh_and_is_asked_at_once() -> None:
    old = refused(refused(refused(None)))
    assert refused(old, key="f2").times == 1
    assert held_off(old, "f2", SLOT) is None
    assert held_off(None, "f1", SLOT) is None


def test_it_is_told_why_and_until_when_an_account_is_not_asked() -> None:
    refusal = refused(None)
    why = held_off(refusal, "f1", SLOT + FIVE)
    assert why is not None
    assert "key_refused since 2026-11-22T15:20:01.000Z (code 100413)" in why
    assert "asked again from 2026-11-22T15:30:00.000Z" in why
    assert held_off(refusal, "f1", refusal.ask_again_at) is None
    assert held_off(refusal, "f1", SLOT - LONGEST_BACK_OFF) is None, "the clock was set back since"
