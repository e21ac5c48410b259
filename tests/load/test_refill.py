"""What was stored stays on disk for a while, so that a database that is older than that gets back what it lacks."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, insert, select, text

from etl.bingx.answers import parse_overview
from etl.db.accounts import Accounts
from etl.db.engine import open_engine
from etl.db.schema import metadata
from etl.db.store import SqlStore
from etl.files import alone
from etl.grid import slot_text
from etl.load.batch import Loaded
from etl.load.load import Loader
from etl.load.refill import keep, require_not_older
from etl.model import Environment, Outcome, Reading, Reason
from etl.remembered import Remembered
from etl.spool.retention import Retention, segments
from etl.spool.spool import Entry, Spool
from etl.spool.spool_file import decode
from tests.reading import rows
from tests.values import ASKED, SLOT, failure, reading

STEP = timedelta(minutes=5)
SNAPSHOTS = (
    "SELECT a.name, s.slot_at, s.taken_at, requested_at, latency_ms, s.status, s.reason, total_usdt_exact, attempts"
    " FROM snapshot s JOIN account a ON a.id = s.account_id LEFT JOIN equity e ON e.snapshot_id = s.id ORDER BY 1, 2"
)
FAILURES = (
    "SELECT a.name, slot_at, reason, detail, attempts, first_at, last_at"
    " FROM failure f JOIN account a ON a.id = f.account_id ORDER BY 1, 2"
)
BALANCES = "SELECT account, slot_at, account_type, usdt_balance_exact FROM balance_history ORDER BY 1, 2, 3"
PAYLOADS = (
    "SELECT a.name, slot_at, seq, encoding, body FROM payload p JOIN snapshot s ON s.id = p.snapshot_id"
    " JOIN account a ON a.id = s.account_id ORDER BY 1, 2, 3"
)


class House:
    """A spool with a retention, and databases to load it into."""

    def __init__(self, state: Path, url: str) -> None:
        self.state = state
        self.url = url
        self.spool = Spool(state)
        self.spool.prepare()
        self.retention = Retention(state, 86_400)

    def load(self, *outcomes: Outcome, into: str | None = None) -> list[Loaded]:
        """Put these into the spool and load it."""
        if outcomes:
            self.spool.put(outcomes)
        loaded: list[Loaded] = []
        self.loader(into).load(report=loaded.append)
        return [each for each in loaded if not each.entry.kept]

    def loader(self, into: str | None = None) -> Loader:
        """One that has just begun."""
        store = SqlStore(open_engine(into or self.url), lambda: datetime.now(UTC))
        return Loader(self.spool, store, parse_overview, Remembered(self.state), lambda: None, self.retention)

    def told(self, url: str | None = None) -> list[list[tuple[Any, ...]]]:
        """Everything that a history says but for when it was written."""
        return [rows(url or self.url, sql) for sql in (SNAPSHOTS, FAILURES, BALANCES, PAYLOADS)]

    def kept(self) -> list[Outcome]:
        """What is kept, of whatever history."""
        parts = [
            (segment.word, part)
            for segment in segments(self.retention.directory)
            for part in segment.path.read_bytes().split(b"\n" + segment.word + b" outcome ")[1:]
        ]
        return [decode(part.partition(b"\n")[2].partition(b"\n" + word)[0]) for word, part in parts]


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> House:
    """An empty one."""
    return House(tmp_path / "state", database_url)


@pytest.fixture
def older(new_database: Callable[..., str], dialect: str) -> Callable[[House], str]:
    """Another database with all that there is now, as a backup has it."""

    def copied(house: House) -> str:
        url = new_database(dialect, name="older.db")
        for table in metadata.sorted_tables:
            copy_rows(house.url, url, table)
        return url

    return copied


def copy_rows(source: str, target: str, table: Table) -> None:
    """As they are, and the next number after them."""
    with open_engine(source).read() as connection:
        found = [dict(row) for row in connection.execute(select(table)).mappings()]
    with open_engine(target).write() as connection:
        if found:
            connection.execute(insert(table), found)
        if connection.dialect.name == "postgresql" and "id" in table.c:
            of = f"pg_get_serial_sequence('{table.name}', 'id')"
            connection.execute(text(f"SELECT setval({of}, (SELECT max(id) FROM {table.name}))"))


def slot(number: int, **changes: Any) -> Reading:
    """The reading of a slot, of its own amount."""
    at = SLOT + number * STEP
    asked = ASKED + number * STEP
    return reading({"sopt": f"{number}.50", "grid": "1.000"}, slot_at=at, requested_at=asked, **changes)


def test_an_older_database_gets_back_what_it_lacks_before_anything_new_is_stored(
    house: House, older: Callable[[House], str], caplog: pytest.LogCaptureFixture
) -> None:
    house.load(slot(0), failure(slot_at=SLOT + STEP))
    backup = older(house)
    house.load(slot(2), reading(account="late", uid="2002", slot_at=SLOT + 2 * STEP))
    house.load(failure(slot_at=SLOT + 3 * STEP, reason=Reason.UNREACHABLE), slot(4, bodies=(b"no JSON",)))
    house.load(slot(5))
    wanted = house.told()
    caplog.set_level(logging.WARNING)
    [loaded] = house.load(slot(5), into=backup)
    assert not loaded.duplicate, "it is the very reading that was put back"
    assert house.told(backup) == wanted
    assert "is older than what was stored: it ended with 2026-11-22T15:25:00Z" in caplog.text
    caplog.clear()
    house.load(slot(6), into=backup)
    assert not caplog.records
    assert [row[1] for row in rows(backup, "SELECT status, total_usdt FROM snapshot")] != [None] * 5
    [(distinct, number)] = rows(backup, "SELECT count(DISTINCT slot_at), count(*) FROM snapshot s JOIN account a"
                                " ON a.id = s.account_id WHERE a.name = 'main'")  # fmt: skip
    assert distinct == number


def test_nothing_has_to_wait_for_it(house: House, older: Callable[[House], str]) -> None:
    house.load(slot(0))
    backup = older(house)
    house.load(slot(1))
    wanted = house.told()
    loaded: list[Loaded] = []
    house.loader(backup).refill(report=loaded.append)
    assert len(loaded) == 2, "each is a sign of life"
    assert house.told(backup) == wanted
    house.loader(backup).refill(report=loaded.append)
    assert house.told(backup) == wanted
    assert len(loaded) == 2


def test_a_program_that_has_just_been_started_knows_as_much(house: House, older: Callable[[House], str]) -> None:
    house.load(slot(0))
    backup = older(house)
    house.load(slot(1))
    wanted = house.told()
    house.retention = Retention(house.state, 86_400)
    house.load(into=backup)
    assert house.told(backup) != wanted, "with nothing to load, nothing is asked of the database"
    house.load(slot(1), into=backup)
    assert house.told(backup) == wanted


def test_the_first_outcome_of_a_slot_wins_as_it_did_the_first_time(house: House, older: Callable[[House], str]) -> None:
    """Though what was stored first had been read last."""
    house.load(slot(0))
    backup = older(house)
    second = slot(1)
    house.load(replace(second, requested_at=second.requested_at + timedelta(seconds=5)))
    assert [loaded.duplicate for loaded in house.load(second)] == [True]
    house.load(failure(slot_at=SLOT + 2 * STEP, reason=Reason.OVERRUN))
    house.load(failure(slot_at=SLOT + 2 * STEP, last_at=ASKED - STEP))
    house.load(slot(2))
    wanted = house.told()
    house.load(slot(3), into=backup)
    house.load(slot(3))
    assert house.told(backup) == house.told()
    assert house.told(backup)[0][:3] == wanted[0]


def test_a_new_database_stays_new_and_another_history_gets_nothing(
    house: House, new_database: Callable[..., str], dialect: str
) -> None:
    house.load(slot(0), slot(1))
    new = new_database(dialect, name="new.db")
    house.load(slot(2), into=new)
    house.load(slot(3), into=new)
    assert [row[1:2] for row in house.told(new)[0]] == [row[1:2] for row in house.told(new)[0]]
    assert len(house.told(new)[0]) == 2
    assert len(house.told()[0]) == 2
    house.load(slot(4))
    assert len(house.told()[0]) == 3, "nor does the first one get what was stored elsewhere"


def test_a_history_that_was_left_for_another_is_still_known_to_be_older(
    house: House, older: Callable[[House], str], new_database: Callable[..., str], dialect: str
) -> None:
    house.load(slot(0))
    backup = older(house)
    house.load(slot(1))
    wanted = house.told()[0]
    house.load(slot(2), into=new_database(dialect, name="new.db"))
    house.load(slot(3), into=backup)
    assert house.told(backup)[0][:2] == wanted
    assert len(house.told(backup)[0]) == 3


def test_play_money_never_comes_back_into_real(
    house: House, older: Callable[[House], str], caplog: pytest.LogCaptureFixture
) -> None:
    """Even if a history were taken for the one that it was stored in."""
    house.load(slot(0), slot(1))
    backup = older(house)
    house.load(slot(2))
    rows(backup, "UPDATE account SET environment = 'live'")
    house.load(slot(3, environment=Environment.LIVE), into=backup)
    assert [str(row[7]) for row in house.told(backup)[0]] == ["1.500", "2.500", "4.500"]
    assert house.told(backup)[1] == []
    assert house.spool.quarantined() == []
    assert "do not belong into this history any more" in caplog.text


def test_an_account_is_its_uid_also_when_it_was_renamed_since(house: House, older: Callable[[House], str]) -> None:
    house.load(slot(0))
    before = older(house)
    house.load(slot(1))
    Accounts(open_engine(house.url)).rename("main", "better")
    house.load(slot(2, account="better"), failure(account="better", slot_at=SLOT + 3 * STEP))
    wanted = [[row[1:] for row in each] for each in house.told()]
    house.loader(before).refill()
    assert [[row[1:] for row in each] for each in house.told(before)] == wanted
    assert rows(before, "SELECT name FROM account") == [("main",)]
    assert len(house.kept()) == 4


def test_a_reading_whose_name_is_anothers_again_is_set_aside_until_that_is_renamed_again(
    house: House, older: Callable[[House], str], caplog: pytest.LogCaptureFixture
) -> None:
    house.load(slot(0))
    before = older(house)
    Accounts(open_engine(house.url)).rename("main", "first")
    house.load(
        slot(1, account="first"), *(slot(number, uid="2") for number in (1, 2)), failure(slot_at=SLOT + 3 * STEP)
    )
    wanted = house.told()[0]
    for _ in range(2):
        house.loader(before).refill()
        assert len(house.told(before)[0]) == 2
        assert house.told(before)[1] == []
        assert [each.reason for each in house.spool.quarantined()] == [Reason.IDENTITY_MISMATCH] * 2
    assert "2 kept readings are in quarantine" in caplog.text
    Accounts(open_engine(before)).rename("main", "first")
    for each in house.spool.quarantined():
        house.spool.release(each.name)
    house.load(into=before)
    assert [row[1:] for row in house.told(before)[0]] == [row[1:] for row in wanted]


@pytest.mark.parametrize("outage_hours", [0, 3])
def test_each_of_two_hosts_puts_back_what_it_stored_though_the_other_has_put_back_its_failures(
    house: House, older: Callable[[House], str], tmp_path: Path, outage_hours: int
) -> None:
    """Both have the failures of a slot, and either of them may come first."""
    other = House(tmp_path / "other", house.url)
    later = [replace(slot(number), requested_at=ASKED + number * STEP + timedelta(seconds=1)) for number in (0, 1, 2)]
    house.load(slot(0))
    backup = older(house)
    down = failure(account="down", slot_at=SLOT + STEP, last_at=ASKED + STEP + timedelta(seconds=9))
    house.load(slot(1), down)
    other.load(later[1], down)
    other.load(later[2])
    house.load(slot(2))
    clock = time.time()
    for number in range(3, 4 + outage_hours):
        clock += 3600
        for each in (house, other):
            each.retention = Retention(each.state, 86_400, partial(float, clock))
            each.load(failure(slot_at=SLOT + number * STEP), down)
    wanted = house.told()
    other.load(slot(30), into=backup)
    house.load(slot(31), into=backup)
    assert house.told(backup)[0][:3] == wanted[0]
    assert house.told(backup)[1] == wanted[1]


def test_what_is_no_longer_kept_is_a_gap_that_is_told(
    house: House, older: Callable[[House], str], caplog: pytest.LogCaptureFixture
) -> None:
    house.load(slot(0))
    backup = older(house)
    house.load(slot(1))
    for segment in segments(house.retention.directory):
        segment.path.unlink()
    house.retention = Retention(house.state, 86_400)
    house.load(slot(2))
    house.load(slot(3), into=backup)
    assert "after 2026-11-22T15:20:00Z and before 2026-11-22T15:30:00Z nothing is kept" in caplog.text
    assert len(house.told(backup)[0]) == 3
    until = slot_text(SLOT + 2 * STEP)
    [(missed, reason)] = rows(backup, f"SELECT missed, reason FROM slot_gap WHERE gap_to < '{until}'")
    assert (missed, reason) == (1, None)


def test_a_void_made_since_is_not_in_what_comes_back_and_is_told(
    house: House, older: Callable[[House], str], caplog: pytest.LogCaptureFixture
) -> None:
    house.load(slot(0))
    backup = older(house)
    house.load(slot(1))
    rows(house.url, "INSERT INTO annotation (snapshot_id, kind, text, created_at)"
         " SELECT max(id), 'void', 'wrong', '2026-11-22T15:26:00.000Z' FROM snapshot")  # fmt: skip
    house.loader(backup).refill()
    assert rows(backup, "SELECT count(*) FROM annotation") == [(0,)]
    assert "void, accept, rename and retire since then have to be said again" in caplog.text


def test_a_replay_after_a_crash_is_put_back_once(house: House, older: Callable[[House], str]) -> None:
    """Killed between COMMIT and the end of its file in the spool, a program stores, and keeps, it twice."""
    house.load(slot(0))
    backup = older(house)
    for _ in range(2):
        house.load(slot(1))
    assert len(house.kept()) == 3
    wanted = house.told()
    house.loader(backup).refill()
    assert house.told(backup) == wanted


def test_killed_before_it_is_kept_the_reason_of_what_is_set_aside_comes_back_as_well(
    house: House, older: Callable[[House], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    house.load(slot(0))
    backup = older(house)
    monkeypatch.setattr("etl.load.load.keep", kill)
    with pytest.raises(KeyboardInterrupt):
        house.load(slot(1, bodies=(b"no JSON",)))
    monkeypatch.setattr("etl.load.load.keep", keep)
    house.load()
    wanted = house.told()
    house.load(slot(2), into=backup)
    assert house.told(backup)[1] == wanted[1] != []


def test_where_nothing_is_to_be_kept_nothing_is(house: House, older: Callable[[House], str]) -> None:
    house.load(slot(0))
    backup = older(house)
    assert len(house.kept()) == 1
    house.retention = Retention(house.state, 0)
    house.load(slot(1))
    assert house.kept() == []
    house.load(slot(2), into=backup)
    assert len(house.told(backup)[0]) == 2


def test_what_is_stored_does_not_depend_on_what_is_kept_of_it(house: House) -> None:
    house.load(slot(0))
    shutil.rmtree(house.retention.directory)
    house.retention.directory.write_text("a file is in the way")
    house.load(slot(1))
    house.loader().refill()
    assert len(house.told()[0]) == 2


def test_an_older_one_that_comes_in_its_place_between_two_batches_is_noticed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: Any, **more: Any) -> None:
        time.sleep(next(delays, 0))  # as on a busy disk: the next batch must not be looked at before
        keep(*arguments, **more)

    monkeypatch.setattr("etl.load.load.BATCH", 4)
    house.load(slot(0))
    delays = iter([0.2])
    monkeypatch.setattr("etl.load.load.keep", slowly)
    house.spool.put([slot(number) for number in range(1, 9)])
    stored: list[Loaded] = []

    def report(loaded: Loaded) -> None:
        stored.append(loaded)
        if len(stored) == 4:
            for of in ("payload", "balance"):
                rows(house.url, f"DELETE FROM {of} WHERE snapshot_id > (SELECT min(id) FROM snapshot)")
            rows(house.url, "DELETE FROM snapshot WHERE id > (SELECT min(id) FROM snapshot)")

    house.loader().load(report=report)
    assert len(house.told()[0]) == 9


def test_an_older_one_that_comes_in_its_place_between_two_processes_is_noticed(
    house: House, older: Callable[[House], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One has stored what no spool had, and not yet kept it, when the other looks; and keeps it before the other."""
    house.load(slot(0))
    backup = older(house)
    stored, looked, kept = (threading.Event() for _ in range(3))

    def slowly(*arguments: Any, **more: Any) -> None:
        if threading.current_thread() is one:
            stored.set()
            looked.wait(1)  # in vain, where the other has to wait for its turn
            keep(*arguments, **more)
            kept.set()
        else:
            assert kept.wait(10)
            keep(*arguments, **more)

    def look(*arguments: Any) -> datetime | None:
        begun_at = require_not_older(*arguments)
        if threading.current_thread() is not one:
            looked.set()
        return begun_at

    monkeypatch.setattr("etl.load.load.keep", slowly)
    monkeypatch.setattr("etl.load.load.require_not_older", look)
    unspooled = Entry("20261122T152500Z.0.main.1.outcome", slot(1), spooled=False)
    one = threading.Thread(target=house.loader().load, args=([unspooled],))
    one.start()
    assert stored.wait(10)
    other = House(house.state, backup)
    other.load(slot(2))
    one.join()
    other.load(slot(3))
    assert len(other.told()[0]) == 4


def test_who_is_halted_in_its_turn_keeps_nobody_from_storing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.files.ALONE_PATIENCE_SECONDS", 0.1)
    with alone(house.spool.directory):
        assert len(house.load(slot(0))) == 1
    assert len(house.told()[0]) == 1


def test_very_many_come_back_in_batches(
    house: House, older: Callable[[House], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etl.load.load.BATCH", 4)
    house.load(slot(0))
    backup = older(house)
    house.load(*(slot(number) for number in range(1, 31)))
    wanted = house.told()
    house.loader(backup).refill()
    assert house.told(backup) == wanted
