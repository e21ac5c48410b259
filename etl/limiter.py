"""At most so many requests in any window of so many seconds, counted at the moment they are sent."""

from collections import deque

# BingX counts when a request arrives, we when it leaves: what travels faster than its predecessors must still fit.
MARGIN_SECONDS = 0.5


class SlidingWindow:
    """Never more than ``requests`` in any ``seconds``. A token bucket would let twice as many through at the start."""

    def __init__(self, requests: int, seconds: float) -> None:
        self.requests = requests
        self.seconds = seconds + MARGIN_SECONDS
        self._sent: deque[float] = deque()

    def free_at(self, now: float) -> float:
        """When the next request may be sent, in the seconds of the monotonic clock that ``now`` is from."""
        while self._sent and self._sent[0] <= now - self.seconds:
            self._sent.popleft()
        return now if len(self._sent) < self.requests else self._sent[-self.requests] + self.seconds

    def record(self, now: float) -> None:
        """A request is sent now."""
        self._sent.append(now)
