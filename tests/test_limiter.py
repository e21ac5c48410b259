"""The sliding window."""

from hypothesis import given
from hypothesis import strategies as st

from etl.limiter import SlidingWindow


@given(st.integers(1, 20), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_window_ever_holds_more_than_the_limit(requests: int, pauses: list[float]) -> None:
    window = SlidingWindow(requests, 10)
    now, sent = 0.0, []
    for pause in pauses:
        now = max(now + pause, window.free_at(now + pause))
        window.record(now)
        sent.append(now)
    for first, later in zip(sent, sent[requests:], strict=False):
        assert later - first >= 10


def test_requests_within_the_limit_are_not_held_up() -> None:
    window = SlidingWindow(3, 10)
    for _ in range(3):
        assert window.free_at(5.0) == 5.0
        window.record(5.0)
    assert window.free_at(5.0) > 15.0
