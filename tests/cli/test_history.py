"""``report`` and ``gaps``: known answers, from outcomes in the spool to the text on stdout."""

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from etl.model import Failure, Reading
from etl.spool import Spool
from tests.cli.program import Program, Ran
from tests.values import failure, reading

MIDNIGHT = datetime(2026, 1, 10, tzinfo=UTC)
INTERVAL = 21_600


def slot(hours: int) -> datetime:
    """So many hours after the midnight with which 10 January begins."""
    return MIDNIGHT + timedelta(hours=hours)


def taken(hours: int, spot: str, account: str = "main", uid: str = "1001") -> Reading:
    """A reading of two wallets, one of them with eight decimals."""
    return reading(
        {"sopt": spot, "USDTMPerp": "0.00000001"},
        account=account,
        uid=uid,
        slot_at=slot(hours),
        requested_at=slot(hours) + timedelta(seconds=2),
        interval_seconds=INTERVAL,
    )


def failed(hours: int) -> Failure:
    """A failure of main."""
    at = slot(hours) + timedelta(seconds=2)
    return failure(slot_at=slot(hours), interval_seconds=INTERVAL, first_at=at, last_at=at)


@pytest.fixture
def recorded(anywhere: Program) -> Program:
    """Three days of main, some of them with holes, and one reading of another account."""
    spool = Spool(anywhere.state)
    spool.prepare()
    spool.put(
        [
            taken(6, "100.00"),
            taken(12, "110"),
            taken(18, "90.5"),
            taken(24, "95"),  # the reading at midnight closes the day that ends
            failed(30),
            # nobody was there at 36
            taken(42, "98.123456789012345678"),
            taken(48, "99.5"),
            # nobody was there on the third day, up to
            taken(78, "101"),
            taken(54, "7", account="other", uid="2002"),
        ]
    )
    assert anywhere.run("spool", "load").code == 0
    return anywhere


def rows(ran: Ran) -> list[dict[str, Any]]:
    """The rows of a JSON report."""
    found: list[dict[str, Any]] = json.loads(ran.out)
    return found


def test_the_days_are_reported_exactly_and_a_gap_is_never_bridged(recorded: Program) -> None:
    within = ("--account", "main", "--until", "2026-01-13")
    ran = recorded.run("report", *within, "--format", "json")
    assert (ran.code, ran.err) == (0, "")
    keys = ("day", "open_usdt", "high_usdt", "low_usdt", "close_usdt", "change_usdt", "snapshots", "expected")
    days = rows(ran)
    assert [tuple(day[key] for key in keys) for day in days] == [
        ("2026-01-10", "100.00000001", "110.00000001", "90.50000001", "95.00000001", None, 4, 4),
        (
            "2026-01-11",
            "98.123456799012345678",
            "99.50000001",
            "98.123456799012345678",
            "99.50000001",
            "4.50000000",
            2,
            4,
        ),
        ("2026-01-12", None, None, None, None, None, 0, 4),
        ("2026-01-13", "101.00000001", "101.00000001", "101.00000001", "101.00000001", None, 1, 4),
    ]
    assert [day["coverage"] for day in days] == [1, 0.5, 0, 0.25]
    same = list(csv.DictReader(io.StringIO(recorded.run("report", *within, "--format", "csv").out)))
    assert [{key: day[key] for key in keys} for day in same] == [
        {key: "" if day[key] is None else str(day[key]) for key in keys} for day in days
    ]
    table = recorded.run("report", *within).out
    for figure in ("98.123456799012345678", "4.50000000", "0.25", "2026-01-12"):
        assert figure in table

    one = rows(
        recorded.run(
            "report", "--account", "main", "--since", "2026-01-11", "--until", "2026-01-11", "--format", "json"
        )
    )
    assert one == days[1:2], "the change of the first day is measured from the day before"
    everybody = rows(recorded.run("report", "--until", "2026-01-12", "--format", "json"))
    assert {day["account"] for day in everybody} == {"main", "other"}


def test_a_time_without_anything_is_an_empty_report_and_a_hint(recorded: Program) -> None:
    ran = recorded.run("report", "--until", "2020-01-01", "--format", "csv")
    assert (ran.code, len(ran.out.splitlines())) == (0, 1)
    assert "bingx-etl snapshot" in ran.err


def test_gaps_are_told_with_their_reasons_and_are_an_exit_code(recorded: Program) -> None:
    ran = recorded.run("gaps", "--account", "main", "--until", "2026-01-13", "--format", "json")
    assert (ran.code, ran.err) == (1, "")
    assert rows(ran) == [
        {
            "account": "main",
            "gap_from": "2026-01-11T06:00:00Z",
            "gap_to": "2026-01-11T06:00:00Z",
            "missed": 1,
            "reason": "unavailable",
        },
        {
            "account": "main",
            "gap_from": "2026-01-11T12:00:00Z",
            "gap_to": "2026-01-11T12:00:00Z",
            "missed": 1,
            "reason": None,
        },
        {
            "account": "main",
            "gap_from": "2026-01-12T06:00:00Z",
            "gap_to": "2026-01-13T00:00:00Z",
            "missed": 4,
            "reason": None,
        },
    ]
    table = recorded.run(
        "gaps", "--account", "main", "--since", "2026-01-11T06:00:00Z", "--until", "2026-01-11T06:00:00Z"
    )
    assert table.code == 1
    assert len(table.out.splitlines()) == 2
    assert "unavailable" in table.out
    later = recorded.run(
        "gaps", "--account", "main", "--since", "2026-01-11T06:00:01Z", "--until", "2026-01-13", "--format", "json"
    )
    assert [gap["gap_from"] for gap in rows(later)] == ["2026-01-11T12:00:00Z", "2026-01-12T06:00:00Z"]
    ran = recorded.run("gaps", "--account", "main", "--until", "2026-01-11T05:59:59Z", "--format", "csv")
    assert (ran.code, len(ran.out.splitlines()), ran.err) == (0, 1, "no gaps\n")


def test_an_account_never_heard_of_and_a_time_that_is_none_are_told(recorded: Program) -> None:
    for command in ("report", "gaps"):
        ran = recorded.run(command, "--account", "nobody")
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (78, "", 1)
        assert "bingx-etl account list" in ran.err
    for time in ("2026-02-30", "yesterday", "2026-01-01T00:00:00", "10.01.2026"):
        ran = recorded.run("gaps", "--since", time)
        assert (ran.code, ran.out) == (2, "")
        assert "2026-12-31T23:00:00Z" in ran.err
        assert "Traceback" not in ran.err
