"""All that the page shows, from real rows in both databases: known answers, and the same as in a report."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from etl.db.equity import Equity
from etl.report.equity import EVERYBODY, Question, report
from etl.report.page import page
from etl.report.page_data import charts
from etl.report.periods import Every
from etl.report.sheet import Part, Sheet, sheet
from tests.db.recorded import START, Recorded

NOW = datetime(2027, 1, 1, tzinfo=UTC)
HOUR = 3600


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


@pytest.fixture
def ask(recorded: Recorded) -> Callable[..., Sheet]:
    """What the page would show at the end of 2026, read in pages of three snapshots."""
    return lambda **question: sheet(Equity(recorded.database, page_snapshots=3), Question(**question), NOW)


def named(found: Sheet) -> dict[str, Part]:
    return {part.name: part for part in found.parts}


def amounts(part: Part) -> list[dict[str, str] | None]:
    return [
        None if wallets is None else {name: str(amount) for name, amount in wallets.items()} for wallets in part.wallets
    ]


def test_an_empty_history_is_an_empty_sheet(recorded: Recorded, ask: Callable[..., Sheet]) -> None:
    assert ask().parts == []
    recorded.account("main")
    assert ask().parts == []


def test_wallets_are_those_at_the_closes_and_add_up_to_them(recorded: Recorded, ask: Callable[..., Sheet]) -> None:
    for _ in range(2):
        recorded.account(f"a{_}", (HOUR, "01-01 01:00", "01-05 00:00"))
    recorded.snapshot("01-01 10:00", "9", {"spot": "9"})
    recorded.snapshot("01-01 23:00", "10.10", {"spot": "4.10", "grid": "6"})
    recorded.snapshot("01-01 23:00", "5", {"spot": "5", "eran": "0"}, of=2)
    wrong = recorded.snapshot("01-02 23:00", "99", {"spot": "99"})
    recorded.mark(wrong, "void")
    recorded.snapshot("01-02 20:00", "12", {"spot": "12"})
    recorded.snapshot("01-03 23:00", "7", provenance="imported")
    recorded.snapshot("01-03 23:00", "8", {"spot": "8"}, of=2)
    recorded.snapshot("01-04 20:00", "3", {"spot": "3"})  # the last one of both
    recorded.snapshot("01-04 20:00", "4", {"grid": "4"}, of=2)
    recorded.snapshot("01-04 23:00", "7", {"spot": "6"})  # a wallet of it is not known
    found = named(ask())
    assert list(found) == ["a0", "a1", EVERYBODY]
    assert amounts(found["a0"]) == [{"grid": "6", "spot": "4.10"}, {"spot": "12"}, None, None]
    assert amounts(found["a1"]) == [{"eran": "0", "spot": "5"}, None, {"spot": "8"}, {"grid": "4"}]
    assert amounts(found[EVERYBODY]) == [
        {"grid": "6", "spot": "9.10", "eran": "0"},
        None,
        None,
        {"grid": "4", "spot": "3"},
    ]
    assert [row["close_usdt"] for row in found[EVERYBODY].rows] == [Decimal("15.10"), None, Decimal(15), Decimal(7)]
    only = named(ask(account="a1"))
    assert list(only) == ["a1"]
    assert amounts(only["a1"]) == amounts(found["a1"])


def test_figures_are_those_of_the_report(recorded: Recorded, ask: Callable[..., Sheet]) -> None:
    recorded.account("main", (21_600, "01-01 00:00", None))
    recorded.account("other", (21_600, "01-02 00:00", None))
    with recorded.at_once():
        for day in range(1, 60):
            if day % 7:
                at = START + timedelta(days=day, hours=6)
                recorded.snapshot(at, str(100 + day), {"spot": str(day), "grid": "100"})
                recorded.snapshot(at, None if day % 5 else "1", {"spot": "1"}, of=2)
    check(recorded, ask)
    check(recorded, ask, every=Every.WEEK, by_type=True)
    check(recorded, ask, every=Every.MONTH, since=START + timedelta(days=20), zone=ZoneInfo("Europe/Berlin"))
    check(recorded, ask, every=Every.WEEK, until=START + timedelta(days=20), account="other")


def test_headline_calendar_and_table_count_the_same_snapshots(recorded: Recorded, ask: Callable[..., Sheet]) -> None:
    recorded.account("main", (HOUR, "03-02 12:00", "03-03 00:01"))
    for hour in range(1, 12):
        imported: dict[str, Any] = {"provenance": "imported", "requested_at": None, "latency_ms": None}
        recorded.snapshot(f"03-02 {hour:02}:00", "1", **imported)
    recorded.snapshot("03-02 12:00", "1")
    found = ask()
    [part] = charts(found)["accounts"]
    assert part["days"] == [["2026-03-02", 1 / 13, "7%, 1 of 13"], ["2026-03-03", None, ""]]
    html = page(found)
    assert "1 of 13 expected snapshots" in html
    assert "12 of 13" not in html


def check(recorded: Recorded, ask: Callable[..., Sheet], **asked: Any) -> None:
    def reported(**changes: Any) -> list[Any]:
        return report(Equity(recorded.database), Question(**{**asked, **changes}), NOW).rows

    found = ask(**asked)
    assert [row for part in found.parts for row in part.rows] == reported(by_type=False)
    assert [row for part in found.parts for row in part.days] == reported(by_type=False, every=Every.DAY)
    assert [row for part in found.parts for row in part.months] == reported(by_type=False, every=Every.MONTH)
    assert [row for part in found.parts for row in part.by_type] == (reported() if asked.get("by_type") else [])
    assert (found.partial > 0, found.voided) == (True, 0)
    assert found.parts
    for part in found.parts:
        at_slots = sum(row["snapshots"] for row in part.rows)
        covered = sum(round((row["coverage"] or 0) * row["expected"]) for row in part.rows)
        assert part.curve.missed == sum(row["expected"] for row in part.rows) - covered
        points = [point for point in part.curve.points() if point]
        assert len(points) == at_slots
        assert points[-1].amount == [row["close_usdt"] for row in part.rows if row["close_usdt"] is not None][-1]
