"""A history that is to go on gets what is kept of others: as it was measured, and nothing that is not its own."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from etl.db.accounts import Accounts
from etl.db.engine import open_engine
from etl.db.schema import metadata
from etl.db.store import SqlStore
from etl.load.adopt import Adopted, Adopter
from etl.load.batch import Batch, Loaded
from etl.load.lineage import TOGETHER, Known, Lineage
from etl.load.load import Loader
from etl.model import Environment, Failure, Reading, Reason
from etl.spool.retention import Retention
from etl.spool.spool import Entry
from tests.load.test_refill import House, copy_rows, slot
from tests.reading import rows
from tests.values import SLOT, failure

STEP = timedelta(minutes=5)
# Of what the database has no part in, one is enough.
on_one_database = pytest.mark.parametrize("dialect", ["sqlite"])
SLOTS = "SELECT a.name, s.slot_at, total_usdt FROM snapshot s JOIN account a ON a.id = s.account_id ORDER BY 1, 2"


class TwoHistories(House):
    """A database, and another that takes its place."""

    def __init__(self, state: Path, url: str, other: str) -> None:
        super().__init__(state, url)
        self.other = other
        self.lineage = Lineage(state)

    def loader(self, into: str | None = None) -> Loader:
        """One that remembers which history that is."""
        is_other = into == self.other
        store = SqlStore(open_engine(into or self.url), lambda: datetime.now(UTC) + is_other * timedelta(days=1))
        return replace(super().loader(into), store=store, lineage=self.lineage)

    def adopt(self, into: str | None = None) -> Adopted:
        """Into the other one, unless another still is named."""
        return Adopter(self.loader(into or self.other), self.lineage, Environment.SANDBOX).adopt()

    def is_anew(self) -> bool:
        """Whether another history is known to have taken the place of the one before."""
        known = self.lineage.known()
        return known is not None and known.instead is not None


@pytest.fixture
def house(tmp_path: Path, database_url: str, new_database: Callable[..., str], dialect: str) -> TwoHistories:
    """Both of them empty."""
    return TwoHistories(tmp_path / "state", database_url, new_database(dialect, name="other.db"))


def outage(number: int, **changes: Any) -> Failure:
    """A slot without a reading."""
    return failure(slot_at=SLOT + number * STEP, **changes)


def test_the_new_one_gets_what_is_kept_as_it_was_measured_and_goes_on(house: TwoHistories) -> None:
    house.load(slot(0), outage(1), slot(2))
    house.load(slot(3), into=house.other)
    assert house.is_anew()
    everything = [house.told()[0], house.told()[1], house.told()[3]]
    adopted = house.adopt()
    assert (adopted.outcomes, adopted.first, adopted.until) == (3, SLOT, SLOT + 2 * STEP)
    assert not adopted.left_out
    told = house.told(house.other)
    for before, after in zip(everything, [told[0], told[1], told[3]], strict=True):
        assert [row for row in before if row not in after] == []
    assert len(told[0]) == 3
    last = "gap_to < '2026-11-22T15:40:00Z'"
    assert rows(house.other, f"SELECT missed, reason FROM slot_gap WHERE {last}") == [(1, "unavailable")]
    assert house.lineage.known() == Known(adopted.begun_at or SLOT)
    house.load(slot(4), into=house.other)
    assert not house.is_anew()


@on_one_database
def test_doing_it_again_changes_nothing(house: TwoHistories) -> None:
    house.load(slot(0), outage(1))
    house.load(slot(2), into=house.other)
    first = house.adopt()
    told = house.told(house.other)
    assert house.adopt() == first
    assert house.told(house.other) == told


def test_the_one_before_that_is_back_gets_what_went_into_the_other_meanwhile(house: TwoHistories) -> None:
    house.load(slot(0))
    house.load(slot(1), outage(2), into=house.other)
    house.load(slot(3))
    assert not house.is_anew(), "it is over by itself"
    assert len(rows(house.url, SLOTS)) == 2, "and nobody has said that they belong together"
    assert house.adopt(house.url).outcomes == 2
    assert [row[1] for row in house.told()[0]] == [row[1] for row in sorted(house.told()[0])]
    assert len(rows(house.url, SLOTS)) == 3
    assert [row[2] for row in house.told()[1]] == ["unavailable"]


def test_a_slot_keeps_its_snapshot_and_an_imported_one_gives_way(house: TwoHistories) -> None:
    house.load(slot(0), slot(1))
    house.load(replace(slot(1), requested_at=SLOT + STEP + timedelta(seconds=9)), slot(2), into=house.other)
    before = [row for row in house.told(house.other)[0] if "15:25" in str(row[1])]
    house.adopt()
    assert [row for row in house.told(house.other)[0] if "15:25" in str(row[1])] == before
    rows(house.other, f"UPDATE snapshot SET provenance = 'imported' WHERE slot_at = '{SLOT:%Y-%m-%dT%H:%M:%SZ}'")
    house.adopt()
    assert rows(house.other, "SELECT count(*) FROM snapshot WHERE provenance = 'imported'") == [(0,)]


def test_an_account_is_its_uid_and_what_is_anothers_is_left_out_and_said(house: TwoHistories) -> None:
    """Its failures as well, though a failure does not say whose it is; and those before its first reading."""
    house.load(outage(0), slot(1), outage(2, reason=Reason.UNREACHABLE))
    house.load(slot(3, uid="4004"), into=house.other)
    adopted = house.adopt()
    assert (adopted.outcomes, adopted.left_out.total()) == (0, 3)
    assert {why.partition(":")[0] for why in adopted.left_out} == {"main"}
    assert "another UID" in " ".join(adopted.left_out)
    assert "1001" not in " ".join(adopted.left_out)
    assert len(rows(house.other, SLOTS)) == 1
    assert house.told(house.other)[1] == []
    assert rows(house.other, "SELECT count(*) FROM schedule") == [(1,)]
    assert not house.is_anew()
    assert house.spool.quarantined() == []
    Accounts(open_engine(house.other)).rename("main", "another")
    assert house.adopt().outcomes == 3, "it may be said again"
    assert sorted(row[0] for row in rows(house.other, SLOTS)) == ["another", "main"]


def test_what_was_stored_before_it_was_known_whose_it_is_goes_by_its_key(house: TwoHistories) -> None:
    house.load(slot(0, uid=None), slot(1))
    house.load(slot(3), into=house.other)
    assert house.adopt().outcomes == 1, "nothing is guessed"
    remembered = house.loader().remembered
    remembered.keep_account("main", replace(remembered.account("main"), uids={"f1": "1001"}))
    adopted = house.adopt()
    assert (adopted.outcomes, adopted.first) == (2, SLOT)
    assert len(adopted.left_out) == 0
    assert rows(house.other, "SELECT count(*) FROM equity") == [(3,)]


@on_one_database
def test_an_account_that_has_another_name_now_is_still_the_same(house: TwoHistories) -> None:
    house.load(outage(0), slot(1))
    house.load(slot(2), into=house.other)
    Accounts(open_engine(house.other)).rename("main", "better")
    assert house.adopt().outcomes == 2
    assert {row[0] for row in rows(house.other, SLOTS)} == {"better"}
    assert rows(house.other, "SELECT name FROM account") == [("better",)]


@on_one_database
def test_play_money_is_left_out_also_under_a_name_of_its_own(house: TwoHistories) -> None:
    house.load(slot(0, account="play", uid="7", environment=Environment.VST), slot(0))
    house.load(slot(1), into=house.other)
    adopted = house.adopt()
    assert adopted.outcomes == 1
    assert list(adopted.left_out) == ["play: it is from vst"]
    assert rows(house.other, "SELECT name FROM account") == [("main",)]


@on_one_database
def test_before_anything_was_recorded_into_it_the_empty_database_becomes_the_history(house: TwoHistories) -> None:
    house.load(slot(0), slot(1))
    assert house.adopt().outcomes == 2
    house.load(slot(2), into=house.other)
    assert not house.is_anew()
    assert len(rows(house.other, SLOTS)) == 3


@on_one_database
def test_where_nothing_is_kept_the_new_one_goes_on_all_the_same(house: TwoHistories) -> None:
    house.retention = Retention(house.state, 0)
    house.load(slot(0))
    assert house.adopt() == Adopted(), "it is empty"
    house.load(slot(1), into=house.other)
    assert not house.is_anew()
    house.load(slot(2))
    house.load(slot(3), into=house.other)
    assert house.is_anew()
    assert house.adopt().outcomes == 0
    house.load(slot(4), into=house.other)
    assert not house.is_anew()


def test_a_copy_a_backup_and_a_move_to_another_database_are_the_same_history(house: TwoHistories) -> None:
    house.load(slot(0))
    for table in metadata.sorted_tables:
        copy_rows(house.url, house.other, table)
    house.load(slot(1))
    house.load(slot(2), into=house.other)
    assert not house.is_anew()
    assert len(rows(house.other, SLOTS)) == 3, "what it lacked is put back"


@on_one_database
def test_a_state_directory_that_remembers_nothing_goes_by_what_is_kept(house: TwoHistories) -> None:
    """As that of a release before there was anything to remember."""
    house.load(slot(0))
    (house.state / "remembered" / "history.json").unlink()
    house.load(slot(1), into=house.other)
    assert house.is_anew()


@on_one_database
def test_interrupted_at_any_time_it_can_be_done_again(house: TwoHistories, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.load.load.BATCH", 2)
    house.load(*(slot(number) for number in range(7)))
    house.load(slot(7), into=house.other)
    seen: list[Reading] = []

    def interrupt(more: int) -> None:
        seen.extend([slot(0)] * more)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Adopter(house.loader(house.other), house.lineage, Environment.SANDBOX).adopt(interrupt)
    assert house.is_anew()
    assert house.adopt().outcomes == 7
    assert len(rows(house.other, SLOTS)) == 8


@on_one_database
def test_a_process_that_records_at_that_moment_does_not_undo_it(
    house: TwoHistories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has read what is remembered, and writes it a moment later."""
    house.load(slot(0))
    told, adopted = threading.Event(), threading.Event()

    def slowly(before: Known | None, after: Known) -> None:
        told.set()
        adopted.wait(1)  # in vain, where adopting has to wait for its turn

    monkeypatch.setattr("etl.load.lineage._tell", slowly)
    house.spool.put([slot(1)])
    recording = threading.Thread(target=house.loader(house.other).load)
    recording.start()
    assert told.wait(10)
    house.adopt()
    adopted.set()
    recording.join()
    assert not house.is_anew()


@pytest.mark.parametrize("dialect", ["postgresql"])
def test_processes_that_begin_a_history_together_alarm_nobody_though_one_of_them_is_slow(
    house: TwoHistories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its account comes first, and the other's is committed first."""
    added, stored = threading.Event(), threading.Event()

    class Slow(Batch):
        def add(self, *arguments: Any) -> list[Loaded]:
            loaded = super().add(*arguments)
            if threading.current_thread() is slow:
                added.set()
                stored.wait(4 * TOGETHER.total_seconds())  # in vain, where the other has to wait for its turn
            return loaded

    monkeypatch.setattr("etl.load.load.Batch", Slow)
    entries = [Entry(f"{name}.outcome", slot(0, account=name, uid=name), spooled=False) for name in ("one", "two")]
    slow = threading.Thread(target=house.loader().load, args=(entries[:1],))
    slow.start()
    assert added.wait(10)
    time.sleep(TOGETHER.total_seconds() + 0.1)
    house.loader().load(entries[1:])
    stored.set()
    slow.join()
    assert not house.is_anew()
