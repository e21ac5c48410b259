"""The daemon: every slot on the UTC grid, whatever the last one, the database or the clock is doing.

APScheduler only says when a slot begins. Each slot is read in a thread of its own, and one more thread stores what
the spool has, so that neither a stuck request nor a database that hangs keeps the next slot from being read. The main
thread waits for events: signals are events too, because a handler may interrupt it anywhere.
"""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from types import FrameType

from apscheduler.executors.debug import DebugExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from etl.clock import Clock
from etl.daemon.absence import Absence
from etl.daemon.liveness import READING_SECONDS, SCHEDULER_SECONDS, SLOT_SECONDS, Liveness, Work
from etl.daemon.storekeeper import Storekeeper
from etl.daemon.supervisor import Supervisor
from etl.daemon.vigil import Vigil
from etl.errors import EtlError
from etl.grid import format_duration, slot_end, slot_of
from etl.recorder import Recorder, Slot
from etl.watchers import Watcher

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 1.0
# Slots that are still being read when the next one begins; a request has its deadline, so they come to an end.
MOST_AT_ONCE = 100
# How often the scheduler shows that it fires, however long an interval is.
PULSE_SECONDS = 5
# What is told to stop has 10 seconds: so much for the answers that are under way, so much for storing.
STOP_READING_SECONDS = 4.5
STOP_STORING_SECONDS = 3.5


@dataclass(frozen=True, slots=True)
class Crew:
    """Who records: made anew from the settings at the start and at every SIGHUP."""

    recorder: Recorder
    accounts: Sequence[str]
    keyless: Mapping[str, str]
    interval_seconds: int


