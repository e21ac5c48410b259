"""Whether the daemon's work gets on: what feeds systemd's watchdog, and a line in the log where it does not.

What is handled is no hang: while BingX is away, or the database, requests and transactions come to their deadlines and
the work gets on. A hang is work without a sign of life for longer than all its deadlines together.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from etl.daemon.supervisor import Supervisor

log = logging.getLogger(__name__)

# The slot that is due has been begun, and the scheduler has shown that it fires at all, after so long.
SLOT_SECONDS = 20.0
SCHEDULER_SECONDS = 60.0
# The thread that reads a slot looks several times a second whether it is to stop; a disk that is slow may keep it.
READING_SECONDS = 300.0
# A transaction has 30 seconds, and each outcome is a sign of life. But the schema of a large SQLite may be upgraded in
# between, with a backup before that, and nothing is lost meanwhile: what was read is in the spool.
STORING_SECONDS = 1800.0


@dataclass(eq=False, slots=True)
class Work:
    """Something that is under way. It has to get on within so many seconds, and to end before ``over_at``."""

    what: str
    within_seconds: float
    over_at: float
    monotonic: Callable[[], float]
    at: float = 0.0

    def got_on(self) -> None:
        """A sign of life."""
        self.at = self.monotonic()

    def is_stuck(self, now: float) -> bool:
        """Whether the last one was too long ago."""
        return now > self.at + self.within_seconds or now > self.over_at


class Liveness:
    """All that is under way. Safe to use from several threads."""

    def __init__(self, supervisor: Supervisor, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._supervisor = supervisor
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._works: list[Work] = []
        self._complaint: list[str] = []
        self._told_at = float("-inf")

    def begin(self, what: str, within_seconds: float, at_most_seconds: float = float("inf")) -> Work:
        """Work that is expected to get on from now on, until :meth:`end`."""
        now = self._monotonic()
        work = Work(what, within_seconds, now + at_most_seconds, self._monotonic, now)
        with self._lock:
            self._works.append(work)
        return work

    def end(self, work: Work) -> None:
        """It is done."""
        with self._lock:
            self._works.remove(work)

    @contextmanager
    def of(self, what: str, within_seconds: float, at_most_seconds: float = float("inf")) -> Iterator[Work]:
        """Both, around a block."""
        work = self.begin(what, within_seconds, at_most_seconds)
        try:
            yield work
        finally:
            self.end(work)

    def forgive(self) -> None:
        """Nothing could get on for a while: the machine or the process was halted."""
        with self._lock:
            for work in self._works:
                work.got_on()

    def check(self) -> bool:
        """Whether all of it gets on. Tells the supervisor so, and the log when that changes."""
        now = self._monotonic()
        with self._lock:
            stuck = sorted({work.what for work in self._works if work.is_stuck(now)})
        if stuck and stuck != self._complaint:
            log.error("no sign of life any more: %s", ", ".join(stuck))
        if self._complaint and not stuck:
            log.info("all of it gets on again")
        self._complaint = stuck
        every = self._supervisor.wants_life_every
        if not stuck and every is not None and now >= self._told_at + every / 4:
            self._supervisor.alive()
            self._told_at = now
        return not stuck
