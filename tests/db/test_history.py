"""What is shown of the history: exact, whole, and over before it is shown."""

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.db.engine import open_engine
from etl.db.history import History
from etl.db.schema import snapshot
from etl.errors import NoSuchAccount, SchemaNotAtHead
from etl.model import Provenance
from tests.db.recorded import START, Recorded, at

HOUR = 3600


@pytest.fixture
def recorded(database_url: str) -> Recorded:
    return Recorded(database_url)


@pytest.fixture
def history(recorded: Recorded) -> History:
    return History(recorded.database)


def test_an_empty_history_is_empty_and_no_error(history: History) -> None:
    assert [*history.accounts(), *history.latest(), *history.daily(), *history.gaps()] == []


@pytest.mark.parametrize("ask", [History.accounts, History.latest, History.daily, History.gaps])
def test_a_database_without_a_schema_is_told_what_to_do(
    empty_database_url: str, ask: Callable[[History], object]
) -> None:
    with pytest.raises(SchemaNotAtHead, match="bingx-etl db upgrade"):
        ask(History(open_engine(empty_database_url)))


def test_an_account_never_heard_of_is_no_empty_answer(recorded: Recorded, history: History) -> None:
    recorded.account("main")
    for ask in (history.daily, history.gaps):
        assert ask("main") == []
        with pytest.raises(NoSuchAccount, match="'other'"):
            ask("other")


def test_accounts_come_by_name_with_the_interval_of_their_last_schedule(recorded: Recorded, history: History) -> None:
    recorded.account("b", (300, "01-01 00:00", "01-02 00:00"), (60, "01-02 00:00", None), uid="1001")
    recorded.account("a", retired_at=START, environment="vst")
    assert history.accounts() == [
        {
            "account": "a",
            "uid": None,
            "environment": "vst",
            "interval": None,
            "created_at": START,
            "retired_at": START,
        },
        {
            "account": "b",
            "uid": "1001",
            "environment": "live",
            "interval": "1m",
            "created_at": START,
            "retired_at": None,
        },
    ]


def test_the_latest_is_the_last_snapshot_that_is_not_void_and_what_failed_since(
    recorded: Recorded, history: History
) -> None:
    recorded.account()
    recorded.account("never", retired_at=START)
    recorded.failure("01-01 00:00", "overrun")
    last = recorded.snapshot("01-01 01:00", "1.50", reason="doubted and confirmed")
    recorded.mark(recorded.snapshot("01-01 02:00", "2"), "void")
    recorded.failure("01-01 02:00", "unavailable")  # replaced by a snapshot, though that is void
    recorded.failure("01-01 04:00", "key_refused")
    recorded.failure("01-01 03:00", "unreachable")
    recorded.failure("01-01 05:00", "stopped", of=2)
    main, never = history.latest()
    assert main == {
        "account": "main",
        "snapshot_id": last,
        "slot_at": at("01-01 01:00"),
        "taken_at": at("01-01 01:00"),
        "status": "complete",
        "provenance": Provenance.MEASURED,
        "reason": "doubted and confirmed",
        "total_usdt": Decimal("1.50"),
        "failures_since": 2,
        "last_reason": "key_refused",
        "retired_at": None,
    }
    assert str(main["total_usdt"]) == "1.50"
    assert (never["account"], never["slot_at"], never["failures_since"], never["last_reason"], never["retired_at"]) == (
        "never",
        None,
        1,
        "stopped",
        START,
    )


def test_a_partial_snapshot_is_the_latest_too_without_a_total(recorded: Recorded, history: History) -> None:
    recorded.account()
    recorded.snapshot("01-01 00:00", "1")
    recorded.snapshot("01-01 01:00", None)
    [latest] = history.latest()
    assert (latest["status"], latest["total_usdt"]) == ("partial", None)


def test_the_last_doubted_snapshot_of_each_account_is_told_of(recorded: Recorded, history: History) -> None:
    recorded.account()
    recorded.account("other")
    why = "missing: grid; doubted: grid missing (confirmed)"
    recorded.snapshot("01-01 00:00", "1", reason="doubted: too long ago")
    recorded.snapshot("01-01 01:00", "1", reason="doubted: not the last")
    recorded.snapshot("01-01 02:00", None, reason=why)
    recorded.snapshot("01-01 03:00", "1", reason="taken_at: something else")
    recorded.mark(recorded.snapshot("01-01 04:00", "1", reason="doubted: void"), "void")
    recorded.snapshot("01-01 05:00", "1")
    recorded.snapshot("01-01 05:00", "1", of=2)
    assert history.doubted(at("01-01 01:00")) == [{"account": "main", "slot_at": at("01-01 02:00"), "reason": why}]
    assert history.doubted(at("01-01 02:01")) == []


