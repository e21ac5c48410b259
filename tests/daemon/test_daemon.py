"""The parts of the daemon that need no process: its grid, its turns, who stores, and what thousands of slots leave."""

import gc
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl.bingx.answers import parse_overview
from etl.clock import Clock
from etl.daemon.absence import Absence
from etl.daemon.daemon import Crew, Daemon, Event, Grid
from etl.db import migrate
from etl.db.engine import open_engine
from etl.db.store import SqlStore
from etl.errors import DatabaseUnavailable, DiskError, SettingsError
from etl.extract.limiter import SlidingWindow
from etl.extract.patience import Plan
from etl.grid import EPOCH, slot_of, slot_text
from etl.load.load import Loader
from etl.load.store import Store
from etl.model import Environment, Fetched, Reason
from etl.ops.ledger import Ledger
from etl.recorder import Recorder, Slot, Stored
from etl.remembered import Remembered
from etl.spool.spool import Entry, Spool
from etl.watchers import Watcher
from tests.fakes import FakeStore, no_thread
from tests.reading import rows
from tests.values import SLOT, body, failure

STEP = timedelta(minutes=5)

NOON = datetime(2026, 3, 29, 12, 0, 7, 250_000, tzinfo=UTC)


# --- the grid -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("interval", "slots"),
    [
        (1, ["12:00:08", "12:00:09", "12:00:10"]),
        (18, ["12:00:18", "12:00:36", "12:00:54"]),
        (300, ["12:05:00", "12:10:00", "12:15:00"]),
        (14_400, ["16:00:00", "20:00:00", "00:00:00"]),
        (86_400, ["00:00:00", "00:00:00", "00:00:00"]),
    ],
)
def test_every_interval_fires_at_the_beginnings_of_its_slots_in_utc(interval: int, slots: list[str]) -> None:
    grid, fired, previous, now = Grid(interval), [], None, NOON
    for _ in slots:
        previous = grid.get_next_fire_time(previous, now)
        assert previous > now
        assert (previous - EPOCH) % timedelta(seconds=interval) == timedelta(0)
        fired.append(previous.strftime("%H:%M:%S"))
        now = previous
    assert fired == slots
    assert previous is not None
    assert previous.utcoffset() == timedelta(0)


def test_a_slot_that_begins_now_fires_now_and_once() -> None:
    slot_at = NOON.replace(second=10, microsecond=0)
    assert Grid(10).get_next_fire_time(None, slot_at) == slot_at
    assert Grid(10).get_next_fire_time(slot_at, slot_at) == slot_at + timedelta(seconds=10)


def test_what_passed_meanwhile_is_stepped_over_at_once() -> None:
    """A clock that is set from 1970 to the present would otherwise be 1.8 billion slots."""
    assert Grid(1).get_next_fire_time(EPOCH, NOON) == NOON.replace(second=8, microsecond=0)


def test_after_a_clock_was_set_back_the_library_still_gets_a_later_time_than_the_last() -> None:
    assert Grid(10).get_next_fire_time(NOON + timedelta(hours=1), NOON) > NOON + timedelta(hours=1)


# --- a whole daemon but for its process -----------------------------------------------------------------------------


@dataclass
class World(Watcher):
    """An exchange that answers at once, a clock that a test sets, and a daemon's parts around them."""

    directory: Path
    store: Store = field(default_factory=FakeStore)
    now: datetime = SLOT
    interval: int = 300
    environment: Environment = Environment.SANDBOX
    asked: list[datetime] = field(default_factory=list)
    told: list[tuple[list[Slot], Stored]] = field(default_factory=list)
    wrong: bool = False

    def balances(self, account: str, clock_offset_ms: int) -> Fetched:
        self.asked.append(self.now)
        return Fetched(self.now, 3, body(at=self.now), self.now)

    def uid(self, account: str, clock_offset_ms: int) -> str:
        return f"uid-{account}"

    def clock_offset_ms(self) -> int:
        return 0

    def key_fingerprint(self, account: str) -> str:
        return f"key-{account}"

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now)

    def recorder(self) -> Recorder:
        remembered = Remembered(self.directory)
        limiter = SlidingWindow(1_000_000, 0.001)
        plan = Plan(self.interval, 0, 10, limiter, limiter)
        loader = Loader(Spool(self.directory), self.store, parse_overview, remembered, lambda: None)
        return Recorder(self, remembered, loader, plan, clock=self.clock)

    def muster(self) -> Crew:
        if self.wrong:
            raise SettingsError("something is wrong")
        return Crew(self.recorder(), ["main"], {}, self.interval)

    def ends(self, slots: Sequence[Slot], stored: Stored) -> None:
        self.told.append((list(slots), stored))

    def daemon(self) -> Daemon:
        return Daemon(self.muster, Absence(self.directory), self, self.clock)

    def asks(self, number: int) -> Callable[[], None]:
        """Waits until so many were asked for."""
        return lambda: self.until(lambda: len(self.asked) == number)

    def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world at the beginning of a slot."""
    return World(tmp_path)


def test_a_slot_that_is_due_in_the_moment_of_a_reload_is_read_all_the_same(world: World) -> None:
    """To schedule anew takes what was just due out of the library's plan."""
    daemon = world.daemon()
    daemon._read()
    world.until(lambda: len(world.asked) == 1)
    daemon._read()
    daemon._reading.pop().join()
    assert len(world.asked) == 1, "the same slot is not read again"
    world.now += timedelta(seconds=300)
    daemon._reload()
    daemon._read()
    world.until(lambda: len(world.asked) == 2)


