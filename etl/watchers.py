"""Who is told what becomes of each slot: the log, and whoever else there is. None of them can harm the recording."""

import logging
from collections.abc import Callable, Iterable, Sequence

from etl.recorder import Slot, Stored

log = logging.getLogger(__name__)


class Watcher:
    """Told by one-shot and daemon alike. What it is told must cost it no time: recording goes on when it returns."""

    def begins(self) -> None:
        """A slot begins to be read."""

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Slots that were read, if any, and one attempt to store them and all that waited."""

    def fails(self, error: Exception) -> None:
        """A slot could not be read at all."""

    def finish(self) -> None:
        """The program ends. What is still under way may be waited for, for some seconds."""

    def leave(self) -> None:
        """The program ends at once. Nothing is waited for, and nothing is left running."""


class Watchers(Watcher):
    """Several, told one after another. The defect of one is a line in the log, and the others are told all the same."""

    def __init__(self, watchers: Iterable[Watcher]) -> None:
        self._watchers = tuple(watchers)

    def begins(self) -> None:
        """Tell each."""
        self._each(lambda watcher: watcher.begins())

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        """Tell each."""
        self._each(lambda watcher: watcher.ends(slots, stored))

    def fails(self, error: Exception) -> None:
        """Tell each."""
        self._each(lambda watcher: watcher.fails(error))

    def finish(self) -> None:
        """Tell each."""
        self._each(lambda watcher: watcher.finish())

    def leave(self) -> None:
        """Tell each."""
        self._each(lambda watcher: watcher.leave())

    def _each(self, tell: Callable[[Watcher], None]) -> None:
        for watcher in self._watchers:
            try:
                tell(watcher)
            except Exception:
                log.exception("a defect of %s: recording goes on", type(watcher).__name__)
