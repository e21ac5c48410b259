"""Everything in the spool, parsed, judged and stored, on SQLite and on PostgreSQL alike."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from etl.bingx.answers import parse_overview
from etl.db.engine import open_engine
from etl.db.store import SqlStore
from etl.errors import DatabaseUnavailable
from etl.load.batch import Loaded
from etl.load.load import BATCH, Loader
from etl.model import Environment, Outcome, Reason, Status
from etl.remembered import AccountMemory, HostMemory, Remembered
from etl.spool.spool import Spool
from tests.reading import rows
from tests.values import ASKED, SLOT, body, failure, reading

MINUTE = timedelta(minutes=1)


class House:
    """A spool, a database and what is remembered of keys."""

    def __init__(self, state: Path, url: str) -> None:
        self.url = url
        self.spool = Spool(state)
        self.spool.prepare()
        self.remembered = Remembered(state)
        self.store = SqlStore(open_engine(url), lambda: datetime.now(UTC))
        self.loader = Loader(self.spool, self.store, parse_overview, self.remembered, lambda: None)

    def load(self, *outcomes: Outcome) -> list[Loaded]:
        """Put these into the spool, load it, and tell what became of each."""
        if outcomes:
            self.spool.put(outcomes)
        loaded: list[Loaded] = []
        self.loader.load(report=loaded.append)
        return loaded

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the database says."""
        return rows(self.url, sql)


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> House:
    """An empty one."""
    return House(tmp_path / "state", database_url)


def test_a_reading_becomes_a_snapshot_with_its_balances_body_and_schedule(house: House) -> None:
    [loaded] = house.load(reading({"sopt": "100.00", "USDTMPerp": "7.50"}))
    assert loaded.snapshot is not None
    assert house.rows("SELECT name, uid, environment FROM account") == [("main", "1001", "sandbox")]
    assert house.rows("SELECT status, provenance, attempts, latency_ms FROM snapshot") == [
        ("complete", "measured", 1, 100)
    ]
    assert house.rows("SELECT account_type, raw_type FROM balance ORDER BY 1") == [
        ("USDTMPerp", None),
        ("spot", "sopt"),
    ]
    assert house.rows("SELECT interval_seconds FROM schedule WHERE valid_to IS NULL") == [(300,)]
    assert house.rows("SELECT count(*) FROM payload") == [(1,)]
    [(total,)] = house.rows("SELECT total_usdt_exact FROM equity")
    assert str(total) == "107.50"
    assert house.spool.depth() == 0


def test_digits_are_exact_from_the_body_to_the_view(house: House) -> None:
    amounts = {
        "a": "99999999999999999999.99999999999999999999",
        "b": "44.37692200000000237300",
        "c": "0.00000000",
        "d": "1.50E+3",
    }
    house.load(reading(amounts))
    found = house.rows("SELECT account_type, usdt_balance_exact FROM balance_history")
    assert {name: f"{Decimal(amount):f}" for name, amount in found} == {**amounts, "d": "1500"}
    [(total,)] = house.rows("SELECT total_usdt_exact FROM equity")
    assert str(total) == "100000000000000001544.37692200000000237299"


def test_the_first_reading_of_a_slot_wins_in_one_batch_and_in_two(house: House) -> None:
    first = reading({"spot": "1"})
    second = reading({"spot": "2"}, requested_at=ASKED + timedelta(seconds=1))
    third = reading({"spot": "3"}, requested_at=ASKED + timedelta(seconds=2))
    assert [loaded.duplicate for loaded in house.load(second, first)] == [False, True]
    assert [loaded.duplicate for loaded in house.load(third)] == [True]
    assert [str(total) for (total,) in house.rows("SELECT total_usdt_exact FROM equity")] == ["1"]
    assert house.spool.depth() == 0


def test_replaying_the_spool_changes_nothing(house: House) -> None:
    outcomes: list[Outcome] = [reading(), failure(slot_at=SLOT + 5 * MINUTE), reading(slot_at=SLOT + 10 * MINUTE)]
    house.load(*outcomes)
    tables = ("account", "schedule", "snapshot", "balance", "failure", "payload")
    before = [house.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]
    assert [loaded.duplicate for loaded in house.load(*outcomes)] == [False] * 3
    assert [house.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables] == before


def test_a_success_replaces_a_failure_of_its_slot_in_the_views_and_never_the_other_way_round(house: House) -> None:
    house.load(failure())
    assert house.rows("SELECT reason FROM slot_gap WHERE gap_from = gap_to") == [("unavailable",)]
    house.load(reading())
    house.load(failure(reason=Reason.UNREACHABLE))
    assert house.rows("SELECT count(*) FROM slot_gap WHERE reason IS NOT NULL") == [(0,)]
    assert house.rows("SELECT count(*) FROM equity") == [(1,)]


