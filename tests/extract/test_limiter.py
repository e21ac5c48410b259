"""The sliding window."""

import fcntl
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.extract.limiter import SlidingWindow


@given(st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_window_ever_holds_more_than_the_limit(requests: int, pauses: list[float]) -> None:
    window = SlidingWindow(requests, 10)
    now, sent = 0.0, []
    for pause in pauses:
        now += pause
        while (free_at := window.take(now)) > now:
            now = free_at
        sent.append(now)
    for first, later in zip(sent, sent[requests:], strict=False):
        assert later - first >= 10


def test_requests_within_the_limit_are_not_held_up() -> None:
    window = SlidingWindow(3, 10)
    assert [window.take(5.0) for _ in range(3)] == [5.0] * 3
    assert window.take(5.0) > 15.0
    assert window.take(15.31) == 15.31


def test_processes_of_one_state_directory_count_together(tmp_path: Path) -> None:
    one, other = (SlidingWindow(4, 10, tmp_path / "limit") for _ in range(2))
    assert [window.take(5.0) for window in (one, other, one, other)] == [5.0] * 4
    assert one.take(5.0) == other.take(5.0) > 15.0
    assert (tmp_path / "limit").stat().st_mode & 0o777 == 0o600


def test_whoever_looked_at_the_clock_before_it_was_its_turn_still_counts_those_who_were_faster(tmp_path: Path) -> None:
    one, other = (SlidingWindow(2, 10, tmp_path / "limit") for _ in range(2))
    assert one.take(5.2) == 5.2
    assert other.take(5.0) == 5.0
    assert one.take(5.3) > 15.0
    assert other.take(5.1) > 15.0
    assert one.take(15.4) > 15.4, "counted from the later of the two on"


def test_times_of_an_earlier_boot_do_not_count(tmp_path: Path) -> None:
    assert SlidingWindow(1, 10, tmp_path / "limit").take(1e6) == 1e6
    assert SlidingWindow(1, 10, tmp_path / "limit").take(3.0) == 3.0


def test_whoever_is_stopped_with_the_lock_in_hand_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("etl.extract.limiter.PATIENCE_SECONDS", 0.05)
    window = SlidingWindow(2, 10, tmp_path / "limit")
    with (tmp_path / "limit").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert window.take(3.0) == window.take(3.0) == 3.0
        assert window.take(3.0) > 13.0
    assert len(caplog.records) == 1, "each process counts for itself, and says so once"


@given(st.integers(1, 20), st.lists(st.tuples(st.floats(0, 2), st.integers(1, 9)), min_size=1, max_size=200))
def test_taken_together_they_are_no_more_than_one_by_one(requests: int, asked: list[tuple[float, int]]) -> None:
    together, apart = SlidingWindow(requests, 10), SlidingWindow(requests, 10)
    now = 0.0
    for pause, wanted in asked:
        now += pause
        taken, free_at = together.take_some(now, wanted)
        together.answered([now] * taken, now)
        assert taken == sum(apart.take(now) == now for _ in range(wanted))
        assert (free_at == now) == (taken == wanted)
        assert free_at == now or free_at == apart.take(now)


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 17])
def test_a_damaged_file_holds_nothing_up(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "limit").write_bytes(content)
    assert SlidingWindow(1, 10, tmp_path / "limit").take(3.0) == 3.0


def test_without_its_file_each_process_counts_for_itself(tmp_path: Path) -> None:
    window = SlidingWindow(1, 10, tmp_path / "nowhere" / "limit")
    assert window.take(3.0) == 3.0
    assert window.take(3.0) > 13.0


def test_processes_that_count_at_the_same_moment_take_turns(tmp_path: Path) -> None:
    window, turns = SlidingWindow(1, 10, tmp_path / "limit"), list[str]()
    assert window.take(3.0) == 3.0

    def take() -> None:
        assert window.take(14.0) == 14.0
        turns.append("taken")

    with (tmp_path / "limit").open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=take)
        thread.start()
        thread.join(0.3)
        turns.append("let go")
        fcntl.flock(other, fcntl.LOCK_UN)
        thread.join(10)
    assert turns == ["let go", "taken"]


# --- requests that take their time ----------------------------------------------------------------------------------


def test_a_request_that_was_long_under_way_is_counted_from_its_answer_on(tmp_path: Path) -> None:
    window, other = (SlidingWindow(2, 10, tmp_path / "limit") for _ in range(2))
    assert window.take_some(1.0, 2) == (2, 1.0)
    window.answered([1.0], 1.2)
    window.answered([1.0], 3.0)
    assert other.take_some(11.4, 2) == (1, 3.0 + window.seconds)
    assert other.take_some(13.4, 1) == (1, 13.4)


def test_a_request_that_nobody_has_answered_for_a_whole_window_still_counts() -> None:
    window = SlidingWindow(2, 10)
    assert window.take_some(1.0, 2) == (2, 1.0)
    window.answered([1.0], 1.1)
    free, again_at = window.take_some(12.0, 2)
    assert (free, again_at > 12.0) == (1, True)
    window.answered([1.0], 13.0)
    assert window.take_some(14.0, 1) == (0, 13.0 + window.seconds)
    assert window.take_some(22.4, 2)[0] == 0
    window.answered([12.0], 22.5)
    assert window.take_some(23.4, 2)[0] == 1


def test_a_request_that_is_long_under_way_counts_for_every_process_until_its_own_has_gone(tmp_path: Path) -> None:
    window, other = (SlidingWindow(2, 10, tmp_path / "limit") for _ in range(2))
    assert window.take_some(1.0, 2) == (2, 1.0)
    window.wait(1.2)
    window.wait(11.0)
    assert other.take_some(12.0, 1) == (0, 11.0 + window.seconds)
    window.wait(21.0)
    window.answered([1.0], 21.1)
    assert other.take_some(21.4, 2) == (0, 21.0 + window.seconds)
    assert other.take_some(31.4, 2) == (2, 31.4), "nobody has said since that the other one is under way"


@given(
    st.integers(1, 9),
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 9), st.floats(0, 30), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_however_long_requests_are_under_way_no_window_of_the_exchange_sees_more(
    requests: int, bursts: list[tuple[float, int, float, float]]
) -> None:
    """Each arrives somewhere between the moment in which it is counted and its answer."""
    window, now = SlidingWindow(requests, 10), 0.0
    under_way: list[tuple[float, float]] = []
    arrived: list[float] = []
    for pause, wanted, seconds, share in bursts:
        now += pause
        while under_way and under_way[0][0] <= now:
            window.answered([under_way[0][1]], under_way[0][0])
            under_way.pop(0)
        free, _ = window.take_some(now, wanted)
        arrived += [now + seconds * share] * free
        under_way = sorted([*under_way, *[(now + seconds, now)] * free])
    arrived.sort()
    for first, later in zip(arrived, arrived[requests:], strict=False):
        assert later - first >= 10 - 1e-6
