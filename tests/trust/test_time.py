"""Whatever time does, each slot has its one outcome, and a reading is never filed under a slot it was not taken in.

The program is a real process whose clock is moved by faketime, against an exchange whose clock is moved with it, or is
not. What the clocks of tests alone can show is in tests/test_grid.py, test_clock.py, test_vigil.py and test_absence.py.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from etl.daemon.absence import MOST_SLOTS
from etl.db.engine import open_engine
from etl.db.store import SqlStore
from etl.grid import slot_text
from etl.sandbox.exchange import Exchange
from etl.sandbox.limits import NO_LIMITS
from etl.sandbox.rules import BALANCES
from etl.sandbox.server import SandboxServer
from tests.cli.program import Program, eventually, unix
from tests.daemon.test_daemon import World
from tests.reading import rows

ONE = {"BINGX_ETL_INTERVAL": "1s"}
YEAR = 31_556_952
# Berlin's rules, spelt out: there need not be a time zone database.
BERLIN = {"TZ": "CET-1CEST,M3.5.0,M10.5.0/3"}
TO_SUMMER = datetime(2026, 3, 29, 1, tzinfo=UTC)
TO_WINTER = datetime(2026, 10, 25, 1, tzinfo=UTC)
LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
faketime = pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed: apt-get install faketime")


@dataclass
class Clocks:
    """How many seconds two clocks are ahead of ours: the exchange's, and the program's, which lies in a file."""

    file: Path
    exchange: float = 0.0

    @property
    def environ(self) -> dict[str, str]:
        """What makes the program go by its clock. The monotonic one stays as it is."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_machine(self, seconds: float) -> None:
        """Set the program's clock, in one step."""
        new = self.file.with_suffix(".new")
        new.write_text(f"{seconds:+.3f}")
        new.replace(self.file)

    def set_both(self, seconds: float) -> None:
        """Another time, and nobody is wrong about it."""
        self.exchange = seconds
        self.set_machine(seconds)


@contextmanager
def elsewhen(home: Path, seconds: float = 0.0, database_url: str | None = None) -> Iterator[tuple[Program, Clocks]]:
    """An installation and its exchange, so many seconds from now."""
    home.mkdir(parents=True)
    clocks = Clocks(home / "clock")
    clocks.set_both(seconds)
    exchange = Exchange(1, 7, lambda: time.time() + clocks.exchange, limits=NO_LIMITS, refuse_replays=False)
    with SandboxServer(exchange) as server:
        program = Program(home, server, database_url or f"sqlite:///{home / 'state' / 'balances.db'}")
        program.environ |= clocks.environ
        yield program, clocks


