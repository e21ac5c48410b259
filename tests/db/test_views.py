"""The views against answers worked out by hand, the same ones on SQLite and on PostgreSQL."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from etl.db.schema import account, schedule
from etl.db.views import balance_history, daily_equity, equity, latest_balance, slot_gap
from etl.grid import slot_of
from tests.db.recorded import Recorded, at

HOUR = 3600
DAY = 86_400
CALENDAR = ("account", "day", "open_usdt", "high_usdt", "low_usdt", "close_usdt", "change_usdt")
COVERAGE = ("account", "day", "snapshots", "expected", "coverage")
GAP = ("account", "gap_from", "gap_to", "missed", "reason")
IMPORTED: dict[str, Any] = {"provenance": "imported", "requested_at": None, "latency_ms": None, "attempts": 0}


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


def numbers(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Amounts as floats, so that both dialects can be held against one answer."""
    return [tuple(float(cell) if isinstance(cell, Decimal) else cell for cell in row) for row in rows]


# --- balances and equity ---


def test_balances_come_as_numbers_and_with_every_digit(recorded: Recorded) -> None:
    recorded.account()
    recorded.snapshot("01-01 00:00", "0", {"spot": "44.37692200000000237300", "grid": None, "c2c": "0.00"})
    rows = recorded.rows(balance_history, "account_type", "usdt_balance", "usdt_balance_exact")
    assert [(name, None if exact is None else str(exact)) for name, _, exact in rows] == [
        ("c2c", "0.00"),
        ("grid", None),
        ("spot", "44.37692200000000237300"),
    ]
    assert numbers([row[:2] for row in rows]) == [("c2c", 0.0), ("grid", None), ("spot", 44.376922)]


def test_amounts_compare_as_numbers_not_as_text(recorded: Recorded) -> None:
    recorded.account()
    recorded.snapshot("01-01 00:00", "9", {"a": "9"})
    recorded.snapshot("01-01 01:00", "10", {"a": "10"})
    with recorded.database.read() as connection:
        for query in ("SELECT max(usdt_balance) FROM balance_history", "SELECT max(total_usdt) FROM equity"):
            assert connection.exec_driver_sql(query).scalar_one() == 10


def test_the_last_balances_are_those_of_each_accounts_last_snapshot_that_is_not_void(recorded: Recorded) -> None:
    recorded.account("a")
    recorded.account("b")
    recorded.account("never")
    recorded.snapshot("01-01 00:00", "1", {"spot": "1"})
    recorded.snapshot("01-01 01:00", None, {"spot": "2", "grid": None})
    void = recorded.snapshot("01-01 02:00", "3", {"spot": "3"})
    recorded.mark(void, "void")
    recorded.snapshot("01-01 00:00", "4", {"spot": "4"}, of=2)
    columns = ("account", "account_type", "usdt_balance", "status")
    assert numbers(recorded.rows(latest_balance, *columns)) == [
        ("a", "grid", None, "partial"),
        ("a", "spot", 2.0, "partial"),
        ("b", "spot", 4.0, "complete"),
    ]


def test_void_snapshots_are_left_out_until_they_are_unvoided(recorded: Recorded) -> None:
    recorded.account()
    one = recorded.snapshot("01-01 00:00", "1", {"spot": "1"})
    two = recorded.snapshot("01-01 01:00", None, {"spot": "1"})

    def seen() -> list[int]:
        by_equity = [row[0] for row in recorded.rows(equity, "snapshot_id")]
        assert [row[0] for row in recorded.rows(balance_history, "snapshot_id")] == by_equity
        return by_equity

    for kinds, expected in (
        (("note",), [one, two]),
        (("void",), [two]),
        (("note",), [two]),
        (("unvoid",), [one, two]),
        (("void", "void", "unvoid"), [one, two]),
        (("unvoid", "void"), [two]),
    ):
        recorded.mark(one, *kinds)
        assert seen() == expected, kinds


def test_equity_shows_partial_snapshots_without_a_total(recorded: Recorded) -> None:
    recorded.account()
    recorded.snapshot("01-01 00:00", "1.50", provenance="imported")
    recorded.snapshot("01-01 01:00", None)
    rows = recorded.rows(equity, "account", "slot_at", "total_usdt", "total_usdt_exact", "status", "provenance")
    assert numbers(rows) == [
        ("main", at("01-01 00:00"), 1.5, 1.5, "complete", "imported"),
        ("main", at("01-01 01:00"), None, None, "partial", "measured"),
    ]
    assert str(rows[0][3]) == "1.50"


# --- days ---


