"""How much waits in a directory of outcomes, and since when, told by the names of its files."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from etl.spool.unfinished import SUFFIX

LOOK_EVERY_SECONDS = 5.0
# After an outage there may be a hundred thousand files: looking takes this share of the time, at most.
SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Waiting:
    """So many outcomes, the oldest of which was read at this Unix time; None where there are none."""

    outcomes: int = 0
    oldest_at: float | None = None


def look(directory: Path) -> Waiting:
    """What is in a directory now. Opens no file."""
    outcomes, oldest_at = 0, None
    try:
        with os.scandir(directory) as found:
            for entry in found:
                if not entry.name.endswith(SUFFIX):
                    continue
                outcomes += 1
                at = entry.name.split(".", 2)[1]  # as etl.spool.spool names it: by slot, then by when it was read
                if at.isascii() and at.isdigit():
                    read_at = int(at) / 1000
                    oldest_at = read_at if oldest_at is None else min(oldest_at, read_at)
    except OSError:
        pass  # not made yet, or not to be read: recording itself says so, with its remedy
    return Waiting(outcomes, oldest_at)


class Lookout:
    """The spool and the quarantine of a state directory, for whoever asks often, in any thread."""

    def __init__(self, state_dir: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._directories = (state_dir / "spool", state_dir / "quarantine")
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._seen = (Waiting(), Waiting())
        self._look_at = float("-inf")

    def look(self, *, now: bool = False) -> tuple[Waiting, Waiting]:
        """Spool and quarantine, as they were some seconds ago; or ``now``. Never waits for another who looks."""
        if (now or self._monotonic() >= self._look_at) and self._lock.acquire(blocking=False):
            try:
                began = self._monotonic()
                spool, quarantine = (look(directory) for directory in self._directories)
                ended = self._monotonic()
                self._seen = (spool, quarantine)
                self._look_at = ended + max(LOOK_EVERY_SECONDS, (ended - began) / SHARE)
            finally:
                self._lock.release()
        return self._seen