def test_events_that_come_together_are_all_attended_to(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Woken from a suspension, with a SIGHUP that came meanwhile."""
    daemon = world.daemon()

    class Suspended:
        looks = 0

        def look(self, waited_at_most: float) -> Reason | None:
            self.looks += 1
            return Reason.SUSPENDED if self.looks == 2 else None

    daemon._vigil = Suspended()  # type: ignore[assignment] # all that is asked of it
    for event in (Event.RELOAD, Event.STOP):
        daemon._events.put(event)
    with caplog.at_level("INFO"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        daemon.run()
    assert "settings and keys read again" in caplog.text
    assert "time did not pass as it should: suspended" in caplog.text


class Looks:
    """Looks several times after time, and does something at each; at the last the daemon is told to stop."""

    def __init__(self, daemon: Daemon, *calls: Callable[[], object]) -> None:
        self.calls = iter(calls)
        self.daemon = daemon

    def look(self, waited_at_most: float) -> Reason | None:
        if (call := next(self.calls, None)) is None:
            self.daemon._events.put(Event.STOP)
        else:
            call()
        return None


def run(daemon: Daemon, *calls: Callable[[], object]) -> None:
    """The main loop, with one call at each of its looks, of which the first is before the first slot."""
    daemon._vigil = Looks(daemon, *calls)  # type: ignore[assignment] # all that is asked of it
    daemon._look_every = 0.01
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        daemon.run()


def test_a_slot_of_which_no_event_tells_is_read_all_the_same(world: World) -> None:
    """The clock was set back by less than a vigil notices, just when the scheduler had told of the slot."""
    world.interval = 86_400  # the real clock tells of no other slot meanwhile

    def midnight() -> None:
        world.now += timedelta(days=1)

    run(world.daemon(), lambda: None, world.asks(1), midnight, world.asks(2))


def test_a_slot_for_which_there_is_no_thread_is_tried_again_and_what_stays_unread_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.interval = 86_400
    daemon, start = world.daemon(), threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        (no_thread if thread.name.startswith("slot-") else start)(thread)

    def lack() -> None:
        monkeypatch.setattr(threading.Thread, "start", fail)
        world.now += timedelta(days=1)

    def day_after() -> None:
        world.now += timedelta(days=1)

    def have() -> None:
        monkeypatch.setattr(threading.Thread, "start", start)

    run(daemon, lambda: None, world.asks(1), lack, world.asks(1), day_after, world.asks(1), have, world.asks(2))
    assert caplog.text.count("no thread can be had") == 1
    slots = [slot for slots, _ in world.told for slot in slots]
    assert [(failure.reason, failure.slots) for slot in slots for failure in slot.missed] == [(Reason.OVERRUN, 1)]


def test_a_defect_in_what_reads_the_settings_leaves_the_old_crew_too(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = world.daemon()
    crew = daemon._crew

    def fail() -> Recorder:
        raise FileNotFoundError("the authorities' file is being replaced")

    monkeypatch.setattr(world, "recorder", fail)
    daemon._reload()
    assert daemon._crew is crew
    assert "a defect: the settings are not taken, the old ones stay" in caplog.text


def test_wrong_settings_leave_the_old_crew(world: World, caplog: pytest.LogCaptureFixture) -> None:
    daemon = world.daemon()
    crew = daemon._crew
    world.wrong = True
    daemon._reload()
    assert daemon._crew is crew
    assert "the old ones stay: something is wrong" in caplog.text
    world.wrong = False
    daemon._reload()
    assert daemon._crew is not crew


def test_what_neither_disk_nor_database_took_is_stored_when_the_database_is_back(world: World) -> None:
    assert isinstance(world.store, FakeStore)
    daemon = world.daemon()
    daemon._read()
    daemon._reading.pop().join()
    keeper = daemon._storekeeper
    first = keeper._slots.get(timeout=30)
    assert first is not None
    keeper._store([first])
    assert len(world.store.history.snapshots) == 1

    (world.directory / "spool").rmdir()
    (world.directory / "spool").write_text("in the way")
    world.now += timedelta(seconds=300)
    daemon._read()
    daemon._reading.pop().join()
    second = keeper._slots.get(timeout=30)
    assert second is not None
    world.store.error = DatabaseUnavailable("away")
    for slots in ([second], [], []):
        keeper._store(slots)
    assert [stored.trouble is not None for _, stored in world.told] == [False, True, True, True]
    world.store.error = RuntimeError("a defect")
    with pytest.raises(RuntimeError):
        keeper._store([])
    world.store.error = None
    assert keeper._store([])
    assert len(world.store.history.snapshots) == 2
    assert keeper._homeless == []


def test_what_was_missed_is_counted_once_where_the_disk_refuses_it_too(world: World) -> None:
    """It goes to the database by a way of its own, and is told by that way alone."""
    daemon = world.daemon()
    daemon._read()
    daemon._reading.pop().join()
    (world.directory / "spool").rename(world.directory / "away")
    (world.directory / "spool").write_text("in the way")
    world.now += timedelta(seconds=3 * 300)
    daemon._read()
    daemon._reading.pop().join()
    daemon._storekeeper.start()
    daemon._storekeeper.stop(30)
    assert isinstance(world.store, FakeStore)
    assert len(world.store.history.failures) == 2
    ledger = Ledger()
    for slots, stored in world.told:
        ledger.note(slots, stored, world.now.timestamp(), "0001")
    assert ledger.slots == {"complete": 2, "failed overrun": 2}


@pytest.mark.parametrize("is_mended", [True, False])
def test_what_neither_of_them_took_until_the_end_is_named_in_the_log(
    world: World, caplog: pytest.LogCaptureFixture, is_mended: bool
) -> None:
    assert isinstance(world.store, FakeStore)
    (world.directory / "spool").write_text("in the way")
    daemon = world.daemon()
    daemon._read()
    daemon._reading.pop().join()
    world.store.error = None if is_mended else DatabaseUnavailable("away")
    daemon._storekeeper.start()
    daemon._storekeeper.stop(30)
    assert len(world.store.history.snapshots) == is_mended
    lost = f"in 1 slots from {slot_text(slot_of(world.now, 300))} on ends with this process"
    assert (lost in caplog.text) is not is_mended


def test_what_came_while_a_database_hangs_is_named_in_the_log_as_well_and_what_the_spool_has_is_not(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = world.daemon()._storekeeper
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(*_: object) -> Stored:
        hangs.set()
        goes_on.wait(30)
        return Stored()

    monkeypatch.setattr(Recorder, "store", hang)
    refused = DiskError("the spool cannot be written")
    keeper.take(Slot([Entry("a", failure()), Entry("b", failure(slot_at=SLOT + STEP), spooled=False)], disk=refused))
    keeper.start()
    assert hangs.wait(30)
    keeper.take(Slot([Entry("c", failure(slot_at=SLOT + 2 * STEP), spooled=False)], disk=refused))
    keeper.take(Slot([Entry("d", failure(slot_at=SLOT + 3 * STEP))], disk=refused))
    keeper.stop(0.1)
    goes_on.set()
    assert f"what was read in 2 slots from {slot_text(SLOT + STEP)} on ends with this process" in caplog.text


# --- thousands of slots ---------------------------------------------------------------------------------------------

SLOTS = 1500


def held() -> tuple[int, int, int, int]:
    """Resident memory in KiB, descriptors, threads, objects."""
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    return resident, len(os.listdir("/proc/self/fd")), threading.active_count(), len(gc.get_objects())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is looked up in /proc")
def test_thousands_of_slots_leave_neither_memory_nor_descriptors_nor_threads_behind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("CRITICAL", "etl")  # what is captured is kept
    monkeypatch.setattr("etl.extract.workers.IDLE_SECONDS", 0.2)  # how many wait for work at a moment is chance
    url = f"sqlite:///{tmp_path / 'balances.db'}"
    migrate.upgrade(url)
    world = World(tmp_path, interval=1)
    world.store = SqlStore(open_engine(url), lambda: world.now)
    daemon = world.daemon()
    daemon._storekeeper.start()
    early = late = (0, 0, 0, 0)
    seen, at_rest = 0, threading.active_count()
    for number in range(SLOTS):
        world.now = SLOT + timedelta(seconds=number)
        daemon._read()
        if number % 20 == 19:  # several at once, as when the storekeeper is slower than the clock
            for thread in list(daemon._reading):
                thread.join()
            world.until(lambda: sum(len(slots) for slots, _ in world.told) + seen >= number + 1)  # noqa: B023
            seen += sum(len(slots) for slots, _ in world.told)
            world.told.clear()
            world.asked.clear()
        if number + 1 in {SLOTS // 3, SLOTS}:  # a thread that still waits for work holds some dozens of objects
            world.until(lambda: threading.active_count() <= at_rest)
            early, late = late, held()
    daemon._storekeeper.stop(30)
    found = rows(url, "SELECT count(*), count(DISTINCT slot_at) FROM snapshot")
    assert found[0][0] == found[0][1]
    (missing,) = rows(url, "SELECT count(*) FROM failure")[0]
    assert found[0][0] + missing >= SLOTS - 1
    assert late[0] - early[0] < 4096, "KiB in two thirds of the slots"
    assert late[1] <= early[1] + 2
    assert late[3] - early[3] < SLOTS / 2, "objects, of which a slot that is kept has several"