class Grid(BaseTrigger):  # type: ignore[misc] # APScheduler has no types
    """The beginning of every slot.

    Other than the library's own trigger it does not count through the slots that passed when the clock was set: from
    1970 to the present there are more than fit into memory.
    """

    def __init__(self, interval_seconds: int) -> None:
        self._interval_seconds = interval_seconds

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The first beginning of a slot from now on, and after the previous one."""
        slot_at = slot_of(max(previous_fire_time or now, now), self._interval_seconds)
        if previous_fire_time is None and slot_at == now:
            return slot_at
        return slot_end(slot_at, self._interval_seconds)


class Event(Enum):
    """What the main thread waits for."""

    SLOT = auto()
    RELOAD = auto()
    STOP = auto()


class Daemon:
    """Runs until it is told to stop."""

    def __init__(
        self,
        muster: Callable[[], Crew],
        absence: Absence,
        watcher: Watcher,
        clock: Clock | None = None,
        vigil: Vigil | None = None,
        *,
        supervisor: Supervisor | None = None,
    ) -> None:
        """``muster`` reads the settings and raises EtlError where they are wrong; ``watcher`` is told of each slot."""
        self._muster = muster
        self._absence = absence
        self._clock = clock or Clock()
        self._vigil = vigil or Vigil()
        self._crew = muster()
        self._watcher = watcher
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._signal = 0
        self._slot_at: datetime | None = None
        self._has_no_thread = False
        self._stop = threading.Event()
        self._reading: set[threading.Thread] = set()
        self._supervisor = supervisor or Supervisor({})
        self._liveness = Liveness(self._supervisor)
        self._look_every = min(LOOK_EVERY_SECONDS, (self._supervisor.wants_life_every or 60.0) / 4)
        self._has_begun = threading.Event()
        self._is_ready = False
        self._storekeeper = Storekeeper(lambda: self._crew.recorder, watcher, self._liveness)
        # Its jobs take no time, so they need no pool of threads: the scheduler's own runs them.
        self._scheduler = BackgroundScheduler(timezone="UTC", executors={"default": DebugExecutor()})
        self._due = self._liveness.begin("the slot that is due", SLOT_SECONDS)
        self._keeping = self._liveness.begin("the storekeeper", SLOT_SECONDS)
        self._firing = self._liveness.begin("the scheduler", SCHEDULER_SECONDS)

    def run(self) -> int:
        """Record until SIGTERM or SIGINT; the signal's number. A second one ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._supervisor.status(f"{self._words}; the first slot begins")
        self._storekeeper.start()
        self._schedule()
        self._scheduler.start()
        self._vigil.look(0)
        self._read()
        while (event := self._next_event()) is not Event.STOP:
            if (happened := self._vigil.look(LOOK_EVERY_SECONDS)) is not None:
                log.warning("time did not pass as it should: %s", happened.value)
                self._absence.because(happened)
                self._liveness.forgive()
                self._schedule()
            if event is Event.RELOAD:
                self._reload()
            if event is not None or happened is not None or self._is_behind():
                self._read()
            self._tell_life()
        self._end()
        return self._signal

    def _next_event(self) -> Event | None:
        try:
            return self._events.get(timeout=self._look_every)
        except queue.Empty:
            return None

    def _tell_life(self) -> None:
        """What does not get on keeps the supervisor from being told that the daemon is alive."""
        if self._slot_at == slot_of(self._clock.now(), self._crew.interval_seconds):
            self._due.got_on()
        if self._storekeeper.is_alive():
            self._keeping.got_on()
        if self._has_begun.is_set() and not self._is_ready:
            self._is_ready = True
            self._supervisor.ready()
        self._liveness.check()

    @property
    def _words(self) -> str:
        return f"{len(self._crew.accounts)} accounts, every {format_duration(self._crew.interval_seconds)}"

    def _on_signal(self, number: int, _: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._events.put(Event.RELOAD)
            return
        self._signal = number
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_DFL)
        self._events.put(Event.STOP)

    def _schedule(self) -> None:
        """From the present moment on: the scheduler itself would sleep on after a clock that was set back."""
        for name, call, interval_seconds in (
            ("slot", lambda: self._events.put(Event.SLOT), self._crew.interval_seconds),
            ("pulse", self._firing.got_on, PULSE_SECONDS),
        ):
            self._scheduler.add_job(
                call,
                Grid(interval_seconds),
                id=name,
                replace_existing=True,
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )

    def _reload(self) -> None:
        if self._is_ready:
            self._supervisor.reloading()
        try:
            self._crew = self._muster()
        except EtlError as error:
            log.error("the settings are not taken, the old ones stay: %s", error)
            said = f"the settings are not taken, the old ones stay: {error}"
        except Exception as error:
            log.exception("a defect: the settings are not taken, the old ones stay")
            said = f"the settings are not taken, the old ones stay: {type(error).__name__}"
        else:
            self._schedule()
            log.info("settings and keys read again: %d accounts", len(self._crew.accounts))
            said = f"settings and keys read again: {self._words}"
        if self._is_ready:
            self._supervisor.ready(said)

    def _is_behind(self) -> bool:
        """Whether a slot is due of which no event tells: the clock was just before it when the last one came."""
        return self._slot_at is None or self._slot_at < slot_of(self._clock.now(), self._crew.interval_seconds)

    def _read(self) -> None:
        """Begin the present slot, unless that is done: to schedule anew may drop, or repeat, what is just due."""
        crew = self._crew
        slot_at = slot_of(self._clock.now(), crew.interval_seconds)
        if slot_at == self._slot_at:
            return
        self._slot_at = slot_at
        self._reading = {thread for thread in self._reading if thread.is_alive()}
        if len(self._reading) >= MOST_AT_ONCE:
            log.error("%d slots are still being read: this one is left out", len(self._reading))
            return
        turn = self._absence.begin(slot_at)
        name = f"slot-{slot_at:%H:%M:%S}"
        thread = threading.Thread(target=self._read_slot, args=(crew, turn), daemon=True, name=name)
        self._watcher.begins()
        try:
            thread.start()
        except RuntimeError:  # the system has no thread for it, perhaps in a moment
            self._absence.came_to_nothing(turn)
            self._slot_at = None
            if not self._has_no_thread:
                log.error("no thread can be had to read this slot: it is tried again")
        else:
            self._reading.add(thread)
        self._has_no_thread = self._slot_at is None

    def _read_slot(self, crew: Crew, turn: int) -> None:
        at_most = crew.recorder.longest_reading_seconds + READING_SECONDS
        try:
            with self._liveness.of("reading a slot", READING_SECONDS, at_most) as work:
                slot = crew.recorder.read(crew.accounts, crew.keyless, _Attended(self._stop, work, self._has_begun))
                if slot.entries:
                    self._note_missed(crew, turn, slot)
            self._has_begun.set()
            self._storekeeper.take(slot)
        except EtlError as error:
            log.error("%s", error)
            self._watcher.fails(error)
        except Exception as error:
            log.exception("a defect: this slot is lost, the next one is tried")
            self._watcher.fails(error)

    def _note_missed(self, crew: Crew, turn: int, slot: Slot) -> None:
        outcomes = [(entry.outcome.account, entry.outcome.slot_at) for entry in slot.entries]
        environment = slot.entries[0].outcome.environment
        failures = self._absence.attended(
            turn, outcomes, crew.interval_seconds, environment=environment, now=self._clock.now()
        )
        missed = Slot()
        crew.recorder.keep(missed, failures)
        if missed.disk is None:
            slot.missed = failures
        else:  # what its disk refuses, the database may take; it is told with what became of that
            self._storekeeper.take(missed)

    def _end(self) -> None:
        """Within 10 seconds: what is under way is kept, what is kept is stored if the database is quick."""
        self._supervisor.stopping()
        self._stop.set()
        self._scheduler.shutdown(wait=False)
        deadline = time.monotonic() + STOP_READING_SECONDS
        for thread in self._reading:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._storekeeper.stop(STOP_STORING_SECONDS)
        self._absence.stopped()
        self._watcher.finish()


@dataclass(frozen=True, slots=True)
class _Attended:
    """Stop, for whoever reads a slot and looks several times a second whether to: as long as it does, it gets on.

    When it first does, it has found a place for what it will read.
    """

    stop: threading.Event
    work: Work
    has_begun: threading.Event

    def is_set(self) -> bool:
        """Whether to stop."""
        self.work.got_on()
        self.has_begun.set()
        return self.stop.is_set()
