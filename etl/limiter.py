"""At most so many requests in any window of so many seconds, by all the processes of one state directory together."""

import logging
import os
import threading
from array import array
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
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
# that was under way for longer is counted again, from its answer on.
MARGIN_SECONDS = 0.3
# Requests that nobody has answered for a whole window are looked at again so soon.
LOOK_AGAIN_SECONDS = 0.1


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
        self._under_way = array("d")
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
            held = bisect_right(self._under_way, now - self.seconds)
            free, free_at = self._together(partial(self._take, now, wanted, held))
            for _ in range(free):
                insort(self._under_way, now)
            return free, free_at

    def answered(self, taken: Sequence[float], now: float) -> None:
        """Of those taken at these times nobody waits for an answer any more.

        They have arrived at the latest now. Across half the world, or on a machine that has other things to do, that
        can be long after they were counted, when the next ones would arrive in the same window.
        """
        with self._lock:
            for at in taken:
                del self._under_way[bisect_left(self._under_way, at)]
            late = [at for at in taken if now - at > MARGIN_SECONDS]
            if late:
                self._together(partial(self._move, late, now))

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

    def _take(self, now: float, wanted: int, held: int = 0) -> tuple[int, float]:
        # ``now`` was looked up before it was our turn: another process may have been faster. Times that are still far
        # from coming are of an earlier boot.
        sent = self._sent = self._sent[bisect_right(self._sent, now, key=lambda at: at + self.seconds) :]
        del sent[bisect_left(sent, now + self.seconds) :]
        free = min(wanted, max(0, self.requests - held - len(sent)))
        if free:
            sent.extend(repeat(max(now, sent[-1]) if sent else now, free))
        if free == wanted:
            return free, now
        return free, sent[-self.requests] + self.seconds if len(sent) >= self.requests else now + LOOK_AGAIN_SECONDS

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
