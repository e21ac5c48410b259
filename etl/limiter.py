"""At most so many requests in any window of so many seconds, by all the processes of one state directory together."""

import fcntl
import logging
import os
import threading
from array import array
from pathlib import Path

log = logging.getLogger(__name__)

# BingX counts when a request arrives, we when it leaves: what travels faster than its predecessors must still fit.
MARGIN_SECONDS = 0.3


class SlidingWindow:
    """Never more than ``requests`` in any ``seconds``. A token bucket would let twice as many through at the start.

    With a file, its processes count together: the times are of the monotonic clock, which they share until the next
    boot. The kernel lets go of the lock when its holder dies. A file that cannot be used is done without.
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
        with self._lock:
            if self._file is not None:
                try:
                    free_at = self._take_together(self._file, now)
                except OSError as error:
                    if not self._is_alone:
                        why = error.strerror
                        log.warning("%s cannot be used (%s): requests are counted by each process", self._file, why)
                    self._is_alone = True
                else:
                    self._is_alone = False
                    return free_at
            return self._take(now)

    def _take(self, now: float) -> float:
        # ``now`` was looked up before it was our turn: another process may have been faster. Times that are still far
        # from coming are of an earlier boot.
        self._sent = array("d", (at for at in self._sent if at - self.seconds < now < at + self.seconds))
        if len(self._sent) >= self.requests:
            return self._sent[-self.requests] + self.seconds
        self._sent.append(max(now, self._sent[-1]) if self._sent else now)
        return now

    def _take_together(self, file: Path, now: float) -> float:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            there = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            self._sent = array("d", there[: len(there) // 8 * 8])
            free_at = self._take(now)
            if free_at == now:
                content = self._sent.tobytes()
                os.pwrite(descriptor, content, 0)
                os.ftruncate(descriptor, len(content))
            return free_at
        finally:
            os.close(descriptor)
