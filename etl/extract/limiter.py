"""At most so many requests in any window of so many seconds, by all the processes of one state directory together."""

import logging
import os
import threading
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import TypeVar

from etl.files import lock

log = logging.getLogger(__name__)
T = TypeVar("T")

# Who holds the lock needs it for less than a millisecond; who is stopped with it in hand must not stop the others.
PATIENCE_SECONDS = 1.0

# BingX counts when a request arrives, we when it leaves: what travels faster than its predecessors must still fit. One
# that is under way for longer is counted again and again, the last time when it is answered.
MARGIN_SECONDS = 0.3


@dataclass(slots=True)
class _Sent:
    """So many requests that are under way, and when they were counted last."""

    counted_at: float
    number: int = 0


class SlidingWindow:
    """Never more than ``requests`` in any ``seconds``. A token bucket would let twice as many through at the start.

    With a file, its processes count together: the times are of the monotonic clock, which they share until the next
    boot. The kernel lets go of the lock when its holder dies. A file that cannot be used, or whose lock is not let go
    of, is done without.
    """

    def __init__(self, requests: int, seconds: float, file: Path | None = None) -> None:
        self.requests = requests
        self.seconds = seconds + MARGIN_SECONDS
        self._file = file
        self._sent = array("d")
        self._under_way = dict[float, _Sent]()
        self._lock = threading.Lock()
        self._is_alone = False

    def take(self, now: float) -> float:
        """Count a request that is sent now and return ``now``; or count nothing and return when one may be sent.

        ``now`` is of the monotonic clock.
        """
        with self._lock:
            return self._together(partial(self._take, now, 1))[1]

    def take_some(self, now: float, wanted: int) -> tuple[int, float]:
        """Count as many as may be sent now, at most ``wanted``. Each is under way until it is :meth:`answered`.

        Returns their number, and ``now`` where it is all of them, else when the next one may be sent.
        """
        with self._lock:
            self._count_again(now)
            free, free_at = self._together(partial(self._take, now, wanted))
            if free:
                self._under_way.setdefault(now, _Sent(now)).number += free
            return free, free_at

    def wait(self, now: float) -> None:
        """Nobody has answered those under way: they may arrive now. To be told several times a second."""
        with self._lock:
            self._count_again(now)

    def answered(self, taken: Sequence[float], now: float) -> None:
        """Of those taken at these times nobody waits for an answer any more.

        They have arrived at the latest now. Across half the world, or on a machine that has other things to do, that
        can be long after they were counted, when the next ones would arrive in the same window.
        """
        with self._lock:
            late = list[float]()
            for at in taken:
                sent = self._under_way[at]
                sent.number -= 1
                if not sent.number:
                    del self._under_way[at]
                if now - sent.counted_at > MARGIN_SECONDS:
                    late.append(sent.counted_at)
            if late:
                self._together(partial(self._move, late, now))

    def _count_again(self, now: float) -> None:
        """Where all processes see it, those that have been under way for long: who waits may end, or be held up."""
        slow = [sent for sent in self._under_way.values() if now - sent.counted_at > MARGIN_SECONDS]
        if slow:
            self._together(partial(self._move, [sent.counted_at for sent in slow for _ in range(sent.number)], now))
            for sent in slow:
                sent.counted_at = now

    def _together(self, change: Callable[[], T]) -> T:
        """Change the times that all processes share; one's own where that cannot be done."""
        if self._file is not None:
            try:
                changed = self._change_file(self._file, change)
            except OSError as error:
                if not self._is_alone:
                    why = error.strerror
                    log.warning("%s cannot be used (%s): requests are counted by each process", self._file, why)
                self._is_alone = True
            else:
                self._is_alone = False
                return changed
        return change()

    def _take(self, now: float, wanted: int) -> tuple[int, float]:
        # ``now`` was looked up before it was our turn: another process may have been faster. Times that are still far
        # from coming are of an earlier boot.
        sent = self._sent = self._sent[bisect_right(self._sent, now, key=lambda at: at + self.seconds) :]
        del sent[bisect_left(sent, now + self.seconds) :]
        free = min(wanted, max(0, self.requests - len(sent)))
        if free:
            sent.extend(repeat(max(now, sent[-1]) if sent else now, free))
        return free, now if free == wanted else sent[-self.requests] + self.seconds

    def _move(self, late: Sequence[float], now: float) -> None:
        sent = self._sent
        for at in late:
            if now < at + self.seconds and (index := bisect_left(sent, at)) < len(sent):
                del sent[index]
        index = bisect_right(sent, now)
        sent[index:index] = array("d", repeat(now, len(late)))

    def _change_file(self, file: Path, change: Callable[[], T]) -> T:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            lock(descriptor, PATIENCE_SECONDS)
            there = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            self._sent = array("d", there[: len(there) // 8 * 8])
            changed = change()
            if (content := self._sent.tobytes()) != there:
                os.pwrite(descriptor, content, 0)
                os.ftruncate(descriptor, len(content))
            return changed
        finally:
            os.close(descriptor)
