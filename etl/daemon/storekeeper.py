"""Stores what the spool has, beside the reading: a database that hangs keeps no slot from being read."""

import logging
import queue
import threading
from collections.abc import Callable

from etl.daemon.liveness import STORING_SECONDS, Liveness
from etl.grid import slot_text
from etl.recorder import Recorder, Slot
from etl.watchers import Watcher

log = logging.getLogger(__name__)

# While the database is down, and no new slot asks for it anyway, it is tried again after this long.
STORE_AGAIN_SECONDS = 15.0


class Storekeeper(threading.Thread):
    """Stores what the spool has, whenever a slot was read, and now and then while the database is down."""

    def __init__(self, recorder: Callable[[], Recorder], watcher: Watcher, liveness: Liveness) -> None:
        super().__init__(daemon=True, name="storekeeper")
        self._recorder = recorder
        self._watcher = watcher
        self._liveness = liveness
        self._slots: queue.SimpleQueue[Slot | None] = queue.SimpleQueue()
        # Slots with outcomes that the disk refused, and so far the database as well: they are in memory alone.
        self._homeless: list[Slot] = []

    def take(self, slot: Slot) -> None:
        """A slot was read."""
        self._slots.put(slot)

    def stop(self, seconds: float) -> None:
        """Store once more and end; not longer than so many seconds. The log tells what is lost with that."""
        self._slots.put(None)
        self.join(seconds)
        slots = [*self._homeless, *self._wait(0.0)[0]]  # where it did not end, some may not have had their turn yet
        if lost := sorted(entry.outcome.slot_at for slot in slots for entry in slot.entries if not entry.spooled):
            log.error(
                "what was read in %d slots from %s on ends with this process: neither spool nor database took it",
                len(set(lost)),
                slot_text(lost[0]),
            )

    def run(self) -> None:
        """Until stopped."""
        timeout: float | None = 0.0  # what waited from before is stored at once
        ending = False
        while not ending:
            slots, ending = self._wait(timeout)
            try:
                timeout = None if self._store(slots) else STORE_AGAIN_SECONDS
            except Exception:
                log.exception("a defect while storing: it is tried again")
                timeout = STORE_AGAIN_SECONDS

    def _store(self, slots: list[Slot]) -> bool:
        homeless, self._homeless = self._homeless, [*self._homeless, *(slot for slot in slots if slot.disk is not None)]
        with self._liveness.of("storing what the spool has", STORING_SECONDS) as work:
            stored = self._recorder().store([*homeless, *slots], lambda _: work.got_on())
            lost = {id(outcome) for outcome in stored.lost}
            self._homeless = [s for s in self._homeless if any(id(entry.outcome) in lost for entry in s.entries)]
            self._watcher.ends(slots, stored)
        return stored.trouble is None

    def _wait(self, timeout: float | None) -> tuple[list[Slot], bool]:
        slots: list[Slot | None] = []
        try:
            slots.append(self._slots.get(timeout=timeout))
            while True:
                slots.append(self._slots.get_nowait())
        except queue.Empty:
            pass
        return [slot for slot in slots if slot is not None], None in slots