def test_a_wallet_that_vanished_makes_the_snapshot_partial_within_a_batch_and_across_batches(house: House) -> None:
    slots = [SLOT + 5 * MINUTE * number for number in range(4)]
    whole, less = {"spot": "1", "grid": "2"}, {"spot": "1"}
    house.load(reading(whole, slot_at=slots[0]), reading(less, slot_at=slots[1]))
    house.load(reading(less, slot_at=slots[2]), reading(whole, slot_at=slots[3]))
    found = house.rows("SELECT status, reason, total_usdt FROM snapshot ORDER BY slot_at")
    assert [(status, reason) for status, reason, _ in found] == [
        ("complete", None),
        ("partial", "missing: grid"),
        ("partial", "missing: grid"),
        ("complete", None),
    ]
    assert [total is None for *_, total in found] == [False, True, True, False]


def test_what_is_loaded_late_is_compared_with_what_was_before_it_and_not_with_what_came_after(house: House) -> None:
    house.load(reading({"spot": "1"}, slot_at=SLOT), reading({"spot": "1", "grid": "2"}, slot_at=SLOT + 10 * MINUTE))
    [late] = house.load(reading({"spot": "1"}, slot_at=SLOT + 5 * MINUTE))
    assert late.snapshot is not None
    assert late.snapshot.status is Status.COMPLETE


@pytest.mark.parametrize(
    "bad", [b"<html>", b"", b'{"code":0,"data":[{"accountType":"a","usdtBalance":"1,000.5"}]}', b"\xff", b"[" * 100_000]
)
def test_what_cannot_be_understood_is_quarantined_with_a_failure_and_blocks_nothing(house: House, bad: bytes) -> None:
    house.load(reading(bodies=(bad,)), reading(slot_at=SLOT + 5 * MINUTE))
    assert house.rows("SELECT reason FROM failure") == [("malformed",)]
    assert house.rows("SELECT count(*) FROM snapshot") == [(1,)]
    [aside] = house.spool.quarantined()
    assert aside.reason == "malformed"
    assert (house.spool.quarantine_directory / aside.name).read_bytes().endswith(bad)
    assert house.spool.depth() == 0


def test_another_uid_under_the_same_name_is_quarantined_and_not_mixed_in(house: House) -> None:
    house.load(reading())
    [loaded] = house.load(reading({"spot": "666"}, slot_at=SLOT + 5 * MINUTE, uid="1002"))
    assert loaded.quarantined
    assert house.rows("SELECT count(*) FROM snapshot") == [(1,)]
    assert house.rows("SELECT reason FROM failure") == [("identity_mismatch",)]
    assert [item.reason for item in house.spool.quarantined()] == ["identity_mismatch"]


def test_a_second_name_for_one_uid_is_refused_even_in_the_same_batch(house: House) -> None:
    house.load(reading(), reading(account="twin", requested_at=ASKED + timedelta(seconds=1)))
    assert house.rows("SELECT a.name FROM snapshot s JOIN account a ON a.id = s.account_id") == [("main",)]
    assert [item.reason for item in house.spool.quarantined()] == ["identity_mismatch"]


def test_a_reading_whose_owner_is_not_known_yet_waits_and_is_stored_once_he_is(house: House) -> None:
    house.load(reading())
    later = reading(slot_at=SLOT + 5 * MINUTE, uid=None, key_fingerprint="f2")
    [loaded] = house.load(later)
    assert loaded.waits
    assert house.spool.depth() == 1
    house.remembered.keep_account("main", AccountMemory({"f2": "1001"}))
    [loaded] = house.load()
    assert loaded.snapshot is not None
    assert house.rows("SELECT count(*) FROM snapshot") == [(2,)]


def test_play_money_is_not_mixed_into_the_history_of_real_money(house: House) -> None:
    house.load(reading(environment=Environment.LIVE))
    [loaded] = house.load(reading(slot_at=SLOT + 5 * MINUTE))
    assert loaded.quarantined


def test_two_programs_with_different_intervals_are_told_so(house: House) -> None:
    house.load(reading())
    house.load(reading(slot_at=SLOT + 7 * MINUTE, interval_seconds=60))
    [loaded] = house.load(reading(slot_at=SLOT + 10 * MINUTE))
    assert loaded.quarantined
    assert loaded.failure is not None
    assert loaded.failure.reason is Reason.SCHEDULE_CONFLICT
    assert house.rows("SELECT interval_seconds FROM schedule ORDER BY valid_from") == [(300,), (60,)]


