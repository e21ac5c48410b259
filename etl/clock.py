"""Our own clock and what is known of the exchange's. The machine's clock is never touched."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from etl.errors import Trouble
from etl.remembered import Block, HostMemory, Remembered

log = logging.getLogger(__name__)

# Up to this far from the exchange's, our own clock decides which slot it is: cron and timers go by it. Beyond, it is
# wrong, and slots named after it would be filed where nobody finds them, or block those of the same name later.
TRUSTED_SKEW = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, passed in. ``speed``: how many of its seconds pass in a real one; a test's may run faster."""

    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    monotonic: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    speed: float = 1.0

    def elapsed(self) -> float:
        """Seconds since no matter when, those in which the machine was asleep included where the system counts them."""
        if self.monotonic is time.monotonic and (counts_sleep := getattr(time, "CLOCK_BOOTTIME", None)) is not None:
            return time.clock_gettime(counts_sleep)
        return self.monotonic()


class HostClock:
    """The clock of this host, corrected by the exchange's, and the block that holds for the whole host.

    Safe to use from several threads.
    """

    def __init__(self, clock: Clock, remembered: Remembered, measure: Callable[[], int]) -> None:
        """``measure`` asks the exchange for its clock minus ours, in ms."""
        self.clock = clock
        self._remembered = remembered
        self._measure = measure
        self._memory = remembered.host()
        self._memory_lock = threading.Lock()
        self._measuring = threading.Lock()
        self._measured_at = float("-inf")
        self._measured_in_vain: Trouble | None = None
        self._confirmed = False

    @property
    def memory(self) -> HostMemory:
        """The offset, None while it was never measured, and the block."""
        return self._memory

    @property
    def offset_ms(self) -> int:
        """The exchange's clock minus ours, 0 while it was never measured: what requests are signed with."""
        return self._memory.clock_offset_ms or 0

    def believed(self, instant: datetime) -> datetime:
        """An instant of our clock; of the exchange's, where ours is known to be so far off that it cannot be right.

        An offset of an earlier run is not known to be right until an answer of this run agrees with it: the clock may
        have been mended since.
        """
        offset = timedelta(milliseconds=self.offset_ms)
        return instant + offset if self._confirmed and abs(offset) > TRUSTED_SKEW else instant

    def agrees(self, exchange_at: datetime, our_instant: datetime) -> bool:
        """Whether an instant of the exchange's clock fits one of ours by the known offset, which confirms it."""
        agrees = abs(exchange_at - our_instant - timedelta(milliseconds=self.offset_ms)) <= TRUSTED_SKEW
        self._confirmed = self._confirmed or agrees
        return agrees

    def measure(self, unless_since: float) -> None:
        """Measure the offset, unless another thread has tried since that monotonic time. Raises Trouble."""
        with self._measuring:
            if self._measured_at < unless_since:
                self._measured_in_vain = None
                try:
                    offset_ms = self._measure()
                except Trouble as trouble:
                    self._measured_in_vain = trouble
                else:
                    self._confirmed = True
                    now = self.clock.now()
                    self._keep(lambda memory: replace(memory, clock_offset_ms=offset_ms, offset_measured_at=now))
                    log.info("clock offset measured: the exchange is %+d ms from this machine", offset_ms)
                self._measured_at = self.clock.monotonic()
            if self._measured_in_vain is not None:
                raise self._measured_in_vain

    def block(self, block: Block) -> None:
        """No account may be asked before this time of our clock."""
        self._keep(lambda memory: replace(memory, block=block))

    def _keep(self, change: Callable[[HostMemory], HostMemory]) -> None:
        with self._memory_lock:
            self._memory = change(self._memory)
            self._remembered.keep_host(self._memory)
