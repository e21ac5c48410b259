"""Equity over time from real rows: known answers on both databases, in pages that keep nobody waiting."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from etl.db.engine import open_engine
from etl.db.equity import FEWEST_OF_ACCOUNT, Equity
from etl.db.history import History
from etl.errors import NoSuchAccount, SchemaNotAtHead
from etl.report.equity import EVERYBODY, Question, Report, Row, report
from etl.report.periods import Every
from tests.db.recorded import Recorded, at

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = 3600, 86_400
FIGURES = ("open_usdt", "high_usdt", "low_usdt", "close_usdt", "change_usdt", "change_pct", "drawdown_pct")
COUNTS = ("snapshots", "expected", "partial", "voided")


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


@pytest.fixture
def ask(recorded: Recorded) -> Callable[..., Report]:
    """A report at the end of 2026, read in pages of three snapshots."""

    def asked(**question: Any) -> Report:
        source = Equity(recorded.database, page_snapshots=3)
        return report(source, Question(**question), datetime(2027, 1, 1, tzinfo=UTC))

    return asked


def column(rows: list[Row], *names: str) -> list[tuple[str, ...]]:
    return [tuple(str(row[name]) for name in names) for row in rows]  # type: ignore[literal-required]


def of(found: Report, account: str) -> list[Row]:
    return [row for row in found.rows if row["account"] == account]


def test_an_empty_history_is_an_empty_report(recorded: Recorded, ask: Callable[..., Report]) -> None:
    assert ask() == Report([], 0, 0)
    recorded.account("main")
    assert ask(account="main") == Report([], 0, 0)
    with pytest.raises(NoSuchAccount, match="'other'"):
        ask(account="other")


def test_a_database_without_a_schema_is_told_what_to_do(empty_database_url: str) -> None:
    with pytest.raises(SchemaNotAtHead, match="bingx-etl db upgrade"):
        report(Equity(open_engine(empty_database_url)), Question(), datetime(2027, 1, 1, tzinfo=UTC))


def test_the_accountant_gets_31_december_24_00_in_berlin(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("main")
    first = datetime(2025, 12, 31, 22, tzinfo=UTC)
    for hour, total in enumerate(("100.10", "111.11", "99.99")):
        recorded.snapshot(first + timedelta(hours=hour), total, provenance="imported")
    days = ask(zone=BERLIN).rows
    names = "period", "begins_at", "ends_at", "open_usdt", "close_usdt", "close_at", "change_usdt", "change_pct"
    # fmt: off
    assert column(days, *names) == [
        ("2025-12-31", "2025-12-30 23:00:00+00:00", "2025-12-31 23:00:00+00:00",
         "100.10", "111.11", "2025-12-31 23:00:00+00:00", "None", "None"),
        ("2026-01-01", "2025-12-31 23:00:00+00:00", "2026-01-01 23:00:00+00:00",
         "99.99", "99.99", "2026-01-01 00:00:00+00:00", "-11.12", "-10.0081"),
    ]
    # fmt: on
    assert column(ask(zone=BERLIN, every=Every.MONTH).rows, "period", "close_usdt") == [
        ("2025-12", "111.11"),
        ("2026-01", "99.99"),
    ]
    assert column(ask(zone=BERLIN, every=Every.WEEK).rows, "period", "close_usdt") == [("2026-W01", "99.99")]
    assert column(ask().rows, "period", "close_usdt") == [("2025-12-31", "99.99")]


def test_days_have_23_and_25_hours_where_clocks_are_changed(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("main", (HOUR, "01-01 00:00", None))
    with recorded.at_once():
        for begin in ("03-28 22:00", "10-24 21:00"):
            for hour in range(28):
                recorded.snapshot(at(begin) + timedelta(hours=hour), str(hour))
    spring = ask(zone=BERLIN, since=at("03-28 12:00"), until=at("03-30 12:00")).rows
    assert column(spring, "period", "open_usdt", "close_usdt", "snapshots", "expected", "coverage") == [
        ("2026-03-28", "0", "1", "2", "24", str(2 / 24)),
        ("2026-03-29", "2", "24", "23", "23", "1.0"),
        ("2026-03-30", "25", "27", "3", "24", str(3 / 24)),
    ]
    autumn = ask(zone=BERLIN, since=at("10-24 12:00"), until=at("10-26 12:00")).rows
    assert column(autumn, "period", "open_usdt", "close_usdt", "snapshots", "expected", "coverage") == [
        ("2026-10-24", "0", "1", "2", "24", str(2 / 24)),
        ("2026-10-25", "2", "26", "25", "25", "1.0"),
        ("2026-10-26", "27", "27", "1", "24", str(1 / 24)),
    ]


def test_snapshots_that_nobody_expected_cover_none_that_is_missing(
    recorded: Recorded, ask: Callable[..., Report]
) -> None:
    recorded.account("main", (HOUR, "03-02 12:00", "03-03 00:01"))
    imported: dict[str, Any] = {"provenance": "imported", "requested_at": None, "latency_ms": None, "attempts": 0}
    for hour in range(1, 12):
        recorded.snapshot(f"03-02 {hour:02}:00", "1", {"spot": "1"}, **imported)
    recorded.snapshot("03-02 12:00", "1", {"spot": "1"})
    counts = ("account", "period", "snapshots", "expected", "coverage")
    # fmt: off
    assert column(ask().rows[:1], *counts) == [("main", "2026-03-02", "12", "13", str(1 / 13))]
    assert column(ask(by_type=True).rows[:1], *counts) == [("main", "2026-03-02", "12", "13", str(1 / 13))]
    assert column(ask(every=Every.MONTH).rows, *counts) == [("main", "2026-03", "12", "13", str(1 / 13))]
    assert column(ask(zone=BERLIN).rows, *counts) == [
        ("main", "2026-03-02", "12", "12", str(1 / 12)), ("main", "2026-03-03", "0", "1", "0.0"),
    ]
    recorded.account("other", (2 * HOUR, "03-02 12:00", "03-02 22:00"))
    for hour in (11, 12, 13, 14):
        recorded.snapshot(f"03-02 {hour}:00", "2", of=2)
    assert column(ask().rows[:1], *counts) == [("main", "2026-03-02", "12", "13", str(1 / 13))]
    together = column(of(ask(), EVERYBODY)[:1], *counts)  # of both at 12, 14, … 20; of main alone at 22 to 24
    assert together == [(EVERYBODY, "2026-03-02", "12", "8", str(1 / 8))]
    # fmt: on


def test_months_end_when_they_end_and_a_missing_one_is_shown(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("main", (DAY, "01-31 00:00", "05-02 00:00"))
    for day, total in {"01-31": "10", "02-01": "20", "02-28": "30", "03-01": "40.5", "05-01": "50"}.items():
        recorded.snapshot(f"{day} 00:00", total)
    assert column(ask(every=Every.MONTH).rows, "period", *FIGURES, "snapshots", "expected") == [
        ("2026-01", "10", "20", "10", "20", "None", "None", "0.0000", "2", "2"),
        ("2026-02", "30", "40.5", "30", "40.5", "20.5", "102.5000", "0.0000", "2", "28"),
        ("2026-03", *["None"] * 7, "0", "31"),
        ("2026-04", "50", "50", "50", "50", "None", "None", "0.0000", "1", "30"),
        ("2026-05", *["None"] * 7, "0", "0"),
    ]


def test_a_voided_high_and_a_partial_close_take_no_part(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("main", (HOUR * 6, "01-01 06:00", "01-03 00:00"))
    recorded.snapshot("01-01 06:00", "100")
    high = recorded.snapshot("01-01 12:00", "999")
    recorded.mark(high, "void", "unvoid", "void")
    kept = recorded.snapshot("01-01 18:00", "120")
    recorded.mark(kept, "void", "note", "unvoid")
    recorded.snapshot("01-02 00:00", None)
    recorded.snapshot("01-02 06:00", "60")
    found = ask()
    assert column(found.rows, "period", *FIGURES, *COUNTS) == [
        ("2026-01-01", "100", "120", "100", "120", "None", "None", "0.0000", "2", "4", "1", "1"),
        ("2026-01-02", "60", "60", "60", "60", "-60", "-50.0000", "-50.0000", "1", "3", "0", "0"),
    ]
    assert (found.partial, found.voided) == (1, 1)
    recorded.mark(high, "unvoid")
    assert column(ask().rows, "high_usdt", "drawdown_pct", "voided") == [
        ("999", "-87.9880", "0"),
        ("60", "-93.9940", "0"),
    ]


def test_zero_and_less_have_changes_and_no_percentages(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("main", (DAY, "01-02 00:00", "01-05 00:01"))
    for day, total in enumerate(("0.00", "-5", "-2.5", "2.5"), 2):
        recorded.snapshot(f"01-0{day} 00:00", total)
    rows = ask(until=at("01-05 00:00")).rows
    assert column(rows, "close_usdt", "change_usdt", "change_pct", "drawdown_usdt", "drawdown_pct") == [
        ("0.00", "None", "None", "0.00", "None"),
        ("-5", "-5.00", "None", "-5.00", "None"),
        ("-2.5", "2.5", "None", "-2.50", "None"),
        ("2.5", "5.0", "None", "0.0", "0.0000"),
    ]


def test_a_missing_account_never_looks_like_a_smaller_total(recorded: Recorded, ask: Callable[..., Report]) -> None:
    first = recorded.account("first", (HOUR * 12, "01-01 12:00", "01-06 00:01"))
    second = recorded.account("second", (HOUR * 12, "01-02 12:00", "01-04 12:00"))  # comes later, is retired
    recorded.account("third")  # was never read
    for day in range(1, 6):
        for half in (12, 24):
            recorded.snapshot(at(f"01-0{day} 00:00") + timedelta(hours=half), f"{day}00.5", of=first)
    for slot, total in {"01-02 12:00": "7", "01-04 00:00": "9"}.items():
        recorded.snapshot(slot, total, of=second)
    found = ask(until=at("01-06 00:00"))
    assert {row["account"] for row in found.rows} == {"first", "second", EVERYBODY}
    names = "period", "close_usdt", "close_at", "change_usdt", "snapshots", "expected", "accounts"
    assert column(of(found, EVERYBODY), *names) == [
        ("2026-01-01", "100.5", str(at("01-02 00:00")), "None", "2", "2", "1"),
        ("2026-01-02", "207.5", str(at("01-02 12:00")), "None", "1", "2", "2"),
        ("2026-01-03", "309.5", str(at("01-04 00:00")), "102.0", "1", "2", "2"),
        # Until noon the second one is expected, and has nothing; then it is retired.
        ("2026-01-04", "400.5", str(at("01-05 00:00")), "None", "2", "2", "1"),
        ("2026-01-05", "500.5", str(at("01-06 00:00")), "100.0", "2", "2", "1"),
    ]
    assert len(ask(account="second").rows) == 3, "of one account alone there is nothing to add up"


def test_wallets_are_told_one_by_one(recorded: Recorded, ask: Callable[..., Report]) -> None:
    for name in ("a", "b"):
        recorded.account(name, (DAY, "01-02 00:00", "01-03 00:01"))
    digits = "12345678901234567890.123456789012345678"
    recorded.snapshot("01-02 00:00", "15", {"spot": digits, "grid": "5"}, of=1)
    recorded.snapshot("01-03 00:00", "16", {"spot": "0.1", "grid": "6"}, of=1)
    recorded.snapshot("01-02 00:00", "1", {"spot": "1"}, of=2)
    recorded.snapshot("01-03 00:00", None, {"spot": "7", "grid": None}, of=2)
    found = ask(by_type=True, until=at("01-03 00:00"))
    assert column(found.rows, "account", "account_type", "period", "close_usdt", "expected") == [
        ("a", "grid", "2026-01-01", "5", "1"),
        ("a", "grid", "2026-01-02", "6", "1"),
        ("a", "spot", "2026-01-01", digits, "1"),
        ("a", "spot", "2026-01-02", "0.1", "1"),
        ("b", "spot", "2026-01-01", "1", "1"),
        ("b", "spot", "2026-01-02", "None", "1"),
        (EVERYBODY, "grid", "2026-01-01", "5", "1"),
        (EVERYBODY, "grid", "2026-01-02", "None", "1"),
        (EVERYBODY, "spot", "2026-01-01", "12345678901234567891.123456789012345678", "1"),
        (EVERYBODY, "spot", "2026-01-02", "None", "1"),
    ]
    assert found.partial == 1


def test_days_in_utc_are_those_of_the_view(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("a", (HOUR * 4, "01-01 03:00", "01-02 01:30"), (HOUR * 6, "01-02 01:30", "01-07 12:00"))
    recorded.account("b", (HOUR, "01-03 00:00", "01-05 00:00"))
    with recorded.at_once():
        for hour in range(1, 160):
            total = None if hour % 11 == 0 else f"{(hour * 37) % 100 - 20}.{hour:03}"
            if hour % 7 and not 60 < hour < 90:
                key = recorded.snapshot(at("01-01 00:00") + timedelta(hours=hour), total, of=1 + hour % 2)
                if hour % 13 == 0:
                    recorded.mark(key, "void")
    days = History(recorded.database).daily()
    found = [row for row in ask().rows if row["account"] != EVERYBODY]
    assert len(days) > 10
    for day, row in zip(days, found, strict=True):
        assert (day["account"], day["day"].isoformat()) == (row["account"], row["period"])
        for name in set(day) - {"account", "day"}:
            assert day[name] == row[name], (day, row)  # type: ignore[literal-required]


def test_a_part_of_a_report_is_a_part_of_the_whole(recorded: Recorded, ask: Callable[..., Report]) -> None:
    for name in ("a", "b"):
        recorded.account(name, (HOUR * 12, "01-01 12:00", "01-08 00:00"))
    for half in range(1, 15):
        for number in (1, 2):
            if half % (4 + number):
                recorded.snapshot(at("01-01 00:00") + timedelta(hours=12 * half), str(100 - half * number), of=number)
    whole = ask().rows
    end = at("01-05 06:00")
    for since in map(at, ("01-01 00:00", "01-02 00:00", "01-02 00:01", "01-04 12:00", "01-09 00:00")):
        part = ask(since=since, until=end).rows
        assert part == [row for row in whole if row["ends_at"] > since and row["begins_at"] < end]


def test_pages_hold_no_more_than_they_may_and_everything_once(recorded: Recorded) -> None:
    recorded.account("a")
    recorded.account("b")
    recorded.account("never")
    slots = [(1, at(f"01-0{day} {hour:02}:00")) for day in range(1, 4) for hour in range(0, 24, 3)]
    slots += [(2, at(f"01-0{day} 12:00")) for day in range(2, 8)]
    with recorded.at_once():
        for number, slot_at in slots:
            recorded.snapshot(slot_at, "1", of=number)
    end = at("01-06 12:00")
    for most in (1, 2, 7, 1000):
        source = Equity(recorded.database, page_snapshots=most)
        pages = list(source.pages(source.accounts(None), end, by_type=False))
        seen = [(seen.account_id, seen.slot_at) for page in pages for seen in page]
        assert sorted(seen) == sorted((number, slot_at) for number, slot_at in slots if slot_at <= end)
        assert max(map(len, pages)) <= max(most, 3 * min(most, FEWEST_OF_ACCOUNT))
        for before, after in pairwise(pages):
            assert max(seen.slot_at for seen in before) < min(seen.slot_at for seen in after)


def test_between_two_pages_others_may_write(recorded: Recorded) -> None:
    recorded.account("main")
    for hour in range(4):
        recorded.snapshot(f"01-01 0{hour}:00", "1")
    source = Equity(recorded.database, page_snapshots=2)
    pages = source.pages(source.accounts(None), at("01-02 00:00"), by_type=True)
    assert len(next(pages)) == 2
    with recorded.database.write() as connection:  # would wait for ten seconds, and fail, if a reader were there
        connection.execute(text("UPDATE snapshot SET attempts = 2"))
    assert len(next(pages)) == 2


def test_the_digits_and_the_scale_are_those_that_were_stored(recorded: Recorded, ask: Callable[..., Report]) -> None:
    recorded.account("main")
    digits = ("99999.99999999999999", "100000.000", "1" * 60 + "." + "2" * 60)
    for hour, amount in enumerate(digits, 1):
        recorded.snapshot(f"01-01 0{hour}:00", amount)
    [row] = ask().rows
    assert (str(row["low_usdt"]), str(row["high_usdt"])) == (digits[0], digits[2])
    assert row["peak_usdt"] == Decimal(digits[2])