def test_days_come_with_exact_amounts(recorded: Recorded, history: History) -> None:
    recorded.account("main", (HOUR, "01-01 01:00", "01-03 00:00"))
    amounts = ("99999.99999999999998", "99999.99999999999999", "100000.00", "99999.99999999999997", "1.10")
    for hour, amount in enumerate(amounts, 1):
        recorded.snapshot(f"01-01 0{hour}:00", amount)
    recorded.snapshot("01-02 12:00", "1.30")
    first, second = history.daily()
    figures = ("open_usdt", "high_usdt", "low_usdt", "close_usdt", "change_usdt")
    assert [str(first[name]) for name in figures] == [amounts[0], "100000.00", "1.10", "1.10", "None"]  # type: ignore[literal-required]
    assert [str(second[name]) for name in figures] == ["1.30", "1.30", "1.30", "1.30", "0.20"]  # type: ignore[literal-required]
    assert (first["snapshots"], first["expected"], second["coverage"]) == (5, 24, 1 / 23)
    assert first["close_at"] == at("01-01 05:00")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(totals=st.lists(st.decimals(-(10**9), 10**9, places=14) | st.just(Decimal("0.10")), min_size=1, max_size=6))
def test_high_and_low_are_exact_where_floats_cannot_tell(
    recorded: Recorded, history: History, totals: list[Decimal]
) -> None:
    near = [total + Decimal(n) / 10**14 for n, total in enumerate(totals)] + totals
    with recorded.database.write() as connection:
        connection.execute(snapshot.delete())
    if not history.accounts():
        recorded.account("main", (HOUR, "01-01 01:00", "01-02 00:00"))
    with recorded.at_once():
        for hour, total in enumerate(near, 1):
            recorded.snapshot(START + timedelta(hours=hour), str(total))
    [day] = history.daily()
    assert (day["open_usdt"], day["high_usdt"], day["low_usdt"], day["close_usdt"]) == (
        near[0],
        max(near),
        min(near),
        near[-1],
    )


def test_the_first_of_the_days_asked_for_has_its_change_too(recorded: Recorded, history: History) -> None:
    for name in ("a", "b"):
        recorded.account(name, (HOUR, "01-01 01:00", "01-04 12:00"))
    for day in (1, 2, 4):
        recorded.snapshot(f"01-0{day} 12:00", str(day), of=2)
    rows = history.daily("b", date(2026, 1, 2), date(2026, 1, 3))
    assert [(row["day"].day, row["close_usdt"], row["change_usdt"]) for row in rows] == [(2, 2, 1), (3, None, None)]
    assert [(row["account"], row["change_usdt"]) for row in history.daily(since=date(2026, 1, 4))] == [
        ("a", None),
        ("b", None),
    ]
    assert len(history.daily(until=date(2026, 1, 1))) == 2
    assert len(history.daily(since=date.min, until=date.max)) == 8


def test_gaps_are_shown_whole_where_they_reach_into_the_time_asked_for(recorded: Recorded, history: History) -> None:
    for name in ("a", "b"):
        recorded.account(name, (HOUR, "01-01 00:00", "01-01 06:00"))
    recorded.snapshot("01-01 02:00")
    recorded.failure("01-01 05:00")
    whole = [
        {
            "account": "a",
            "gap_from": at(f"01-01 0{first}:00"),
            "gap_to": at(f"01-01 0{last}:00"),
            "missed": n,
            "reason": r,
        }
        for first, last, n, r in ((0, 1, 2, None), (3, 4, 2, None), (5, 5, 1, "unreachable"))
    ]
    assert history.gaps("a") == whole
    assert history.gaps()[:3] == whole
    assert history.gaps()[3]["account"] == "b"
    assert history.gaps("a", since=at("01-01 04:00")) == whole[1:]
    assert history.gaps("a", until=at("01-01 03:00") + timedelta(seconds=0.5)) == whole[:2]
    assert history.gaps("a", at("01-01 02:00"), at("01-01 02:00")) == []