def test_a_day_runs_from_midnight_exclusive_to_midnight_inclusive(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 23:00", "01-03 01:00"))
    for slot, total in (
        ("01-01 23:00", "10"),
        ("01-02 00:00", "20"),
        ("01-02 01:00", "5"),
        ("01-02 12:00", "7"),
        ("01-03 00:00", "6"),
    ):
        recorded.snapshot(slot, total)
    assert numbers(recorded.rows(daily_equity, *CALENDAR, "close_at")) == [
        ("main", date(2026, 1, 1), 10.0, 20.0, 10.0, 20.0, None, at("01-02 00:00")),
        ("main", date(2026, 1, 2), 5.0, 7.0, 5.0, 6.0, -14.0, at("01-03 00:00")),
        ("main", date(2026, 1, 3), None, None, None, None, None, None),
    ]
    assert recorded.rows(daily_equity, *COVERAGE) == [
        ("main", date(2026, 1, 1), 2, 2, 1.0),
        ("main", date(2026, 1, 2), 3, 24, 0.125),
        ("main", date(2026, 1, 3), 0, 0, None),
    ]


def test_a_schedule_that_begins_at_midnight_begins_in_the_day_that_ends_then(recorded: Recorded) -> None:
    recorded.account("main", (DAY, "01-02 00:00", "01-03 12:00"))
    recorded.snapshot("01-02 00:00", "1")
    assert recorded.rows(daily_equity, *COVERAGE) == [
        ("main", date(2026, 1, 1), 1, 1, 1.0),
        ("main", date(2026, 1, 2), 0, 1, 0.0),
        ("main", date(2026, 1, 3), 0, 0, None),
    ]


def test_a_change_is_never_measured_across_a_day_without_a_close(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 01:00", "01-04 12:00"))
    recorded.snapshot("01-01 12:00", "1")
    recorded.snapshot("01-02 12:00", "3")
    recorded.snapshot("01-04 12:00", "9")
    assert [row[2] for row in numbers(recorded.rows(daily_equity, "account", "day", "change_usdt"))] == [
        None,
        2.0,
        None,
        None,
    ]


def test_partial_and_void_snapshots_take_no_part_in_a_day(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 01:00", "01-02 00:00"))
    recorded.snapshot("01-01 01:00", None)
    recorded.snapshot("01-01 02:00", "5")
    recorded.mark(recorded.snapshot("01-01 03:00", "900"), "void")
    recorded.mark(recorded.snapshot("01-01 04:00", "6"), "void", "unvoid")
    recorded.mark(recorded.snapshot("01-01 05:00", "0"), "void")
    recorded.snapshot("01-01 06:00", None)
    assert numbers(recorded.rows(daily_equity, *CALENDAR[1:], "snapshots", "expected")) == [
        (date(2026, 1, 1), 5.0, 6.0, 5.0, 6.0, None, 2, 23)
    ]


def test_expected_slots_follow_the_schedule_in_force(recorded: Recorded) -> None:
    recorded.account(
        "main",
        (HOUR, "01-01 06:00", "01-01 18:00"),  # 6:00 to 17:00: 12
        (1800, "01-01 18:00", "01-02 06:00"),  # 18:00 to 24:00: 13 of the day, 11 of the next
        (HOUR, "01-03 00:00", "01-03 02:00"),  # 0:00 still is the day before's: 1, then 1
    )
    assert [row[2:] for row in recorded.rows(daily_equity, *COVERAGE)] == [(0, 25, 0.0), (0, 12, 0.0), (0, 1, 0.0)]


def test_each_account_has_days_of_its_own(recorded: Recorded) -> None:
    recorded.account("a", (DAY, "01-02 00:00", "01-03 00:00"))
    recorded.account("b", (DAY, "01-05 00:00", "01-06 00:00"))
    recorded.account("without a schedule")
    recorded.snapshot("01-05 00:00", "2", of=2)
    assert numbers(recorded.rows(daily_equity, "account", "day", "close_usdt")) == [
        ("a", date(2026, 1, 1), None),
        ("a", date(2026, 1, 2), None),
        ("b", date(2026, 1, 4), 2.0),
        ("b", date(2026, 1, 5), None),
    ]


def test_history_from_before_the_first_schedule_has_its_days_too(recorded: Recorded) -> None:
    recorded.account("main", (DAY, "01-03 00:00", "01-04 00:00"))
    recorded.account("imported")
    recorded.snapshot("01-01 12:00", "5", provenance="imported")
    recorded.snapshot("01-01 12:00", "6", provenance="imported", of=2)
    assert numbers(recorded.rows(daily_equity, "account", "day", "close_usdt", "expected", "coverage")) == [
        ("imported", date(2026, 1, 1), 6.0, 0, None),
        ("main", date(2026, 1, 1), 5.0, 0, None),
        ("main", date(2026, 1, 2), None, 1, 0.0),
        ("main", date(2026, 1, 3), None, 0, None),
    ]


def test_snapshots_that_nobody_expected_cover_none_that_is_missing(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "03-02 12:00", "03-03 00:01"))
    recorded.account("other", (HOUR, "03-02 01:00", "03-02 12:00"), (4 * HOUR, "03-02 12:00", "03-03 00:01"))
    for hour in range(1, 12):
        recorded.snapshot(f"03-02 {hour:02}:00", **IMPORTED)
    recorded.snapshot("03-02 12:00")
    for slot in ("03-02 11:00", "03-02 11:30", "03-02 16:00", "03-02 17:00", "03-03 00:00"):  # three are on its grids
        recorded.snapshot(slot, of=2, **IMPORTED)
    assert recorded.rows(daily_equity, *COVERAGE) == [
        ("main", date(2026, 3, 2), 12, 13, 1 / 13),
        ("main", date(2026, 3, 3), 0, 0, None),
        ("other", date(2026, 3, 2), 5, 15, 3 / 15),
        ("other", date(2026, 3, 3), 0, 0, None),
    ]


def test_a_snapshot_of_a_slot_that_has_not_begun_covers_nothing_yet(recorded: Recorded) -> None:
    slot = slot_of(datetime.now(UTC), DAY) + timedelta(days=2)
    recorded.account("main", (HOUR, slot - timedelta(days=3), None))
    recorded.snapshot(slot)
    assert {row[4] for row in recorded.rows(daily_equity, *COVERAGE)} == {0.0, None}


def test_an_open_schedule_expects_the_slots_that_have_begun(recorded: Recorded) -> None:
    recorded.account("main", (60, "01-01 00:00", None))
    while True:  # until no minute ends between the question and its answer
        before = slot_of(datetime.now(UTC), 60)
        first = before - timedelta(minutes=3)
        with recorded.database.write() as connection:
            connection.execute(schedule.update().values(valid_from=first))
        days = recorded.rows(daily_equity, "account", "day", "expected")
        gaps = recorded.rows(slot_gap, *GAP)
        if slot_of(datetime.now(UTC), 60) == before:
            break
    assert sum(row[2] for row in days) == 4
    assert gaps == [("main", first, before, 4, None)]
    assert days[-1][1] in {datetime.now(UTC).date(), datetime.now(UTC).date() - timedelta(days=1)}


def test_a_schedule_of_the_future_expects_nothing(recorded: Recorded) -> None:
    recorded.account("main", (60, "01-01 00:00", None))
    with recorded.database.write() as connection:
        connection.execute(schedule.update().values(valid_from=datetime(2999, 1, 1, tzinfo=UTC)))
    assert recorded.rows(daily_equity) == recorded.rows(slot_gap) == []


# --- gaps ---


def test_nothing_missing_is_no_gap(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-01 03:00"))
    for hour in range(3):
        recorded.snapshot(f"01-01 0{hour}:00", None if hour == 1 else "1")  # partial counts as there
    assert recorded.rows(slot_gap) == []


def test_slots_that_nobody_knows_of_are_gaps_without_a_reason_at_both_ends_and_between(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-01 10:00"))
    recorded.snapshot("01-01 02:00")
    recorded.snapshot("01-01 03:00")
    recorded.snapshot("01-01 07:00")
    assert recorded.rows(slot_gap, *GAP) == [
        ("main", at("01-01 00:00"), at("01-01 01:00"), 2, None),
        ("main", at("01-01 04:00"), at("01-01 06:00"), 3, None),
        ("main", at("01-01 08:00"), at("01-01 09:00"), 2, None),
    ]


def test_an_account_that_was_never_read_is_one_gap(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-02 00:00"))
    assert recorded.rows(slot_gap, *GAP) == [("main", at("01-01 00:00"), at("01-01 23:00"), 24, None)]


def test_failures_next_to_each_other_are_one_gap_per_reason(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-01 08:00"))
    recorded.snapshot("01-01 00:00")
    for hour, reason in ((1, "unreachable"), (2, "unreachable"), (3, "key_refused"), (4, "unreachable")):
        recorded.failure(f"01-01 0{hour}:00", reason)
    recorded.failure("01-01 07:00", "unreachable")
    assert recorded.rows(slot_gap, *GAP) == [
        ("main", at("01-01 01:00"), at("01-01 02:00"), 2, "unreachable"),
        ("main", at("01-01 03:00"), at("01-01 03:00"), 1, "key_refused"),
        ("main", at("01-01 04:00"), at("01-01 04:00"), 1, "unreachable"),
        ("main", at("01-01 05:00"), at("01-01 06:00"), 2, None),
        ("main", at("01-01 07:00"), at("01-01 07:00"), 1, "unreachable"),
    ]


def test_a_success_replaces_the_failure_of_its_slot(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-01 02:00"))
    for hour in range(2):
        recorded.failure(f"01-01 0{hour}:00")
        recorded.snapshot(f"01-01 0{hour}:00")
    assert recorded.rows(slot_gap) == []


def test_a_void_snapshot_is_a_gap_until_it_is_unvoided(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-01 04:00"))
    ids = [recorded.snapshot(f"01-01 0{hour}:00") for hour in range(4)]
    recorded.failure("01-01 01:00")  # which the snapshot has replaced, void or not
    recorded.mark(ids[1], "void")
    recorded.mark(ids[2], "void")
    assert recorded.rows(slot_gap, *GAP) == [("main", at("01-01 01:00"), at("01-01 02:00"), 2, "void")]
    recorded.mark(ids[2], "unvoid")
    assert recorded.rows(slot_gap, *GAP) == [("main", at("01-01 01:00"), at("01-01 01:00"), 1, "void")]


def test_gaps_of_different_schedules_are_never_joined(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", "01-01 03:00"), (1800, "01-01 03:00", "01-01 05:00"))
    recorded.snapshot("01-01 00:00")
    assert recorded.rows(slot_gap, *GAP) == [
        ("main", at("01-01 01:00"), at("01-01 02:00"), 2, None),
        ("main", at("01-01 03:00"), at("01-01 04:30"), 4, None),
    ]
    for slot in ("01-01 01:00", "01-01 02:00", "01-01 03:00", "01-01 03:30", "01-01 04:00", "01-01 04:30"):
        recorded.failure(slot)
    assert [row[3] for row in recorded.rows(slot_gap, *GAP)] == [2, 4]


def test_what_lies_off_the_grid_or_outside_the_schedule_fills_no_gap_and_makes_none(recorded: Recorded) -> None:
    recorded.account("main", (HOUR, "01-01 00:30", "01-01 04:30"))  # 1:00 to 4:00
    for slot in ("01-01 00:00", "01-01 01:30", "01-01 02:10", "01-01 05:00"):
        recorded.snapshot(slot)
    for slot in ("01-01 03:50", "01-01 06:00", "01-01 07:00"):
        recorded.failure(slot)
    recorded.mark(recorded.snapshot("01-01 02:20"), "void")
    assert recorded.rows(slot_gap, *GAP) == [("main", at("01-01 01:00"), at("01-01 04:00"), 4, None)]
    recorded.snapshot("01-01 04:00")
    assert recorded.rows(slot_gap, *GAP) == [("main", at("01-01 01:00"), at("01-01 03:00"), 3, None)]


def test_accounts_do_not_fill_each_others_gaps(recorded: Recorded) -> None:
    for name in ("a", "b"):
        recorded.account(name, (HOUR, "01-01 00:00", "01-01 03:00"))
    recorded.snapshot("01-01 00:00", of=1)
    recorded.snapshot("01-01 01:00", of=2)
    recorded.failure("01-01 01:00", of=1)
    assert recorded.rows(slot_gap, *GAP) == [
        ("a", at("01-01 01:00"), at("01-01 01:00"), 1, "unreachable"),
        ("a", at("01-01 02:00"), at("01-01 02:00"), 1, None),
        ("b", at("01-01 00:00"), at("01-01 00:00"), 1, None),
        ("b", at("01-01 02:00"), at("01-01 02:00"), 1, None),
    ]


# --- and against the definition, spelled out slowly ---


class Slowly:
    """The contract's words, slot by slot."""

    def __init__(self, schedules: list[tuple[int, datetime, datetime]]) -> None:
        self.schedules = schedules
        self.totals: dict[datetime, Decimal | None] = {}
        self.failures: dict[datetime, str] = {}
        self.void: set[datetime] = set()

    def slots(self, seconds: int, first: datetime, end: datetime) -> list[datetime]:
        found, slot = [], slot_of(first - timedelta(seconds=1), seconds) + timedelta(seconds=seconds)
        while slot < end:
            found.append(slot)
            slot += timedelta(seconds=seconds)
        return found

    def gaps(self) -> list[tuple[Any, ...]]:
        rows: list[list[Any]] = []
        for seconds, first, end in self.schedules:
            previous: tuple[datetime, str | None] | None = None
            for slot in self.slots(seconds, first, end):
                if slot in self.totals and slot not in self.void:
                    previous = None
                    continue
                reason = "void" if slot in self.void else self.failures.get(slot)
                if previous == (slot - timedelta(seconds=seconds), reason):
                    rows[-1][2:4] = [slot, rows[-1][3] + 1]
                else:
                    rows.append(["main", slot, slot, 1, reason])
                previous = slot, reason
        return sorted(map(tuple, rows), key=lambda row: row[1])

    def days(self) -> list[tuple[Any, ...]]:
        usable = {slot: t for slot, t in self.totals.items() if t is not None and slot not in self.void}
        expected = [slot for each in self.schedules for slot in self.slots(*each)]

        def day_of(instant: datetime) -> date:
            return (instant - timedelta(seconds=1)).date()

        ends = [each[2] - timedelta(seconds=1) for each in self.schedules if self.slots(*each)]
        known = [day_of(instant) for instant in (*expected, *ends, *self.totals)]
        if not known:
            return []
        day, last = min(known), max(known)
        rows: list[tuple[Any, ...]] = []
        closes: dict[date, Decimal] = {}
        while day <= last:
            of_day = [t for slot, t in sorted(usable.items()) if day_of(slot) == day]
            wanted = sum(day_of(slot) == day for slot in expected)
            ohlc = (of_day[0], max(of_day), min(of_day), of_day[-1]) if of_day else (None,) * 4
            if of_day:
                closes[day] = of_day[-1]
            before = closes.get(day - timedelta(days=1))
            change = of_day[-1] - before if of_day and before is not None else None
            covered = sum(day_of(slot) == day for slot in usable.keys() & set(expected))
            coverage = covered / wanted if wanted else None
            rows.append(("main", day, *ohlc, change, len(of_day), wanted, coverage))
            day += timedelta(days=1)
        return rows


def _record(recorded: Recorded, model: Slowly, times: list[datetime], chance: random.Random) -> None:
    """Chance decides of each slot whether it failed, was read, was partial, is void; the model is told."""
    for slot in times:
        if chance.random() < 0.3:
            continue
        if chance.random() < 0.35:
            model.failures[slot] = chance.choice(["unreachable", "unavailable"])
            recorded.failure(slot, model.failures[slot])
        if slot not in model.failures or chance.random() < 0.2:
            model.totals[slot] = None if chance.random() < 0.1 else Decimal(chance.randrange(64)) / 8
            total = model.totals[slot]
            origin = chance.choice([{}, IMPORTED])
            snapshot_id = recorded.snapshot(slot, None if total is None else str(total), **origin)
            if chance.random() < 0.2:
                model.void.add(slot)
                recorded.mark(snapshot_id, "void")


@pytest.mark.parametrize("seed", range(25))
def test_any_history_is_told_as_the_contract_defines_it(recorded: Recorded, seed: int) -> None:
    chance = random.Random(seed)
    first = datetime(2026, 3, chance.randrange(1, 28), chance.randrange(24), chance.randrange(60), tzinfo=UTC)
    schedules = []
    for _ in range(chance.randrange(1, 4)):
        end = first + timedelta(minutes=chance.randrange(1, 3000))
        schedules.append((chance.choice([1800, 3600, 3600, 7200, 21600]), first, end))
        first = end + timedelta(minutes=chance.choice([0, 0, 700]))
    model = Slowly(schedules)
    recorded.account("main")
    with recorded.database.write() as connection:
        key = connection.scalar(select(account.c.id))
        for seconds, valid_from, valid_to in schedules:
            row = {"account_id": key, "interval_seconds": seconds, "valid_from": valid_from, "valid_to": valid_to}
            connection.execute(schedule.insert().values(row))
    times = {slot for each in schedules for slot in model.slots(*each)}
    begins, lasts = schedules[0][1].replace(minute=0), (schedules[-1][2] - schedules[0][1]) // timedelta(hours=1)
    times |= {begins + timedelta(hours=chance.randrange(-30, lasts + 30)) for _ in range(40)}
    times |= {chance.choice(sorted(times)) + timedelta(minutes=chance.randrange(-90, 90)) for _ in range(3) if times}
    with recorded.at_once():
        _record(recorded, model, sorted(times), chance)
    assert recorded.rows(slot_gap, *GAP) == model.gaps()
    assert numbers(recorded.rows(daily_equity, *CALENDAR, *COVERAGE[2:])) == numbers(model.days())