def side_by_side(*calls: Callable[[], None]) -> None:
    """Calls that mostly wait, at the same time. Raises what the first of them raises."""
    raised: list[BaseException] = []

    def run(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - it is raised again
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in raised:
        raise error


def holds_together(program: Program, *reasons: str, step: int = 1) -> None:
    """Every slot has one snapshot, or a reason; a busy machine may overrun some, and the end may cut one off."""
    recorded, failed = program.recorded(), program.failed()
    assert len(recorded) == len(set(recorded)), "one snapshot per slot"
    assert set(failed.values()) <= {"overrun", "stopped", *reasons}, failed
    assert {later - slot for slot, later in pairwise(sorted({*recorded, *failed}))} <= {step}
    assert not program.spooled()
    assert not list(program.home.glob("*/quarantine/*"))


def was_filed_where_it_was_taken(program: Program, step: int = 1) -> None:
    """By the exchange's own word: the slot is that in which it answered, or, at a boundary, was asked."""
    for slot_at, taken_at in program.rows("SELECT slot_at, taken_at FROM snapshot"):
        assert 0 <= unix(taken_at) - unix(slot_at) < step + 0.5


def between_two_requests() -> None:
    """Wait for the middle of a second, when what a slot of a second asks for has been answered."""
    time.sleep((1.6 - time.time() % 1) % 1)


def goes_on(program: Program, slots: int = 3) -> None:
    """Waits for so many more snapshots."""
    before = len(program.recorded())
    eventually(lambda: len(program.recorded()) >= before + slots)


# --- summer time ----------------------------------------------------------------------------------------------------


@faketime
def test_a_change_to_summer_time_or_back_moves_no_slot(tmp_path: Path, tally: Callable[..., None]) -> None:
    def lives_through(name: str, change: datetime) -> None:
        at = change.timestamp()
        with elsewhen(tmp_path / name, at - 8 - time.time()) as (program, _):
            program.exchange.faults.add("status", path=BALANCES, status=503, since=at + 1, until=at + 4)
            with program.daemon(**ONE, **BERLIN) as daemon:
                eventually(lambda: [slot for slot in program.recorded() if slot >= at + 4])
                assert daemon.stop() == 143
            holds_together(program, "unavailable")
            was_filed_where_it_was_taken(program)
            failed = [slot - at for slot, reason in program.failed().items() if reason == "unavailable"]
            assert failed, "what fails is filed by the same clock"
            assert set(failed) <= {1, 2, 3}
            assert program.recorded()[0] < at, "it was there before"
            assert "time did not pass as it should" not in daemon.said
            tally("clocks moved")

    side_by_side(lambda: lives_through("summer", TO_SUMMER), lambda: lives_through("winter", TO_WINTER))


@faketime
def test_the_hour_that_comes_twice_has_twice_its_slots_and_the_one_that_never_comes_none(tmp_path: Path) -> None:
    def snapshots(name: str, *instants: datetime) -> None:
        with elsewhen(tmp_path / name) as (program, clocks):
            for instant in instants:
                clocks.set_both(instant.timestamp() - time.time())
                ran = program.run("snapshot", "--json", **BERLIN, BINGX_ETL_INTERVAL="30m")
                assert ran.code == 0, ran.err
                assert ran.lines[0]["slot_at"] == slot_text(instant.replace(minute=30 * (instant.minute // 30)))
                assert "duplicate" not in ran.lines[0]
            assert len(program.recorded()) == len(instants)

    minutes = (timedelta(minutes=number) for number in (-20, 10, 40, 70))
    # 02:40 CEST, 02:10 CET, 02:40 CET and 03:10 CET; 01:40 CET, then 03:10, 03:40 and 04:10 CEST
    winter, summer = zip(*((TO_WINTER + each, TO_SUMMER + each) for each in minutes), strict=True)
    side_by_side(lambda: snapshots("winter", *winter), lambda: snapshots("summer", *summer))


# --- the clock is wrong ---------------------------------------------------------------------------------------------


@faketime
def test_a_clock_that_is_off_by_years_names_no_slot_and_when_it_is_right_again_nothing_is_missing(
    tmp_path: Path, tally: Callable[..., None]
) -> None:
    def lives_through(name: str, seconds: float) -> None:
        with elsewhen(tmp_path / name) as (program, clocks):
            began = time.time()
            with program.daemon(**ONE, BINGX_ETL_RETRY_FOR="5s") as daemon:
                goes_on(program, 2)
                for offset in (seconds, 0):
                    between_two_requests()
                    clocks.set_machine(offset)
                    goes_on(program)
                    tally("clocks moved")
                assert daemon.stop() == 143
            holds_together(program, "clock_jumped", "clock_skew")
            was_filed_where_it_was_taken(program)
            slots = [*program.recorded(), *program.failed()]
            assert began - 2 < min(slots) <= max(slots) < time.time() + 1
            assert daemon.said.count("time did not pass as it should: clock_jumped") == 2

    side_by_side(
        lambda: lives_through("ten-years-on", 10 * YEAR),
        lambda: lives_through("ten-years-back", -10 * YEAR),
        lambda: lives_through("before-the-epoch-of-2001", 20 - time.time()),
    )


@faketime
def test_who_boots_in_1970_without_a_network_has_no_slots_of_those_days(
    tmp_path: Path, new_database: Callable[..., str], tally: Callable[..., None]
) -> None:
    def lives_through(name: str, url: str | None, *, knows_history: bool) -> None:
        with elsewhen(tmp_path / name, 0, url) as (program, clocks):
            if knows_history:
                assert program.run("snapshot", **ONE).code == 0
            began = time.time()
            clocks.set_machine(20 - time.time())
            program.exchange.faults.add("refuse", seconds=4)
            with program.daemon(**ONE, BINGX_ETL_RETRY_FOR="0s") as daemon:
                eventually(lambda: "unreachable" in daemon.said)
                time.sleep(2)
                clocks.set_machine(0)
                eventually(lambda: time.time() > began + 4 and program.recorded())
                goes_on(program)
                assert daemon.stop() == 143
            [(valid_from,)] = program.rows("SELECT valid_from FROM schedule")
            assert unix(valid_from) > began - 60, "nothing was expected in 1970"
            gaps = program.rows("SELECT gap_from, missed FROM slot_gap")
            assert all(unix(gap_from) > began - 60 for gap_from, _ in gaps)
            assert sum(missed for _, missed in gaps) < 60, "nor in the years since"
            assert len(program.rows("SELECT 1 FROM failure")) < 60
            assert not program.spooled()
            was_filed_where_it_was_taken(program)
            tally("clocks moved")

    side_by_side(
        lambda: lives_through("first-of-all", None, knows_history=False),
        lambda: lives_through("again", None, knows_history=True),
        lambda: lives_through("postgresql", new_database("postgresql"), knows_history=True),
    )


# --- asleep ---------------------------------------------------------------------------------------------------------


def test_a_process_halted_in_the_middle_of_a_request_files_nothing_under_a_slot_that_it_slept_through(
    tmp_path: Path, new_database: Callable[..., str], long_seconds: float, tally: Callable[..., None]
) -> None:
    asleep = min(max(7.0, long_seconds), 300.0)

    def lives_through(program: Program, *, in_a_request: bool) -> None:
        with program.daemon(**ONE) as daemon:
            goes_on(program, 2)
            if in_a_request:
                program.exchange.faults.add("delay", path=BALANCES, seconds=2, times=1)
                eventually(lambda: program.exchange.counts[BALANCES, "fault delay"])
            daemon.send(signal.SIGSTOP)
            halted = time.time()
            time.sleep(asleep)
            woken = time.time()
            daemon.send(signal.SIGCONT)
            eventually(lambda: sum(slot > woken for slot in program.recorded()) >= 3)
            eventually(lambda: list(program.failed().values()).count("suspended") >= asleep - 2)
            assert daemon.stop() == 143
        holds_together(program, "suspended", "unreachable")
        was_filed_where_it_was_taken(program, 4 if in_a_request else 1)
        assert not [slot for slot in program.recorded() if halted + 1 <= slot < woken - 1], "nobody was there"
        tally("seconds asleep", round(asleep))

    with installed_pair(tmp_path, new_database("postgresql")) as (one, other):
        side_by_side(
            lambda: lives_through(one, in_a_request=True),
            lambda: lives_through(other, in_a_request=False),
        )


@contextmanager
def installed_pair(directory: Path, url: str) -> Iterator[tuple[Program, Program]]:
    """Two installations, with SQLite and with this PostgreSQL, by the clock of the machine."""
    with elsewhen(directory / "sqlite") as (one, first), elsewhen(directory / "postgresql", 0, url) as (other, second):
        for program, clocks in ((one, first), (other, second)):
            for name in clocks.environ:
                del program.environ[name]
        yield one, other


# --- the boundary ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interval", [1, 300, 86_400])
def test_one_millisecond_decides_the_slot_and_nothing_falls_between_two(
    tmp_path: Path, database_url: str, interval: int
) -> None:
    boundary, step, ms = datetime(2026, 11, 22, tzinfo=UTC), timedelta(seconds=interval), timedelta(milliseconds=1)
    world = World(tmp_path, interval=interval)
    world.store = SqlStore(open_engine(database_url), lambda: world.now)
    duplicates = []
    for world.now in (boundary - ms, boundary, boundary + ms, boundary + step - ms, boundary + step):
        slot, stored = world.recorder().record(["main"], {}, threading.Event())
        assert stored.trouble is None
        duplicates += [recorded.duplicate for recorded in slot.recorded]
    assert duplicates == [False, False, True, True, False]
    found = rows(database_url, "SELECT slot_at, requested_at FROM snapshot ORDER BY slot_at")
    assert [(unix(slot_at), unix(requested_at)) for slot_at, requested_at in found] == [
        ((boundary - step).timestamp(), (boundary - ms).timestamp()),
        (boundary.timestamp(), boundary.timestamp()),
        ((boundary + step).timestamp(), (boundary + step).timestamp()),
    ]


@pytest.mark.parametrize("late_by", [0, 1])
def test_a_request_that_leaves_a_millisecond_after_the_end_of_its_slot_is_the_next_ones(
    tmp_path: Path, database_url: str, late_by: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    boundary, ms = datetime(2026, 11, 22, tzinfo=UTC), timedelta(milliseconds=1)
    world = World(tmp_path, now=boundary - ms)
    world.store = SqlStore(open_engine(database_url), lambda: world.now)
    ask = world.balances

    def slowly(account: str, clock_offset_ms: int) -> object:
        world.now = boundary + late_by * ms - ms * (1 - late_by)
        return ask(account, clock_offset_ms)

    monkeypatch.setattr(world, "balances", slowly)
    world.recorder().record(["main"], {}, threading.Event())
    [(slot_at,)] = rows(database_url, "SELECT slot_at FROM snapshot")
    assert unix(slot_at) == (boundary if late_by else boundary - timedelta(seconds=300)).timestamp()


# --- longer than the interval ---------------------------------------------------------------------------------------


def test_a_run_longer_than_its_interval_takes_no_slot_from_the_others(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    def lives_through(program: Program) -> None:
        program.exchange.faults.add("delay", path=BALANCES, seconds=2.5)
        with program.daemon(**ONE) as daemon:
            eventually(lambda: len(program.recorded()) >= 6)
            assert daemon.stop() == 143
        holds_together(program)
        asked_in = {request.at // 1 for request in program.exchange.requests if request.path == BALANCES}
        assert set(program.recorded()) <= asked_in, "filed where it was sent, not where it was answered"
        assert list(program.failed().values()).count("overrun") <= 2

    with installed_pair(tmp_path, new_database("postgresql")) as programs:
        side_by_side(*(lambda program=program: lives_through(program) for program in programs))


@faketime
def test_a_one_shot_that_is_still_trying_when_its_slot_ends_leaves_a_failure_and_no_reading(tmp_path: Path) -> None:
    at = datetime(2026, 11, 22, 15, 20, tzinfo=UTC).timestamp()
    with elsewhen(tmp_path / "home", at + 56 - time.time()) as (program, _):
        program.exchange.faults.add("status", path=BALANCES, status=503, until=at + 60)
        ran = program.run("snapshot", "--json", BINGX_ETL_INTERVAL="1m", BINGX_ETL_RETRY_FOR="1m")
        assert ran.code == 69
        assert program.failed() == {at: "unavailable"}
        assert program.recorded() == []
        assert max(request.at for request in program.exchange.requests) < at + 60.2


# --- another interval -----------------------------------------------------------------------------------------------


@faketime
def test_when_the_interval_changes_slots_are_expected_by_the_one_in_force(
    tmp_path: Path, new_database: Callable[..., str]
) -> None:
    def lives_through(name: str, url: str) -> None:
        begin = time.time() // 3600 * 3600 - 3 * 3600  # past, for views go by the clock of the database
        with elsewhen(tmp_path / name, 0, url) as (program, clocks):
            for minutes, interval, code in (
                (0, "10m", 0),
                (10, "10m", 0),
                (20, "5m", 0),  # the first change
                (25, "5m", 0),
                (30, "10m", 78),  # back within the hour: two programs write one history
                (30, "5m", 0),
                (82, "10m", 0),  # after more than an hour, 12 of whose slots nobody recorded
            ):
                clocks.set_both(begin + minutes * 60 + 1 - time.time())
                ran = program.run("snapshot", BINGX_ETL_INTERVAL=interval)
                assert ran.code == code, ran.err
            schedules = program.rows("SELECT interval_seconds, valid_from, valid_to FROM schedule ORDER BY valid_from")
            assert [(step, unix(first) - begin, last and unix(last) - begin) for step, first, last in schedules] == [
                (600, 0, 1200),
                (300, 1200, 4800),
                (600, 4800, None),
            ]
            gaps = program.rows("SELECT gap_from, gap_to, missed, reason FROM slot_gap ORDER BY gap_from")
            told = [(unix(first) - begin, unix(last) - begin, missed, reason) for first, last, missed, reason in gaps]
            assert told[:1] == [(2100, 4500, 9, None)]
            assert [gap[0] for gap in told[1:]] == [5400]
            assert [path.suffix for path in sorted(program.home.glob("*/quarantine/*"))] == [".outcome", ".reason"]

    urls = new_database("sqlite"), new_database("postgresql")
    side_by_side(lambda: lives_through("sqlite", urls[0]), lambda: lives_through("postgresql", urls[1]))


# --- ten thousand slots ---------------------------------------------------------------------------------------------


@faketime
def test_ten_thousand_slots_missed_hold_up_no_slot_and_each_has_its_reason(
    tmp_path: Path, new_database: Callable[..., str], tally: Callable[..., None]
) -> None:
    away = MOST_SLOTS + 2_000

    def lives_through(name: str, url: str) -> None:
        with elsewhen(tmp_path / name, -away, url) as (program, clocks):
            with program.daemon(**ONE) as daemon:
                goes_on(program, 2)
                assert daemon.stop() == 143
            last = max([*program.recorded(), *program.failed()])
            clocks.set_both(0)
            again = time.time()
            with program.daemon(**ONE) as daemon:
                eventually(lambda: sum(slot > again for slot in program.recorded()) >= 5)
                eventually(lambda: not program.spooled() and len(program.failed()) >= MOST_SLOTS)
                assert daemon.stop() == 143
            first = min(slot for slot in program.recorded() if slot > last)
            assert first - again < 5, "it did not wait for what was missed"
            failed = program.failed()
            stopped = sorted(slot for slot, reason in failed.items() if reason == "stopped")
            assert MOST_SLOTS - 3 <= len(stopped) <= MOST_SLOTS, "a busy machine may overrun the first of its own"
            assert stopped == [stopped[0] + number for number in range(len(stopped))]
            assert first - 4 <= stopped[-1] < first
            sql = "SELECT gap_from, missed, reason FROM slot_gap ORDER BY gap_from"
            gaps = [(unix(at), missed, reason) for at, missed, reason in program.rows(sql) if missed > 60]
            assert gaps == [
                (last + 1, stopped[0] - last - 1, None),
                (stopped[0], len(stopped), "stopped"),
            ]
            assert not program.spooled()
            tally("slots missed and told", away)

    urls = new_database("sqlite"), new_database("postgresql")
    side_by_side(lambda: lives_through("sqlite", urls[0]), lambda: lives_through("postgresql", urls[1]))
