"""Calls at a time to come, by one thread for any number of them.

The standard library's Timer is a thread for each, which takes as long to start as a request to be signed and sent.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

IDLE_SECONDS = 20
"""A thread without anything to wait for ends after so long."""


class Alarm:
    """A call to come, that can be cancelled."""

    def __init__(self, call: Callable[[], None]) -> None:
        self._call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """It is not called any more, unless that has begun."""
        self._call = None

    @property
    def is_cancelled(self) -> bool:
        """Whether it is not called any more."""
        return self._call is None

    def ring(self) -> None:
        """Call, unless it was cancelled."""
        if (call := self._call) is not None:
            call()


class Alarms:
    """The thread, a daemon, lasts as long as there are alarms. What it calls must be short and must not raise.

    Where the system has no thread, alarms are late: they wait for one that is set when it has.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._due: list[tuple[float, int, Alarm]] = []
        self._thread: threading.Thread | None = None

    def set(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Call in so many seconds."""
        entry = time.monotonic() + seconds, next(self._order), Alarm(call)
        with self._changed:
            heapq.heappush(self._due, entry)
            if self._thread is None:
                self._thread = self._begun()
            elif self._due[0] is entry:
                self._changed.notify()  # the thread waits for a later one, or for any
        return entry[2]

    def _begun(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._run, name="alarms", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return None
        return thread

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._due and self._due[0][2].is_cancelled:
                    heapq.heappop(self._due)
                if not self._due:
                    if not self._changed.wait(IDLE_SECONDS) and not self._due:
                        self._thread = None
                        return
                    continue
                wait = self._due[0][0] - time.monotonic()
                if wait > 0:
                    self._changed.wait(wait)
                    continue
                alarm = heapq.heappop(self._due)[2]
            alarm.ring()
