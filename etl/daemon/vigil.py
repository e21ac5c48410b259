"""Noticing that time did not pass as it should: the clock was set, or the machine or the process slept."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from etl.model import Reason

# What NTP slews, and what a busy machine delays a thread by, is no event.
TOLERANCE_SECONDS = 2.0
# A process that was not run for so much longer than it wanted to wait was halted.
HALT_SECONDS = 5.0


def since_boot() -> float:
    """Seconds since boot, sleep included where the system can tell (Linux); elsewhere without it."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) if clock is not None else time.monotonic()


@dataclass(slots=True)
class Vigil:
    """Compares three clocks whenever it is asked: the wall's, the monotonic one, and the one that counts sleep too."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    boottime: Callable[[], float] = since_boot
    _last: tuple[float, float, float] | None = None

    def look(self, waited_at_most: float) -> Reason | None:
        """What has happened since the last look, after a wait of at most so many seconds; None is nothing."""
        now = (self.wall(), self.monotonic(), self.boottime())
        last, self._last = self._last, now
        if last is None:
            return None
        wall, monotonic, boottime = (new - old for new, old in zip(now, last, strict=True))
        if boottime - monotonic > TOLERANCE_SECONDS or monotonic > waited_at_most + HALT_SECONDS:
            return Reason.SUSPENDED
        if abs(wall - boottime) > TOLERANCE_SECONDS:
            return Reason.CLOCK_JUMPED
        return None