def test_one_record_that_the_database_refuses_does_not_take_its_batch_with_it(house: House) -> None:
    outcomes: list[Outcome] = [reading(slot_at=SLOT + 5 * MINUTE * number) for number in range(6)]
    outcomes[3] = failure(slot_at=outcomes[3].slot_at, detail="a NUL \0 in it")
    house.load(*outcomes)
    assert house.rows("SELECT count(*) FROM snapshot") == [(5,)]
    assert house.spool.depth() == 0
    assert len(house.spool.quarantined()) == 1
    assert house.rows("SELECT reason FROM failure") == [("defect",)]


def test_more_than_a_batch_is_loaded_in_order(house: House) -> None:
    outcomes = [reading(slot_at=SLOT + 5 * MINUTE * number) for number in range(BATCH + 10)]
    assert len(house.load(*outcomes)) == BATCH + 10
    assert house.rows("SELECT count(*) FROM snapshot") == [(BATCH + 10,)]
    assert house.rows("SELECT count(*) FROM slot_gap WHERE gap_from < '2026-11-23T00:00:00Z'") == [(0,)]


def test_when_the_database_fails_everything_still_waits(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.spool.put([reading()])

    def fail(*_: object) -> Sequence[object]:
        raise DatabaseUnavailable("no")

    monkeypatch.setattr("etl.db.store.SqlTransaction.add_failures", fail)
    with pytest.raises(DatabaseUnavailable):
        house.load()
    assert house.spool.depth() == 1
    assert house.rows("SELECT count(*) FROM account") == [(0,)]


def test_nothing_goes_from_the_spool_before_commit(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    discard: Callable[..., None] = Spool.discard

    def watched(spool: Spool, names: Sequence[str]) -> None:
        seen.append(house.rows("SELECT count(*) FROM snapshot")[0][0])
        discard(spool, names)

    monkeypatch.setattr(Spool, "discard", watched)
    house.load(reading())
    assert seen == [1], "another connection sees the row when the file goes"


def test_a_body_is_kept_to_the_byte(house: House) -> None:
    from etl.db.payload import decode

    sent = body({"sopt": "1.50"}) + b" \n"
    house.load(reading(bodies=(b'{"code":0,"data":[]}', sent)))
    found = house.rows("SELECT seq, encoding, body FROM payload ORDER BY seq")
    assert [decode(encoding, bytes(stored)) for _, encoding, stored in found] == [b'{"code":0,"data":[]}', sent]


def test_two_users_are_not_mixed_while_nobody_knows_who_they_are(house: House) -> None:
    house.load(reading(uid=None))
    assert house.remembered.account("main").begun_with == "f1"
    [loaded] = house.load(reading(slot_at=SLOT + 5 * MINUTE, uid=None, key_fingerprint="f2"))
    assert loaded.waits
    [loaded] = house.load()
    assert loaded.waits
    house.remembered.keep_account("main", AccountMemory({"f1": "1001", "f2": "1001"}, begun_with="f1"))
    [loaded] = house.load()
    assert loaded.snapshot is not None


def test_what_is_learned_of_the_clock_after_a_reading_was_kept_decides_its_slot(house: House) -> None:
    hour = timedelta(hours=1)
    wrong = reading(slot_at=SLOT - hour, requested_at=ASKED - hour, bodies=(body(at=ASKED),))
    house.remembered.keep_host(HostMemory(3_600_000, ASKED - hour))
    [loaded] = house.load(wrong)
    assert loaded.snapshot is not None
    assert (loaded.snapshot.slot_at, loaded.snapshot.taken_at, loaded.snapshot.reason) == (SLOT, ASKED, None)
    house.remembered.keep_host(HostMemory(-3_600_000, ASKED + 10 * hour))
    later = reading(slot_at=SLOT + 5 * MINUTE, requested_at=ASKED + 5 * MINUTE)
    [loaded] = house.load(later)
    assert loaded.snapshot is not None
    assert loaded.snapshot.slot_at == SLOT + 5 * MINUTE, "measured at another time, it tells nothing of this reading"


def test_a_file_that_cannot_be_removed_is_stored_and_said_to_be(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.spool.put([reading(), reading(slot_at=SLOT + 5 * MINUTE)])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", refuse)
        assert len([loaded for loaded in house.load() if loaded.snapshot]) == 2
    assert house.spool.depth() == 2
    house.load()
    assert house.spool.depth() == 0
    assert house.rows("SELECT count(*) FROM snapshot") == [(2,)]


def test_a_clock_that_is_set_later_does_not_move_what_was_read_before(house: House) -> None:
    """While the database is down a reading waits; then somebody sets the clock five minutes on."""
    jump = timedelta(minutes=5)
    house.remembered.keep_host(HostMemory(-round(jump.total_seconds() * 1000), ASKED + jump + timedelta(seconds=30)))
    [loaded] = house.load(reading())
    assert loaded.snapshot is not None
    assert loaded.snapshot.slot_at == SLOT
    assert loaded.snapshot.taken_at == ASKED
