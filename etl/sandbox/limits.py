"""How often one may ask: BingX's limits per UID and per address, and what follows from going on regardless.

Not thread-safe: the exchange calls it under its lock. Times are Unix seconds.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from etl.sandbox.replies import Headers, Refused, ban_text, frequency_text

WINDOW = Literal["fixed", "sliding"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The published limits; None lifts one.

    The window per address is ``fixed``, from the first request in it, as live clients see in its headers; ``sliding``
    is stricter: what it allows, any fixed window allows. For the UID nothing is known, so the strict one is used.
    Not published are ``patience``, how many requests after a 429 are still answered 429, and ``ban_seconds`` of 418.
    """

    uid_requests: int | None = 5
    uid_seconds: float = 1.0
    endpoint_requests: int | None = 300
    address_requests: int | None = 2000
    address_seconds: float = 10.0
    window: WINDOW = "fixed"
    patience: int = 10
    ban_seconds: float = 120.0
    same_errors: int | None = 20
    same_errors_seconds: float = 480.0


NO_LIMITS = Limits(uid_requests=None, endpoint_requests=None, address_requests=None, same_errors=None)


class Window:
    """At most so many requests in a window of time, and how many were refused since the last that was allowed."""

    __slots__ = ("_limit", "_seconds", "_sliding", "_times", "knocks")

    def __init__(self, limit: int, seconds: float, kind: WINDOW) -> None:
        self._limit = limit
        self._seconds = seconds
        self._sliding = kind == "sliding"
        self._times: deque[float] = deque()
        self.knocks = 0

    def free_at(self, now: float) -> float | None:
        """None where one more is allowed now, else when it will be."""
        times = self._times
        if times and now < times[-1] - self._seconds:  # the clock was set back: nothing here can be trusted
            times.clear()
        if self._sliding:
            while times and times[0] + self._seconds <= now:
                times.popleft()
        elif times and times[0] + self._seconds <= now:
            times.clear()
        return None if len(times) < self._limit else times[0] + self._seconds

    def add(self, now: float) -> None:
        """Count one that was allowed."""
        self._times.append(now)
        self.knocks = 0

    def headers(self, now: float) -> Headers:
        """What is left, and for how many milliseconds, in BingX's words."""
        left = self._times[0] + self._seconds - now
        return (
            ("X-RateLimit-Requests-Remain", str(self._limit - len(self._times))),
            ("X-RateLimit-Requests-Expire", str(max(0, round(left * 1000)))),
        )


class Guard:
    """Who asked how often, who is blocked, and until when."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._windows: dict[tuple[object, ...], Window] = {}
        self._banned: dict[str, float] = {}
        self._errors: dict[tuple[str, str, int], deque[float]] = {}
        self._shut: dict[tuple[str, str], tuple[float, int]] = {}

    def admit_address(self, address: str, path: str, now: float) -> Headers:
        """Count a request of an address; its rate-limit headers, or Refused with HTTP 429, later 418."""
        limits = self._limits
        if now < self._banned.get(address, now):
            raise _limited(self._banned[address], 418)
        endpoint = self._window((address, path), limits.endpoint_requests, limits.address_seconds, limits.window)
        overall = self._window((address,), limits.address_requests, limits.address_seconds, limits.window)
        for window in (endpoint, overall):
            free_at = None if window is None else window.free_at(now)
            if window is not None and free_at is not None:
                window.knocks += 1
                if window.knocks > limits.patience + 1:
                    window.knocks = 0
                    self._banned[address] = now + limits.ban_seconds
                    raise _limited(self._banned[address], 418)
                raise _limited(free_at, 429, window.headers(now))
        for window in (endpoint, overall):
            if window is not None:
                window.add(now)
        return () if endpoint is None else endpoint.headers(now)

    def admit_uid(self, uid: int, now: float) -> None:
        """Count a signed request of a user, or raise Refused with BingX's code and text."""
        window = self._window((uid,), self._limits.uid_requests, self._limits.uid_seconds, "sliding")
        if window is not None:
            free_at = window.free_at(now)
            if free_at is not None:
                raise _limited(free_at, 200)
            window.add(now)

    def refuse_shut_out(self, caller: str, path: str, now: float) -> None:
        """Raise Refused while the caller is shut out of the path for repeating a failing call."""
        until, code = self._shut.get((caller, path), (now, 0))
        if now < until:
            window_ms = round(self._limits.same_errors_seconds * 1000)
            raise Refused(100410, ban_text(self._limits.same_errors or 0, code, window_ms, _ms(until)), repeats=False)

    def note_error(self, caller: str, path: str, code: int, now: float) -> None:
        """Remember that a call failed: too many of one code within the window shut the caller out of the path."""
        if self._limits.same_errors is None:
            return
        times = self._errors.setdefault((caller, path, code), deque())
        times.append(now)
        while times[0] + self._limits.same_errors_seconds <= now:
            times.popleft()
        if len(times) > self._limits.same_errors:
            times.clear()
            self._shut[caller, path] = (now + self._limits.same_errors_seconds, code)

    def _window(self, key: tuple[object, ...], limit: int | None, seconds: float, kind: WINDOW) -> Window | None:
        if limit is None:
            return None
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = Window(limit, seconds, kind)
        return window


def _limited(until: float, status: int, headers: Headers = ()) -> Refused:
    return Refused(100410, frequency_text(_ms(until)), status=status, headers=headers, repeats=False)


def _ms(instant: float) -> int:
    return -int(-instant * 1000 // 1)  # rounded up: who comes back at that millisecond is let in
