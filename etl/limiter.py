"""At most so many requests in any window of so many seconds, by all the processes of one state directory together."""

import fcntl
import logging
import os
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from itertools import repeat
from pathlib import Path

log = logging.getLogger(__name__)

# Who holds the lock needs it for less than a millisecond; who is stopped with it in hand must not stop the others.
PATIENCE_SECONDS = 1.0

# BingX counts when a request arrives, we when it leaves: what travels faster than its predecessors must still fit.
MARGIN_SECONDS = 0.3


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
        self._lock = threading.Lock()
        self._is_alone = False

    def take(self, now: float) -> float:
        """Count a request that is sent now and return ``now``; or count nothing and return when one may be sent.

        ``now`` is of the monotonic clock.
        """
        return self.take_some(now, 1)[1]

    def take_some(self, now: float, wanted: int) -> tuple[int, float]:
        """Count as many as may be sent now, at most ``wanted``.

        Returns their number, and ``now`` where it is all of them, else when the next one may be sent.
        """
        with self._lock:
            if self._file is not None:
                try:
                    taken = self._take_together(self._file, now, wanted)
                except OSError as error:
                    if not self._is_alone:
                        why = error.strerror
                        log.warning("%s cannot be used (%s): requests are counted by each process", self._file, why)
                    self._is_alone = True
                else:
                    self._is_alone = False
                    return taken
            return self._take(now, wanted)

    def _take(self, now: float, wanted: int) -> tuple[int, float]:
        # ``now`` was looked up before it was our turn: another process may have been faster. Times that are still far
        # from coming are of an earlier boot.
        sent = self._sent = self._sent[bisect_right(self._sent, now, key=lambda at: at + self.seconds) :]
        del sent[bisect_left(sent, now + self.seconds) :]
        free = min(wanted, max(0, self.requests - len(sent)))
        if free:
            sent.extend(repeat(max(now, sent[-1]) if sent else now, free))
        return free, now if free == wanted else sent[-self.requests] + self.seconds

    def _take_together(self, file: Path, now: float, wanted: int) -> tuple[int, float]:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _lock(descriptor)
            there = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            self._sent = array("d", there[: len(there) // 8 * 8])
            free, free_at = self._take(now, wanted)
            if free:
                content = self._sent.tobytes()
                os.pwrite(descriptor, content, 0)
                os.ftruncate(descriptor, len(content))
            return free, free_at
        finally:
            os.close(descriptor)


def _lock(descriptor: int) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                raise
            time.sleep(0.002)
        else:
            return
